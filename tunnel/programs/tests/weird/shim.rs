//! The relay, between real programs: what lies between two hops cuts, stalls and breaks.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::harness::{Hop, World};
use crate::stream::{Backend, Random, bounded, connect, read_all, reset, send_all, sha256};

const SIZE: usize = 200_000;

/// What is done to each direction of a connection.
#[derive(Clone, Copy, Debug)]
struct Weird {
    seed: u64,
    /// The most that is passed on at once.
    piece: usize,
    /// One piece in so many is waited with.
    stalls: u64,
    /// What breaks, and after how many bytes from the client.
    breaks: Option<(usize, Break)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Break {
    Reset,
    /// An end of file in both directions, as a proxy makes that knows nothing of what it carries.
    EndOfFile,
    /// One byte is another.
    Flip,
}

/// A proxy before `target`, for as many connections as come. It ends with the test binary.
fn shim(target: SocketAddr, weird: Weird) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(target) else { return };
            for socket in [&client, &server] {
                bounded(socket);
                // Little room: the hops' writes are short, too.
                let _ = SockRef::from(socket).set_recv_buffer_size(4096);
                let _ = SockRef::from(socket).set_send_buffer_size(4096);
            }
            let (reads, writes) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let broken = Arc::new(AtomicBool::new(false));
            let is_broken = Arc::clone(&broken);
            thread::spawn(move || pass(reads, writes, weird, &broken));
            let back = Weird { seed: weird.seed + 1, breaks: None, ..weird };
            thread::spawn(move || pass(server, client, back, &is_broken));
        }
    });
    address
}

/// One direction. A socket is reset when nobody holds it any more: `broken` tells the other direction to let go.
fn pass(mut from: TcpStream, mut to: TcpStream, weird: Weird, broken: &AtomicBool) {
    from.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let mut random = Random::new(weird.seed);
    let (mut passed, mut buffer) = (0, vec![0; weird.piece]);
    loop {
        let most = 1 + (random.next() as usize) % weird.piece;
        let read = match from.read(&mut buffer[..most]) {
            Ok(read @ 1..) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock && !broken.load(Ordering::Relaxed) => continue,
            _ => break,
        };
        if random.next().is_multiple_of(weird.stalls) {
            thread::park_timeout(Duration::from_micros(random.next() % 2000));
        }
        if let Some((after, kind)) = weird.breaks
            && passed + read > after
        {
            match kind {
                Break::Reset => {
                    broken.store(true, Ordering::Relaxed);
                    reset(from);
                    return reset(to);
                }
                Break::EndOfFile => {
                    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                    return;
                }
                // Once: the record that holds it is refused, and nothing after it is read.
                Break::Flip if passed <= after => buffer[after - passed] ^= 0x10,
                Break::Flip => {}
            }
        }
        passed += read;
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    if !broken.load(Ordering::Relaxed) {
        let _ = to.shutdown(Shutdown::Write);
    }
}

/// plain -> attested, the shim, attested -> plain.
fn path(world: &World, backend: SocketAddr, weird: Weird) -> (Hop, Hop) {
    let workload = world.route(
        "workload",
        &format!("listen = \"127.0.0.1:0\"\nxfer = \"{backend}\"\nupstream = \"attested\"\ndownstream = \"plain\"\n"),
    );
    let between = shim(workload.tcp(), weird);
    let hop = world.route(
        "hop",
        &format!(
            "listen = \"127.0.0.1:0\"\nxfer = \"{between}\"\nupstream = \"plain\"\n\
             downstream = {{ tls = \"attested\", policy = \"any\" }}\n"
        ),
    );
    (hop, workload)
}

/// Sends back what comes, and says how much of it came, and how it ended.
fn echo() -> Backend<(usize, Option<ErrorKind>)> {
    Backend::new(|mut stream| {
        let (mut buffer, mut count) = (vec![0; 65_536], 0);
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break (count, None),
                Ok(read) => {
                    count += read;
                    if let Err(error) = stream.write_all(&buffer[..read]) {
                        break (count, Some(error.kind()));
                    }
                }
                Err(error) => break (count, Some(error.kind())),
            }
        }
    })
}

