//! What a relying party demands of the hops of a path. Types and checks; the TOML form is `inclavared-config`'s.

mod admit;
mod builtin;
mod demand;
mod digest;
mod error;
mod field;
mod measure;
mod name;
mod shape;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use admit::CLOCK_SKEW;
pub use demand::{Comparison, Demand, Test};
pub use error::PolicyError;
pub use field::{Field, FieldValue, GUEST_POLICY_BITS};
pub use shape::MAX_HOPS;
pub use verdict::{Claim, TrustVector, Verdict};

use crate::ConfigDigest;
use crate::appraise::TcbStatus;
use crate::appraise::snp::{SnpProduct, SnpTcb};
use crate::tee::Tee;

/// A compiled policy. Fail closed: whatever it does not allow is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// The name in configuration, logs and errors.
    pub name: String,
    /// Accepts evidence of a simulated platform. Taints every verdict.
    pub allow_simulated: bool,
    /// Accepts peers with no evidence at all (`verifier = "null"`). Taints every verdict.
    pub danger_allow_null: bool,
    /// Accepts debug enclaves and TDs: their memory is open to the host.
    pub danger_allow_debug: bool,
    pub tcb: TcbPolicy,
    pub identity: IdentityRule,
    /// Whose a hop has to be besides, by the word of an authority. `None`: nobody is asked.
    pub named: Option<NameRule>,
    pub measurements: Measurements,
    pub shape: ChainShape,
    /// Evidence whose `not_after` minus now is acceptable, and whose claimed age is at most this.
    pub max_evidence_age: Duration,
    /// A path that lives longer than this without a fresh quote ends.
    pub max_path_age: Duration,
    pub binding: Binding,
    /// Refuses paths with a leg that stood ready before the path was asked for (`PROTOCOL.md` section 3).
    pub refuse_warm_legs: bool,
}

/// Where a hop stands in its path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HopPlace<'a> {
    /// 1 is the hop next to the verifier.
    pub position: u8,
    pub last: bool,
    /// The role that the hop claims; the evidence must claim the same.
    pub role: &'a str,
}

/// What stands at the end of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathEnd {
    Terminal(TerminalKind),
    /// An attested peer that does not speak this protocol.
    Legacy,
}

/// Which platform states are acceptable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TcbPolicy {
    pub accepted: BTreeSet<TcbStatus>,
    /// How long after a TCB recovery an out-of-date platform is still accepted (counted from the TCB date).
    pub grace: Duration,
    /// Advisories that refuse a platform whatever its status (`INTEL-SA-00615`).
    pub refused_advisories: BTreeSet<String>,
    /// Where set, a platform with any other advisory is refused. A refused one is refused even if it stands here.
    pub allowed_advisories: Option<BTreeSet<String>>,
    pub allow_smt: bool,
    pub allow_dynamic_platform: bool,
    pub allow_cached_keys: bool,
    /// The oldest firmware that an SEV-SNP guest may run on, by product. Empty: any; AMD says of none that it is out of
    /// date. Otherwise a product that is not among them is refused.
    pub snp_min: BTreeMap<SnpProduct, SnpTcb>,
}

/// Who owns the machine, beside what runs on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IdentityRule {
    /// Any genuine platform, said aloud: the right code on anybody's machine passes.
    AnyGenuine,
    /// Only these platforms (PPID, platform instance id or chip id, as bytes).
    Platforms(BTreeSet<Vec<u8>>),
    /// Only enclaves that were launched with one of these CONFIGIDs (SGX with KSS). Whoever knows one can launch with it:
    /// it says whose configuration the code was given, and the code has to make something of it.
    ConfigIds(BTreeSet<[u8; 64]>),
}

/// Who may have named a hop key, and how (`docs/PROTOCOL.md` section 2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NameRule {
    /// Certificates in DER. Invariant: not empty.
    pub authorities: Vec<Vec<u8>>,
    /// URIs of which the name has to have one: SPIFFE ids. Invariant: not empty.
    pub uris: BTreeSet<String>,
}

/// Which code is acceptable at which hop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Measurements {
    /// The built-in `genuine-only` policy: measurements are shown and not compared.
    NotCompared,
    /// Every hop must match, in full, at least one of the rules that apply to it; a hop without a rule is refused.
    /// Rules widen, they do not narrow: a rule for any hop lets its code stand at every position.
    Rules(Vec<HopRule>),
}

/// What one hop (by position or by role) must be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HopRule {
    pub applies: Applies,
    /// Invariant: not empty.
    pub tees: BTreeSet<Tee>,
    /// Any one of them suffices. Invariant: not empty.
    pub reference_values: Vec<ReferenceValue>,
    /// All of them have to hold, whichever reference value it was.
    pub demands: Vec<Demand>,
    /// Where set, the configuration that the hop attests must be this one.
    pub config_digest: Option<ConfigDigest>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Applies {
    /// 1 is the hop next to the verifier.
    Position(u8),
    /// The last hop of the path.
    Last,
    Role(String),
    Any,
}

/// One acceptable identity of code.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(clippy::large_enum_variant)] // a policy holds a handful
pub enum ReferenceValue {
    SgxEnclave {
        mrenclave: [u8; 32],
    },
    /// Whatever this signer signs as this product, from this security version on.
    SgxSigner {
        mrsigner: [u8; 32],
        isv_prod_id: u16,
        isv_svn_min: u16,
    },
    Tdx {
        mrtd: [u8; 48],
        rtmr: [Option<[u8; 48]>; 4],
        mrconfigid: Option<[u8; 48]>,
    },
    SevSnp {
        measurement: [u8; 48],
    },
}

/// Which chains of hops are acceptable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChainShape {
    /// Roles in order from the verifier, each with how often it may stand there. Empty: any roles.
    pub order: Vec<RoleStep>,
    pub min_hops: u8,
    pub max_hops: u8,
    /// How the last hop may reach the workload.
    pub terminals: BTreeSet<TerminalKind>,
    /// Accepts a last hop whose downstream is an attested peer that does not speak this protocol.
    pub allow_legacy_end: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoleStep {
    pub role: String,
    pub min: u8,
    pub max: u8,
}

/// How the last hop reaches the workload. Derived by the code, never configured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TerminalKind {
    /// The workload is this process.
    Workload,
    /// A socket inside the TEE's own kernel or LibOS.
    SameTee,
    /// Loopback in a TDX or SNP guest.
    TeeLocal,
    /// Loopback or a Unix socket under SGX: the host's, not confidential.
    HostLocal,
    /// Everything else: plain bytes on a network.
    Plain,
}

/// How strongly a path is bound to the sessions it crosses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Binding {
    #[default]
    Key,
    KeyAudit,
    Quote,
}

#[cfg(test)]
mod tests;
