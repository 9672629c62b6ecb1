//! `inclavared pccs` and `inclavared collateral`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use inclavared_attest::Timestamp;
use inclavared_attest::appraise::snp::SnpRequest;
use inclavared_attest::appraise::{Root, TrustRoots};
use inclavared_attest::offline::Input;
use inclavared_attest::sim::SimPlatform;
use inclavared_collateral::{
    self, Bundle, Clock, CollateralService, CollateralSource, Need, PccsSettings, SimulatedSource,
};
use inclavared_config::{CollateralOptions, Listen};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::cli::{CollateralTask, CollateralWhat, Pccs, PccsFrom, TlsFiles};
use crate::signals::EndAsked;

/// How long `fetch` waits: all services, each with a moment to think.
const FETCH_LIMIT: Duration = Duration::from_secs(60);

/// Serves until it is told to end.
pub fn serve(pccs: &Pccs) -> anyhow::Result<()> {
    let Listen::Tcp(address) = pccs.listen else { bail!("--listen: collateral is served over TCP alone") };
    let Serving { source, _service } = source(&pccs.from)?;
    let tls = pccs.tls.as_ref().map(server_config).transpose()?;
    let settings = PccsSettings { tls, ..PccsSettings::default() };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind(address)).with_context(|| format!("--listen {address}"))?;
    let end = EndAsked::take_over().context("taking over the signals")?;
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    listening(scheme, listener.local_addr()?);
    let (stop, stopped) = oneshot::channel();
    // Ends with the process.
    thread::Builder::new().name("signals".into()).spawn(move || {
        end.wait();
        stop.send(())
    })?;
    let mut waited = Ok(());
    let stopped = async { waited = stopped.await };
    runtime.block_on(inclavared_collateral::serve(listener, source, settings, stopped)).context("the listener")?;
    waited.context("the thread that waits for signals")
}

fn listening(scheme: &str, address: SocketAddr) {
    if scheme == "http" && !address.ip().is_loopback() {
        tracing::warn!("plain http beyond this machine: clients refuse it unless they allow it by name; see --cert");
    }
    tracing::info!(route = "pccs", address = %format_args!("{scheme}://{address}"), "listening");
}

struct Serving {
    source: Arc<dyn CollateralSource>,
    /// Behind the source; its thread lives as long.
    _service: Option<CollateralService>,
}

fn source(from: &PccsFrom) -> anyhow::Result<Serving> {
    match from {
        PccsFrom::Platform(folder) => {
            let platform = SimPlatform::load(folder, Timestamp::now())?;
            let source = Arc::new(SimulatedSource::new(&Arc::new(platform), Clock::default()));
            Ok(Serving { source, _service: None })
        }
        PccsFrom::Options(options) => {
            let service = inclavared_collateral::start(options, TrustRoots::vendors(), Need::Of(Root::Intel))?;
            Ok(Serving { source: service.source(Root::Intel), _service: Some(service) })
        }
    }
}

fn server_config(files: &TlsFiles) -> anyhow::Result<Arc<ServerConfig>> {
    let TlsFiles { certificates, key } = files;
    let chain = CertificateDer::pem_file_iter(certificates)
        .and_then(|chain| chain.collect::<Result<Vec<_>, _>>())
        .with_context(|| format!("--cert {}", certificates.display()))?;
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| format!("--key {}", key.display()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    // Clients with Intel's library may speak TLS 1.2 alone.
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("--cert and --key")?;
    Ok(Arc::new(config))
}

/// Collateral in files.
pub fn collateral(task: &CollateralTask) -> anyhow::Result<()> {
    let (root, roots) = match &task.platform {
        Some(folder) => {
            let roots = TrustRoots::intel().with_simulated(SimPlatform::load_root(folder)?);
            (Root::Simulated, roots.with_simulated_amd(SimPlatform::load_amd_root(folder)?))
        }
        None => (Root::Intel, TrustRoots::vendors()),
    };
    match &task.what {
        CollateralWhat::Fetch { id, out } => {
            let service = inclavared_collateral::start(&task.options, roots, Need::Of(root))?;
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let set = runtime.block_on(service.get(root, *id, FETCH_LIMIT))?;
            written(&Bundle::new(Timestamp::now(), vec![(root, set)]), out)
        }
        CollateralWhat::FetchAmd { report, out } => {
            let service = inclavared_collateral::start(&task.options, roots, Need::Of(root))?;
            let report = read_report(report)?;
            let request = SnpRequest::of(&report).context("the report")?;
            let root = if root == Root::Intel { Root::Amd } else { root };
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(service.get_amd(root, request, FETCH_LIMIT))?;
            written(&service.export(), out)
        }
        CollateralWhat::Export { out } => {
            let bundle = kept(&task.options, roots)?.export();
            if bundle.is_empty() {
                bail!("the cache holds no collateral that is valid now, for these roots");
            }
            written(&bundle, out)
        }
        CollateralWhat::Import { file } => {
            let bundle = Bundle::load(file)?;
            let taken = kept(&task.options, roots)?.import(&bundle)?;
            say(&format!("{taken} of {} sets taken; the others are older than what is there\n", bundle.len()))
        }
        CollateralWhat::Show { file } => say(&Bundle::load(file)?.to_string()),
    }
}

/// A report, or evidence with one in it.
fn read_report(file: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = std::fs::read(file).with_context(|| format!("--report {}", file.display()))?;
    let input = Input::read(&bytes).with_context(|| format!("--report {}", file.display()))?;
    let report = input.snp_report().context("--report: no SEV-SNP report, and no certificate with one")?;
    Ok(report)
}

/// The cache, and nobody who is asked.
fn kept(options: &CollateralOptions, roots: TrustRoots) -> anyhow::Result<CollateralService> {
    let nobody = || Some(Vec::new());
    let options = CollateralOptions { services: nobody(), amd_services: nobody(), ..options.clone() };
    Ok(inclavared_collateral::start(&options, roots, Need::Of(Root::Intel))?)
}

fn written(bundle: &Bundle, out: &Path) -> anyhow::Result<()> {
    bundle.save(out)?;
    say(&bundle.to_string())
}

fn say(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
