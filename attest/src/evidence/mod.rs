//! Evidence as it travels: a tagged CBOR item that holds a quote and the claims which the quote covers.

mod claims;
mod endorsements;
mod error;
mod fresh;
mod quoted;
mod reader;
mod statement;
mod user_data;
mod writer;

pub use claims::{Claims, HopClaims};
pub use endorsements::{Endorsements, IntelEndorsements, SnpEndorsements};
pub use error::EvidenceError;
pub use fresh::FreshClaims;
pub use quoted::Quoted;
pub use user_data::UserData;

pub use crate::tee::{EvidenceTag, Tee};

use std::ops::Deref;
use std::sync::Arc;

use statement::Statement;

/// Evidence of a key: what a certificate's evidence extension holds, and nothing else is one. Clones share it: every
/// stream of a path keeps the evidence of every hop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Evidence {
    quoted: Quoted,
    claims: Arc<Claims>,
}

impl Evidence {
    /// In bytes, as it travels.
    pub const MAX_LEN: usize = Quoted::MAX_LEN;

    /// Builds what is to be published. The quote is cut to its parsed length, and what comes out is checked as a peer
    /// would check it. For [`EvidenceTag::Null`] the quote is empty.
    pub fn new(tag: EvidenceTag, quote: Vec<u8>, claims: Claims) -> Result<Self, EvidenceError> {
        Quoted::new(tag, &quote, claims.encoded())?.into_evidence()
    }

    /// Reads evidence strictly, and keeps it as it is. A fresh quote is refused.
    pub fn decode(blob: &[u8]) -> Result<Self, EvidenceError> {
        Quoted::decode(blob)?.into_evidence()
    }

    pub fn claims(&self) -> &Claims {
        &self.claims
    }
}

/// A fresh quote with what it covers. It is no certificate's evidence: only [`Evidence`] is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FreshEvidence {
    quoted: Quoted,
    claims: FreshClaims,
}

impl FreshEvidence {
    /// Builds what is to be shown; it is checked as a peer would check it.
    pub fn new(tag: EvidenceTag, quote: Vec<u8>, claims: FreshClaims) -> Result<Self, EvidenceError> {
        Quoted::new(tag, &quote, &claims.encode())?.into_fresh()
    }

    /// Reads a fresh quote. Evidence of a key is refused.
    pub fn decode(blob: &[u8]) -> Result<Self, EvidenceError> {
        Quoted::decode(blob)?.into_fresh()
    }

    pub fn claims(&self) -> &FreshClaims {
        &self.claims
    }
}

impl Deref for FreshEvidence {
    type Target = Quoted;

    fn deref(&self) -> &Quoted {
        &self.quoted
    }
}

impl Deref for Evidence {
    type Target = Quoted;

    fn deref(&self) -> &Quoted {
        &self.quoted
    }
}

impl Quoted {
    /// As the evidence of a key, if it is that.
    pub fn into_evidence(self) -> Result<Evidence, EvidenceError> {
        match self.statement() {
            Statement::Key(claims) => Ok(Evidence { claims: Arc::clone(claims), quoted: self }),
            Statement::Legs(_) => Err(EvidenceError::NotOfAKey),
        }
    }

