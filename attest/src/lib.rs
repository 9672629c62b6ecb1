//! Evidence, certificates, appraisal, policy and the attested path: everything about trust, and no I/O.
//!
//! Clock, randomness, collateral and quoting are handed in. The one exception is [`platform`]: the blocking
//! drivers of the attesters.

#[cfg(all(test, not(all(feature = "platform", feature = "sim"))))]
compile_error!(
    "the tests of inclavared-attest need its features `platform` and `sim`: they make their evidence with them"
);

pub mod appraise;
pub mod attester;
pub mod certificate;
pub mod configuration;
mod crypto;
pub mod dcbor;
mod digest;
pub mod evidence;
pub mod hop_key;
pub mod named;
pub mod offline;
pub mod path;
#[cfg(feature = "platform")]
pub mod platform;
pub mod policy;
pub mod quote;
mod reason;
pub mod reference;
// Without the drivers nothing reads or writes a platform on disk.
#[cfg(feature = "sim")]
#[cfg_attr(not(feature = "platform"), allow(dead_code, unused_imports))]
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
