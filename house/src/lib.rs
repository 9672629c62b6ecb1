//! What the tests of this folder read the tree with: which module imports which, and the table that says who may.
//!
//! Owns a reader of Rust source that knows modules, `use` declarations and paths, and nothing else of the language. It
//! is no compiler: it does not see what types and macros bring in without naming it. It has no dependencies, so that
//! the rules of the tree rest on nothing that the rules are about.

#![warn(missing_docs)]

mod circles;
mod module;
mod rooms;
mod table;
mod text;
mod tokens;
mod tree;

pub use circles::circles;
pub use rooms::{Rooms, judge};
pub use table::{Row, TableError, tables};
pub use text::{Cited, citations, prose, root, tracked};
pub use tree::{Import, Tree};
