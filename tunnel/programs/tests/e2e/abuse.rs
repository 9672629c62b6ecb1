//! A client, or a hop, that wants more than its share: it gets that, and nobody else loses theirs.
//!
//! <https://github.com/inclavare-containers/inclavare-containers/issues/1035>: one bad client locked the service.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use inclavared_attest::path::{Abort, Fault, Nonce, Open};
use inclavared_attest::{Digest, KeyId, Reason};
use inclavared_tunnel::error::{Error, PeerMisbehaved};
use inclavared_tunnel::leg::{DialledLeg, Leg};
use inclavared_wire::frame::FrameKind;

use crate::bottom::{Answer, Bottom, Event};
use crate::harness::{Hop, World, command};
use crate::program::{PATIENCE, Program};
use crate::protocol::{Client, SOON};
use crate::stream::{bounded, connect};

/// A hop of a chain. `tables` is what follows its route.
fn hop(world: &World, name: &str, below: SocketAddr, tables: &str) -> Hop {
    world.route(
        name,
        &format!(
            r#"
            listen = "127.0.0.1:0"
            xfer = "{below}"
            upstream = "attested"
            downstream = {{ tls = "mutual", policy = "any" }}
            {tables}
            "#
        ),
    )
}

/// So many hops before `below`, with the tables of the first one. The first one is the first.
fn hops(world: &World, count: usize, below: SocketAddr, first: &str) -> Vec<Hop> {
    let mut chain: Vec<Hop> = Vec::new();
    for i in (0..count).rev() {
        let below = chain.first().map_or(below, Hop::tcp);
        chain.insert(0, hop(world, &format!("hop-{i}"), below, if i == 0 { first } else { "" }));
    }
    chain
}

fn send_open(client: &Client, leg: &mut Leg) {
    client.send(leg, FrameKind::Open, &client.asking().encode());
}

/// Whatever stands in place of a PREVIEW.
fn answer(client: &Client, leg: &mut Leg) -> Result<bytes::Bytes, Error> {
    client.run(leg.expect(FrameKind::Preview, "the PREVIEW", PATIENCE)).map(|frame| frame.payload)
}

#[test]
fn a_client_that_leaves_in_mid_cascade_takes_everything_below_along() {
    let world = World::new();
    let bottom = Bottom::new(&world, Answer::Never);
    // One opening at a time: the second shows that nothing is left of the first.
    let chain = hops(&world, 3, bottom.address, "[limits]\nopenings = 1");
    let client = Client::new(&world);
    type Leave = fn(&Client, DialledLeg);
    let ways: [Leave; 4] = [
        |_, leg| drop(leg),
        |client, leg| client.run(leg.abort(Reason::Cancelled, "no longer wanted")),
        |_, leg| leg.sink.socket().reset_on_close(),
        // A second OPEN is an error, whatever the first comes to.
        |client, mut leg| {
            send_open(client, &mut leg);
            assert_eq!(client.fault(&mut leg).code, Reason::Protocol);
        },
    ];
    for leave in ways {
        let mut leg = client.leg(chain[0].tcp());
        send_open(&client, &mut leg);
        assert_eq!(bottom.opened().visited.len(), 3);
        leave(&client, leg);
        // Otherwise the deadline of the lowest hop would be it: 14 s.
        let took = bottom.gone();
        assert!(took < SOON, "{took:?}");
    }
    assert!(bottom.rest().is_empty());
}

/// An ABORT may cross anything: the hop is well after it, wherever it fell.
#[test]
fn aborts_at_any_moment_leave_nothing_behind() {
    let world = World::new();
    let workload = world.workload("--echo");
    let hop = hop(&world, "narrow", workload.tcp(), "[limits]\nopenings = 1");
    let client = Client::new(&world);
    let abort = Abort::new(Reason::Cancelled, None).encode();
    for round in 0..24u64 {
        let mut leg = client.leg(hop.tcp());
        match round % 4 {
            // Before its OPEN it is an error.
            0 => {}
            _ => send_open(&client, &mut leg),
        }
        if round % 4 >= 2 {
            std::thread::park_timeout(Duration::from_millis(round));
        }
        if round % 4 == 3 {
            let _ = answer(&client, &mut leg);
        }
        client.send(&mut leg, FrameKind::Abort, &abort);
    }
    let (code, path) = world.attest(&hop.address, "");
    assert_eq!(code, Some(0), "{path:#}");
}

