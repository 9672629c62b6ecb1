//! SIGSTRUCT: what the signer of an SGX enclave states of it (Intel SDM volume 3D, table 38-21).
//!
//! It says which enclave was signed, not that anybody should trust the signer: its key stands in it.

use crate::Digest;
use crate::crypto::verifies_rsa_numbers;

/// A SIGSTRUCT whose form and signature hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SigStruct {
    /// SHA-256 of the modulus, little-endian, as it stands in the structure.
    pub mrsigner: [u8; 32],
    /// ENCLAVEHASH.
    pub mrenclave: [u8; 32],
    pub isv_prod_id: u16,
    pub isv_svn: u16,
    pub attributes: [u8; 16],
    /// Which bits of ATTRIBUTES the enclave must be launched with.
    pub attributes_mask: [u8; 16],
    pub misc_select: [u8; 4],
    pub misc_mask: [u8; 4],
    pub isv_family_id: [u8; 16],
    pub isv_ext_prod_id: [u8; 16],
    /// Year, month and day of the signature, as the signer states it.
    pub date: (u16, u8, u8),
    /// Zero, or 0x8086 for Intel's own enclaves.
    pub vendor: u32,
}

impl SigStruct {
    pub const LEN: usize = 1808;

    /// Reads and verifies: header, exponent, and the RSA-3072 signature with the structure's own key. Q1 and Q2, which
    /// only spare the processor a division, are not looked at.
    pub fn parse(bytes: &[u8]) -> Result<Self, SigStructError> {
        let bytes: &[u8; Self::LEN] = bytes.try_into().map_err(|_| SigStructError::Length { found: bytes.len() })?;
        if bytes[..16] != HEADER || bytes[24..40] != HEADER2 {
            return Err(SigStructError::Header);
        }
        let vendor = u32::from_le_bytes(at(bytes, 16));
        if !matches!(vendor, 0 | 0x8086) {
            return Err(SigStructError::Vendor { found: vendor });
        }
        let exponent = u32::from_le_bytes(at(bytes, 512));
        if exponent != 3 {
            return Err(SigStructError::Exponent { found: exponent });
        }
        let modulus: [u8; 384] = at(bytes, 128);
        let signature: [u8; 384] = at(bytes, 516);
        let reversed = |number: &[u8; 384]| number.iter().rev().copied().collect::<Vec<_>>();
        let signed = [&bytes[..128], &bytes[900..1028]].concat();
        if !verifies_rsa_numbers(&reversed(&modulus), &[3], &signed, &reversed(&signature)) {
            return Err(SigStructError::Signature);
        }
        let date = u32::from_le_bytes(at(bytes, 20));
        Ok(Self {
            mrsigner: *Digest::of(&modulus).as_bytes(),
            mrenclave: at(bytes, 960),
            isv_prod_id: u16::from_le_bytes(at(bytes, 1024)),
            isv_svn: u16::from_le_bytes(at(bytes, 1026)),
            attributes: at(bytes, 928),
            attributes_mask: at(bytes, 944),
            misc_select: at(bytes, 900),
            misc_mask: at(bytes, 904),
            isv_family_id: at(bytes, 912),
            isv_ext_prod_id: at(bytes, 1008),
            date: ((bcd(date >> 24) * 100 + bcd(date >> 16)), bcd(date >> 8) as u8, bcd(date) as u8),
            vendor,
        })
    }

    /// The bits of ATTRIBUTES that a report of this enclave shows, and which of them are fixed. INIT is left out: it is
    /// clear when the signature is checked, and set in every report.
    pub fn report_attributes(&self) -> ([u8; 16], [u8; 16]) {
        let mut mask = self.attributes_mask;
        mask[0] &= !INIT;
        (std::array::from_fn(|i| self.attributes[i] & mask[i]), mask)
    }

    /// The bits of MISCSELECT that are fixed.
    pub fn report_misc(&self) -> ([u8; 4], [u8; 4]) {
        (std::array::from_fn(|i| self.misc_select[i] & self.misc_mask[i]), self.misc_mask)
    }

    /// Whether the enclave runs with key separation and sharing: only then do its family and extended product ids count.
    pub fn kss(&self) -> bool {
        self.attributes[0] & KSS != 0
    }

    /// Anybody can sign as this signer: its private key is published.
    pub fn is_sample_signer(&self) -> bool {
        self.mrsigner == SAMPLE_SIGNER
    }

    /// A debug enclave's memory is open to its host.
    pub fn debug(&self) -> bool {
        self.attributes[0] & DEBUG != 0
    }
}

/// Why bytes are no SIGSTRUCT that could be believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SigStructError {
    #[error("{found} bytes: a SIGSTRUCT has {}", SigStruct::LEN)]
    Length { found: usize },
    #[error("its headers are not those of a SIGSTRUCT")]
    Header,
    #[error("its vendor is {found:#x}: 0 and 0x8086 are known")]
    Vendor { found: u32 },
    #[error("its exponent is {found}: enclaves are signed with 3")]
    Exponent { found: u32 },
    #[error("its signature does not hold: it was altered, or its signing was never finished")]
    Signature,
}

