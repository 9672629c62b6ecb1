//! Serves the files of one folder over HTTP/1.1: GET and HEAD, nothing else.

use std::io;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use http_body_util::{Either, Empty, Full};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixStream;

use super::{Serving, Workload};

/// A file is read whole before it is sent: larger ones are refused.
const MAX_FILE: u64 = 256 * 1024 * 1024;

type Body = Either<Full<Bytes>, Empty<Bytes>>;

/// The files below one folder.
#[derive(Clone, Debug)]
pub struct Files {
    /// Canonical: whatever is served lies below it, links followed.
    root: PathBuf,
}

impl Files {
    pub fn new(folder: &Path) -> io::Result<Self> {
        let root = folder.canonicalize()?;
        if !root.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "not a folder"));
        }
        Ok(Self { root })
    }

    /// The file that a request's path names, if it lies below the folder.
    fn find(&self, path: &str) -> Option<PathBuf> {
        let decoded = percent_decode(path.strip_prefix('/')?)?;
        let relative = Path::new(&decoded);
        if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
            return None;
        }
        let file = self.root.join(relative).canonicalize().ok()?;
        (file.starts_with(&self.root) && file.is_file()).then_some(file)
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Body> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let Some(file) = self.find(path) else { return plain(StatusCode::NOT_FOUND) };
        match std::fs::metadata(&file) {
            Ok(metadata) if metadata.len() > MAX_FILE => plain(StatusCode::PAYLOAD_TOO_LARGE),
            Ok(metadata) if *method == Method::HEAD => {
                let mut response = plain(StatusCode::OK);
                response.headers_mut().insert(CONTENT_LENGTH, metadata.len().into());
                response
            }
            Ok(_) => std::fs::read(&file).map_or_else(|_| plain(StatusCode::NOT_FOUND), content),
            Err(_) => plain(StatusCode::NOT_FOUND),
        }
    }
}

impl Workload for Files {
    fn serve(&self, stream: UnixStream) -> Serving<'_> {
        Box::pin(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let files = self.clone();
                // Disks block: not on the worker, which has other streams.
                let answer = tokio::task::spawn_blocking(move || files.answer(request.method(), request.uri().path()));
                async { answer.await.map_err(io::Error::other) }
            });
            let served = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
            served.await.map_err(io::Error::other)
        })
    }
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Either::Right(Empty::new()));
    *response.status_mut() = status;
    response
}

fn content(bytes: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(bytes.into())));
    let kind = hyper::header::HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn percent_decode(path: &str) -> Option<String> {
    let mut bytes = path.bytes();
    let mut decoded = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let pair = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_the_folder_is_found() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("served");
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        std::fs::write(outer.path().join("secret"), "x").unwrap();
        std::fs::write(folder.join("sub/a b"), "x").unwrap();
        std::os::unix::fs::symlink(outer.path().join("secret"), folder.join("link")).unwrap();
        let files = Files::new(&folder).unwrap();
        assert_eq!(files.find("/sub/a%20b"), Some(folder.canonicalize().unwrap().join("sub/a b")));
        for path in ["/../secret", "/%2e%2e/secret", "/link", "/sub", "/", "//etc/passwd", "/%", "/a%zz", "sub/a b"] {
            assert_eq!(files.find(path), None, "{path}");
        }
    }
}