#[test]
fn one_client_gets_its_permits_out_of_a_chain_of_eight_and_no_more() {
    const PERMITS: usize = 3;
    let world = World::new();
    let bottom = Bottom::new(&world, Answer::Never);
    let limits =
        format!("[limits]\nopenings = 8\nopenings_per_source = {PERMITS}\n[deadlines]\nopening_turn = \"300ms\"");
    let chain = hops(&world, 7, bottom.address, &limits);
    let client = Client::new(&world);
    let mut legs: Vec<_> = (0..4 * PERMITS).map(|_| client.leg(chain[0].tcp())).collect();
    legs.iter_mut().for_each(|leg| send_open(&client, leg));
    for _ in 0..PERMITS {
        assert_eq!(bottom.opened().visited.len(), 7);
    }
    let mut refused = 0;
    for leg in &mut legs {
        // Those that are under way get no answer from the bottom.
        let answered = client.run(async { tokio::time::timeout(Duration::from_secs(1), leg.source.frame()).await });
        if let Ok(frame) = answered {
            let frame = frame.unwrap();
            assert_eq!(frame.kind, FrameKind::Fault);
            assert_eq!(Fault::decode(&frame.payload).unwrap().code, Reason::Overload);
            refused += 1;
        }
    }
    assert_eq!(refused, 3 * PERMITS);
    assert!(bottom.rest().is_empty(), "more reached the bottom than there are permits");
    drop(legs);
    let gone = (0..PERMITS).filter(|_| bottom.gone() < SOON).count();
    assert_eq!(gone, PERMITS);
}

#[test]
fn an_opening_waits_for_its_turn_and_an_idle_one_ends() {
    let world = World::new();
    let workload = world.workload("--echo");
    let first = hop(&world, "first", workload.tcp(), "[deadlines]\npreview_to_start = \"700ms\"");
    let client = Client::new(&world);
    // It never starts.
    let mut idle = client.leg(first.tcp());
    client.open(&mut idle).unwrap();
    let fault = client.fault(&mut idle);
    assert_eq!((fault.code, fault.distance), (Reason::Deadline, 0), "{fault:?}");
    // Whoever leaves while it waits for its turn is not served any more.
    let bottom = Bottom::new(&world, Answer::Never);
    let hop = hop(&world, "narrow", bottom.address, "[limits]\nopenings = 1\n[deadlines]\nopening_turn = \"20s\"");
    let mut held = client.leg(hop.tcp());
    send_open(&client, &mut held);
    bottom.opened();
    let mut waiting = client.leg(hop.tcp());
    send_open(&client, &mut waiting);
    client.run(waiting.abort(Reason::Cancelled, "too long"));
    hop.program.err.wait("that it left", |line| line.contains("left before its start").then_some(()));
}

#[test]
fn a_hop_that_answers_byte_by_byte_meets_the_deadline_for_the_whole() {
    let world = World::new();
    let bottom = Bottom::new(&world, Answer::Slowly(Duration::from_millis(20)));
    let hop = hop(
        &world,
        "hurried",
        bottom.address,
        "[deadlines]\nopen_to_preview = \"1500ms\"\nopen_to_preview_per_hop = \"1ms\"",
    );
    let client = Client::new(&world);
    let mut leg = client.leg(hop.tcp());
    let begun = Instant::now();
    send_open(&client, &mut leg);
    bottom.opened();
    let fault = client.fault(&mut leg);
    assert_eq!((fault.code, fault.distance), (Reason::Deadline, 0), "{fault:?}");
    assert!(fault.text.as_deref().unwrap().contains("PREVIEW"), "{fault:?}");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    bottom.gone();
}

