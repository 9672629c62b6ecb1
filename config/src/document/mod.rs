//! A TOML document, read so that every mistake in it is found, and how a mistake is told.
//!
//! Owns the walk over the document, the place and the remedy of each mistake, and durations as people write them. What
//! the keys mean is decided by the folders beside this one.

mod duration;
mod mistake;
mod nearest;
mod reader;

pub use duration::parse_duration;
pub(crate) use duration::show_duration;
pub use mistake::{Errors, Mistake, Origin};
pub(crate) use reader::{Table, Value, read, read_file};
