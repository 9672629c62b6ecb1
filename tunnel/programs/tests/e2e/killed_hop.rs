//! A hop that dies in the middle of a stream: the client learns that it was cut short.
//!
//! <https://github.com/rathole-org/rathole/issues/460>: a stream cut short that looked complete.

use std::io::{ErrorKind, Read as _, Write as _};
use std::thread;

use rustix::process::Signal;

use crate::harness::{Chain, World};
use crate::stream::{connect, echo, read_all};

fn kill(chain: &mut Chain, hop: usize) {
    let killed = chain.hops.remove(hop).program;
    killed.signal(Signal::KILL);
    assert_eq!(killed.finish(crate::program::PATIENCE).code, None);
}

fn cut_short(hop: usize) {
    let world = World::new();
    let mut chain = world.chain(3);
    let forward = world.forward(chain.address(), "");
    let mut stream = connect(forward.address);
    echo(&mut stream, b"before");
    kill(&mut chain, hop);
    // Its sockets are closed by the kernel, in order: without an END, that is no end of a stream.
    let read = read_all(&mut stream);
    assert_eq!(read.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
    let receipt = forward.receipt();
    // The hop that lost it has signed so, where one is left.
    let (close, why) =
        if hop == 0 { ("unreceipted", &receipt["error"]["code"]) } else { ("severed", &receipt["reason"]) };
    assert_eq!((&receipt["close"], why), (&close.into(), &"truncated".into()), "{receipt:#}");
}

#[test]
fn next_to_the_verifier() {
    cut_short(0);
}

#[test]
fn in_the_middle() {
    cut_short(1);
}

#[test]
fn that_was_the_workload() {
    cut_short(2);
}

#[test]
fn while_bytes_are_under_way() {
    let world = World::new();
    let mut chain = world.chain(3);
    let forward = world.forward(chain.address(), "");
    let mut stream = connect(forward.address);
    let mut writer = stream.try_clone().unwrap();
    let writing = thread::spawn(move || {
        loop {
            if let Err(error) = writer.write_all(&[7; 16 * 1024]) {
                break error.kind();
            }
        }
    });
    let mut buffer = vec![0; 64 * 1024];
    for _ in 0..20 {
        assert_ne!(stream.read(&mut buffer).unwrap(), 0);
    }
    kill(&mut chain, 1);
    // The kernel tells a reset once: to the reader, or to the writer.
    let read = read_all(&mut stream).map(|_| ()).map_err(|error| error.kind());
    let wrote = writing.join().unwrap();
    assert!([read, Err(wrote)].contains(&Err(ErrorKind::ConnectionReset)), "{read:?}, {wrote:?}");
    let receipt = forward.receipt();
    assert_eq!((&receipt["close"], &receipt["severed_after"]), (&"severed".into(), &1.into()), "{receipt:#}");
    // Bytes that were under way to the dead hop make the kernel answer with a reset.
    assert!(["truncated", "reset"].contains(&receipt["reason"].as_str().unwrap()), "{receipt:#}");
}
