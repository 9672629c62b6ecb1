//! Which evidence a verifier holds already: it says so in OPEN (`have`), and the PREVIEW leaves it out
//! (docs/PROTOCOL.md section 4).
//!
//! What is named is held until the PREVIEW is verified, whatever becomes of the cache meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use inclavared_attest::appraise::Appraise;
use inclavared_attest::evidence::Evidence;
use inclavared_attest::path::{MAX_HAVE, Path};
use inclavared_attest::{Digest, EvidenceDigest, KeyId, Timestamp};

/// First hops whose paths are remembered. A key of a hop lives ten minutes.
const MOST_FIRST_HOPS: usize = 256;

/// What was seen behind first hops, by their keys: digests alone. Nobody is told what was seen behind another.
#[derive(Debug, Default)]
pub struct Seen(Mutex<HashMap<KeyId, Behind>>);

#[derive(Debug, Default)]
struct Behind {
    /// The newest last. Invariant: each once, at most [`MAX_HAVE`].
    evidence: Vec<EvidenceDigest>,
    noted: u64,
}

/// The evidence that one OPEN names.
#[derive(Clone, Debug, Default)]
pub struct Held(Arc<[Evidence]>);

impl Seen {
    /// Remembers whose evidence a verified path has shown.
    pub fn note(&self, path: &Path) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = path.hops[0].kid;
        let newest = all.values().map(|behind| behind.noted).max().unwrap_or(0);
        if !all.contains_key(&first)
            && all.len() >= MOST_FIRST_HOPS
            && let Some(oldest) = all.iter().min_by_key(|(_, behind)| behind.noted).map(|(kid, _)| *kid)
        {
            all.remove(&oldest);
        }
        let behind = all.entry(first).or_default();
        behind.noted = newest + 1;
        let hops = path.hops.iter().skip(1).map(|hop| &hop.evidence);
        for evidence in hops.chain(path.legacy.iter().map(|peer| &peer.evidence)) {
            let digest = evidence.digest();
            behind.evidence.retain(|other| *other != digest);
            behind.evidence.push(digest);
        }
        // The first hop's own evidence, which its certificate shows, has the place that is left.
        let over = behind.evidence.len().saturating_sub(MAX_HAVE - 1);
        behind.evidence.drain(..over);
    }

    /// What to name to the first hop: its own evidence, and what was seen behind it and is remembered as appraised.
    pub fn hold(&self, first: KeyId, own: &Evidence, appraiser: &dyn Appraise) -> Held {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = all.get(&first).map(|behind| behind.evidence.clone()).unwrap_or_default();
        drop(all);
        let now = Timestamp::now();
        let known = behind.iter().filter_map(|digest| appraiser.recall(digest, now)?.0.into_evidence().ok());
        Held([own.clone()].into_iter().chain(known.filter(|evidence| evidence.digest() != own.digest())).collect())
    }
}

impl Held {
    /// As OPEN names it.
    pub fn digests(&self) -> Vec<Digest> {
        self.0.iter().map(|evidence| evidence.digest().0).collect()
    }

    pub fn blob(&self, name: &EvidenceDigest) -> Option<Arc<[u8]>> {
        self.0.iter().find(|evidence| evidence.digest() == *name).map(|evidence| evidence.blob().into())
    }
}
