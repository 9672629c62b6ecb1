//! A server that greets before its client has said anything.
//!
//! <https://github.com/linkerd/linkerd2/issues/10745>: such a greeting waited ten seconds behind protocol detection.

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::harness::World;
use crate::stream::{Backend, connect, read_some};

const GREETING: &[u8] = b"220 ready\r\n";

#[test]
fn is_heard_at_once() {
    let world = World::new();
    let backend = Backend::new(|mut stream| stream.write_all(GREETING).map(|()| crate::stream::read_all(&mut stream)));
    let chain = world.chain_to(2, &format!("--sim-tee tdx --xfer {}", backend.address));
    let forward = world.forward(chain.address(), "");
    let begun = Instant::now();
    let mut stream = connect(forward.address);
    assert_eq!(read_some(&mut stream, GREETING.len()).unwrap(), GREETING);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