#[test]
fn a_stream_takes_any_cut() {
    let world = World::new();
    let backend = echo();
    for (seed, piece, stalls) in [(1, 1, 5000), (2, 7, 500), (3, 1400, 10), (4, 16_401, 3), (5, 100_000, 2)] {
        let size = if piece == 1 { SIZE / 10 } else { SIZE };
        let weird = Weird { seed, piece, stalls, breaks: None };
        let (hop, workload) = path(&world, backend.address, weird);
        let mut stream = connect(hop.tcp());
        let sent = Random::bytes(seed, size);
        let sending = send_all(&stream, sent.clone());
        let back = read_all(&mut stream).unwrap();
        sending.join().unwrap().unwrap();
        assert_eq!(sha256(&back), sha256(&sent), "{weird:?}: {} bytes came back", back.len());
        assert_eq!(backend.result(), (size, None));
        for hop in [hop, workload] {
            hop.program.err.wait("the end", |line| line.contains("close=\"complete\"").then_some(()));
        }
    }
}

/// Wherever it breaks, and however: neither end takes what it got for all of it.
#[test]
fn a_broken_stream_is_no_end_of_file() {
    let world = World::new();
    for kind in [Break::Reset, Break::EndOfFile, Break::Flip] {
        // In the middle of records, at their edges, in the last ones; the handshake and the opening have 6 to 10 KB.
        for after in [20_000, 20_001, 50_123, 120_000, 195_000] {
            if kind == Break::Flip && after > 150_000 {
                // Where it makes the length of a record greater than all that follows, it is waited for, as for bytes that
                // the network has lost: no integrity can tell the one from the other.
                continue;
            }
            let backend = echo();
            let weird = Weird { seed: after as u64, piece: 3000, stalls: 20, breaks: Some((after, kind)) };
            let (hop, workload) = path(&world, backend.address, weird);
            let mut stream = connect(hop.tcp());
            let sending = send_all(&stream, Random::bytes(9, SIZE));
            let ended = read_all(&mut stream).map(|bytes| bytes.len()).map_err(|error| error.kind());
            assert_eq!(ended, Err(ErrorKind::ConnectionReset), "{weird:?}");
            let _ = sending.join().unwrap();
            let (heard, how) = backend.result();
            assert!(heard < SIZE && how.is_some(), "{weird:?}: the backend heard {heard} bytes, {how:?}");
            for mut hop in [hop, workload] {
                hop.program.err.wait("the failure", |line| line.contains(" failed ").then_some(()));
                assert!(hop.program.is_running());
            }
        }
    }
}

/// Before data may pass nothing reaches the backend, wherever the opening breaks.
#[test]
fn a_broken_opening_reaches_nobody() {
    let world = World::new();
    let backend = echo();
    for kind in [Break::Reset, Break::EndOfFile, Break::Flip] {
        for after in [0, 1, 5, 100, 300, 600, 900] {
            let weird = Weird { seed: after as u64, piece: 50, stalls: 50, breaks: Some((after, kind)) };
            let (mut hop, mut workload) = path(&world, backend.address, weird);
            let mut stream = connect(hop.tcp());
            let _ = stream.write_all(b"secret");
            read_all(&mut stream).unwrap_err();
            assert!(hop.program.is_running() && workload.program.is_running(), "{weird:?}");
        }
    }
    // The backend serves the next one that is whole, and has served nobody before it.
    let (hop, _workload) = path(&world, backend.address, Weird { seed: 1, piece: 1000, stalls: 10, breaks: None });
    let mut stream = connect(hop.tcp());
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut stream).unwrap(), b"hello");
    assert_eq!(backend.result(), (5, None));
}
