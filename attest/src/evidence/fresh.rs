//! The claims of a fresh quote (docs/PROTOCOL.md section 3): they name a tree of legs, and no key.

use super::EvidenceError;
use super::claims::{digest, expect_key};
use super::reader::Reader;
use super::writer::Writer;
use crate::{ConfigDigest, Digest, Timestamp};

/// What a process says of legs that it ends itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FreshClaims {
    /// Under which these legs run: that of their certificates.
    pub config_digest: ConfigDigest,
    /// When this evidence ends.
    pub not_after: Timestamp,
    /// Of the Merkle tree whose leaves are the legs.
    pub root: Digest,
    /// When it was asked for: the TEE's clock, which is the host's, in ms since 1970.
    pub iat_ms: u64,
}

impl FreshClaims {
    /// The version of this structure that is written and read here.
    pub const VERSION: u64 = 1;

    /// The whole map of claims.
    pub fn encode(&self) -> Vec<u8> {
        let inner = Writer::default()
            .map(5)
            .uint(1)
            .uint(Self::VERSION)
            .uint(2)
            .bytes(self.config_digest.as_bytes())
            .uint(3)
            .uint(self.not_after.0)
            .uint(4)
            .bytes(self.root.as_bytes())
            .uint(5)
            .uint(self.iat_ms)
            .finish();
        Writer::default().map(1).text(FRESH).bytes(&inner).finish()
    }

    /// Exactly the keys of version 1, in order.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, EvidenceError> {
        let mut reader = Reader::new(bytes, WHAT);
        let found = reader.map()?;
        expect_key(&mut reader, 1)?;
        let version = reader.uint()?;
        if version != Self::VERSION {
            return Err(EvidenceError::FreshVersion { version });
        }
        if found != 5 {
            return Err(EvidenceError::Count { what: WHAT, expected: 5, found });
        }
        expect_key(&mut reader, 2)?;
        let config_digest = ConfigDigest(digest(reader.bytes()?, FRESH)?);
        expect_key(&mut reader, 3)?;
        let not_after = Timestamp(reader.uint()?);
        expect_key(&mut reader, 4)?;
        let root = digest(reader.bytes()?, FRESH)?;
        expect_key(&mut reader, 5)?;
        let iat_ms = reader.uint()?;
        reader.end()?;
        Ok(Self { config_digest, not_after, root, iat_ms })
    }
}

