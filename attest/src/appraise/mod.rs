//! Appraisal: from evidence and collateral to what is known of an attester. Policy judges it afterwards.

mod appraiser;
mod book;
mod collateral;
mod dcap;
mod hexadecimal;
mod refusal;
mod roots;
pub mod snp;
mod tcb;
mod x509;

use std::sync::Arc;

pub use appraiser::{Appraiser, amd_root};
pub use book::CollateralBook;
pub use collateral::{Collateral, CollateralId, Epoch};
pub(crate) use dcap::ParsedQuote;
pub use dcap::collateral_id;
pub use dcap_qvl::config::PckCa;
#[cfg(feature = "sim")]
pub(crate) use roots::SIMULATED_ORGANIZATION;
pub use roots::TrustRoots;
pub use tcb::TcbStatus;
pub(crate) use x509::{certificate_window, parse, pem_certificates};

use crate::evidence::{Endorsements, Quoted};
use crate::tee::Tee;
use crate::{CollateralDigest, EvidenceDigest, Reason, Timestamp};

/// Appraises evidence. Pure but for what it was built with; takes under a millisecond, so it runs on the blocking pool.
pub trait Appraise: Send + Sync {
    fn appraise(&self, evidence: &Quoted, now: Timestamp) -> Result<Arc<Appraised>, AppraisalError>;

    /// What was accepted a short while ago and still holds, by its hash: it is neither read nor appraised anew. What it may
    /// be shown for is the caller's to ask of it. By default nothing is remembered.
    fn recall(&self, _evidence: &EvidenceDigest, _now: Timestamp) -> Option<(Quoted, Arc<Appraised>)> {
        None
    }

    /// Takes what a peer sent along with its evidence, if it can be used and is genuine. Never more than a convenience:
    /// evidence is appraised alike, whoever brought the certificates. By default nothing is taken.
    fn learn_endorsements(
        &self,
        _evidence: &Quoted,
        _endorsements: &Endorsements,
        _now: Timestamp,
    ) -> Result<(), AppraisalError> {
        Ok(())
    }
}

/// What the cryptography says of an attester, before any policy has judged it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Appraised {
    pub tee: Tee,
    pub root: Root,
    pub code: CodeIdentity,
    pub debug: bool,
    pub tcb_status: TcbStatus,
    /// When the TCB level that the platform matched was current; for an out-of-date platform the oldest date among
    /// its out-of-date components (platform, TDX module, quoting enclave).
    pub tcb_date: Timestamp,
    pub advisories: Vec<String>,
    pub platform: Platform,
    pub collateral: CollateralDigest,
    /// Whether certificate revocation lists were among what was checked. Always for Intel; for AMD if there was one.
    pub revocation_checked: bool,
    pub appraised_at: Timestamp,
    /// The earliest end of whatever this rests on: collateral, certificates, CRLs.
    pub expires: Timestamp,
}

/// Which root of trust the evidence ends in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Root {
    Intel,
    Amd,
    Simulated,
    /// The null attester: nothing stands behind it.
    None,
}

/// The measured identity of the code, as the hardware states it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CodeIdentity {
    Sgx(SgxIdentity),
    Tdx(Box<TdxIdentity>),
    SevSnp(Box<SnpIdentity>),
    None,
}

#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct SgxIdentity {
    #[serde(serialize_with = "hexadecimal::bytes")]
    pub mrenclave: [u8; 32],
    #[serde(serialize_with = "hexadecimal::bytes")]
    pub mrsigner: [u8; 32],
    pub isv_prod_id: u16,
    pub isv_svn: u16,
    #[serde(serialize_with = "hexadecimal::bytes")]
    pub attributes: [u8; 16],
    pub misc_select: u32,
    /// What the launcher chose, where the enclave runs with key separation and sharing (KSS); zero otherwise.
    #[serde(serialize_with = "hexadecimal::bytes")]
    pub config_id: [u8; 64],
    pub config_svn: u16,
    /// What the signer chose, under KSS.
    #[serde(serialize_with = "hexadecimal::bytes")]
    pub isv_family_id: [u8; 16],
    #[serde(serialize_with = "hexadecimal::bytes")]
    pub isv_ext_prod_id: [u8; 16],
}