#[test]
fn opens_of_every_shape() {
    let world = World::new();
    let chain = world.chain(2);
    let to = chain.hops[0].tcp();
    let client = Client::new(&world);
    let own = client.leg(to).facts.leg.server;
    let kids = |count: u8| (0..count).map(|n| KeyId::from_bytes([n; 32])).collect::<Vec<_>>();
    let ask = || client.asking();
    let refused: Vec<(&str, Vec<u8>, Reason)> = vec![
        ("17 visited", Open { visited: kids(17), ..ask() }.encode(), Reason::Protocol),
        ("the own key visited", Open { visited: vec![own], ..ask() }.encode(), Reason::Loop),
        ("the own key last", Open { visited: [kids(15), vec![own]].concat(), ..ask() }.encode(), Reason::Loop),
        ("one key visited twice", Open { visited: [kids(3), kids(1)].concat(), ..ask() }.encode(), Reason::Loop),
        ("16 visited: none may follow", Open { visited: kids(16), ..ask() }.encode(), Reason::Ttl),
        ("33 known blobs", Open { have: vec![Digest::of(b""); 33], ..ask() }.encode(), Reason::Protocol),
        ("no hops left", Open { ttl: 0, ..ask() }.encode(), Reason::Ttl),
        ("more hops than there are", Open { ttl: 17, ..ask() }.encode(), Reason::Protocol),
        ("another version", Open { versions: vec![2], ..ask() }.encode(), Reason::Version),
        ("no version", Open { versions: vec![], ..ask() }.encode(), Reason::Protocol),
        ("nothing", vec![], Reason::Protocol),
        ("no CBOR", vec![0xff; 64], Reason::Protocol),
        ("too long", vec![0; 4097], Reason::Protocol),
        ("something behind it", [ask().encode(), vec![0]].concat(), Reason::Protocol),
    ];
    for (what, payload, reason) in refused {
        let mut leg = client.leg(to);
        client.send(&mut leg, FrameKind::Open, &payload);
        let fault = client.fault(&mut leg);
        assert_eq!((fault.code, fault.distance), (reason, 0), "{what}: {fault:?}");
    }
    for open in [Open { visited: kids(6), ttl: 1, ..ask() }, Open { nonce: Nonce::from_bytes([0; 32]), ..ask() }] {
        let mut leg = client.leg(to);
        client.send(&mut leg, FrameKind::Open, &open.encode());
        assert!(answer(&client, &mut leg).is_ok());
    }
}

#[test]
fn a_flood_of_opens_in_one_leg_is_one_error() {
    let world = World::new();
    let bottom = Bottom::new(&world, Answer::Never);
    let hop = hop(&world, "flooded", bottom.address, "");
    let client = Client::new(&world);
    let mut leg = client.leg(hop.tcp());
    let open = client.asking().encode();
    for _ in 0..500 {
        leg.sink.queue_frame(FrameKind::Open, &open).unwrap();
    }
    // The hop may have closed before all of it was out.
    let _ = client.run(leg.sink.flush());
    match answer(&client, &mut leg) {
        Err(Error::Fault(fault)) => assert_eq!(fault.code, Reason::Protocol, "{fault:?}"),
        Err(Error::Peer(PeerMisbehaved::Io(error))) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        found => panic!("{found:?}"),
    }
    hop.program.err.wait("why", |line| line.contains("reason=\"protocol\"").then_some(()));
    // The hop is well, and of the flood at most one has reached the bottom.
    let mut next = client.leg(hop.tcp());
    let asking = client.asking();
    client.send(&mut next, FrameKind::Open, &asking.encode());
    let mut of_the_flood = 0;
    loop {
        match bottom.event() {
            Event::Opened(open) if open.nonce == asking.nonce => break,
            Event::Opened(_) => of_the_flood += 1,
            Event::Gone => {}
        }
    }
    assert!(of_the_flood <= 1);
}

/// The ClientHello of a client of ours.
fn client_hello(world: &World) -> Vec<u8> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let line = format!("remoteattestation --addr tcp://{address} --verifier sim --platform {}", world.platform());
    let _shelter = Program::start(&mut command("shelter", &line));
    let (mut stream, _) = listener.accept().unwrap();
    bounded(&stream);
    let mut record = vec![0; 5];
    stream.read_exact(&mut record).unwrap();
    let len = usize::from(u16::from_be_bytes([record[3], record[4]]));
    record.resize(5 + len, 0);
    stream.read_exact(&mut record[5..]).unwrap();
    record
}

/// The server takes the handshake up: something comes.
fn is_answered(stream: &mut TcpStream) -> bool {
    stream.read(&mut [0; 64]).is_ok_and(|read| read > 0)
}

/// Our answer ends the turn: who does not go on holds up nobody, of its own source or another.
#[test]
fn handshakes_that_stall_hold_up_nobody() {
    let world = World::new();
    let workload = world.workload("--echo");
    let tables = "[limits]\nhandshakes_in_flight = 1\n[deadlines]\nhandshake = \"25s\"";
    let hop = hop(&world, "narrow", workload.tcp(), tables);
    let hello = client_hello(&world);
    let mut stalled: Vec<_> = (0..8).map(|_| connect(hop.tcp())).collect();
    for stream in &mut stalled {
        stream.write_all(&hello).unwrap();
        assert!(is_answered(stream), "a handshake that stalls holds up the next");
    }
    let (code, path) = world.attest(&hop.address, "");
    assert_eq!(code, Some(0), "{path:#}");
}
