//! A certificate around evidence for a hop key. There is none without evidence, and none that a peer would refuse.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod,
    KeyUsagePurpose, PublicKeyData, SerialNumber, SignatureAlgorithm, SigningKey,
};

use super::{IssueError, parse};
use crate::attester::Attester;
use crate::evidence::{Claims, Endorsements, Evidence, HopClaims, UserData};
use crate::hop_key::HopKey;
use crate::tee::EvidenceTag;
use crate::{KeyId, Timestamp, crypto};

/// A certificate of this process, ready for the handshake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HopCertificate {
    der: Vec<u8>,
    evidence: Evidence,
    snp_endorsements: Option<Arc<[u8]>>,
    kid: KeyId,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl HopCertificate {
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// The endorsements extension's value, if it is SEV-SNP's: verifiers further up may not have these certificates.
    pub fn snp_endorsements(&self) -> Option<&Arc<[u8]>> {
        self.snp_endorsements.as_ref()
    }

    pub fn kid(&self) -> KeyId {
        self.kid
    }

    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

/// Has the key attested and makes a certificate that ends with `hop.not_after`. Blocks as long as the attester does.
/// Endorsements are those that the attester handed out with the quote, if any.
pub fn issue(
    key: &HopKey,
    attester: &dyn Attester,
    hop: HopClaims,
    now: Timestamp,
) -> Result<HopCertificate, IssueError> {
    issue_with_endorsements(key, attester, hop, None, now)
}

/// [`issue`], with what an authority says of the key.
pub fn issue_named(
    key: &HopKey,
    attester: &dyn Attester,
    hop: HopClaims,
    name: Option<Vec<u8>>,
    now: Timestamp,
) -> Result<HopCertificate, IssueError> {
    make(key, attester, hop, name, None, now)
}

/// [`issue`], with collateral for peers that cannot fetch it. It goes before what the attester has.
pub fn issue_with_endorsements(
    key: &HopKey,
    attester: &dyn Attester,
    hop: HopClaims,
    endorsements: Option<&Endorsements>,
    now: Timestamp,
) -> Result<HopCertificate, IssueError> {
    make(key, attester, hop, None, endorsements, now)
}

fn make(
    key: &HopKey,
    attester: &dyn Attester,
    hop: HopClaims,
    name: Option<Vec<u8>>,
    endorsements: Option<&Endorsements>,
    now: Timestamp,
) -> Result<HopCertificate, IssueError> {
    let not_after = hop.not_after;
    if not_after <= now || not_after.0 > LAST_SECOND_OF_9999 {
        return Err(IssueError::Window { now, not_after });
    }
    let claims = Claims::named(key.kid(), Some(hop), name);
    let quote = match attester.tag() {
        EvidenceTag::Null => Vec::new(),
        _ => attester.quote(&UserData::of(&claims))?,
    };
    let evidence = Evidence::new(attester.tag(), quote, claims)?;

    let mut params = parameters(&Signer(key), Timestamp(now.0.saturating_sub(CLOCK_SKEW.as_secs())), not_after)?;
    params.custom_extensions.push(CustomExtension::from_oid_content(TAGGED_EVIDENCE, evidence.blob().to_vec()));
    let attesters = if endorsements.is_none() { attester.endorsements() } else { None };
    let mut snp_endorsements = None;
    if let Some(endorsements) = endorsements.or(attesters.as_ref()) {
        let encoded = endorsements.encode();
        if encoded.len() > Endorsements::MAX_LEN {
            return Err(IssueError::EndorsementsTooLarge { size: encoded.len(), max: Endorsements::MAX_LEN });
        }
        if matches!(endorsements, Endorsements::SevSnp(_) | Endorsements::SimulatedSnp(_)) {
            snp_endorsements = Some(Arc::from(&encoded[..]));
        }
        params.custom_extensions.push(CustomExtension::from_oid_content(ENDORSEMENTS, encoded));
    }
    let der = params.self_signed(&Signer(key))?.der().to_vec();

    // Read as a peer will: what it would refuse must not be served.
    let read = parse(&der, now)?;
    let (not_before, not_after) = (read.not_before, read.not_after);
    Ok(HopCertificate { der, evidence, snp_endorsements, kid: read.kid, not_before, not_after })
}

pub(super) fn parameters(
    key: &impl PublicKeyData,
    not_before: Timestamp,
    not_after: Timestamp,
) -> Result<CertificateParams, IssueError> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    // The bound on `not_after` keeps both in the range of the type.
    params.not_before = epoch + Duration::from_secs(not_before.0);
    params.not_after = epoch + Duration::from_secs(not_after.0);
    params.serial_number = Some(serial_number()?);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, SUBJECT);
    // Writes basic constraints without CA, and the subject key identifier.
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_identifier_method = key_identifier(key);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

/// RFC 7093 section 2, method 1. The certificate library would hash on its own, with a crypto library of its own.
pub(crate) fn key_identifier(key: &impl PublicKeyData) -> KeyIdMethod {
    KeyIdMethod::PreSpecified(crypto::sha256(&key.subject_public_key_info())[..20].to_vec())
}

/// 16 random bytes, positive and of full length.
fn serial_number() -> Result<SerialNumber, IssueError> {
    let mut serial = [0; 16];
    crypto::fill(&mut serial).map_err(|_| IssueError::Random)?;
    serial[0] = serial[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&serial))
}

/// Lets the certificate library sign with a hop key without a copy of it.
pub(super) struct Signer<'a>(pub(super) &'a HopKey);

impl PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.point()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign_asn1(message).map_err(|_| rcgen::Error::RingUnspecified)
    }
}

/// A peer's clock may be this much behind ours. Five minutes is what Kerberos made the custom.
pub(super) const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// Subject and issuer. It says nothing: who a hop is stands in its evidence.
const SUBJECT: &str = "inclavared hop";

/// The last time that X.509 can state.
const LAST_SECOND_OF_9999: u64 = 253_402_300_799;

const TAGGED_EVIDENCE: &[u64] = &[2, 23, 133, 5, 4, 9];
const ENDORSEMENTS: &[u64] = &[2, 23, 133, 5, 4, 2];

#[cfg(test)]
mod tests;
