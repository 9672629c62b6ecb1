//! Against rustls as everybody uses it (tokio-rustls), in both roles.

use std::io::Write;
use std::sync::Arc;

use bytes::BytesMut;
use inclavared_wire::tls::{self, Content, Opened, TlsError};
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConnection, NamedGroup, ServerConfig, ServerConnection, SupportedCipherSuite};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, client};

use crate::support::{
    Event, Identity, LABEL, NAME, PATIENCE, Refuse, Session, only, pattern, provider, server_name, tcp, we_connect,
    we_serve,
};

const SUITES: [SupportedCipherSuite; 3] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
];

/// Data both ways at once, through any tokio stream, then close_notify both ways.
macro_rules! talk {
    ($session:ident, $peer:ident) => {{
        let data = pattern(700_000);
        $session.write(b"first").await;
        let mut five = [0; 5];
        $peer.read_exact(&mut five).await.unwrap();
        assert_eq!(&five, b"first");

        let (mut from_peer, mut to_peer) = tokio::io::split($peer);
        let peer = async {
            let send = async {
                for chunk in data.chunks(7919) {
                    to_peer.write_all(chunk).await.unwrap();
                }
                to_peer.shutdown().await.unwrap();
            };
            let mut got = Vec::new();
            let (_, read) = tokio::join!(send, from_peer.read_to_end(&mut got));
            read.unwrap();
            got
        };
        let us = async {
            $session.write(&data[..300_000]).await;
            let got = $session.read_exact(data.len()).await;
            assert_eq!($session.read().await, Event::CloseNotify);
            $session.write(&data[300_000..]).await;
            $session.close_notify().await;
            got
        };
        let (ours, theirs) = timeout(PATIENCE, async { tokio::join!(us, peer) }).await.unwrap();
        assert!(ours == data && theirs == data, "what arrived is not what was sent");
    }};
}

fn exported(exporter: &tls::Exporter) -> [u8; 32] {
    let mut out = [0; 32];
    exporter.derive(LABEL, b"context", &mut out);
    out
}

