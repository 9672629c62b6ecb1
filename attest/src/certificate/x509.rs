//! The form that every certificate must have, whatever evidence it carries.
//!
//! Two parsers must agree: `x509-parser`, which shows what we need and is lax, and the TLS library's own, which is
//! strict and will read the certificate again in the handshake.

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::{X509Certificate, X509CertificateParser};
use x509_parser::extensions::{BasicConstraints, ExtendedKeyUsage, KeyUsage, X509Extension};
use x509_parser::nom::Parser;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Version};

use super::{CertificateError, MAX_CERTIFICATE_LEN, oid};
use crate::Timestamp;
use crate::crypto::{P384_SPKI_PREFIX, Scheme, verifies};
use crate::hop_key::p256_point;

/// The kinds of keys that peers hold.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KeyAlgorithm {
    /// What this protocol uses.
    EcdsaP256,
    /// Gramine's and Intel's choice.
    EcdsaP384,
    /// 2048 to 8192 bits; enclave-tls' choice.
    Rsa,
}

/// What a kind of certificate may be.
pub(super) struct Rules {
    /// Only the own form: a P-256 key, ECDSA with SHA-256 and no parameters.
    pub(super) hop: bool,
    /// X.509 "version 4", which enclave-tls writes.
    pub(super) version_4: bool,
}

/// A certificate whose form, own signature and window have been checked.
pub(super) struct Form<'a> {
    pub(super) certificate: X509Certificate<'a>,
    pub(super) key: KeyAlgorithm,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

impl<'a> Form<'a> {
    pub(super) fn read(der: &'a [u8], now: Timestamp, rules: &Rules) -> Result<Self, CertificateError> {
        if der.len() > MAX_CERTIFICATE_LEN {
            return Err(CertificateError::TooLarge { size: der.len(), max: MAX_CERTIFICATE_LEN });
        }
        let (rest, certificate) = X509CertificateParser::new()
            .with_deep_parse_extensions(false)
            .parse(der)
            .map_err(|e| CertificateError::Der(shown(&e)))?;
        if !rest.is_empty() {
            return Err(CertificateError::TrailingBytes(rest.len()));
        }
        check_version(&certificate, rules)?;
        check_strictly(der, &certificate)?;
        let (key, key_bytes) = public_key(certificate.public_key(), rules)?;
        check_signature(&certificate, key, key_bytes, rules)?;
        if certificate.subject().as_raw() != certificate.issuer().as_raw() {
            return Err(CertificateError::NotSelfIssued);
        }
        check_extensions(certificate.extensions())?;
        let (not_before, not_after) = check_window(&certificate, now)?;
        Ok(Self { certificate, key, not_before, not_after })
    }

    pub(super) fn spki(&self) -> &[u8] {
        self.certificate.public_key().raw
    }

    /// The extension's value. There is at most one of each.
    pub(super) fn extension(&self, id: &[u8]) -> Option<&'a [u8]> {
        self.extensions().find(|e| e.oid.as_bytes() == id).map(|e| e.value)
    }

    pub(super) fn extensions(&self) -> impl Iterator<Item = &X509Extension<'a>> {
        self.certificate.extensions().iter()
    }
}

fn check_version(certificate: &X509Certificate<'_>, rules: &Rules) -> Result<(), CertificateError> {
    match certificate.version() {
        X509Version::V3 => Ok(()),
        VERSION_4 if rules.version_4 => Ok(()),
        X509Version(number) => Err(CertificateError::Version { found: u64::from(number) + 1 }),
    }
}

