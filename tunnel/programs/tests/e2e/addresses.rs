//! Unix sockets, IPv6 and host names, wherever an address may stand.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};

use crate::harness::{Hop, World, command, tcp};
use crate::program::{PATIENCE, Program};
use crate::stream::{connect, echo};

#[test]
fn unix_sockets_from_end_to_end() {
    let world = World::new();
    let address = |name: &str| format!("unix://{}", world.path(name).display());
    let backend = UnixListener::bind(world.path("app.sock")).unwrap();
    std::thread::spawn(move || {
        for mut stream in backend.incoming().map_while(Result::ok) {
            std::io::copy(&mut stream.try_clone().unwrap(), &mut stream).unwrap();
        }
    });
    let last = world.route(
        "last",
        &format!(
            r#"
            listen = "{}"
            xfer = "{}"
            upstream = "attested"
            downstream = "plain"
            [attestation.sim]
            tee = "tdx"
            "#,
            address("last.sock"),
            address("app.sock")
        ),
    );
    assert_eq!(last.address, address("last.sock"));
    // The original wrote bare paths.
    let line =
        format!("--listen {0}/first.sock --xfer {0}/last.sock --mutual {1}", world.path("").display(), world.sim());
    let first = Hop::new(Program::start(&mut command("inclavared", &line.replace("//", "/"))));
    let (code, path) = world.attest(&first.address, "");
    assert_eq!((code, &path["end"]), (Some(0), &"same-tee".into()), "{path:#}");

    let line = format!(
        "forward --listen {} --to {} --json --log-level info --verifier sim --platform {}",
        address("local.sock"),
        first.address,
        world.platform()
    );
    let shelter = Program::start(&mut command("shelter", &line));
    shelter.address("forward");
    let mut stream = UnixStream::connect(world.path("local.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"over four sockets").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).unwrap();
    assert_eq!(back, "over four sockets");
}

#[test]
fn a_unix_socket_left_behind_is_replaced_and_one_in_use_is_not() {
    let world = World::new();
    let socket = world.path("hop.sock");
    let line = format!("--listen {} --xfer 127.0.0.1:9 {}", socket.display(), world.sim());
    let start = || Program::start(&mut command("inclavared", &line));
    let killed = Hop::new(start());
    killed.program.signal(rustix::process::Signal::KILL);
    drop(killed);
    assert!(socket.exists());
    let _second = Hop::new(start());
    let third = start().finish(PATIENCE);
    assert_eq!(third.code, Some(1), "{third:?}");
    assert!(third.err.contains("hop.sock") && third.err.contains("in use"), "{}", third.err);
    std::fs::write(world.path("file"), "mine").unwrap();
    let refused = crate::harness::run(&mut command("inclavared", &line.replace("hop.sock", "file")));
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_eq!(std::fs::read_to_string(world.path("file")).unwrap(), "mine");
}

#[test]
fn ipv6() {
    if TcpListener::bind("[::1]:0").is_err() {
        assert!(std::env::var_os("CI").is_none(), "no IPv6 loopback");
        eprintln!("skipped: no IPv6 loopback");
        return;
    }
    let world = World::new();
    let workload = world.workload("--ip ::1 --echo");
    assert!(workload.address.starts_with("tcp://[::1]:"), "{}", workload.address);
    let line = format!("--listen [::1]:0 --xfer {} --mutual {}", workload.address, world.sim());
    let hop = Hop::new(Program::start(&mut command("inclavared", &line)));
    let (code, path) = world.attest(&hop.address, "");
    assert_eq!((code, path["hops"].as_array().map(Vec::len)), (Some(0), Some(2)), "{path:#}");
    echo(&mut connect(world.forward(&hop.address, "").address), b"six");
}

#[test]
fn host_names() {
    let world = World::new();
    let workload = world.workload("--echo");
    let named = |address: &str| format!("localhost:{}", tcp(address).port());
    let hop = world.hop(named(&workload.address), "");
    let (code, path) = world.attest(&named(&hop.address), "");
    assert_eq!((code, path["hops"].as_array().map(Vec::len)), (Some(0), Some(2)), "{path:#}");
    let forward = world.forward(&named(&hop.address), "");
    echo(&mut connect(forward.address), b"by name");
}
