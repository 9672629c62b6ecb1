//! Appraisal: from evidence and collateral to what is known of an attester. Policy judges it afterwards.

mod tcb;

use std::sync::Arc;

pub use tcb::TcbStatus;

use crate::evidence::{Evidence, Tee};
use crate::{CollateralDigest, Reason, Timestamp};

/// Appraises evidence. Pure but for what it was built with; takes under a millisecond, so it runs on the blocking pool.
pub trait Appraise: Send + Sync {
    fn appraise(&self, evidence: &Evidence, now: Timestamp) -> Result<Arc<Appraised>, AppraisalError>;
}

/// What the cryptography says of an attester, before any policy has judged it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Appraised {
    pub tee: Tee,
    pub root: Root,
    pub code: CodeIdentity,
    pub debug: bool,
    pub tcb_status: TcbStatus,
    /// When the TCB level that the platform matched was current.
    pub tcb_date: Timestamp,
    pub advisories: Vec<String>,
    pub platform: Platform,
    pub collateral: CollateralDigest,
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
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CodeIdentity {
    Sgx(SgxIdentity),
    Tdx(Box<TdxIdentity>),
    SevSnp(Box<SnpIdentity>),
    None,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SgxIdentity {
    pub mrenclave: [u8; 32],
    pub mrsigner: [u8; 32],
    pub isv_prod_id: u16,
    pub isv_svn: u16,
    pub attributes: [u8; 16],
    pub misc_select: u32,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TdxIdentity {
    pub mrtd: [u8; 48],
    pub rtmr: [[u8; 48]; 4],
    pub mrconfigid: [u8; 48],
    pub mrowner: [u8; 48],
    pub mrownerconfig: [u8; 48],
    pub mrseam: [u8; 48],
    pub mrsignerseam: [u8; 48],
    pub td_attributes: [u8; 8],
    pub xfam: [u8; 8],
    pub tee_tcb_svn: [u8; 16],
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnpIdentity {
    pub measurement: [u8; 48],
    pub host_data: [u8; 32],
    pub id_key_digest: [u8; 48],
    pub author_key_digest: [u8; 48],
    pub family_id: [u8; 16],
    pub image_id: [u8; 16],
    pub guest_policy: u64,
    pub vmpl: u32,
}

/// The machine behind the evidence.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Platform {
    /// Every identifier that names it: PPID, platform instance id, chip id.
    pub ids: Vec<Vec<u8>>,
    /// What the PCK certificate says; `None` where it says nothing.
    pub smt: Option<bool>,
    pub dynamic: Option<bool>,
    pub cached_keys: Option<bool>,
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
    pub fn reason(&self) -> Reason {
        self.reason
    }
}
