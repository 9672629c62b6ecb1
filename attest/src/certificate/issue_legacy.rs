//! A certificate in the form of early RA-TLS and enclave-tls, for verifiers that know no other: an SGX quote over the hash
//! of an RSA key, and no claims. Made only for a route that asks for it.

use std::fmt;
use std::time::Duration;

use rcgen::{CustomExtension, PublicKeyData, SignatureAlgorithm, SigningKey};
use zeroize::Zeroizing;

use super::issue::{CLOCK_SKEW, parameters};
use super::{IssueError, parse_legacy};
use crate::attester::Attester;
use crate::crypto::RsaKey;
use crate::evidence::UserData;
use crate::hop_key::HopKeyError;
use crate::{Digest, Timestamp};

/// An RSA key of 3072 bits, the one kind that enclave-tls takes unless it was built otherwise. In memory only; the library
/// wipes it when it is dropped.
pub struct LegacyKey(RsaKey);

impl LegacyKey {
    /// Takes a good part of a second.
    pub fn generate() -> Result<Self, HopKeyError> {
        RsaKey::generate_3072().map(Self).map_err(|_| HopKeyError::Generate)
    }

    /// The public half as PKCS#1 RSAPublicKey: what the quote is made over.
    pub fn public_pkcs1(&self) -> &[u8] {
        self.0.public_pkcs1()
    }

    /// The private key as PKCS#8, for the TLS library's signer.
    pub fn pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, HopKeyError> {
        self.0.pkcs8().map_err(|_| HopKeyError::Generate)
    }
}

impl UserData {
    /// SHA-256 of the public key, as enclave-tls has it. Of a key that was made here: this, too, quotes nobody's bytes.
    pub fn of_legacy_key(key: &LegacyKey) -> Self {
        Self::over(Digest::of(key.public_pkcs1()))
    }
}

impl fmt::Debug for LegacyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LegacyKey")
    }
}

/// Has the key attested and makes a certificate that is valid for `lifetime`. Blocks as long as the attester does. What is
/// no SGX quote is refused: the form has no other.
pub fn issue_legacy(
    key: &LegacyKey,
    attester: &dyn Attester,
    now: Timestamp,
    lifetime: Duration,
) -> Result<Vec<u8>, IssueError> {
    let quote = attester.quote(&UserData::of_legacy_key(key))?;
    let mut params = parameters(key, Timestamp(now.0.saturating_sub(CLOCK_SKEW.as_secs())), now.plus(lifetime))?;
    params.custom_extensions.push(CustomExtension::from_oid_content(LEGACY_QUOTE, quote));
    let der = params.self_signed(key)?.der().to_vec();
    // Read as a peer will: what it would refuse must not be served.
    parse_legacy(&der, now)?;
    Ok(der)
}

impl PublicKeyData for LegacyKey {
    fn der_bytes(&self) -> &[u8] {
        self.public_pkcs1()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_RSA_SHA256
    }
}

impl SigningKey for LegacyKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign_pkcs1_sha256(message).map_err(|_| rcgen::Error::RingUnspecified)
    }
}

/// 1.2.840.113741.1337.6
const LEGACY_QUOTE: &[u64] = &[1, 2, 840, 113_741, 1337, 6];

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW, PaperAttester};
    use super::super::{CertificateError, KeyAlgorithm};
    use super::*;
    use crate::quote::testing;
    use crate::tee::EvidenceTag;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn what_is_issued_is_read_again() {
        let key = LegacyKey::generate().unwrap();
        let attester = PaperAttester(EvidenceTag::IntelQuote, Some(testing::sgx_v3));
        let der = issue_legacy(&key, &attester, NOW, HOUR).unwrap();
        let read = parse_legacy(&der, NOW).unwrap();
        assert_eq!((read.key, read.version), (KeyAlgorithm::Rsa, 3));
        assert_eq!(read.key_hash, Digest::of(key.public_pkcs1()));
        assert_eq!(read.not_after, NOW.plus(HOUR));
        // enclave-tls compares the length of the key before it hashes it.
        assert_eq!(key.public_pkcs1().len(), 398);
    }

    #[test]
    fn only_an_sgx_quote_makes_one() {
        let key = LegacyKey::generate().unwrap();
        let tdx = PaperAttester(EvidenceTag::IntelQuote, Some(testing::tdx_v4));
        let refused = issue_legacy(&key, &tdx, NOW, HOUR).unwrap_err();
        assert!(matches!(refused, IssueError::Refused(CertificateError::LegacyTee)), "{refused:?}");
        let silent = PaperAttester(EvidenceTag::IntelQuote, None);
        assert!(matches!(issue_legacy(&key, &silent, NOW, HOUR), Err(IssueError::Attester(_))));
    }
}
