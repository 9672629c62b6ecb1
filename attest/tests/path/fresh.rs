//! Fresh quotes over legs: what is accepted, every check in its order, and that neither a fresh quote passes for a
//! certificate's evidence nor that for one.

use std::time::Duration;

use inclavared_attest::evidence::{Evidence, FreshClaims, FreshEvidence, Quoted};
use inclavared_attest::hop_key::HopKey;
use inclavared_attest::path::{
    Check, Downstream, Expects, FreshQuote, Kind, MerklePath, MerkleTree, Path, PathError, Record, Side, binder, leaf,
    verify_path,
};
use inclavared_attest::policy::{Binding, Policy, TerminalKind};
use inclavared_attest::sim::{SimSpec, TcbChoice};
use inclavared_attest::{ConfigDigest, Digest, EvidenceDigest, LegId, OpenDigest, Reason, Timestamp};

use crate::chain::{Chain, ChainHop, evidence, fresh, fresh_claims, hop_claims, peer_of, raw, untouched};
use crate::preview::{assert_refused, at};
use crate::world::{NOW, WORLD, policy};

const LATER: Timestamp = Timestamp(NOW.0 + 1800);

fn chain() -> Chain {
    Chain::new(NOW, &WORLD.attesters(1))
}

fn preview_record(chain: &Chain) -> Record {
    chain.preview().records()[0].record().clone()
}

fn quoted() -> Policy {
    Policy { binding: Binding::Quote, ..policy() }
}

/// A trailer of one hop with a fresh quote that `make` builds around the record.
fn with_fresh(chain: &Chain, record: &Record, make: impl Fn(&mut Record) -> FreshEvidence) -> Vec<u8> {
    let mut record = record.clone();
    let fresh = make(&mut record);
    trailer(chain, record, &fresh)
}

fn trailer(chain: &Chain, record: Record, fresh: &Quoted) -> Vec<u8> {
    let kind = record.kind();
    let signed = record.sign(&chain.hops[0].key).unwrap();
    raw(kind, &[&signed], &[chain.hops[0].evidence.blob(), fresh.blob()])
}

fn verify_at(chain: &Chain, trailer: &[u8], expects: Expects<'_>, now: Timestamp) -> Result<Path, PathError> {
    let mut input = chain.input(trailer, expects);
    input.now = now;
    verify_path(&input, &policy(), &WORLD.appraiser)
}

/// The one refusal of a preview whose fresh quote `make` has built.
fn refused(chain: &Chain, make: impl Fn(&mut Record) -> FreshEvidence) -> PathError {
    let bytes = with_fresh(chain, &preview_record(chain), make);
    verify_at(chain, &bytes, Expects::Preview, NOW).unwrap_err()
}

/// The leaf of a record of kind `kind` as its server's side has it.
fn leaf_of(hop: &ChainHop, record: &Record, side: Side) -> Digest {
    leaf(binder(side, record.upstream.leg, record.upstream.open, hop.key.kid()), record.kind(), record.seq, None)
}

/// A fresh quote over these leaves, with the first of them in the record.
fn over(
    hop: &ChainHop,
    record: &mut Record,
    leaves: &[Digest],
    claims: impl Fn(FreshClaims) -> FreshClaims,
) -> FreshEvidence {
    let tree = MerkleTree::new(leaves).unwrap();
    let fresh = fresh(hop.attester.as_ref(), claims(fresh_claims(tree.root(), NOW)));
    record.own.fresh = Some(FreshQuote { evidence: fresh.digest(), path: tree.path(0).unwrap() });
    fresh
}

#[test]
fn over_the_leg_opens_a_path_at_level_quote() {
    let chain = chain();
    let bytes = with_fresh(&chain, &preview_record(&chain), |record| chain.hops[0].renew(record, NOW));
    let check = |trailer: &[u8]| verify_path(&chain.input(trailer, Expects::Preview), &quoted(), &WORLD.appraiser);
    let path = check(&bytes).unwrap();
    assert_eq!(path.hops[0].fresh_at, Some(NOW));
    assert_eq!(*path.hops[0].evidence, chain.hops[0].evidence, "and the evidence stays that of the key");
    let error = check(&chain.preview().encode()).unwrap_err();
    assert_refused(&error, Some(1), Check::BindingLevel, Reason::BindingLevel);
}

