//! Evidence, certificates, appraisal, policy and the attested path: everything about trust, and no I/O.
//!
//! Clock, randomness, collateral and quoting are handed in. The one exception is [`platform`]: the blocking
//! drivers of the attesters.

pub mod appraise;
pub mod attester;
pub mod certificate;
pub mod configuration;
pub mod dcbor;
mod digest;
pub mod evidence;
pub mod hop_key;
pub mod named;
pub mod offline;
pub mod path;
pub mod platform;
pub mod policy;
pub mod quote;
mod reason;
pub mod reference;
pub mod sim;
mod tee;
mod time;

pub use digest::{
    CollateralDigest, ConfigDigest, Digest, EvidenceDigest, KeyId, LegId, OpenDigest, PolicyDigest, RecordDigest,
    SessionId,
};
pub use reason::Reason;
pub use tee::{EvidenceTag, Tee};
pub use time::Timestamp;
