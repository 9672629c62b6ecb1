//! One direction ends and the other goes on, whichever ends first.
//!
//! The first bug of every relay: <https://github.com/tokio-rs/tokio/issues/3876>,
//! <https://github.com/tokio-rs/tokio/issues/4556>, <https://github.com/linkerd/linkerd2/issues/5180>,
//! <https://github.com/envoyproxy/envoy/issues/41086>.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use serde_json::Value;

use crate::harness::{Forward, World};
use crate::stream::{Backend, Random, connect, read_all};

const UP: usize = 300_000;
const DOWN: usize = 200_000;

/// A path of two hops to `serve`; `client` has its plain end.
fn through_two_hops<T: Send + 'static>(
    serve: impl Fn(TcpStream) -> T + Send + Sync + 'static,
    client: impl FnOnce(TcpStream),
) -> T {
    let world = World::new();
    let backend = Backend::new(serve);
    let chain = world.chain_to(2, &format!("--sim-tee tdx --xfer {}", backend.address));
    let forward = world.forward(chain.address(), "");
    client(connect(forward.address));
    assert_complete(&forward);
    backend.result()
}

fn assert_complete(forward: &Forward) {
    let receipt = forward.receipt();
    assert_eq!(receipt["close"], "complete", "{receipt:#}");
    let counted = (&receipt["bytes_up"], &receipt["bytes_down"]);
    assert_eq!(counted, (&Value::from(UP), &Value::from(DOWN)), "{receipt:#}");
}

#[test]
fn the_client_ends_first() {
    let arrived = through_two_hops(
        |mut stream| {
            let came = read_all(&mut stream).unwrap();
            // Only now, after the client's end: the answer.
            stream.write_all(&Random::bytes(2, DOWN)).unwrap();
            came
        },
        |mut stream| {
            stream.write_all(&Random::bytes(1, UP)).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            assert!(read_all(&mut stream).unwrap() == Random::bytes(2, DOWN));
        },
    );
    assert!(arrived == Random::bytes(1, UP));
}

#[test]
fn the_workload_ends_first() {
    let arrived = through_two_hops(
        |mut stream| {
            stream.write_all(&Random::bytes(2, DOWN)).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            read_all(&mut stream).unwrap()
        },
        |mut stream| {
            assert!(read_all(&mut stream).unwrap() == Random::bytes(2, DOWN));
            // Only now, after the workload's end.
            stream.write_all(&Random::bytes(1, UP)).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        },
    );
    assert!(arrived == Random::bytes(1, UP));
}

#[test]
fn both_end_at_once() {
    let arrived = through_two_hops(
        |mut stream| {
            let mut first = [0];
            stream.read_exact(&mut first).unwrap();
            let sending = crate::stream::send_all(&stream, Random::bytes(2, DOWN));
            let came = read_all(&mut stream).unwrap();
            sending.join().unwrap().unwrap();
            [first.to_vec(), came].concat()
        },
        |mut stream| {
            let sending = crate::stream::send_all(&stream, Random::bytes(1, UP));
            assert!(read_all(&mut stream).unwrap() == Random::bytes(2, DOWN));
            sending.join().unwrap().unwrap();
        },
    );
    assert!(arrived == Random::bytes(1, UP));
}

#[test]
fn nothing_was_ever_said() {
    let world = World::new();
    let chain = world.chain(2);
    let forward = world.forward(chain.address(), "");
    let mut stream = connect(forward.address);
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut stream).unwrap(), b"");
    let receipt = forward.receipt();
    assert_eq!((&receipt["close"], &receipt["bytes_up"]), (&"complete".into(), &0.into()), "{receipt:#}");
}