#[test]
fn over_a_clients_leg_binds_the_path_behind_it() {
    let mut chain = chain();
    chain.end = Downstream::Terminal(TerminalKind::Workload);
    let record = chain.forward().records()[0].record().clone();
    let bytes = with_fresh(&chain, &record, |record| chain.hops[0].renew(record, NOW));
    let path = verify_path(&chain.input(&bytes, Expects::Forward), &quoted(), &WORLD.appraiser).unwrap();
    assert_eq!(path.hops[0].fresh_at, Some(NOW));
}

#[test]
fn in_a_refresh_renews_the_evidence() {
    let chain = chain();
    let path = verify_at(&chain, &chain.preview().encode(), Expects::Preview, NOW).unwrap();
    let audited = Policy { binding: Binding::KeyAudit, ..policy() };
    let bare = chain.refresh_with(&path, None, &untouched);
    let expects = Expects::Refresh { path: &path, challenge: None };
    let check = |trailer: &[u8]| {
        let mut input = chain.input(trailer, expects);
        // The certificates have ended by now; the legs live on.
        input.now = LATER;
        verify_path(&input, &audited, &WORLD.appraiser)
    };
    assert_refused(&check(&bare.encode()).unwrap_err(), Some(1), Check::BindingLevel, Reason::BindingLevel);
    let record = bare.records()[0].record();
    let bytes = with_fresh(&chain, record, |record| chain.hops[0].renew(record, LATER));
    let renewed = check(&bytes).unwrap();
    assert_eq!(renewed.hops[0].fresh_at, Some(LATER));
    assert_eq!(renewed.ages_at, LATER.plus(Duration::from_secs(3600)), "its age counts anew");
    assert_eq!(renewed.expires, LATER.plus(Duration::from_secs(12 * 60)), "and so does its end");
    assert_eq!(path.hops[0].fresh_at, None);
}

/// One that fails each check, in the order of the checks: whichever comes first is the one that is told.
#[test]
fn each_check_refuses_by_its_name() {
    let chain = chain();
    let hop = &chain.hops[0];
    let changed = |claims: &dyn Fn(FreshClaims) -> FreshClaims| {
        refused(&chain, |record| {
            let leaf = leaf_of(hop, record, Side::Server);
            over(hop, record, &[leaf], claims)
        })
    };
    let hour = Duration::from_secs(3600);
    let ms = |time: Timestamp| time.0 * 1000;
    for iat_ms in [ms(NOW.plus(Duration::from_secs(61))), ms(NOW) - ms(Timestamp(3661)), 0, u64::MAX] {
        let error = changed(&|claims| FreshClaims { iat_ms, not_after: Timestamp(0), ..claims });
        assert_refused(&error, Some(1), Check::FreshTime, Reason::Freshness);
    }
    let other = Digest::of(b"another tree");
    for not_after in [Timestamp(NOW.0 - 1), NOW.plus(hour).plus(Duration::from_secs(61)), Timestamp(0)] {
        let error = changed(&|claims| FreshClaims { not_after, root: other, ..claims });
        assert_refused(&error, Some(1), Check::FreshEnd, Reason::Expired);
    }
    let config_digest = ConfigDigest::of(b"of before a reload");
    let error = changed(&|claims| FreshClaims { root: other, config_digest, ..claims });
    assert_refused(&error, Some(1), Check::FreshRoot, Reason::Freshness);
    let error = changed(&|claims| FreshClaims { config_digest, ..claims });
    assert_refused(&error, Some(1), Check::FreshConfig, Reason::ConfigDigest);
    assert_eq!(error.found, config_digest.to_string());
    // A platform whose state is no longer acceptable, and then one that is another.
    let by = |spec: SimSpec| {
        let mut other = hop.clone();
        other.attester = WORLD.attester(spec);
        refused(&chain, |record| other.renew(record, NOW))
    };
    let outdated = by(SimSpec { tcb: TcbChoice::Unlisted, ..SimSpec::tdx("other code") });
    assert_refused(&outdated, Some(1), Check::FreshAppraisal, Reason::TcbStatus);
    let others = [
        SimSpec::sgx("other code"),
        SimSpec::tdx("hop"),
        SimSpec { machine: "another".to_owned(), ..SimSpec::sgx("hop") },
        SimSpec { debug: true, ..SimSpec::sgx("hop") },
    ];
    for spec in others {
        assert_refused(&by(spec), Some(1), Check::FreshIdentity, Reason::Identity);
    }
    // What the policy says of the end of evidence, it says of this one as well.
    let short = Policy { max_evidence_age: Duration::from_secs(15 * 60), ..policy() };
    let end = |minutes: u64| FreshClaims {
        not_after: NOW.plus(Duration::from_secs(60 * minutes)),
        ..fresh_claims(other, NOW)
    };
    for (minutes, passes) in [(14, true), (20, false)] {
        let bytes = with_fresh(&chain, &preview_record(&chain), |record| {
            let leaf = leaf_of(hop, record, Side::Server);
            over(hop, record, &[leaf], |claims| FreshClaims { root: claims.root, ..end(minutes) })
        });
        let judged = verify_path(&chain.input(&bytes, Expects::Preview), &short, &WORLD.appraiser);
        match judged {
            Ok(_) => assert!(passes),
            Err(error) => {
                assert!(!passes, "{error}");
                assert_refused(&error, Some(1), Check::Policy, Reason::Expired);
            }
        }
    }
}

