//! Routes and policies in TOML: parsed once into what they mean, with every mistake reported at once.
//!
//! Owns the form of the configuration and its defaults. It opens nothing but the file that it is asked to read
//! ([`load`], [`check`], [`load_policy`]) and the files of reference values, keys and authorities that this one names.
//! It has no sockets, no runtime and no clock.
//!
//! A configuration becomes a [`Config`], in which nothing is unset that has to be set:
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
//! assert_eq!(config.limits.connections, 10_000);
//! # Ok::<(), inclavared_config::Errors>(())
//! ```
//!
//! Or it becomes [`Errors`], which name the file, the line, the key and the remedy of every mistake in it:
//!
//! ```
//! let text = r#"
//! workers = 0
//! [[route]]
//! name = "a"
//! listen = "localhost:1"
//! xfer = "b:2"
//! upstream = "attested"
//! "#;
//! let errors = inclavared_config::parse("inclavared.toml", text).unwrap_err();
//! let told: Vec<_> = errors.mistakes().iter().map(|one| (one.line, one.key.as_str())).collect();
//! assert_eq!(told, [(Some(2), "workers"), (Some(3), "route[1].downstream"), (Some(5), "route[1].listen")]);
//! assert!(errors.to_string().starts_with("inclavared.toml:2: workers: 0 is out of range; write 1 to 1024"));
//! ```
//!
//! A policy can be read by itself, from a configuration or from a file of reference values. Two of them can be
//! compared:
//!
//! ```
//! use inclavared_config::{Scope, differences, parse_policy};
//!
//! let policy = |version: u8| {
//!     let text = format!(
//!         r#"
//!         [policy.p]
//!         identity = "any-genuine"
//!         [[policy.p.hop]]
//!         mrsigner = "{}"
//!         isvprodid = 1
//!         isvsvn_min = {version}
//!         "#,
//!         "11".repeat(32)
//!     );
//!     parse_policy("values.toml", &text, Some("p"))
//! };
//! let found = differences(&policy(1)?, &policy(2)?, Scope::Path);
//! assert_eq!((found[0].place.as_str(), found[0].key.as_str()), ("any hop", "isvsvn"));
//! # Ok::<(), inclavared_config::Errors>(())
//! ```

#![warn(missing_docs)]

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
    TlsSettings, VerifierKind,
};
pub use summary::{Summary, check};
pub use values::{
    Difference, ImportMeta, ImportedEnclave, RecordMeta, RecordedHop, Scope, differences, file_and_name,
    render_imported, render_recorded, render_recorded_path, signature_file,
};
pub use words::is_name;
