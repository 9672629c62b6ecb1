//! Stock servers behind a hop: a target with a PKI's certificate, at the end of a path that `shelter forward` verifies.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::path::Path;

use crate::certificates::Certificates;
use crate::for_every_stack;
use crate::harness::{Forward, Hop, World};
use crate::stacks::{End, Server, Serves, Stack};
use crate::stream::{Random, connect, read_all, read_some, reset, send_all, sha256};

const BULK: usize = 3 << 20;
const SOME: usize = 300_000;

for_every_stack! {
    megabytes_cross_both_ways,
    the_server_ends_first,
    a_server_that_is_not_the_named_one_is_told,
    a_stream_that_breaks_is_no_end,
    a_server_without_evidence_is_no_attested_target,
}

/// A stock server, a hop before it, and a verifier before that.
struct Target {
    server: Server,
    hop: Hop,
    forward: Forward,
    _world: World,
}

impl Target {
    fn new(stack: Stack, serves: &Serves, authority: impl Fn(&Certificates) -> &Path) -> Self {
        let world = World::new();
        let certificates = Certificates::new(&world);
        let server = stack.server(&world, serves, Some(&certificates.ca), &certificates.server);
        let hop = world.route(
            "hop",
            &format!(
                r#"
                listen = "127.0.0.1:0"
                xfer = "{}"
                upstream = "attested"
                downstream = {{ tls = "pki", ca = {:?}, server_name = "localhost", cert = {:?}, key = {:?} }}
                "#,
                server.address,
                authority(&certificates),
                certificates.client.certificate,
                certificates.client.key,
            ),
        );
        // A target with an ordinary certificate is the end of what is attested, and the verifier has to accept that.
        let policy = world.policy("measurements = \"not-compared\"\nterminal = [\"plain\"]\n");
        let forward = world.forward(&hop.address, &format!("--policy {policy}"));
        Self { server, hop, forward, _world: world }
    }
}

fn ca(certificates: &Certificates) -> &Path {
    &certificates.ca
}

/// What a stack echoes: GnuTLS takes lines. `s_server` has no echo, and says something of its own.
fn bulk(stack: Stack) -> (Vec<u8>, Serves, Vec<u8>) {
    let random = Random::bytes(1, BULK);
    let lines: Vec<u8> = (0..BULK / 64).flat_map(|line| format!("{line:063}\n").into_bytes()).collect();
    match stack {
        Stack::OpenSsl => (random, Serves::Speaks(lines.clone()), lines),
        Stack::GnuTls => (lines.clone(), Serves::Echo, lines),
        Stack::Python | Stack::Go | Stack::Java => (random.clone(), Serves::Echo, random),
    }
}

fn megabytes_cross_both_ways(stack: Stack) {
    let (sent, serves, expected) = bulk(stack);
    let mut target = Target::new(stack, &serves, ca);
    let mut stream = connect(target.forward.address);
    let back = if stack.half_closes_as_server() {
        // Its end comes before the last of the echo.
        let sending = send_all(&stream, sent.clone());
        let back = read_all(&mut stream).unwrap();
        sending.join().unwrap().unwrap();
        back
    } else {
        let mut writer = stream.try_clone().unwrap();
        let typed = sent.clone();
        let sending = std::thread::spawn(move || writer.write_all(&typed));
        let back = read_some(&mut stream, expected.len()).unwrap();
        sending.join().unwrap().unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&mut stream).unwrap(), b"");
        back
    };
    assert_eq!((back.len(), sha256(&back)), (expected.len(), sha256(&expected)));
    let (heard, end) = target.server.heard();
    assert_eq!(end, End::CloseNotify);
    assert!(heard.is_none_or(|heard| heard == (sent.len(), sha256(&sent))));
    assert_receipt(&target.forward, "complete", sent.len(), back.len());
}

fn the_server_ends_first(stack: Stack) {
    if !stack.half_closes_as_server() {
        return;
    }
    let content = Random::bytes(2, SOME);
    let mut target = Target::new(stack, &Serves::Speaks(content.clone()), ca);
    let mut stream = connect(target.forward.address);
    assert_eq!(sha256(&read_all(&mut stream).unwrap()), sha256(&content));
    // Only now, after the server's end.
    let sent = Random::bytes(3, SOME);
    stream.write_all(&sent).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(target.server.heard(), (Some((SOME, sha256(&sent))), End::CloseNotify));
    assert_receipt(&target.forward, "complete", SOME, SOME);
}

fn a_server_that_is_not_the_named_one_is_told(stack: Stack) {
    let mut target = Target::new(stack, &Serves::Echo, |certificates| &certificates.other_ca);
    assert_nothing_passes(connect(target.forward.address));
    assert_eq!(target.server.refused(), End::Alert("unknown ca".to_owned()));
    target.hop.program.err.wait("the cause", |line| line.contains("UnknownIssuer").then_some(()));
    // The hop dials its target when the verifier has started the path: what was sent by then went no further.
    let receipt = target.forward.receipt();
    assert_eq!((&receipt["close"], &receipt["error"]["code"]), (&"unreceipted".into(), &"tls".into()), "{receipt:#}");
}

fn a_stream_that_breaks_is_no_end(stack: Stack) {
    let serves = if stack == Stack::OpenSsl { Serves::Speaks(b"hello\n".to_vec()) } else { Serves::Echo };
    let mut target = Target::new(stack, &serves, ca);
    let mut stream = connect(target.forward.address);
    stream.write_all(b"hello\n").unwrap();
    assert_eq!(read_some(&mut stream, 6).unwrap(), b"hello\n");
    reset(stream);
    assert_eq!(target.server.heard().1, End::Alert("internal error".to_owned()));
}

/// Neither to a hop nor to the verifier itself.
fn a_server_without_evidence_is_no_attested_target(stack: Stack) {
    let world = World::new();
    let certificates = Certificates::new(&world);
    let server = stack.server(&world, &Serves::Echo, None, &certificates.self_signed);
    let hop = world.route(
        "hop",
        &format!(
            "listen = \"127.0.0.1:0\"\nxfer = \"{}\"\nupstream = \"plain\"\n\
             downstream = {{ tls = \"attested\", policy = \"any\" }}\n",
            server.address
        ),
    );
    assert_nothing_passes(connect(hop.tcp()));
    hop.program.err.wait("the reason", |line| line.contains("reason=\"no-evidence\"").then_some(()));
    drop(server);

    let server = stack.server(&world, &Serves::Echo, None, &certificates.self_signed);
    let forward = world.forward(&server.address.to_string(), "");
    assert_nothing_passes(connect(forward.address));
    let receipt = forward.receipt();
    let said = (&receipt["close"], &receipt["bytes_up"], &receipt["error"]["code"]);
    assert_eq!(said, (&"refused".into(), &0.into(), &"no-evidence".into()), "{receipt:#}");
}

/// Not a byte comes, and what ends the stream is no end of file.
fn assert_nothing_passes(mut stream: TcpStream) {
    let _ = stream.write_all(b"secret\n");
    read_all(&mut stream).unwrap_err();
}

fn assert_receipt(forward: &Forward, close: &str, up: usize, down: usize) {
    let receipt = forward.receipt();
    let said = (&receipt["close"], &receipt["bytes_up"], &receipt["bytes_down"]);
    assert_eq!(said, (&close.into(), &up.into(), &down.into()), "{receipt:#}");
}
