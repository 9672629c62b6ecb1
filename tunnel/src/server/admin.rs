//! The admin listener: `GET /metrics` and `GET /healthz`, in plain HTTP, for this machine or a network that is trusted.
//!
//! A thread and a runtime of its own: nobody who scrapes stands before a connection.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::metrics;
use crate::server::node::Node;

/// Serves in a thread until the node is gone. The listener is bound already.
pub fn serve(listener: TcpListener, node: &Arc<Node>) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let node = Arc::downgrade(node);
    let accepting = async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        accept(&listener, &node).await;
        Ok::<_, std::io::Error>(())
    };
    thread::Builder::new().name("admin".into()).spawn(move || {
        if let Err(error) = runtime.block_on(accepting) {
            tracing::error!(%error, "the admin listener ended");
        }
    })?;
    Ok(())
}

async fn accept(listener: &tokio::net::TcpListener, node: &Weak<Node>) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // While the node is there; the end of the process ends the thread.
    while node.strong_count() > 0 {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let stream = match timeout(WAKE, listener.accept()).await {
            Ok(Ok((stream, _))) => stream,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the admin listener cannot accept connections; waiting a little");
                sleep(BACKOFF).await;
                continue;
            }
            Err(_) => continue,
        };
        let node = node.clone();
        tokio::spawn(async move {
            if timeout(CONNECTION, exchange(stream, node)).await.is_err() {
                tracing::debug!("a connection to the admin listener was ended at its deadline");
            }
            drop(permit);
        });
    }
}

async fn exchange(stream: TcpStream, node: Weak<Node>) {
    let service = service_fn(move |request| {
        let node = node.clone();
        async move { Ok::<_, Infallible>(answer(&request, &node)) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a client of the admin listener");
    }
}

fn answer<B>(request: &Request<B>, node: &Weak<Node>) -> Response<Full<Bytes>> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let (status, body) = match (request.uri().path(), node.upgrade()) {
        ("/metrics" | "/healthz", _) if !is_read => (StatusCode::METHOD_NOT_ALLOWED, "GET alone\n".to_owned()),
        ("/metrics", Some(node)) => (StatusCode::OK, metrics::render(&node.numbers())),
        ("/healthz", Some(_)) => (StatusCode::OK, "ok\n".to_owned()),
        ("/metrics" | "/healthz", None) => (StatusCode::SERVICE_UNAVAILABLE, "going down\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "there are /metrics and /healthz\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

/// A scraper or two, and a person with curl.
const MAX_CONNECTIONS: usize = 16;
const HEAD: Duration = Duration::from_secs(5);
/// A connection that is kept alive between scrapes is made anew after this.
const CONNECTION: Duration = Duration::from_secs(120);
const BACKOFF: Duration = Duration::from_millis(100);
/// How often it is seen whether the process still runs.
const WAKE: Duration = Duration::from_secs(1);
const MAX_HEAD: usize = 16 * 1024;
