//! A signed record: COSE_Sign1 (RFC 9052), untagged, ES256, in exactly one encoding.

use coset::{CborSerializable, CoseSign1};
#[cfg(feature = "os")]
use coset::{CoseSign1Builder, HeaderBuilder, iana};

use super::Record;
use crate::dcbor::{FormError, Item, Limits, Map};
use crate::hop_key::verify_es256;
#[cfg(feature = "os")]
use crate::hop_key::{HopKey, HopKeyError};
use crate::{KeyId, RecordDigest};

/// The external additional data of a record's signature: no signature of another purpose can stand for it.
pub const RECORD_AAD: &[u8] = b"inclavared/hop/1";
/// A signed record, in bytes: a payload, the kid, the signature and their heads.
pub const MAX_RECORD: usize = super::record::MAX_PAYLOAD + 256;

/// A record with its signature, in the bytes that travel. Whether the signature holds is not said by its being here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedRecord {
    bytes: Vec<u8>,
    /// Invariant: the payload is that long, and stands in front of the signature, which ends `bytes`.
    payload_len: usize,
    digest: RecordDigest,
    kid: KeyId,
    record: Record,
}

#[cfg(feature = "os")]
impl Record {
    /// Signs the record with the hop's key, which must be the one that the record names.
    pub fn sign(self, key: &HopKey) -> Result<SignedRecord, HopKeyError> {
        debug_assert_eq!(self.own.spki, key.spki(), "a record is signed by the key that it names");
        let payload = self.payload();
        let payload_len = payload.len();
        let (bytes, digest, kid) = sign(payload, RECORD_AAD, key)?;
        Ok(SignedRecord { bytes, payload_len, digest, kid, record: self })
    }
}

impl SignedRecord {
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let envelope = Envelope::decode(bytes, MAX_RECORD)?;
        let record = Record::decode(&envelope.payload)?;
        let (payload_len, kid) = (envelope.payload.len(), envelope.kid);
        Ok(Self { bytes: bytes.to_vec(), payload_len, digest: RecordDigest::of(bytes), kid, record })
    }

    /// The content of the record's byte string, as it travels.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What was signed, as it was received.
    pub fn payload(&self) -> &[u8] {
        let end = self.bytes.len() - SIGNATURE;
        &self.bytes[end - self.payload_len..end]
    }

    pub fn digest(&self) -> RecordDigest {
        self.digest
    }

    /// The key that the protected header names.
    pub fn kid(&self) -> KeyId {
        self.kid
    }

    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Whether `spki` made the signature.
    pub fn verify(&self, spki: &[u8]) -> bool {
        verify(&self.bytes, RECORD_AAD, spki)
    }
}

/// Why bytes are not a signed record.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    #[error(transparent)]
    Form(#[from] FormError),
    /// The COSE headers are not exactly `{1: -7, 4: kid}` and `{}`.
    #[error("the COSE headers are not exactly ES256 and a kid")]
    Headers,
    #[error("the COSE_Sign1 cannot be read: {0}")]
    Cose(String),
}

impl From<crate::dcbor::DcborError> for RecordError {
    fn from(error: crate::dcbor::DcborError) -> Self {
        Self::Form(error.into())
    }
}

/// Signs `payload`; gives the bytes, their digest and the kid.
#[cfg(feature = "os")]
pub(super) fn sign(payload: Vec<u8>, aad: &[u8], key: &HopKey) -> Result<(Vec<u8>, RecordDigest, KeyId), HopKeyError> {
    let kid = key.kid();
    let protected = HeaderBuilder::new().algorithm(iana::Algorithm::ES256).key_id(kid.as_bytes().to_vec()).build();
    let cose = CoseSign1Builder::new()
        .protected(protected)
        .payload(payload)
        .try_create_signature(aad, |message| key.sign_es256(message).map(|signature| signature.to_vec()))?
        .build();
    let bytes = cose.to_vec().expect("a COSE_Sign1 of byte strings can be encoded");
    let digest = RecordDigest::of(&bytes);
    Ok((bytes, digest, kid))
}

/// Whether `spki` signed these bytes, which are in the one encoding.
pub(super) fn verify(bytes: &[u8], aad: &[u8], spki: &[u8]) -> bool {
    let Ok(cose) = CoseSign1::from_slice(bytes) else { return false };
    cose.verify_signature(aad, |signature, message| verify_es256(spki, message, signature).then_some(()).ok_or(()))
        .is_ok()
}

/// What a COSE_Sign1 in the one encoding holds.
pub(super) struct Envelope {
    pub(super) kid: KeyId,
    pub(super) payload: Vec<u8>,
}

