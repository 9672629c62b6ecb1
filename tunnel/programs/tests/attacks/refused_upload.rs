//! A client that is refused while it uploads reads why, on every kind of route: a socket that is closed with unread bytes
//! in it is reset, and the reset would take the alert with it.

use std::thread;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use crate::harness::{Hop, World, tcp};
use crate::stream::connect;
use crate::tls13::{self, Met, Offer, Session};

const TRIES: usize = 20;
const UPLOAD: usize = 8 << 20;

/// Uploads and reads at once; gives the alert. An alert that comes within the handshake counts as well.
fn refused(hop: &Hop, alpn: &[&'static [u8]]) -> Option<u8> {
    let offer = Offer { alpn: alpn.to_vec(), key_share: true };
    let socket = connect(tcp(&hop.address));
    match tls13::connect(socket, &offer, &offer) {
        Met::Established(session) => upload(session),
        Met::Alert(alert) => Some(alert),
        Met::Closed => None,
    }
}

fn upload(session: Session) -> Option<u8> {
    let (mut sending, mut receiving) = session.split();
    let uploading = thread::spawn(move || {
        let block = vec![0x5a; 16_000];
        for _ in 0..UPLOAD / block.len() {
            if sending.send(&block).is_err() {
                return;
            }
        }
    });
    let alert = loop {
        match receiving.receive() {
            Some(Ok(_)) => {}
            Some(Err(alert)) => break Some(alert),
            None => break None,
        }
    };
    uploading.join().unwrap();
    alert
}

fn assert_told(kind: &str, hop: &Hop, alpn: &[&'static [u8]], expected: u8) {
    for attempt in 0..TRIES {
        assert_eq!(refused(hop, alpn), Some(expected), "{kind}, try {attempt}: {}", hop.program.err.seen());
    }
}

const CERTIFICATE_REQUIRED: u8 = 116;
const INTERNAL_ERROR: u8 = 80;

#[test]
fn without_evidence_where_it_is_demanded() {
    let world = World::new();
    let workload = world.workload("--echo");
    let hop = world.route(
        "mutual",
        &format!(
            "listen = \"127.0.0.1:0\"\nxfer = \"{}\"\nupstream = {{ tls = \"mutual\", policy = \"any\" }}\n\
             downstream = {{ tls = \"attested\", policy = \"any\" }}\n",
            workload.address
        ),
    );
    assert_told("mutual", &hop, &[b"inclavared/1"], CERTIFICATE_REQUIRED);
}

#[test]
fn without_a_certificate_on_a_pki_route() {
    let world = World::new();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    for (name, text) in
        [("ca.pem", authority.pem()), ("server.pem", authority.pem()), ("server.key", key.serialize_pem())]
    {
        std::fs::write(world.path(name), text).unwrap();
    }
    let workload = world.workload("--echo");
    let hop = world.route(
        "pki",
        &format!(
            "listen = \"127.0.0.1:0\"\nxfer = \"{}\"\ndownstream = {{ tls = \"attested\", policy = \"any\" }}\n\
             upstream = {{ tls = \"pki\", cert = \"server.pem\", key = \"server.key\", client_ca = \"ca.pem\" }}\n",
            workload.address
        ),
    );
    assert_told("pki", &hop, &[], CERTIFICATE_REQUIRED);
}

#[test]
fn with_a_question_that_is_none_of_the_originals() {
    let world = World::new();
    let workload = world.workload("--echo");
    let hop = world.route(
        "compat",
        &format!(
            "listen = \"127.0.0.1:0\"\nxfer = \"{}\"\nupstream = \"attested\"\ncompat = \"enclave-tls\"\n\
             downstream = {{ tls = \"attested\", policy = \"any\" }}\n",
            workload.address
        ),
    );
    assert_told("compat", &hop, &[], INTERNAL_ERROR);
}
