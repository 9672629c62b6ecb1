//! The client's proof in START: its hop key signs that it is the client of this leg and sent this OPEN.

use super::leg::{Side, binder};
use super::signed::{self, Envelope};
use super::{RecordError, Start};
#[cfg(feature = "os")]
use crate::dcbor::Map;
use crate::dcbor::{FormError, Item, Limits};
#[cfg(feature = "os")]
use crate::hop_key::{HopKey, HopKeyError};
use crate::{Digest, KeyId, LegId, OpenDigest, Reason};

/// The external additional data: a proof is no record, and no record is a proof.
pub const CLIENT_AAD: &[u8] = b"inclavared/client/1";
const MAX_PROOF: usize = 256;

/// Why a client's proof was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClientProofError {
    #[error("START has no client_proof, and the leg is mutual")]
    Missing,
    #[error("client_proof: {0}")]
    Form(#[from] RecordError),
    #[error("client_proof by key {found}, expected {expected}")]
    Key { expected: KeyId, found: KeyId },
    #[error("client_proof of binder {found}, expected {expected}")]
    Binder { expected: Digest, found: Digest },
    #[error("client_proof: the signature does not hold")]
    Signature,
}

impl ClientProofError {
    pub fn reason(&self) -> Reason {
        match self {
            Self::Missing | Self::Key { .. } | Self::Binder { .. } => Reason::Binding,
            Self::Form(_) => Reason::PathForm,
            Self::Signature => Reason::RecordSignature,
        }
    }
}

/// Made by the client of `leg` with the key that it showed there.
#[cfg(feature = "os")]
pub fn client_proof(key: &HopKey, leg: LegId, open: OpenDigest) -> Result<Vec<u8>, HopKeyError> {
    let payload = payload(&binder(Side::Client, leg, open, key.kid()));
    signed::sign(payload, CLIENT_AAD, key).map(|(bytes, ..)| bytes)
}

impl Start {
    /// Checks the client's proof against the server's own view of the leg: its id, the client's SPKI, the OPEN that came.
    pub fn verify_client(&self, spki: &[u8], leg: LegId, open: OpenDigest) -> Result<(), ClientProofError> {
        let proof = self.client_proof.as_deref().ok_or(ClientProofError::Missing)?;
        let envelope = Envelope::decode(proof, MAX_PROOF)?;
        let (expected, found) = (KeyId::of(spki), envelope.kid);
        if expected != found {
            return Err(ClientProofError::Key { expected, found });
        }
        let found = read(&envelope.payload).map_err(RecordError::Form)?;
        let expected = binder(Side::Client, leg, open, expected);
        if expected != found {
            return Err(ClientProofError::Binder { expected, found });
        }
        if signed::verify(proof, CLIENT_AAD, spki) { Ok(()) } else { Err(ClientProofError::Signature) }
    }
}

#[cfg(feature = "os")]
fn payload(binder: &Digest) -> Vec<u8> {
    Map::new().bytes(1, binder.as_bytes()).finish()
}

fn read(payload: &[u8]) -> Result<Digest, FormError> {
    let mut fields = Item::parse(payload, &Limits::bytes(MAX_PROOF))?.fields("client_proof")?;
    let binder = Digest::from_bytes(fields.required(1, "binder")?.bytes32("binder")?);
    fields.finish()?;
    Ok(binder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RecordDigest;
    use crate::path::signed::RECORD_AAD;

    const LEG: LegId = LegId::from_bytes([1; 32]);
    const OPEN: OpenDigest = OpenDigest::from_bytes([2; 32]);

    fn start(proof: Option<Vec<u8>>) -> Start {
        Start { record: RecordDigest::from_bytes([0; 32]), client_proof: proof, forward: None }
    }

    #[test]
    fn holds_for_one_key_one_leg_and_one_open() {
        let (key, other) = (HopKey::generate().unwrap(), HopKey::generate().unwrap());
        let start = start(Some(client_proof(&key, LEG, OPEN).unwrap()));
        assert_eq!(start.verify_client(key.spki(), LEG, OPEN), Ok(()));
        let expected = ClientProofError::Key { expected: other.kid(), found: key.kid() };
        assert_eq!(start.verify_client(other.spki(), LEG, OPEN), Err(expected));
        let leg = start.verify_client(key.spki(), LegId::from_bytes([9; 32]), OPEN).unwrap_err();
        assert!(matches!(leg, ClientProofError::Binder { .. }), "{leg}");
        let open = start.verify_client(key.spki(), LEG, OpenDigest::from_bytes([9; 32])).unwrap_err();
        assert!(matches!(open, ClientProofError::Binder { .. }), "{open}");
    }

    #[test]
    fn neither_a_servers_binder_nor_another_purpose_stands_for_it() {
        let key = HopKey::generate().unwrap();
        assert_eq!(start(None).verify_client(key.spki(), LEG, OPEN), Err(ClientProofError::Missing));
        let server = payload(&binder(Side::Server, LEG, OPEN, key.kid()));
        let (reflected, ..) = signed::sign(server, CLIENT_AAD, &key).unwrap();
        let error = start(Some(reflected)).verify_client(key.spki(), LEG, OPEN).unwrap_err();
        assert_eq!(error.reason(), Reason::Binding, "{error}");
        let client = payload(&binder(Side::Client, LEG, OPEN, key.kid()));
        let (record, ..) = signed::sign(client, RECORD_AAD, &key).unwrap();
        assert_eq!(start(Some(record)).verify_client(key.spki(), LEG, OPEN), Err(ClientProofError::Signature));
        let junk = start(Some(vec![0xa0])).verify_client(key.spki(), LEG, OPEN).unwrap_err();
        assert!(matches!(junk, ClientProofError::Form(_)), "{junk}");
    }
}
