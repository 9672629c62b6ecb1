//! What a connection holds while nothing happens on it.

use std::io::{IoSlice, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use inclavared_tunnel::leg::permits::Who;
use inclavared_tunnel::leg::socket::Socket;
use inclavared_tunnel::server::connection;
use inclavared_tunnel::server::crew::Crew;
use inclavared_tunnel::server::held::Held;
use inclavared_tunnel::server::node::{Pki, RouteState, Service};
use inclavared_wire::frame::FrameKind;

use crate::peers::Client;
use crate::world::{World, connect, route};

/// What the kernel has given this process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Tests of other modules run in this process at the same time: only a process of its own can be measured.
fn alone(test: &str) -> bool {
    const ALONE: &str = "RELAY_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let exe = std::env::current_exe().unwrap();
    let status = std::process::Command::new(exe).args(["--exact", test, "--nocapture"]).env(ALONE, "1").status();
    assert!(status.unwrap().success());
    false
}

/// A workload that keeps every stream, and answers its first byte.
fn keeper() -> (std::net::SocketAddr, Arc<Mutex<Vec<TcpStream>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&kept);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.read_exact(&mut [0]).unwrap();
            stream.write_all(b"y").unwrap();
            keep.lock().unwrap().push(stream);
        }
    });
    (address, kept)
}

/// Four legs a stream, in two processes: a big buffer in each direction of them would be a megabyte.
#[test]
fn an_idle_stream_holds_no_big_buffer() {
    if !alone("memory::an_idle_stream_holds_no_big_buffer") {
        return;
    }
    const STREAMS: usize = 500;
    let world = World::new();
    let (target, _kept) = keeper();
    let hops = world.pair(target, "");
    let open = || {
        let mut client = connect(hops[0].address);
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        client
    };
    let _first: Vec<_> = (0..20).map(|_| open()).collect();
    let before = resident();
    let _streams: Vec<_> = (0..STREAMS).map(|_| open()).collect();
    let each = resident().saturating_sub(before) / STREAMS;
    println!("{each} bytes an idle stream over two hops");
    assert!(each < 100_000, "an idle stream over two hops holds {each} bytes");
}

#[test]
fn half_a_record_holds_a_small_buffer() {
    if !alone("memory::half_a_record_holds_a_small_buffer") {
        return;
    }
    const STREAMS: usize = 300;
    let world = World::new();
    let (target, _kept) = keeper();
    let hop = world.last(target, "");
    Client::run(&world, async |client| {
        let mut legs = Vec::new();
        let mut open = async || {
            let mut leg = client.open(hop.address).await;
            leg.send(FrameKind::Data, b"x").await.unwrap();
            leg.expect(FrameKind::Data, "DATA", Duration::from_secs(5)).await.unwrap();
            // The header of a full record, and some bytes of it.
            let part = [&[23, 3, 3, 0x40, 0x11][..], &[0; 40]].concat();
            leg.sink.socket().try_write_vectored(&[IoSlice::new(&part)]).unwrap();
            legs.push(leg);
        };
        for _ in 0..20 {
            open().await;
        }
        let before = resident();
        for _ in 0..STREAMS {
            open().await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let each = resident().saturating_sub(before) / STREAMS;
        println!("{each} bytes a stream with half a record");
        assert!(each < 100_000, "a stream with half a record holds {each} bytes");
    });
}

/// The future of one connection is allocated for as long as the connection lives.
#[test]
fn the_future_of_a_connection_is_small() {
    const MOST: usize = 4 * 1024 + 512;
    let world = World::new();
    let (node, ..) = world.node();
    let node = Arc::new(node);
    let config = world.config(&route("plain", "127.0.0.1:9".parse().unwrap(), "attested"), "");
    let state = RouteState {
        route: config.routes[0].clone(),
        place: 0,
        identity: None,
        quoter: None,
        warm: None,
        pki: Pki::default(),
        serves: Service::Target,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let (socket, _peer) = tokio::net::UnixStream::pair().unwrap();
    let admission = node.gates.connections.arrive(Who::Local).unwrap();
    let held = Held { admission, opening: None, place: Crew::new(1).0.place(0) };
    let future = connection::serve(Arc::clone(&node), Arc::new(state), Socket::Unix(socket), None, held);
    let size = size_of_val(&future);
    println!("{size} bytes");
    assert!(size <= MOST, "the future of one connection has {size} bytes, {MOST} were agreed on");
}
