//! What an appraisal lacked, and the wait for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use inclavared_attest::Reason;
use inclavared_attest::appraise::{CollateralId, Root, collateral_id};
use inclavared_attest::evidence::{Evidence, EvidenceTag};
use inclavared_attest::path::{Trailer, TrailerLimits};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::collateral::{CollateralError, CollateralService};
use crate::error::Refused;
use crate::have::Held;

/// Sets of collateral that evidence needs. Peers name them: the service bounds what is fetched for that.
pub(super) type Sets = Vec<(Root, CollateralId)>;

/// The refusal speaks of collateral that is not at hand, or not any more: it may be had.
pub(super) fn is_for_want_of_collateral(refused: &Refused) -> bool {
    matches!(refused.reason(), Reason::Collateral | Reason::Expired)
}

pub(super) fn sets_of(evidence: &Evidence) -> Sets {
    let root = match evidence.tag() {
        EvidenceTag::IntelQuote => Root::Intel,
        EvidenceTag::Simulated => Root::Simulated,
        EvidenceTag::SevSnp | EvidenceTag::Null => return Vec::new(),
    };
    collateral_id(evidence).map(|id| (root, id)).into_iter().collect()
}

/// For every piece of evidence of a trailer. What cannot be read needs none: it is refused for that.
pub(super) fn sets_of_trailer(trailer: &[u8], limits: &TrailerLimits, held: &Held) -> Sets {
    let Ok(trailer) = Trailer::decode(trailer, limits, &|name| held.blob(name)) else { return Vec::new() };
    let evidence = trailer.blobs().filter_map(|(_, blob)| Evidence::decode(blob).ok());
    evidence.flat_map(|evidence| sets_of(&evidence)).collect()
}

/// Waits until all of `sets` are at hand, at most until `end`. They are fetched side by side.
pub(super) async fn fetch(
    service: &Arc<CollateralService>,
    sets: Sets,
    limit: Duration,
    end: Instant,
) -> Result<(), CollateralError> {
    let mut fetches = JoinSet::new();
    let mut seen = BTreeSet::new();
    for (root, id) in sets {
        if seen.insert((root as u8, id.to_string())) {
            let service = Arc::clone(service);
            let left = end.saturating_duration_since(Instant::now());
            fetches.spawn(async move { service.get(root, id, left).await });
        }
    }
    while let Some(fetched) = fetches.join_next().await {
        match fetched {
            Ok(Ok(_)) => {}
            // As configured, not what was left of it.
            Ok(Err(CollateralError::Deadline { id, .. })) => return Err(CollateralError::Deadline { id, limit }),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(CollateralError::Stopped),
        }
    }
    Ok(())
}