/// The leaf names side, key, leg, OPEN, kind and sequence number: of anything else it is another.
#[test]
fn over_anything_but_this_record_is_refused() {
    let chain = chain();
    let hop = &chain.hops[0];
    type Spoil<'a> = (&'a str, &'a dyn Fn(&mut Record));
    let spoil: [Spoil<'_>; 3] = [
        ("leg", &|record| record.upstream.leg = LegId::from_bytes([1; 32])),
        ("OPEN", &|record| record.upstream.open = OpenDigest::from_bytes([1; 32])),
        ("sequence number", &|record| record.seq += 1),
    ];
    for (what, spoil) in spoil {
        let error = refused(&chain, |record| {
            let mut other = record.clone();
            spoil(&mut other);
            let leaf = leaf_of(hop, &other, Side::Server);
            over(hop, record, &[leaf], |claims| claims)
        });
        assert_eq!((error.check, error.reason()), (Check::FreshRoot, Reason::Freshness), "{what}: {error}");
    }
    let side = refused(&chain, |record| {
        let leaf = leaf_of(hop, record, Side::Client);
        over(hop, record, &[leaf], |claims| claims)
    });
    assert_refused(&side, Some(1), Check::FreshRoot, Reason::Freshness);
    let key = refused(&chain, |record| {
        let thief = HopKey::generate().unwrap();
        let binder = binder(Side::Server, record.upstream.leg, record.upstream.open, thief.kid());
        over(hop, record, &[leaf(binder, Kind::Preview, record.seq, None)], |claims| claims)
    });
    assert_refused(&key, Some(1), Check::FreshRoot, Reason::Freshness);
    let kind = refused(&chain, |record| {
        let binder = binder(Side::Server, record.upstream.leg, record.upstream.open, hop.key.kid());
        over(hop, record, &[leaf(binder, Kind::Refresh, record.seq, None)], |claims| claims)
    });
    assert_refused(&kind, Some(1), Check::FreshRoot, Reason::Freshness);
    // In the tree, by another way than the one that is shown.
    let turned = refused(&chain, |record| {
        let leaves = [leaf_of(hop, record, Side::Server), Digest::of(b"another")];
        let fresh = over(hop, record, &leaves, |claims| claims);
        record.own.fresh.as_mut().unwrap().path.index ^= 1;
        fresh
    });
    assert_refused(&turned, Some(1), Check::FreshRoot, Reason::Freshness);
}