#[tokio::test]
async fn every_suite_and_group_in_both_roles() {
    let identity = Identity::new();
    let groups: [&'static dyn SupportedKxGroup; 2] = [kx_group::X25519, kx_group::X25519MLKEM768];
    for suite in SUITES {
        for group in groups {
            let provider = only(suite, group);
            let (mut server, mut client) = (identity.mutual_server(&provider), identity.mutual_client(&provider));
            server.alpn_protocols = vec![b"inclavared/1".to_vec()];
            client.alpn_protocols = vec![b"h2".to_vec(), b"inclavared/1".to_vec()];

            let (near, mut far) = tcp().await;
            let peer = TlsConnector::from(Arc::new(client.clone())).connect(server_name(), near);
            let accept = tls::accept(&mut far, Arc::new(server.clone()), BytesMut::new());
            let (established, peer) = tokio::join!(accept, peer);
            let (established, mut peer) = (established.unwrap(), peer.unwrap());
            assert_eq!((established.suite, established.group), (suite.suite(), group.name()));
            assert_eq!(established.alpn.as_deref(), Some(&b"inclavared/1"[..]));
            assert_eq!(established.sni.as_deref(), Some(NAME));
            assert_eq!(established.peer_certificates, std::slice::from_ref(&identity.certificate));
            let theirs = peer.get_ref().1.export_keying_material([0; 32], LABEL, Some(b"context")).unwrap();
            assert_eq!(exported(&established.exporter), theirs);
            let mut session = Session::new(far, established);
            talk!(session, peer);

            let (mut near, far) = tcp().await;
            let peer = TlsAcceptor::from(Arc::new(server)).accept(far);
            let (established, peer) = tokio::join!(tls::connect(&mut near, Arc::new(client), server_name()), peer);
            let (established, mut peer) = (established.unwrap(), peer.unwrap());
            assert_eq!((established.suite, established.group), (suite.suite(), group.name()));
            assert_eq!(established.alpn.as_deref(), Some(&b"inclavared/1"[..]));
            assert_eq!(established.sni, None);
            assert_eq!(established.peer_certificates, std::slice::from_ref(&identity.certificate));
            let theirs = peer.get_ref().1.export_keying_material([0; 32], LABEL, Some(b"context")).unwrap();
            assert_eq!(exported(&established.exporter), theirs);
            let mut session = Session::new(near, established);
            talk!(session, peer);
        }
    }
}

#[tokio::test]
async fn exporter_of_any_length_and_without_context() {
    let identity = Identity::new();
    for suite in SUITES {
        let provider = only(suite, kx_group::X25519);
        let (session, peer) = we_serve(identity.server(&provider), identity.client(&provider)).await;
        let mut ours = [0; 500];
        session.exporter.derive(b"EXPORTER-other", b"", &mut ours);
        let theirs = peer.get_ref().1.export_keying_material([0; 500], b"EXPORTER-other", None).unwrap();
        assert_eq!(ours, theirs);
    }
}

#[tokio::test]
async fn hello_retry_request_and_tickets() {
    let identity = Identity::new();
    let server_side = only(cipher_suite::TLS13_AES_128_GCM_SHA256, kx_group::SECP256R1);
    let mut server = identity.server(&server_side);
    server.send_tls13_tickets = 5;
    server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();

    let (mut near, far) = tcp().await;
    let peer = TlsAcceptor::from(Arc::new(server)).accept(far);
    let connect = tls::connect(&mut near, Arc::new(identity.client(&provider())), server_name());
    let (established, peer) = tokio::join!(connect, peer);
    let (established, mut peer) = (established.unwrap(), peer.unwrap());
    assert_eq!(established.group, NamedGroup::secp256r1);
    let mut session = Session::new(near, established);
    peer.write_all(b"after the tickets").await.unwrap();
    let mut tickets = 0;
    let data = loop {
        match session.next().await {
            Event::Ignored => tickets += 1,
            other => break other,
        }
    };
    assert_eq!(data, Event::Data(b"after the tickets".to_vec()));
    assert!(tickets > 0, "the server gave no ticket");
}

/// A stock client that resumes where it can gets no ticket from us, whatever the configuration says.
#[tokio::test]
async fn no_tickets_no_resumption_no_early_data() {
    let identity = Identity::new();
    let mut server = identity.server(&provider());
    server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
    server.send_tls13_tickets = 4;
    server.max_early_data_size = 16_384;
    let client = Arc::new(identity.client(&provider()));
    let server = Arc::new(server);
    // Another user of the same configuration does give tickets.
    let (near, far) = tcp().await;
    let giver = TlsAcceptor::from(server.clone()).accept(far);
    let (giver, taker) = tokio::join!(giver, TlsConnector::from(client.clone()).connect(server_name(), near));
    let (mut giver, mut taker) = (giver.unwrap(), taker.unwrap());
    sent(&mut giver, b"!").await;
    taker.read_exact(&mut [0]).await.unwrap();
    assert_eq!(taker.get_ref().1.tls13_tickets_received(), 4);
    for _ in 0..2 {
        let (near, mut far) = tcp().await;
        let peer = TlsConnector::from(client.clone()).connect(server_name(), near);
        let (established, peer) = tokio::join!(tls::accept(&mut far, server.clone(), BytesMut::new()), peer);
        let (mut session, mut peer) = (Session::new(far, established.unwrap()), peer.unwrap());
        talk_once(&mut session, &mut peer).await;
        assert_eq!(peer.get_ref().1.tls13_tickets_received(), 0);
        assert_eq!(peer.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
}

async fn talk_once(session: &mut Session<TcpStream>, peer: &mut client::TlsStream<TcpStream>) {
    session.write(b"ping").await;
    let mut four = [0; 4];
    peer.read_exact(&mut four).await.unwrap();
    peer.write_all(b"pong").await.unwrap();
    assert_eq!((&four, session.read().await), (b"ping", Event::Data(b"pong".to_vec())));
}

/// The client's Finished and its first data in one segment: the first bytes are in `unread`, in whole and in part.
#[tokio::test]
async fn data_with_the_clients_finished_is_not_lost() {
    let identity = Identity::new();
    let data = pattern(100_000);
    for cut in [0, 1, 4, 5, 20, 17_000, 60_000, usize::MAX] {
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        let config = Arc::new(identity.mutual_server(&provider()));
        let accept = tls::accept(&mut far, config, BytesMut::new());
        let peer = async {
            let config = Arc::new(identity.mutual_client(&provider()));
            let mut peer = ClientConnection::new(config, server_name()).unwrap();
            peer.set_buffer_limit(None);
            near.write_all(&written(&mut peer)).await.unwrap();
            while peer.is_handshaking() {
                let mut some = [0; 4096];
                let read = near.read(&mut some).await.unwrap();
                peer.read_tls(&mut &some[..read]).unwrap();
                peer.process_new_packets().unwrap();
            }
            peer.writer().write_all(&data).unwrap();
            let flight = written(&mut peer);
            let (first, rest) = flight.split_at(flight.len() - cut.min(data.len()));
            near.write_all(first).await.unwrap();
            tokio::task::yield_now().await;
            near.write_all(rest).await.unwrap();
            near
        };
        let (established, _near) = tokio::join!(accept, peer);
        let mut session = Session::new(far, established.unwrap());
        assert_eq!(session.read_exact(data.len()).await, data);
    }
}

/// The other way round: a server that writes as soon as its Finished is out (0.5-RTT).
#[tokio::test]
async fn data_with_the_servers_finished_is_not_lost() {
    let identity = Identity::new();
    let data = pattern(50_000);
    let mut server = identity.server(&provider());
    server.send_half_rtt_data = true;
    let (mut near, mut far) = tokio::io::duplex(1 << 20);
    let peer = async {
        let mut peer = ServerConnection::new(Arc::new(server)).unwrap();
        peer.writer().write_all(&data).unwrap();
        loop {
            let mut some = [0; 4096];
            let read = far.read(&mut some).await.unwrap();
            peer.read_tls(&mut &some[..read]).unwrap();
            peer.process_new_packets().unwrap();
            far.write_all(&written(&mut peer)).await.unwrap();
            if !peer.is_handshaking() {
                return;
            }
        }
    };
    let connect = tls::connect(&mut near, Arc::new(identity.client(&provider())), server_name());
    let (established, ()) = tokio::join!(connect, peer);
    let established = established.unwrap();
    assert!(!established.unread.is_empty(), "the data came with the handshake");
    let mut session = Session::new(near, established);
    assert_eq!(session.read_exact(data.len()).await, data);
}

fn written(peer: &mut rustls::ConnectionCommon<impl rustls::SideData>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while peer.wants_write() {
        peer.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// Handshake messages in many small records, over a pipe that carries a few bytes at a time (but a ChangeCipherSpec
/// whole: rustls writes it before it reads on).
#[tokio::test]
async fn fragmented_handshakes_over_a_narrow_pipe() {
    let identity = Identity::new();
    for (fragment, pipe) in [(64, 16), (100, 33), (517, 4096)] {
        let (mut server, mut client) = (identity.mutual_server(&provider()), identity.mutual_client(&provider()));
        // Nobody reads them before both sides are done.
        server.send_tls13_tickets = 0;
        (server.max_fragment_size, client.max_fragment_size) = (Some(fragment), Some(fragment));

        let (near, mut far) = tokio::io::duplex(pipe);
        let peer = TlsConnector::from(Arc::new(client.clone())).connect(server_name(), near);
        let accept = tls::accept(&mut far, Arc::new(server.clone()), BytesMut::new());
        let (established, peer) = timeout(PATIENCE, async { tokio::join!(accept, peer) }).await.unwrap();
        let (mut session, mut peer) = (Session::new(far, established.unwrap()), peer.unwrap());
        let (_, got) = tokio::join!(sent(&mut peer, b"narrow"), session.read_exact(6));
        assert_eq!(got, b"narrow");

        let (mut near, far) = tokio::io::duplex(pipe);
        let peer = TlsAcceptor::from(Arc::new(server)).accept(far);
        let connect = tls::connect(&mut near, Arc::new(client), server_name());
        let (established, peer) = timeout(PATIENCE, async { tokio::join!(connect, peer) }).await.unwrap();
        let (mut session, mut peer) = (Session::new(near, established.unwrap()), peer.unwrap());
        let (_, got) = tokio::join!(sent(&mut peer, b"narrow"), session.read_exact(6));
        assert_eq!(got, b"narrow");
    }
}

async fn sent(peer: &mut (impl AsyncWrite + Unpin), data: &[u8]) {
    peer.write_all(data).await.unwrap();
    peer.flush().await.unwrap();
}

/// Certificates with evidence have up to 64 KiB: more than one record, and more than one read.
#[tokio::test]
async fn large_certificates_pass_and_too_large_ones_do_not() {
    for (extra, fits) in [(48_000, true), (70_000, false)] {
        let mut params = rcgen::CertificateParams::new([NAME.to_owned()]).unwrap();
        let oid = [2, 23, 133, 5, 4, 9];
        params.custom_extensions = vec![rcgen::CustomExtension::from_oid_content(&oid, vec![7; extra])];
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let verifier = Arc::new(Refuse(None));
        let mut client = Identity::new().client(&provider());
        client.dangerous().set_certificate_verifier(verifier);
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let key = provider().key_provider.load_private_key(key).unwrap();
        let server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key))));
        let (mut near, far) = tokio::io::duplex(1 << 20);
        let peer = TlsAcceptor::from(Arc::new(server)).accept(far);
        let connect = async {
            let connected = tls::connect(&mut near, Arc::new(client), server_name()).await;
            if connected.is_err() {
                tls::drain(&mut near, 1 << 20).await;
            }
            connected
        };
        let (connected, _peer) = timeout(PATIENCE, async { tokio::join!(connect, peer) }).await.unwrap();
        match connected {
            Ok(established) => assert!(fits && established.peer_certificates[0].len() > extra),
            Err(TlsError::Handshake(rustls::Error::InvalidMessage(_))) => assert!(!fits),
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// The peer changes its key many times in mid-stream, asks us to, and every byte still arrives in its place.
#[tokio::test]
async fn key_updates_from_the_peer() {
    let identity = Identity::new();
    let data = pattern(1_500_000);
    for suite in SUITES {
        let provider = only(suite, kx_group::X25519);
        let (mut session, mut peer) = we_serve(identity.server(&provider), identity.client(&provider)).await;
        let peer = async {
            let mut got = vec![0; data.len()];
            for (sent, room) in data.chunks(10_000).zip(got.chunks_mut(10_000)) {
                peer.get_mut().1.refresh_traffic_keys().unwrap();
                peer.write_all(sent).await.unwrap();
                peer.flush().await.unwrap();
                peer.read_exact(room).await.unwrap();
            }
            got
        };
        let us = async {
            for chunk in data.chunks(10_000) {
                let got = session.read_exact(chunk.len()).await;
                assert_eq!(got, chunk);
                session.write(&got).await;
            }
        };
        let (echoed, ()) = timeout(PATIENCE, async { tokio::join!(peer, us) }).await.unwrap();
        assert!(echoed == data, "what came back is not what was sent");
        assert_eq!(session.key_updates_received, 150);
        // rustls asks each time: each was answered.
        assert_eq!(session.key_updates_sent, 150);
    }
}

/// Hundreds of our own, because the limit says so, while the peer does the same.
#[tokio::test]
async fn own_key_updates_under_a_low_limit() {
    let identity = Identity::new();
    let data = pattern(8_000_000);
    for suite in SUITES {
        let provider = only(suite, kx_group::X25519);
        let (mut session, peer) = we_connect(identity.client(&provider), identity.server(&provider)).await;
        session.sealer.lower_limit(3);
        let (mut from_peer, mut to_peer) = tokio::io::split(peer);
        let peer = async {
            let mut got = vec![0; data.len()];
            from_peer.read_exact(&mut got).await.unwrap();
            to_peer.write_all(b"all of it").await.unwrap();
            got
        };
        let us = async {
            session.write(&data).await;
            assert_eq!(session.read_exact(9).await, b"all of it");
        };
        let (got, ()) = timeout(PATIENCE, async { tokio::join!(peer, us) }).await.unwrap();
        assert!(got == data, "what arrived is not what was sent");
        assert!(session.key_updates_sent > 400, "{}", session.key_updates_sent);
    }
}

/// A peer whose key has served long enough is asked for a new one, and gives it.
#[tokio::test]
async fn the_peer_is_asked_for_its_key_update() {
    let identity = Identity::new();
    let (mut session, mut peer) = we_serve(identity.server(&provider()), identity.client(&provider())).await;
    session.opener.lower_limit(20);
    for round in 0..100u8 {
        peer.write_all(&[round; 100]).await.unwrap();
        peer.flush().await.unwrap();
        assert_eq!(session.read_exact(100).await, [round; 100]);
        session.write(b"!").await;
        peer.read_exact(&mut [0]).await.unwrap();
    }
    assert!((5..=10).contains(&session.key_updates_received), "{}", session.key_updates_received);
}

/// Relay in place: a record of one session is opened, and sealed for another where it lies.
#[tokio::test]
async fn reseal_in_place_between_two_suites() {
    let identity = Identity::new();
    let (from, to) = (only(SUITES[0], kx_group::X25519), only(SUITES[2], kx_group::X25519MLKEM768));
    let (mut upstream, mut source) = we_serve(identity.server(&from), identity.client(&from)).await;
    let (mut downstream, mut sink) = we_connect(identity.client(&to), identity.server(&to)).await;
    let data = pattern(1_000_000);
    let send = async {
        source.write_all(&data).await.unwrap();
        source.shutdown().await.unwrap();
    };
    let relay = async {
        let mut buffer = BytesMut::new();
        'stream: loop {
            upstream.io.read_buf(&mut buffer).await.unwrap();
            let mut at = 0;
            loop {
                match upstream.opener.open(&mut buffer[at..]).unwrap() {
                    Opened::Incomplete { .. } => break,
                    Opened::Record { consumed, what } => {
                        match what {
                            Content::Data(range) => {
                                let record = downstream.sealer.seal(&mut buffer[at..], range).unwrap();
                                assert_eq!(record, 0..consumed, "it keeps its place");
                                downstream.io.write_all(&buffer[at..][record]).await.unwrap();
                            }
                            Content::CloseNotify => break 'stream,
                            other => panic!("{other:?}"),
                        }
                        at += consumed;
                    }
                }
            }
            let _ = buffer.split_to(at);
        }
        downstream.close_notify().await;
    };
    let receive = async {
        let mut got = Vec::new();
        sink.read_to_end(&mut got).await.unwrap();
        got
    };
    let ((), (), got) = timeout(PATIENCE, async { tokio::join!(send, relay, receive) }).await.unwrap();
    assert!(got == data, "what arrived is not what was sent");
}
