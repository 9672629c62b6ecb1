//! Whoever has one IPv6 address has a network full of them: a limit per address is none.
//!
//! The kernel gives this test a network of its own, with addresses of two networks on its loopback.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use crate::harness::{World, tcp, tool};
use crate::program::PATIENCE;
use crate::protocol::Client;
use crate::strangers::stream_from;

/// Set in the process that runs inside.
const INSIDE: &str = "INCLAVARED_TEST_IN_A_NETWORK_OF_ITS_OWN";

/// Two addresses of one network, and one of another.
const ADDRESSES: [&str; 3] = ["2001:db8:1:1::1", "2001:db8:1:1:ffff::1", "2001:db8:1:2::1"];

#[test]
fn addresses_of_one_network_have_the_limit_of_one() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let (Some(mut unshare), Some(_)) = (tool("unshare"), tool("ip")) else { return };
    let up = ADDRESSES.map(|address| format!("ip -6 addr add {address}/128 dev lo nodad")).join(" && ");
    let script = format!("ip link set lo up && {up} && exec \"$@\"");
    let this = std::env::current_exe().unwrap();
    let in_its_own = |command: &mut Command| {
        command.args(["--map-root-user", "--net", "sh", "-c"]);
        command.env(INSIDE, "1");
    };
    let mut probe = Command::new("unshare");
    in_its_own(&mut probe);
    let allowed = probe.args([&script, "sh", "true"]).output().is_ok_and(|done| done.status.success());
    if !allowed {
        assert!(std::env::var_os("CI").is_none(), "no network of its own can be had here");
        eprintln!("skipped: no network of its own can be had here");
        return;
    }
    in_its_own(&mut unshare);
    unshare.args([script.as_str(), "sh"]).arg(this).args(["--exact", "--nocapture"]);
    unshare.arg("ipv6_by_prefix::addresses_of_one_network_have_the_limit_of_one");
    let mut child = unshare.spawn().unwrap();
    let end = std::time::Instant::now() + 2 * PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "inside: {status}");
            return;
        }
        if std::time::Instant::now() > end {
            let _ = child.kill();
            panic!("inside it has not ended");
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn inside() {
    let world = World::new();
    let workload = world.workload("--echo");
    let hop = world.route(
        "hop",
        &format!(
            r#"
            listen = "[::1]:0"
            xfer = "{}"
            upstream = "attested"
            downstream = {{ tls = "mutual", policy = "any" }}
            [limits]
            connections_per_source = 3
            "#,
            workload.address
        ),
    );
    let to: SocketAddr = tcp(&hop.address);
    let client = Client::new(&world);
    let [one, same, other] = ADDRESSES.map(|address| address.parse::<IpAddr>().unwrap());
    let held: Vec<_> = [one, same, one].map(|from| stream_from(&client, from, to).unwrap()).into();
    for from in [one, same] {
        assert!(stream_from(&client, from, to).is_err(), "{from} has more than its network's limit");
    }
    stream_from(&client, other, to).expect("another network is refused");
    drop(held);
}
