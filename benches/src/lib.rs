//! Benches of the libraries and of the binaries.
