//! Routes and policies in TOML: parsed once into what they mean, with every mistake reported at once.
//!
//! Owns the form of the configuration and its defaults. It opens nothing but the file that it is asked to read
//! ([`load`], [`check`], [`load_policy`]) and the files of reference values and keys that this one names: no sockets, no
//! runtime, no clock.
//!
//! ```
//! let text = r#"
//! [[route]]
//! name = "workload"
//! listen = "127.0.0.1:1236"
//! xfer = "tcp://127.0.0.1:1234"
//! upstream = "attested"
//! downstream = { tls = "attested", policy = "genuine-only" }
//! "#;
//! let config = inclavared_config::parse("inclavared.toml", text)?;
//! assert_eq!(config.routes[0].target.to_string(), "tcp://127.0.0.1:1234");
//! # Ok::<(), inclavared_config::Errors>(())
//! ```

mod config;
mod digest;
mod document;
mod flags;
mod policy;
mod route;
mod settings;
mod summary;
mod values;
mod words;

pub use config::{Config, IdentityFiles, LogFormat, LogSettings, load, parse};
pub use document::{Errors, Mistake, Origin, parse_duration};
pub use flags::{FlagConfig, ServerFlagConfig};
pub use policy::{GENUINE_ONLY, load_policy, parse_policy};
pub use route::{
    AddressError, CertificateFiles, Compat, Downstream, Legacy, Listen, PkiDownstream, PkiUpstream, ProxyProtocol,
    Route, Target, Upstream, WarmLegs,
};
pub use settings::{
    Attestation, AttesterKind, CollateralOptions, Deadlines, Group, KindError, Limits, SIM_FIELDS, SimSettings, Suite,
    TlsSettings, VerifierKind, is_service,
};
pub use summary::{Summary, check};
pub use values::{
    Difference, ImportMeta, ImportedEnclave, RecordMeta, RecordedHop, Scope, differences, file_and_name,
    render_imported, render_recorded, render_recorded_path, signature_file,
};
pub use words::is_name;
