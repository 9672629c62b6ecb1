//! The simulated platform: evidence in the real format under a root of its own.
//!
//! It stands in for the hardware alone. Its quotes and collateral are what a real platform and Intel's services
//! would hand out, so the whole production appraisal runs on them; its root, its evidence tag and its name in
//! verdicts are its own, and nothing accepts it unless told. Pure: [`crate::platform::sim`] keeps it on disk.

pub(crate) mod amd;
mod attester;
mod collateral;
mod pck;
mod pki;
mod quote;
mod spec;

pub use amd::{SimAmd, SimSnpAttester, SimSnpSpec};
pub use attester::SimAttester;
pub use collateral::CollateralSpec;
pub use spec::{QuoteFormat, SimSpec, TcbChoice};

use std::time::Duration;

pub(crate) use pki::{Authority, AuthorityName, SimKey, pem, pem_chain};

use crate::appraise::{AppraisalError, Collateral};
use crate::tee::Tee;
use crate::{Digest, Timestamp};

/// How long collateral is valid: long enough for a demo that is left alone for weeks, short enough that running
/// into its end is met in practice. Intel's own is valid for 30 days as well.
pub const COLLATERAL_VALIDITY: Duration = Duration::from_secs(30 * 86_400);

/// How long the simulated certificates are valid.
const CERTIFICATE_VALIDITY: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Certificates and collateral begin this much in the past: the clocks of two machines differ.
const BACKDATE: Duration = Duration::from_secs(3600);

/// A simulated platform: a root of trust, the collateral that it signed, and (where they are at hand) the keys
/// that make quotes and collateral.
#[derive(Debug)]
pub struct SimPlatform {
    pub(crate) public: SimPublic,
    pub(crate) keys: Option<SimKeys>,
    /// For SEV-SNP. Platforms made before there was any, and those of most tests, have none.
    pub(crate) amd: Option<SimAmd>,
}

/// What a verifier needs, and all it needs.
#[derive(Debug)]
pub(crate) struct SimPublic {
    pub(crate) root_der: Vec<u8>,
    pub(crate) sgx: Collateral,
    pub(crate) tdx: Collateral,
}

/// What an attester needs (`pck_ca` and `pck`) and what signs collateral (`root` and `tcb_signer`).
#[derive(Debug)]
pub(crate) struct SimKeys {
    pub(crate) root: Authority,
    pub(crate) pck_ca: Authority,
    pub(crate) tcb_signer: Authority,
    pub(crate) pck: SimKey,
}

impl SimPlatform {
    /// A new platform with keys of its own.
    pub fn generate(now: Timestamp) -> Result<Self, SimError> {
        let begin = Timestamp(now.0.saturating_sub(BACKDATE.as_secs()));
        let end = now.plus(CERTIFICATE_VALIDITY);
        let root = Authority::self_signed(begin, end)?;
        let pck_ca = Authority::issued_by(&root, AuthorityName::PckCa, begin, end)?;
        let tcb_signer = Authority::issued_by(&root, AuthorityName::TcbSigner, begin, end)?;
        Self::from_keys(SimKeys { root, pck_ca, tcb_signer, pck: SimKey::generate()? }, now)
    }

    /// The same platform (root, keys) with collateral that begins now. Needs the keys.
    pub fn renew(self, now: Timestamp) -> Result<Self, SimError> {
        let amd = self.amd.map(|amd| amd.renew(now)).transpose()?;
        Ok(Self { amd, ..Self::from_keys(self.keys.ok_or(SimError::NoKeys)?, now)? })
    }

    /// The same platform, able to simulate SEV-SNP as well. Its keys take a fifth of a second or so to make.
    pub fn with_amd(self, now: Timestamp) -> Result<Self, SimError> {
        match self.amd {
            Some(_) => Ok(self),
            None => Ok(Self { amd: Some(SimAmd::generate(now)?), ..self }),
        }
    }

    /// What stands for AMD in it.
    pub fn amd(&self) -> Option<&SimAmd> {
        self.amd.as_ref()
    }

