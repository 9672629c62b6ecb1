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

mod address;
mod attestation;
mod bounds;
mod collateral;
mod compare;
mod config;
mod demands;
mod digest;
mod document;
mod duration;
mod flags;
mod hop_rule;
mod imported;
mod mistake;
mod name_rule;
mod pki;
mod policy;
mod recorded;
mod references;
mod route;
mod summary;
mod tls;

pub use address::{AddressError, Listen, Target};
pub use attestation::{Attestation, AttesterKind, KindError, SIM_FIELDS, SimSettings, VerifierKind};
pub use bounds::{Deadlines, Limits};
pub use collateral::{CollateralOptions, is_service};
pub use compare::{Difference, Scope, differences};
pub use config::{Config, IdentityFiles, LogFormat, LogSettings, load, parse};
pub use duration::parse_duration;
pub use flags::{FlagConfig, ServerFlagConfig};
pub use imported::{ImportMeta, ImportedEnclave, render_imported};
pub use mistake::{Errors, Mistake, Origin};
pub use pki::{CertificateFiles, PkiDownstream, PkiUpstream};
pub use policy::{GENUINE_ONLY, is_name, load_policy, parse_policy};
pub use recorded::{RecordMeta, RecordedHop, render_recorded, render_recorded_path};
pub use references::{file_and_name, signature_file};
pub use route::{Compat, Downstream, Legacy, ProxyProtocol, Route, Upstream, WarmLegs};
pub use summary::{Summary, check};
pub use tls::{Group, Suite, TlsSettings};
