//! The bodies of the fuzz targets.

mod targets;

pub use targets::*;
