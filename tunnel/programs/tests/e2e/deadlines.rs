//! A client that stops half-way is closed when its deadline is over, and told why if it can be told.
//!
//! <https://github.com/inclavare-containers/inclavare-containers/issues/1035>: a loop of `nc` locked the service.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Instant;

use inclavared_attest::Reason;
use inclavared_wire::frame::FrameKind;

use crate::harness::{Hop, World};
use crate::protocol::{Client, SOON};
use crate::stream::{connect, echo_backend, read_all};

/// A hop before a plain echo whose deadlines are short.
fn impatient(world: &World) -> Hop {
    let backend: SocketAddr = echo_backend().address;
    world.route(
        "impatient",
        &format!(
            r#"
            listen = "127.0.0.1:0"
            xfer = "{backend}"
            upstream = "attested"
            downstream = "plain"
            [deadlines]
            handshake = "300ms"
            handshake_to_open = "400ms"
            preview_to_start = "500ms"
            half_close = "600ms"
            "#
        ),
    )
}

#[test]
fn a_client_that_says_nothing() {
    let world = World::new();
    let hop = impatient(&world);
    let mut stream = connect(hop.tcp());
    let begun = Instant::now();
    match read_all(&mut stream) {
        Ok(bytes) => assert_eq!(bytes, b""),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    hop.program.err.wait("the reason", |line| line.contains("deadline").then_some(()));
}

#[test]
fn many_clients_that_say_nothing_lock_nobody_out() {
    let world = World::new();
    let hop = impatient(&world);
    let _silent: Vec<_> = (0..50).map(|_| connect(hop.tcp())).collect();
    let client = Client::new(&world);
    let mut leg = client.leg(hop.tcp());
    client.fault(&mut leg);
}

#[test]
fn a_client_that_stops_after_the_handshake() {
    let world = World::new();
    let hop = impatient(&world);
    let client = Client::new(&world);
    let mut leg = client.leg(hop.tcp());
    let begun = Instant::now();
    let fault = client.fault(&mut leg);
    assert_eq!((fault.code, fault.distance), (Reason::Deadline, 0));
    assert!(fault.text.as_deref().unwrap().contains("OPEN"), "{fault:?}");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn a_client_that_opens_and_does_not_start() {
    let world = World::new();
    let hop = impatient(&world);
    // Behind another hop, which has the usual deadlines: the fault comes from the hop that waits for START.
    let client = Client::new(&world);
    let mut leg = client.leg(hop.tcp());
    let begun = Instant::now();
    let refused = client.open(&mut leg).unwrap_err();
    // The end of this path is plain, which the default policy refuses: the client stops here.
    assert_eq!(refused.reason(), Reason::Shape);
    let fault = client.fault(&mut leg);
    assert_eq!((fault.code, fault.distance), (Reason::Deadline, 0));
    assert!(fault.text.as_deref().unwrap().contains("START"), "{fault:?}");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn a_stream_of_which_one_direction_has_ended() {
    let world = World::new();
    // It hears the question and its end, and never answers.
    let silent = crate::stream::Backend::new(|mut stream| {
        let heard = read_all(&mut stream);
        std::thread::park_timeout(crate::program::PATIENCE);
        heard
    });
    let hop = world.route(
        "impatient",
        &format!(
            r#"
            listen = "127.0.0.1:0"
            xfer = "{}"
            upstream = "attested"
            downstream = "plain"
            [attestation.sim]
            tee = "tdx"
            [deadlines]
            half_close = "600ms"
            "#,
            silent.address
        ),
    );
    let client = Client::new(&world);
    let mut leg = client.leg(hop.tcp());
    let path = client.open(&mut leg).unwrap();
    client.start(&mut leg, &path);
    client.send(&mut leg, FrameKind::Data, b"a question");
    client.send(&mut leg, FrameKind::End, &[]);
    let begun = Instant::now();
    // The receipt, which says that it was the timer, not the end of the stream.
    let (kind, _) = client.receive(&mut leg);
    assert_eq!(kind, FrameKind::Trailer);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    hop.program.err.wait("how it closed", |line| line.contains("half-close").then_some(()));
}
