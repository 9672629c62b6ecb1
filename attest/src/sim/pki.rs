//! The simulated PKI: root -> PCK CA -> PCK, root -> TCB signer, and their CRLs. P-256 and SHA-256 throughout.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DistinguishedName, DnType,
    IsCa, Issuer, KeyUsagePurpose, PublicKeyData, RevokedCertParams, SerialNumber, SignatureAlgorithm, SigningKey,
    date_time_ymd,
};

use super::error::SimError;
use crate::appraise::SIMULATED_ORGANIZATION;
use crate::certificate::key_identifier;
use crate::crypto::P256Key;
use crate::{Digest, Timestamp};

/// rcgen's dates are those of the `time` crate, which it does not hand out: its one constructor is the way in.
macro_rules! date {
    ($timestamp:expr) => {
        date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs($timestamp.0)
    };
}

/// A P-256 key that signs certificates (DER signatures) and quotes or collateral (raw r || s).
pub(crate) struct SimKey(P256Key);

impl SimKey {
    pub(crate) fn generate() -> Result<Self, SimError> {
        P256Key::generate().map(Self).map_err(|_| SimError::Key("it could not be made".into()))
    }

    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, SimError> {
        P256Key::from_pkcs8(der).map(Self).map_err(|_| SimError::Key("it is not a P-256 key in PKCS#8".into()))
    }

    pub(crate) fn to_pem(&self) -> String {
        pem("PRIVATE KEY", self.0.pkcs8())
    }

    /// r || s over the SHA-256 of `message`.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<[u8; 64], SimError> {
        self.0.sign_fixed(message).map_err(|_| SimError::Key("the signature could not be made".into()))
    }

    /// x || y of the public key.
    pub(crate) fn public_xy(&self) -> Result<[u8; 64], SimError> {
        match self.0.point() {
            [4, xy @ ..] => xy.try_into().map_err(|_| SimError::Key("it is not a P-256 key".into())),
            _ => Err(SimError::Key("it is not an uncompressed P-256 key".into())),
        }
    }
}

impl PublicKeyData for SimKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.point()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for SimKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign_asn1(message).map_err(|_| rcgen::Error::RingUnspecified)
    }
}

impl fmt::Debug for SimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimKey")
    }
}

/// Who signs in the simulated PKI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AuthorityName {
    Root,
    PckCa,
    TcbSigner,
}

/// A certificate with its key.
#[derive(Debug)]
pub(crate) struct Authority {
    name: AuthorityName,
    pub(crate) der: Vec<u8>,
    pub(crate) key: SimKey,
}

impl Authority {
    pub(crate) fn self_signed(begin: Timestamp, end: Timestamp) -> Result<Self, SimError> {
        let key = SimKey::generate()?;
        let params = AuthorityName::Root.params(&key, begin, end);
        let der = params.self_signed(&key)?.der().to_vec();
        Ok(Self { name: AuthorityName::Root, der, key })
    }

    pub(crate) fn issued_by(
        issuer: &Self,
        name: AuthorityName,
        begin: Timestamp,
        end: Timestamp,
    ) -> Result<Self, SimError> {
        let key = SimKey::generate()?;
        let der = issuer.issue(&name.params(&key, begin, end), &key)?;
        Ok(Self { name, der, key })
    }

    /// From disk: [`Authority::is_whole`] tells whether the two belong together.
    pub(crate) fn from_parts(name: AuthorityName, der: Vec<u8>, key: SimKey) -> Self {
        Self { name, der, key }
    }

    /// Whether the certificate is that of the key.
    pub(crate) fn is_whole(&self) -> bool {
        let certificate = crate::appraise::parse(&self.der);
        certificate.is_ok_and(|read| *read.public_key().subject_public_key.data == *self.key.0.point())
    }

