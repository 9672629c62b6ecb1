//! From the names in the configuration to an attester and an appraiser. Nothing here is chosen silently.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use inclavared_attest::Timestamp;
use inclavared_attest::appraise::{Appraise, Appraiser, Root, TcbStatus, TrustRoots};
use inclavared_attest::attester::{Attester, AttesterError, UserData};
use inclavared_attest::evidence::{EvidenceTag, Tee};
use inclavared_attest::platform::sim::SimFolderError;
use inclavared_attest::platform::{DriverOptions, SevSnp, SgxEcdsa, TdxEcdsa, auto};
use inclavared_attest::sim::{SimAttester, SimError, SimPlatform, SimSnpAttester, SimSnpSpec, SimSpec, TcbChoice};
use inclavared_collateral::{CollateralError, CollateralService, CollateralSetupError, Need};
use inclavared_config::{Attestation, AttesterKind, SimSettings, VerifierKind};

use crate::metrics::AppraisalCounters;
use crate::trust::appraise::{AcceptedTags, NamedVerifier, RememberingAppraiser};

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
    Simulated(#[from] CollateralError),
    #[error("collateral")]
    Collateral(#[from] CollateralSetupError),
    /// It says what to mount, to load or to grant.
    #[error(transparent)]
    Attester(#[from] AttesterError),
}

/// The attester that the configuration names. A quote of the hardware takes at most `deadline`.
pub fn attester(attestation: &Attestation, deadline: Duration) -> Result<Arc<dyn Attester>, AttestationError> {
    let options = DriverOptions { deadline, ..DriverOptions::default() };
    Ok(match attestation.attester {
        AttesterKind::Sim => simulated(folder(attestation), &attestation.sim)?,
        AttesterKind::Null => Arc::new(NullAttester),
        AttesterKind::SgxEcdsa => {
            let driver = SgxEcdsa::open(&options)?;
            opened(SgxEcdsa::NAME, &driver.interface());
            Arc::new(driver)
        }
        AttesterKind::TdxEcdsa => {
            let driver = TdxEcdsa::open(&options)?;
            opened(TdxEcdsa::NAME, &driver.interface());
            Arc::new(driver)
        }
        AttesterKind::SevSnp => {
            let driver = SevSnp::open(&options)?;
            opened(SevSnp::NAME, &driver.interface());
            Arc::new(driver)
        }
        AttesterKind::Auto => {
            let found = auto::detect(&options)?;
            for (i, detected) in found.detected.iter().enumerate() {
                match i {
                    0 => opened(detected.name, &detected.because),
                    _ => tracing::info!(attester = detected.name, because = detected.because, "also there, not used"),
                }
            }
            Arc::from(found.attester)
        }
    })
}

fn opened(attester: &str, because: &str) {
    tracing::info!(attester, because, "attester");
}

/// What peers' evidence is judged by.
pub struct Appraisal {
    pub appraiser: Arc<dyn Appraise>,
    /// Fills the appraiser's book.
    pub collateral: Arc<CollateralService>,
    pub counters: Arc<AppraisalCounters>,
}

/// The appraiser for the verifier that the configuration names: it accepts the kinds of evidence of that name alone.
/// `needed` says whether any peer is to be appraised; where none is, no collateral service is looked for.
pub fn appraisal(attestation: &Attestation, needed: bool) -> Result<Appraisal, AttestationError> {
    let options = &attestation.collateral;
    let need = |root| if needed { Need::Of(root) } else { Need::Nothing };
    let (roots, service) = match attestation.verifier {
        // What is named takes the place of what lies in the folder; the root is the folder's in any case.
        VerifierKind::Sim if options.names_a_source() => {
            let roots = TrustRoots::vendors().with_simulated(SimPlatform::load_root(folder(attestation))?);
            let roots = roots.with_simulated_amd(SimPlatform::load_amd_root(folder(attestation))?);
            (roots.clone(), inclavared_collateral::start(options, roots, need(Root::Simulated))?)
        }
        VerifierKind::Sim => {
            let platform = SimPlatform::load(folder(attestation), Timestamp::now())?;
            let amd = platform.amd();
            let roots = TrustRoots::vendors().with_simulated(platform.root_der());
            let roots = roots.with_simulated_amd(amd.map(|amd| amd.root().clone()));
            let service = inclavared_collateral::start(options, roots.clone(), need(Root::Simulated))?;
            for set in [Tee::Sgx, Tee::Tdx].into_iter().filter_map(|tee| platform.collateral(tee)) {
                service.insert(Root::Simulated, Arc::new(set.clone()))?;
            }
            if let Some(amd) = amd {
                service.insert_amd(Root::Simulated, amd.set())?;
            }
            (roots, service)
        }
        _ => {
            let roots = TrustRoots::vendors();
            (roots.clone(), inclavared_collateral::start(options, roots, need(Root::Intel))?)
        }
    };
    let book = service.book();
    let appraiser = Appraiser::new(roots, Arc::clone(&book));
    let accepts = AcceptedTags(accepted(attestation.verifier));
    let named = NamedVerifier { appraiser, name: attestation.verifier.name(), accepts };
    let collateral = Arc::new(service);
    let lists = Arc::clone(&collateral);
    let appraiser = RememberingAppraiser::new(named, book).telling(Box::new(move |root, id| lists.want_list(root, id)));
    let counters = appraiser.counters();
    Ok(Appraisal { appraiser: Arc::new(appraiser), collateral, counters })
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

fn simulated(folder: &Path, settings: &SimSettings) -> Result<Arc<dyn Attester>, AttestationError> {
    let platform = Arc::new(SimPlatform::load(folder, Timestamp::now())?);
    let label = settings.label.as_deref().unwrap_or("inclavared");
    let failed = |source| AttestationError::Platform { folder: folder.to_owned(), source };
    if settings.tee == Tee::SevSnp {
        let provisional = match settings.tcb {
            TcbStatus::UpToDate => false,
            TcbStatus::ConfigurationNeeded => true,
            status => {
                let remedy = "AMD knows UpToDate and ConfigurationNeeded alone";
                return Err(failed(SimError::Status { format: "SEV-SNP", status: status.to_string(), remedy }));
            }
        };
        let SimSettings { debug, certificates, .. } = *settings;
        let machine = settings.machine.clone();
        let mut spec = SimSnpSpec { debug, certificates, provisional, machine, ..SimSnpSpec::new(label) };
        for (field, value) in &settings.fields {
            spec.set(*field, value).map_err(failed)?;
        }
        return Ok(Arc::new(SimSnpAttester::new(&platform, spec, Timestamp::now()).map_err(failed)?));
    }
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
    for (field, value) in &settings.fields {
        spec.set(*field, value).map_err(failed)?;
    }
    spec.debug = settings.debug;
    spec.tcb = TcbChoice::Status(settings.tcb);
    spec.machine.clone_from(&settings.machine);
    Ok(Arc::new(SimAttester::new(&platform, spec).map_err(failed)?))
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
