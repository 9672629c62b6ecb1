//! Blocking drivers of the attesters, one for each kind of hardware, and the simulated platform on disk.
//!
//! | name        | interface, in the order in which it is tried                                          |
//! |-------------|---------------------------------------------------------------------------------------|
//! | `sgx_ecdsa` | Gramine's `/dev/attestation`; Occlum's `/dev/sgx`                                       |
//! | `tdx_ecdsa` | configfs-tsm with provider `tdx_guest`; `/dev/tdx_guest` and a quoting service (QGS)    |
//! | `sev_snp`   | configfs-tsm with provider `sev_guest`; `/dev/sev-guest`                               |
//! | `auto`      | the first of these that is there; never `sim`, never `null`                             |
//!
//! Each driver holds to the same rules: one quote in flight over an interface in this process, a deadline, the
//! retries that the interface prescribes, and an answer that is checked: it must be of the right kind, and its user
//! data must be what was asked for. What comes out is cut to its parsed length. Whether the quote is *good* is not
//! judged here; that is appraisal's, at the peer.
//!
//! Where the files are is an argument ([`Roots`]), so that the same code runs against stand-ins.

mod answer;
pub mod auto;
mod files;
mod gate;
mod options;
mod qgs;
pub mod sgx;
#[cfg(feature = "sim")]
pub mod sim;
pub mod snp;
mod snp_certificates;
mod sys;
pub mod tdx;
mod tsm;

#[cfg(test)]
mod tests;

pub use auto::{Detected, Found};
pub use options::{DriverOptions, Roots};
pub use qgs::QgsAddress;
pub use sgx::SgxEcdsa;
pub use snp::SevSnp;
pub use tdx::TdxEcdsa;
