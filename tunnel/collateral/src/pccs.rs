//! A Provisioning Certification Caching Service: our collateral for others, in the form that Intel's libraries and ours
//! ask for it.
//!
//! Versions 3 and 4 of the interface. Both hand out TCB info of version 3, which is what there is; version 3 of the
//! interface differs in the name of a header and in knowing no TDX. Beside them the interface of AMD's key service, under
//! the same address. Reading alone: nothing can be put in.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use inclavared_attest::appraise::PckCa;
use inclavared_attest::evidence::Tee;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::part::percent_encode;
use super::{AmdPart, CollateralSource, Part, PartAnswer, PckAnswer, PckRequest, SourceError};

#[derive(Clone, Debug)]
pub struct PccsSettings {
    /// `None`: plain http.
    pub tls: Option<Arc<ServerConfig>>,
    /// Connections at once; more of them wait in the listener's queue.
    pub max_connections: usize,
    /// The TLS handshake, and the head of each request.
    pub head_deadline: Duration,
    /// One answer, with a fetch that may be behind it.
    pub answer_deadline: Duration,
    /// A whole connection: one that is written to slowly ends as well.
    pub connection_deadline: Duration,
}

impl Default for PccsSettings {
    fn default() -> Self {
        Self {
            tls: None,
            max_connections: 256,
            head_deadline: Duration::from_secs(5),
            answer_deadline: Duration::from_secs(30),
            connection_deadline: Duration::from_secs(120),
        }
    }
}

/// Serves until `stop` is ready; connections that are alive then have a moment to end. Fails only if the listener does.
pub async fn serve(
    listener: TcpListener,
    source: Arc<dyn CollateralSource>,
    settings: PccsSettings,
    stop: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let permits = Arc::new(Semaphore::new(settings.max_connections));
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &permits) => accepted,
            // Ended ones are taken out as they end.
            Some(_) = connections.join_next() => continue,
        };
        let (stream, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_fatal(&error) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (source, settings) = (Arc::clone(&source), settings.clone());
        connections.spawn(async move {
            let limit = settings.connection_deadline;
            if timeout(limit, connection(stream, source, settings)).await.is_err() {
                tracing::debug!("a connection was ended at its deadline");
            }
            drop(permit);
        });
    }
    let drained = async { while connections.join_next().await.is_some() {} };
    // What is not done by then is dropped with the set.
    let _ = timeout(DRAIN, drained).await;
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

/// Everything else (descriptors used up, a connection that is gone already) passes.
fn is_fatal(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::InvalidInput | std::io::ErrorKind::NotFound)
}

async fn connection(stream: TcpStream, source: Arc<dyn CollateralSource>, settings: PccsSettings) {
    let _ = stream.set_nodelay(true);
    match &settings.tls {
        None => exchange(stream, source, &settings).await,
        Some(tls) => match timeout(settings.head_deadline, TlsAcceptor::from(Arc::clone(tls)).accept(stream)).await {
            Ok(Ok(stream)) => exchange(stream, source, &settings).await,
            Ok(Err(error)) => tracing::debug!(%error, "no TLS with a client"),
            Err(_) => tracing::debug!("no TLS with a client in time"),
        },
    }
}

async fn exchange<S>(stream: S, source: Arc<dyn CollateralSource>, settings: &PccsSettings)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limit = settings.answer_deadline;
    let service = service_fn(move |request| {
        let source = Arc::clone(&source);
        async move {
            let answer = timeout(limit, answer(&*source, &request)).await;
            let answer = answer.unwrap_or(Err(Refusal::Unavailable));
            Ok::<_, Infallible>(answer.unwrap_or_else(Refusal::response))
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.head_deadline)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a client");
    }
}

type Answer = Response<Full<Bytes>>;

