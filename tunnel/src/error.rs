//! What can go wrong with a connection, grouped by whose fault it is.
//!
//! `Display` prints one level, `source()` the next; `reason` is the label in metrics and the code on the wire.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use inclavared_attest::Reason;
use inclavared_attest::appraise::AppraisalError;
use inclavared_attest::attester::AttesterError;
use inclavared_attest::certificate::CertificateError;
use inclavared_attest::evidence::EvidenceError;
use inclavared_attest::path::{Abort, ClientProofError, Fault, OpenRefusal, PathError, WireError};
use inclavared_attest::policy::PolicyError;

use inclavared_collateral::CollateralError;
use inclavared_wire::frame::FrameError;
use inclavared_wire::tls::{Cause, RecordError, TlsError};
use rustls::AlertDescription;

/// Why a connection ended other than it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    // The peer's.
    #[error(transparent)]
    Peer(#[from] PeerMisbehaved),
    /// The peer is what it is; our policy does not take it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A FAULT that a peer sent, from where it says.
    #[error("the hop at distance {} reports: {}", .0.distance, describe(.0))]
    Fault(Fault),

    /// What was accepted once, and is refused under collateral that came later.
    #[error("{who} does not stand up to newer collateral")]
    Reappraised {
        who: String,
        #[source]
        source: Box<Refused>,
    },

    // Ours, or the machine's.
    #[error("{what} took longer than {limit:?}")]
    Deadline { what: &'static str, limit: Duration },
    #[error("{what}: the limit of {limit} is reached")]
    Overload { what: &'static str, limit: usize },
    #[error("{what}: the limit of {limit} is reached, and this was the oldest of the busiest source")]
    Displaced { what: &'static str, limit: usize },
    #[error("the process is shutting down")]
    Shutdown,
    #[error("no byte for {0:?}")]
    Idle(Duration),
    #[error("one direction ended, and no byte came from the other for {0:?}")]
    HalfClosed(Duration),
    #[error("a write took no byte for {0:?}")]
    WriteStall(Duration),
    #[error("the evidence of the path is older than the policy allows")]
    PathAge,
    #[error("no fresh quote over this leg")]
    Quote(#[source] Arc<QuoteError>),
    /// Whoever asks for fresh quotes asks in vain.
    #[error("no fresh quote over this leg: nothing here makes any")]
    NeverQuotes,
    #[error("{0}")]
    Internal(String),

    // The operator's.
    /// What the evidence is worth is not known without it.
    #[error("the evidence{} cannot be judged", hop.map(|hop| format!(" of hop {hop}")).unwrap_or_default())]
    Collateral {
        hop: Option<u8>,
        #[source]
        source: CollateralError,
    },
    #[error("cannot reach {target}")]
    Unreachable {
        target: String,
        #[source]
        source: io::Error,
    },
}

/// A peer that broke TLS, the protocol, or the connection.
#[derive(Debug, thiserror::Error)]
pub enum PeerMisbehaved {
    #[error("TLS handshake")]
    Tls(#[source] TlsError),
    #[error("TLS record")]
    Record(#[source] RecordError),
    #[error("the peer sent the alert {0:?}")]
    Alert(AlertDescription),
    #[error("the connection broke")]
    Io(#[source] io::Error),
    #[error("the connection ended before its END: what came is cut short")]
    Truncated,
    #[error("the peer closed the connection")]
    Closed,
    #[error("the client closed the leg and asked for nothing")]
    NeverAsked,
    #[error("the client left: {}{}", .0.code, .0.text.as_deref().map(|text| format!(": {text}")).unwrap_or_default())]
    Aborted(Abort),
    #[error("the path ended without its receipt")]
    Unreceipted,
    #[error("the path ended without the fresh quotes that `key+audit` asks for")]
    Unaudited,
    #[error(transparent)]
    Open(OpenRefusal),
    #[error(transparent)]
    ClientProof(ClientProofError),
    #[error("START shows no path behind the client, and this route judges it")]
    NoForward,
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error("a {found} where {expected} was to come")]
    Order { expected: &'static str, found: String },
    #[error("{0}")]
    Protocol(String),
    #[error("the peer offers no `inclavared/1`, and this route says `legacy = \"deny\"`")]
    LegacyDenied,
}

/// Evidence, or a path, that was judged and not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("the peer shows no evidence in its certificate")]
    NoEvidence,
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Appraisal(#[from] AppraisalError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Path(#[from] Box<PathError>),
    /// The path behind a client: whoever asks for what is served here.
    #[error("the path behind the client")]
    Behind(#[source] Box<PathError>),
}

/// Why there is no quote. Never the peer's matter.
#[derive(Debug, thiserror::Error)]
pub enum QuoteError {
    #[error("no quote could be had")]
    Attester(#[source] AttesterError),
    #[error("the attester's quote is not one over our claims")]
    Evidence(#[source] EvidenceError),
}

impl Error {
    pub fn peer_io(error: io::Error) -> Self {
        PeerMisbehaved::Io(error).into()
    }

    /// A record that could not be sealed: never the peer's doing.
    pub fn seal(error: RecordError) -> Self {
        Self::Internal(format!("sealing a record: {error}"))
    }

    pub fn reason(&self) -> Reason {
        match self {
            Self::Peer(error) => error.reason(),
            Self::Refused(error) => error.reason(),
            Self::Reappraised { source, .. } => source.reason(),
            Self::Collateral { source, .. } => source.reason(),
            Self::Fault(fault) => fault.code,
            Self::Deadline { .. } => Reason::Deadline,
            Self::Overload { .. } | Self::Displaced { .. } => Reason::Overload,
            Self::Shutdown => Reason::Shutdown,
            Self::Idle(_) | Self::HalfClosed(_) | Self::WriteStall(_) => Reason::Idle,
            Self::PathAge => Reason::PathAge,
            Self::Internal(_) => Reason::Internal,
            // What was asked for cannot be had here, whatever the reason.
            Self::Quote(_) | Self::NeverQuotes => Reason::BindingLevel,
            Self::Unreachable { .. } => Reason::Unreachable,
        }
    }

    /// Evidence, or a path, that does not do: nothing is broken.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Collateral { .. } | Self::Reappraised { .. })
    }

    /// Whether the peer at fault has said so itself, or cannot be told any more.
    pub fn is_peers_last_word(&self) -> bool {
        matches!(
            self,
            Self::Fault(_)
                | Self::Peer(
                    PeerMisbehaved::Io(_)
                        | PeerMisbehaved::Alert(_)
                        | PeerMisbehaved::NeverAsked
                        | PeerMisbehaved::Aborted(_)
                )
        )
    }

    /// What the other side of the path is told: our own finding, or a peer's one hop further away.
    ///
    /// `disclose` says whether it may learn what was expected: that gives away reference values.
    pub fn to_fault(&self, disclose: bool) -> Fault {
        let fault = match self {
            Self::Fault(fault) => fault.clone().relayed(),
            Self::Refused(refused) => refused.fault(),
            Self::Reappraised { source, .. } => source.fault(),
            // Which services are asked is nobody's business.
            Self::Collateral { .. } => Fault::new(self.reason(), &self.to_string()),
            Self::Quote(_) => Fault::new(self.reason(), &self.to_string()),
            Self::Internal(_) => Fault::new(self.reason(), "internal error"),
            _ => Fault::new(self.reason(), &self.one_line()),
        };
        if disclose { fault } else { fault.without_expected() }
    }

    /// The whole chain of causes on one line.
    pub fn one_line(&self) -> String {
        let mut line = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            let text = cause.to_string();
            if !line.ends_with(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            source = cause.source();
        }
        line
    }
}

impl PeerMisbehaved {
    /// The peer is not there any more, and has not said why.
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Alert(_) | Self::Truncated | Self::Unreceipted | Self::Closed)
    }

    pub fn reason(&self) -> Reason {
        match self {
            Self::Tls(error) => reason_of(error.cause()),
            Self::Record(_) | Self::Alert(_) => Reason::Tls,
            Self::Io(error) if error.kind() == io::ErrorKind::ConnectionReset => Reason::Reset,
            Self::Io(_) | Self::Truncated | Self::Unreceipted => Reason::Truncated,
            Self::Unaudited => Reason::BindingLevel,
            Self::Closed | Self::NeverAsked | Self::Aborted(_) => Reason::Cancelled,
            Self::Frame(_) | Self::Wire(_) | Self::Order { .. } | Self::Protocol(_) => Reason::Protocol,
            Self::Open(error) => error.reason(),
            Self::ClientProof(error) => error.reason(),
            Self::NoForward => Reason::PathForm,
            Self::LegacyDenied => Reason::LegacyDenied,
        }
    }
}

impl Refused {
    pub fn reason(&self) -> Reason {
        match self {
            Self::NoEvidence => Reason::NoEvidence,
            Self::Certificate(error) => error.reason(),
            Self::Appraisal(error) => error.reason(),
            Self::Policy(error) => error.reason(),
            Self::Path(error) | Self::Behind(error) => error.reason(),
        }
    }

    /// The hop of a path that is spoken of.
    pub fn hop(&self) -> Option<u8> {
        match self {
            Self::Path(error) => error.hop,
            _ => None,
        }
    }

    /// As the other side of the path is told: the check by name, what was expected and found apart from it.
    fn fault(&self) -> Fault {
        match self {
            Self::NoEvidence | Self::Certificate(_) => Fault::new(self.reason(), &self.to_string()),
            Self::Appraisal(e) => Fault::new(e.reason(), &e.what).with_values(&e.expected, &e.found),
            Self::Policy(e) => Fault::new(e.reason(), &e.what).with_values(&e.expected, &e.found),
            Self::Path(e) => Fault::from(&**e),
            Self::Behind(e) => e.behind_the_client(),
        }
    }
}

impl From<PathError> for Error {
    fn from(error: PathError) -> Self {
        Refused::Path(Box::new(error)).into()
    }
}

impl From<FrameError> for Error {
    fn from(error: FrameError) -> Self {
        PeerMisbehaved::Frame(error).into()
    }
}

impl From<WireError> for Error {
    fn from(error: WireError) -> Self {
        PeerMisbehaved::Wire(error).into()
    }
}

fn reason_of(cause: Cause) -> Reason {
    match cause {
        Cause::Peer => Reason::Tls,
        Cause::Closed => Reason::Truncated,
        Cause::Lost => Reason::Reset,
        Cause::Own => Reason::Internal,
    }
}

fn describe(fault: &Fault) -> String {
    let mut text = format!("{}: {}", fault.code, fault.text.as_deref().unwrap_or("no details"));
    if let Some(hop) = fault.hop {
        text.push_str(&format!(" (of hop {hop} below it)"));
    }
    if let Some(expected) = &fault.expected {
        text.push_str(&format!(", expected {expected}"));
    }
    if let Some(found) = &fault.found {
        text.push_str(&format!(", found {found}"));
    }
    text
}
