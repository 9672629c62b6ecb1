//! Appraisal beside the byte path: on the blocking pool, with a deadline, and remembered while it holds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use inclavared_attest::appraise::{AppraisalError, Appraise, Appraised};
use inclavared_attest::certificate::PeerCertificate;
use inclavared_attest::evidence::{Endorsements, Evidence, EvidenceTag};
use inclavared_attest::path::{
    Counters, Expects, FirstLeg, Nonce, Path, PathError, PathInput, TrailerLimits, no_known_blobs, verify_path,
};
use inclavared_attest::policy::{HopPlace, PathEnd, Policy, Verdict};
use inclavared_attest::{EvidenceDigest, KeyId, LegId, OpenDigest, Reason, Timestamp};

use crate::blocking::BlockingPool;
use crate::error::{Error, Refused};

/// PROTOCOL section 9: an acceptance is remembered for at most this long.
const REMEMBERED: Duration = Duration::from_secs(10 * 60);

/// Most pieces of evidence that are remembered; a peer can make as many as it likes.
const MOST_REMEMBERED: usize = 4096;

/// An appraiser that remembers what it has accepted. What it refuses is judged anew each time.
///
/// Nothing but the cryptographic appraisal of one blob of evidence is remembered, under that blob's hash: keys,
/// nonces, legs, signatures of records and policies are checked every time. It is made anew with its appraiser, so a
/// changed root or collateral never meets an old verdict.
pub struct RememberingAppraiser<A> {
    appraiser: A,
    accepted: Mutex<HashMap<EvidenceDigest, Remembered>>,
}

struct Remembered {
    evidence: Evidence,
    appraised: Arc<Appraised>,
    until: Timestamp,
}

impl<A: Appraise> RememberingAppraiser<A> {
    pub fn new(appraiser: A) -> Self {
        Self { appraiser, accepted: Mutex::default() }
    }

    fn remember(&self, evidence: &Evidence, appraised: &Arc<Appraised>, now: Timestamp) {
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        if accepted.len() >= MOST_REMEMBERED {
            accepted.retain(|_, r| now < r.until);
        }
        if accepted.len() < MOST_REMEMBERED {
            let until = appraised.expires.min(now.plus(REMEMBERED));
            let remembered = Remembered { evidence: evidence.clone(), appraised: Arc::clone(appraised), until };
            accepted.insert(evidence.digest(), remembered);
        }
    }
}

impl<A: Appraise> Appraise for RememberingAppraiser<A> {
    fn appraise(&self, evidence: &Evidence, now: Timestamp) -> Result<Arc<Appraised>, AppraisalError> {
        if let Some((_, appraised)) = self.recall(&evidence.digest(), now) {
            return Ok(appraised);
        }
        let appraised = self.appraiser.appraise(evidence, now)?;
        self.remember(evidence, &appraised, now);
        Ok(appraised)
    }

    fn recall(&self, evidence: &EvidenceDigest, now: Timestamp) -> Option<(Evidence, Arc<Appraised>)> {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.get(evidence).filter(|r| now < r.until).map(|r| (r.evidence.clone(), Arc::clone(&r.appraised)))
    }

    fn learn_endorsements(
        &self,
        evidence: &Evidence,
        endorsements: &Endorsements,
        now: Timestamp,
    ) -> Result<(), AppraisalError> {
        self.appraiser.learn_endorsements(evidence, endorsements, now)
    }
}

