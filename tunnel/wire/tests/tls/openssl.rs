//! Against OpenSSL: `openssl s_client` and `openssl s_server`. Its interactive letters: `K` sends a KeyUpdate that asks
//! for one in return, `k` one that does not.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use inclavared_wire::tls::{self, Established, TlsError};
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::{AlertDescription, NamedGroup, PeerIncompatible, SupportedCipherSuite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::process::{Files, Program, dial, free_port, tool};
use crate::support::{Event, Identity, NAME, PATIENCE, Session, only, pattern, provider, server_name};

const SUITES: [(SupportedCipherSuite, &str); 3] = [
    (cipher_suite::TLS13_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256"),
    (cipher_suite::TLS13_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384"),
    (cipher_suite::TLS13_CHACHA20_POLY1305_SHA256, "TLS_CHACHA20_POLY1305_SHA256"),
];

/// `openssl s_client` against our `accept`, mutual.
async fn try_client(
    identity: &Identity,
    suite: SupportedCipherSuite,
    arguments: &[&str],
) -> Option<(Program, TcpStream, Result<Established, TlsError>)> {
    let mut command = tool("openssl")?;
    let files = Files::new(identity);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().to_string();
    command.args([
        "s_client",
        "-connect",
        &port,
        "-servername",
        NAME,
        "-verify_return_error",
        "-alpn",
        "h2,inclavared/1",
    ]);
    command.arg("-CAfile").arg(&files.certificate).arg("-cert").arg(&files.certificate).arg("-key").arg(&files.key);
    let program = Program::start(command.args(arguments));
    let mut config = identity.mutual_server(&only(suite, kx_group::X25519));
    config.alpn_protocols = vec![b"inclavared/1".to_vec()];
    let accepted = timeout(PATIENCE, async {
        let (mut io, _) = listener.accept().await.unwrap();
        let established = tls::accept(&mut io, Arc::new(config), BytesMut::new()).await;
        (io, established)
    });
    let (io, established) = accepted.await.unwrap_or_else(|_| panic!("no handshake: {}", program.err()));
    Some((program, io, established))
}

async fn client(
    identity: &Identity,
    suite: SupportedCipherSuite,
    arguments: &[&str],
) -> Option<(Program, TcpStream, Established)> {
    let (program, io, established) = try_client(identity, suite, arguments).await?;
    let established = established.unwrap_or_else(|error| panic!("{error:?}: {}", program.err()));
    Some((program, io, established))
}

/// Our `connect` against `openssl s_server`, mutual.
async fn server(identity: &Identity, suite: &str, arguments: &[&str]) -> Option<(Program, TcpStream, Established)> {
    let mut command = tool("openssl")?;
    let files = Files::new(identity);
    // With -quiet it does not say which port it took.
    let address = free_port();
    command.args([
        "s_server",
        "-accept",
        &address.to_string(),
        "-naccept",
        "1",
        "-alpn",
        "inclavared/1",
        "-ciphersuites",
        suite,
    ]);
    command.args(["-Verify", "1", "-verify_return_error"]);
    command.arg("-CAfile").arg(&files.certificate).arg("-cert").arg(&files.certificate).arg("-key").arg(&files.key);
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
    established.exporter.derive(b"EXPORTER-openssl", b"", &mut out);
    hex::encode_upper(out)
}

#[tokio::test]
async fn s_client_exporter_and_key_updates() {
    let identity = Identity::new();
    let export = ["-keymatexport", "EXPORTER-openssl", "-keymatexportlen", "40"];
    for (suite, _) in SUITES {
        let Some((mut program, io, established)) = client(&identity, suite, &export).await else { return };
        assert_eq!(established.suite, suite.suite());
        assert_eq!(established.alpn.as_deref(), Some(&b"inclavared/1"[..]));
        assert_eq!(established.sni.as_deref(), Some(NAME));
        assert_eq!(established.peer_certificates, std::slice::from_ref(&identity.certificate));
        assert_eq!(program.line("Keying material:").await, exported(&established));

        let mut session = Session::new(io, established);
        for round in 0..20 {
            // It reads a command letter only at the start of what it reads at once.
            let ask = round % 2 == 0;
            program.write(if ask { b"K\n" } else { b"k\n" });
            assert_eq!(session.next().await, Event::KeyUpdate { reply_wanted: ask });
            if ask {
                session.key_update(false).await;
            }
            let line = format!("from the client, round {round}\n");
            program.write(line.as_bytes());
            assert_eq!(session.read().await, Event::Data(line.into_bytes()));
            let line = format!("from us, round {round}\n");
            session.write(line.as_bytes()).await;
            program.says(line.as_bytes()).await;
        }
        program.write(b"Q\n");
        assert_eq!(session.read().await, Event::CloseNotify);
    }
}

/// Megabytes both ways, while we change our key every few records and ask for the peer's.
#[tokio::test]
async fn s_client_bulk() {
    let identity = Identity::new();
    let data = pattern(3_000_000);
    for (suite, _) in SUITES {
        let Some((mut program, io, established)) = client(&identity, suite, &["-quiet"]).await else { return };
        let mut session = Session::new(io, established);
        session.sealer.lower_limit(6);
        session.opener.lower_limit(20);
        program.feed(data.clone());
        let mut got = Vec::new();
        while got.len() < data.len() {
            match timeout(PATIENCE, session.read()).await.unwrap() {
                Event::Data(some) => {
                    session.write(&some).await;
                    got.extend(some);
                }
                other => panic!("{other:?}: {}", program.err()),
            }
        }
        assert!(got == data, "what arrived is not what was sent");
        session.close_notify().await;
        program.until("echo", |out| (out.len() >= data.len()).then_some(())).await;
        assert!(program.out() == data, "what came back is not what was sent");
        assert!(session.key_updates_sent > 60, "{}", session.key_updates_sent);
        assert!(session.key_updates_received > 0, "{}", session.key_updates_received);
    }
}

#[tokio::test]
async fn s_server_exporter_tickets_and_key_updates() {
    let identity = Identity::new();
    let export = ["-keymatexport", "EXPORTER-openssl", "-keymatexportlen", "40"];
    for (suite, name) in SUITES {
        let Some((mut program, io, established)) = server(&identity, name, &export).await else { return };
        assert_eq!(established.suite, suite.suite());
        assert_eq!(established.alpn.as_deref(), Some(&b"inclavared/1"[..]));
        assert_eq!(established.peer_certificates, std::slice::from_ref(&identity.certificate));
        assert_eq!(program.line("Keying material:").await, exported(&established));

        let mut session = Session::new(io, established);
        // Tickets that we never use.
        assert_eq!(session.next().await, Event::Ignored);
        assert_eq!(session.next().await, Event::Ignored);
        for round in 0..20 {
            let ask = round % 2 == 0;
            program.write(if ask { b"K\n" } else { b"k\n" });
            assert_eq!(session.next().await, Event::KeyUpdate { reply_wanted: ask });
            if ask {
                session.key_update(false).await;
            }
            let line = format!("from the server, round {round}\n");
            program.write(line.as_bytes());
            assert_eq!(session.read().await, Event::Data(line.into_bytes()));
            let line = format!("from us, round {round}\n");
            session.write(line.as_bytes()).await;
            program.says(line.as_bytes()).await;
        }
        session.close_notify().await;
        assert_eq!(session.read().await, Event::CloseNotify);
    }
}

/// Megabytes to the server while our key changes every few records; then its alert, when we send it a forgery.
#[tokio::test]
async fn s_server_bulk_and_alert() {
    let identity = Identity::new();
    let data = pattern(3_000_000);
    for (_, name) in SUITES {
        let Some((mut program, io, established)) = server(&identity, name, &["-quiet"]).await else { return };
        let mut session = Session::new(io, established);
        session.sealer.lower_limit(6);
        timeout(PATIENCE, session.write(&data)).await.unwrap();
        // It follows what the server says of the session.
        let start = |out: &[u8]| out.windows(64).position(|window| window == &data[..64]);
        let whole = |out: &[u8]| start(out).filter(|start| out.len() - start >= data.len());
        let start = program.until("data", whole).await;
        assert!(program.out()[start..][..data.len()] == data, "what arrived is not what was sent");
        assert!(session.key_updates_sent > 60, "{}", session.key_updates_sent);
        // It is asked to change its key, and does so before its next record.
        session.key_update(true).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        program.write(b"from the server\n");
        assert_eq!(session.read().await, Event::Data(b"from the server\n".to_vec()));
        assert_eq!(session.key_updates_received, 1);

        let mut forged = BytesMut::new();
        session.sealer.data(&mut forged, b"forged").unwrap();
        forged[8] ^= 1;
        tokio::io::AsyncWriteExt::write_all(&mut session.io, &forged).await.unwrap();
        assert_eq!(session.read().await, Event::Alert(AlertDescription::BadRecordMac));
    }
}

/// A fatal alert of ours is understood as what it says.
#[tokio::test]
async fn s_client_understands_our_alerts() {
    let identity = Identity::new();
    let Some((program, io, established)) = client(&identity, SUITES[0].0, &[]).await else { return };
    let mut session = Session::new(io, established);
    session.alert(AlertDescription::AccessDenied).await;
    program.complains("access denied").await;
}

/// Its first key share is for a group that we do not have.
#[tokio::test]
async fn s_client_and_a_hello_retry_request() {
    let identity = Identity::new();
    let groups = ["-groups", "P-521:X25519"];
    let Some((mut program, io, established)) = client(&identity, SUITES[0].0, &groups).await else { return };
    assert_eq!(established.group, NamedGroup::X25519);
    let mut session = Session::new(io, established);
    program.write(b"hello\n");
    assert_eq!(session.read().await, Event::Data(b"hello\n".to_vec()));
}

#[tokio::test]
async fn s_client_of_an_older_version_is_told_so() {
    let identity = Identity::new();
    let Some((program, _io, refused)) = try_client(&identity, SUITES[0].0, &["-tls1_2"]).await else { return };
    let incompatible = PeerIncompatible::SupportedVersionsExtensionRequired;
    let expected = rustls::Error::PeerIncompatible(incompatible);
    let refused = refused.unwrap_err();
    assert!(matches!(&refused, TlsError::Handshake(error) if error == &expected), "{refused:?}");
    program.complains("alert protocol version").await;
}

/// A certificate that the client does not trust: its alert is what our error says.
#[tokio::test]
async fn s_client_that_refuses_us() {
    let identity = Identity::new();
    let stranger = Files::new(&Identity::new());
    let other = ["-CAfile", stranger.certificate.to_str().unwrap()];
    let Some((_program, _io, refused)) = try_client(&identity, SUITES[0].0, &other).await else { return };
    let refused = refused.unwrap_err();
    assert!(matches!(&refused, TlsError::Handshake(rustls::Error::AlertReceived(_))), "{refused:?}");
}
