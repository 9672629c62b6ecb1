//! A name for a hop key, given by an authority beside the evidence (docs/PROTOCOL.md section 2).
//!
//! Evidence says what runs; a certificate of a CA says whose it is. Its key signs one hop key and an end, and the claims
//! that the quote covers hold that signature. So the name is worth something with this key, in this evidence, alone.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use crate::dcbor::{FormError, Item, Limits, Writer};
use crate::{Digest, KeyId, Timestamp};

/// A statement, in bytes: the certificates are most of it.
pub const MAX_STATEMENT: usize = 6 * 1024;
const MAX_CERTIFICATES: usize = 4;
const VERSION: u64 = 1;

/// The key of a name, with the certificates from it up to the CA.
pub struct NamingKey {
    chain: Vec<CertificateDer<'static>>,
    key: Key,
}

enum Key {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// What an authority says of the holder of a name. Checked in full.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named {
    /// URIs among the subject's alternative names: a SPIFFE id is one.
    pub uris: Vec<String>,
    /// When the certificate or the statement ends, whichever is first.
    pub expires: Timestamp,
}

/// Why there is no name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    #[error(transparent)]
    Form(#[from] FormError),
    #[error("the certificate of the name: {0}")]
    Certificate(String),
    #[error("the key of the name: {0}")]
    Key(String),
    #[error("the signature of another hop key, another end or another holder")]
    Signature,
    #[error("the statement ended at {0}")]
    Expired(Timestamp),
}

impl NamingKey {
    /// `chain` in PEM, the holder's certificate first; `key` in PEM, PKCS#8, ECDSA on P-256 or P-384, or Ed25519.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, NameError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
        let chain = chain.map_err(|error| NameError::Certificate(error.to_string()))?;
        if chain.is_empty() {
            return Err(NameError::Certificate("no PEM block".to_owned()));
        }
        if chain.len() > MAX_CERTIFICATES {
            return Err(NameError::Certificate(format!("{} of them, at most {MAX_CERTIFICATES}", chain.len())));
        }
        let der = PrivateKeyDer::from_pem_slice(key).map_err(|error| NameError::Key(error.to_string()))?;
        let PrivateKeyDer::Pkcs8(der) = der else {
            return Err(NameError::Key("not PKCS#8: convert it with `openssl pkcs8 -topk8 -nocrypt`".to_owned()));
        };
        let der = der.secret_pkcs8_der();
        let key = [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING]
            .into_iter()
            .find_map(|algorithm| EcdsaKeyPair::from_pkcs8(algorithm, der).ok())
            .map(Key::Ecdsa)
            .or_else(|| Ed25519KeyPair::from_pkcs8(der).ok().map(Key::Ed25519));
        let key = key.ok_or_else(|| NameError::Key("neither ECDSA on P-256 or P-384 nor Ed25519".to_owned()))?;
        let naming = Self { chain, key };
        // A key that is not the certificate's is found here, not by every verifier.
        let probe = message(KeyId::of(b""), Timestamp(0), &naming.chain[0]);
        let signature = naming.signature(&probe)?;
        end_entity(&naming.chain[0])?;
        if !verifies(&naming.chain[0], &probe, &signature) {
            return Err(NameError::Key("not that of the certificate".to_owned()));
        }
        Ok(naming)
    }

    /// Names a hop key until `not_after`.
    pub fn name(&self, kid: KeyId, not_after: Timestamp) -> Result<Vec<u8>, NameError> {
        let signature = self.signature(&message(kid, not_after, &self.chain[0]))?;
        let mut w = Writer::new();
        w.array(4).uint(VERSION).array(self.chain.len());
        self.chain.iter().for_each(|certificate| _ = w.bytes(certificate));
        w.uint(not_after.0).bytes(&signature);
        Ok(w.finish())
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, NameError> {
        match &self.key {
            Key::Ecdsa(key) => {
                let signature = key.sign(&SystemRandom::new(), message);
                signature.map(|s| s.as_ref().to_vec()).map_err(|_| NameError::Key("it does not sign".to_owned()))
            }
            Key::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
        }
    }
}

/// The certificates of authorities, in DER, from a PEM text.
pub fn authorities(pem: &[u8]) -> Result<Vec<Vec<u8>>, NameError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|error| NameError::Certificate(error.to_string()))?;
    if certificates.is_empty() {
        return Err(NameError::Certificate("no PEM block".to_owned()));
    }
    for certificate in &certificates {
        webpki::anchor_from_trusted_cert(certificate).map_err(|error| NameError::Certificate(error.to_string()))?;
    }
    Ok(certificates.into_iter().map(|certificate| certificate.to_vec()).collect())
}

/// Verifies a statement about the hop key `kid`, under an authority's certificates in DER.
pub fn verify_name(statement: &[u8], kid: KeyId, roots: &[Vec<u8>], now: Timestamp) -> Result<Named, NameError> {
    let [version, chain, not_after, signature] =
        Item::parse(statement, &Limits::bytes(MAX_STATEMENT)).map_err(FormError::from)?.tuple("name")?;
    version.uint_in("version", VERSION, VERSION)?;
    let chain = chain.array("certificates", MAX_CERTIFICATES)?;
    let chain: Result<Vec<_>, FormError> =
        chain.into_iter().map(|der| Ok(CertificateDer::from(der.bytes("certificate", MAX_STATEMENT)?))).collect();
    let chain = chain?;
    let not_after = Timestamp(not_after.uint("not_after")?);
    let signature = signature.bytes("signature", 256)?;
    let Some((holder, intermediates)) = chain.split_first() else {
        return Err(NameError::Certificate("none".to_owned()));
    };
    let certificate = end_entity(holder)?;
    let roots: Vec<_> = roots.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let anchors: Result<Vec<TrustAnchor<'_>>, _> = roots.iter().map(webpki::anchor_from_trusted_cert).collect();
    let anchors = anchors.map_err(|error| NameError::Certificate(format!("the CA: {error}")))?;
    certificate
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            intermediates,
            UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.0)),
            KeyUsage::client_auth(),
            None,
            None,
        )
        .map_err(|error| NameError::Certificate(error.to_string()))?;
    if !verifies(holder, &message(kid, not_after, holder), signature) {
        return Err(NameError::Signature);
    }
    if not_after < now {
        return Err(NameError::Expired(not_after));
    }
    let ends = crate::appraise::certificate_window(holder);
    let (_, ends) = ends.map_err(|error| NameError::Certificate(error.to_string()))?;
    Ok(Named { uris: certificate.valid_uri_names().map(str::to_owned).collect(), expires: ends.min(not_after) })
}

