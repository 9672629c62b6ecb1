//! Quotes byte by byte: Intel, "SGX ECDSA quote library reference" (v3) and "TDX DCAP quoting library" (v4, v5).

use super::error::SimError;
use super::pki::SimKey;
use super::spec::SimSpec;
use crate::Digest;
use crate::sim::QuoteFormat;
use crate::sim::spec::Svns;

/// The quoting enclave of one attester: its attestation key, certified by the platform's PCK key.
#[derive(Debug)]
pub(super) struct QuotingEnclave {
    key: SimKey,
    report: [u8; 384],
    report_signature: [u8; 64],
    auth_data: [u8; 32],
    pck_chain: String,
}

/// The MRSIGNER of the simulated quoting enclaves: nobody's.
pub(super) fn qe_mrsigner() -> [u8; 32] {
    *Digest::of(b"simulated quoting enclave").as_bytes()
}

/// ISVPRODID of the quoting enclave: 1 for SGX, 2 for TDX.
pub(super) fn qe_prod_id(format: QuoteFormat) -> u16 {
    match format {
        QuoteFormat::SgxV3 => 1,
        QuoteFormat::TdxV4 | QuoteFormat::TdxV5 => 2,
    }
}

impl QuotingEnclave {
    pub(super) fn new(
        format: QuoteFormat,
        qe_svn: u16,
        cpu_svn: [u8; 16],
        pck: &SimKey,
        pck_chain: String,
    ) -> Result<Self, SimError> {
        let key = SimKey::generate()?;
        let auth_data: [u8; 32] = std::array::from_fn(|i| i as u8);
        let binding = Digest::of_parts(&[&key.public_xy()?, &auth_data]);
        let mut report_data = [0; 64];
        report_data[..32].copy_from_slice(binding.as_bytes());
        let report = enclave_report(&EnclaveReport {
            cpu_svn,
            attributes: QE_ATTRIBUTES,
            mrenclave: *Digest::of(b"simulated quoting enclave, code").as_bytes(),
            mrsigner: qe_mrsigner(),
            isv_prod_id: qe_prod_id(format),
            isv_svn: qe_svn,
            report_data,
            ..EnclaveReport::default()
        });
        let report_signature = pck.sign(&report)?;
        Ok(Self { key, report, report_signature, auth_data, pck_chain })
    }

    /// A quote of what `spec` says over `user_data`.
    pub(super) fn quote(
        &self,
        spec: &SimSpec,
        svns: &Svns,
        cpu_svn: [u8; 16],
        user_data: &[u8; 64],
    ) -> Result<Vec<u8>, SimError> {
        let mut quote = header(spec.format, svns.qe);
        match spec.format {
            QuoteFormat::SgxV3 => quote.extend(sgx_body(spec, cpu_svn, user_data)),
            QuoteFormat::TdxV4 => quote.extend(td_body(spec, svns, user_data)),
            QuoteFormat::TdxV5 => {
                quote.extend(TD_REPORT_15_TYPE.to_le_bytes());
                quote.extend(TD_REPORT_15_LENGTH.to_le_bytes());
                quote.extend(td_body(spec, svns, user_data));
                quote.extend(tee_tcb_svn(svns.current));
                quote.extend([0; 48]); // MRSERVICETD: no service TD is bound
            }
        }
        let signature = self.key.sign(&quote)?;

        let mut certification = Vec::new();
        certification.extend(self.report);
        certification.extend(self.report_signature);
        certification.extend((self.auth_data.len() as u16).to_le_bytes());
        certification.extend(self.auth_data);
        certification.extend(typed(PCK_CHAIN_TYPE, self.pck_chain.as_bytes()));
        if spec.format != QuoteFormat::SgxV3 {
            certification = typed(QE_REPORT_TYPE, &certification);
        }

        let auth = [&signature[..], &self.key.public_xy()?, &certification].concat();
        quote.extend((auth.len() as u32).to_le_bytes());
        quote.extend(auth);
        Ok(quote)
    }
}

fn header(format: QuoteFormat, qe_svn: u16) -> Vec<u8> {
    let (version, tee_type): (u16, u32) = match format {
        QuoteFormat::SgxV3 => (3, 0),
        QuoteFormat::TdxV4 => (4, 0x81),
        QuoteFormat::TdxV5 => (5, 0x81),
    };
    let mut header = Vec::with_capacity(48);
    header.extend(version.to_le_bytes());
    header.extend(ECDSA_P256.to_le_bytes());
    header.extend(tee_type.to_le_bytes());
    header.extend(qe_svn.to_le_bytes());
    header.extend(u16::from(PCE_SVN).to_le_bytes());
    header.extend(INTEL_QE_VENDOR_ID);
    header.extend([0; 20]);
    header
}

