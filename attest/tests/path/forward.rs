//! The path behind a client, as a server verifies it: mirrored, and in two depths. A hop that judges nobody still finds
//! every forgery.

use std::sync::Arc;

use inclavared_attest::hop_key::HopKey;
use inclavared_attest::path::{
    Check, Downstream, Expects, Kind, Nonce, Path, PathError, Record, Stage, Trailer, join_path, verify_path,
};
use inclavared_attest::policy::{Policy, TerminalKind};
use inclavared_attest::sim::SimSpec;
use inclavared_attest::{KeyId, LegId, OpenDigest, PolicyDigest, Reason};

use crate::chain::{Chain, evidence, peer_of, raw};
use crate::preview::{assert_refused, at};
use crate::world::{NOW, WORLD, policy};

type Lie = fn(&mut Record);

/// Three hops behind a client, which begin with a verifier that shows no evidence. The first is the client.
fn chain() -> Chain {
    let mut chain = Chain::new(NOW, &WORLD.attesters(3));
    chain.client = Some(Arc::new(HopKey::generate().unwrap()));
    chain.end = Downstream::Terminal(TerminalKind::Plain);
    chain
}

fn callers() -> Policy {
    let mut policy = policy();
    policy.shape.terminals.insert(TerminalKind::Plain);
    policy
}

fn judged(chain: &Chain, trailer: &[u8]) -> Result<Path, PathError> {
    verify_path(&chain.input(trailer, Expects::Forward), &callers(), &WORLD.appraiser)
}

fn joined(chain: &Chain, trailer: &[u8]) -> Result<Path, PathError> {
    join_path(&chain.input(trailer, Expects::Forward))
}

#[test]
fn both_accept_what_is_right() {
    let chain = chain();
    let bytes = chain.forward().encode();
    let path = judged(&chain, &bytes).unwrap();
    let unjudged = joined(&chain, &bytes).unwrap();
    for path in [&path, &unjudged] {
        assert_eq!(path.hops.len(), 3);
        assert_eq!(path.session, chain.nonce.session());
    }
    // What is said of the client further on: a verdict, or that there is none.
    let of = |downstream| match downstream {
        Downstream::Attested { peer, .. } => peer,
        other => panic!("{other:?}"),
    };
    let said = of(path.as_downstream(PolicyDigest::of(b"p"), chain.binding));
    let unsaid = of(unjudged.as_unjudged_downstream(chain.binding));
    assert_eq!((said.verdict.status.as_str(), unsaid.verdict.status.as_str()), ("UpToDate", "NotAppraised"));
    assert_eq!((said.leg, said.key, said.evidence), (unsaid.leg, unsaid.key, unsaid.evidence));
    assert_eq!((unsaid.policy, unsaid.verdict.trust, unsaid.verdict.compared), (PolicyDigest::of(b""), [0; 8], false));
    assert!(said.verdict.simulated && unsaid.verdict.simulated);
}

#[test]
fn each_lie_is_refused_by_its_check_in_both() {
    let chain = chain();
    let lies: [(Check, Reason, Lie); 6] = [
        (Check::Session, Reason::Freshness, |r| r.session = Nonce::from_bytes([1; 32]).session()),
        (Check::Leg, Reason::PathChain, |r| r.upstream.leg = LegId::from_bytes([1; 32])),
        (Check::Peer, Reason::PathChain, |r| r.upstream.peer = Some(KeyId::from_bytes([1; 32]))),
        (Check::Open, Reason::PathChain, |r| r.upstream.open = OpenDigest::from_bytes([1; 32])),
        (Check::Depth, Reason::PathChain, |r| r.depth += 1),
        (Check::Role, Reason::Role, |r| r.role.push('s')),
    ];
    for verify in [judged, joined] {
        for hop in 1..=3 {
            for (check, reason, lie) in lies {
                let bytes = chain.forward_with(&at(hop, lie)).encode();
                assert_refused(&verify(&chain, &bytes).unwrap_err(), Some(hop), check, reason);
            }
        }
    }
}

