//! The attested path: legs, records, the trailer, and its verification (docs/PROTOCOL.md sections 3 to 6).
//!
//! Owns what is said about a path and how it is judged; frames, sessions and sockets are the tunnel's. In order of
//! reading: [`leg`](leg_context), [`Open`], [`Record`], [`Trailer`], [`verify_path`], [`Path`].

mod client_proof;
mod codes;
mod continuity;
mod error;
mod fault;
mod input;
mod judge;
mod judged;
mod leg;
mod merkle;
mod onward;
mod open;
mod record;
mod response;
mod signed;
mod trailer;
mod unjudged;
mod verified;
mod verify;
mod wire_error;

#[cfg(feature = "os")]
pub use client_proof::client_proof;
pub use client_proof::{CLIENT_AAD, ClientProofError};
pub use codes::{CloseReason, Kind};
pub use error::{Check, PathError};
pub use fault::{Fault, MAX_FAULT};
pub use input::{Expects, FirstLeg, PathInput};
pub use judge::{LEGACY_ROLE, MAX_CERTIFICATE_LIFE};
pub use leg::{Challenge, LEG_LABEL, Nonce, RandomError, Side, binder, leaf, leg_context};
pub use merkle::{MAX_LEAVES, MerklePath, MerkleTree};
pub use onward::{Onward, OpenRefusal};
pub use open::{Abort, MAX_HAVE, MAX_OPEN, Open, Start, VERSION};
pub use record::{
    AttestedPeer, Counters, Downstream, FreshQuote, MAX_ROLE, Own, PeerVerdict, Receipt, Record, Stage, TlsParameters,
    Upstream,
};
pub use response::{HttpDigests, ResponseRecord, SignedResponse};
pub use signed::{MAX_RECORD, RECORD_AAD, RecordError, SignedRecord};
pub use trailer::{KnownBlobs, Trailer, TrailerError, TrailerLimits, no_known_blobs};
pub use unjudged::join_path;
pub use verified::{Close, LegacyPeer, Path, PathHop};
pub use verify::verify_path;
pub use wire_error::WireError;

pub use crate::policy::MAX_HOPS;
