//! The relay under attack: every way to close, hand-written peers, death in mid-stream, thousands of seeded streams,
//! and what a connection holds while it is idle. Over real sockets, through real processes in this one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // what a helper of a test cannot do fails the test
#![allow(clippy::disallowed_methods)] // the plain peers are threads, and a pause is what they test

mod closing;
mod cut;
mod frames;
mod memory;
mod peers;
mod stalls;
mod states;
mod streams;
mod world;
