//! Appraisal beside the byte path: on the blocking pool, with a deadline, and remembered while it holds.
//!
//! What is at hand is tried first. Collateral that is missing is waited for, within the same deadline, and then it is
//! tried once more; what cannot be had in time is a refusal.

mod missing;
mod remember;

pub use remember::{RememberingAppraiser, Unlisted};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use inclavared_attest::appraise::{AppraisalError, Appraise, Appraised};
use inclavared_attest::certificate::PeerCertificate;
use inclavared_attest::evidence::{Endorsements, Evidence, EvidenceTag, Quoted};
use inclavared_attest::path::{
    Challenge, Counters, Expects, FirstLeg, MAX_HOPS, Nonce, Path, PathError, PathInput, TrailerLimits, join_path,
    verify_path,
};
use inclavared_attest::policy::{HopPlace, PathEnd, Policy, Verdict};
use inclavared_attest::{EvidenceDigest, KeyId, LegId, OpenDigest, Reason, Timestamp};

use inclavared_collateral::CollateralService;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::error::{Error, Refused};
use crate::metrics::AppraisalCounters;
use crate::trust::blocking::BlockingPool;
use crate::trust::known_evidence::{Held, Seen};

/// Appraises off the workers. What rests on remembered appraisals alone is done at once: it takes a few signatures, and
/// handing it to another thread and back takes longer.
#[derive(Clone)]
pub struct Verifier {
    pub appraiser: Arc<dyn Appraise>,
    /// Fills the book that the appraiser reads.
    pub collateral: Arc<CollateralService>,
    pub pool: BlockingPool,
    /// For one appraisal, the collateral that it may have to wait for included.
    pub limit: Duration,
    /// Of all appraisals, and of what is remembered.
    pub counters: Arc<AppraisalCounters>,
    /// Of those that are appraised again, so many at once: new ones do not wait behind them.
    pub turns: Arc<Semaphore>,
    /// What may be named in `have`.
    pub seen: Arc<Seen>,
}

/// The permits of [`Verifier::turns`].
pub const APPRAISED_AGAIN: usize = 2;

/// A peer that was appraised and admitted as the only hop on its side.
#[derive(Debug)]
pub struct Admitted {
    pub evidence: Evidence,
    pub appraised: Arc<Appraised>,
    pub verdict: Verdict,
}

impl Verifier {
    /// Whether a peer's evidence is genuine. What is demanded of it besides is judged with its path.
    pub async fn genuine(&self, peer: &PeerCertificate) -> Result<Evidence, Error> {
        let evidence = peer.evidence.clone().ok_or(Refused::NoEvidence)?;
        if let Some((known, _)) = self.appraiser.recall(&evidence.digest(), Timestamp::now()) {
            // The one that is held already; they are the same.
            return Ok(known.into_evidence().unwrap_or(evidence));
        }
        let (appraiser, endorsements) = (Arc::clone(&self.appraiser), peer.endorsements.clone());
        let subject = Arc::new(evidence);
        let judged = Arc::clone(&subject);
        let judge = move || {
            appraise_with(&*appraiser, &judged, endorsements.as_ref(), Timestamp::now())?;
            Ok(())
        };
        let evidence = Arc::clone(&subject);
        self.judge("appraisal", judge, move || missing::needs_of(&evidence)).await?;
        Ok(Arc::unwrap_or_clone(subject))
    }

    /// Appraises a peer that stands alone: a client, or a server that does not speak of what is behind it.
    pub async fn admit(&self, peer: &PeerCertificate, policy: &Arc<Policy>, legacy: bool) -> Result<Admitted, Error> {
        let evidence = Arc::new(peer.evidence.clone().ok_or(Refused::NoEvidence)?);
        let (appraiser, policy) = (Arc::clone(&self.appraiser), Arc::clone(policy));
        let (endorsements, subject) = (peer.endorsements.clone(), Arc::clone(&evidence));
        let known = appraiser.recall(&evidence.digest(), Timestamp::now()).is_some();
        let judge = move || {
            let now = Timestamp::now();
            let appraised = appraise_with(&*appraiser, &subject, endorsements.as_ref(), now)?;
            let role = subject.claims().hop().map_or("", |hop| hop.chain_role.as_str()).to_owned();
            let place = HopPlace { position: 1, last: true, role: &role };
            let verdict = policy.admit(&place, &appraised, subject.claims(), now)?;
            if legacy {
                policy.admit_shape(&[&role], &PathEnd::Legacy)?;
            }
            Ok((appraised, verdict))
        };
        let (appraised, verdict) = if known {
            judge()?
        } else {
            let subject = Arc::clone(&evidence);
            self.judge("appraisal", judge, move || missing::needs_of(&subject)).await?
        };
        Ok(Admitted { evidence: Arc::unwrap_or_clone(evidence), appraised, verdict })
    }

