//! The ioctls of the attestation devices: fixed requests, each with a structure of its own.
//!
//! `ioctl(2)` has no safe form, because what a request reads and writes is known to its driver alone. Each structure
//! here is the one of the driver's header, stated without implicit padding, and each function is safe to call.

#![allow(unsafe_code, reason = "ioctl(2) has no safe form; each use states why it is sound")]

use std::fs::File;
use std::io;

use rustix::ioctl::{Getter, Opcode, Updater, ioctl, opcode};

pub(super) const TD_REPORT_LEN: usize = 1024;
pub(super) const SNP_RESPONSE_LEN: usize = 4000;

/// Occlum: how many bytes a quote may take.
pub(super) fn sgx_quote_size(device: &File) -> io::Result<u32> {
    // SAFETY: the request writes one u32 (its size is part of its number), which is what `Getter` has room for.
    let size = unsafe { ioctl(device, Getter::<SGX_QUOTE_SIZE, u32>::new()) }?;
    Ok(size)
}

/// Occlum: a quote over `report_data` in `quote`; returns how many bytes it has.
pub(super) fn sgx_quote(device: &File, report_data: &[u8; 64], quote: &mut [u8]) -> io::Result<usize> {
    let room = u32::try_from(quote.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut len = room;
    let mut request = SgxQuoteRequest {
        report_data: report_data.as_ptr().expose_provenance() as u64,
        quote_len: (&raw mut len).expose_provenance() as u64,
        quote: quote.as_mut_ptr().expose_provenance() as u64,
    };
    // SAFETY: the structure is the driver's. Its pointers are to 64 readable bytes, a u32, and as many writable
    // bytes as that u32 says; all three outlive the call, and nothing else uses them meanwhile.
    unsafe { ioctl(device, Updater::<SGX_QUOTE, SgxQuoteRequest>::new(&mut request)) }?;
    Ok(len.min(room) as usize)
}

/// TDX: the TDREPORT over `report_data`.
pub(super) fn td_report(device: &File, report_data: &[u8; 64]) -> io::Result<[u8; TD_REPORT_LEN]> {
    let mut request = TdReportRequest { report_data: *report_data, report: [0; TD_REPORT_LEN] };
    // SAFETY: the structure is the driver's `tdx_report_req`; it holds no pointers, and every byte is initialized.
    unsafe { ioctl(device, Updater::<TD_REPORT, TdReportRequest>::new(&mut request)) }?;
    Ok(request.report)
}

/// SEV-SNP: what the firmware answers to a request for a report. The error holds the codes of firmware and host.
pub(super) fn snp_report(
    device: &File,
    report_data: &[u8; 64],
    vmpl: u32,
) -> Result<Box<[u8; SNP_RESPONSE_LEN]>, SnpRequestError> {
    let mut body = SnpReportRequest { report_data: *report_data, vmpl, reserved: [0; 28] };
    let mut response = Box::new([0; SNP_RESPONSE_LEN]);
    let mut request = SnpGuestRequest {
        msg_version: SNP_MESSAGE_VERSION,
        padding: [0; 7],
        req_data: (&raw mut body).expose_provenance() as u64,
        resp_data: response.as_mut_ptr().expose_provenance() as u64,
        exit_info: 0,
    };
    // SAFETY: the structure is the driver's `snp_guest_request_ioctl`. Its pointers are to a `snp_report_req` and to
    // the 4000 bytes of a `snp_report_resp`; both outlive the call, and nothing else uses them meanwhile.
    let done = unsafe { ioctl(device, Updater::<SNP_REPORT, SnpGuestRequest>::new(&mut request)) };
    done.map_err(|errno| SnpRequestError { source: errno.into(), exit_info: request.exit_info })?;
    Ok(response)
}

/// A refused request: the kernel's error, and what firmware (low 32 bits) and host (high 32 bits) said.
#[derive(Debug)]
pub(super) struct SnpRequestError {
    pub(super) source: io::Error,
    pub(super) exit_info: u64,
}

/// Occlum `sgxioc_gen_dcap_quote_arg_t`.
#[repr(C)]
struct SgxQuoteRequest {
    report_data: u64,
    quote_len: u64,
    quote: u64,
}

/// linux/tdx-guest.h `tdx_report_req`.
#[repr(C)]
struct TdReportRequest {
    report_data: [u8; 64],
    report: [u8; TD_REPORT_LEN],
}

/// linux/sev-guest.h `snp_report_req`.
#[repr(C)]
struct SnpReportRequest {
    report_data: [u8; 64],
    vmpl: u32,
    reserved: [u8; 28],
}

/// linux/sev-guest.h `snp_guest_request_ioctl`; the padding is the compiler's there.
#[repr(C)]
struct SnpGuestRequest {
    msg_version: u8,
    padding: [u8; 7],
    req_data: u64,
    resp_data: u64,
    exit_info: u64,
}

/// The only version there is; zero is refused.
const SNP_MESSAGE_VERSION: u8 = 1;

const SGX_QUOTE_SIZE: Opcode = opcode::read::<u32>(b's', 7);
const SGX_QUOTE: Opcode = opcode::read_write::<SgxQuoteRequest>(b's', 8);
const TD_REPORT: Opcode = opcode::read_write::<TdReportRequest>(b'T', 1);
const SNP_REPORT: Opcode = opcode::read_write::<SnpGuestRequest>(b'S', 0);

// The pointers above are written as 64 bits: both runtimes and both TEEs exist on x86-64 alone, and every other target
// that this compiles for is 64 bits wide.
const _: () = assert!(size_of::<usize>() == 8);
const _: () = assert!(size_of::<SgxQuoteRequest>() == 24);
const _: () = assert!(size_of::<TdReportRequest>() == 64 + 1024);
const _: () = assert!(size_of::<SnpReportRequest>() == 96);
const _: () = assert!(size_of::<SnpGuestRequest>() == 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_have_the_numbers_of_the_headers() {
        assert_eq!(
            [SGX_QUOTE_SIZE, SGX_QUOTE, TD_REPORT, SNP_REPORT],
            [0x8004_7307, 0xC018_7308, 0xC440_5401, 0xC020_5300]
        );
    }
}
