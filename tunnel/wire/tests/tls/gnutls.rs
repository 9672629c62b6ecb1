//! Against GnuTLS: `gnutls-cli` and `gnutls-serv`. The inline command `^rekey^` sends a KeyUpdate that asks for one in
//! return.
//!
//! GnuTLS ends a session that gets more than eight KeyUpdates in a second: a guard against a flood, and nothing that
//! a session of ours comes near, whose keys live for minutes at the least. The tests stay below it.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use inclavared_wire::tls::{self, Established};
use rustls::AlertDescription;
use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::process::{Files, Program, dial, free_port, tool};
use crate::support::{Event, Identity, NAME, PATIENCE, Session, only, pattern, provider, server_name};

const SUITES: [(SupportedCipherSuite, &str); 3] = [
    (cipher_suite::TLS13_AES_128_GCM_SHA256, "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM"),
    (cipher_suite::TLS13_AES_256_GCM_SHA384, "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-256-GCM"),
    (cipher_suite::TLS13_CHACHA20_POLY1305_SHA256, "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+CHACHA20-POLY1305"),
];

async fn client(
    identity: &Identity,
    suite: SupportedCipherSuite,
    arguments: &[&str],
) -> Option<(Program, TcpStream, Established)> {
    let mut command = tool("gnutls-cli")?;
    let files = Files::new(identity);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    command.args(["--port", &port, "--sni-hostname", NAME, "--verify-hostname", NAME, "--alpn", "inclavared/1"]);
    command.arg("--x509cafile").arg(&files.certificate);
    command.arg("--x509certfile").arg(&files.certificate).arg("--x509keyfile").arg(&files.key);
    let program = Program::start(command.args(arguments).arg("127.0.0.1"));
    let mut config = identity.mutual_server(&only(suite, kx_group::X25519));
    config.alpn_protocols = vec![b"inclavared/1".to_vec()];
    let accepted = timeout(PATIENCE, async {
        let (mut io, _) = listener.accept().await.unwrap();
        let established = tls::accept(&mut io, Arc::new(config), BytesMut::new()).await;
        (io, established)
    });
    let (io, established) = accepted.await.unwrap_or_else(|_| panic!("no handshake: {}", program.err()));
    let established = established.unwrap_or_else(|error| panic!("{error:?}: {}", program.err()));
    Some((program, io, established))
}

async fn server(identity: &Identity, priority: &str, arguments: &[&str]) -> Option<(Program, TcpStream, Established)> {
    let mut command = tool("gnutls-serv")?;
    let files = Files::new(identity);
    let address = free_port();
    command.args(["--port", &address.port().to_string(), "--priority", priority, "--alpn", "inclavared/1"]);
    command.arg("--x509cafile").arg(&files.certificate).arg("--require-client-cert").arg("--verify-client-cert");
    command.arg("--x509certfile").arg(&files.certificate).arg("--x509keyfile").arg(&files.key);
    let program = Program::start(command.args(arguments));
    let mut config = identity.mutual_client(&provider());
    config.alpn_protocols = vec![b"inclavared/1".to_vec()];
    let mut io = dial(address, &program).await;
    let established = timeout(PATIENCE, tls::connect(&mut io, Arc::new(config), server_name())).await.unwrap();
    let established = established.unwrap_or_else(|error| panic!("{error:?}: {}", program.err()));
    Some((program, io, established))
}

fn exported(established: &Established) -> String {
    let mut out = [0; 40];
    established.exporter.derive(b"EXPORTER-gnutls", b"", &mut out);
    hex::encode(out)
}

#[tokio::test]
async fn gnutls_cli_exporter_and_key_updates() {
    let identity = Identity::new();
    let arguments = ["--inline-commands", "--keymatexport", "EXPORTER-gnutls", "--keymatexportsize", "40"];
    for (suite, _) in SUITES {
        let Some((mut program, io, established)) = client(&identity, suite, &arguments).await else { return };
        assert_eq!(established.suite, suite.suite());
        assert_eq!(established.alpn.as_deref(), Some(&b"inclavared/1"[..]));
        assert_eq!(established.sni.as_deref(), Some(NAME));
        assert_eq!(established.peer_certificates, std::slice::from_ref(&identity.certificate));
        assert_eq!(program.line("- Key material:").await, exported(&established));

        let mut session = Session::new(io, established);
        for round in 0..7 {
            program.write(b"^rekey^\n");
            assert_eq!(session.next().await, Event::KeyUpdate { reply_wanted: true });
            session.key_update(false).await;
            let line = format!("from the client, round {round}\n");
            program.write(line.as_bytes());
            assert_eq!(session.read().await, Event::Data(line.into_bytes()));
            let line = format!("from us, round {round}\n");
            session.write(line.as_bytes()).await;
            program.says(line.as_bytes()).await;
        }
        program.close();
        assert_eq!(session.read().await, Event::CloseNotify);
    }
}

/// An echo of megabytes, while both keys change.
#[tokio::test]
async fn gnutls_serv_bulk_and_key_updates() {
    let identity = Identity::new();
    // Lines, as its echo wants them.
    let data: Vec<u8> = (0..40_000).flat_map(|line| format!("{line:050}\n").into_bytes()).collect();
    for (suite, priority) in SUITES {
        let Some((program, io, established)) = server(&identity, priority, &["--echo", "--quiet"]).await else {
            return;
        };
        assert_eq!(established.suite, suite.suite());
        assert_eq!(established.alpn.as_deref(), Some(&b"inclavared/1"[..]));
        let mut session = Session::new(io, established);
        let mut updates = 0;
        for (round, chunk) in data.chunks(51 * 100).enumerate() {
            if round % 40 == 0 {
                session.key_update(true).await;
                updates += 1;
                if updates % 5 == 0 {
                    tokio::time::sleep(Duration::from_millis(1100)).await;
                }
            }
            session.write(chunk).await;
            let got = timeout(PATIENCE, session.read_exact(chunk.len())).await;
            let got = got.unwrap_or_else(|_| panic!("no echo: {}", program.err()));
            assert!(got == chunk, "what came back is not what was sent");
        }
        // Each was answered, once.
        assert_eq!((updates, session.key_updates_received), (10, 10));

        let mut forged = BytesMut::new();
        session.sealer.data(&mut forged, b"forged\n").unwrap();
        forged[8] ^= 1;
        tokio::io::AsyncWriteExt::write_all(&mut session.io, &forged).await.unwrap();
        assert_eq!(session.read().await, Event::Alert(AlertDescription::BadRecordMac));
    }
}

/// Megabytes from the client, in records as GnuTLS makes them.
#[tokio::test]
async fn gnutls_cli_bulk() {
    let identity = Identity::new();
    let data = pattern(2_000_000);
    let Some((mut program, io, established)) = client(&identity, SUITES[0].0, &["--logfile", "/dev/null"]).await else {
        return;
    };
    let mut session = Session::new(io, established);
    program.feed(data.clone());
    let got = timeout(PATIENCE, session.read_exact(data.len())).await.unwrap();
    assert!(got == data, "what arrived is not what was sent");
    // Five or six KeyUpdates.
    session.sealer.lower_limit(40);
    session.write(&data).await;
    session.close_notify().await;
    assert!((4..8).contains(&session.key_updates_sent), "{}", session.key_updates_sent);
    program.until("data", |out| (out.len() >= data.len()).then_some(())).await;
    assert!(program.out() == data, "what arrived is not what was sent");
}
