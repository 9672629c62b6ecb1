//! The command lines of the three programs: what was typed becomes, once, what it means.
//!
//! Owns spelling, conflicts and defaults; starts nothing and opens nothing but the files that are named. Every flag of the
//! original programs is accepted as it was spelled; what serves in place of one that has no meaning any more is said in
//! [`Parsed::notes`], for the log.

mod address;
mod attestation;
mod enclave_tls_server;
mod go_flags;
mod inclavared;
mod logging;
mod mistakes;
mod shelter;

use inclavared_config::LogSettings;

pub use enclave_tls_server::{EnclaveTlsServer, Serves};
pub use inclavared::{CollateralTask, CollateralWhat, DemoOptions, Inclavared, Pccs, PccsFrom, TlsFiles};
pub use logging::{LogError, init_logging};
pub use mistakes::{CliError, Mistakes};
pub use shelter::{
    ComparedFile, DiffWith, Import, Measure, OfflineAppraisal, Shelter, Source, ValuesFile, Verification,
};

/// What a command line means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parsed<T> {
    pub what: T,
    pub log: LogSettings,
    /// One line each, for the log at start: flags that mean something else than they did.
    pub notes: Vec<String>,
}

impl<T> Parsed<T> {
    fn map<U>(self, then: impl FnOnce(T) -> U) -> Parsed<U> {
        Parsed { what: then(self.what), log: self.log, notes: self.notes }
    }
}
