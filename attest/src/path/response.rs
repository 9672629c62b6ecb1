//! The record of an HTTP response (docs/PROTOCOL.md section 7): smaller, and with no evidence in it.

use super::MAX_HOPS;
use super::open::VERSION;
use super::signed::{self, Envelope, RECORD_AAD};
use super::{Kind, RecordError};
#[cfg(feature = "os")]
use crate::dcbor::Map;
use crate::dcbor::{FormError, Item, Limits};
#[cfg(feature = "os")]
use crate::hop_key::{HopKey, HopKeyError};
use crate::{Digest, KeyId, RecordDigest, SessionId};

/// A signed response record, in bytes: all of a path's travel in 8 KiB of HTTP trailers.
const MAX_RESPONSE: usize = 512;

/// What a hop says of one response that passed it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResponseRecord {
    pub session: SessionId,
    pub depth: u8,
    pub seq: u64,
    /// The record of the hop below; `None` for the last.
    pub next: Option<RecordDigest>,
    /// The hop's own preview record: it says which key, evidence and legs these are.
    pub preview: RecordDigest,
    pub http: HttpDigests,
}

/// The exchange that a response record is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HttpDigests {
    /// Over method, target and the request's digest.
    pub request: Digest,
    pub status: u16,
    /// The response's Content-Digest (RFC 9530), SHA-256.
    pub content: Digest,
}

/// A response record with its signature, in the bytes that travel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedResponse {
    bytes: Vec<u8>,
    kid: KeyId,
    record: ResponseRecord,
}

#[cfg(feature = "os")]
impl ResponseRecord {
    pub fn sign(self, key: &HopKey) -> Result<SignedResponse, HopKeyError> {
        let (bytes, _, kid) = signed::sign(self.payload(), RECORD_AAD, key)?;
        Ok(SignedResponse { bytes, kid, record: self })
    }

    fn payload(&self) -> Vec<u8> {
        let http = Map::new()
            .bytes(1, self.http.request.as_bytes())
            .uint(2, u64::from(self.http.status))
            .bytes(3, self.http.content.as_bytes());
        Map::new()
            .uint(1, VERSION)
            .uint(2, Kind::Response.code())
            .bytes(4, self.session.as_bytes())
            .uint(5, u64::from(self.depth))
            .uint(6, self.seq)
            .bytes_or_null(11, self.next.as_ref().map(|next| &next.as_bytes()[..]))
            .bytes(12, self.preview.as_bytes())
            .map(14, http)
            .finish()
    }
}

impl ResponseRecord {
    fn decode(payload: &[u8]) -> Result<Self, FormError> {
        let mut fields = Item::parse(payload, &Limits::bytes(MAX_RESPONSE))?.fields("response")?;
        fields.required(1, "version")?.uint_in("version", VERSION, VERSION)?;
        let response = Kind::Response.code();
        fields.required(2, "kind")?.uint_in("kind", response, response)?;
        let next = fields.required(11, "next")?;
        let mut http = fields.required(14, "http")?.fields("http")?;
        let record = Self {
            session: SessionId::from_bytes(fields.required(4, "sid")?.bytes32("sid")?),
            depth: fields.required(5, "depth")?.uint_in("depth", 0, u64::from(MAX_HOPS) - 1)? as u8,
            seq: fields.required(6, "seq")?.uint("seq")?,
            next: if next.is_null() { None } else { Some(RecordDigest::from_bytes(next.bytes32("next")?)) },
            preview: RecordDigest::from_bytes(fields.required(12, "preview_digest")?.bytes32("preview_digest")?),
            http: HttpDigests {
                request: Digest::from_bytes(http.required(1, "request")?.bytes32("request")?),
                status: http.required(2, "status")?.uint_in("status", 100, 599)? as u16,
                content: Digest::from_bytes(http.required(3, "content")?.bytes32("content")?),
            },
        };
        http.finish()?;
        fields.finish()?;
        Ok(record)
    }
}

impl SignedResponse {
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let envelope = Envelope::decode(bytes, MAX_RESPONSE)?;
        let record = ResponseRecord::decode(&envelope.payload)?;
        Ok(Self { bytes: bytes.to_vec(), kid: envelope.kid, record })
    }

    /// One item of the `Attestation-Chain` list.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn digest(&self) -> RecordDigest {
        RecordDigest::of(&self.bytes)
    }

    pub fn kid(&self) -> KeyId {
        self.kid
    }

    pub fn record(&self) -> &ResponseRecord {
        &self.record
    }

    /// Whether `spki` made the signature.
    pub fn verify(&self, spki: &[u8]) -> bool {
        signed::verify(&self.bytes, RECORD_AAD, spki)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::SignedRecord;

    fn record() -> ResponseRecord {
        ResponseRecord {
            session: SessionId::from_bytes([1; 32]),
            depth: 15,
            seq: u64::MAX,
            next: Some(RecordDigest::from_bytes([2; 32])),
            preview: RecordDigest::from_bytes([3; 32]),
            http: HttpDigests { request: Digest::of(b"GET /"), status: 200, content: Digest::of(b"") },
        }
    }

    #[test]
    fn the_largest_comes_back_as_it_was_and_sixteen_fit_the_trailer() {
        let key = HopKey::generate().unwrap();
        let signed = record().sign(&key).unwrap();
        assert!(signed.bytes().len() <= MAX_RESPONSE && 16 * MAX_RESPONSE <= 8 * 1024, "{}", signed.bytes().len());
        let read = SignedResponse::decode(signed.bytes()).unwrap();
        assert_eq!((&read, read.kid()), (&signed, key.kid()));
        assert!(read.verify(key.spki()));
        assert!(!read.verify(HopKey::generate().unwrap().spki()));
        let last = ResponseRecord { next: None, ..record() }.sign(&key).unwrap();
        assert_eq!(SignedResponse::decode(last.bytes()).unwrap(), last);
    }

    #[test]
    fn a_response_is_no_record_of_a_trailer_and_the_other_way_round() {
        let key = HopKey::generate().unwrap();
        let signed = record().sign(&key).unwrap();
        let error = SignedRecord::decode(signed.bytes()).unwrap_err();
        assert!(
            matches!(error, RecordError::Form(FormError::Type { field: "kind", found: "response", .. })),
            "{error}"
        );
        let (other, ..) = signed::sign(Map::new().uint(1, 1).uint(2, 1).finish(), RECORD_AAD, &key).unwrap();
        let error = SignedResponse::decode(&other).unwrap_err();
        assert!(matches!(error, RecordError::Form(FormError::Range { field: "kind", found: 1, .. })), "{error}");
        let status = ResponseRecord { http: HttpDigests { status: 99, ..record().http }, ..record() };
        let error = SignedResponse::decode(status.sign(&key).unwrap().bytes()).unwrap_err();
        assert!(matches!(error, RecordError::Form(FormError::Range { field: "status", .. })), "{error}");
    }
}
