//! Builds whole paths of any length with real keys and real evidence, and lets a test spoil any record before it is
//! signed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use inclavared_attest::attester::{Attester, UserData};
use inclavared_attest::certificate;
use inclavared_attest::dcbor::Writer;
use inclavared_attest::evidence::{Claims, Evidence, FreshClaims, FreshEvidence, HopClaims};
use inclavared_attest::hop_key::HopKey;
use inclavared_attest::path::{
    AttestedPeer, Challenge, CloseReason, Counters, Downstream, Expects, FirstLeg, FreshQuote, Kind, MerkleTree, Nonce,
    Open, Own, Path, PathInput, PeerVerdict, Receipt, Record, Side, SignedRecord, Stage, TlsParameters, Trailer,
    TrailerLimits, Upstream, binder, leaf, no_known_blobs,
};
use inclavared_attest::policy::{Binding, TerminalKind};
use inclavared_attest::{
    CollateralDigest, ConfigDigest, Digest, EvidenceDigest, KeyId, LegId, OpenDigest, PolicyDigest, Timestamp,
};

/// A verifier and the hops below it.
#[derive(Clone)]
pub(crate) struct Chain {
    pub(crate) now: Timestamp,
    pub(crate) nonce: Nonce,
    /// The verifier's own key, where it shows one.
    pub(crate) client: Option<Arc<HopKey>>,
    pub(crate) hops: Vec<ChainHop>,
    pub(crate) end: Downstream,
    /// What the hops' own policies ask of the path below.
    pub(crate) binding: Binding,
}

#[derive(Clone)]
pub(crate) struct ChainHop {
    pub(crate) key: Arc<HopKey>,
    pub(crate) role: String,
    pub(crate) evidence: Evidence,
    pub(crate) endorsements: Option<Arc<[u8]>>,
    pub(crate) leg: LegId,
    /// The payload of the OPEN that reached it.
    pub(crate) open: Vec<u8>,
    pub(crate) attester: Arc<dyn Attester>,
}

/// Spoils nothing.
pub(crate) fn untouched(_: u8, _: &mut Record) {}

impl Chain {
    /// One hop for each attester, the last one in the role `workload`.
    pub(crate) fn new(now: Timestamp, attesters: &[Arc<dyn Attester>]) -> Self {
        let nonce = Nonce::generate().unwrap();
        let mut chain = Self {
            now,
            nonce,
            client: None,
            hops: Vec::new(),
            end: Downstream::Terminal(TerminalKind::Workload),
            binding: Binding::Key,
        };
        for (i, attester) in attesters.iter().enumerate() {
            let role = match i {
                _ if i + 1 == attesters.len() => "workload",
                0 => "ingress",
                _ => "relay",
            };
            let key = Arc::new(HopKey::generate().unwrap());
            // As it comes out of the handshake: from the certificate, parsed strictly.
            let issued = certificate::issue(&key, attester.as_ref(), hop_claims(role, now), now).unwrap();
            let evidence = certificate::parse(issued.der(), now).unwrap().evidence.unwrap();
            let open = Open {
                versions: vec![1],
                nonce,
                binding: Binding::Key,
                route: None,
                policy: None,
                ttl: 8 - i as u8,
                visited: chain.hops.iter().map(|hop| hop.key.kid()).collect(),
                have: vec![],
                no_warm_legs: false,
                stranger: false,
            };
            let leg = LegId(Digest::of(&[&open.encode()[..], key.spki()].concat()));
            let (role, open, attester) = (role.to_owned(), open.encode(), attester.clone());
            let endorsements = issued.snp_endorsements().cloned();
            chain.hops.push(ChainHop { key, role, evidence, endorsements, leg, open, attester });
        }
        chain
    }

    pub(crate) fn preview(&self) -> Trailer {
        self.preview_with(&untouched)
    }