pub(super) const FRESH: &str = "inclavared-fresh";
const WHAT: &str = "the claim `inclavared-fresh`";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Claims, Evidence, EvidenceTag, FreshEvidence, UserData};
    use crate::quote::testing;
    use crate::{KeyId, Reason};

    fn claims() -> FreshClaims {
        FreshClaims {
            config_digest: ConfigDigest::of(b"configuration"),
            not_after: Timestamp(1_900_000_000),
            root: Digest::of(b"root"),
            iat_ms: 1_899_999_000_000,
        }
    }

    /// Evidence of a platform that quotes whatever it is given.
    fn blob(claims: &[u8]) -> Vec<u8> {
        let quote = testing::sgx_v3(UserData::over(Digest::of(claims)).as_bytes());
        Writer::default().tag(60000).array(2).bytes(&quote).bytes(claims).finish()
    }

    fn inner() -> Vec<u8> {
        let encoded = claims().encode();
        let mut reader = Reader::new(&encoded, "test");
        reader.map().unwrap();
        reader.text().unwrap();
        reader.bytes().unwrap().to_vec()
    }

    #[test]
    fn comes_back_as_it_was_and_has_no_key() {
        let quote = testing::tdx_v4(UserData::of_fresh(&claims()).as_bytes());
        let fresh = FreshEvidence::new(EvidenceTag::IntelQuote, quote, claims()).unwrap();
        assert_eq!(fresh.claims(), &claims());
        assert_eq!(FreshEvidence::decode(fresh.blob()).unwrap(), fresh);
        let text = String::from_utf8_lossy(fresh.blob()).into_owned();
        assert!(text.contains(FRESH) && !text.contains("pubkey-hash"));
    }

    /// The one place where it is decided what evidence may be shown for: both ways.
    #[test]
    fn each_is_refused_where_the_other_is_due() {
        let fresh = blob(&claims().encode());
        let error = Evidence::decode(&fresh).unwrap_err();
        assert_eq!((&error, error.reason()), (&EvidenceError::NotOfAKey, Reason::EvidenceForm));
        let of_a_key = blob(Claims::new(KeyId::of(b"key"), None).encoded());
        let error = FreshEvidence::decode(&of_a_key).unwrap_err();
        assert_eq!((&error, error.reason()), (&EvidenceError::NotOverLegs, Reason::EvidenceForm));
        assert_eq!(Claims::decode(&claims().encode()), Err(EvidenceError::NotOfAKey));
    }

    #[test]
    fn the_null_attester_makes_none() {
        let error = FreshEvidence::new(EvidenceTag::Null, Vec::new(), claims()).unwrap_err();
        assert_eq!((&error, error.reason()), (&EvidenceError::NullOverLegs, Reason::Null));
    }

    /// With another claim beside it, whichever that is, it is neither.
    #[test]
    fn stands_alone() {
        let key_hash = Writer::default().array(2).uint(1).bytes(&[1; 32]).finish();
        let others = [
            ("pubkey-hash", &key_hash[..]),
            ("nonce", &[7; 32]),
            ("inclavared", b"x"),
            ("inclavared-name", b"x"),
            ("a", b""),
        ];
        for (name, value) in others {
            for first in [true, false] {
                let writer = Writer::default().map(2);
                let both = match first {
                    true => writer.text(name).bytes(value).text(FRESH).bytes(&inner()),
                    false => writer.text(FRESH).bytes(&inner()).text(name).bytes(value),
                };
                let blob = blob(&both.finish());
                let expected = EvidenceError::FreshNotAlone(name.to_owned());
                assert_eq!(FreshEvidence::decode(&blob), Err(expected.clone()));
                assert_eq!(expected.reason(), Reason::EvidenceForm);
                assert_eq!(Evidence::decode(&blob), Err(expected));
            }
        }
    }

    #[test]
    fn is_read_strictly() {
        let decode =
            |inner: &[u8]| FreshEvidence::decode(&blob(&Writer::default().map(1).text(FRESH).bytes(inner).finish()));
        assert!(decode(&inner()).is_ok());
        let longer = [inner(), vec![0]].concat();
        assert!(matches!(decode(&longer), Err(EvidenceError::TrailingBytes { count: 1, .. })));
        let mut version = inner();
        version[2] = 2;
        assert_eq!(decode(&version), Err(EvidenceError::FreshVersion { version: 2 }));
        assert_eq!(EvidenceError::FreshVersion { version: 2 }.reason(), Reason::Version);
        let four = Writer::default().map(4).uint(1).uint(1).finish();
        assert_eq!(decode(&four), Err(EvidenceError::Count { what: WHAT, expected: 5, found: 4 }));
        let swapped = Writer::default().map(5).uint(1).uint(1).uint(3).uint(0).finish();
        assert_eq!(decode(&swapped), Err(EvidenceError::HopKeyOrder { expected: 2, found: 3 }));
        let short = Writer::default().map(5).uint(1).uint(1).uint(2).bytes(&[0; 31]).finish();
        assert_eq!(decode(&short), Err(EvidenceError::ClaimLength { claim: FRESH, expected: 32, found: 31 }));
        let other = FreshClaims { root: Digest::of(b"another"), ..claims() };
        let quote = testing::sgx_v3(UserData::of_fresh(&other).as_bytes());
        let error = FreshEvidence::new(EvidenceTag::IntelQuote, quote, claims()).unwrap_err();
        assert!(matches!(error, EvidenceError::UserData { .. }), "{error}");
    }
}
