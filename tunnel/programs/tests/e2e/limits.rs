//! A limit that is reached refuses whoever comes next, and only as long as it is reached.
//!
//! <https://github.com/envoyproxy/envoy/issues/33608>: what is under way is bounded apart from connections.

use inclavared_attest::Reason;

use inclavared_wire::frame::FrameKind;

use crate::bottom::{Answer, Bottom};
use crate::harness::World;
use crate::protocol::{Client, refusal};
use crate::stream::{connect, echo, read_all};

#[test]
fn of_connections() {
    let world = World::new();
    let workload = world.workload("--echo");
    let hop = world.route(
        "narrow",
        &format!(
            r#"
            listen = "127.0.0.1:0"
            xfer = "{}"
            upstream = "attested"
            downstream = {{ tls = "mutual", policy = "any" }}
            [limits]
            connections = 2
            "#,
            workload.address
        ),
    );
    let forward = world.forward(&hop.address, "");
    let mut streams = [connect(forward.address), connect(forward.address)];
    streams.iter_mut().for_each(|stream| echo(stream, b"served"));
    let refused = read_all(&mut connect(forward.address));
    assert!(refused.is_err(), "a refusal looks like a whole stream: {refused:?}");
    hop.program.err.wait("the limit", |line| (line.contains("limit of 2") && line.contains("open conn")).then_some(()));
    streams.iter_mut().for_each(|stream| echo(stream, b"still served"));

    // One ends, and there is a place; the hop learns of it a moment later than we do.
    let [ended, mut other] = streams;
    ended.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut { ended }).unwrap(), b"");
    forward.receipts(2);
    let served = (0..50).any(|_| {
        let mut stream = connect(forward.address);
        let works = std::io::Write::write_all(&mut stream, b"again").is_ok()
            && crate::stream::read_some(&mut stream, 5).is_ok_and(|bytes| bytes == b"again");
        if !works {
            std::thread::park_timeout(std::time::Duration::from_millis(50));
        }
        works
    });
    assert!(served, "nobody was served after a stream had ended");
    echo(&mut other, b"and this one");
}

#[test]
fn of_paths_being_opened() {
    let world = World::new();
    let bottom = Bottom::new(&world, Answer::Never);
    let hop = world.route(
        "narrow",
        &format!(
            r#"
            listen = "127.0.0.1:0"
            xfer = "{}"
            upstream = "attested"
            downstream = {{ tls = "mutual", policy = "any" }}
            [limits]
            openings = 1
            [deadlines]
            opening_turn = "300ms"
            "#,
            bottom.address
        ),
    );
    let client = Client::new(&world);
    let mut first = client.leg(hop.tcp());
    client.send(&mut first, FrameKind::Open, &client.asking().encode());
    bottom.opened();
    // It has the turn until its PREVIEW: the next one waits, and is told so when that is too long.
    assert_eq!(refusal(client.open(&mut client.leg(hop.tcp()))), Reason::Overload);
    drop(first);
    bottom.gone();
    let mut next = client.leg(hop.tcp());
    client.send(&mut next, FrameKind::Open, &client.asking().encode());
    bottom.opened();
}

/// Who has its PREVIEW and does not start is waited for, as long as nobody else comes.
#[test]
fn of_paths_that_wait_for_their_start() {
    let world = World::new();
    let workload = world.workload("--echo");
    let hop = world.route(
        "narrow",
        &format!(
            r#"
            listen = "127.0.0.1:0"
            xfer = "{}"
            upstream = "attested"
            downstream = {{ tls = "mutual", policy = "any" }}
            [limits]
            openings = 2
            "#,
            workload.address
        ),
    );
    let client = Client::new(&world);
    let mut waiting: Vec<_> = (0..2).map(|_| client.leg(hop.tcp())).collect();
    waiting.iter_mut().for_each(|leg| drop(client.open(leg).unwrap()));
    let mut last = client.leg(hop.tcp());
    let path = client.open(&mut last).unwrap();
    assert_eq!(client.fault(&mut waiting[0]).code, Reason::Overload, "the oldest gives way");
    client.start(&mut last, &path);
    client.send(&mut last, FrameKind::Data, b"started");
    assert_eq!(client.receive(&mut last).1, b"started");
}

/// Envoy's storm (envoyproxy/envoy#33608), and the silent clients of inclavare-containers#1035: who has said nothing has no
/// place, and who must wait for one is served, not refused.
#[test]
fn of_handshakes_in_flight() {
    let world = World::new();
    let workload = world.workload("--echo");
    let hop = world.route(
        "narrow",
        &format!(
            r#"
            listen = "127.0.0.1:0"
            xfer = "{}"
            upstream = "attested"
            downstream = {{ tls = "mutual", policy = "any" }}
            [limits]
            handshakes_in_flight = 1
            [deadlines]
            handshake = "3s"
            "#,
            workload.address
        ),
    );
    let _silent = [connect(hop.tcp()), connect(hop.tcp()), connect(hop.tcp())];
    let (code, path) = world.attest(&hop.address, "");
    assert_eq!(code, Some(0), "silent clients shut everybody out: {path:#}");
    std::thread::scope(|scope| {
        let at_once: Vec<_> = (0..8).map(|_| scope.spawn(|| world.attest(&hop.address, ""))).collect();
        for attested in at_once {
            let (code, path) = attested.join().unwrap();
            assert_eq!(code, Some(0), "a handshake that had to wait was refused: {path:#}");
        }
    });
}
