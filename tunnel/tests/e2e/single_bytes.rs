//! Single bytes there and back: none waits for more to come.
//!
//! <https://github.com/rathole-org/rathole/issues/506>: Nagle's algorithm against delayed acknowledgements, 40 ms each.

use std::time::{Duration, Instant};

use crate::harness::World;
use crate::stream::{connect, echo};

/// Under one delayed acknowledgement, though there are four sockets on the way, twice.
const LIMIT: Duration = Duration::from_millis(35);

#[test]
fn are_not_delayed() {
    let world = World::new();
    let chain = world.chain(3);
    let forward = world.forward(chain.address(), "");
    let mut stream = connect(forward.address);
    echo(&mut stream, b"!");
    let mut took: Vec<_> = (0..100u8)
        .map(|byte| {
            let begun = Instant::now();
            echo(&mut stream, &[byte]);
            begun.elapsed()
        })
        .collect();
    took.sort();
    // A busy machine delays some; an algorithm delays all.
    assert!(took[took.len() / 2] < LIMIT, "{took:?}");
}