    /// As a fresh quote, if it is one.
    pub fn into_fresh(self) -> Result<FreshEvidence, EvidenceError> {
        match *self.statement() {
            Statement::Legs(claims) => Ok(FreshEvidence { quoted: self, claims }),
            Statement::Key(_) => Err(EvidenceError::NotOverLegs),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::writer::Writer;
    use super::*;
    use crate::quote::testing;
    use crate::{Digest, EvidenceDigest, KeyId, Reason};

    fn claims() -> Claims {
        Claims::new(KeyId::of(b"key"), None)
    }

    fn quote_over(claims: &Claims) -> Vec<u8> {
        testing::sgx_v3(UserData::of(claims).as_bytes())
    }

    fn encode(tag: u64, quote: &[u8], claims: &[u8]) -> Vec<u8> {
        Writer::default().tag(tag).array(2).bytes(quote).bytes(claims).finish()
    }

    #[test]
    fn round_trips_every_tag() {
        let user_data = UserData::of(&claims());
        for (tag, quote, tee, head) in [
            (EvidenceTag::IntelQuote, testing::sgx_v3(user_data.as_bytes()), Tee::Sgx, "d9ea6082"),
            (EvidenceTag::IntelQuote, testing::tdx_v4(user_data.as_bytes()), Tee::Tdx, "d9ea6082"),
            (EvidenceTag::Simulated, testing::tdx_v5(user_data.as_bytes()), Tee::Tdx, "d9ede482"),
            (EvidenceTag::SevSnp, testing::snp(user_data.as_bytes()), Tee::SevSnp, "da001a750482"),
            (EvidenceTag::Null, Vec::new(), Tee::None, "d9ede58240"),
        ] {
            let evidence = Evidence::new(tag, quote.clone(), claims()).unwrap();
            assert_eq!((evidence.tag(), evidence.tee()), (tag, tee));
            assert_eq!((evidence.quote(), evidence.claims()), (quote.as_slice(), &claims()));
            assert!(hex::encode(evidence.blob()).starts_with(head), "{tag:?}");
            assert_eq!(Evidence::decode(evidence.blob()).unwrap(), evidence);
            assert_eq!(evidence.digest(), EvidenceDigest::of(evidence.blob()));
        }
    }

    #[test]
    fn cuts_its_own_padding_and_refuses_a_peers() {
        let padded = [quote_over(&claims()), vec![0; 64]].concat();
        let evidence = Evidence::new(EvidenceTag::IntelQuote, padded.clone(), claims()).unwrap();
        assert_eq!(evidence.quote(), quote_over(&claims()));
        let received = encode(60000, &padded, claims().encoded());
        let expected = EvidenceError::TrailingBytes { what: "the quote", count: 64 };
        assert_eq!(Evidence::decode(&received), Err(expected));
    }

    #[test]
    fn refuses_other_tags_by_name() {
        for (tag, name) in
            [(60001, "TEE report"), (60002, "legacy"), (0x1A_7505, "SEV"), (0x1A_7506, "CSV"), (60902, "unknown")]
        {
            match Evidence::decode(&encode(tag, &quote_over(&claims()), claims().encoded())) {
                Err(EvidenceError::UnknownTag { tag: found, name: said }) => {
                    assert_eq!(found, tag);
                    assert!(said.contains(name), "{said}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn refuses_what_is_not_its_shape() {
        let (quote, claims) = (quote_over(&claims()), claims());
        let good = encode(60000, &quote, claims.encoded());
        let longer = [good.as_slice(), &[0]].concat();
        assert_eq!(Evidence::decode(&longer), Err(EvidenceError::TrailingBytes { what: "evidence", count: 1 }));
        let untagged = &good[3..];
        assert!(matches!(Evidence::decode(untagged), Err(EvidenceError::Cbor { what: "evidence", .. })));
        let three = Writer::default().tag(60000).array(3).bytes(&quote).bytes(claims.encoded()).uint(0).finish();
        let expected = EvidenceError::Count { what: "evidence", expected: 2, found: 3 };
        assert_eq!(Evidence::decode(&three), Err(expected));
        let large = encode(60000, &vec![0; Evidence::MAX_LEN], claims.encoded());
        assert!(matches!(Evidence::decode(&large), Err(EvidenceError::TooLarge { max: 16384, .. })));
        let mut indefinite = good.clone();
        indefinite[3] = 0x9f;
        indefinite.push(0xff);
        assert_eq!(Evidence::decode(&indefinite), Err(EvidenceError::Indefinite { what: "evidence" }));
        let with_quote = encode(60901, &[1], claims.encoded());
        assert_eq!(Evidence::decode(&with_quote), Err(EvidenceError::NullWithQuote { size: 1 }));
        let no_quote = encode(60000, &[], claims.encoded());
        assert!(matches!(Evidence::decode(&no_quote), Err(EvidenceError::Quote(_))));
        let snp_as_intel = encode(60000, &testing::snp(&[0; 64]), claims.encoded());
        assert!(matches!(Evidence::decode(&snp_as_intel), Err(EvidenceError::Quote(_))));
    }

    #[test]
    fn binds_the_quote_to_the_claims() {
        let other = Claims::new(KeyId::of(b"another key"), None);
        let error = Evidence::decode(&encode(60000, &quote_over(&claims()), other.encoded())).unwrap_err();
        let expected = Digest::of(other.encoded());
        assert_eq!(error, EvidenceError::UserData { expected, found: Digest::of(claims().encoded()) });
        assert_eq!(error.reason(), Reason::Binding);
        let error = Evidence::new(EvidenceTag::IntelQuote, quote_over(&claims()), other).unwrap_err();
        assert!(matches!(error, EvidenceError::UserData { .. }), "our own evidence is checked too");

        let mut user_data = *UserData::of(&claims()).as_bytes();
        user_data[63] = 1;
        let error = Evidence::decode(&encode(60000, &testing::sgx_v3(&user_data), claims().encoded())).unwrap_err();
        assert_eq!(error, EvidenceError::UserDataTail);
        assert_eq!(error.reason(), Reason::Binding);
    }

    #[test]
    fn reads_the_hash_over_claims_as_received() {
        // The same claims in another order: another encoding, another hash, and still evidence.
        let key_hash = Writer::default().array(2).uint(1).bytes(KeyId::of(b"key").as_bytes()).finish();
        let received = Writer::default().map(2).text("x").bytes(b"1").text("pubkey-hash").bytes(&key_hash).finish();
        let claims = Claims::decode(&received).unwrap();
        let evidence = Evidence::decode(&encode(60000, &quote_over(&claims), &received)).unwrap();
        assert_eq!(evidence.claims().encoded(), received);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Evidence::decode(&bytes);
            let _ = FreshEvidence::decode(&bytes);
            let _ = Claims::decode(&bytes);
            let _ = Endorsements::decode(&bytes);
        }

        #[test]
        fn no_changed_byte_changes_the_claims(at in 0usize..700, value in 1u8..) {
            let mut bytes = encode(60000, &quote_over(&claims()), claims().encoded());
            let at = at % bytes.len();
            bytes[at] ^= value;
            // What still decodes says the same: only bytes of the quote outside its user data are free.
            if let Ok(evidence) = Evidence::decode(&bytes) {
                prop_assert_eq!(evidence.claims(), &claims());
            }
        }
    }
}
