//! What a hop says of itself and of its two legs: the payload of a record (docs/PROTOCOL.md section 5).

use super::MAX_HOPS;
use super::codes::{binding_code, binding_from_code, terminal_code, terminal_from_code};
use super::merkle::{MAX_STEPS, MerklePath};
use super::open::VERSION;
use super::{Challenge, CloseReason, Kind};
use crate::dcbor::{FormError, Item, Limits, Map, Writer};
use crate::policy::{Binding, TerminalKind};
use crate::{
    CollateralDigest, Digest, EvidenceDigest, KeyId, LegId, OpenDigest, PolicyDigest, Reason, RecordDigest, SessionId,
    Timestamp,
};

/// Payload of a record, in bytes.
pub(super) const MAX_PAYLOAD: usize = 4 * 1024;
/// A chain role, in bytes.
pub const MAX_ROLE: usize = 64;
/// The SPKI of a P-256 key has 91 bytes; nothing else signs records.
const MAX_SPKI: usize = 128;
const MAX_ALPN: usize = 64;
const MAX_STATUS: usize = 64;

/// The statement of one hop about one leg.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    pub stage: Stage,
    /// The role that the hop plays; its evidence says the same.
    pub role: String,
    pub session: SessionId,
    /// How many hops follow in the same trailer: 0 for the last.
    pub depth: u8,
    /// Strictly increasing a hop and path.
    pub seq: u64,
    /// When the hop made it, by its own clock; advisory.
    pub iat_ms: u64,
    pub own: Own,
    pub upstream: Upstream,
    pub downstream: Downstream,
}

/// What a record is for, and what belongs to that alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stage {
    Preview,
    /// `preview` names the hop's own preview record; `challenge` is what the client asked with.
    Refresh {
        preview: RecordDigest,
        challenge: Option<Challenge>,
    },
    Final {
        preview: RecordDigest,
        receipt: Receipt,
    },
    Forward,
}

/// The hop's key and evidence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Own {
    pub spki: Vec<u8>,
    pub evidence: EvidenceDigest,
    pub fresh: Option<FreshQuote>,
    /// Names the blob of the certificate's endorsements, where nobody but the hop may have them: SEV-SNP's, in previews.
    pub endorsements: Option<Digest>,
}

/// A quote made for this very record, shared with others through a Merkle tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FreshQuote {
    pub evidence: EvidenceDigest,
    pub path: MerklePath,
}

/// The leg toward the verifier.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upstream {
    pub leg: LegId,
    /// The client's key; `None` if it showed no certificate.
    pub peer: Option<KeyId>,
    pub open: OpenDigest,
    pub tls: TlsParameters,
}

/// What the handshake of a leg agreed on (IANA code points).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsParameters {
    pub suite: u16,
    pub group: u16,
    pub alpn: Vec<u8>,
}

/// What lies below a hop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Downstream {
    /// Another hop; `next` is its record in the same trailer.
    Attested {
        peer: AttestedPeer,
        open: OpenDigest,
        binding: Binding,
        next: RecordDigest,
        /// How long the leg had stood ready when OPEN was sent over it; `None` if it was made for this path.
        warm_ms: Option<u64>,
    },
    /// An attested peer that does not speak this protocol.
    Legacy(AttestedPeer),
    Terminal(TerminalKind),
    /// The path below broke off (final records only). `preview` is the preview record of the hop below.
    Severed {
        preview: RecordDigest,
        reason: Reason,
    },
}

/// A peer below, as the hop above saw and judged it. Its judgement is advice: the verifier appraises the blob itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttestedPeer {
    pub leg: LegId,
    pub key: KeyId,
    pub evidence: EvidenceDigest,
    pub verdict: PeerVerdict,
    pub policy: PolicyDigest,
    pub collateral: CollateralDigest,
    pub appraised_at: Timestamp,
}

/// A verdict as it travels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerVerdict {
    /// The TCB status in the vendor's word.
    pub status: String,
    /// The AR4SI trustworthiness vector, in the order of the draft.
    pub trust: [i8; 8],
    /// Reference values were compared.
    pub compared: bool,
    pub simulated: bool,
}

/// What crossed a hop's upstream leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// Bytes from and to the client: payload of DATA.
    pub counters: Counters,
    pub close: CloseReason,
}

/// Payload bytes of DATA, each way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// From the verifier toward the workload.
    pub up: u64,
    /// From the workload toward the verifier.
    pub down: u64,
}

impl Record {
    pub fn kind(&self) -> Kind {
        match self.stage {
            Stage::Preview => Kind::Preview,
            Stage::Refresh { .. } => Kind::Refresh,
            Stage::Final { .. } => Kind::Final,
            Stage::Forward => Kind::Forward,
        }
    }

