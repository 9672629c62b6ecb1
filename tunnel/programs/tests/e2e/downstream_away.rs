//! The next hop is not there yet: said at once, by the hop that misses it, and no restart is needed when it comes.

use crate::harness::{Hop, World, command, unused_address};
use crate::program::Program;
use crate::stream::{connect, echo, read_all};

#[test]
fn and_comes_back_without_a_restart() {
    let world = World::new();
    let missing = unused_address();
    let relay = world.hop(missing, "");
    let ingress = world.hop(&relay.address, "--role ingress");
    let (code, failure) = world.attest(&ingress.address, "");
    assert_eq!(code, Some(1), "{failure:#}");
    let error = &failure["error"];
    // The second hop says so, and the address that it misses.
    assert_eq!((&error["code"], &error["hop"]), (&"unreachable".into(), &2.into()), "{failure:#}");
    assert!(error["message"].as_str().unwrap().contains(&missing.to_string()), "{failure:#}");

    let forward = world.forward(&ingress.address, "");
    let read = read_all(&mut connect(forward.address));
    assert!(read.is_err(), "a path that could not be made ended like a whole stream: {read:?}");
    assert_eq!(forward.receipt()["error"]["code"], "unreachable");

    let line = format!("--ip {} --port {} {} --echo", missing.ip(), missing.port(), world.sim());
    let _workload = Hop::new(Program::start(&mut command("enclave-tls-server", &line)));
    let (code, path) = world.attest(&ingress.address, "");
    assert_eq!((code, path["hops"].as_array().map(Vec::len)), (Some(0), Some(3)), "{path:#}");
    echo(&mut connect(forward.address), b"it is there");
}