/// The TLS library's parser refuses trailing bytes within any structure, unique ids, two algorithms of signature and
/// unknown critical extensions. It knows no version 4: such a certificate is shown to it as version 3.
fn check_strictly(der: &[u8], certificate: &X509Certificate<'_>) -> Result<(), CertificateError> {
    let mut copy = der.to_vec();
    if certificate.version() == VERSION_4 {
        // Certificate and TBSCertificate headers, then `[0] { INTEGER 3 }`.
        let tbs = header_len(der);
        let number = tbs + header_len(der.get(tbs..).unwrap_or_default()) + 4;
        match copy.get_mut(number) {
            Some(number) => *number = 2,
            None => return Err(CertificateError::Version { found: 4 }),
        }
    }
    match webpki::EndEntityCert::try_from(&CertificateDer::from(copy)) {
        Ok(_) => Ok(()),
        // Named by our own check of extensions.
        Err(webpki::Error::UnsupportedCriticalExtension) => Ok(()),
        Err(webpki::Error::ExtensionValueInvalid) => duplicate_or(certificate, webpki::Error::ExtensionValueInvalid),
        Err(error) => Err(CertificateError::Der(error.to_string())),
    }
}

/// The library has one error for a value that it cannot read and for an extension that stands there twice.
fn duplicate_or(certificate: &X509Certificate<'_>, error: webpki::Error) -> Result<(), CertificateError> {
    check_extensions(certificate.extensions())?;
    Err(CertificateError::Der(error.to_string()))
}

fn public_key<'k>(
    spki: &'k SubjectPublicKeyInfo<'_>,
    rules: &Rules,
) -> Result<(KeyAlgorithm, &'k [u8]), CertificateError> {
    if let Some(point) = p256_point(spki.raw) {
        return Ok((KeyAlgorithm::EcdsaP256, point));
    }
    let refused = |accepted| CertificateError::Key { found: key_name(spki), accepted };
    if rules.hop {
        return Err(refused("ECDSA P-256 with an uncompressed point"));
    }
    if let Some(point) = spki.raw.strip_prefix(P384_SPKI_PREFIX).filter(|p| p.len() == 97 && p[0] == 4) {
        return Ok((KeyAlgorithm::EcdsaP384, point));
    }
    let key = &spki.subject_public_key;
    if spki.algorithm.algorithm.as_bytes() == oid::RSA_ENCRYPTION && key.unused_bits == 0 {
        return Ok((KeyAlgorithm::Rsa, &key.data));
    }
    Err(refused("ECDSA P-256 or P-384 with an uncompressed point, RSA"))
}

fn check_signature(
    certificate: &X509Certificate<'_>,
    key: KeyAlgorithm,
    key_bytes: &[u8],
    rules: &Rules,
) -> Result<(), CertificateError> {
    let id = &certificate.signature_algorithm;
    let name = || CertificateError::SignatureAlgorithm(oid::dotted(id.algorithm.as_bytes()));
    // Gramine writes NULL parameters after ECDSA, where RFC 5758 section 3.2 wants none.
    if *id != certificate.tbs_certificate.signature || (rules.hop && id.parameters.is_some()) {
        return Err(name());
    }
    let scheme = match (key, id.algorithm.as_bytes()) {
        (KeyAlgorithm::EcdsaP256, oid::ECDSA_WITH_SHA256) => Scheme::P256Sha256Asn1,
        (KeyAlgorithm::EcdsaP384, oid::ECDSA_WITH_SHA256) => Scheme::P384Sha256Asn1,
        (KeyAlgorithm::EcdsaP384, oid::ECDSA_WITH_SHA384) => Scheme::P384Sha384Asn1,
        (KeyAlgorithm::Rsa, oid::SHA256_WITH_RSA) => Scheme::RsaPkcs1Sha256,
        (KeyAlgorithm::Rsa, oid::SHA384_WITH_RSA) => Scheme::RsaPkcs1Sha384,
        _ => return Err(name()),
    };
    let value = &certificate.signature_value;
    let holds = verifies(scheme, key_bytes, certificate.tbs_certificate.as_ref(), &value.data);
    if value.unused_bits == 0 && holds { Ok(()) } else { Err(CertificateError::SelfSignature) }
}

