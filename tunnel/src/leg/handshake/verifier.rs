//! What rustls asks of us inside a handshake: form, binding and possession of the peer's certificate.
//!
//! Appraisal is not here: it may have to wait for collateral. It follows at once, before a byte is let through.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use inclavared_attest::certificate::{self, PeerCertificate};
use inclavared_attest::{Digest, Timestamp};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, PeerIncompatible, SignatureScheme,
};

use super::ClientCertificate;

/// Checks one peer's certificate, and keeps what it parsed. One is made for each handshake.
#[derive(Debug)]
pub(super) struct LegVerifier {
    algorithms: WebPkiSupportedAlgorithms,
    client: ClientCertificate,
    /// Some once the peer has shown a certificate of the right form.
    parsed: Mutex<Option<PeerCertificate>>,
}

impl LegVerifier {
    pub(super) fn new(algorithms: WebPkiSupportedAlgorithms, client: ClientCertificate) -> Arc<Self> {
        Arc::new(Self { algorithms, client, parsed: Mutex::default() })
    }

    /// What the handshake has parsed. Its possession is proven once the handshake has ended well, not before.
    pub(super) fn take(&self) -> Option<PeerCertificate> {
        self.parsed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        if !more.is_empty() {
            return Err(refused(NotOneLeaf(more.len() + 1)));
        }
        let parsed = parse(leaf, Timestamp(now.as_secs())).map_err(refused)?;
        *self.parsed.lock().unwrap_or_else(PoisonError::into_inner) = Some(parsed);
        Ok(())
    }

    fn check_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signature, &self.algorithms)
    }
}

/// [`certificate::parse`], and no second time for the same bytes: a hop shows one certificate on all its legs until it
/// takes a new key. What the bytes say, and their signature by themselves, does not change; only the time does.
fn parse(leaf: &CertificateDer<'_>, now: Timestamp) -> Result<PeerCertificate, certificate::CertificateError> {
    let name = Digest::of(leaf);
    let known = PARSED.with_borrow(|parsed| parsed.get(&name).cloned());
    if let Some(known) = known
        && (known.not_before..=known.not_after).contains(&now)
    {
        return Ok(known);
    }
    let read = certificate::parse(leaf, now).or_else(|refused| interoperable(leaf, now).ok_or(refused))?;
    PARSED.with_borrow_mut(|parsed| {
        if parsed.len() >= MOST_PARSED {
            parsed.clear();
        }
        parsed.insert(name, read.clone());
    });
    Ok(read)
}

/// The certificate of a peer that does not speak this protocol: rats-tls, librats and Gramine have keys of other kinds,
/// too. What claims to be a hop has a hop's key, or is refused for that.
fn interoperable(leaf: &CertificateDer<'_>, now: Timestamp) -> Option<PeerCertificate> {
    let read = certificate::parse_interoperable(leaf, now).ok()?;
    // One without evidence is read, too: that says more of it than its kind of key does.
    read.evidence.as_ref().is_none_or(|evidence| evidence.claims().hop().is_none()).then_some(read)
}

thread_local! {
    static PARSED: RefCell<HashMap<Digest, PeerCertificate>> = RefCell::default();
}

/// Certificates that a worker remembers; a peer can make as many as it likes.
const MOST_PARSED: usize = 256;

/// A hop shows exactly one certificate, signed by itself.
#[derive(Debug, thiserror::Error)]
#[error("{0} certificates where one self-signed hop certificate was to come")]
struct NotOneLeaf(usize);

fn refused(error: impl std::error::Error + Send + Sync + 'static) -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

/// Hop keys are P-256 alone, which comes first; the others are of peers with interoperable evidence.
const SCHEMES: &[SignatureScheme] = &[
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
];

const NO_TLS12: rustls::Error = rustls::Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered);

impl ServerCertVerifier for LegVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(NO_TLS12)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

impl ClientCertVerifier for LegVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.client == ClientCertificate::Required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(NO_TLS12)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}