#[test]
fn records_of_another_kind_session_or_place_do_not_pass() {
    let (chain, other) = (chain(), chain());
    let right = chain.forward();
    let blobs: Vec<_> = chain.hops.iter().chain(&other.hops).map(|hop| hop.evidence.blob()).collect();
    for verify in [judged, joined] {
        // A preview of the same legs: what a server says does not stand for what a client says.
        let preview = chain.preview().encode();
        assert_refused(&verify(&chain, &preview).unwrap_err(), None, Check::TrailerKind, Reason::Protocol);
        let mut posed = right.records()[0].record().clone();
        posed.stage = Stage::Preview;
        let posed = posed.sign(&chain.hops[0].key).unwrap();
        let bytes = raw(Kind::Forward, &[&posed, &right.records()[1], &right.records()[2]], &blobs[..3]);
        assert_refused(&verify(&chain, &bytes).unwrap_err(), Some(1), Check::RecordKind, Reason::PathForm);
        // Shown on another leg: the whole of another session.
        let error = verify(&chain, &other.forward().encode()).unwrap_err();
        assert_refused(&error, Some(1), Check::Key, Reason::PathChain);
        // One record of another session in the place of ours, and one left out.
        let theirs = other.forward();
        let spliced = [&right.records()[0], &theirs.records()[1], &theirs.records()[2]];
        let bytes = raw(Kind::Forward, &spliced, &[blobs[0], blobs[1], blobs[4], blobs[5]]);
        assert_refused(&verify(&chain, &bytes).unwrap_err(), Some(2), Check::RecordDigest, Reason::PathChain);
        let dropped = raw(Kind::Forward, &[&right.records()[0], &right.records()[2]], &blobs[..3]);
        assert_refused(&verify(&chain, &dropped).unwrap_err(), Some(1), Check::Depth, Reason::PathChain);
    }
}

#[test]
fn a_hidden_hop_breaks_the_chain() {
    let mut chain = chain();
    // The client says that the path begins with it, and leaves out who is behind it: the shape is the policy's.
    chain.hops.truncate(1);
    let bytes = chain.forward().encode();
    let strict =
        Policy { shape: inclavared_attest::policy::ChainShape { min_hops: 3, ..callers().shape }, ..callers() };
    let error = verify_path(&chain.input(&bytes, Expects::Forward), &strict, &WORLD.appraiser).unwrap_err();
    assert_refused(&error, None, Check::Shape, Reason::Shape);
    assert!(joined(&chain, &bytes).is_ok(), "whoever judges nobody lets it pass on");
}

#[test]
fn the_servers_own_key_behind_its_client_is_a_loop() {
    let mut chain = chain();
    chain.client = Some(Arc::clone(&chain.hops[1].key));
    let bytes = chain.forward().encode();
    for verify in [judged, joined] {
        assert_refused(&verify(&chain, &bytes).unwrap_err(), Some(2), Check::Loop, Reason::Loop);
    }
}

#[test]
fn evidence_is_judged_by_one_and_named_by_the_other() {
    let debug = SimSpec { debug: true, ..SimSpec::sgx("hop") };
    let attesters = [WORLD.attester(SimSpec::sgx("hop")), WORLD.attester(debug)];
    let mut chain = Chain::new(NOW, &attesters);
    chain.end = Downstream::Terminal(TerminalKind::Plain);
    let bytes = chain.forward().encode();
    assert_refused(&judged(&chain, &bytes).unwrap_err(), Some(2), Check::Policy, Reason::Debug);
    assert!(joined(&chain, &bytes).is_ok());
    // Evidence of another key is a forgery, and no judgement.
    let thief = HopKey::generate().unwrap();
    let mut stolen = chain;
    stolen.hops[1].key = Arc::new(thief);
    let bytes = stolen.forward().encode();
    assert_refused(&joined(&stolen, &bytes).unwrap_err(), Some(2), Check::EvidenceKey, Reason::Binding);
}

#[test]
fn a_client_without_records_is_judged_by_its_evidence() {
    let mut chain = chain();
    chain.hops.truncate(2);
    let key = HopKey::generate().unwrap();
    let attester = WORLD.attester(SimSpec::sgx("stock client"));
    let legacy = evidence(attester.as_ref(), &key, None);
    chain.end = Downstream::Legacy(peer_of(LegId::from_bytes([3; 32]), key.kid(), legacy.digest(), NOW));
    let trailer: Trailer = chain.forward();
    let refs: Vec<_> = trailer.records().iter().collect();
    let bytes =
        raw(Kind::Forward, &refs, &[chain.hops[0].evidence.blob(), chain.hops[1].evidence.blob(), legacy.blob()]);
    assert_refused(&judged(&chain, &bytes).unwrap_err(), None, Check::Shape, Reason::Shape);
    let mut lenient = callers();
    lenient.shape.allow_legacy_end = true;
    let path = verify_path(&chain.input(&bytes, Expects::Forward), &lenient, &WORLD.appraiser).unwrap();
    assert_eq!(path.legacy.unwrap().kid, key.kid());
    assert!(joined(&chain, &bytes).is_ok());
}
