//! What stands once in a configuration, beside its routes and policies: who attests, where collateral comes from, TLS,
//! limits and deadlines.

mod attestation;
mod bounds;
mod collateral;
mod tls;

pub(crate) use attestation::read_attestation;
pub use attestation::{Attestation, AttesterKind, KindError, SIM_FIELDS, SimSettings, VerifierKind};
pub use bounds::{Deadlines, Limits};
pub(crate) use bounds::{read_deadlines, read_limits};
pub use collateral::CollateralOptions;
pub(crate) use tls::read_tls;
pub use tls::{Group, Suite, TlsSettings};
