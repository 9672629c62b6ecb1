//! Live connections under newer collateral: a TCB recovery or a revocation ends those that it concerns.
//!
//! What was judged when a connection was opened is judged again, under the same policies, whenever collateral has taken
//! the place of other collateral. Signatures, legs and nonces are not: they do not change. Nor does the end of a
//! certificate, which holds for START alone; the policy's path age bounds what comes after.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use inclavared_attest::Timestamp;
use inclavared_attest::appraise::Appraise;
use inclavared_attest::evidence::{Evidence, EvidenceTag};
use inclavared_attest::path::{LEGACY_ROLE, Path};
use inclavared_attest::policy::{HopPlace, Policy};
use tokio::sync::watch;

use crate::error::{Error, Refused};
use crate::path::behind::Judged;
use crate::path::close::Below;
use crate::trust::appraise::Verifier;

/// When something of ours was in the way, as a full queue: nothing is known yet, so it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Everybody whose evidence a connection rests on.
#[derive(Clone, Debug, Default)]
pub struct Standing(Vec<Peer>);

/// One of them, and under what it was admitted.
#[derive(Clone, Debug)]
struct Peer {
    who: String,
    evidence: Arc<Evidence>,
    policy: Arc<Policy>,
    position: u8,
    last: bool,
    role: String,
}

impl Standing {
    /// The client and the path behind it, if they were judged, and what lies below, if our own policy judged it.
    pub fn new(
        (judged, upstream): (Judged, Option<&Arc<Policy>>),
        (below, downstream): (&Below, Option<&Arc<Policy>>),
    ) -> Self {
        let mut peers = match (judged, upstream) {
            (Judged::Client(admitted), Some(policy)) => vec![alone("the client", admitted.evidence, policy)],
            (Judged::Path(path), Some(policy)) => along(&path, policy, "behind the client: "),
            _ => Vec::new(),
        };
        match (below, downstream) {
            (Below::Path(opened), _) => peers.extend(along(&opened.path, &opened.context.policy, "")),
            (Below::End(end), Some(policy)) => {
                let evidence = end.evidence.as_deref().and_then(|blob| Evidence::decode(blob).ok());
                peers.extend(evidence.map(|evidence| alone("the server", evidence, policy)));
            }
            (Below::End(_), None) => {}
        }
        // Behind the null attester stands nothing that could change.
        peers.retain(|peer| peer.evidence.tag() != EvidenceTag::Null);
        Self(peers)
    }

    /// Ready when a change makes somebody unacceptable, with the refusal. Never, if nobody was appraised: then it takes
    /// no room. Cancel safe.
    pub fn until_refused<'a>(
        &'a self,
        verifier: &'a Verifier,
        changes: watch::Receiver<u64>,
    ) -> Pin<Box<dyn Future<Output = Error> + 'a>> {
        if self.0.is_empty() {
            return Box::pin(std::future::pending());
        }
        Box::pin(self.judge_at(verifier, changes))
    }

    async fn judge_at(&self, verifier: &Verifier, mut changes: watch::Receiver<u64>) -> Error {
        loop {
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            loop {
                // On the heap for as long as it takes: a relay that is let alone has no use for the room.
                match Box::pin(self.judge(verifier)).await {
                    Ok(()) => break,
                    Err(refused @ Error::Reappraised { .. }) => return refused,
                    Err(error) => {
                        tracing::debug!(error = error.one_line(), "a live connection could not be appraised again yet");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        }
    }

    async fn judge(&self, verifier: &Verifier) -> Result<(), Error> {
        let _turn = verifier.turns.acquire().await.map_err(|_| Error::Shutdown)?;
        for peer in &self.0 {
            let (appraiser, judged) = (Arc::clone(&verifier.appraiser), peer.clone());
            let judged = verifier.again(Arc::clone(&peer.evidence), move || judged.judge(&*appraiser)).await;
            judged.map_err(|error| match error {
                Error::Refused(source) => Error::Reappraised { who: peer.who.clone(), source: Box::new(source) },
                other => other,
            })?;
        }
        Ok(())
    }
}

impl Peer {
    fn judge(&self, appraiser: &dyn Appraise) -> Result<(), Refused> {
        let now = Timestamp::now();
        let appraised = appraiser.appraise(&self.evidence, now)?;
        let place = HopPlace { position: self.position, last: self.last, role: &self.role };
        self.policy.admit_again(&place, &appraised, self.evidence.claims(), now)?;
        Ok(())
    }
}

/// Every hop of a path that was judged under `policy`.
fn along(path: &Path, policy: &Arc<Policy>, which: &str) -> Vec<Peer> {
    let hops = path.hops.iter().map(|hop| Peer {
        who: format!("{which}hop {}", hop.position),
        evidence: Arc::clone(&hop.evidence),
        policy: Arc::clone(policy),
        position: hop.position,
        last: usize::from(hop.position) == path.hops.len() && path.legacy.is_none(),
        role: hop.role.clone(),
    });
    let legacy = path.legacy.iter().map(|peer| Peer {
        position: u8::try_from(path.hops.len()).unwrap_or(u8::MAX).saturating_add(1),
        who: format!("{which}the end of the path"),
        role: peer.evidence.claims().hop().map_or(LEGACY_ROLE, |hop| &hop.chain_role).to_owned(),
        ..alone("", Evidence::clone(&peer.evidence), policy)
    });
    hops.chain(legacy).collect()
}

/// A peer as it is admitted when it stands alone.
fn alone(who: &str, evidence: Evidence, policy: &Arc<Policy>) -> Peer {
    let role = evidence.claims().hop().map_or("", |hop| &hop.chain_role).to_owned();
    Peer {
        who: who.to_owned(),
        evidence: Arc::new(evidence),
        policy: Arc::clone(policy),
        position: 1,
        last: true,
        role,
    }
}

#[cfg(test)]
mod tests;
