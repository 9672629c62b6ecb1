//! Clients at two addresses hold every connection that there may be, for ever.
//!
//! Those that say nothing give way to newcomers; of streams, two addresses leave some to a third; what is kept for hops
//! that were admitted no stranger gets; and a stranger's stream that carries nothing ends.

use inclavared_attest::Reason;
use inclavared_tunnel::leg::DialledLeg;

use crate::harness::{Hop, World};
use crate::program::Program;
use crate::protocol::Client;
use crate::strangers::{address, echo, hop, leg_from, socket_from, stream_from};

#[test]
fn silent_connections_keep_no_newcomer_out() {
    let world = World::new();
    let workload = world.workload("--echo");
    let tables = "[limits]\nconnections = 40\nconnections_per_source = 20\n[deadlines]\nhandshake = \"10m\"";
    let hop = hop(&world, "hop", workload.tcp(), tables);
    let silent = |number| (0..20).map(|_| socket_from(address(number), hop.tcp())).collect::<Vec<_>>();
    let _all = [silent(1), silent(2)];
    let client = Client::new(&world);
    let _streams: Vec<_> = (0..4).map(|_| stream_from(&client, address(3), hop.tcp()).unwrap()).collect();
    let (code, path) = world.attest(&hop.address, "");
    assert_eq!(code, Some(0), "{path:#}");
}

/// A process with a route for anybody, and one for hops that show evidence.
fn both(world: &World, workload: &Hop, tables: &str) -> (Program, String, String) {
    let text = format!(
        r#"
        [[route]]
        name = "anybody"
        listen = "127.0.0.1:0"
        xfer = "{0}"
        upstream = "attested"
        downstream = {{ tls = "mutual", policy = "any" }}
        [[route]]
        name = "hops"
        listen = "127.0.0.1:0"
        xfer = "{0}"
        upstream = {{ tls = "mutual", policy = "any" }}
        downstream = {{ tls = "mutual", policy = "any" }}
        {tables}
        "#,
        workload.address
    );
    let program = world.routes("both", &text);
    let (anybody, hops) = (program.address("anybody"), program.address("hops"));
    (program, anybody, hops)
}

#[test]
fn streams_of_two_addresses_leave_some_to_a_third_and_to_hops_their_share() {
    let world = World::new();
    let workload = world.workload("--echo");
    let (_program, anybody, hops) = both(&world, &workload, "[limits]\nconnections = 40\nconnections_per_source = 30");
    let client = Client::new(&world);
    let anybody = crate::harness::tcp(&anybody);
    // As many as each gets: 30 places are the strangers' in all.
    let fill = |number| -> Vec<DialledLeg> {
        (0..40).map_while(|_| stream_from(&client, address(number), anybody).ok()).collect()
    };
    let (first, second) = (fill(1), fill(2));
    assert!(first.len() >= second.len() && second.len() > 1, "{} and {}", first.len(), second.len());
    let mut third = stream_from(&client, address(3), anybody).expect("a third address is shut out");
    // And however many addresses there are, a hop with evidence finds a place.
    let rest: Vec<_> = (4..20).filter_map(|number| stream_from(&client, address(number), anybody).ok()).collect();
    assert!(first.len() + second.len() + rest.len() < 30);
    let ingress = world.hop(&hops, "--role ingress");
    let (code, path) = world.attest(&ingress.address, "");
    assert_eq!(code, Some(0), "{path:#}");
    echo(&client, &mut third).unwrap();
}

#[test]
fn a_strangers_stream_that_carries_nothing_ends() {
    let world = World::new();
    let workload = world.workload("--echo");
    let (_program, anybody, hops) = both(&world, &workload, "[deadlines]\nstranger_idle = \"700ms\"");
    let client = Client::new(&world);
    let mut stranger = leg_from(&client, address(1), crate::harness::tcp(&anybody)).unwrap();
    let path = client.open(&mut stranger).unwrap();
    client.start(&mut stranger, &path);
    // A hop whose clients are local applications: they are nobody's strangers.
    let local = world.route(
        "local",
        &format!(
            r#"
            listen = "127.0.0.1:0"
            xfer = "{hops}"
            upstream = "plain"
            downstream = {{ tls = "mutual", policy = "any" }}
            "#
        ),
    );
    let mut application = crate::stream::connect(local.tcp());
    crate::stream::echo(&mut application, b"before");
    let fault = client.fault(&mut stranger);
    assert_eq!(fault.code, Reason::Idle, "{fault:?}");
    crate::stream::echo(&mut application, b"after");
}