impl Envelope {
    /// The strict form is checked first, down to the content of both byte strings, and only then does the COSE parser
    /// see it.
    pub(super) fn decode(bytes: &[u8], limit: usize) -> Result<Self, RecordError> {
        let [protected, unprotected, payload, signature] =
            Item::parse(bytes, &Limits::bytes(limit))?.tuple("COSE_Sign1")?;
        let protected = protected.bytes("protected", PROTECTED)?;
        Item::parse(protected, &Limits::bytes(PROTECTED))?;
        Item::parse(payload.bytes("payload", limit)?, &Limits::bytes(limit))?;
        let found = signature.bytes("signature", 64)?.len();
        if found != 64 {
            let expected = "64 bytes".to_owned();
            return Err(FormError::Range { field: "signature", expected, found: found as u64 }.into());
        }
        unprotected.map("unprotected", 0)?;
        let cose = CoseSign1::from_slice(bytes).map_err(|error| RecordError::Cose(error.to_string()))?;
        let kid = KeyId::from_slice(&cose.protected.header.key_id).ok_or(RecordError::Headers)?;
        if protected != protected_header(kid) {
            return Err(RecordError::Headers);
        }
        Ok(Self { kid, payload: cose.payload.unwrap_or_default() })
    }
}

/// The signature at the end of a record, with its head of 2 bytes.
const SIGNATURE: usize = 66;
/// Length of the protected header: `{1: -7, 4: bstr32}`.
const PROTECTED: usize = 38;

fn protected_header(kid: KeyId) -> Vec<u8> {
    Map::new().entry(1, |w| w.int(-7)).bytes(4, kid.as_bytes()).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protected_header_is_the_documented_one() {
        let key = HopKey::generate().unwrap();
        let (bytes, digest, kid) = sign(vec![0xa0], RECORD_AAD, &key).unwrap();
        assert_eq!(protected_header(kid).len(), PROTECTED);
        let envelope = Envelope::decode(&bytes, MAX_RECORD).unwrap();
        assert_eq!((envelope.kid, envelope.payload), (key.kid(), vec![0xa0]));
        assert_eq!(digest, RecordDigest::of(&bytes));
        assert!(verify(&bytes, RECORD_AAD, key.spki()));
        assert!(!verify(&bytes, b"inclavared/other/1", key.spki()), "another purpose");
        assert!(!verify(&bytes, RECORD_AAD, HopKey::generate().unwrap().spki()));
    }

    fn refused(bytes: &[u8]) -> RecordError {
        match Envelope::decode(bytes, MAX_RECORD) {
            Ok(_) => panic!("accepted {}", hex::encode(bytes)),
            Err(error) => error,
        }
    }

    #[test]
    fn any_other_envelope_is_refused() {
        use crate::dcbor::{DcborError, Writer};
        let kid = KeyId::from_bytes([1; 32]);
        let envelope = |protected: &[u8], unprotected: Map, payload: &[u8], signature: &[u8]| {
            let mut w = Writer::new();
            w.array(4).bytes(protected).map(unprotected).bytes(payload).bytes(signature);
            w.finish()
        };
        let good = protected_header(kid);
        assert!(Envelope::decode(&envelope(&good, Map::new(), &[0xa0], &[0; 64]), MAX_RECORD).is_ok());
        let other = Map::new().entry(1, |w| w.int(-8)).bytes(4, kid.as_bytes()).finish();
        assert_eq!(refused(&envelope(&other, Map::new(), &[0xa0], &[0; 64])), RecordError::Headers);
        let short = Map::new().entry(1, |w| w.int(-7)).bytes(4, &[1; 31]).finish();
        assert_eq!(refused(&envelope(&short, Map::new(), &[0xa0], &[0; 64])), RecordError::Headers);
        assert!(matches!(
            refused(&envelope(&good, Map::new().uint(1, 1), &[0xa0], &[0; 64])),
            RecordError::Form(FormError::Range { field: "unprotected", found: 1, .. })
        ));
        assert!(matches!(
            refused(&envelope(&good, Map::new(), &[0xa0], &[0; 63])),
            RecordError::Form(FormError::Range { field: "signature", found: 63, .. })
        ));
        assert_eq!(
            refused(&envelope(&good, Map::new(), &[0x18, 1], &[0; 64])),
            FormError::Dcbor(DcborError::NotShortest { at: 0 }).into()
        );
        let tagged = [vec![0xd2], envelope(&good, Map::new(), &[0xa0], &[0; 64])].concat();
        assert_eq!(refused(&tagged), FormError::Dcbor(DcborError::Tag { tag: 18, at: 0 }).into());
    }
}
