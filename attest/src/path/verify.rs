//! Verification of a path by whoever stands above it (docs/PROTOCOL.md section 6). Pure: time and appraisal are handed in.

use std::collections::HashSet;

use super::continuity::{self, Continuation};
use super::error::same;
use super::judge::Judge;
use super::judged::Judged;
use super::{Check, Downstream, Expects, Path, PathError, PathHop, PathInput, SignedRecord, Stage, Trailer};
use crate::appraise::Appraise;
use crate::policy::{PathEnd, Policy};
use crate::{EvidenceDigest, KeyId, LegId, OpenDigest, RecordDigest};

/// Verifies a whole path. Signatures, keys, legs and evidence of every hop are checked here, whatever the hops said of
/// one another.
pub fn verify_path(input: &PathInput<'_>, policy: &Policy, appraiser: &dyn Appraise) -> Result<Path, PathError> {
    let earlier = input.expects.path();
    let known = |name: &EvidenceDigest| continuity::evidence_of(earlier, name).or_else(|| (input.known)(name));
    let trailer = Trailer::decode(input.trailer, &input.limits, &known).map_err(PathError::of_trailer)?;
    let kind = input.expects.kind();
    if trailer.kind() != kind {
        return Err(PathError::new(None, Check::TrailerKind, kind.name(), trailer.kind().name()));
    }
    let walk = Walk { input, policy, trailer: &trailer, judge: Judge { policy, appraiser, input, trailer: &trailer } };
    match earlier {
        None => walk.preview(),
        Some(path) => walk.continued(path),
    }
}

/// What the record of the next hop has to say.
struct Expected {
    key: KeyId,
    leg: LegId,
    evidence: EvidenceDigest,
    peer: Option<KeyId>,
    open: OpenDigest,
    /// The digest of the record; `None` for the first, which nothing above it names.
    record: Option<RecordDigest>,
}

struct Walk<'a> {
    input: &'a PathInput<'a>,
    policy: &'a Policy,
    trailer: &'a Trailer,
    judge: Judge<'a>,
}

