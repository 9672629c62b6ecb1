//! How far a path may go: nobody dials a hop more than was meant.

use std::io::ErrorKind;
use std::net::TcpListener;

use crate::harness::World;
use crate::stream::{connect, read_all};

/// A listener in the place of a third hop, which nobody may dial.
fn untouched(listener: &TcpListener) {
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().map(|_| ()).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
}

#[test]
fn of_a_process_that_begins_a_path() {
    let world = World::new();
    let third = TcpListener::bind("127.0.0.1:0").unwrap();
    let second = world.hop(third.local_addr().unwrap(), "");
    let first = world.hop(&second.address, "");
    let egress = |ttl: u8, policy: &str| {
        world.route(
            "egress",
            &format!(
                r#"
                listen = "127.0.0.1:0"
                xfer = "{}"
                upstream = "plain"
                downstream = {{ tls = "attested", policy = "{policy}" }}
                ttl = {ttl}
                [policy.short]
                allow_simulated = true
                identity = "any-genuine"
                measurements = "not-compared"
                max_hops = 2
                "#,
                first.address
            ),
        )
    };
    for (ttl, policy) in [(2, "any"), (8, "short")] {
        let egress = egress(ttl, policy);
        assert!(read_all(&mut connect(egress.tcp())).is_err());
        egress.program.err.wait("the refusal", |line| line.contains("reason=\"ttl\"").then_some(()));
        untouched(&third);
    }
    // One more, and it is dialled.
    let egress = egress(3, "any");
    let _client = connect(egress.tcp());
    third.set_nonblocking(false).unwrap();
    drop(third.accept().unwrap());
}

#[test]
fn of_a_verifier() {
    let world = World::new();
    let third = TcpListener::bind("127.0.0.1:0").unwrap();
    let second = world.hop(third.local_addr().unwrap(), "");
    let first = world.hop(&second.address, "");
    let policy = world.policy("measurements = \"not-compared\"\nmax_hops = 2");
    let (code, failure) = world.attest(&first.address, &format!("--policy {policy}"));
    assert_eq!((code, &failure["error"]["code"]), (Some(1), &"ttl".into()), "{failure:#}");
    assert_eq!(failure["error"]["reported_by"], 2, "{failure:#}");
    untouched(&third);
}
