//! What an appraisal lacked, and the wait for it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use inclavared_attest::Reason;
use inclavared_attest::appraise::snp::{SigningKey, SnpRequest};
use inclavared_attest::appraise::{CollateralId, Root, amd_root, collateral_id};
use inclavared_attest::evidence::{EvidenceTag, Quoted};
use inclavared_attest::path::{Trailer, TrailerLimits};
use inclavared_collateral::{CollateralError, CollateralService};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::error::Refused;
use crate::trust::known_evidence::Held;

/// A set of collateral that evidence needs. Peers name them: the service bounds what is fetched for that.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Need {
    Intel(Root, CollateralId),
    Amd(Root, SnpRequest),
}

pub(super) type Needs = Vec<Need>;

/// The refusal speaks of collateral that is not at hand, or not any more: it may be had.
pub(super) fn is_for_want_of_collateral(refused: &Refused) -> bool {
    matches!(refused.reason(), Reason::Collateral | Reason::Expired)
}

pub(super) fn needs_of(evidence: &Quoted) -> Needs {
    if let Some(root) = amd_root(evidence.tag(), evidence.quote()) {
        return SnpRequest::of(evidence.quote()).map(|request| needs_of_report(root, request)).unwrap_or_default();
    }
    let root = match evidence.tag() {
        EvidenceTag::IntelQuote => Root::Intel,
        EvidenceTag::Simulated => Root::Simulated,
        EvidenceTag::SevSnp | EvidenceTag::Null => return Needs::new(),
    };
    collateral_id(evidence).map(|id| Need::Intel(root, id)).into_iter().collect()
}

/// The service finds out which product a chip is of. A cloud's key says nothing of that: every CA that it may be under.
fn needs_of_report(root: Root, request: SnpRequest) -> Needs {
    match request.key {
        SigningKey::Vcek => vec![Need::Amd(root, request)],
        SigningKey::Vlek => {
            let one = |product: &_| {
                Need::Amd(
                    root,
                    SnpRequest { products: vec![*product], key: SigningKey::Vlek, chip_id: None, tcb: [0; 8] },
                )
            };
            request.products.iter().map(one).collect()
        }
    }
}

/// For every piece of evidence of a trailer. What cannot be read needs none: it is refused for that.
pub(super) fn needs_of_trailer(trailer: &[u8], limits: &TrailerLimits, held: &Held) -> Needs {
    let Ok(trailer) = Trailer::decode(trailer, limits, &|name| held.blob(name)) else { return Needs::new() };
    let evidence = trailer.blobs().filter_map(|(_, blob)| Quoted::decode(blob).ok());
    evidence.flat_map(|evidence| needs_of(&evidence)).collect()
}

/// Waits until all of `needs` are at hand, at most until `end`. They are fetched side by side.
pub(super) async fn fetch(
    service: &Arc<CollateralService>,
    needs: Needs,
    limit: Duration,
    end: Instant,
) -> Result<(), CollateralError> {
    let mut fetches = JoinSet::new();
    let needs: HashSet<Need> = needs.into_iter().collect();
    for need in needs {
        let service = Arc::clone(service);
        let left = end.saturating_duration_since(Instant::now());
        fetches.spawn(async move {
            match need {
                Need::Intel(root, id) => service.get(root, id, left).await.map(drop),
                Need::Amd(root, request) => service.get_amd(root, request, left).await,
            }
        });
    }
    while let Some(fetched) = fetches.join_next().await {
        match fetched {
            Ok(Ok(())) => {}
            // As configured, not what was left of it.
            Ok(Err(CollateralError::Deadline { id, .. })) => return Err(CollateralError::Deadline { id, limit }),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(CollateralError::Stopped),
        }
    }
    Ok(())
}
