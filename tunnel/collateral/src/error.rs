//! Why collateral could not be had.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use inclavared_attest::appraise::snp::{AmdSetId, SnpRequest};
use inclavared_attest::appraise::{AppraisalError, CollateralId, Root};
use inclavared_attest::{Reason, Timestamp};

/// Why there is no collateral. One message names every service that was asked and what each of them did.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollateralError {
    // The services'.
    #[error("no collateral for {id} from any of {} services: {}", failures.len(), list(failures))]
    Services { id: String, failures: Arc<[EndpointFailure]> },
    #[error("no collateral for {id} within {limit:?}; it is still being fetched")]
    Deadline { id: SetId, limit: Duration },

    // The peer's, who says which collateral its evidence needs.
    #[error("no collateral for {id}: {found}, of which at most {limit} are admitted")]
    Limited { id: SetId, found: &'static str, limit: usize },

    // The operator's.
    #[error("no collateral for {id}: no service is configured for {root:?} collateral, and no bundle holds it")]
    NoService { root: Root, id: SetId },
    #[error("the collateral for {id} expired at {expired}, and no service is configured that has newer one")]
    Expired { id: SetId, expired: Timestamp },
    #[error(
        "no collateral for {id}: the host hides which chip it is, so that its peer has to bring the certificate of the key"
    )]
    HiddenChip { id: SetId },
    #[error("{0:?} is not among the roots of trust")]
    NoRoot(Root),

    // Ours.
    #[error("there is no collateral of the form {0}")]
    Unsupported(CollateralId),
    /// What was handed in: a bundle's set, a simulated platform's.
    #[error("collateral refused")]
    Refused(#[source] AppraisalError),
    #[error("collateral for {id} is older than what is known: {what}")]
    Rollback { id: SetId, what: String },
    #[error("the collateral service has stopped")]
    Stopped,
}

impl CollateralError {
    /// The metric label and the code on the wire.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Limited { .. } => Reason::Overload,
            Self::NoRoot(Root::Simulated) => Reason::Simulated,
            Self::Refused(error) => error.reason(),
            Self::Stopped => Reason::Shutdown,
            _ => Reason::Collateral,
        }
    }
}

/// What collateral is for, whoever made the TEE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetId {
    Intel(CollateralId),
    Amd(AmdSetId),
}

impl SetId {
    /// The likeliest set for a report.
    pub(super) fn of(request: &SnpRequest) -> Self {
        use inclavared_attest::appraise::snp::SnpProduct;
        let product = request.products.first().copied().unwrap_or(SnpProduct::Milan);
        Self::Amd(AmdSetId { product, key: request.key })
    }
}

impl From<CollateralId> for SetId {
    fn from(id: CollateralId) -> Self {
        Self::Intel(id)
    }
}

impl From<AmdSetId> for SetId {
    fn from(id: AmdSetId) -> Self {
        Self::Amd(id)
    }
}

impl fmt::Display for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intel(id) => id.fmt(f),
            Self::Amd(id) => id.fmt(f),
        }
    }
}

/// What one service did.
#[derive(Clone, Debug)]
pub struct EndpointFailure {
    pub endpoint: String,
    pub error: FetchError,
}

impl fmt::Display for EndpointFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.endpoint, self.error)
    }
}

/// Why one service gave no collateral.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    // The network's.
    #[error("{address}: {what}")]
    Connect { address: String, what: String },
    #[error("TLS with {address}: {what}")]
    Tls { address: String, what: String },
    #[error("{part}: no answer within {limit:?}")]
    Deadline { part: &'static str, limit: Duration },
    #[error("{part}: {what}")]
    Http { part: &'static str, what: String },

    // The service's.
    #[error("{part}: status {status}")]
    Status { part: &'static str, status: u16 },
    /// It asked to be left alone (429 or 503 with Retry-After), or did so a short while ago.
    #[error("{part}: status {status}, to be asked again in {wait:?}")]
    Busy { part: &'static str, status: u16, wait: Duration },
    #[error("{part}: more than {limit} bytes")]
    TooLarge { part: &'static str, limit: usize },
    /// The answer is not of the form that the interface describes.
    #[error("{part}: {what}")]
    Form { part: &'static str, what: String },
    #[error("collateral for {found}")]
    OtherSet { found: CollateralId },
    /// A signature, a chain, a window: another root, something expired.
    #[error("{0}")]
    Refused(AppraisalError),
    #[error("rollback: {0}")]
    Rollback(String),

    // The operator's.
    #[error("plain http is spoken with this machine alone; use https, or allow it by name")]
    PlainHttp,
    #[error("{0}")]
    Trust(String),
}

fn list(failures: &[EndpointFailure]) -> String {
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
