//! What the operator decides about collateral, and how long anything may take.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use inclavared_attest::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::Endpoint;

/// Everything about collateral.
#[derive(Clone, Debug, Default)]
pub struct CollateralSettings {
    /// Services for genuine collateral, asked in this order. Empty: bundles alone.
    pub intel: Vec<Endpoint>,
    /// AMD's key service, or caches of it, asked in this order. Empty: bundles, and what peers bring.
    pub amd: Vec<Endpoint>,
    /// Services for the collateral of a simulated platform, Intel's form and AMD's.
    pub simulated: Vec<Endpoint>,
    pub fetch: FetchSettings,
    pub cache: CacheSettings,
    pub clock: Clock,
}

#[derive(Clone, Debug)]
pub struct FetchSettings {
    pub tls: TlsTrust,
    pub tcb_update: TcbUpdate,
    /// Plain http to other machines. Collateral is signed, so what it gives away is which platforms are asked for, and
    /// the power to hold back a TCB recovery for as long as the collateral at hand is valid.
    pub danger_allow_plain_http: bool,
    /// One address of a service: a service that is down must not use up the time of the next one.
    pub connect_deadline: Duration,
    /// One request with its answer. Intel's service answers within a second; a PCCS with a cold cache asks it first.
    pub request_deadline: Duration,
    /// A whole set over all services: a peer waits for it.
    pub set_deadline: Duration,
    /// How often a service that is busy (429, 503) is asked again within one fetch; at most 10.
    pub retries: u32,
    /// Until then, where it does not say for how long.
    pub retry_delay: Duration,
    /// The longest Retry-After that is waited for. A service that asks for more is left alone meanwhile.
    pub max_retry_after: Duration,
    /// In bytes, of one part. TCB info is 10 to 100 KB; CRLs a few KB.
    pub max_part: usize,
}

impl Default for FetchSettings {
    fn default() -> Self {
        Self {
            tls: TlsTrust::default(),
            tcb_update: TcbUpdate::default(),
            danger_allow_plain_http: false,
            connect_deadline: Duration::from_secs(3),
            request_deadline: Duration::from_secs(10),
            set_deadline: Duration::from_secs(30),
            retries: 2,
            retry_delay: Duration::from_secs(1),
            max_retry_after: Duration::from_secs(5),
            max_part: 2 << 20,
        }
    }
}

/// Which of Intel's TCB baselines is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TcbUpdate {
    /// What every service hands out unasked: a TCB recovery counts once its microcode has been out for a while.
    #[default]
    Standard,
    /// A TCB recovery counts at once.
    Early,
}

#[derive(Clone, Debug)]
pub struct CacheSettings {
    /// Where sets are kept across restarts; `None`: in memory alone.
    pub folder: Option<PathBuf>,
    /// Sets at once, and their bytes. A fleet has a handful of models; every one needs one set for a TEE.
    pub max_sets: usize,
    pub max_bytes: usize,
    /// Models that nobody has asked for before come from peers that are not verified yet: so many at once, and one
    /// more every `admit_every`.
    pub admit_burst: usize,
    pub admit_every: Duration,
    /// The same for chips of AMD's: each has a certificate of its own.
    pub admit_chips_burst: usize,
    pub admit_chips_every: Duration,
    /// Sets that are fetched at the same time.
    pub max_fetches: usize,
    /// How long a failure answers for the next try.
    pub negative: Duration,
    /// A set is fetched anew this often, and at half of what is left of its life if that is sooner.
    pub refresh_every: Duration,
    /// After a refresh that failed, and the least between two of them.
    pub refresh_retry: Duration,
    /// A set that was asked for so recently is not let go of in favour of another.
    pub in_use: Duration,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            folder: None,
            max_sets: 64,
            max_bytes: 32 << 20,
            admit_burst: 16,
            admit_every: Duration::from_secs(10),
            admit_chips_burst: 64,
            admit_chips_every: Duration::from_secs(1),
            max_fetches: 8,
            negative: Duration::from_secs(5),
            refresh_every: Duration::from_secs(24 * 3600),
            refresh_retry: Duration::from_secs(60),
            in_use: Duration::from_secs(3600),
        }
    }
}

/// Whose certificates a collateral service may show. The system's store is used unless it is turned off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsTrust {
    pub system: bool,
    /// Besides: the CA of a PCCS of one's own, in DER.
    pub roots: Vec<Vec<u8>>,
    /// Any certificate at all. Whoever stands between then holds collateral back as in plain http.
    pub danger_accept_any_certificate: bool,
}

impl Default for TlsTrust {
    fn default() -> Self {
        Self { system: true, roots: Vec::new(), danger_accept_any_certificate: false }
    }
}

impl TlsTrust {
    pub(super) fn client_config(&self) -> Result<ClientConfig, TrustError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| TrustError(error.to_string()))?;
        if self.danger_accept_any_certificate {
            let verifier = Arc::new(AnyCertificate(provider));
            return Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth());
        }
        let mut roots = RootCertStore::empty();
        for der in &self.roots {
            let added = roots.add(CertificateDer::from_slice(der));
            added.map_err(|error| TrustError(format!("a root of the collateral services: {error}")))?;
        }
        let mut wrong = String::new();
        if self.system {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            wrong = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        }
        if roots.is_empty() {
            return Err(TrustError(format!(
                "the system has no CA certificates to check a collateral service with{wrong}; install ca-certificates, \
                 point SSL_CERT_FILE at them, or name the CA of the service"
            )));
        }
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

/// Why no https can be spoken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct TrustError(pub(super) String);

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Where the time of day comes from: collateral is valid for a while.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(Timestamp::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}