fn end_entity<'a>(der: &'a CertificateDer<'a>) -> Result<EndEntityCert<'a>, NameError> {
    EndEntityCert::try_from(der).map_err(|error| NameError::Certificate(error.to_string()))
}

/// What is signed: which key is named, until when, and by which certificate.
fn message(kid: KeyId, not_after: Timestamp, holder: &[u8]) -> Vec<u8> {
    let mut w = Writer::new();
    w.array(5).text("inclavared/name").uint(VERSION).bytes(kid.as_bytes()).uint(not_after.0);
    w.bytes(Digest::of(holder).as_bytes());
    w.finish()
}

fn verifies(holder: &CertificateDer<'_>, message: &[u8], signature: &[u8]) -> bool {
    use webpki::aws_lc_rs::{ECDSA_P256_SHA256, ECDSA_P384_SHA384, ED25519};
    let Ok(certificate) = EndEntityCert::try_from(holder) else { return false };
    [ECDSA_P256_SHA256, ECDSA_P384_SHA384, ED25519]
        .into_iter()
        .any(|algorithm| certificate.verify_signature(algorithm, message, signature).is_ok())
}

impl fmt::Debug for NamingKey {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamingKey").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, Issuer, KeyPair, SanType};

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);
    const KID: KeyId = KeyId::from_bytes([7; 32]);
    const ID: &str = "spiffe://example.org/gateway";

    struct Authority(CertifiedIssuer<'static, KeyPair>);

    impl Authority {
        fn new() -> Self {
            let mut params = CertificateParams::new(vec![]).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.not_after = rcgen::date_time_ymd(2040, 1, 1);
            Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
        }

        fn root(&self) -> Vec<Vec<u8>> {
            vec![self.0.der().to_vec()]
        }

        fn naming(&self, year: i32) -> NamingKey {
            let (certificate, key) = self.issue(year);
            NamingKey::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap()
        }

        fn issue(&self, year: i32) -> (String, String) {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec![]).unwrap();
            params.subject_alt_names = vec![SanType::URI(ID.try_into().unwrap())];
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let issuer: &Issuer<'_, KeyPair> = &self.0;
            let certificate = params.signed_by(&key, issuer).unwrap();
            (certificate.pem(), key.serialize_pem())
        }
    }

    #[test]
    fn names_one_key_until_its_end() {
        let authority = Authority::new();
        let statement = authority.naming(2035).name(KID, Timestamp(NOW.0 + 60)).unwrap();
        assert!(statement.len() < 1024, "{}", statement.len());
        let named = verify_name(&statement, KID, &authority.root(), NOW).unwrap();
        assert_eq!((named.uris.as_slice(), named.expires), (&[ID.to_owned()][..], Timestamp(NOW.0 + 60)));
        let refused = |kid, root: &Authority, now| verify_name(&statement, kid, &root.root(), now).unwrap_err();
        assert_eq!(refused(KeyId::from_bytes([8; 32]), &authority, NOW), NameError::Signature, "pasted");
        assert_eq!(refused(KID, &authority, Timestamp(NOW.0 + 61)), NameError::Expired(Timestamp(NOW.0 + 60)));
        assert!(matches!(refused(KID, &Authority::new(), NOW), NameError::Certificate(_)));
        assert!(matches!(refused(KID, &authority, Timestamp(2_200_000_000)), NameError::Certificate(_)));
    }

    #[test]
    fn every_byte_of_it_counts() {
        let authority = Authority::new();
        let statement = authority.naming(2035).name(KID, Timestamp(NOW.0 + 60)).unwrap();
        for at in 0..statement.len() {
            let mut changed = statement.clone();
            changed[at] ^= 1;
            assert!(verify_name(&changed, KID, &authority.root(), NOW).is_err(), "byte {at}");
        }
        // One's own certificate over another's signature.
        let other = authority.naming(2035);
        let mut w = Writer::new();
        let of = |naming: &NamingKey| naming.signature(&message(KID, NOW, &naming.chain[0])).unwrap();
        w.array(4).uint(1).array(1).bytes(&authority.naming(2035).chain[0]).uint(NOW.0).bytes(&of(&other));
        assert_eq!(verify_name(&w.finish(), KID, &authority.root(), NOW).unwrap_err(), NameError::Signature);
    }

    #[test]
    fn a_key_of_another_certificate_is_found_at_the_start() {
        let authority = Authority::new();
        let ((certificate, _), (_, key)) = (authority.issue(2035), authority.issue(2035));
        let error = NamingKey::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap_err();
        assert!(matches!(error, NameError::Key(_)), "{error}");
        assert!(matches!(NamingKey::from_pem(b"", key.as_bytes()), Err(NameError::Certificate(_))));
    }
}