impl Walk<'_> {
    fn preview(&self) -> Result<Path, PathError> {
        let mut hops = Vec::with_capacity(self.trailer.records().len());
        let ending = self.each(|position, signed| {
            let record = signed.record();
            let last = matches!(record.downstream, Downstream::Terminal(_));
            let Judged { evidence, appraised, verdict, not_after, fresh_at } =
                self.judge.hop(position, last, record)?;
            hops.push(PathHop {
                position,
                role: record.role.clone(),
                kid: signed.kid(),
                leg: record.upstream.leg,
                open: record.upstream.open,
                tls: record.upstream.tls.clone(),
                evidence,
                appraised,
                verdict,
                not_after,
                fresh_at,
                record: signed.digest(),
                preview: signed.digest(),
                seq: record.seq,
                iat_ms: record.iat_ms,
                downstream: record.downstream.clone(),
                receipt: None,
            });
            Ok(())
        })?;
        let legacy = match ending {
            Downstream::Legacy(peer) => Some(self.judge.legacy(hops.len() as u8 + 1, peer)?),
            _ => None,
        };
        let end = match ending {
            Downstream::Terminal(kind) => PathEnd::Terminal(*kind),
            _ => PathEnd::Legacy,
        };
        let roles: Vec<_> = hops.iter().map(|hop| hop.role.as_str()).collect();
        self.policy.admit_shape(&roles, &end).map_err(|error| PathError::of_policy(None, Check::Shape, error))?;
        Ok(self.judge.conclude(hops, end, legacy))
    }

    /// A refresh or a final trailer of a path that was accepted before.
    fn continued(&self, path: &Path) -> Result<Path, PathError> {
        let mut continuation = Continuation::new(path, self.trailer, self.policy.max_path_age)?;
        self.each(|position, signed| {
            continuation.check(position, signed)?;
            let fresh = self.judge.renewal(position, signed.record(), &path.hops[usize::from(position) - 1])?;
            continuation.accept(position, signed, fresh.map(|fresh| (fresh, self.input.now)));
            Ok(())
        })?;
        match &self.input.expects {
            Expects::Final { counters, .. } => continuation.close(*counters),
            _ => Ok(continuation.into_path()),
        }
    }

    /// Walks the records from the verifier to the end and hands each one that is what the hop above said it would be to
    /// `accept`. Gives the downstream of the last.
    fn each(
        &self,
        mut accept: impl FnMut(u8, &SignedRecord) -> Result<(), PathError>,
    ) -> Result<&Downstream, PathError> {
        let input = self.input;
        let mut expected = Some(Expected {
            key: KeyId::of(input.leg.spki),
            leg: input.leg.id,
            evidence: EvidenceDigest::of(input.leg.evidence),
            peer: input.own,
            open: input.open,
            record: None,
        });
        let mut seen: HashSet<KeyId> = input.own.into_iter().collect();
        let mut ending = None;
        let count = self.trailer.records().len() as u8;
        for (signed, position) in self.trailer.records().iter().zip(1..) {
            let Some(due) = expected else {
                return Err(PathError::new(
                    Some(position),
                    Check::End,
                    "no record below the end of the path",
                    "a record",
                ));
            };
            self.check(position, count - position, &due, signed)?;
            if !seen.insert(signed.kid()) {
                return Err(PathError::new(Some(position), Check::Loop, "a key of its own", signed.kid()));
            }
            accept(position, signed)?;
            let downstream = &signed.record().downstream;
            expected = below(signed);
            if let Downstream::Legacy(peer) = downstream
                && seen.contains(&peer.key)
            {
                return Err(PathError::new(Some(position + 1), Check::Loop, "a key of its own", peer.key));
            }
            ending = Some(downstream);
        }
        match (expected, ending) {
            (None, Some(ending)) => Ok(ending),
            _ => Err(PathError::new(Some(count), Check::End, "a record below", "none")),
        }
    }

    /// One record against what the hop above it, or the verifier, expects.
    fn check(&self, position: u8, depth: u8, due: &Expected, signed: &SignedRecord) -> Result<(), PathError> {
        let hop = Some(position);
        let record = signed.record();
        if let Some(digest) = due.record {
            same(hop, Check::RecordDigest, digest, signed.digest())?;
        }
        same(hop, Check::Key, due.key, signed.kid())?;
        same(hop, Check::Spki, due.key, KeyId::of(&record.own.spki))?;
        if !signed.verify(&record.own.spki) {
            return Err(PathError::new(hop, Check::Signature, format_args!("one by key {}", due.key), "another"));
        }
        let kind = self.input.expects.kind();
        same(hop, Check::RecordKind, kind.name(), record.kind().name())?;
        same(hop, Check::Session, self.input.nonce.session(), record.session)?;
        same(hop, Check::Depth, depth, record.depth)?;
        same(hop, Check::Leg, due.leg, record.upstream.leg)?;
        if due.peer != record.upstream.peer {
            return Err(PathError::new(hop, Check::Peer, or_none(due.peer), or_none(record.upstream.peer)));
        }
        same(hop, Check::Open, due.open, record.upstream.open)?;
        if let (Expects::Refresh { challenge, .. }, Stage::Refresh { challenge: found, .. }) =
            (&self.input.expects, &record.stage)
            && *challenge != found.as_ref()
        {
            return Err(PathError::new(hop, Check::Challenge, or_none(*challenge), or_none(found.as_ref())));
        }
        same(hop, Check::EvidenceDigest, due.evidence, record.own.evidence)
    }
}

/// What the record says of the hop below it.
fn below(signed: &SignedRecord) -> Option<Expected> {
    match &signed.record().downstream {
        Downstream::Attested { peer, open, next, .. } => Some(Expected {
            key: peer.key,
            leg: peer.leg,
            evidence: peer.evidence,
            peer: Some(signed.kid()),
            open: *open,
            record: Some(*next),
        }),
        _ => None,
    }
}

fn or_none(value: Option<impl std::fmt::Display>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}
