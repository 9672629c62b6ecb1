//! A refresh or a final trailer against the preview that was accepted: the same hops on the same legs, and at the end
//! the same counters.

use std::sync::Arc;
use std::time::Duration;

use super::error::same;
use super::judged::Renewed;
use super::{Check, Close, CloseReason, Counters, Downstream, Path, PathError, Receipt, SignedRecord, Stage, Trailer};
use crate::appraise::TcbStatus;
use crate::{EvidenceDigest, RecordDigest, Timestamp};

/// Evidence of a path that was accepted: later trailers leave it out.
pub(super) fn evidence_of(path: Option<&Path>, name: &EvidenceDigest) -> Option<Arc<[u8]>> {
    let path = path?;
    let hops = path.hops.iter().map(|hop| &hop.evidence);
    let mut all = hops.chain(path.legacy.iter().map(|legacy| &legacy.evidence));
    all.find(|evidence| evidence.digest() == *name).map(|evidence| evidence.blob().into())
}

/// The path as it comes out of a later trailer, hop by hop.
pub(super) struct Continuation {
    path: Path,
    /// Records in the trailer. Invariant: at least 1 and at most the hops of the path.
    records: usize,
    max_path_age: Duration,
}

impl Continuation {
    /// Fewer records than hops are right only where the last one says that the path broke off below it.
    pub(super) fn new(path: &Path, trailer: &Trailer, max_path_age: Duration) -> Result<Self, PathError> {
        let records = trailer.records();
        let severed = matches!(records.last().map(|last| &last.record().downstream), Some(Downstream::Severed { .. }));
        let due = path.hops.len();
        let right = if severed { records.len() <= due } else { records.len() == due };
        if !right {
            return Err(PathError::new(None, Check::SameHops, due, records.len()));
        }
        Ok(Self { path: path.clone(), records: records.len(), max_path_age })
    }

    /// Whether the record continues the hop that the preview had in its place.
    pub(super) fn check(&self, position: u8, signed: &SignedRecord) -> Result<(), PathError> {
        let hop = Some(position);
        let before = self.hop(position);
        let record = signed.record();
        same(hop, Check::SameKey, before.kid, signed.kid())?;
        same(hop, Check::SameLeg, before.leg, record.upstream.leg)?;
        if before.open != record.upstream.open {
            return Err(PathError::new(hop, Check::SameLeg, before.open, record.upstream.open));
        }
        same(hop, Check::SameEvidence, before.evidence.digest(), record.own.evidence)?;
        same(hop, Check::Role, before.role.as_str(), record.role.as_str())?;
        self.same_downstream(position, &record.downstream)?;
        if record.seq <= before.seq {
            let expected = format_args!("more than {}", before.seq).to_string();
            return Err(PathError::new(hop, Check::Seq, expected, record.seq));
        }
        match &record.stage {
            Stage::Refresh { preview, .. } | Stage::Final { preview, .. } => {
                same(hop, Check::PreviewDigest, before.preview, *preview)
            }
            // `check` of the walk lets only the kind through that is due.
            Stage::Preview | Stage::Forward => Ok(()),
        }
    }

    pub(super) fn accept(&mut self, position: u8, signed: &SignedRecord, fresh: Option<(Renewed, Timestamp)>) {
        let record = signed.record();
        let hop = &mut self.path.hops[usize::from(position) - 1];
        hop.record = signed.digest();
        hop.seq = record.seq;
        hop.iat_ms = record.iat_ms;
        hop.downstream = record.downstream.clone();
        if let Stage::Final { receipt, .. } = &record.stage {
            hop.receipt = Some(*receipt);
        }
        if let Some((fresh, now)) = fresh {
            hop.appraised = fresh.appraised;
            hop.verdict = fresh.verdict;
            hop.not_after = fresh.not_after;
            hop.fresh_at = Some(now);
        }
    }

    pub(super) fn into_path(mut self) -> Path {
        self.path.sum_up(self.max_path_age);
        self.path
    }

