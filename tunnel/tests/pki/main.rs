//! Routes with certificates of an ordinary PKI, by the real process, against stock peers.

mod openssl;
mod renewal;
mod rustls_peers;
mod support;