/// Appraises off the workers. What rests on remembered appraisals alone is done at once: it takes a few signatures, and
/// handing it to another thread and back takes longer.
#[derive(Clone)]
pub struct Verifier {
    pub appraiser: Arc<dyn Appraise>,
    pub pool: BlockingPool,
    pub limit: Duration,
}

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
            return Ok(known);
        }
        let (appraiser, endorsements) = (Arc::clone(&self.appraiser), peer.endorsements.clone());
        let appraise =
            move || appraise_with(&*appraiser, &evidence, endorsements.as_ref(), Timestamp::now()).map(|_| evidence);
        Ok(self.pool.run("appraisal", self.limit, appraise).await?.map_err(Refused::Appraisal)?)
    }

    /// Appraises a peer that stands alone: a client, or a server that does not speak of what is behind it.
    pub async fn admit(&self, peer: &PeerCertificate, policy: &Arc<Policy>, legacy: bool) -> Result<Admitted, Error> {
        let evidence = peer.evidence.clone().ok_or(Refused::NoEvidence)?;
        let (appraiser, policy) = (Arc::clone(&self.appraiser), Arc::clone(policy));
        let endorsements = peer.endorsements.clone();
        let known = appraiser.recall(&evidence.digest(), Timestamp::now()).is_some();
        let admit = move || -> Result<Admitted, Refused> {
            let now = Timestamp::now();
            let appraised = appraise_with(&*appraiser, &evidence, endorsements.as_ref(), now)?;
            let role = evidence.claims().hop().map_or("", |hop| hop.chain_role.as_str()).to_owned();
            let place = HopPlace { position: 1, last: true, role: &role };
            let verdict = policy.admit(&place, &appraised, evidence.claims(), now)?;
            if legacy {
                policy.admit_shape(&[&role], &PathEnd::Legacy)?;
            }
            Ok(Admitted { evidence, appraised, verdict })
        };
        if known {
            return Ok(admit()?);
        }
        Ok(self.pool.run("appraisal", self.limit, admit).await??)
    }

    /// Verifies a whole path.
    pub async fn path(&self, check: PathCheck) -> Result<Path, Error> {
        let remembered = OnlyRemembered { appraiser: &*self.appraiser, missed: AtomicBool::new(false) };
        let path = check.run(&remembered);
        if !remembered.missed.into_inner() {
            return Ok(path?);
        }
        let appraiser = Arc::clone(&self.appraiser);
        let path = self.pool.run("verifying a path", self.limit, move || check.run(&*appraiser)).await?;
        Ok(path?)
    }
}

/// Never appraises: it says whether it would have had to.
struct OnlyRemembered<'a> {
    appraiser: &'a dyn Appraise,
    missed: AtomicBool,
}

impl Appraise for OnlyRemembered<'_> {
    fn appraise(&self, evidence: &Evidence, now: Timestamp) -> Result<Arc<Appraised>, AppraisalError> {
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

    fn recall(&self, evidence: &EvidenceDigest, now: Timestamp) -> Option<(Evidence, Arc<Appraised>)> {
        self.appraiser.recall(evidence, now)
    }
}

/// Appraises with what is at hand. Where certificates are missing or have expired, those that the peer sent are learnt
/// first: a peer that is known costs one appraisal, and one that brings nothing useful is refused as it would have been.
fn appraise_with(
    appraiser: &dyn Appraise,
    evidence: &Evidence,
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
    Final { path: Arc<Path>, counters: Counters },
}

impl PathCheck {
    fn run(&self, appraiser: &dyn Appraise) -> Result<Path, PathError> {
        let PathContext { policy, nonce, leg, spki, evidence, own, open } = &self.context;
        let expects = match &self.due {
            Due::Preview => Expects::Preview,
            Due::Final { path, counters } => Expects::Final { path, counters: *counters },
        };
        let input = PathInput {
            trailer: &self.trailer,
            limits: TrailerLimits { hops: policy.shape.max_hops, ..TrailerLimits::DEFAULT },
            expects,
            nonce: *nonce,
            leg: FirstLeg { id: *leg, spki, evidence: evidence.blob() },
            own: *own,
            open: *open,
            now: Timestamp::now(),
            known: &no_known_blobs,
        };
        verify_path(&input, policy, appraiser)
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
    fn check_kind(&self, evidence: &Evidence) -> Result<(), AppraisalError> {
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
    fn appraise(&self, evidence: &Evidence, now: Timestamp) -> Result<Arc<Appraised>, AppraisalError> {
        self.check_kind(evidence)?;
        self.appraiser.appraise(evidence, now)
    }

    fn learn_endorsements(
        &self,
        evidence: &Evidence,
        endorsements: &Endorsements,
        now: Timestamp,
    ) -> Result<(), AppraisalError> {
        self.check_kind(evidence)?;
        self.appraiser.learn_endorsements(evidence, endorsements, now)
    }
}

#[cfg(test)]
mod tests;