/// MRSIGNER of the key that Intel's SDK ships with its samples, private half and all.
pub const SAMPLE_SIGNER: [u8; 32] = [
    0x83, 0xd7, 0x19, 0xe7, 0x7d, 0xea, 0xca, 0x14, 0x70, 0xf6, 0xba, 0xf6, 0x2a, 0x4d, 0x77, 0x43, 0x03, 0xc8, 0x99,
    0xdb, 0x69, 0x02, 0x0f, 0x9c, 0x70, 0xee, 0x1d, 0xfc, 0x08, 0xc7, 0xce, 0x9e,
];

fn at<const N: usize>(bytes: &[u8; SigStruct::LEN], offset: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[offset..offset + N]);
    field
}

/// Two decimal digits in one byte.
fn bcd(byte: u32) -> u16 {
    (byte >> 4 & 0xf) as u16 * 10 + (byte & 0xf) as u16
}

const HEADER: [u8; 16] = [6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0];
const HEADER2: [u8; 16] = [1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1, 0, 0, 0];

const INIT: u8 = 0x01;
const DEBUG: u8 = 0x02;
const KSS: u8 = 0x80;

#[cfg(test)]
pub(crate) mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// A SIGSTRUCT as a signing tool makes it, with a key of OpenSSL's and its signature.
    pub(crate) fn signed(mrenclave: [u8; 32], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key.pem");
        let key = key.to_str().unwrap();
        let openssl = |args: &[&str]| {
            let output = Command::new("openssl").args(args).stderr(Stdio::null()).output().unwrap();
            assert!(output.status.success(), "{args:?}");
            output.stdout
        };
        openssl(&[
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:3072",
            "-pkeyopt",
            "rsa_keygen_pubexp:3",
            "-out",
            key,
        ]);
        let text = String::from_utf8(openssl(&["rsa", "-in", key, "-noout", "-modulus"])).unwrap();
        let mut modulus = hex::decode(text.trim().strip_prefix("Modulus=").unwrap()).unwrap();
        modulus.reverse();

        let mut bytes = vec![0; SigStruct::LEN];
        bytes[..16].copy_from_slice(&HEADER);
        bytes[20..24].copy_from_slice(&0x2026_0131_u32.to_le_bytes());
        bytes[24..40].copy_from_slice(&HEADER2);
        bytes[128..512].copy_from_slice(&modulus);
        bytes[512] = 3;
        bytes[904..908].fill(0xff);
        bytes[928] = 0x04;
        bytes[936] = 3;
        bytes[944..960].fill(0xff);
        bytes[944] = 0xfd;
        bytes[960..992].copy_from_slice(&mrenclave);
        bytes[1024..1028].copy_from_slice(&[7, 0, 9, 0]);
        change(&mut bytes);
        let message = folder.path().join("message");
        std::fs::write(&message, [&bytes[..128], &bytes[900..1028]].concat()).unwrap();
        let mut signature = openssl(&["dgst", "-sha256", "-sign", key, message.to_str().unwrap()]);
        signature.reverse();
        bytes[516..900].copy_from_slice(&signature);
        bytes
    }

    #[test]
    fn says_what_was_signed() {
        let bytes = signed([5; 32], |bytes| {
            bytes[928] = 0x85;
            bytes[912..928].fill(0xfa);
            bytes[1008..1024].fill(0xeb);
        });
        let read = SigStruct::parse(&bytes).unwrap();
        assert_eq!(read.mrsigner, *Digest::of(&bytes[128..512]).as_bytes());
        assert_eq!((read.mrenclave, read.isv_prod_id, read.isv_svn, read.date), ([5; 32], 7, 9, (2026, 1, 31)));
        assert!(read.kss() && !read.debug());
        assert_eq!((read.isv_family_id, read.isv_ext_prod_id), ([0xfa; 16], [0xeb; 16]));
        let (attributes, mask) = read.report_attributes();
        assert_eq!((attributes[0], mask[0], attributes[8], mask[8]), (0x84, 0xfc, 3, 0xff));
        assert_eq!(read.report_misc(), ([0; 4], [0xff; 4]));
    }

    #[test]
    fn refuses_whatever_was_altered() {
        let bytes = signed([5; 32], |_| {});
        let with = |offset: usize, byte: u8| {
            let mut bytes = bytes.clone();
            bytes[offset] ^= byte;
            SigStruct::parse(&bytes).unwrap_err()
        };
        assert_eq!(SigStruct::parse(&bytes[..1807]), Err(SigStructError::Length { found: 1807 }));
        assert_eq!((with(0, 1), with(24, 1)), (SigStructError::Header, SigStructError::Header));
        assert_eq!(with(16, 1), SigStructError::Vendor { found: 1 });
        assert_eq!(with(512, 2), SigStructError::Exponent { found: 1 });
        for offset in [20, 40, 127, 128, 511, 516, 899, 900, 912, 928, 944, 960, 991, 1008, 1024, 1026, 1027] {
            assert_eq!(with(offset, 1), SigStructError::Signature, "byte {offset}");
        }
        // Q1 and Q2 are not covered, and nothing is read from them.
        let mut other = bytes.clone();
        other[1040..].fill(7);
        assert_eq!(SigStruct::parse(&other), SigStruct::parse(&bytes));
    }
}