#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct TdxIdentity {
    #[serde(serialize_with = "hexadecimal::bytes")]
    pub mrtd: [u8; 48],
    #[serde(serialize_with = "hexadecimal::list")]
    pub rtmr: [[u8; 48]; 4],
    #[serde(serialize_with = "hexadecimal::bytes")]
    pub mrconfigid: [u8; 48],
    #[serde(serialize_with = "hexadecimal::bytes")]
    pub mrowner: [u8; 48],
    #[serde(serialize_with = "hexadecimal::bytes")]
    pub mrownerconfig: [u8; 48],
    #[serde(serialize_with = "hexadecimal::bytes")]
    pub mrseam: [u8; 48],
    #[serde(serialize_with = "hexadecimal::bytes")]
    pub mrsignerseam: [u8; 48],
    #[serde(serialize_with = "hexadecimal::bytes")]
    pub td_attributes: [u8; 8],
    #[serde(serialize_with = "hexadecimal::bytes")]
    pub xfam: [u8; 8],
    #[serde(serialize_with = "hexadecimal::bytes")]
    pub tee_tcb_svn: [u8; 16],
}

#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct SnpIdentity {
    #[serde(serialize_with = "hexadecimal::bytes")]
    pub measurement: [u8; 48],
    #[serde(serialize_with = "hexadecimal::bytes")]
    pub host_data: [u8; 32],
    #[serde(serialize_with = "hexadecimal::bytes")]
    pub id_key_digest: [u8; 48],
    #[serde(serialize_with = "hexadecimal::bytes")]
    pub author_key_digest: [u8; 48],
    #[serde(serialize_with = "hexadecimal::bytes")]
    pub family_id: [u8; 16],
    #[serde(serialize_with = "hexadecimal::bytes")]
    pub image_id: [u8; 16],
    /// The security version that the guest's owner gave it in its ID block.
    pub guest_svn: u32,
    pub guest_policy: u64,
    pub vmpl: u32,
}

/// The machine behind the evidence.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Platform {
    /// Every identifier that names it: PPID, platform instance id, chip id.
    #[serde(serialize_with = "hexadecimal::list")]
    pub ids: Vec<Vec<u8>>,
    /// What the PCK certificate says, or the SEV-SNP report (SMT alone); `None` where it says nothing.
    pub smt: Option<bool>,
    pub dynamic: Option<bool>,
    pub cached_keys: Option<bool>,
    /// AMD's firmware. `None` for every other TEE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snp: Option<SnpPlatform>,
}

/// The firmware under an SEV-SNP guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub struct SnpPlatform {
    pub product: snp::SnpProduct,
    /// Part by part the lowest of what is certified, what the machine may go back to, and what the guest was launched
    /// under.
    pub tcb: snp::SnpTcb,
}

/// Why evidence was refused, or could not be judged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what}: expected {expected}, found {found}")]
pub struct AppraisalError {
    pub reason: Reason,
    /// The check that failed, in words.
    pub what: String,
    pub expected: String,
    pub found: String,
}

impl AppraisalError {
    pub(crate) fn new(
        reason: Reason,
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self { reason, what: what.into(), expected: expected.into(), found: printable(&found.into()) }
    }

    pub fn reason(&self) -> Reason {
        self.reason
    }
}

/// What was found may quote a peer, a name in its certificate for one: no control characters, and not without end.
fn printable(text: &str) -> String {
    const MAX_CHARS: usize = 512;
    text.chars().take(MAX_CHARS).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) mod real;
    mod simulated;
    mod tamper;
}