    /// The record below, where there is one.
    pub fn next(&self) -> Option<RecordDigest> {
        match &self.downstream {
            Downstream::Attested { next, .. } => Some(*next),
            _ => None,
        }
    }

    /// Every blob that the record names and that a verifier needs.
    pub fn evidence_digests(&self) -> impl Iterator<Item = EvidenceDigest> {
        let below = match &self.downstream {
            Downstream::Attested { peer, .. } | Downstream::Legacy(peer) => Some(peer.evidence),
            _ => None,
        };
        [Some(self.own.evidence), self.own.fresh.as_ref().map(|fresh| fresh.evidence), below].into_iter().flatten()
    }

    /// The collateral with which the hop judged its peer: a blob may carry it, none has to.
    pub fn collateral_digest(&self) -> Option<CollateralDigest> {
        match &self.downstream {
            Downstream::Attested { peer, .. } | Downstream::Legacy(peer) => Some(peer.collateral),
            _ => None,
        }
    }

    /// The record's own encoding: what is signed.
    pub fn payload(&self) -> Vec<u8> {
        let (preview, receipt) = match &self.stage {
            Stage::Preview | Stage::Forward => (None, None),
            Stage::Refresh { preview, .. } => (Some(preview), None),
            Stage::Final { preview, receipt } => (Some(preview), Some(receipt)),
        };
        let map = Map::new()
            .uint(1, VERSION)
            .uint(2, self.kind().code())
            .text(3, &self.role)
            .bytes(4, self.session.as_bytes())
            .uint(5, u64::from(self.depth))
            .uint(6, self.seq)
            .uint(7, self.iat_ms)
            .map(8, self.own.encode())
            .map(9, self.upstream.encode())
            .entry(10, |w| self.downstream.encode(w))
            .bytes_or_null(11, self.next().as_ref().map(|next| &next.as_bytes()[..]))
            .optional(12, preview, |w, preview| w.bytes(preview.as_bytes()))
            .optional(13, receipt, |w, receipt| w.map(receipt.encode()));
        match &self.stage {
            Stage::Refresh { challenge, .. } => map.bytes_or_null(15, challenge.as_ref().map(|c| &c.as_bytes()[..])),
            _ => map,
        }
        .finish()
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, FormError> {
        let mut fields = Item::parse(payload, &Limits::bytes(MAX_PAYLOAD))?.fields("record")?;
        fields.required(1, "version")?.uint_in("version", VERSION, VERSION)?;
        let kind = Kind::read(fields.required(2, "kind")?)?;
        let next = match fields.required(11, "next")? {
            next if next.is_null() => None,
            next => Some(RecordDigest::from_bytes(next.bytes32("next")?)),
        };
        let mut preview = || {
            Ok::<_, FormError>(RecordDigest::from_bytes(
                fields.required(12, "preview_digest")?.bytes32("preview_digest")?,
            ))
        };
        let stage = match kind {
            Kind::Preview => Stage::Preview,
            Kind::Forward => Stage::Forward,
            Kind::Refresh => {
                let preview = preview()?;
                let challenge = match fields.required(15, "challenge")? {
                    challenge if challenge.is_null() => None,
                    challenge => Some(Challenge::from_bytes(challenge.bytes32("challenge")?)),
                };
                Stage::Refresh { preview, challenge }
            }
            Kind::Final => {
                let preview = preview()?;
                Stage::Final { preview, receipt: Receipt::decode(fields.required(13, "receipt")?)? }
            }
            Kind::Response => {
                return Err(FormError::Type { field: "kind", expected: "a record of a trailer", found: "response" });
            }
        };
        let record = Self {
            stage,
            role: fields.required(3, "chain_role")?.text("chain_role", MAX_ROLE)?.to_owned(),
            session: SessionId::from_bytes(fields.required(4, "sid")?.bytes32("sid")?),
            depth: fields.required(5, "depth")?.uint_in("depth", 0, u64::from(MAX_HOPS) - 1)? as u8,
            seq: fields.required(6, "seq")?.uint("seq")?,
            iat_ms: fields.required(7, "iat_ms")?.uint("iat_ms")?,
            own: Own::decode(fields.required(8, "self")?)?,
            upstream: Upstream::decode(fields.required(9, "upstream")?)?,
            downstream: Downstream::decode(fields.required(10, "downstream")?, next, kind)?,
        };
        fields.finish()?;
        Ok(record)
    }
}

impl Own {
    fn encode(&self) -> Map {
        Map::new()
            .bytes(1, &self.spki)
            .bytes(2, self.evidence.as_bytes())
            .optional(3, self.fresh.as_ref(), |w, fresh| w.map(fresh.encode()))
            .optional(4, self.endorsements.as_ref(), |w, digest| w.bytes(digest.as_bytes()))
    }

