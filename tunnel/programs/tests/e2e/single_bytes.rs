//! Single bytes, one after the other: none waits for more to come.
//!
//! <https://github.com/rathole-org/rathole/issues/506>: Nagle's algorithm against delayed acknowledgements, 40 ms each.

use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::World;
use crate::stream::{Backend, connect, read_some};

/// Under one delayed acknowledgement, though there are four sockets on the way, twice.
const LIMIT: Duration = Duration::from_millis(35);

/// So that the second byte comes after the first has been sent on.
const PAUSE: Duration = Duration::from_millis(2);

#[test]
fn are_not_delayed() {
    let world = World::new();
    // It answers two bytes with two. An echo would acknowledge the first byte by its answer, and hide the delay.
    let backend = Backend::new(|mut stream| {
        while let Ok(two) = read_some(&mut stream, 2) {
            stream.write_all(&two).unwrap();
        }
    });
    let chain = world.chain_to(3, &format!("--sim-tee tdx --xfer {}", backend.address));
    let forward = world.forward(chain.address(), "");
    let mut stream = connect(forward.address);
    let mut took: Vec<_> = (0..100u8)
        .map(|byte| {
            let begun = Instant::now();
            stream.write_all(&[byte]).unwrap();
            thread::park_timeout(PAUSE);
            stream.write_all(&[byte]).unwrap();
            assert_eq!(read_some(&mut stream, 2).unwrap(), [byte, byte]);
            begun.elapsed()
        })
        .collect();
    took.sort();
    // A busy machine delays some; an algorithm delays all.
    assert!(took[took.len() / 2] < LIMIT, "{took:?}");
}
