//! Why a handshake did not come to be.

use std::error::Error as StdError;
use std::io;

use rustls::CertificateError;

use super::client_hello::{ClientHelloError, NotTls};
use super::record::RecordError;

/// Why a session did not come to be, or why it ended. Where an alert could be sent, it has been.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    // The peer's fault.
    /// What came is not TLS at all. Nothing was answered.
    #[error("not TLS: {0}")]
    NotTls(NotTls),
    /// The first message could not be read.
    #[error("ClientHello refused")]
    ClientHello(#[source] ClientHelloError),
    /// The peer connected and left without a word, as health checks and port scans do.
    #[error("closed by the peer before its first byte")]
    ClosedAtOnce,
    /// The peer closed the connection before the handshake was done.
    #[error("closed by the peer during the handshake")]
    Closed,
    /// The messages of the peer would take more than so many bytes.
    #[error("the peer's handshake messages need more than {0} bytes of buffer")]
    TooLarge(usize),
    /// rustls ended the handshake: the peer's alert, its certificate, what it offers. The error of the configuration's own
    /// verifier is [`TlsError::refusal`].
    #[error("handshake failed")]
    Handshake(#[source] rustls::Error),
    /// What was agreed on is less than TLS 1.3 with a full handshake.
    #[error("the handshake ended with {0}, not with TLS 1.3 and full authentication")]
    NotFull(&'static str),
    /// A record after the handshake was not opened.
    #[error("after the handshake")]
    Record(#[from] RecordError),

    // The network's.
    /// The transport failed.
    #[error("connection lost during the handshake")]
    Io(#[source] io::Error),

    // Ours.
    /// The configuration keeps the secrets to itself, and the record layer needs them.
    #[error("the TLS configuration does not set enable_secret_extraction")]
    NoSecretExtraction,
    /// rustls makes no connection of this configuration.
    #[error("the TLS configuration cannot make a connection")]
    Configuration(#[source] rustls::Error),
    /// A mistake of this process.
    #[error("TLS: {0}")]
    Internal(&'static str),
}

/// Whose fault an error of a session is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The peer broke TLS, or refused ours.
    Peer,
    /// The peer closed the connection before the handshake was done.
    Closed,
    /// The transport failed.
    Lost,
    /// This process: its configuration, or a mistake in it.
    Own,
}

impl TlsError {
    /// Whose fault it is, in one word.
    pub fn cause(&self) -> Cause {
        match self {
            Self::NotTls(_) | Self::ClientHello(_) | Self::TooLarge(_) | Self::NotFull(_) => Cause::Peer,
            Self::ClosedAtOnce | Self::Closed => Cause::Closed,
            Self::Record(error) => error.cause(),
            Self::Handshake(rustls::Error::General(_)) => Cause::Own,
            Self::Handshake(_) => Cause::Peer,
            Self::Io(_) => Cause::Lost,
            Self::NoSecretExtraction | Self::Configuration(_) | Self::Internal(_) => Cause::Own,
        }
    }

    /// What the configuration's own certificate verifier said, if it was the one to refuse: the error that it put into
    /// [`CertificateError::Other`], to be downcast to its type.
    pub fn refusal(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        match self {
            Self::Handshake(rustls::Error::InvalidCertificate(CertificateError::Other(other))) => Some(&*other.0),
            Self::Handshake(rustls::Error::Other(other)) => Some(&*other.0),
            _ => None,
        }
    }
}

impl From<ClientHelloError> for TlsError {
    fn from(error: ClientHelloError) -> Self {
        match error {
            ClientHelloError::NotTls(what) => Self::NotTls(what),
            error => Self::ClientHello(error),
        }
    }
}

impl From<io::Error> for TlsError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