fn sgx_body(spec: &SimSpec, cpu_svn: [u8; 16], user_data: &[u8; 64]) -> [u8; 384] {
    let mut attributes = spec.attributes;
    if spec.debug {
        attributes[0] |= SGX_DEBUG;
    }
    enclave_report(&EnclaveReport {
        cpu_svn,
        attributes,
        mrenclave: spec.mrenclave,
        mrsigner: spec.mrsigner,
        isv_prod_id: spec.isv_prod_id,
        isv_svn: spec.isv_svn,
        misc_select: spec.misc_select,
        config_id: spec.config_id,
        config_svn: spec.config_svn,
        isv_family_id: spec.isv_family_id,
        isv_ext_prod_id: spec.isv_ext_prod_id,
        report_data: *user_data,
    })
}

struct EnclaveReport {
    cpu_svn: [u8; 16],
    attributes: [u8; 16],
    mrenclave: [u8; 32],
    mrsigner: [u8; 32],
    isv_prod_id: u16,
    isv_svn: u16,
    misc_select: u32,
    config_id: [u8; 64],
    config_svn: u16,
    isv_family_id: [u8; 16],
    isv_ext_prod_id: [u8; 16],
    report_data: [u8; 64],
}

impl Default for EnclaveReport {
    fn default() -> Self {
        Self {
            cpu_svn: [0; 16],
            attributes: [0; 16],
            mrenclave: [0; 32],
            mrsigner: [0; 32],
            isv_prod_id: 0,
            isv_svn: 0,
            misc_select: 0,
            config_id: [0; 64],
            config_svn: 0,
            isv_family_id: [0; 16],
            isv_ext_prod_id: [0; 16],
            report_data: [0; 64],
        }
    }
}

/// Intel SDM volume 3D, table 41-21 (REPORT).
fn enclave_report(report: &EnclaveReport) -> [u8; 384] {
    let mut bytes = [0; 384];
    bytes[..16].copy_from_slice(&report.cpu_svn);
    bytes[16..20].copy_from_slice(&report.misc_select.to_le_bytes());
    bytes[32..48].copy_from_slice(&report.isv_ext_prod_id);
    bytes[48..64].copy_from_slice(&report.attributes);
    bytes[64..96].copy_from_slice(&report.mrenclave);
    bytes[128..160].copy_from_slice(&report.mrsigner);
    bytes[192..256].copy_from_slice(&report.config_id);
    bytes[256..258].copy_from_slice(&report.isv_prod_id.to_le_bytes());
    bytes[258..260].copy_from_slice(&report.isv_svn.to_le_bytes());
    bytes[260..262].copy_from_slice(&report.config_svn.to_le_bytes());
    bytes[304..320].copy_from_slice(&report.isv_family_id);
    bytes[320..].copy_from_slice(&report.report_data);
    bytes
}

/// The TD 1.0 report body, 584 bytes.
fn td_body(spec: &SimSpec, svns: &Svns, user_data: &[u8; 64]) -> Vec<u8> {
    let mut attributes = spec.td_attributes;
    if spec.debug {
        attributes |= TD_DEBUG;
    }
    let mut body = Vec::with_capacity(584);
    body.extend(tee_tcb_svn(svns.launch));
    body.extend(spec.mrseam);
    body.extend(TDX_MODULE_MRSIGNER);
    body.extend([0; 8]); // SEAMATTRIBUTES
    body.extend(attributes.to_le_bytes());
    body.extend(spec.xfam.to_le_bytes());
    body.extend(spec.mrtd);
    body.extend(spec.mrconfigid);
    body.extend(spec.mrowner);
    body.extend(spec.mrownerconfig);
    for rtmr in &spec.rtmr {
        body.extend(rtmr);
    }
    body.extend(user_data);
    body
}

/// TEE_TCB_SVN: the module's ISVSVN and version first, then what TCB levels compare.
fn tee_tcb_svn(level: u8) -> [u8; 16] {
    let mut svn = [1; 16];
    svn[0] = TDX_MODULE_ISVSVN;
    svn[1] = TDX_MODULE_VERSION;
    svn[TDX_LEVEL_COMPONENT] = level;
    svn
}

/// Certification data: type, length, content.
fn typed(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &(content.len() as u32).to_le_bytes(), content].concat()
}

/// The component of the TDX TCB that tells the simulated levels apart; 0 and 1 are the module's.
pub(super) const TDX_LEVEL_COMPONENT: usize = 2;
pub(super) const TDX_MODULE_ISVSVN: u8 = 3;
pub(super) const TDX_MODULE_VERSION: u8 = 1;
pub(super) const TDX_MODULE_MRSIGNER: [u8; 48] = [0; 48];
pub(super) const PCE_SVN: u8 = 13;

/// INIT, MODE64BIT and PROVISION_KEY, as real quoting enclaves have; XFRM is x87 and SSE.
const QE_ATTRIBUTES: [u8; 16] = [0x15, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
const SGX_DEBUG: u8 = 0x02;

const TD_DEBUG: u64 = 1;

const TD_REPORT_15_TYPE: u16 = 3;
const TD_REPORT_15_LENGTH: u32 = 648;

const ECDSA_P256: u16 = 2;
const PCK_CHAIN_TYPE: u16 = 5;
const QE_REPORT_TYPE: u16 = 6;
const INTEL_QE_VENDOR_ID: [u8; 16] =
    [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];
