//! What people and programs are told of a path: a table and JSON, a failure, a receipt, a file of reference values.
//!
//! Pure: values in, text out. Whatever a peer chose (roles, words of a FAULT) comes out as printable ASCII, so that it
//! cannot write on a terminal.

mod finding;
mod json;
mod offline;
mod outcome;
mod receipt;
mod recorded;
mod table;
#[cfg(test)]
mod testing;
mod text;
mod values;

pub use finding::{Finding, failure, failure_json};
pub use json::{json_line, json_pretty, path_json};
pub use offline::{offline_error, offline_verdict};
pub use outcome::{stream_json, stream_line, stream_status};
pub use receipt::{close_status, receipt_json, receipt_line};
pub use recorded::{Recording, recorded};
pub use table::success;
pub use values::{differences_json, differences_text, measured_json, measured_text};
