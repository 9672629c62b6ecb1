//! TLS 1.3 over a buffer of ours: rustls makes the handshake, and a small record layer takes over after it.
//!
//! Why not rustls to the end: its connection copies each payload twice, and a relay that opens a record and seals
//! it for another leg where it lies does not need to. So the handshake, the certificates, and the alerts of the
//! handshake stay rustls'; when it is done, its secrets are handed over through the interfaces made for kernel TLS and
//! for key logs, and [`Opener`] and [`Sealer`] protect application data *in place*.
//!
//! | module | owns |
//! |---|---|
//! | `client_hello` | what a client offers, read before a configuration is chosen |
//! | `handshake` | [`accept`] and [`connect`]: rustls' unbuffered connection, one record at a time |
//! | `exporter` | [`Exporter`]: RFC 8446 section 7.5 |
//! | `secret` | one secret and what is derived from it: RFC 8446 section 7.1 |
//! | `aead` | keys, nonces, and the next key after a KeyUpdate |
//! | `open`, `content` | [`Opener`]: records in, and what may come after a handshake |
//! | `seal` | [`Sealer`]: records out, KeyUpdates, alerts |
//!
//! What it does not own: sockets and their closing, deadlines, buffers and their pooling, appraisal. TLS 1.2,
//! resumption, tickets and early data are off, whatever the configuration handed in says.

mod aead;
mod client_hello;
mod content;
mod error;
mod exporter;
mod handshake;
mod open;
mod record;
mod seal;
mod secret;

pub use client_hello::{
    ClientHello, ClientHelloError, ClientHelloReader, MAX_CLIENT_HELLO, NotTls, parse_client_hello, read_client_hello,
};
pub use content::fuzz_content;
pub use error::{Cause, TlsError};
pub use exporter::Exporter;
pub use handshake::{Accepting, Established, MAX_UNREAD, Next, accept, connect, drain};
pub use open::Opener;
pub use record::{Content, MAX_PLAINTEXT, MAX_RECORD, Opened, RecordError};
pub use seal::Sealer;