fn check_window(certificate: &X509Certificate<'_>, now: Timestamp) -> Result<(Timestamp, Timestamp), CertificateError> {
    let validity = certificate.validity();
    let (not_before, not_after) = (timestamp(&validity.not_before), timestamp(&validity.not_after));
    if now < not_before {
        return Err(CertificateError::NotYetValid { not_before, now });
    }
    if now > not_after {
        return Err(CertificateError::Expired { not_after, now });
    }
    Ok((not_before, not_after))
}

fn check_extensions(extensions: &[X509Extension<'_>]) -> Result<(), CertificateError> {
    if extensions.len() > MAX_EXTENSIONS {
        return Err(CertificateError::TooManyExtensions { max: MAX_EXTENSIONS });
    }
    for (i, extension) in extensions.iter().enumerate() {
        let id = extension.oid.as_bytes();
        if extensions[..i].iter().any(|e| e.oid.as_bytes() == id) {
            return Err(match id {
                oid::TAGGED_EVIDENCE | oid::CMW | oid::LEGACY_QUOTE | oid::LEGACY_QUOTE_GRAMINE => {
                    CertificateError::TwoEvidences
                }
                _ => CertificateError::DuplicateExtension(oid::dotted(id)),
            });
        }
        match id {
            oid::BASIC_CONSTRAINTS => {
                let constraints: BasicConstraints = whole(extension)?;
                if constraints.ca {
                    return Err(CertificateError::Ca);
                }
            }
            oid::KEY_USAGE => {
                let usage: KeyUsage = whole(extension)?;
                if !usage.digital_signature() {
                    return Err(CertificateError::Usage { extension: "key usage" });
                }
            }
            oid::EXTENDED_KEY_USAGE => {
                let usage: ExtendedKeyUsage<'_> = whole(extension)?;
                if !(usage.server_auth || usage.client_auth || usage.any) {
                    return Err(CertificateError::Usage { extension: "extended key usage" });
                }
            }
            // Names say nothing here: evidence does.
            oid::SUBJECT_ALT_NAME => (),
            _ if extension.critical => return Err(CertificateError::CriticalExtension(oid::dotted(id))),
            _ => (),
        }
    }
    Ok(())
}

fn whole<'a, T>(extension: &X509Extension<'a>) -> Result<T, CertificateError>
where
    T: FromDer<'a, x509_parser::error::X509Error>,
{
    match T::from_der(extension.value) {
        Ok(([], value)) => Ok(value),
        Ok((rest, _)) => Err(CertificateError::TrailingBytes(rest.len())),
        Err(error) => Err(CertificateError::Der(shown(&error))),
    }
}

/// Times before 1970 are the start of it: nobody's clock is there.
fn timestamp(time: &ASN1Time) -> Timestamp {
    Timestamp(u64::try_from(time.timestamp()).unwrap_or(0))
}

fn key_name(spki: &SubjectPublicKeyInfo<'_>) -> String {
    format!("{} of {} bytes", oid::dotted(spki.algorithm.algorithm.as_bytes()), spki.subject_public_key.data.len())
}

/// The parser's errors carry the input: only what is wrong is wanted.
fn shown(error: &x509_parser::nom::Err<x509_parser::error::X509Error>) -> String {
    match error {
        x509_parser::nom::Err::Incomplete(_) => "it ends too early".into(),
        x509_parser::nom::Err::Error(e) | x509_parser::nom::Err::Failure(e) => e.to_string(),
    }
}

/// Of one DER element, in bytes.
fn header_len(der: &[u8]) -> usize {
    match der.get(1) {
        Some(long) if long & 0x80 != 0 => 2 + usize::from(long & 0x7f),
        _ => 2,
    }
}

/// `version` 3 in the encoding, which counts from 0.
const VERSION_4: X509Version = X509Version(3);

/// Certificates in the field have five; checking for duplicates is quadratic.
const MAX_EXTENSIONS: usize = 32;
