//! From what the operator wrote to a running service. What serves where nothing was written is said in the log.

use std::path::{Path, PathBuf};

use inclavared_attest::appraise::{Root, TrustRoots};
use inclavared_config::CollateralOptions;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{
    Bundle, BundleError, CollateralError, CollateralService, CollateralSettings, Endpoint, EndpointError, Qcnl,
    QcnlError,
};

/// Why collateral cannot be had as the operator wants it. The operator's matter.
#[derive(Debug, thiserror::Error)]
pub enum CollateralSetupError {
    #[error(transparent)]
    Service(#[from] EndpointError),
    #[error(
        "where Intel's libraries look for collateral; name services in `[collateral]` or with --collateral-service"
    )]
    Qcnl(#[from] QcnlError),
    #[error("the bundle of collateral {}", path.display())]
    Bundle {
        path: PathBuf,
        #[source]
        source: BundleError,
    },
    #[error("the bundle of collateral {}", path.display())]
    Refused {
        path: PathBuf,
        #[source]
        source: CollateralError,
    },
    #[error("{}: no certificates of a CA in PEM: {what}", path.display())]
    Ca { path: PathBuf, what: String },
    #[error("starting the thread of the collateral service")]
    Thread(#[from] std::io::Error),
}

/// What a process needs of collateral.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// For this root.
    Of(Root),
    /// It appraises nobody: no service is looked for.
    Nothing,
}

/// Starts the service as the operator wants it. Blocks for as long as files take to read.
pub fn start(
    options: &CollateralOptions,
    roots: TrustRoots,
    need: Need,
) -> Result<CollateralService, CollateralSetupError> {
    let settings = match need {
        Need::Of(root) => settings(options, root)?,
        Need::Nothing => CollateralSettings::default(),
    };
    let service = CollateralService::new(settings, roots)?;
    if let (Some(path), Need::Of(_)) = (&options.bundle, need) {
        let bundle =
            Bundle::load(path).map_err(|source| CollateralSetupError::Bundle { path: path.clone(), source })?;
        let taken =
            service.import(&bundle).map_err(|source| CollateralSetupError::Refused { path: path.clone(), source })?;
        tracing::info!(bundle = %path.display(), taken, "collateral from a bundle");
    }
    Ok(service)
}

/// Services that are named are for the root of the verifier that is named.
pub fn settings(options: &CollateralOptions, root: Root) -> Result<CollateralSettings, CollateralSetupError> {
    let mut settings = CollateralSettings::default();
    settings.cache.folder.clone_from(&options.cache);
    settings.fetch.danger_allow_plain_http = options.danger_allow_plain_http;
    settings.fetch.tls.danger_accept_any_certificate = options.danger_accept_any_certificate;
    if let Some(path) = &options.ca {
        settings.fetch.tls.roots = certificates(path)?;
    }
    if let Some(refresh) = options.refresh {
        settings.cache.refresh_every = refresh;
        settings.cache.refresh_retry = settings.cache.refresh_retry.min(refresh);
    }
    let named = options.services.as_deref().map(endpoints).transpose()?;
    settings.amd = match (root, &options.amd_services) {
        (Root::Simulated, _) => Vec::new(),
        (_, Some(urls)) => urls.iter().map(|url| Endpoint::parse_amd(url)).collect::<Result<_, _>>()?,
        (_, None) if options.bundle.is_some() => Vec::new(),
        (_, None) => vec![Endpoint::parse_amd(Endpoint::AMD)?],
    };
    match (root, named) {
        (Root::Simulated, named) => settings.simulated = named.unwrap_or_default(),
        (_, Some(named)) => settings.intel = named,
        (_, None) if options.bundle.is_some() => (),
        (_, None) => default_service(&mut settings)?,
    }
    Ok(settings)
}

fn endpoints(urls: &[String]) -> Result<Vec<Endpoint>, EndpointError> {
    urls.iter()
        .map(|url| {
            let (endpoint, warning) = Endpoint::parse(url)?;
            warning.iter().for_each(|warning| tracing::warn!("{warning}"));
            Ok(endpoint)
        })
        .collect()
}

/// Where Intel's own libraries would ask, or else Intel.
fn default_service(settings: &mut CollateralSettings) -> Result<(), CollateralSetupError> {
    if let Some(qcnl) = Qcnl::load_default()? {
        let warnings = qcnl.apply(settings)?;
        warnings.iter().for_each(|warning| tracing::warn!("the QCNL configuration: {warning}"));
    }
    if settings.intel.is_empty() {
        settings.intel = vec![Endpoint::parse(Endpoint::INTEL)?.0];
    }
    let service = &settings.intel[0];
    tracing::info!(%service, "collateral service");
    Ok(())
}

fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, CollateralSetupError> {
    let wrong = |what: String| CollateralSetupError::Ca { path: path.into(), what };
    let read = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    let certificates = read.map(|der| der.map(|der| der.to_vec()).map_err(|error| wrong(error.to_string())));
    let certificates = certificates.collect::<Result<Vec<_>, _>>()?;
    if certificates.is_empty() {
        return Err(wrong("it holds none".into()));
    }
    Ok(certificates)
}
