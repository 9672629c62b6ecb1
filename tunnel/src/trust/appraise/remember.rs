//! The cache of verified evidence (docs/PROTOCOL.md section 9).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use inclavared_attest::appraise::snp::{AmdSetId, SnpRequest};
use inclavared_attest::appraise::{AppraisalError, Appraise, Appraised, CollateralBook, CollateralId, Root, amd_root};
use inclavared_attest::evidence::{Endorsements, Quoted};
use inclavared_attest::{CollateralDigest, EvidenceDigest, Reason, Timestamp};

use super::missing::{self, Need};
use crate::metrics::AppraisalCounters;

/// PROTOCOL section 9: an acceptance is remembered for at most this long.
const REMEMBERED: Duration = Duration::from_secs(10 * 60);

/// And a refusal for this long: a peer that comes again and again costs one appraisal.
const REFUSED: Duration = Duration::from_secs(5);

/// Most pieces of evidence that are remembered; a peer can make as many as it likes.
const MOST_REMEMBERED: usize = 4096;

/// Fewer are refused, if all is well.
const MOST_REFUSED: usize = 512;

/// An appraiser that remembers what it has accepted, and for a moment what it has refused.
///
/// Nothing but the cryptographic appraisal of one blob of evidence is remembered, under that blob's hash: keys,
/// nonces, legs, signatures of records and policies are checked every time. It is made anew with its appraiser, so a
/// changed root never meets an old verdict; nor does collateral that has taken the place of what the verdict rests on.
/// Many who ask for the same evidence at once are one appraisal.
pub struct RememberingAppraiser<A> {
    pub(super) appraiser: A,
    /// That the appraiser reads.
    book: Arc<CollateralBook>,
    known: Mutex<Known>,
    /// Somebody has finished an appraisal.
    finished: Condvar,
    counters: Arc<AppraisalCounters>,
    /// Told of an acceptance for which there was no list of revoked certificates.
    unlisted: Unlisted,
}

/// Takes whose list is missing. Does not block.
pub type Unlisted = Box<dyn Fn(Root, AmdSetId) + Send + Sync>;

#[derive(Default)]
struct Known {
    accepted: HashMap<EvidenceDigest, Remembered>,
    refused: HashMap<EvidenceDigest, Refusal>,
    /// Being appraised. As many as the pool has threads.
    flights: HashSet<EvidenceDigest>,
}

struct Remembered {
    evidence: Quoted,
    appraised: Arc<Appraised>,
    basis: Basis,
    rests_on: RestsOn,
    until: Timestamp,
    /// The same by a clock that nobody sets back: the wall clock of a TEE is its host's.
    at_most_until: Instant,
}

impl Remembered {
    fn is_good(&self, now: Timestamp) -> bool {
        now < self.until && Instant::now() < self.at_most_until
    }
}

struct Refusal {
    error: AppraisalError,
    basis: Basis,
    rests_on: RestsOn,
    until: Instant,
}

/// Where in the book stands what a verdict rests on.
#[derive(Clone, Copy)]
enum Basis {
    Intel(Option<(Root, CollateralId)>),
    Amd(Root),
}

/// The state of the collateral that a verdict was made with.
#[derive(Clone, PartialEq, Eq)]
enum RestsOn {
    /// This set, or none.
    Intel(Option<CollateralDigest>),
    /// The lists of revoked certificates as they stood then.
    Amd(u64),
}

impl<A: Appraise> RememberingAppraiser<A> {
    pub fn new(appraiser: A, book: Arc<CollateralBook>) -> Self {
        let (known, finished, counters) = (Mutex::default(), Condvar::new(), Arc::default());
        Self { appraiser, book, known, finished, counters, unlisted: Box::new(|_, _| ()) }
    }

    /// A peer that brings its own certificates brings no list of revoked ones: somebody has to fetch it.
    pub fn telling(self, unlisted: Unlisted) -> Self {
        Self { unlisted, ..self }
    }

    pub fn counters(&self) -> Arc<AppraisalCounters> {
        Arc::clone(&self.counters)
    }

