//! What is refused, by whom, and what the other side is told: against rustls as everybody uses it.

use std::sync::Arc;

use bytes::BytesMut;
use inclavared_wire::tls::{self, Cause, ClientHelloError, NotTls, RecordError, TlsError};
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::{AlertDescription, CertificateError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::{
    Event, Identity, NAME, PATIENCE, Refuse, Unmeasured, only, pattern, provider, server_name, tcp, we_connect,
    we_serve,
};

#[tokio::test]
async fn an_end_without_close_notify_is_a_truncation() {
    let identity = Identity::new();
    let (mut session, mut peer) = we_serve(identity.server(&provider()), identity.client(&provider())).await;
    peer.write_all(b"half a").await.unwrap();
    peer.flush().await.unwrap();
    peer.get_mut().0.shutdown().await.unwrap();
    assert_eq!(session.read().await, Event::Data(b"half a".to_vec()));
    assert_eq!(session.read().await, Event::Truncated);
    // And the other way: ours is one for the peer, unless we say close_notify.
    session.io.shutdown().await.unwrap();
    let truncated = peer.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(truncated.kind(), std::io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn alerts_after_the_handshake_reach_the_peer() {
    let identity = Identity::new();
    let mut server = identity.server(&provider());
    server.send_tls13_tickets = 0;
    let (mut session, mut peer) = we_connect(identity.client(&provider()), server).await;
    // A byte of the peer's record is changed on the way.
    peer.write_all(b"hello").await.unwrap();
    peer.flush().await.unwrap();
    let mut record = [0; 5 + 5 + 17];
    session.io.read_exact(&mut record).await.unwrap();
    record[7] ^= 1;
    let refused = session.opener.open(&mut record).unwrap_err();
    assert_eq!(refused, RecordError::BadMac);
    session.alert(refused.alert().unwrap()).await;
    let error = peer.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(rustls_error(&error), &rustls::Error::AlertReceived(AlertDescription::BadRecordMac));

    // And the peer's reach us.
    let (mut session, mut peer) = we_connect(identity.client(&provider()), identity.server(&provider())).await;
    let mut slot = [[0; 5].as_slice(), b"hello", &[0; 17]].concat();
    let record = session.sealer.seal(&mut slot, 5..10).unwrap();
    slot[12] ^= 1;
    session.io.write_all(&slot[record]).await.unwrap();
    let error = peer.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(rustls_error(&error), &rustls::Error::DecryptError);
    assert_eq!(session.read().await, Event::Alert(AlertDescription::BadRecordMac));
    assert_eq!(session.read().await, Event::Refused(RecordError::Ended));
}

fn rustls_error(error: &std::io::Error) -> &rustls::Error {
    error.get_ref().and_then(|inner| inner.downcast_ref()).expect("an error of rustls")
}

/// A client without a certificate is refused, and knows why, over a real socket.
#[tokio::test]
async fn our_refusal_of_a_client_reaches_it() {
    let identity = Identity::new();
    let (near, mut far) = tcp().await;
    let peer = async {
        let connector = TlsConnector::from(Arc::new(identity.client(&provider())));
        let mut peer = connector.connect(server_name(), near).await.unwrap();
        // Its handshake is done, in TLS 1.3, before ours: it sends at once, which must not turn the alert into a reset.
        let _ = peer.write_all(&pattern(100_000)).await;
        peer.read_to_end(&mut Vec::new()).await.unwrap_err()
    };
    let us = async {
        let config = Arc::new(identity.mutual_server(&provider()));
        let refused = tls::accept(&mut far, config, BytesMut::new()).await.unwrap_err();
        tls::drain(&mut far, 1 << 20).await;
        drop(far);
        refused
    };
    let (refused, error) = timeout(PATIENCE, async { tokio::join!(us, peer) }).await.unwrap();
    assert!(matches!(refused, TlsError::Handshake(rustls::Error::NoCertificatesPresented)), "{refused:?}");
    assert_eq!(refused.cause(), Cause::Peer);
    assert_eq!(rustls_error(&error), &rustls::Error::AlertReceived(AlertDescription::CertificateRequired));
}

#[tokio::test]
async fn our_verifiers_error_is_kept_and_the_server_is_told() {
    let identity = Identity::new();
    let (mut near, far) = tcp().await;
    let mut client = identity.client(&provider());
    client.dangerous().set_certificate_verifier(Arc::new(Refuse(Some(17))));
    let us = async {
        let refused = tls::connect(&mut near, Arc::new(client), server_name()).await.unwrap_err();
        tls::drain(&mut near, 1 << 20).await;
        drop(near);
        refused
    };
    let peer = TlsAcceptor::from(Arc::new(identity.server(&provider()))).accept(far);
    let (refused, peer) = timeout(PATIENCE, async { tokio::join!(us, peer) }).await.unwrap();
    let ours = refused.refusal().and_then(|error| error.downcast_ref::<Unmeasured>());
    assert_eq!(ours, Some(&Unmeasured(17)));
    let error = peer.unwrap_err();
    assert_eq!(rustls_error(&error), &rustls::Error::AlertReceived(AlertDescription::CertificateUnknown));
}

#[tokio::test]
async fn the_peers_refusals_are_told_as_alerts() {
    let identity = Identity::new();
    // The server refuses our certificate: it knows another one.
    let (mut near, far) = tcp().await;
    let peer = TlsAcceptor::from(Arc::new(identity.server(&provider()))).accept(far);
    let stranger = Identity::new().client(&provider());
    let (refused, peer) = tokio::join!(tls::connect(&mut near, Arc::new(stranger), server_name()), peer);
    let refused = refused.unwrap_err();
    // The same name, another key.
    let unknown = CertificateError::BadSignature;
    assert!(
        matches!(&refused, TlsError::Handshake(rustls::Error::InvalidCertificate(e)) if *e == unknown),
        "{refused:?}"
    );
    let error = peer.unwrap_err();
    assert_eq!(rustls_error(&error), &rustls::Error::AlertReceived(AlertDescription::DecryptError));

    // The client refuses ours.
    let (near, mut far) = tcp().await;
    let peer = TlsConnector::from(Arc::new(Identity::new().client(&provider()))).connect(server_name(), near);
    let config = Arc::new(identity.server(&provider()));
    let (refused, _peer) = tokio::join!(tls::accept(&mut far, config, BytesMut::new()), peer);
    let alert = rustls::Error::AlertReceived(AlertDescription::DecryptError);
    assert!(matches!(refused.unwrap_err(), TlsError::Handshake(error) if error == alert));
}

#[tokio::test]
async fn no_common_protocol_or_suite_is_an_alert() {
    let identity = Identity::new();
    let (mut server, mut client) = (identity.server(&provider()), identity.client(&provider()));
    server.alpn_protocols = vec![b"inclavared/1".to_vec()];
    client.alpn_protocols = vec![b"h2".to_vec()];
    let (near, mut far) = tcp().await;
    let peer = TlsConnector::from(Arc::new(client)).connect(server_name(), near);
    let (refused, peer) = tokio::join!(tls::accept(&mut far, Arc::new(server), BytesMut::new()), peer);
    assert!(matches!(refused.unwrap_err(), TlsError::Handshake(rustls::Error::NoApplicationProtocol)));
    let alert = rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol);
    assert_eq!(rustls_error(&peer.unwrap_err()), &alert);

    let (ours, theirs) = (
        only(cipher_suite::TLS13_AES_128_GCM_SHA256, kx_group::X25519),
        only(cipher_suite::TLS13_AES_256_GCM_SHA384, kx_group::X25519),
    );
    let (near, mut far) = tcp().await;
    let peer = TlsConnector::from(Arc::new(identity.client(&theirs))).connect(server_name(), near);
    let accept = tls::accept(&mut far, Arc::new(identity.server(&ours)), BytesMut::new());
    let (refused, peer) = tokio::join!(accept, peer);
    assert!(matches!(refused.unwrap_err(), TlsError::Handshake(rustls::Error::PeerIncompatible(_))));
    let alert = rustls::Error::AlertReceived(AlertDescription::HandshakeFailure);
    assert_eq!(rustls_error(&peer.unwrap_err()), &alert);
}

#[tokio::test]
async fn what_is_not_tls_is_named_and_not_answered() {
    let identity = Identity::new();
    let (mut near, mut far) = tcp().await;
    near.write_all(b"GET / HTTP/1.1\r\nHost: hop.example\r\n\r\n").await.unwrap();
    let config = Arc::new(identity.server(&provider()));
    let refused = tls::accept(&mut far, config.clone(), BytesMut::new()).await.unwrap_err();
    assert!(matches!(refused, TlsError::NotTls(NotTls::Http)), "{refused:?}");
    far.shutdown().await.unwrap();
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty());

    let (mut near, mut far) = tcp().await;
    near.write_all(&[21, 3, 3, 0, 2, 1, 0]).await.unwrap();
    let refused = tls::accept(&mut far, config, BytesMut::new()).await.unwrap_err();
    assert!(matches!(refused, TlsError::ClientHello(ClientHelloError::RecordType(21))), "{refused:?}");
    let mut alert = [0; 7];
    near.read_exact(&mut alert).await.unwrap();
    assert_eq!(alert, [21, 3, 3, 0, 2, 2, 10]);
}

/// A server that is none: the client's own refusal, with an alert.
#[tokio::test]
async fn a_server_that_does_not_speak_tls() {
    let identity = Identity::new();
    let (mut near, mut far) = tcp().await;
    let peer = async {
        let mut hello = [0; 16];
        far.read_exact(&mut hello).await.unwrap();
        far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    };
    let connect = tls::connect(&mut near, Arc::new(identity.client(&provider())), server_name());
    let (refused, ()) = timeout(PATIENCE, async { tokio::join!(connect, peer) }).await.unwrap();
    let refused = refused.unwrap_err();
    assert!(matches!(refused, TlsError::Handshake(rustls::Error::InvalidMessage(_))), "{refused:?}");
}

#[tokio::test]
async fn leaving_in_the_middle_is_no_handshake() {
    let identity = Identity::new();
    let (mut near, mut far) = tcp().await;
    let peer = async {
        far.read_exact(&mut [0; 16]).await.unwrap();
        far.shutdown().await.unwrap();
    };
    let connect = tls::connect(&mut near, Arc::new(identity.client(&provider())), server_name());
    let (closed, ()) = tokio::join!(connect, peer);
    let closed = closed.unwrap_err();
    assert!(matches!(closed, TlsError::Closed), "{closed:?}");
    assert_eq!(closed.cause(), Cause::Closed);
}

#[tokio::test]
async fn a_configuration_that_keeps_its_secrets_is_refused() {
    let identity = Identity::new();
    let (mut server, mut client) = (identity.server(&provider()), identity.client(&provider()));
    (server.enable_secret_extraction, client.enable_secret_extraction) = (false, false);
    let (mut near, mut far) = tcp().await;
    let refused = tls::accept(&mut far, Arc::new(server), BytesMut::new()).await.unwrap_err();
    assert!(matches!(refused, TlsError::NoSecretExtraction));
    assert_eq!(refused.cause(), Cause::Own);
    let refused = tls::connect(&mut near, Arc::new(client), server_name()).await.unwrap_err();
    assert!(matches!(refused, TlsError::NoSecretExtraction));
}

/// A ClientHello of a real client says what it offers, and is still there for the handshake.
#[tokio::test]
async fn the_client_hello_is_read_before_the_configuration_is_chosen() {
    let identity = Identity::new();
    let mut client = identity.client(&provider());
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let (near, mut far) = tcp().await;
    let peer = TlsConnector::from(Arc::new(client)).connect(server_name(), near);
    let us = async {
        let mut received = BytesMut::new();
        let hello = tls::read_client_hello(&mut far, &mut received).await.unwrap();
        assert_eq!(hello.alpn, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert_eq!(hello.sni.as_deref(), Some(NAME));
        let mut config = identity.server(&provider());
        config.alpn_protocols = vec![hello.alpn[1].clone()];
        tls::accept(&mut far, Arc::new(config), received).await.unwrap()
    };
    let (established, peer) = tokio::join!(us, peer);
    assert_eq!(established.alpn.as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(peer.unwrap().get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

/// A peer that says why and hangs up: the reason is what is told, not the broken pipe that we meet.
#[tokio::test]
async fn an_alert_is_heard_though_our_flight_cannot_be_sent() {
    let identity = Identity::new();
    let config = Arc::new(identity.client(&provider()));
    let (writes_fail, other_end) = tokio::io::duplex(1);
    drop(other_end);
    let mut io = tokio::io::join(&[21, 3, 3, 0, 2, 2, 49][..], writes_fail);
    let refused = tls::connect(&mut io, config.clone(), server_name()).await.unwrap_err();
    let alert = rustls::Error::AlertReceived(AlertDescription::AccessDenied);
    assert!(matches!(&refused, TlsError::Handshake(error) if *error == alert), "{refused:?}");

    // Without one it is what it is.
    let (writes_fail, other_end) = tokio::io::duplex(1);
    drop(other_end);
    let mut io = tokio::io::join(&b""[..], writes_fail);
    let refused = tls::connect(&mut io, config, server_name()).await.unwrap_err();
    assert!(matches!(refused, TlsError::Io(_)), "{refused:?}");
    assert_eq!(refused.cause(), Cause::Lost);
}
