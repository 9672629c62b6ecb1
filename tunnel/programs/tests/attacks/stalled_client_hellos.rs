//! 256 clients at four addresses send a ClientHello and then nothing: a newcomer waited until their deadline was over.
//!
//! The turn is for our answer, and ends with it. What is held of unfinished messages is bounded for all together.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::World;
use crate::program::PATIENCE;
use crate::strangers::{address, hop, socket_from};
use crate::tls13;

const ADDRESSES: u8 = 4;
const EACH: usize = 64;

/// It has its answer, and is still waited for.
fn is_waited_for(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let waited_for = loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => break false,
            Ok(_) => {}
            Err(error) => break error.kind() == ErrorKind::WouldBlock,
        }
    };
    stream.set_nonblocking(false).unwrap();
    waited_for
}

fn waited_for(streams: &mut [TcpStream]) -> usize {
    streams.iter_mut().map(|stream| usize::from(is_waited_for(stream))).sum()
}

/// The deadline of a handshake is longer than anything here waits: nobody is served because the stalled ones ended.
#[test]
fn a_newcomer_is_served_while_all_of_them_stall() {
    let world = World::new();
    let workload = world.workload("--echo");
    let hop = hop(&world, "hop", workload.tcp(), "[deadlines]\nhandshake = \"10m\"");
    let mut stalled = Vec::new();
    for number in 1..=ADDRESSES {
        for _ in 0..EACH {
            let mut stream = socket_from(address(number), hop.tcp());
            stream.write_all(&tls13::hello(b"inclavared/1")).unwrap();
            stalled.push(stream);
        }
    }
    for stream in &mut stalled {
        assert!(stream.read(&mut [0; 1]).is_ok_and(|read| read == 1), "not each of them is answered");
    }
    let (code, path) = world.attest(&hop.address, "");
    assert_eq!(code, Some(0), "{path:#}");
    assert_eq!(waited_for(&mut stalled), stalled.len(), "the newcomer was served because others ended");
}

/// Each of these sends 16 KiB of a record that it does not finish, in place of its last flight.
#[test]
fn unfinished_messages_give_way_to_newcomers() {
    let world = World::new();
    let workload = world.workload("--echo");
    let tables = "[limits]\nhandshake_kib = 64\n[deadlines]\nhandshake = \"10m\"";
    let hop = hop(&world, "hop", workload.tcp(), tables);
    let unfinished = [&[23, 3, 3, 0x40, 0x00][..], &[7; 0x3fff]].concat();
    let mut stalled = Vec::new();
    for _ in 0..32 {
        let mut stream = socket_from(address(1), hop.tcp());
        stream.write_all(&tls13::hello(b"inclavared/1")).unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
        // Whoever is displaced already is not written to.
        let _ = stream.write_all(&unfinished);
        stalled.push(stream);
    }
    // A newcomer with evidence, which sends as much: 64 KiB were used up by the first six of these.
    let second = world.hop(&hop.address, "--role ingress");
    let (code, path) = world.attest(&second.address, "");
    assert_eq!(code, Some(0), "{path:#}");
    let end = Instant::now() + PATIENCE;
    let mut still = waited_for(&mut stalled);
    while still > 6 && Instant::now() < end {
        std::thread::park_timeout(Duration::from_millis(50));
        still = waited_for(&mut stalled);
    }
    assert!((1..=6).contains(&still), "{still} of 32 are still waited for");
}

#[test]
fn a_client_hello_has_sixteen_kib_at_most() {
    let world = World::new();
    let workload = world.workload("--echo");
    let hop = hop(&world, "hop", workload.tcp(), "");
    let mut stream = socket_from(address(1), hop.tcp());
    // A record of 16 KiB that begins a ClientHello of 17 KiB: its length alone is refused.
    let hello = [&[22, 3, 1, 0x40, 0x00][..], &[1, 0, 0x44, 0x00], &[0; 0x3ffc]].concat();
    stream.write_all(&hello).unwrap();
    let mut alert = [0; 7];
    stream.read_exact(&mut alert).unwrap();
    assert_eq!(alert, [21, 3, 3, 0, 2, 2, 50], "no decode_error");
}