/// Evidence of a key and a fresh quote, each in every place where a path has evidence: right in its own alone.
#[test]
fn neither_passes_for_the_other() {
    let chain = chain();
    let hop = &chain.hops[0];
    let right = with_fresh(&chain, &preview_record(&chain), |record| hop.renew(record, NOW));
    assert!(verify_at(&chain, &right, Expects::Preview, NOW).is_ok());
    let lone = MerklePath { index: 0, siblings: vec![] };

    // The certificate's own evidence shown as fresh (8.3), and so that of an interoperable peer.
    let interoperable = evidence(hop.attester.as_ref(), &hop.key, None);
    for shown in [&hop.evidence, &interoperable] {
        let mut record = preview_record(&chain);
        record.own.fresh = Some(FreshQuote { evidence: shown.digest(), path: lone.clone() });
        let error = verify_at(&chain, &trailer(&chain, record, shown), Expects::Preview, NOW).unwrap_err();
        assert_refused(&error, Some(1), Check::FreshForm, Reason::EvidenceForm);
    }

    // A fresh quote as the evidence of the first hop, whose certificate would have shown it (8.2).
    let mut record = preview_record(&chain);
    let fresh = hop.renew(&mut record, NOW);
    let mut posed = record.clone();
    posed.own.evidence = fresh.digest();
    let bytes = trailer_of(&chain, posed, &[fresh.blob()]);
    let mut input = chain.input(&bytes, Expects::Preview);
    input.leg.evidence = fresh.blob();
    let error = verify_path(&input, &policy(), &WORLD.appraiser).unwrap_err();
    assert_refused(&error, Some(1), Check::EvidenceForm, Reason::EvidenceForm);

    // As that of a hop further on, which the hop above says that it saw (10.4), in both directions.
    let two = Chain::new(NOW, &WORLD.attesters(2));
    for (stage, expects) in [(two.preview(), Expects::Preview), (two.forward(), Expects::Forward)] {
        let mut last = stage.records()[1].record().clone();
        let fresh = two.hops[1].renew(&mut last, NOW);
        last.own.fresh = None;
        last.own.evidence = fresh.digest();
        let last = last.sign(&two.hops[1].key).unwrap();
        let mut first = stage.records()[0].record().clone();
        if let Downstream::Attested { peer, next, .. } = &mut first.downstream {
            (peer.evidence, *next) = (fresh.digest(), last.digest());
        }
        let first = first.sign(&two.hops[0].key).unwrap();
        let bytes = raw(stage.kind(), &[&first, &last], &[two.hops[0].evidence.blob(), fresh.blob()]);
        let error = verify_path(&two.input(&bytes, expects), &policy(), &WORLD.appraiser).unwrap_err();
        assert_refused(&error, Some(2), Check::EvidenceForm, Reason::EvidenceForm);
    }

    // As that of a peer at the end that has no record.
    let mut ended = chain.clone();
    let peer = HopKey::generate().unwrap().kid();
    ended.end = Downstream::Legacy(peer_of(LegId::from_bytes([3; 32]), peer, fresh.digest(), NOW));
    let bytes = trailer_of(&ended, preview_record(&ended), &[hop.evidence.blob(), fresh.blob()]);
    let mut lenient = policy();
    lenient.shape.allow_legacy_end = true;
    let error = verify_path(&ended.input(&bytes, Expects::Preview), &lenient, &WORLD.appraiser).unwrap_err();
    assert_refused(&error, Some(2), Check::EvidenceForm, Reason::EvidenceForm);

    // Nor do those who read one alone; certificates have a test of their own.
    assert!(Evidence::decode(fresh.blob()).is_err() && FreshEvidence::decode(hop.evidence.blob()).is_err());
}

fn trailer_of(chain: &Chain, record: Record, blobs: &[&[u8]]) -> Vec<u8> {
    let signed = record.sign(&chain.hops[0].key).unwrap();
    raw(Kind::Preview, &[&signed], blobs)
}

#[test]
fn that_is_no_evidence_is_refused() {
    let chain = chain();
    let mut record = preview_record(&chain);
    let junk = b"junk";
    let path = MerklePath { index: 0, siblings: vec![] };
    record.own.fresh = Some(FreshQuote { evidence: EvidenceDigest::of(junk), path });
    let bytes = trailer_of(&chain, record, &[chain.hops[0].evidence.blob(), junk]);
    let error = verify_at(&chain, &bytes, Expects::Preview, NOW).unwrap_err();
    assert_refused(&error, Some(1), Check::FreshForm, Reason::EvidenceForm);
}

/// A policy that pins a configuration, or asks for a role, judges a refreshed hop by what its certificate says.
#[test]
fn leaves_role_and_configuration_to_the_evidence_of_the_key() {
    let chain = chain();
    let path = verify_at(&chain, &chain.preview().encode(), Expects::Preview, NOW).unwrap();
    assert_eq!(hop_claims("workload", NOW).chain_role, path.hops[0].role);
    let record = chain.refresh_with(&path, None, &untouched).records()[0].record().clone();
    let bytes = with_fresh(&chain, &record, |record| chain.hops[0].renew(record, LATER));
    let expects = Expects::Refresh { path: &path, challenge: None };
    assert!(verify_at(&chain, &bytes, expects, LATER).is_ok());
    let role = chain.refresh_with(&path, None, &at(1, |record| record.role = "relay".to_owned()));
    let error = verify_at(&chain, &role.encode(), expects, LATER).unwrap_err();
    assert_refused(&error, Some(1), Check::Role, Reason::Role);
}