    /// `spoil` sees each record, with its position, before it is signed.
    pub(crate) fn preview_with(&self, spoil: &dyn Fn(u8, &mut Record)) -> Trailer {
        self.build(&|_| Stage::Preview, 0, spoil)
    }

    /// The same chain as the workload sees it behind its client: the nearest hop first.
    pub(crate) fn forward(&self) -> Trailer {
        self.forward_with(&untouched)
    }

    pub(crate) fn forward_with(&self, spoil: &dyn Fn(u8, &mut Record)) -> Trailer {
        self.build(&|_| Stage::Forward, 0, spoil)
    }

    pub(crate) fn refresh_with(
        &self,
        path: &Path,
        challenge: Option<Challenge>,
        spoil: &dyn Fn(u8, &mut Record),
    ) -> Trailer {
        let seq = path.hops[0].seq + 1;
        self.build(&|i| Stage::Refresh { preview: path.hops[i].preview, challenge }, seq, spoil)
    }

    pub(crate) fn final_with(&self, path: &Path, counters: Counters, spoil: &dyn Fn(u8, &mut Record)) -> Trailer {
        let receipt = Receipt { counters, close: CloseReason::Complete };
        let seq = path.hops[0].seq + 1;
        self.build(&|i| Stage::Final { preview: path.hops[i].preview, receipt }, seq, spoil)
    }

    fn build(&self, stage: &dyn Fn(usize) -> Stage, seq: u64, spoil: &dyn Fn(u8, &mut Record)) -> Trailer {
        let mut below: Option<Trailer> = None;
        for i in (0..self.hops.len()).rev() {
            let hop = &self.hops[i];
            let mut record = self.record(i, stage(i), seq, below.as_ref().map(|trailer| &trailer.records()[0]));
            spoil(i as u8 + 1, &mut record);
            let record = record.sign(&hop.key).unwrap();
            let sent = hop.endorsements.clone().filter(|_| record.record().own.endorsements.is_some());
            let blobs = [Arc::from(hop.evidence.blob())].into_iter().chain(sent);
            below = Some(match below {
                None => Trailer::new(record, blobs),
                Some(mut trailer) => {
                    trailer.prepend(record, blobs);
                    trailer
                }
            });
        }
        below.unwrap()
    }

    fn record(&self, i: usize, stage: Stage, seq: u64, below: Option<&SignedRecord>) -> Record {
        let hop = &self.hops[i];
        let peer = match i {
            0 => self.client.as_ref().map(|key| key.kid()),
            _ => Some(self.hops[i - 1].key.kid()),
        };
        let downstream = match (self.hops.get(i + 1), below) {
            (Some(next), Some(record)) => Downstream::Attested {
                peer: peer_of(next.leg, next.key.kid(), next.evidence.digest(), self.now),
                open: OpenDigest::of(&next.open),
                binding: self.binding,
                next: record.digest(),
                warm_ms: None,
            },
            _ => self.end.clone(),
        };
        let sent = hop.endorsements.as_ref().filter(|_| stage == Stage::Preview);
        let endorsements = sent.map(|sent| Digest::of(sent));
        Record {
            stage,
            role: hop.role.clone(),
            session: self.nonce.session(),
            depth: (self.hops.len() - i - 1) as u8,
            seq,
            iat_ms: self.now.0 * 1000,
            own: Own { spki: hop.key.spki().to_vec(), evidence: hop.evidence.digest(), fresh: None, endorsements },
            upstream: Upstream {
                leg: hop.leg,
                peer,
                open: OpenDigest::of(&hop.open),
                tls: TlsParameters { suite: 0x1301, group: 0x11ec, alpn: b"inclavared/1".to_vec() },
            },
            downstream,
        }
    }