async fn answer<B>(source: &dyn CollateralSource, request: &Request<B>) -> Result<Answer, Refusal> {
    let uri = request.uri();
    let path = uri.path();
    if path.starts_with("/vcek/") || path.starts_with("/vlek/") {
        return amds(source, request).await;
    }
    let (tee, rest) = match (path.strip_prefix("/sgx/certification/"), path.strip_prefix("/tdx/certification/")) {
        (Some(rest), _) => (Tee::Sgx, rest),
        (_, Some(rest)) => (Tee::Tdx, rest),
        _ => return Err(Refusal::NoResource),
    };
    let (v3, resource) = match rest.split_once('/') {
        Some(("v4", resource)) => (false, resource),
        Some(("v3", resource)) if tee == Tee::Sgx => (true, resource),
        _ => return Err(Refusal::NoResource),
    };
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Err(Refusal::Method);
    }
    let query = Query(uri.query().unwrap_or_default());
    match (tee, resource) {
        (Tee::Sgx, "pckcrl") => {
            let ca = match query.value("ca")? {
                "processor" => PckCa::Processor,
                "platform" => PckCa::Platform,
                _ => return Err(Refusal::Parameter),
            };
            let der = match query.optional("encoding") {
                Some("der") => true,
                None | Some("pem") => false,
                Some(_) => return Err(Refusal::Parameter),
            };
            let part = Part::PckCrl(ca);
            let crl = source.part(part).await?;
            let headers = headers(part, &crl, v3)?;
            Ok(if der { ok(PKIX_CRL, headers, crl.body) } else { ok(PEM_FILE, headers, hex::encode(crl.body).into()) })
        }
        (Tee::Sgx, "rootcacrl") => {
            let crl = source.part(Part::RootCaCrl).await?;
            Ok(ok(PKIX_CRL, HeaderMap::new(), hex::encode(crl.body).into()))
        }
        (_, "tcb") => {
            let fmspc = query.hex::<6>("fmspc")?;
            signed(source, Part::TcbInfo { tee, fmspc }, v3).await
        }
        (_, "qe/identity") => signed(source, Part::QeIdentity(tee), v3).await,
        (Tee::Sgx, "pckcert") => pck_certificate(source, &query).await,
        _ => Err(Refusal::NoResource),
    }
}

/// AMD's interface stands beside Intel's.
async fn amds<B>(source: &dyn CollateralSource, request: &Request<B>) -> Result<Answer, Refusal> {
    let uri = request.uri();
    let part = AmdPart::parse(uri.path(), uri.query().unwrap_or_default()).ok_or(Refusal::NoResource)?;
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Err(Refusal::Method);
    }
    let body = source.amd(part).await?;
    let content_type = match part {
        AmdPart::Chain(_) => PEM_FILE,
        AmdPart::Crl(_) => PKIX_CRL,
        AmdPart::Vcek { .. } => PKIX_CERT,
    };
    Ok(ok(content_type, HeaderMap::new(), body))
}

async fn signed(source: &dyn CollateralSource, part: Part, v3: bool) -> Result<Answer, Refusal> {
    let answer = source.part(part).await?;
    // The object stands there to the byte: its signature covers nothing else.
    let mut body = format!("{{\"{}\":", part.object()).into_bytes();
    body.extend_from_slice(&answer.body);
    body.extend_from_slice(format!(",\"signature\":\"{}\"}}", hex::encode(&answer.signature)).as_bytes());
    Ok(ok(JSON, headers(part, &answer, v3)?, body.into()))
}

