//! Files of reference values: how they are written from a path or from a signer's files, how a policy names and
//! trusts them, and what is different between two of them.
//!
//! Such a file is a document with policies; reading those is `policy`'s.

mod compare;
mod imported;
mod recorded;
mod references;

pub use compare::{Difference, Scope, differences};
pub use imported::{ImportMeta, ImportedEnclave, render_imported};
pub(crate) use recorded::read_recorded;
pub use recorded::{RecordMeta, RecordedHop, render_recorded, render_recorded_path};
pub(crate) use references::{ReadPolicy, References};
pub use references::{file_and_name, signature_file};
