//! The attestation report itself.

use crate::Reason;
use crate::appraise::AppraisalError;
use crate::crypto::{Scheme, verifies};

/// A report of version 2 to 5, as it stands. Nothing is verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnpReport {
    pub version: u32,
    pub guest_svn: u32,
    /// GUEST_POLICY: what the guest's owner lets the host do.
    pub policy: u64,
    pub family_id: [u8; 16],
    pub image_id: [u8; 16],
    /// The privilege level that asked; 0 is the highest. All ones if the host asked.
    pub vmpl: u32,
    pub signature_algorithm: u32,
    pub current_tcb: [u8; 8],
    pub platform_info: u64,
    pub key_info: u32,
    pub report_data: [u8; 64],
    pub measurement: [u8; 48],
    pub host_data: [u8; 32],
    pub id_key_digest: [u8; 48],
    pub author_key_digest: [u8; 48],
    pub report_id: [u8; 32],
    /// All ones if no migration agent belongs to the guest.
    pub report_id_ma: [u8; 32],
    pub reported_tcb: [u8; 8],
    /// Family, model and stepping of the processor. From version 3 on.
    pub cpuid: Option<[u8; 3]>,
    /// Zero if the host hides it.
    pub chip_id: [u8; 64],
    pub committed_tcb: [u8; 8],
    /// Of the firmware's interface: major, minor, build.
    pub current_version: [u8; 3],
    pub committed_version: [u8; 3],
    pub launch_tcb: [u8; 8],
    /// Mitigations in force at launch and now. From version 5 on.
    pub mitigations: Option<[u64; 2]>,
    signed: Vec<u8>,
    signature: Vec<u8>,
}

/// Which kind of key signed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SigningKey {
    /// The versioned chip endorsement key: of one chip with one TCB.
    Vcek,
    /// The versioned loaded endorsement key: of one cloud provider with one TCB, on any of its chips.
    Vlek,
}

impl SnpReport {
    pub const LEN: usize = 1184;

    pub fn parse(bytes: &[u8]) -> Result<Self, AppraisalError> {
        let bytes: &[u8; Self::LEN] = bytes
            .try_into()
            .map_err(|_| form("an SEV-SNP report", format!("{} bytes", Self::LEN), format!("{} bytes", bytes.len())))?;
        let version = u32::from_le_bytes(at(bytes, 0));
        if !(2..=5).contains(&version) {
            return Err(form("the version of the report", "2 to 5", version.to_string()));
        }
        let firmware = |offset| {
            let [build, minor, major] = at(bytes, offset);
            [major, minor, build]
        };
        Ok(Self {
            version,
            guest_svn: u32::from_le_bytes(at(bytes, 0x04)),
            policy: u64::from_le_bytes(at(bytes, 0x08)),
            family_id: at(bytes, 0x10),
            image_id: at(bytes, 0x20),
            vmpl: u32::from_le_bytes(at(bytes, 0x30)),
            signature_algorithm: u32::from_le_bytes(at(bytes, 0x34)),
            current_tcb: at(bytes, 0x38),
            platform_info: u64::from_le_bytes(at(bytes, 0x40)),
            key_info: u32::from_le_bytes(at(bytes, 0x48)),
            report_data: at(bytes, 0x50),
            measurement: at(bytes, 0x90),
            host_data: at(bytes, 0xC0),
            id_key_digest: at(bytes, 0xE0),
            author_key_digest: at(bytes, 0x110),
            report_id: at(bytes, 0x140),
            report_id_ma: at(bytes, 0x160),
            reported_tcb: at(bytes, 0x180),
            cpuid: (version >= 3).then(|| at(bytes, 0x188)),
            chip_id: at(bytes, 0x1A0),
            committed_tcb: at(bytes, 0x1E0),
            current_version: firmware(0x1E8),
            committed_version: firmware(0x1EC),
            launch_tcb: at(bytes, 0x1F0),
            mitigations: (version >= 5)
                .then(|| [u64::from_le_bytes(at(bytes, 0x1F8)), u64::from_le_bytes(at(bytes, 0x200))]),
            signed: bytes[..SIGNED].to_vec(),
            signature: bytes[SIGNED..].to_vec(),
        })
    }