    /// What the verifier holds against the trailer.
    pub(crate) fn input<'a>(&'a self, trailer: &'a [u8], expects: Expects<'a>) -> PathInput<'a> {
        let first = &self.hops[0];
        PathInput {
            trailer,
            limits: TrailerLimits::DEFAULT,
            expects,
            nonce: self.nonce,
            leg: FirstLeg { id: first.leg, spki: first.key.spki(), evidence: first.evidence.blob() },
            own: self.client.as_ref().map(|key| key.kid()),
            open: OpenDigest::of(&first.open),
            now: self.now,
            known: &no_known_blobs,
        }
    }
}

impl ChainHop {
    /// A fresh quote over `record`, in a tree with two other leaves. Gives the evidence, to be added as a blob.
    pub(crate) fn renew(&self, record: &mut Record, now: Timestamp) -> FreshEvidence {
        let challenge = match &record.stage {
            Stage::Refresh { challenge, .. } => challenge.as_ref(),
            _ => None,
        };
        let side = if record.kind() == Kind::Forward { Side::Client } else { Side::Server };
        let binder = binder(side, record.upstream.leg, record.upstream.open, self.key.kid());
        let leaf = leaf(binder, record.kind(), record.seq, challenge);
        let tree = MerkleTree::new(&[Digest::of(b"one"), Digest::of(b"two"), leaf]).unwrap();
        let fresh = fresh(self.attester.as_ref(), fresh_claims(tree.root(), now));
        record.own.fresh = Some(FreshQuote { evidence: fresh.digest(), path: tree.path(2).unwrap() });
        fresh
    }
}

/// A trailer of any parts, right or wrong.
pub(crate) fn raw(kind: Kind, records: &[&SignedRecord], blobs: &[&[u8]]) -> Vec<u8> {
    let blobs: BTreeMap<Digest, &[u8]> = blobs.iter().map(|blob| (Digest::of(blob), *blob)).collect();
    let mut w = Writer::new();
    w.array(4).uint(1).uint(kind.code()).array(records.len());
    records.iter().for_each(|record| _ = w.bytes(record.bytes()));
    w.map_header(blobs.len());
    blobs.iter().for_each(|(name, blob)| _ = w.bytes(name.as_bytes()).bytes(blob));
    w.finish()
}

pub(crate) fn hop_claims(role: &str, now: Timestamp) -> HopClaims {
    HopClaims {
        version: HopClaims::VERSION,
        chain_role: role.to_owned(),
        policy_digest: PolicyDigest::of(b"policy"),
        not_after: now.plus(Duration::from_secs(12 * 60)),
        config_digest: ConfigDigest::of(b"configuration"),
    }
}

pub(crate) fn evidence(attester: &dyn Attester, key: &HopKey, hop: Option<HopClaims>) -> Evidence {
    let claims = Claims::new(key.kid(), hop);
    let quote = attester.quote(&UserData::of(&claims)).unwrap();
    Evidence::new(attester.tag(), quote, claims).unwrap()
}

/// Over the tree of `root`, under the configuration of [`hop_claims`].
pub(crate) fn fresh_claims(root: Digest, now: Timestamp) -> FreshClaims {
    FreshClaims {
        config_digest: ConfigDigest::of(b"configuration"),
        not_after: now.plus(Duration::from_secs(12 * 60)),
        root,
        iat_ms: now.0 * 1000,
    }
}

pub(crate) fn fresh(attester: &dyn Attester, claims: FreshClaims) -> FreshEvidence {
    let quote = attester.quote(&UserData::of_fresh(&claims)).unwrap();
    FreshEvidence::new(attester.tag(), quote, claims).unwrap()
}

pub(crate) fn peer_of(leg: LegId, key: KeyId, evidence: EvidenceDigest, now: Timestamp) -> AttestedPeer {
    AttestedPeer {
        leg,
        key,
        evidence,
        verdict: PeerVerdict { status: "UpToDate".to_owned(), trust: [0; 8], compared: false, simulated: true },
        policy: PolicyDigest::of(b"policy"),
        collateral: CollateralDigest::of(b"collateral"),
        appraised_at: now,
    }
}