    pub(crate) fn issue_pck(&self, pck: &PckCertificate<'_>) -> Result<Vec<u8>, SimError> {
        let mut params = params("Simulated SGX PCK Certificate", pck.key, pck.begin, pck.end);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.serial_number = Some(SerialNumber::from_slice(&pck.serial));
        params.custom_extensions.push(CustomExtension::from_oid_content(SGX_EXTENSION, pck.extension.clone()));
        self.issue(&params, pck.key)
    }

    pub(crate) fn crl(&self, begin: Timestamp, end: Timestamp, revoked: &[Vec<u8>]) -> Result<Vec<u8>, SimError> {
        let params = CertificateRevocationListParams {
            this_update: date!(begin),
            next_update: date!(end),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from_slice(serial),
                    revocation_time: date!(begin),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: key_identifier(&self.key),
        };
        let own = self.name.params(&self.key, begin, end);
        Ok(params.signed_by(&Issuer::from_params(&own, &self.key))?.der().to_vec())
    }

    fn issue(&self, params: &CertificateParams, key: &SimKey) -> Result<Vec<u8>, SimError> {
        // An issuer's name, usages and key identifier: its own window of validity plays no part.
        let own = self.name.params(&self.key, Timestamp(0), Timestamp(0));
        let issuer = Issuer::from_params(&own, &self.key);
        Ok(params.signed_by(key, &issuer)?.der().to_vec())
    }
}

/// What a PCK certificate says.
pub(crate) struct PckCertificate<'a> {
    pub(crate) key: &'a SimKey,
    pub(crate) serial: [u8; 16],
    pub(crate) extension: Vec<u8>,
    pub(crate) begin: Timestamp,
    pub(crate) end: Timestamp,
}

/// A serial number made from a name: positive, not zero, of fixed length.
pub(crate) fn serial(name: &[u8]) -> [u8; 16] {
    let mut serial = [0; 16];
    serial.copy_from_slice(&Digest::of(name).as_bytes()[..16]);
    serial[0] = serial[0] & 0x3f | 0x40;
    serial
}

/// A serial number made from a key.
fn serial_of(key: &SimKey) -> SerialNumber {
    let mut serial = Digest::of(key.0.point()).as_bytes()[..20].to_vec();
    serial[0] &= 0x7f;
    SerialNumber::from(serial)
}

/// Certificates as PEM, one after the other.
pub(crate) fn pem_chain(ders: &[&[u8]]) -> String {
    ders.iter().map(|der| pem("CERTIFICATE", der)).collect()
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    const LINE: usize = 64;
    let base64 = BASE64.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in base64.as_bytes().chunks(LINE) {
        text.extend(line.iter().map(|b| char::from(*b)));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

impl AuthorityName {
    fn params(self, key: &SimKey, begin: Timestamp, end: Timestamp) -> CertificateParams {
        // "Platform" in the PCK CA's name is how software tells it from the Processor CA.
        let (common_name, path_length) = match self {
            Self::Root => ("Simulated SGX Root CA", Some(1)),
            Self::PckCa => ("Simulated SGX PCK Platform CA", Some(0)),
            Self::TcbSigner => ("Simulated SGX TCB Signing", None),
        };
        let mut params = params(common_name, key, begin, end);
        match path_length {
            Some(length) => {
                params.is_ca = IsCa::Ca(BasicConstraints::Constrained(length));
                params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            }
            None => {
                params.is_ca = IsCa::ExplicitNoCa;
                params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            }
        }
        params
    }
}

fn params(common_name: &str, key: &SimKey, begin: Timestamp, end: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name.push(DnType::OrganizationName, SIMULATED_ORGANIZATION);
    params.distinguished_name = name;
    params.not_before = date!(begin);
    params.not_after = date!(end);
    params.serial_number = Some(serial_of(key));
    params.key_identifier_method = key_identifier(key);
    params.use_authority_key_identifier_extension = true;
    params
}

const SGX_EXTENSION: &[u64] = &[1, 2, 840, 113741, 1, 13, 1];
