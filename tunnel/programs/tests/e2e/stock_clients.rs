//! Clients that know nothing of this protocol: served over plain TLS after the hop has verified the path itself, or refused
//! where the route says so.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;

use crate::harness::{Hop, World, tool};
use crate::program::PATIENCE;
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

/// What a tool came to.
#[derive(Debug)]
struct Done {
    /// `None` if it had to be killed, as a tool is that does not end a stream by itself.
    success: Option<bool>,
    out: Vec<u8>,
    err: String,
}

/// Runs a tool with `input` typed, until it ends or has said as much as is `enough`; at most [`PATIENCE`].
fn run(mut tool: Command, input: Vec<u8>, enough: Option<usize>) -> Done {
    tool.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = tool.spawn().unwrap();
    let (mut stdin, stdout, mut stderr) =
        (child.stdin.take().unwrap(), child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let typing = thread::spawn(move || {
        // A refused client is gone before it has read all of it.
        let _ = stdin.write_all(&input);
        enough.map(|_| stdin)
    });
    let complaining = thread::spawn(move || {
        let mut err = Vec::new();
        let _ = stderr.read_to_end(&mut err);
        String::from_utf8_lossy(&err).into_owned()
    });
    let (send, read) = channel();
    thread::spawn(move || {
        let mut out = Vec::new();
        let _ = stdout.take(enough.map_or(u64::MAX, |enough| enough as u64)).read_to_end(&mut out);
        // The test may have given up.
        let _ = send.send(out);
    });
    let out = read.recv_timeout(PATIENCE);
    let ended = enough.is_none() && out.is_ok();
    if !ended {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    let held = typing.join().unwrap();
    drop(held);
    let err = complaining.join().unwrap();
    Done { success: status.code().map(|code| code == 0), out: out.unwrap_or_default(), err }
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
    let talk = |hop: &Hop| {
        let mut client = tool("python3")?;
        client.args(["-c", PYTHON, &hop.tcp().port().to_string()]);
        Some(run(client, sent.clone(), None))
    };
    let enforcing = hop(&world, &workload, "enforce");
    let Some(served) = talk(&enforcing) else { return };
    assert_eq!(served.success, Some(true), "{}", served.err);
    assert_eq!(sha256(&served.out), sha256(&sent));

    let denying = hop(&world, &workload, "deny");
    let refused = talk(&denying).unwrap();
    assert_eq!((refused.success, refused.out.len()), (Some(false), 0), "{}", refused.err);
    assert_is_told(&refused.err);
    denying.program.err.wait("the reason", |line| line.contains("legacy-denied").then_some(()));
}

#[test]
fn openssl() {
    let world = World::new();
    let workload = world.workload("--echo");
    let sent = Random::bytes(2, SIZE);
    let talk = |hop: &Hop| {
        let mut client = tool("openssl")?;
        client.args(["s_client", "-quiet", "-connect", &hop.tcp().to_string()]);
        Some(run(client, sent.clone(), Some(SIZE)))
    };
    let Some(served) = talk(&hop(&world, &workload, "enforce")) else { return };
    assert_eq!(sha256(&served.out), sha256(&sent), "{}", served.err);

    let denying = hop(&world, &workload, "deny");
    let refused = talk(&denying).unwrap();
    assert_eq!(refused.out, b"");
    assert_is_told(&refused.err);
    denying.program.err.wait("the reason", |line| line.contains("legacy-denied").then_some(()));
}

/// OpenSSL's words for the alert, in its versions.
fn assert_is_told(seen: &str) {
    let words = seen.to_lowercase().replace('_', " ");
    assert!(words.contains("no application protocol"), "{seen}");
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
        let mut client = tool("curl")?;
        client.args(["--insecure", "--silent", "--show-error", "--fail", "--noproxy", "*", &url]);
        Some(run(client, Vec::new(), None))
    };
    let enforcing = hop(&world, &workload, "enforce");
    for server in [&enforcing, &workload] {
        let Some(got) = get(server, "file") else { return };
        assert_eq!(got.success, Some(true), "{}", got.err);
        assert_eq!(sha256(&got.out), sha256(&content));
        let missing = get(server, "none").unwrap();
        assert!(missing.err.contains("404"), "{missing:?}");
    }
    let denying = hop(&world, &workload, "deny");
    let refused = get(&denying, "file").unwrap();
    assert_eq!((refused.success, refused.out.len()), (Some(false), 0), "{}", refused.err);
    assert_is_told(&refused.err);
    denying.program.err.wait("the reason", |line| line.contains("legacy-denied").then_some(()));
}

#[test]
fn are_not_served_over_a_path_that_the_hop_refuses() {
    let (world, other) = (World::new(), World::new());
    let workload = other.workload("--echo");
    let hop = hop(&world, &workload, "enforce");
    let address = hop.tcp().to_string();
    let Some(mut client) = tool("openssl") else { return };
    client.args(["s_client", "-quiet", "-connect", &address]);
    let refused = run(client, b"secret".to_vec(), None);
    assert_eq!(refused.out, b"");
    assert!(refused.err.contains("access denied"), "{}", refused.err);
    hop.program.err.wait("the reason", |line| line.contains("refused").then_some(()));
}