    pub(crate) fn from_keys(keys: SimKeys, now: Timestamp) -> Result<Self, SimError> {
        let public = SimPublic {
            root_der: keys.root.der.clone(),
            sgx: keys.collateral(&CollateralSpec::at(Tee::Sgx, now))?,
            tdx: keys.collateral(&CollateralSpec::at(Tee::Tdx, now))?,
        };
        Ok(Self { public, keys: Some(keys), amd: None })
    }

    /// The root of trust, to be handed to [`crate::appraise::TrustRoots::with_simulated`].
    pub fn root_der(&self) -> &[u8] {
        &self.public.root_der
    }

    /// The collateral for one kind of TEE; `None` for what is not simulated.
    pub fn collateral(&self, tee: Tee) -> Option<&Collateral> {
        match tee {
            Tee::Sgx => Some(&self.public.sgx),
            Tee::Tdx => Some(&self.public.tdx),
            Tee::SevSnp | Tee::None => None,
        }
    }

    /// Collateral of another making: out of its time, for another platform, revoking. Needs the keys.
    pub fn collateral_with(&self, spec: &CollateralSpec) -> Result<Collateral, SimError> {
        self.keys.as_ref().ok_or(SimError::NoKeys)?.collateral(spec)
    }

    /// When the collateral ends.
    pub fn expires(&self) -> Timestamp {
        self.public.sgx.expires().min(self.public.tdx.expires())
    }

    /// Whether this copy can make quotes.
    pub fn can_attest(&self) -> bool {
        self.keys.is_some()
    }

    /// The model of the simulated machine. It differs from root to root, so that two platforms are never mixed up.
    pub fn fmspc(&self) -> [u8; 6] {
        fmspc(&self.public.root_der)
    }

    /// The identifier (PPID) of the machine of that name: what an `identity` rule of a policy pins.
    pub fn machine_id(&self, machine: &str) -> [u8; 16] {
        derive("ppid", &self.public.root_der, machine)
    }
}

/// The first bytes of a hash over a label, the root and a name: stable where nothing needs to be stored.
fn derive(label: &str, root_der: &[u8], name: &str) -> [u8; 16] {
    let digest = Digest::of_parts(&[label.as_bytes(), &[0], Digest::of(root_der).as_bytes(), name.as_bytes()]);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.as_bytes()[..16]);
    bytes
}

fn fmspc(root_der: &[u8]) -> [u8; 6] {
    let mut bytes = [0; 6];
    bytes.copy_from_slice(&derive("fmspc", root_der, "")[..6]);
    bytes
}

/// Why the simulated platform could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    #[error("the simulated platform's keys are not here: this copy can verify and cannot attest")]
    NoKeys,
    #[error("a simulated platform has no {0:?} to offer; use SGX or TDX")]
    Tee(Tee),
    #[error("this simulated platform has no SEV-SNP; make it anew (`inclavared sim init DIR`)")]
    NoAmd,
    #[error("a {format} quote cannot have TCB status {status}; {remedy}")]
    Status { format: &'static str, status: String, remedy: &'static str },
    #[error("{field} {what}")]
    Field { field: &'static str, what: &'static str },
    #[error("making a certificate of the simulated platform")]
    Certificate(#[from] rcgen::Error),
    #[error("a key of the simulated platform: {0}")]
    Key(String),
    #[error("the simulated platform's collateral")]
    Collateral(#[from] AppraisalError),
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    #[test]
    fn platforms_differ_and_renewal_keeps_the_root() {
        let platform = SimPlatform::generate(NOW).unwrap();
        let other = SimPlatform::generate(NOW).unwrap();
        assert_ne!(platform.root_der(), other.root_der());
        assert_ne!(platform.fmspc(), other.fmspc());
        assert_ne!(platform.machine_id("a"), platform.machine_id("b"));
        assert_eq!(platform.expires(), Timestamp(NOW.0 - 3600).plus(COLLATERAL_VALIDITY));

        let (root, sgx) = (platform.root_der().to_vec(), platform.collateral(Tee::Sgx).unwrap().digest());
        let later = NOW.plus(COLLATERAL_VALIDITY);
        let renewed = platform.renew(later).unwrap();
        assert_eq!(renewed.root_der(), root);
        assert_ne!(renewed.collateral(Tee::Sgx).unwrap().digest(), sgx);
        assert!(renewed.expires() > later);
        assert!(renewed.collateral(Tee::SevSnp).is_none());
    }
}