    /// Verifies a whole path.
    pub async fn path(&self, check: PathCheck) -> Result<Path, Error> {
        let remembered = OnlyRemembered { appraiser: &*self.appraiser, missed: AtomicBool::new(false) };
        let path = check.run(&remembered);
        if !remembered.missed.into_inner() {
            return Ok(path?);
        }
        let appraiser = Arc::clone(&self.appraiser);
        let check = Arc::new(check);
        let trailer = Arc::clone(&check);
        let judge = move || check.run(&*appraiser).map_err(|error| Refused::Path(Box::new(error)));
        let needs = move || missing::needs_of_trailer(&trailer.trailer, &trailer.limits(), &trailer.context.held);
        self.judge("verifying a path", judge, needs).await
    }

    /// Judges evidence that was judged before.
    pub(crate) async fn again(
        &self,
        evidence: Arc<Evidence>,
        judge: impl Fn() -> Result<(), Refused> + Send + Sync + 'static,
    ) -> Result<(), Error> {
        self.judge("appraisal", judge, move || missing::needs_of(&evidence)).await
    }

    /// Rises when collateral has taken the place of other collateral.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.collateral.changes()
    }

    /// Judges with what is at hand, and once more if collateral was missing that could be had. `needs` says which.
    async fn judge<T: Send + 'static>(
        &self,
        what: &'static str,
        judge: impl Fn() -> Result<T, Refused> + Send + Sync + 'static,
        needs: impl FnOnce() -> missing::Needs + Send + 'static,
    ) -> Result<T, Error> {
        let end = Instant::now() + self.limit;
        let judge = Arc::new(judge);
        let first = Arc::clone(&judge);
        let tried = move || {
            first().map_err(|refused| match missing::is_for_want_of_collateral(&refused) {
                true => (Box::new(refused), needs()),
                false => (Box::new(refused), missing::Needs::new()),
            })
        };
        let (refused, needs) = match self.pool.run(what, self.limit, tried).await? {
            Ok(judged) => return Ok(judged),
            Err(refused) => refused,
        };
        if needs.is_empty() {
            return Err((*refused).into());
        }
        let fetched = missing::fetch(&self.collateral, needs, self.limit, end).await;
        fetched.map_err(|source| Error::Collateral { hop: refused.hop(), source })?;
        let left = end.saturating_duration_since(Instant::now());
        let judged = self.pool.run(what, left, move || judge()).await;
        Ok(judged.map_err(|error| self.in_full(error))??)
    }

    /// A deadline as it is configured, not what was left of it.
    fn in_full(&self, error: Error) -> Error {
        match error {
            Error::Deadline { what, .. } => Error::Deadline { what, limit: self.limit },
            other => other,
        }
    }
}

/// Never appraises: it says whether it would have had to.
struct OnlyRemembered<'a> {
    appraiser: &'a dyn Appraise,
    missed: AtomicBool,
}

impl Appraise for OnlyRemembered<'_> {
    fn appraise(&self, evidence: &Quoted, now: Timestamp) -> Result<Arc<Appraised>, AppraisalError> {
        let known = self.recall(&evidence.digest(), now);
        known.map(|(_, appraised)| appraised).ok_or_else(|| {
            self.missed.store(true, Ordering::Relaxed);
            AppraisalError {
                reason: Reason::Internal,
                what: "remembered appraisal".to_owned(),
                expected: "one".to_owned(),
                found: "none".to_owned(),
            }
        })
    }

    fn recall(&self, evidence: &EvidenceDigest, now: Timestamp) -> Option<(Quoted, Arc<Appraised>)> {
        self.appraiser.recall(evidence, now)
    }
}

