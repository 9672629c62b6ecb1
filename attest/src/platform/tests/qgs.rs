//! A quoting service on a Unix socket, written from Intel's header and not from the driver.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::super::QgsAddress;
use super::Pen;

pub(super) struct QuotingService {
    pub(super) requests: Arc<AtomicUsize>,
    socket: PathBuf,
    _folder: TempDir,
}

/// What the service does with a request.
#[derive(Clone)]
pub(super) enum Service {
    Quotes(Pen),
    /// With an identity in front of the quote.
    QuotesWithId(Pen),
    Error(u32),
    /// Never answers.
    Silent,
    /// A byte at a time, each after a pause.
    Drips(Pen, Duration),
    /// Hangs up in the middle of the answer.
    HangsUp(Pen),
    /// Announces this many bytes.
    Announces(u32),
}

impl QuotingService {
    pub(super) fn start(service: Service) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("qgs.socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        // It ends with the process: nothing else holds on to it.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (service, counter) = (service.clone(), Arc::clone(&counter));
                thread::spawn(move || serve(stream.unwrap(), &service, &counter));
            }
        });
        Self { requests, socket, _folder: folder }
    }

    pub(super) fn address(&self) -> QgsAddress {
        QgsAddress::Unix(self.socket.clone())
    }
}

fn serve(mut stream: UnixStream, service: &Service, requests: &AtomicUsize) {
    let mut request = [0; 4 + 16 + 8 + 1024];
    stream.read_exact(&mut request).unwrap();
    // 1048 bytes, big-endian; version 1.0, GET_QUOTE_REQ, 1048 bytes, no error; a report of 1024 bytes, no list.
    let expected = "000004180100000000000000180400000000000000040000" /* and */
        .to_owned()
        + "00000000";
    assert_eq!(hex::encode(&request[..28]), expected);
    let report = &request[28..];
    assert_eq!((report[0], report[1023]), (0x81, 0xEE), "the whole report, as the device made it");
    let user_data: [u8; 64] = report[128..192].try_into().unwrap();
    requests.fetch_add(1, Ordering::SeqCst);
    match service {
        Service::Quotes(pen) => send(&mut stream, &answer(0, &[], &pen(&user_data))),
        Service::QuotesWithId(pen) => send(&mut stream, &answer(0, &[7; 16], &pen(&user_data))),
        Service::Error(code) => send(&mut stream, &answer(*code, &[], &[])),
        Service::Silent => wait_for_the_end(&mut stream),
        Service::Drips(pen, pause) => {
            for byte in answer(0, &[], &pen(&user_data)) {
                if stream.write_all(&[byte]).is_err() {
                    return;
                }
                let _ = pause_for(*pause);
            }
        }
        Service::HangsUp(pen) => {
            let answer = answer(0, &[], &pen(&user_data));
            send(&mut stream, &answer[..answer.len() / 2]);
        }
        Service::Announces(size) => {
            send(&mut stream, &size.to_be_bytes());
            wait_for_the_end(&mut stream);
        }
    }
}

fn answer(error: u32, id: &[u8], quote: &[u8]) -> Vec<u8> {
    let size = 16 + 8 + id.len() + quote.len();
    let mut answer = (size as u32).to_be_bytes().to_vec();
    answer.extend([1, 0, 0, 0]);
    for number in [1, size as u32, error, id.len() as u32, quote.len() as u32] {
        answer.extend(number.to_le_bytes());
    }
    [answer.as_slice(), id, quote].concat()
}

/// The driver may have left.
fn send(stream: &mut UnixStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}

fn wait_for_the_end(stream: &mut UnixStream) {
    let _ = stream.read(&mut [0]);
}

fn pause_for(pause: Duration) -> bool {
    let (_sender, receiver) = std::sync::mpsc::channel::<()>();
    receiver.recv_timeout(pause).is_err()
}
