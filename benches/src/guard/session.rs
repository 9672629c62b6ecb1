//! A session whose handshake was made in memory, for what measures the record layer alone.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has nothing better to do than to stop")]

use std::ops::Range;
use std::sync::Arc;

use bytes::BytesMut;
use inclavared_config::{Suite, TlsSettings};
use inclavared_tunnel::leg::handshake::provider;
use inclavared_wire::tls::{self, Content, Established, Opened};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// A bench that only seals may use up a key: nobody reads the update.
pub(crate) fn seal(near: &mut Established, slot: &mut [u8], payload: Range<usize>) -> Range<usize> {
    if near.sealer.key_update_due() {
        near.sealer.key_update(&mut BytesMut::new(), false).unwrap();
    }
    near.sealer.seal(slot, payload).unwrap()
}

pub(crate) fn open(far: &mut Established, record: &mut [u8]) -> Range<usize> {
    match far.opener.open(record).unwrap() {
        Opened::Record { what: Content::Data(range), .. } => range,
        other => unreachable!("one record of data was sealed, not {other:?}"),
    }
}

/// Both ends of one session.
pub(crate) fn session(suite: Suite) -> (Established, Established) {
    let settings = TlsSettings { suites: vec![suite], ..TlsSettings::default() };
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let mut server = ServerConfig::builder_with_provider(provider(&settings))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    server.enable_secret_extraction = true;
    let mut client = ClientConfig::builder_with_provider(provider(&settings))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    let name = ServerName::try_from("localhost").unwrap();
    let (mut near, mut far) = tokio::io::duplex(64 * 1024);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (near, far) = runtime.block_on(async {
        tokio::join!(
            tls::connect(&mut near, Arc::new(client), name),
            tls::accept(&mut far, Arc::new(server), BytesMut::new())
        )
    });
    (near.unwrap(), far.unwrap())
}
