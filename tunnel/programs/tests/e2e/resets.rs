//! Whoever resets a connection, the other side never takes what came for a whole stream.
//!
//! <https://github.com/rathole-org/rathole/issues/460>: a stream cut short that looked complete.

use std::io::{self, ErrorKind, Write as _};

use crate::harness::World;
use crate::stream::{Backend, connect, read_all, read_some, reset};

#[test]
fn by_the_client_reach_the_workload() {
    let world = World::new();
    let backend = Backend::new(|mut stream| {
        let first = read_some(&mut stream, 5).unwrap();
        stream.write_all(&first).unwrap();
        read_all(&mut stream)
    });
    let chain = world.chain_to(2, &format!("--sim-tee tdx --xfer {}", backend.address));
    let forward = world.forward(chain.address(), "");
    let mut stream = connect(forward.address);
    stream.write_all(b"hello").unwrap();
    read_some(&mut stream, 5).unwrap();
    reset(stream);
    assert_is_reset(backend.result());
    let receipt = forward.receipt();
    assert_eq!(receipt["close"], "unreceipted", "{receipt:#}");
    assert_eq!(receipt["error"]["code"], "reset", "{receipt:#}");
}

#[test]
fn by_the_workload_reach_the_client() {
    let world = World::new();
    let backend = Backend::new(|mut stream| {
        stream.write_all(b"not all").unwrap();
        read_some(&mut stream, 5).unwrap();
        reset(stream);
    });
    let chain = world.chain_to(2, &format!("--sim-tee tdx --xfer {}", backend.address));
    let forward = world.forward(chain.address(), "");
    let mut stream = connect(forward.address);
    assert_eq!(read_some(&mut stream, 7).unwrap(), b"not all");
    stream.write_all(b"hello").unwrap();
    assert_is_reset(read_all(&mut stream));
    let receipt = forward.receipt();
    assert_eq!(receipt["close"], "unreceipted", "{receipt:#}");
    assert_eq!(receipt["error"]["code"], "reset", "{receipt:#}");
    // It was the second hop that saw it.
    assert_eq!(receipt["error"]["hop"], 2, "{receipt:#}");
}

fn assert_is_reset(read: io::Result<Vec<u8>>) {
    assert_eq!(read.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
}