/// Appraises with what is at hand. Where certificates are missing or have expired, those that the peer sent are learnt
/// first: a peer that is known costs one appraisal, and one that brings nothing useful is refused as it would have been.
fn appraise_with(
    appraiser: &dyn Appraise,
    evidence: &Quoted,
    endorsements: Option<&Endorsements>,
    now: Timestamp,
) -> Result<Arc<Appraised>, AppraisalError> {
    match (appraiser.appraise(evidence, now), endorsements) {
        (Err(refused), Some(sent)) if matches!(refused.reason, Reason::Collateral | Reason::Expired) => {
            // Why its certificates do not do says more than that there were none.
            appraiser.learn_endorsements(evidence, sent, now)?;
            appraiser.appraise(evidence, now)
        }
        (result, _) => result,
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// What a path is verified against: fixed when its OPEN was sent.
#[derive(Clone, Debug)]
pub struct PathContext {
    pub policy: Arc<Policy>,
    pub nonce: Nonce,
    pub leg: LegId,
    pub spki: Vec<u8>,
    pub evidence: Evidence,
    pub own: Option<KeyId>,
    pub open: OpenDigest,
    /// What that OPEN said that we have, until the PREVIEW is verified.
    pub held: Held,
}

/// One trailer to be verified, with all that it takes, owned.
#[derive(Clone, Debug)]
pub struct PathCheck {
    pub context: PathContext,
    pub trailer: Bytes,
    pub due: Due,
}

/// Which trailer is due.
#[derive(Clone, Debug)]
pub enum Due {
    Preview,
    /// The path behind a client.
    Forward,
    /// `path` is the newest state of it.
    Refresh {
        path: Arc<Path>,
        challenge: Option<Challenge>,
    },
    Final {
        path: Arc<Path>,
        counters: Counters,
    },
}

impl PathCheck {
    fn limits(&self) -> TrailerLimits {
        TrailerLimits { hops: self.context.policy.shape.max_hops, ..TrailerLimits::DEFAULT }
    }

    /// Whether the records join; what they speak of is not judged, and the policy not asked.
    pub fn join(&self) -> Result<Path, PathError> {
        self.input(TrailerLimits { hops: MAX_HOPS, ..TrailerLimits::DEFAULT }, join_path)
    }

    fn run(&self, appraiser: &dyn Appraise) -> Result<Path, PathError> {
        self.input(self.limits(), |input| verify_path(input, &self.context.policy, appraiser))
    }

    fn input<T>(&self, limits: TrailerLimits, judge: impl FnOnce(&PathInput<'_>) -> T) -> T {
        let PathContext { nonce, leg, spki, evidence, own, open, held, .. } = &self.context;
        let expects = match &self.due {
            Due::Preview => Expects::Preview,
            Due::Forward => Expects::Forward,
            Due::Refresh { path, challenge } => Expects::Refresh { path, challenge: challenge.as_ref() },
            Due::Final { path, counters } => Expects::Final { path, counters: *counters },
        };
        judge(&PathInput {
            trailer: &self.trailer,
            limits,
            expects,
            nonce: *nonce,
            leg: FirstLeg { id: *leg, spki, evidence: evidence.blob() },
            own: *own,
            open: *open,
            now: Timestamp::now(),
            known: &|name| held.blob(name),
        })
    }
}

/// The kinds of evidence that are accepted at all, beside whatever a policy says.
#[derive(Clone, Debug)]
pub struct AcceptedTags(pub Vec<EvidenceTag>);

/// Refuses evidence that the verifier in the configuration is not named for, before it is appraised.
pub struct NamedVerifier<A> {
    pub appraiser: A,
    /// The verifier's name, for the error.
    pub name: &'static str,
    pub accepts: AcceptedTags,
}

impl<A> NamedVerifier<A> {
    fn check_kind(&self, evidence: &Quoted) -> Result<(), AppraisalError> {
        if self.accepts.0.contains(&evidence.tag()) {
            return Ok(());
        }
        let (found, reason) = match evidence.tag() {
            EvidenceTag::Simulated => ("simulated evidence", Reason::Simulated),
            EvidenceTag::Null => ("no evidence, only claims", Reason::Null),
            EvidenceTag::IntelQuote => ("an Intel quote", Reason::Tee),
            EvidenceTag::SevSnp => ("an SEV-SNP report", Reason::Tee),
        };
        Err(AppraisalError {
            reason,
            what: "kind of evidence".to_owned(),
            expected: format!("evidence for the verifier `{}`", self.name),
            found: found.to_owned(),
        })
    }
}

impl<A: Appraise> Appraise for NamedVerifier<A> {
    fn appraise(&self, evidence: &Quoted, now: Timestamp) -> Result<Arc<Appraised>, AppraisalError> {
        self.check_kind(evidence)?;
        self.appraiser.appraise(evidence, now)
    }

    fn learn_endorsements(
        &self,
        evidence: &Quoted,
        endorsements: &Endorsements,
        now: Timestamp,
    ) -> Result<(), AppraisalError> {
        self.check_kind(evidence)?;
        self.appraiser.learn_endorsements(evidence, endorsements, now)
    }
}

#[cfg(test)]
mod tests;
