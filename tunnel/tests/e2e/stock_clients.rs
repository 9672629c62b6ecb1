//! Clients that know nothing of this protocol: served over plain TLS after the hop has verified the path itself, or refused
//! where the route says so.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::thread;

use crate::harness::{Hop, World, tool};
use crate::stream::{Random, sha256};

const SIZE: usize = 300_000;

/// A hop before `workload`, which verifies the path for clients that cannot.
fn hop(world: &World, workload: &Hop, legacy: &str) -> Hop {
    world.route(
        "hop",
        &format!(
            r#"
            listen = "127.0.0.1:0"
            xfer = "{}"
            upstream = "attested"
            downstream = {{ tls = "mutual", policy = "any" }}
            legacy = "{legacy}"
            "#,
            workload.address
        ),
    )
}

/// Runs a tool to its end, by `timeout` where it hangs, with `input` typed.
fn run(mut tool: Command, input: Vec<u8>) -> Output {
    tool.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = tool.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let typing = thread::spawn(move || {
        // A refused client is gone before it has read all of it.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    typing.join().unwrap();
    output
}

fn within(seconds: u8, name: &str, args: &[&str]) -> Option<Command> {
    tool(name)?;
    let mut command = tool("timeout")?;
    command.args(["--kill-after=1", &seconds.to_string(), name]).args(args);
    Some(command)
}

const PYTHON: &str = r#"
import socket, ssl, sys
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=20) as raw:
    with context.wrap_socket(raw) as stream:
        sent = sys.stdin.buffer.read()
        back = b""
        while len(back) < len(sent):
            stream.sendall(sent[len(back):len(back) + 10000])
            want = min(len(sent), len(back) + 10000)
            while len(back) < want:
                piece = stream.recv(want - len(back))
                if not piece:
                    raise SystemExit("cut short")
                back += piece
        sys.stdout.buffer.write(back)
"#;

#[test]
fn python() {
    let world = World::new();
    let workload = world.workload("--echo");
    let sent = Random::bytes(1, SIZE);
    let talk =
        |hop: &Hop| Some(run(within(25, "python3", &["-c", PYTHON, &hop.tcp().port().to_string()])?, sent.clone()));
    let enforcing = hop(&world, &workload, "enforce");
    let Some(served) = talk(&enforcing) else { return };
    assert!(served.status.success(), "{}", String::from_utf8_lossy(&served.stderr));
    assert_eq!(sha256(&served.stdout), sha256(&sent));

    let denying = hop(&world, &workload, "deny");
    let refused = talk(&denying).unwrap();
    assert!(!refused.status.success() && refused.stdout.is_empty());
    let seen = String::from_utf8_lossy(&refused.stderr);
    assert!(seen.contains("NO_APPLICATION_PROTOCOL") || seen.contains("no application protocol"), "{seen}");
    denying.program.err.wait("the reason", |line| line.contains("legacy-denied").then_some(()));
}

#[test]
fn openssl() {
    let world = World::new();
    let workload = world.workload("--echo");
    let talk = |hop: &Hop| {
        let address = hop.tcp().to_string();
        let mut client = within(25, "openssl", &["s_client", "-quiet", "-connect", &address])?;
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = client.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let sent = Random::bytes(2, SIZE);
        let typing = thread::spawn(move || stdin.write_all(&sent).map(|()| stdin));
        // It does not end its direction of a stream by itself: what was sent is all that can come back.
        let mut back = vec![0; SIZE];
        let read = std::io::Read::read_exact(&mut stdout, &mut back);
        let typed = typing.join().unwrap();
        drop(typed);
        let _ = child.kill();
        let seen = String::from_utf8_lossy(&child.wait_with_output().unwrap().stderr).into_owned();
        Some((read.map(|()| sha256(&back)), seen))
    };
    let Some((back, seen)) = talk(&hop(&world, &workload, "enforce")) else { return };
    assert_eq!(back.unwrap_or_else(|error| panic!("{error}: {seen}")), sha256(&Random::bytes(2, SIZE)));

    let denying = hop(&world, &workload, "deny");
    let (back, seen) = talk(&denying).unwrap();
    assert!(back.is_err());
    assert!(seen.contains("no application protocol"), "{seen}");
    denying.program.err.wait("the reason", |line| line.contains("legacy-denied").then_some(()));
}

#[test]
fn curl() {
    let world = World::new();
    let folder = world.path("served");
    std::fs::create_dir(&folder).unwrap();
    let content = Random::bytes(3, SIZE);
    std::fs::write(folder.join("file"), &content).unwrap();
    let workload = world.workload(&format!("--serve-dir {}", folder.display()));
    let get = |hop: &Hop, path: &str| {
        // It offers h2 and http/1.1, and must not meet an alert for that.
        let url = format!("https://127.0.0.1:{}/{path}", hop.tcp().port());
        Some(run(
            within(25, "curl", &["--insecure", "--silent", "--show-error", "--fail", "--noproxy", "*", &url])?,
            Vec::new(),
        ))
    };
    let enforcing = hop(&world, &workload, "enforce");
    for server in [&enforcing, &workload] {
        let Some(got) = get(server, "file") else { return };
        assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
        assert_eq!(sha256(&got.stdout), sha256(&content));
        let missing = get(server, "none").unwrap();
        assert!(String::from_utf8_lossy(&missing.stderr).contains("404"), "{missing:?}");
    }
    let denying = hop(&world, &workload, "deny");
    let refused = get(&denying, "file").unwrap();
    assert!(!refused.status.success() && refused.stdout.is_empty());
    let seen = String::from_utf8_lossy(&refused.stderr);
    assert!(seen.contains("no application protocol"), "{seen}");
    denying.program.err.wait("the reason", |line| line.contains("legacy-denied").then_some(()));
}

#[test]
fn are_not_served_over_a_path_that_the_hop_refuses() {
    let (world, other) = (World::new(), World::new());
    let workload = other.workload("--echo");
    let hop = hop(&world, &workload, "enforce");
    let address = hop.tcp().to_string();
    let Some(client) = within(25, "openssl", &["s_client", "-quiet", "-connect", &address]) else { return };
    let refused = run(client, b"secret".to_vec());
    assert_eq!(refused.stdout, b"");
    let seen = String::from_utf8_lossy(&refused.stderr);
    assert!(seen.contains("access denied"), "{seen}");
    hop.program.err.wait("the reason", |line| line.contains("quote-signature").then_some(()));
}