    fn decode(item: Item<'_>) -> Result<Self, FormError> {
        let mut fields = item.fields("self")?;
        let own = Self {
            spki: fields.required(1, "SPKI")?.bytes("SPKI", MAX_SPKI)?.to_vec(),
            evidence: EvidenceDigest::from_bytes(fields.required(2, "evidence_digest")?.bytes32("evidence_digest")?),
            fresh: fields.optional(3).map(FreshQuote::decode).transpose()?,
            endorsements: match fields.optional(4) {
                Some(digest) => Some(Digest::from_bytes(digest.bytes32("endorsements_digest")?)),
                None => None,
            },
        };
        fields.finish()?;
        Ok(own)
    }
}

impl FreshQuote {
    fn encode(&self) -> Map {
        Map::new()
            .bytes(1, self.evidence.as_bytes())
            .uint(2, u64::from(self.path.index))
            .entry(3, |w| w.list(self.path.siblings.iter().map(Digest::as_bytes)))
    }

    fn decode(item: Item<'_>) -> Result<Self, FormError> {
        let mut fields = item.fields("fresh quote")?;
        let siblings = fields.required(3, "path")?.array("path", MAX_STEPS)?;
        let most = (1u64 << siblings.len()) - 1;
        let siblings: Result<Vec<_>, FormError> =
            siblings.into_iter().map(|item| Ok(Digest::from_bytes(item.bytes32("path")?))).collect();
        let fresh = Self {
            evidence: EvidenceDigest::from_bytes(fields.required(1, "quote_digest")?.bytes32("quote_digest")?),
            path: MerklePath {
                index: fields.required(2, "index")?.uint_in("index", 0, most)? as u32,
                siblings: siblings?,
            },
        };
        fields.finish()?;
        Ok(fresh)
    }
}

impl Upstream {
    fn encode(&self) -> Map {
        Map::new()
            .bytes(1, self.leg.as_bytes())
            .bytes_or_null(2, self.peer.as_ref().map(|peer| &peer.as_bytes()[..]))
            .bytes(3, self.open.as_bytes())
            .entry(4, |w| {
                w.array(3).uint(u64::from(self.tls.suite)).uint(u64::from(self.tls.group)).bytes(&self.tls.alpn)
            })
    }

    fn decode(item: Item<'_>) -> Result<Self, FormError> {
        let mut fields = item.fields("upstream")?;
        let [suite, group, alpn] = fields.required(4, "tls")?.tuple("tls")?;
        let peer = fields.required(2, "peer")?;
        let upstream = Self {
            leg: LegId::from_bytes(fields.required(1, "leg")?.bytes32("leg")?),
            peer: if peer.is_null() { None } else { Some(KeyId::from_bytes(peer.bytes32("peer")?)) },
            open: OpenDigest::from_bytes(fields.required(3, "OPEN")?.bytes32("OPEN")?),
            tls: TlsParameters {
                suite: suite.uint_in("suite", 0, 0xffff)? as u16,
                group: group.uint_in("group", 0, 0xffff)? as u16,
                alpn: alpn.bytes("alpn", MAX_ALPN)?.to_vec(),
            },
        };
        fields.finish()?;
        Ok(upstream)
    }
}

impl Downstream {
    fn encode<'w>(&self, w: &'w mut Writer) -> &'w mut Writer {
        w.array(2);
        match self {
            Self::Attested { peer, open, binding, warm_ms, .. } => {
                let attested = Map::new()
                    .bytes(1, peer.leg.as_bytes())
                    .bytes(2, peer.key.as_bytes())
                    .bytes(3, open.as_bytes())
                    .bytes(4, peer.evidence.as_bytes())
                    .map(5, peer.verdict.encode())
                    .bytes(6, peer.policy.as_bytes())
                    .bytes(7, peer.collateral.as_bytes())
                    .uint(8, binding_code(*binding))
                    .uint(9, peer.appraised_at.0)
                    .optional(10, *warm_ms, |w, warm_ms| w.uint(warm_ms));
                w.uint(1).map(attested)
            }
            Self::Legacy(peer) => {
                let legacy = Map::new()
                    .bytes(1, peer.leg.as_bytes())
                    .bytes(2, peer.key.as_bytes())
                    .bytes(4, peer.evidence.as_bytes())
                    .map(5, peer.verdict.encode())
                    .bytes(6, peer.policy.as_bytes())
                    .bytes(7, peer.collateral.as_bytes())
                    .uint(9, peer.appraised_at.0);
                w.uint(2).map(legacy)
            }
            Self::Terminal(kind) => w.uint(3).map(Map::new().uint(1, terminal_code(*kind))),
            Self::Severed { preview, reason } => {
                w.uint(4).map(Map::new().bytes(1, preview.as_bytes()).uint(2, u64::from(reason.code())))
            }
        }
    }

    /// `next` is there if, and only if, a record follows.
    fn decode(item: Item<'_>, next: Option<RecordDigest>, kind: Kind) -> Result<Self, FormError> {
        let [choice, body] = item.tuple("downstream")?;
        let choice = choice.uint_in("downstream", 1, if kind == Kind::Final { 4 } else { 3 })?;
        let next = match (choice, next) {
            (1, None) => return Err(FormError::Type { field: "next", expected: "a digest", found: "null" }),
            (1, Some(next)) => next,
            (_, Some(_)) => return Err(FormError::Type { field: "next", expected: "null", found: "a digest" }),
            (_, None) => RecordDigest::from_bytes([0; 32]),
        };
        let mut fields = body.fields("downstream")?;
        let downstream = match choice {
            1 => Self::Attested {
                open: OpenDigest::from_bytes(fields.required(3, "OPEN")?.bytes32("OPEN")?),
                binding: binding_from_code(fields.required(8, "binding")?)?,
                peer: AttestedPeer::decode(&mut fields)?,
                next,
                warm_ms: fields.optional(10).map(|warm| warm.uint("warm")).transpose()?,
            },
            2 => Self::Legacy(AttestedPeer::decode(&mut fields)?),
            3 => Self::Terminal(terminal_from_code(fields.required(1, "terminal kind")?)?),
            _ => Self::Severed {
                preview: RecordDigest::from_bytes(fields.required(1, "preview_digest")?.bytes32("preview_digest")?),
                reason: Reason::from_code(fields.required(2, "reason")?.uint("reason")?),
            },
        };
        fields.finish()?;
        Ok(downstream)
    }
}