    #[cfg(test)]
    pub(super) fn book(&self) -> &CollateralBook {
        &self.book
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What stands in the book now.
    fn at_hand(&self, basis: Basis) -> RestsOn {
        match basis {
            Basis::Amd(root) => RestsOn::Amd(self.book.amd(root).epoch()),
            Basis::Intel(set) => {
                RestsOn::Intel(set.and_then(|(root, id)| self.book.get(root, id)).map(|set| set.digest()))
            }
        }
    }

    /// Nothing else stands in the book in place of what was used. A set that was let go of takes nothing back.
    fn is_current(&self, basis: Basis, rests_on: &RestsOn) -> bool {
        match self.at_hand(basis) {
            RestsOn::Intel(None) => true,
            at_hand => at_hand == *rests_on,
        }
    }

    /// What was accepted, or what was refused a moment ago.
    fn look(&self, evidence: &Quoted, now: Timestamp) -> Option<Result<Arc<Appraised>, AppraisalError>> {
        let digest = evidence.digest();
        if let Some((_, appraised)) = self.recall(&digest, now) {
            return Some(Ok(appraised));
        }
        let known = self.known();
        let refusal = known.refused.get(&digest).filter(|r| Instant::now() < r.until)?;
        (self.at_hand(refusal.basis) == refusal.rests_on).then(|| Err(refusal.error.clone()))
    }

    /// Appraises, as the only one for this evidence at this time.
    fn appraise_alone(&self, evidence: &Quoted, now: Timestamp) -> Result<Arc<Appraised>, AppraisalError> {
        let digest = evidence.digest();
        let mut known = self.known();
        while known.flights.contains(&digest) {
            known = self.finished.wait(known).unwrap_or_else(PoisonError::into_inner);
        }
        known.flights.insert(digest);
        drop(known);
        let _flight = Flight { appraiser: self, digest };
        // Whoever was before may have found it out.
        if let Some(answer) = self.look(evidence, now) {
            self.counters.hits.increment();
            return answer;
        }
        self.counters.misses.increment();
        // From before, so that a change meanwhile takes the verdict back.
        let basis = basis_of(evidence);
        let rests_on = self.at_hand(basis);
        let result = self.appraiser.appraise(evidence, now);
        match &result {
            Ok(appraised) => {
                self.accept(evidence, appraised, (basis, rests_on), now);
                self.check_list(evidence, appraised);
            }
            Err(error) => self.refuse(digest, error, (basis, rests_on)),
        }
        result
    }

    fn accept(&self, evidence: &Quoted, appraised: &Arc<Appraised>, on: (Basis, RestsOn), now: Timestamp) {
        let (basis, rests_on) = on;
        let rests_on = match rests_on {
            RestsOn::Intel(_) => RestsOn::Intel(Some(appraised.collateral)),
            amd @ RestsOn::Amd(_) => amd,
        };
        let until = appraised.expires.min(now.plus(REMEMBERED));
        let (evidence, appraised) = (evidence.clone(), Arc::clone(appraised));
        let digest = evidence.digest();
        let at_most_until = Instant::now() + until.since(now);
        let remembered = Remembered { evidence, appraised, basis, rests_on, until, at_most_until };
        let mut known = self.known();
        let before = known.accepted.len();
        if before >= MOST_REMEMBERED {
            known.accepted.retain(|_, r| r.is_good(now));
            if known.accepted.len() >= MOST_REMEMBERED
                && let Some(soonest) = known.accepted.iter().min_by_key(|(_, r)| r.until).map(|(digest, _)| *digest)
            {
                known.accepted.remove(&soonest);
            }
            self.counters.evictions.add((before - known.accepted.len()) as u64);
        }
        known.accepted.insert(digest, remembered);
        self.counters.set_size(known.accepted.len());
    }

    fn check_list(&self, evidence: &Quoted, appraised: &Appraised) {
        if appraised.revocation_checked {
            return;
        }
        if let (Some(platform), Ok(request)) = (appraised.platform.snp, SnpRequest::of(evidence.quote())) {
            (self.unlisted)(appraised.root, AmdSetId { product: platform.product, key: request.key });
        }
    }

    fn refuse(&self, digest: EvidenceDigest, error: &AppraisalError, (basis, rests_on): (Basis, RestsOn)) {
        self.counters.refuse(error.reason);
        // What was missing may come at any moment, and says nothing of the evidence.
        if matches!(error.reason, Reason::Collateral | Reason::Expired | Reason::Internal) {
            return;
        }
        let now = Instant::now();
        let mut known = self.known();
        if known.refused.len() >= MOST_REFUSED {
            known.refused.retain(|_, refusal| now < refusal.until);
        }
        if known.refused.len() < MOST_REFUSED {
            known.refused.insert(digest, Refusal { error: error.clone(), basis, rests_on, until: now + REFUSED });
        }
    }
}

impl<A: Appraise> Appraise for RememberingAppraiser<A> {
    fn appraise(&self, evidence: &Quoted, now: Timestamp) -> Result<Arc<Appraised>, AppraisalError> {
        match self.look(evidence, now) {
            Some(answer) => {
                self.counters.hits.increment();
                answer
            }
            None => self.appraise_alone(evidence, now),
        }
    }

    fn recall(&self, evidence: &EvidenceDigest, now: Timestamp) -> Option<(Quoted, Arc<Appraised>)> {
        let mut known = self.known();
        let held = known.accepted.get(evidence)?;
        if held.is_good(now) && self.is_current(held.basis, &held.rests_on) {
            return Some((held.evidence.clone(), Arc::clone(&held.appraised)));
        }
        known.accepted.remove(evidence);
        self.counters.evictions.increment();
        self.counters.set_size(known.accepted.len());
        None
    }

    fn learn_endorsements(
        &self,
        evidence: &Quoted,
        endorsements: &Endorsements,
        now: Timestamp,
    ) -> Result<(), AppraisalError> {
        self.appraiser.learn_endorsements(evidence, endorsements, now)
    }
}

fn basis_of(evidence: &Quoted) -> Basis {
    match amd_root(evidence.tag(), evidence.quote()) {
        Some(root) => Basis::Amd(root),
        None => Basis::Intel(missing::needs_of(evidence).into_iter().find_map(|need| match need {
            Need::Intel(root, id) => Some((root, id)),
            Need::Amd(..) => None,
        })),
    }
}

/// An appraisal that is under way; it ends with this, also by a panic.
struct Flight<'a, A> {
    appraiser: &'a RememberingAppraiser<A>,
    digest: EvidenceDigest,
}

impl<A> Drop for Flight<'_, A> {
    fn drop(&mut self) {
        self.appraiser.known.lock().unwrap_or_else(PoisonError::into_inner).flights.remove(&self.digest);
        self.appraiser.finished.notify_all();
    }
}
