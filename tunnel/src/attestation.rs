//! From the names in the configuration to an attester and an appraiser. Nothing here is chosen silently.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use inclavared_attest::Timestamp;
use inclavared_attest::appraise::{AppraisalError, Appraise, Appraiser, CollateralBook, Root, TrustRoots};
use inclavared_attest::attester::{Attester, AttesterError, UserData};
use inclavared_attest::evidence::{EvidenceTag, Tee};
use inclavared_attest::platform::sim::SimFolderError;
use inclavared_attest::sim::{SimAttester, SimError, SimPlatform, SimSpec, TcbChoice};
use inclavared_config::{Attestation, AttesterKind, SimSettings, VerifierKind};

use crate::appraise::{AcceptedTags, NamedVerifier, RememberingAppraiser};

/// Why a process cannot attest or appraise as it is told to. The operator's matter.
#[derive(Debug, thiserror::Error)]
pub enum AttestationError {
    #[error("the simulated platform")]
    Folder(#[from] SimFolderError),
    #[error("the simulated platform in {folder} does not serve")]
    Platform {
        folder: PathBuf,
        #[source]
        source: SimError,
    },
    #[error("collateral of the simulated platform")]
    Collateral(#[from] AppraisalError),
    #[error("attester `{name}`: {what}; {remedy}")]
    Unavailable { name: &'static str, what: String, remedy: String },
}

/// The attester that the configuration names.
pub fn attester(attestation: &Attestation) -> Result<Arc<dyn Attester>, AttestationError> {
    match attestation.attester {
        AttesterKind::Sim => Ok(Arc::new(simulated(folder(attestation), &attestation.sim)?)),
        AttesterKind::Null => Ok(Arc::new(NullAttester)),
        kind => Err(AttestationError::Unavailable {
            name: kind.name(),
            what: "this build has no driver for it".to_owned(),
            remedy: format!("name one of {}", AttesterKind::NAMES.join(", ")),
        }),
    }
}

/// The appraiser for the verifier that the configuration names: it accepts the kinds of evidence of that name alone.
pub fn appraiser(attestation: &Attestation) -> Result<Arc<dyn Appraise>, AttestationError> {
    let book = Arc::new(CollateralBook::new());
    let mut roots = TrustRoots::vendors();
    if attestation.verifier == VerifierKind::Sim {
        let platform = SimPlatform::load(folder(attestation), Timestamp::now())?;
        roots = roots.with_simulated(platform.root_der());
        for tee in [Tee::Sgx, Tee::Tdx] {
            if let Some(collateral) = platform.collateral(tee) {
                book.insert(Root::Simulated, Arc::new(collateral.clone()))?;
            }
        }
    }
    let appraiser = Appraiser::new(roots, book);
    let accepts = AcceptedTags(accepted(attestation.verifier));
    Ok(Arc::new(RememberingAppraiser::new(NamedVerifier { appraiser, name: attestation.verifier.name(), accepts })))
}

fn accepted(verifier: VerifierKind) -> Vec<EvidenceTag> {
    match verifier {
        VerifierKind::Sim => vec![EvidenceTag::Simulated],
        VerifierKind::Null => vec![EvidenceTag::Null, EvidenceTag::IntelQuote, EvidenceTag::SevSnp],
        VerifierKind::SgxEcdsa | VerifierKind::SgxEcdsaQve | VerifierKind::TdxEcdsa => vec![EvidenceTag::IntelQuote],
        VerifierKind::SevSnp => vec![EvidenceTag::SevSnp],
        VerifierKind::Auto => vec![EvidenceTag::IntelQuote, EvidenceTag::SevSnp],
    }
}

fn folder(attestation: &Attestation) -> &Path {
    attestation.platform.as_deref().unwrap_or(Path::new(""))
}

fn simulated(folder: &Path, settings: &SimSettings) -> Result<SimAttester, AttestationError> {
    let platform = Arc::new(SimPlatform::load(folder, Timestamp::now())?);
    let label = settings.label.as_deref().unwrap_or("inclavared");
    let failed = |source| AttestationError::Platform { folder: folder.to_owned(), source };
    let mut spec = SimSpec::of(settings.tee, label).map_err(failed)?;
    if let Some(mrenclave) = settings.mrenclave {
        spec.mrenclave = mrenclave;
    }
    if let Some(mrsigner) = settings.mrsigner {
        spec.mrsigner = mrsigner;
    }
    spec.isv_prod_id = settings.isv_prod_id;
    spec.isv_svn = settings.isv_svn;
    if let Some(mrtd) = settings.mrtd {
        spec.mrtd = mrtd;
    }
    for (register, value) in spec.rtmr.iter_mut().zip(settings.rtmr) {
        if let Some(value) = value {
            *register = value;
        }
    }
    spec.debug = settings.debug;
    spec.tcb = TcbChoice::Status(settings.tcb);
    spec.machine.clone_from(&settings.machine);
    SimAttester::new(&platform, spec).map_err(failed)
}

/// No TEE: claims without a quote. It exists only where the configuration names it, and only a policy that says
/// `danger_allow_null` accepts what it makes.
#[derive(Debug)]
struct NullAttester;

impl Attester for NullAttester {
    fn name(&self) -> &'static str {
        "null"
    }

    fn tag(&self) -> EvidenceTag {
        EvidenceTag::Null
    }

    fn quote(&self, _user_data: &UserData) -> Result<Vec<u8>, AttesterError> {
        Ok(Vec::new())
    }
}
