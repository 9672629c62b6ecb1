//! A client that speaks no frames leaves while its path is opened: everything below went on for it until its deadlines.
//!
//! It cancels all of it, as one with frames does.

use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;

use crate::bottom::{Answer, Bottom};
use crate::harness::World;
use crate::protocol::SOON;
use crate::strangers::hop;
use crate::stream::{connect, read_all, reset};
use crate::tls13::{self, Met, Offer};

/// A TLS client without our ALPN, whose handshake has ended.
fn stock(to: SocketAddr) -> tls13::Session {
    let offer = Offer { alpn: vec![b"http/1.1"], key_share: true };
    match tls13::connect(connect(to), &offer, &offer) {
        Met::Established(session) => session,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tls_client_that_leaves_takes_everything_below_along() {
    let world = World::new();
    let bottom = Bottom::new(&world, Answer::Never);
    let second = hop(&world, "second", bottom.address, "");
    let first = hop(&world, "first", second.tcp(), "[limits]\nopenings = 1");
    // Before it has sent anything, and after a request.
    for request in [None, Some(&b"GET / HTTP/1.1\r\n\r\n"[..])] {
        let mut client = stock(first.tcp());
        if let Some(request) = request {
            client.send(request).unwrap();
        }
        bottom.opened();
        drop(client);
        let took = bottom.gone();
        assert!(took < SOON, "{took:?}");
    }
}

#[test]
fn a_plain_client_that_leaves_takes_everything_below_along() {
    let world = World::new();
    let bottom = Bottom::new(&world, Answer::Never);
    let path = world.path("in.sock");
    let text = |name: &str, listen: &str| {
        format!(
            r#"
            [[route]]
            name = "{name}"
            listen = "{listen}"
            xfer = "{}"
            upstream = "plain"
            downstream = {{ tls = "attested", policy = "any" }}
            "#,
            bottom.address
        )
    };
    let unix = format!("unix://{}", path.display());
    let program = world.routes("local", &[text("tcp", "127.0.0.1:0"), text("unix", &unix)].concat());
    let tcp = crate::harness::tcp(&program.address("tcp"));
    program.address("unix");

    let client = connect(tcp);
    bottom.opened();
    reset(client);
    assert!(bottom.gone() < SOON);

    let client = UnixStream::connect(&path).unwrap();
    bottom.opened();
    drop(client);
    assert!(bottom.gone() < SOON);
}

/// A request and its end may come before the path is open: that is no leaving.
#[test]
fn a_client_that_has_only_ended_its_own_direction_is_served() {
    let world = World::new();
    let chain = world.chain(3);
    let forward = world.forward(chain.address(), "");
    for request in [&b"a request"[..], b""] {
        let mut client = connect(forward.address);
        std::io::Write::write_all(&mut client, request).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&mut client).unwrap(), request);
    }
}
