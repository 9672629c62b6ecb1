//! The real programs against each other, and against clients and servers that are not ours: real sockets, real files.
//!
//! One scenario a file. `harness` starts the programs, `program` watches over one of them, `stream` has the plain ends.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod five;
mod harness;
mod program;
mod protocol;
mod stream;

mod abuse;
mod addresses;
mod behind;
mod behind_lies;
mod bottom;
mod chains;
mod check;
mod command_lines;
mod deadlines;
mod demo;
mod downstream_away;
mod drain;
mod endings;
mod faults;
mod half_close;
mod have;
mod killed_hop;
mod limits;
mod loops;
mod metrics;
mod names;
mod no_evidence;
mod null_attester;
mod parallel_streams;
mod pccs;
mod proxy_protocol;
mod reach;
mod recorded_values;
mod resets;
mod revocation;
mod server_speaks_first;
mod sev_snp;
mod shapes;
mod simulated_is_not_genuine;
mod single_bytes;
mod stock_clients;
mod warm_legs;
