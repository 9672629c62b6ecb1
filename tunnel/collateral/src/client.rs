//! One GET: a bounded answer within a deadline, over TLS or plain TCP.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::header::{ACCEPT, HeaderMap, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::endpoint::is_loopback;
use super::{FetchError, FetchSettings, TrustError};

/// Speaks HTTP/1.1, follows no redirection and asks no proxy.
#[derive(Debug)]
pub(super) struct HttpClient {
    client: Client<Connector, Empty<Bytes>>,
    max_part: usize,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl HttpClient {
    pub(super) fn new(settings: &FetchSettings) -> Self {
        let connector = Connector {
            tls: settings.tls.client_config().map(Arc::new),
            plain_everywhere: settings.danger_allow_plain_http,
            deadline: settings.connect_deadline,
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .http1_max_buf_size(MAX_HEAD)
            .build(connector);
        Self { client, max_part: settings.max_part }
    }

    /// `limit` is what is left until `deadline`, for the message.
    pub(super) async fn get(
        &self,
        part: &'static str,
        url: &str,
        deadline: Instant,
        limit: Duration,
    ) -> Result<Answer, FetchError> {
        let uri: Uri = url.parse().map_err(|_| FetchError::Form { part, what: format!("`{url}` is no URL") })?;
        timeout_at(deadline, self.exchange(part, uri)).await.map_err(|_| FetchError::Deadline { part, limit })?
    }

    async fn exchange(&self, part: &'static str, uri: Uri) -> Result<Answer, FetchError> {
        let request = Request::get(uri)
            .header(USER_AGENT, concat!("inclavared/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "*/*")
            .body(Empty::new())
            .map_err(|error| FetchError::Form { part, what: error.to_string() })?;
        let answer = self.client.request(request).await.map_err(|error| failure(part, &error))?;
        let (head, body) = answer.into_parts();
        let collected = Limited::new(body, self.max_part).collect().await;
        let body = collected.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => FetchError::TooLarge { part, limit: self.max_part },
            None => FetchError::Http { part, what: chain(&*error) },
        })?;
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes() })
    }
}

/// Our own connector's error, where that is what lies at the bottom.
fn failure(part: &'static str, error: &ClientError) -> FetchError {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(ours) = current.downcast_ref::<FetchError>() {
            return ours.clone();
        }
        cause = current.source();
    }
    FetchError::Http { part, what: chain(error) }
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        line = format!("{line}: {current}");
        cause = current.source();
    }
    line
}

/// How long a connection waits for the next part of a set.
const IDLE: Duration = Duration::from_secs(10);
const MAX_IDLE: usize = 4;

/// The head of an answer holds an issuer chain: about 4 KB, twice that if every byte of it were escaped.
const MAX_HEAD: usize = 64 * 1024;

/// A name with more addresses than this is not tried to its end.
const MAX_ADDRESSES: usize = 4;

#[derive(Clone, Debug)]
struct Connector {
    /// Without CA certificates no https: said when it is needed, since a service may do without.
    tls: Result<Arc<ClientConfig>, TrustError>,
    plain_everywhere: bool,
    deadline: Duration,
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<TokioIo<Stream>, FetchError> {
        let https = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        if !https {
            if !self.plain_everywhere && !is_loopback(&host) {
                return Err(FetchError::PlainHttp);
            }
            let stream = self.dial(&host, port, is_loopback(&host) && !self.plain_everywhere).await?;
            return Ok(TokioIo::new(Stream::Plain(stream)));
        }
        let config = self.tls.clone().map_err(|error| FetchError::Trust(error.to_string()))?;
        let address = format!("{host}:{port}");
        let tls = |what: String| FetchError::Tls { address: address.clone(), what };
        let name = ServerName::try_from(host.clone()).map_err(|error| tls(error.to_string()))?;
        let stream = self.dial(&host, port, false).await?;
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| tls(error.to_string()))?;
        Ok(TokioIo::new(Stream::Tls(Box::new(stream))))
    }

    /// `loopback`: the name has to lead to this machine, whatever the resolver says.
    async fn dial(&self, host: &str, port: u16, loopback: bool) -> Result<TcpStream, FetchError> {
        let error = |what: String| FetchError::Connect { address: format!("{host}:{port}"), what };
        let addresses = lookup_host((host, port)).await.map_err(|cause| error(cause.to_string()))?;
        let mut last = "the name has no address".to_owned();
        for address in addresses.take(MAX_ADDRESSES) {
            if loopback && !address.ip().is_loopback() {
                return Err(FetchError::PlainHttp);
            }
            match timeout(self.deadline, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true).map_err(|cause| error(cause.to_string()))?;
                    return Ok(stream);
                }
                Ok(Err(cause)) => last = cause.to_string(),
                Err(_) => last = format!("no connection within {:?}", self.deadline),
            }
        }
        Err(error(last))
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = FetchError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
