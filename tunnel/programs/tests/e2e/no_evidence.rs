//! A peer without evidence: refused by a reason of its own, wherever in the path it stands, and no byte reaches it.
//!
//! <https://github.com/inclavare-containers/inclavare-containers/issues/769>,
//! <https://github.com/inclavare-containers/inclavare-containers/issues/1317>: it was quietly given the null verifier.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use inclavared_wire::frame::{FrameKind, HEADER, parse_header};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::harness::World;
use crate::stream::{bounded, connect, read_all};

/// A TLS server with an ordinary certificate that speaks any protocol which is asked for. What its clients send is
/// received by the test.
fn plain_tls_server(alpn: &[u8]) -> (SocketAddr, Receiver<Vec<u8>>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (send, received) = channel();
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            bounded(&socket);
            let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), socket);
            let mut bytes = Vec::new();
            // How it ends is the client's affair.
            let _ = stream.read_to_end(&mut bytes);
            let _ = send.send(bytes);
        }
    });
    (address, received)
}

/// Neither an OPEN nor a byte of a stream: an ABORT at most.
fn assert_heard_nothing(received: &Receiver<Vec<u8>>) {
    let heard = received.recv_timeout(crate::program::PATIENCE).unwrap();
    match parse_header(&heard).unwrap() {
        None => assert!(heard.is_empty(), "{heard:?}"),
        Some((kind, len)) => assert_eq!((kind, HEADER + len), (FrameKind::Abort, heard.len()), "{heard:?}"),
    }
}

#[test]
fn as_the_first_hop() {
    let world = World::new();
    for alpn in ["inclavared/1", "http/1.1"] {
        let (server, received) = plain_tls_server(alpn.as_bytes());
        let (code, failure) = world.attest(&server.to_string(), "");
        assert_eq!(code, Some(1), "{failure:#}");
        let error = &failure["error"];
        if alpn == "inclavared/1" {
            assert_eq!((&error["code"], &error["hop"]), (&"no-evidence".into(), &1.into()), "{failure:#}");
        }
        assert_heard_nothing(&received);
    }
}

#[test]
fn as_the_second_hop() {
    let world = World::new();
    let (server, received) = plain_tls_server(b"inclavared/1");
    let hop = world.hop(server, "");
    let (code, failure) = world.attest(&hop.address, "");
    assert_eq!(code, Some(1), "{failure:#}");
    // The first hop says what it found below.
    let error = &failure["error"];
    assert_eq!((&error["code"], &error["hop"]), (&"no-evidence".into(), &1.into()), "{failure:#}");
    assert_heard_nothing(&received);
}

#[test]
fn behind_a_forwarder_no_byte_passes() {
    let world = World::new();
    let (server, received) = plain_tls_server(b"inclavared/1");
    let forward = world.forward(&server.to_string(), "");
    let mut stream = connect(forward.address);
    let _ = std::io::Write::write_all(&mut stream, b"secret");
    assert!(read_all(&mut stream).is_err());
    let receipt = forward.receipt();
    assert_eq!((&receipt["close"], &receipt["bytes_up"]), (&"refused".into(), &0.into()), "{receipt:#}");
    assert_eq!(receipt["error"]["code"], "no-evidence", "{receipt:#}");
    assert_heard_nothing(&received);
}

#[test]
fn as_the_client_of_a_mutual_server() {
    let world = World::new();
    let workload = world.workload("--echo --mutual");
    let (code, failure) = world.attest(&workload.address, "");
    assert_eq!(code, Some(1), "{failure:#}");
    assert!(failure["error"]["message"].as_str().unwrap().contains("CertificateRequired"), "{failure:#}");
    let (code, path) = world.attest(&workload.address, "--mutual --attester sim");
    assert_eq!(code, Some(0), "{path:#}");
}

#[test]
fn what_is_no_tls_at_all() {
    let world = World::new();
    let backend = crate::stream::Backend::new(|mut stream| {
        std::io::Write::write_all(&mut stream, b"220 mail.example ESMTP\r\n").unwrap();
        read_all(&mut stream)
    });
    let (code, failure) = world.attest(&backend.address.to_string(), "");
    assert_eq!((code, &failure["error"]["code"]), (Some(1), &"tls".into()), "{failure:#}");
}