impl AttestedPeer {
    fn decode(fields: &mut crate::dcbor::Fields<'_>) -> Result<Self, FormError> {
        let mut bytes32 = |key, field| fields.required(key, field)?.bytes32(field);
        Ok(Self {
            leg: LegId::from_bytes(bytes32(1, "leg")?),
            key: KeyId::from_bytes(bytes32(2, "peer")?),
            evidence: EvidenceDigest::from_bytes(bytes32(4, "evidence_digest")?),
            policy: PolicyDigest::from_bytes(bytes32(6, "policy_digest")?),
            collateral: CollateralDigest::from_bytes(bytes32(7, "collateral_digest")?),
            verdict: PeerVerdict::decode(fields.required(5, "verdict")?)?,
            appraised_at: Timestamp(fields.required(9, "appraised_at")?.uint("appraised_at")?),
        })
    }
}

impl PeerVerdict {
    fn encode(&self) -> Map {
        Map::new()
            .text(1, &self.status)
            .entry(2, |w| {
                w.array(self.trust.len());
                self.trust.iter().fold(w, |w, claim| w.int(i64::from(*claim)))
            })
            .entry(3, |w| w.bool(self.compared))
            .entry(4, |w| w.bool(self.simulated))
    }

    fn decode(item: Item<'_>) -> Result<Self, FormError> {
        let mut fields = item.fields("verdict")?;
        let mut trust = [0; 8];
        for (claim, item) in trust.iter_mut().zip(fields.required(2, "trust vector")?.tuple::<8>("trust vector")?) {
            let outside = FormError::Type { field: "trust vector", expected: "an integer of 8 bits", found: "another" };
            *claim = i8::try_from(item.int("trust vector")?).map_err(|_| outside)?;
        }
        let verdict = Self {
            status: fields.required(1, "status")?.text("status", MAX_STATUS)?.to_owned(),
            trust,
            compared: fields.required(3, "compared")?.bool("compared")?,
            simulated: fields.required(4, "simulated")?.bool("simulated")?,
        };
        fields.finish()?;
        Ok(verdict)
    }
}

impl Receipt {
    fn encode(&self) -> Map {
        Map::new().uint(1, self.counters.up).uint(2, self.counters.down).uint(3, self.close.code())
    }

    fn decode(item: Item<'_>) -> Result<Self, FormError> {
        let mut fields = item.fields("receipt")?;
        let counters = Counters {
            up: fields.required(1, "bytes_up")?.uint("bytes_up")?,
            down: fields.required(2, "bytes_down")?.uint("bytes_down")?,
        };
        let close = CloseReason::read(fields.required(3, "close reason")?)?;
        fields.finish()?;
        Ok(Self { counters, close })
    }
}
