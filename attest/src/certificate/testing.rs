//! Attesters that say anything, and certificates that nobody should accept.

use std::path::PathBuf;

use rcgen::{CertificateParams, CustomExtension, DnType, IsCa};
use x509_parser::prelude::FromDer;

use super::issue::Signer;
use crate::attester::{Attester, AttesterError};
use crate::evidence::{Claims, Evidence, HopClaims, UserData};
use crate::hop_key::HopKey;
use crate::quote::testing;
use crate::tee::EvidenceTag;
use crate::{ConfigDigest, PolicyDigest, Timestamp};

pub(crate) const NOW: Timestamp = Timestamp(1_900_000_000);
pub(super) const TAGGED_EVIDENCE: &[u64] = &[2, 23, 133, 5, 4, 9];
pub(super) const ENDORSEMENTS: &[u64] = &[2, 23, 133, 5, 4, 2];
pub(super) const CMW: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 35];

/// Makes a quote over user data.
type Pen = fn(&[u8; 64]) -> Vec<u8>;

/// Unsigned quotes; `None` cannot make any.
#[derive(Debug)]
pub(super) struct PaperAttester(pub(super) EvidenceTag, pub(super) Option<Pen>);

impl Attester for PaperAttester {
    fn name(&self) -> &'static str {
        "paper"
    }

    fn tag(&self) -> EvidenceTag {
        self.0
    }

    fn quote(&self, user_data: &UserData) -> Result<Vec<u8>, AttesterError> {
        let make = self.1.ok_or(AttesterError::Answer { attester: "paper", what: "nothing".into() })?;
        Ok(make(user_data.as_bytes()))
    }
}

pub(super) fn hop() -> HopClaims {
    HopClaims {
        version: 1,
        chain_role: "relay".into(),
        policy_digest: PolicyDigest::of(b"policy"),
        not_after: Timestamp(NOW.0 + 3600),
        config_digest: ConfigDigest::of(b"configuration"),
    }
}

pub(super) fn evidence(key: &HopKey) -> Evidence {
    let claims = Claims::new(key.kid(), Some(hop()));
    let quote = testing::sgx_v3(UserData::of(&claims).as_bytes());
    Evidence::new(EvidenceTag::IntelQuote, quote, claims).unwrap()
}

/// Parameters of a good certificate without extensions of ours.
pub(super) fn plain() -> CertificateParams {
    let mut params = CertificateParams::default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + std::time::Duration::from_secs(NOW.0 - 60);
    params.not_after = epoch + std::time::Duration::from_secs(NOW.0 + 3600);
    params.distinguished_name.push(DnType::CommonName, "peer");
    params.is_ca = IsCa::ExplicitNoCa;
    params
}

/// [`plain`] with these extensions, none critical.
pub(crate) fn with(extensions: &[(&[u64], &[u8])]) -> CertificateParams {
    let mut params = plain();
    for (id, content) in extensions {
        params.custom_extensions.push(CustomExtension::from_oid_content(id, content.to_vec()));
    }
    params
}

pub(super) fn signed(params: &CertificateParams, key: &HopKey) -> Vec<u8> {
    params.self_signed(&Signer(key)).unwrap().der().to_vec()
}

/// The same certificate with a changed TBSCertificate, signed anew.
pub(super) fn changed(der: &[u8], key: &HopKey, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(der).unwrap();
    let mut tbs = certificate.tbs_certificate.as_ref().to_vec();
    change(&mut tbs);
    assemble(&tbs, ECDSA_WITH_SHA256, &key.sign_asn1(&tbs).unwrap())
}

/// `SEQUENCE { tbs, algorithm, BIT STRING signature }`.
pub(crate) fn assemble(tbs: &[u8], algorithm: &[u8], signature: &[u8]) -> Vec<u8> {
    let signature = element(0x03, &[&[0], signature].concat());
    element(0x30, &[tbs, algorithm, &signature].concat())
}

pub(super) fn octet_string(content: &[u8]) -> Vec<u8> {
    element(0x04, content)
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

/// `needle` must stand there exactly once.
pub(crate) fn replace(bytes: &mut [u8], needle: &[u8], with: &[u8]) {
    assert_eq!(needle.len(), with.len());
    let found: Vec<_> = (0..=bytes.len() - needle.len()).filter(|i| bytes[*i..].starts_with(needle)).collect();
    assert_eq!(found.len(), 1, "{needle:02x?}");
    bytes[found[0]..found[0] + needle.len()].copy_from_slice(with);
}

/// Real certificates, as DER, from the folder that `ATTEST_VECTORS` names. Without it the test says that it was
/// skipped; with it the files must be there.
pub(super) fn real_certificates() -> Option<[Vec<u8>; 2]> {
    let Some(folder) = std::env::var_os("ATTEST_VECTORS").map(PathBuf::from) else {
        eprintln!("SKIPPED: ATTEST_VECTORS names no folder of real certificates");
        return None;
    };
    Some(["gramine-cert.pem", "intel-sgxsdk-cert.pem"].map(|name| {
        let path = folder.join("certs").join(name);
        let pem = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        x509_parser::pem::parse_x509_pem(&pem).unwrap().1.contents
    }))
}

pub(super) const ECDSA_WITH_SHA256: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
