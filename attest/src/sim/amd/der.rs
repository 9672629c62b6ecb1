//! What of DER the simulated AMD writes: certificates and lists in AMD's form, which no library at hand signs with PSS.

use super::super::SimError;
use crate::Timestamp;
use crate::crypto::Failed;

/// The fields of a certificate.
pub(super) struct Tbs<'a> {
    pub(super) serial: u8,
    pub(super) issuer: &'a str,
    pub(super) subject: &'a str,
    pub(super) window: (Timestamp, Timestamp),
    pub(super) spki: &'a [u8],
    pub(super) extensions: Vec<u8>,
}

impl Tbs<'_> {
    pub(super) fn to_der(&self) -> Vec<u8> {
        let parts = [
            element(0xA0, &integer(2)),
            integer(self.serial),
            PSS_SHA384.to_vec(),
            name(self.issuer),
            element(0x30, &[time(self.window.0), time(self.window.1)].concat()),
            name(self.subject),
            self.spki.to_vec(),
            element(0xA3, &element(0x30, &self.extensions)),
        ];
        element(0x30, &parts.concat())
    }
}

/// A list of revoked certificates, before it is signed.
pub(super) fn tbs_crl(issuer: &str, window: (Timestamp, Timestamp), revoked: &[u8]) -> Vec<u8> {
    let entries: Vec<u8> =
        revoked.iter().flat_map(|serial| element(0x30, &[integer(*serial), time(window.0)].concat())).collect();
    let entries = if entries.is_empty() { entries } else { element(0x30, &entries) };
    let parts = [integer(1), PSS_SHA384.to_vec(), name(issuer), time(window.0), time(window.1), entries];
    element(0x30, &parts.concat())
}

/// What was to be signed, with its signature.
pub(super) fn signed(tbs: &[u8], signature: &[u8]) -> Vec<u8> {
    let signature = element(0x03, &[&[0], signature].concat());
    element(0x30, &[tbs, PSS_SHA384, &signature].concat())
}

pub(super) fn rsa_spki(public_key: &[u8]) -> Vec<u8> {
    let public = element(0x03, &[&[0], public_key].concat());
    element(0x30, &[RSA_ALGORITHM, &public].concat())
}

pub(super) fn basic_constraints(ca: bool) -> Vec<u8> {
    let value: &[u8] = if ca { &[0x30, 0x03, 0x01, 0x01, 0xff] } else { &[0x30, 0x00] };
    extension(&[0x55, 0x1d, 0x13], true, value)
}

pub(super) fn key_usage(bits: u8) -> Vec<u8> {
    extension(&[0x55, 0x1d, 0x0f], true, &[0x03, 0x02, 0x01, bits])
}

/// `SEQUENCE { OID, ?BOOLEAN critical, OCTET STRING }`.
pub(crate) fn extension(oid: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[0x01, 0x01, 0xff] } else { &[] };
    element(0x30, &[element(0x06, oid).as_slice(), critical, &element(0x04, value)].concat())
}

/// An identifier in AMD's arc, by its last numbers.
pub(crate) fn amd_oid(last: &[u8]) -> Vec<u8> {
    [&[0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x01], last].concat()
}

pub(crate) fn integer(value: u8) -> Vec<u8> {
    if value < 0x80 { vec![2, 1, value] } else { vec![2, 2, 0, value] }
}

pub(super) fn ia5(text: &str) -> Vec<u8> {
    element(0x16, text.as_bytes())
}

/// The common name that AMD would use, under an organization that is not AMD.
fn name(common_name: &str) -> Vec<u8> {
    let attribute = |id: u8, value: &str| {
        let attribute = [element(0x06, &[0x55, 0x04, id]), element(0x0c, value.as_bytes())].concat();
        element(0x31, &element(0x30, &attribute))
    };
    element(0x30, &[attribute(10, ORGANIZATION), attribute(3, common_name)].concat())
}

/// GeneralizedTime.
fn time(time: Timestamp) -> Vec<u8> {
    let digits: String = time.to_string().chars().filter(char::is_ascii_digit).collect();
    element(0x18, format!("{digits}Z").as_bytes())
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let head = match len {
        0..=0x7f => vec![tag, len as u8],
        0x80..=0xff => vec![tag, 0x81, len as u8],
        _ => vec![tag, 0x82, (len >> 8) as u8, len as u8],
    };
    [head.as_slice(), content].concat()
}

/// The signature that a key could not make: out of memory, or of randomness.
pub(super) fn unsigned(_: Failed) -> SimError {
    SimError::Key("a signature of the simulated AMD could not be made".into())
}

const ORGANIZATION: &str = "Simulated platform, not AMD";

/// `{ id-RSASSA-PSS, { sha384, mgf1 with sha384, 48 } }`, as AMD writes it.
const PSS_SHA384: &[u8] = &[
    0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x34, 0xa0, 0x0f, 0x30, 0x0d,
    0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09,
    0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03,
    0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01, 0x30,
];
/// `{ rsaEncryption, NULL }`.
const RSA_ALGORITHM: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
