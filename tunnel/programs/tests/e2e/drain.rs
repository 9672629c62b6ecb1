//! SIGTERM: open streams go on and finish, nobody new is let in, and the exit status says that all is well.
//!
//! <https://github.com/istio/istio/issues/51805>: old connections drain, in bounded time.

use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::World;
use crate::program::{PATIENCE, Program};
use crate::stream::{connect, echo, read_all};

/// Of the hop with this number; all three programs drain.
fn lets_an_open_stream_finish(drained: usize) {
    let world = World::new();
    let mut chain = world.chain(2);
    let forward = world.forward(chain.address(), "");
    let mut stream = connect(forward.address);
    echo(&mut stream, b"before");
    let (mut program, address, forward) = match drained {
        0 => (forward.program, forward.address, None),
        hop => {
            let hop = chain.hops.remove(hop - 1);
            let address = hop.tcp();
            (hop.program, address, Some(forward))
        }
    };
    program.signal(Signal::TERM);
    assert_refused_soon(address);
    echo(&mut stream, b"while it drains");
    assert!(program.is_running());
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut stream).unwrap(), b"");
    if let Some(forward) = forward {
        assert_eq!(forward.receipt()["close"], "complete");
    }
    let ended = program.finish(PATIENCE);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// The signal takes a moment to arrive.
fn assert_refused_soon(address: std::net::SocketAddr) {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        match TcpStream::connect(address) {
            Err(error) => break assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
            Ok(_) => assert!(Instant::now() < end, "new connections are let in while it drains"),
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn of_shelter_forward() {
    lets_an_open_stream_finish(0);
}

#[test]
fn of_inclavared() {
    lets_an_open_stream_finish(1);
}

#[test]
fn of_enclave_tls_server() {
    lets_an_open_stream_finish(2);
}

#[test]
fn without_a_connection_ends_at_once() {
    let world = World::new();
    let workload = world.workload("--echo");
    workload.program.signal(Signal::TERM);
    assert_eq!(workload.program.finish(Duration::from_secs(5)).code, Some(0));
}

#[test]
fn ends_when_its_time_is_over_and_a_cut_stream_says_so() {
    let world = World::new();
    let workload = world.workload("--echo");
    let text = format!(
        r#"
        listen = "127.0.0.1:0"
        xfer = "{}"
        upstream = "attested"
        downstream = {{ tls = "mutual", policy = "any" }}
        [deadlines]
        drain = "300ms"
        "#,
        workload.address
    );
    let hop = world.route("hasty", &text);
    let forward = world.forward(&hop.address, "");
    let mut stream = connect(forward.address);
    echo(&mut stream, b"before");
    hop.program.signal(Signal::TERM);
    assert_eq!(hop.program.finish(Duration::from_secs(5)).code, Some(0));
    assert_eq!(read_all(&mut stream).map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
    assert_eq!(forward.receipt()["close"], "unreceipted");
}

#[test]
fn a_second_signal_does_not_wait() {
    let world = World::new();
    let chain = world.chain(1);
    let forward = world.forward(chain.address(), "");
    let mut stream = connect(forward.address);
    echo(&mut stream, b"open");
    // A plain client has nothing but a reset to tell that it was cut off.
    end_at_once(forward.program);
    assert_eq!(read_all(&mut stream).map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
    end_at_once(chain.hops.into_iter().next().unwrap().program);
}

fn end_at_once(program: Program) {
    program.signal(Signal::TERM);
    std::thread::park_timeout(Duration::from_millis(200));
    program.signal(Signal::TERM);
    assert_eq!(program.finish(Duration::from_secs(5)).code, Some(0));
}

#[test]
fn is_not_needed_for_a_plain_client_to_learn_that_it_was_cut_off() {
    let world = World::new();
    let chain = world.chain(1);
    let forward = world.forward(chain.address(), "");
    let mut stream = connect(forward.address);
    echo(&mut stream, b"open");
    forward.program.signal(Signal::KILL);
    assert_eq!(read_all(&mut stream).map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
}
