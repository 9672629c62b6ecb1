//! Where a PCCS has its answers from.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use inclavared_attest::Timestamp;
use inclavared_attest::appraise::{Collateral, PckCa};

use super::freshness::Freshness;
use super::{AmdPart, Clock, CollateralError, FetchError, Part, PartAnswer};

/// Answers for one root of trust: parts of two roots never stand beside each other.
pub trait CollateralSource: Send + Sync {
    fn part(&self, part: Part) -> SourceFuture<'_, PartAnswer>;

    /// A part of what AMD's key service has: PEM for a chain, DER for the rest.
    fn amd(&self, _part: AmdPart) -> SourceFuture<'_, Bytes> {
        Box::pin(ready(Err(SourceError::NotFound)))
    }

    /// The PCK certificate of a platform. A cache of collateral for verifiers has none.
    fn pck(&self, _request: PckRequest) -> SourceFuture<'_, PckAnswer> {
        Box::pin(ready(Err(SourceError::NotFound)))
    }
}

pub type SourceFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, SourceError>> + Send + 'a>>;

/// What a platform says of itself when it asks for its PCK certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PckRequest {
    pub encrypted_ppid: Vec<u8>,
    pub cpu_svn: [u8; 16],
    pub pce_svn: u16,
    pub pce_id: [u8; 2],
    pub qe_id: Option<[u8; 16]>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PckAnswer {
    /// PEM, as are the CAs above it.
    pub certificate: String,
    pub issuer_chain: String,
    /// The TCB that the certificate is for.
    pub cpu_svn: [u8; 16],
    pub pce_svn: u16,
    pub fmspc: [u8; 6],
    pub ca: PckCa,
}

/// Why a source has no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SourceError {
    #[error("not here")]
    NotFound,
    /// The service behind this one.
    #[error("{0}")]
    Unavailable(String),
    #[error("too much is asked for")]
    Busy,
}

impl From<CollateralError> for SourceError {
    fn from(error: CollateralError) -> Self {
        match &error {
            CollateralError::Services { failures, .. }
                if failures.iter().all(|f| matches!(f.error, FetchError::Status { status: 404, .. })) =>
            {
                Self::NotFound
            }
            CollateralError::NoService { .. } | CollateralError::NoRoot(_) | CollateralError::Expired { .. } => {
                Self::NotFound
            }
            CollateralError::Limited { .. } => Self::Busy,
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

/// Sets that are at hand: a bundle's. What has expired is not handed out.
#[derive(Debug)]
pub struct StaticSource {
    sets: Vec<Arc<Collateral>>,
    clock: Clock,
}

impl StaticSource {
    /// Every set has to belong to the same root.
    pub fn new(sets: Vec<Arc<Collateral>>, clock: Clock) -> Self {
        Self { sets, clock }
    }
}

impl CollateralSource for StaticSource {
    fn part(&self, part: Part) -> SourceFuture<'_, PartAnswer> {
        Box::pin(ready(part_of(&self.sets, part, self.clock.now()).ok_or(SourceError::NotFound)))
    }
}

/// Certificates in PEM, one after the other.
pub(super) fn pem_chain(ders: &[&[u8]]) -> String {
    use base64::Engine as _;
    let pem = |der: &&[u8]| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    };
    ders.iter().map(pem).collect()
}

/// A part from the set that has it newest. Of two that are as new it is always the same one: to whoever keeps it, another
/// would look like a change.
pub(super) fn part_of<'a>(
    sets: impl IntoIterator<Item = &'a Arc<Collateral>>,
    part: Part,
    now: Timestamp,
) -> Option<PartAnswer> {
    let fits = |set: &Collateral| match part {
        Part::PckCrl(ca) => set.id().ca == ca,
        Part::TcbInfo { tee, fmspc } => set.id().tee == tee && set.id().fmspc == fmspc,
        Part::QeIdentity(tee) => set.id().tee == tee,
        Part::RootCaCrl => true,
    };
    let fitting = sets.into_iter().filter(|set| set.expires() > now && fits(set));
    let set = fitting.max_by_key(|set| (Freshness::of(set).age(part), set.digest()))?.as_set();
    let answer = |body: &[u8], signature: &[u8], chain: &str| PartAnswer {
        body: Bytes::copy_from_slice(body),
        signature: signature.to_vec(),
        issuer_chain: chain.to_owned(),
    };
    Some(match part {
        Part::PckCrl(_) => answer(&set.pck_crl, &[], &set.pck_crl_issuer_chain),
        Part::TcbInfo { .. } => answer(set.tcb_info.as_bytes(), &set.tcb_info_signature, &set.tcb_info_issuer_chain),
        Part::QeIdentity(_) => {
            answer(set.qe_identity.as_bytes(), &set.qe_identity_signature, &set.qe_identity_issuer_chain)
        }
        Part::RootCaCrl => answer(&set.root_ca_crl, &[], ""),
    })
}

impl fmt::Debug for dyn CollateralSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CollateralSource")
    }
}
