//! Whole paths with real keys, certificates and simulated quotes, for the tests of reports.

#![allow(clippy::unwrap_used, reason = "test code, outside of test functions")]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use inclavared_attest::appraise::{Appraiser, CollateralBook, Root, TrustRoots};
use inclavared_attest::attester::{Attester, UserData};
use inclavared_attest::certificate;
use inclavared_attest::evidence::{Claims, Evidence, HopClaims, Tee};
use inclavared_attest::hop_key::HopKey;
use inclavared_attest::path::{
    AttestedPeer, CloseReason, Counters, Downstream, Expects, FirstLeg, Nonce, Open, Own, Path, PathError, PathInput,
    PeerVerdict, Receipt, Record, SignedRecord, Stage, TlsParameters, Trailer, TrailerLimits, Upstream, no_known_blobs,
    verify_path,
};
use inclavared_attest::policy::{Binding, Policy, TerminalKind};
use inclavared_attest::sim::{SimAttester, SimPlatform, SimSpec};
use inclavared_attest::{
    CollateralDigest, ConfigDigest, Digest, EvidenceDigest, KeyId, LegId, OpenDigest, PolicyDigest, Timestamp,
};
use inclavared_config::parse_policy;

use super::{Recording, recorded};

pub(super) const NOW: Timestamp = Timestamp(1_800_000_000);

pub(super) struct World {
    platform: Arc<SimPlatform>,
    appraiser: Appraiser,
}

pub(super) static WORLD: LazyLock<World> = LazyLock::new(|| {
    let platform = SimPlatform::generate(NOW).unwrap();
    let book = CollateralBook::new();
    for tee in [Tee::Sgx, Tee::Tdx] {
        book.insert(Root::Simulated, Arc::new(platform.collateral(tee).unwrap().clone())).unwrap();
    }
    let roots = TrustRoots::intel().with_simulated(platform.root_der());
    World { platform: Arc::new(platform), appraiser: Appraiser::new(roots, Arc::new(book)) }
});

pub(super) fn policy() -> Policy {
    Policy { name: "test".to_owned(), allow_simulated: true, ..Policy::genuine_only() }
}

/// What `path` passes, and hardly another.
pub(super) fn pinned(path: &Path) -> Policy {
    let text = recorded(
        path,
        &Recording { name: "pinned", address: "tcp://h:1", at: NOW, operator: None, key: None, policy: &policy() },
    );
    parse_policy("values.toml", &text, None).unwrap()
}

/// The hops of a path below a verifier.
pub(super) struct Chain {
    appraiser: &'static Appraiser,
    nonce: Nonce,
    hops: Vec<ChainHop>,
    end: Downstream,
    /// Evidence of the peer behind the last hop.
    legacy: Option<Evidence>,
}

struct ChainHop {
    key: HopKey,
    role: String,
    evidence: Evidence,
    leg: LegId,
    open: Vec<u8>,
}

/// SGX and TDX in turn: `ingress`, `relay`s, `workload`.
pub(super) fn chain(world: &'static World, now: Timestamp, count: usize) -> Chain {
    let spec = |i: usize| if i.is_multiple_of(2) { SimSpec::sgx("hop") } else { SimSpec::tdx("hop") };
    chain_of(world, now, &(0..count).map(spec).collect::<Vec<_>>())
}

pub(super) fn chain_of(world: &'static World, now: Timestamp, specs: &[SimSpec]) -> Chain {
    let role = |i: usize| match i {
        _ if i + 1 == specs.len() => "workload",
        0 => "ingress",
        _ => "relay",
    };
    let hops: Vec<_> = specs.iter().enumerate().map(|(i, spec)| (role(i), spec.clone())).collect();
    chain_with(world, now, &hops)
}

pub(super) fn chain_with(world: &'static World, now: Timestamp, hops: &[(&str, SimSpec)]) -> Chain {
    let nonce = Nonce::generate().unwrap();
    let hops = hops.iter().map(|(role, spec)| ChainHop::new(world, now, nonce, role, spec.clone())).collect();
    let end = Downstream::Terminal(TerminalKind::Workload);
    Chain { appraiser: &world.appraiser, nonce, hops, end, legacy: None }
}

