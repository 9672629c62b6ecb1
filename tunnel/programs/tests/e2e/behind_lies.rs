//! A client that shows a path behind it that is not so, or none: refused by a reason of its own, and the server goes on.

use inclavared_attest::Reason;
use inclavared_attest::path::{Trailer, TrailerLimits, no_known_blobs};
use inclavared_attest::policy::TerminalKind;
use inclavared_tunnel::leg::DialledLeg;
use inclavared_tunnel::path::behind::Behind;
use inclavared_tunnel::path::opening::OpenedPath;
use inclavared_wire::frame::FrameKind;

use crate::harness::World;
use crate::protocol::Client;

/// What this client may rightly show.
fn shown(leg: &DialledLeg, path: &OpenedPath) -> Vec<u8> {
    Behind::begins(TerminalKind::Workload).shown(leg, path, None).unwrap().unwrap()
}

/// The same with another signature.
fn forged(mut forward: Vec<u8>) -> Vec<u8> {
    let trailer = Trailer::decode(&forward, &TrailerLimits::DEFAULT, &no_known_blobs).unwrap();
    let record = trailer.records()[0].bytes();
    let at = forward.windows(record.len()).position(|window| window == record).unwrap();
    forward[at + record.len() - 1] ^= 1;
    forward
}

#[test]
fn to_a_server_that_judges_it() {
    let world = World::new();
    let client = Client::new(&world);
    let workload = world.workload("--echo --mutual");
    let identity = client.identity();
    let open = || {
        let mut leg = client.leg_as(workload.tcp(), Some(identity.clone()));
        let path = client.open(&mut leg).unwrap();
        (leg, path)
    };
    let (mut leg, path) = open();
    client.start_showing(&mut leg, &path, None);
    let fault = client.fault(&mut leg);
    assert_eq!((fault.code, fault.distance), (Reason::PathForm, 0), "{fault:?}");

    // Of another session of the very same client, key and server.
    let (other_leg, other_path) = open();
    let (mut leg, path) = open();
    client.start_showing(&mut leg, &path, Some(shown(&other_leg, &other_path)));
    let fault = client.fault(&mut leg);
    assert_eq!(fault.code, Reason::Freshness, "{fault:?}");
    assert_eq!(fault.text.as_deref(), Some("the path behind the client: hop 1: session"));

    let (mut leg, path) = open();
    let forward = forged(shown(&leg, &path));
    client.start_showing(&mut leg, &path, Some(forward));
    assert_eq!(client.fault(&mut leg).code, Reason::RecordSignature);

    let (mut leg, path) = open();
    client.start_showing(&mut leg, &path, Some(vec![0xa0]));
    assert_eq!(client.fault(&mut leg).code, Reason::PathForm);

    // And what is so is served.
    let (mut leg, path) = open();
    let forward = shown(&leg, &path);
    client.start_showing(&mut leg, &path, Some(forward));
    client.send(&mut leg, FrameKind::End, &[]);
    assert_eq!(client.receive(&mut leg).0, FrameKind::End);
    assert_eq!(client.receive(&mut leg).0, FrameKind::Trailer);
}

#[test]
fn to_a_server_that_judges_nobody() {
    let world = World::new();
    let client = Client::new(&world);
    let workload = world.workload("--echo");
    let identity = client.identity();
    let open = |identity| {
        let mut leg = client.leg_as(workload.tcp(), identity);
        let path = client.open(&mut leg).unwrap();
        (leg, path)
    };
    // It passes no forgery on, although it judges nobody.
    let (mut leg, path) = open(Some(identity.clone()));
    let forward = forged(shown(&leg, &path));
    client.start_showing(&mut leg, &path, Some(forward));
    assert_eq!(client.fault(&mut leg).code, Reason::RecordSignature);
    // A path behind somebody who has shown no key.
    let (with_key, path) = open(Some(identity.clone()));
    let forward = shown(&with_key, &path);
    let (mut leg, path) = open(None);
    client.start_showing(&mut leg, &path, Some(forward));
    assert_eq!(client.fault(&mut leg).code, Reason::Protocol);
    // Nothing has to be shown here.
    let (mut leg, path) = open(Some(identity));
    client.start_showing(&mut leg, &path, None);
    client.send(&mut leg, FrameKind::End, &[]);
    assert_eq!(client.receive(&mut leg).0, FrameKind::End);
    assert_eq!(client.receive(&mut leg).0, FrameKind::Trailer);
}