    /// Judges the receipts against one another and against what the verifier counted itself.
    pub(super) fn close(mut self, counters: Counters) -> Result<Path, PathError> {
        let receipts: Vec<Receipt> = self.path.hops.iter().take(self.records).filter_map(|hop| hop.receipt).collect();
        let last = self.records;
        let close = match &self.path.hops[last - 1].downstream {
            Downstream::Severed { preview, reason } => {
                self.severed(last, *preview)?;
                Close::Severed { after: last as u8, reason: *reason }
            }
            _ => match receipts.iter().find(|receipt| receipt.close != CloseReason::Complete) {
                Some(receipt) => Close::Partial { reason: receipt.close },
                None => {
                    for (receipt, position) in receipts.iter().zip(1..) {
                        if receipt.counters != counters {
                            let text = |c: Counters| format!("{} up, {} down", c.up, c.down);
                            let (expected, found) = (text(counters), text(receipt.counters));
                            return Err(PathError::new(Some(position), Check::Receipt, expected, found));
                        }
                    }
                    Close::Complete { counters }
                }
            },
        };
        self.path.close = Some(close);
        Ok(self.into_path())
    }

    /// The hop that lost the path below it names the record that was there, and calls nothing complete.
    fn severed(&self, last: usize, preview: RecordDigest) -> Result<(), PathError> {
        let hop = Some(last as u8);
        let Some(below) = self.path.hops.get(last) else {
            return Err(PathError::new(hop, Check::Severed, "the end that the preview had", "a path that broke off"));
        };
        same(hop, Check::Severed, below.preview, preview)?;
        match self.path.hops[last - 1].receipt {
            Some(Receipt { close: CloseReason::Complete, .. }) => {
                Err(PathError::new(hop, Check::Severed, "a close reason other than complete", "complete"))
            }
            _ => Ok(()),
        }
    }

    fn same_downstream(&self, position: u8, found: &Downstream) -> Result<(), PathError> {
        let before = &self.hop(position).downstream;
        let same = match (before, found) {
            (_, Downstream::Severed { .. }) => true,
            (
                Downstream::Attested { peer: a, open, warm_ms, .. },
                Downstream::Attested { peer: b, open: found, warm_ms: warm, .. },
            ) => (a.leg, a.key, a.evidence, open, warm_ms) == (b.leg, b.key, b.evidence, found, warm),
            (Downstream::Legacy(a), Downstream::Legacy(b)) => (a.leg, a.key, a.evidence) == (b.leg, b.key, b.evidence),
            (Downstream::Terminal(a), Downstream::Terminal(b)) => a == b,
            _ => false,
        };
        if same {
            return Ok(());
        }
        Err(PathError::new(Some(position), Check::SameDownstream, before.summary(), found.summary()))
    }

    fn hop(&self, position: u8) -> &super::PathHop {
        &self.path.hops[usize::from(position) - 1]
    }
}

impl Path {
    /// Works out anew what depends on all hops together.
    pub(super) fn sum_up(&mut self, max_path_age: Duration) {
        let verdicts = || self.hops.iter().map(|hop| &hop.verdict).chain(self.legacy.iter().map(|peer| &peer.verdict));
        self.worst = verdicts().map(|verdict| verdict.status).max().unwrap_or(TcbStatus::Revoked);
        self.compared = verdicts().all(|verdict| verdict.compared);
        self.simulated = verdicts().any(|verdict| verdict.simulated);
        let oldest = self.hops.iter().map(|hop| hop.fresh_at.unwrap_or(self.accepted_at)).min();
        // A peer without records cannot renew itself: its evidence is as old as the path.
        let oldest = if self.legacy.is_some() { None } else { oldest };
        self.ages_at = oldest.unwrap_or(self.accepted_at).plus(max_path_age);
        let hops = self.hops.iter().flat_map(|hop| [hop.appraised.expires, hop.not_after]);
        let legacy = self.legacy.iter().flat_map(|peer| {
            [Some(peer.appraised.expires), peer.evidence.claims().hop().map(|claims| claims.not_after)]
        });
        self.expires = hops.chain(legacy.flatten()).fold(self.ages_at, Timestamp::min);
    }
}

impl Downstream {
    fn summary(&self) -> String {
        match self {
            Self::Attested { peer, .. } => format!("hop {} on leg {}", peer.key, peer.leg),
            Self::Legacy(peer) => format!("legacy peer {} on leg {}", peer.key, peer.leg),
            Self::Terminal(kind) => format!("terminal {}", kind.name()),
            Self::Severed { .. } => "a path that broke off".to_owned(),
        }
    }
}
