//! A verified path: what the verifier knows once everything has held.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::record::{AttestedPeer, Counters, PeerVerdict};
use super::{CloseReason, Downstream, Receipt, TlsParameters};
use crate::appraise::{Appraised, TcbStatus};
use crate::evidence::Evidence;
use crate::policy::{Binding, PathEnd, Verdict};
use crate::{KeyId, LegId, OpenDigest, PolicyDigest, Reason, RecordDigest, SessionId, Timestamp};

/// A path of which every hop was verified and appraised by the holder of this value.
#[derive(Clone, Debug)]
pub struct Path {
    pub session: SessionId,
    /// H1 first. Invariant: not empty.
    pub hops: Vec<PathHop>,
    pub end: PathEnd,
    /// The peer at the end of a path that ends in one which does not speak this protocol.
    pub legacy: Option<LegacyPeer>,
    /// The worst TCB status of the path.
    pub worst: TcbStatus,
    /// Reference values were compared at every hop.
    pub compared: bool,
    /// Some evidence is of a simulated platform.
    pub simulated: bool,
    /// When the preview was accepted.
    pub accepted_at: Timestamp,
    /// The earliest end of everything that this rests on: certificates, collateral, the policy's path age. It holds for
    /// START; a path that was started lives on when its certificates end.
    pub expires: Timestamp,
    /// When the policy's path age is reached: without a fresh quote of every hop by then, the path ends.
    pub ages_at: Timestamp,
    /// How long the verifier's own leg had stood ready when it asked for this path; `None` if it was made for it.
    pub warm: Option<Duration>,
    /// How it ended: after the final trailer.
    pub close: Option<Close>,
}

/// One hop of a verified path.
#[derive(Clone)]
pub struct PathHop {
    /// 1 is next to the verifier.
    pub position: u8,
    pub role: String,
    pub kid: KeyId,
    /// The leg on which it is the server.
    pub leg: LegId,
    pub open: OpenDigest,
    pub tls: TlsParameters,
    pub evidence: Arc<Evidence>,
    pub appraised: Arc<Appraised>,
    pub verdict: Verdict,
    /// The end of the certificate, or what the newest fresh quote says.
    pub not_after: Timestamp,
    /// When a fresh quote over this leg was last verified.
    pub fresh_at: Option<Timestamp>,
    /// The newest record, and the one of the preview.
    pub record: RecordDigest,
    pub preview: RecordDigest,
    pub seq: u64,
    /// The hop's own clock; advisory.
    pub iat_ms: u64,
    pub downstream: Downstream,
    pub receipt: Option<Receipt>,
}

/// An attested peer without records.
#[derive(Clone)]
pub struct LegacyPeer {
    pub kid: KeyId,
    pub leg: LegId,
    pub evidence: Arc<Evidence>,
    pub appraised: Arc<Appraised>,
    pub verdict: Verdict,
}

/// How a path ended. Only `Complete` is a receipt for everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Close {
    /// END went both ways and every hop counted what the verifier counted.
    Complete { counters: Counters },
    /// Some hop ended it early: counters were not compared.
    Partial { reason: CloseReason },
    /// The path broke off below hop `after`.
    Severed { after: u8, reason: Reason },
}

impl Path {
    /// Whether everything that the path rests on still holds at `now`. Checked again at START.
    pub fn is_current(&self, now: Timestamp) -> bool {
        now < self.expires
    }

    /// What the hop above says of this path in its own record, `binding` being what it asked for.
    pub fn as_downstream(&self, policy: PolicyDigest, binding: Binding) -> Downstream {
        let first = &self.hops[0];
        let peer = AttestedPeer::judged(first, policy);
        Downstream::Attested { peer, open: first.open, binding, next: first.record, warm_ms: self.warm_ms() }
    }

    /// The same for a path that was only [joined](super::join_path): nobody has judged it here.
    pub fn as_unjudged_downstream(&self, binding: Binding) -> Downstream {
        let first = &self.hops[0];
        let peer = AttestedPeer::unjudged(first.leg, first.kid, &first.evidence, self.accepted_at);
        Downstream::Attested { peer, open: first.open, binding, next: first.record, warm_ms: self.warm_ms() }
    }

    /// How long the leg to the first hop had stood ready, as a record says it.
    fn warm_ms(&self) -> Option<u64> {
        self.warm.map(|warm| u64::try_from(warm.as_millis()).unwrap_or(u64::MAX))
    }

    /// What the hop above says in its final record when this path broke off.
    pub fn as_severed(&self, reason: Reason) -> Downstream {
        Downstream::Severed { preview: self.hops[0].preview, reason }
    }
}

impl fmt::Debug for PathHop {
    /// Without the evidence, which has kilobytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PathHop")
            .field("position", &self.position)
            .field("role", &self.role)
            .field("kid", &self.kid)
            .field("leg", &self.leg)
            .field("verdict", &self.verdict)
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for LegacyPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kid, leg, verdict, .. } = self;
        f.debug_struct("LegacyPeer")
            .field("kid", kid)
            .field("leg", leg)
            .field("verdict", verdict)
            .finish_non_exhaustive()
    }
}

impl From<&Verdict> for PeerVerdict {
    fn from(verdict: &Verdict) -> Self {
        Self {
            status: verdict.status.name().to_owned(),
            trust: *verdict.trust.values(),
            compared: verdict.compared,
            simulated: verdict.simulated,
        }
    }
}
