//! A path checked for its form alone: a hop that demands nothing of the path behind its client passes no forgery on
//! all the same.

use std::sync::Arc;

use super::record::{AttestedPeer, PeerVerdict};
use super::{Path, PathError, PathHop, PathInput, verify_path};
use crate::appraise::{AppraisalError, Appraise, Appraised, CodeIdentity, Platform, Root, TcbStatus};
use crate::evidence::{Evidence, Quoted};
use crate::policy::Policy;
use crate::tee::EvidenceTag;
use crate::{CollateralDigest, KeyId, LegId, PolicyDigest, Timestamp};

/// Whether the records join, from this leg to the end of the path: signatures, keys, legs and blobs, as in
/// [`verify_path`]. No evidence is appraised, and no code or machine is judged.
pub fn join_path(input: &PathInput<'_>) -> Result<Path, PathError> {
    verify_path(input, &Policy::unjudged(), &Unjudged)
}

impl AttestedPeer {
    /// A peer of which nothing was asked: its evidence is named, and nothing is said of its worth.
    pub fn unjudged(leg: LegId, key: KeyId, evidence: &Evidence, now: Timestamp) -> Self {
        let verdict = PeerVerdict {
            status: UNJUDGED.to_owned(),
            trust: [0; 8],
            compared: false,
            simulated: evidence.tag() == EvidenceTag::Simulated,
        };
        Self {
            leg,
            key,
            evidence: evidence.digest(),
            verdict,
            policy: PolicyDigest::of(b""),
            collateral: CollateralDigest::of(b""),
            appraised_at: now,
        }
    }

    pub(super) fn judged(hop: &PathHop, policy: PolicyDigest) -> Self {
        Self {
            leg: hop.leg,
            key: hop.kid,
            evidence: hop.evidence.digest(),
            verdict: PeerVerdict::from(&hop.verdict),
            policy,
            collateral: hop.appraised.collateral,
            appraised_at: hop.appraised.appraised_at,
        }
    }
}

/// The status of a peer whose evidence was not appraised.
const UNJUDGED: &str = "NotAppraised";

/// Finds nothing in any evidence.
struct Unjudged;

impl Appraise for Unjudged {
    fn appraise(&self, evidence: &Quoted, now: Timestamp) -> Result<Arc<Appraised>, AppraisalError> {
        Ok(Arc::new(Appraised {
            tee: evidence.tee(),
            root: Root::None,
            code: CodeIdentity::None,
            debug: false,
            tcb_status: TcbStatus::Revoked,
            tcb_date: now,
            advisories: Vec::new(),
            platform: Platform::default(),
            collateral: CollateralDigest::of(b""),
            revocation_checked: false,
            appraised_at: now,
            expires: Timestamp(u64::MAX),
        }))
    }
}