    /// `None` if nothing signed it, or something unknown.
    pub fn signing_key(&self) -> Option<SigningKey> {
        match self.key_info >> 2 & 7 {
            0 => Some(SigningKey::Vcek),
            1 => Some(SigningKey::Vlek),
            _ => None,
        }
    }

    pub fn debug(&self) -> bool {
        self.policy & POLICY_DEBUG != 0
    }

    pub fn chip_is_masked(&self) -> bool {
        self.chip_id == [0; 64]
    }

    /// That the guest asked for it and that the firmware signed it.
    pub(super) fn check_origin(&self) -> Result<SigningKey, AppraisalError> {
        if self.vmpl > LOWEST_VMPL {
            let found = if self.vmpl == u32::MAX { "the host".into() } else { format!("VMPL {}", self.vmpl) };
            return Err(form("who asked for the report", "the guest, at VMPL 0 to 3", found));
        }
        if self.signature_algorithm != ECDSA_P384 {
            let found = format!("algorithm {}", self.signature_algorithm);
            return Err(form("the signature of the report", "ECDSA P-384 with SHA-384 (1)", found));
        }
        let unsigned = |found: &str| form("the key that signed the report", "a VCEK or a VLEK", found);
        if self.key_info & MASK_CHIP_KEY != 0 {
            return Err(unsigned("none: the host has the chip's key masked"));
        }
        self.signing_key().ok_or_else(|| unsigned(&format!("kind {}", self.key_info >> 2 & 7)))
    }

    /// `point` is the uncompressed point of a P-384 key.
    pub(super) fn check_signature(&self, point: &[u8]) -> Result<(), AppraisalError> {
        let (r, rest) = self.signature.split_at(SCALAR);
        let (s, rest) = rest.split_at(SCALAR);
        // Nothing signs these bytes: whoever carries the report could change them.
        if [&r[48..], &s[48..], rest].concat().iter().any(|byte| *byte != 0) {
            return Err(form("the signature of the report", "zero bytes behind r and s", "others"));
        }
        let fixed: Vec<u8> = r[..48].iter().rev().chain(s[..48].iter().rev()).copied().collect();
        if verifies(Scheme::P384Sha384Fixed, point, &self.signed, &fixed) {
            return Ok(());
        }
        Err(AppraisalError::new(
            Reason::QuoteSignature,
            "the signature of the report",
            "one by the key of its certificate",
            "another signature",
        ))
    }

    /// What no policy may allow: the same as for TDX, where the appraising library refuses it.
    pub(super) fn check_guest(&self) -> Result<(), AppraisalError> {
        if self.policy & POLICY_MIGRATE != 0 {
            return Err(AppraisalError::new(
                Reason::Measurement,
                "guest policy",
                "a guest that cannot be migrated",
                "one that may have a migration agent",
            ));
        }
        Ok(())
    }
}

/// Every offset is a constant within the report.
fn at<const N: usize>(bytes: &[u8; SnpReport::LEN], offset: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[offset..offset + N]);
    field
}

fn form(what: &str, expected: impl Into<String>, found: impl Into<String>) -> AppraisalError {
    AppraisalError::new(Reason::EvidenceForm, what, expected, found)
}

/// How many bytes the signature covers.
const SIGNED: usize = 0x2A0;
/// r and s, little-endian, in bytes.
const SCALAR: usize = 72;
const ECDSA_P384: u32 = 1;
const LOWEST_VMPL: u32 = 3;
/// KEY_INFO bit 1.
const MASK_CHIP_KEY: u32 = 1 << 1;
/// GUEST_POLICY bits 18 and 19.
const POLICY_MIGRATE: u64 = 1 << 18;
const POLICY_DEBUG: u64 = 1 << 19;