impl ChainHop {
    fn new(world: &World, now: Timestamp, nonce: Nonce, role: &str, spec: SimSpec) -> Self {
        let key = HopKey::generate().unwrap();
        let attester = SimAttester::new(&world.platform, spec).unwrap();
        let claims = HopClaims {
            version: HopClaims::VERSION,
            chain_role: role.to_owned(),
            policy_digest: PolicyDigest::of(b"policy"),
            not_after: now.plus(Duration::from_secs(12 * 60)),
            config_digest: ConfigDigest::of(b"configuration"),
        };
        let issued = certificate::issue(&key, &attester, claims, now).unwrap();
        let evidence = certificate::parse(issued.der(), now).unwrap().evidence.unwrap();
        let open = Open {
            versions: vec![1],
            nonce,
            binding: Binding::Key,
            route: None,
            policy: None,
            ttl: 8,
            visited: vec![],
            have: vec![],
            no_warm_legs: false,
            stranger: false,
        };
        let leg = LegId(Digest::of(key.spki()));
        Self { role: role.to_owned(), evidence, leg, open: open.encode(), key }
    }
}

impl Chain {
    /// An attested peer that does not speak this protocol stands at the end.
    pub(super) fn with_legacy_end(mut self, world: &World, label: &str) -> Self {
        let attester = SimAttester::new(&world.platform, SimSpec::sgx(label)).unwrap();
        let key = HopKey::generate().unwrap();
        let claims = Claims::new(key.kid(), None);
        let quote = attester.quote(&UserData::of(&claims)).unwrap();
        let evidence = Evidence::new(attester.tag(), quote, claims).unwrap();
        self.end = Downstream::Legacy(peer_of(LegId::from_bytes([3; 32]), key.kid(), evidence.digest()));
        self.legacy = Some(evidence);
        self
    }

    pub(super) fn verify(&self, policy: &Policy) -> Result<Path, PathError> {
        self.judge(&self.trailer(&|_| Stage::Preview, 0), Expects::Preview, policy)
    }

    pub(super) fn close(&self, path: &Path, counters: Counters) -> Result<Path, PathError> {
        let receipt = Receipt { counters, close: CloseReason::Complete };
        let trailer = self.trailer(&|i| Stage::Final { preview: path.hops[i].preview, receipt }, 1);
        self.judge(&trailer, Expects::Final { path, counters }, &policy())
    }

    fn judge(&self, trailer: &Trailer, expects: Expects<'_>, policy: &Policy) -> Result<Path, PathError> {
        let first = &self.hops[0];
        let input = PathInput {
            trailer: &trailer.encode(),
            limits: TrailerLimits::DEFAULT,
            expects,
            nonce: self.nonce,
            leg: FirstLeg { id: first.leg, spki: first.key.spki(), evidence: first.evidence.blob() },
            own: None,
            open: OpenDigest::of(&first.open),
            now: NOW,
            known: &no_known_blobs,
        };
        verify_path(&input, policy, self.appraiser)
    }

    fn trailer(&self, stage: &dyn Fn(usize) -> Stage, seq: u64) -> Trailer {
        let mut below: Option<Trailer> = None;
        for i in (0..self.hops.len()).rev() {
            let hop = &self.hops[i];
            let record = self.record(i, stage(i), seq, below.as_ref().map(|trailer| &trailer.records()[0]));
            let record = record.sign(&hop.key).unwrap();
            let legacy = self.legacy.as_ref().filter(|_| below.is_none());
            let blobs = [Some(&hop.evidence), legacy].into_iter().flatten().map(|evidence| evidence.blob().into());
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
        let downstream = match (self.hops.get(i + 1), below) {
            (Some(next), Some(record)) => Downstream::Attested {
                peer: peer_of(next.leg, next.key.kid(), next.evidence.digest()),
                open: OpenDigest::of(&next.open),
                binding: Binding::Key,
                next: record.digest(),
                warm_ms: None,
            },
            _ => self.end.clone(),
        };
        Record {
            stage,
            role: hop.role.clone(),
            session: self.nonce.session(),
            depth: (self.hops.len() - i - 1) as u8,
            seq,
            iat_ms: NOW.0 * 1000,
            own: Own {
                spki: hop.key.spki().to_vec(),
                evidence: hop.evidence.digest(),
                fresh: None,
                endorsements: None,
            },
            upstream: Upstream {
                leg: hop.leg,
                peer: i.checked_sub(1).map(|above| self.hops[above].key.kid()),
                open: OpenDigest::of(&hop.open),
                tls: TlsParameters { suite: 0x1301, group: 0x11ec, alpn: b"inclavared/1".to_vec() },
            },
            downstream,
        }
    }
}

fn peer_of(leg: LegId, key: KeyId, evidence: EvidenceDigest) -> AttestedPeer {
    AttestedPeer {
        leg,
        key,
        evidence,
        verdict: PeerVerdict { status: "UpToDate".to_owned(), trust: [0; 8], compared: false, simulated: true },
        policy: PolicyDigest::of(b"policy"),
        collateral: CollateralDigest::of(b"collateral"),
        appraised_at: NOW,
    }
}