async fn pck_certificate(source: &dyn CollateralSource, query: &Query<'_>) -> Result<Answer, Refusal> {
    let qe_id = query.optional("qeid").map(|_| query.hex::<16>("qeid")).transpose()?;
    let encrypted_ppid = query.optional("encrypted_ppid").unwrap_or_default();
    let request = PckRequest {
        encrypted_ppid: hex::decode(encrypted_ppid).map_err(|_| Refusal::Parameter)?,
        cpu_svn: query.hex::<16>("cpusvn")?,
        pce_svn: u16::from_le_bytes(query.hex::<2>("pcesvn")?),
        pce_id: query.hex::<2>("pceid")?,
        qe_id,
    };
    let PckAnswer { certificate, issuer_chain, cpu_svn, pce_svn, fmspc, ca } = source.pck(request).await?;
    let tcb = [&cpu_svn[..], &pce_svn.to_le_bytes()].concat();
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("sgx-pck-certificate-issuer-chain", percent_encode(&issuer_chain)),
        ("sgx-tcbm", hex::encode_upper(tcb)),
        ("sgx-fmspc", hex::encode_upper(fmspc)),
        ("sgx-pck-certificate-ca-type", ca.as_id_str().to_owned()),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::try_from(value).map_err(|_| Refusal::Internal)?);
    }
    Ok(ok(PEM_FILE, headers, certificate.into()))
}

/// The chain under the name that the version has for it.
fn headers(part: Part, answer: &PartAnswer, v3: bool) -> Result<HeaderMap, Refusal> {
    let names = part.chain_headers();
    let name = if v3 { names.last() } else { names.first() }.ok_or(Refusal::Internal)?;
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Refusal::Internal)?;
    let chain = HeaderValue::try_from(percent_encode(&answer.issuer_chain)).map_err(|_| Refusal::Internal)?;
    Ok(HeaderMap::from_iter([(name, chain)]))
}

fn ok(content_type: &'static str, mut headers: HeaderMap, body: Bytes) -> Answer {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    let mut response = Response::new(Full::new(body));
    *response.headers_mut() = headers;
    response
}

/// Names and values of a query, as they stand: nothing in this interface needs URL encoding.
struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    fn optional(&self, name: &str) -> Option<&'a str> {
        self.0.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value))
    }

    fn value(&self, name: &str) -> Result<&'a str, Refusal> {
        self.optional(name).ok_or(Refusal::Parameter)
    }

    fn hex<const N: usize>(&self, name: &str) -> Result<[u8; N], Refusal> {
        let mut bytes = [0; N];
        hex::decode_to_slice(self.value(name)?, &mut bytes).map_err(|_| Refusal::Parameter)?;
        Ok(bytes)
    }
}

/// Status codes as a PCCS has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Refusal {
    Parameter,
    NoResource,
    Method,
    NoData,
    Internal,
    /// The service behind this one.
    Upstream,
    Unavailable,
}

impl Refusal {
    fn response(self) -> Answer {
        let (status, text) = match self {
            Self::Parameter => (StatusCode::BAD_REQUEST, "Invalid parameter."),
            Self::NoResource => (StatusCode::NOT_FOUND, "No such resource."),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "Nothing can be put in."),
            Self::NoData => (StatusCode::NOT_FOUND, "No cache data for this platform."),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "Internal server error occurred."),
            Self::Upstream => (StatusCode::BAD_GATEWAY, "Unable to retrieve the collateral from the Intel SGX PCS."),
            Self::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "Server is currently unable to process the request.")
            }
        };
        let mut headers = HeaderMap::new();
        if self == Self::Unavailable {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        let mut response = ok("text/plain; charset=utf-8", headers, Bytes::from_static(text.as_bytes()));
        *response.status_mut() = status;
        response
    }
}

impl From<SourceError> for Refusal {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::NotFound => Self::NoData,
            SourceError::Busy => Self::Unavailable,
            SourceError::Unavailable(what) => {
                tracing::warn!(error = what, "no answer for a client");
                Self::Upstream
            }
        }
    }
}

const JSON: &str = "application/json";
const PKIX_CRL: &str = "application/pkix-crl";
const PKIX_CERT: &str = "application/pkix-cert";
const PEM_FILE: &str = "application/x-pem-file";

/// A query holds an encrypted PPID of 384 bytes at most, in hexadecimal digits.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// When descriptors are used up, the next try a moment later finds some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long an answer that is under way may still take at the end.
const DRAIN: Duration = Duration::from_secs(2);

const RETRY_AFTER_SECONDS: &str = "2";
