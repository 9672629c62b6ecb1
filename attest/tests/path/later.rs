//! What follows a preview: refreshes, fresh quotes, and the final trailer with its receipts.

use std::sync::Arc;
use std::time::Duration;

use inclavared_attest::hop_key::HopKey;
use inclavared_attest::path::{
    Challenge, Check, Close, CloseReason, Counters, Downstream, Expects, Path, PathError, Record, Stage, Trailer,
    verify_path,
};
use inclavared_attest::policy::{Binding, Policy, TerminalKind};
use inclavared_attest::{LegId, OpenDigest, Reason, RecordDigest, Timestamp};

use crate::chain::{Chain, evidence, untouched};
use crate::preview::{assert_refused, at};
use crate::world::{NOW, WORLD, policy};

const COUNTED: Counters = Counters { up: 1234, down: 56_789 };
const LATER: Timestamp = Timestamp(NOW.0 + 1800);

/// A chain and its path as the preview gave it.
fn accepted(hops: usize) -> (Chain, Path) {
    let chain = Chain::new(NOW, &WORLD.attesters(hops));
    let path = verify(&chain, &chain.preview().encode(), Expects::Preview, &policy()).unwrap();
    (chain, path)
}

fn verify(chain: &Chain, trailer: &[u8], expects: Expects<'_>, policy: &Policy) -> Result<Path, PathError> {
    let mut input = chain.input(trailer, expects);
    if !matches!(expects, Expects::Preview) {
        // The certificates have ended by now; the legs live on.
        input.now = LATER;
    }
    verify_path(&input, policy, &WORLD.appraiser)
}

fn finish(chain: &Chain, path: &Path, spoil: &dyn Fn(u8, &mut Record)) -> Result<Path, PathError> {
    let trailer = chain.final_with(path, COUNTED, spoil).encode();
    verify(chain, &trailer, Expects::Final { path, counters: COUNTED }, &policy())
}

fn refresh(chain: &Chain, path: &Path, spoil: &dyn Fn(u8, &mut Record)) -> Result<Path, PathError> {
    let trailer = chain.refresh_with(path, None, spoil).encode();
    verify(chain, &trailer, Expects::Refresh { path, challenge: None }, &policy())
}

fn receipt(record: &mut Record) -> &mut inclavared_attest::path::Receipt {
    match &mut record.stage {
        Stage::Final { receipt, .. } => receipt,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_whole_session_is_receipted_at_every_hop() {
    let (chain, path) = accepted(3);
    assert_eq!(path.close, None);
    let done = finish(&chain, &path, &untouched).unwrap();
    assert_eq!(done.close, Some(Close::Complete { counters: COUNTED }));
    assert!(done.hops.iter().all(|hop| hop.receipt.unwrap().counters == COUNTED));
    assert_eq!(done.accepted_at, NOW);
    for (before, after) in path.hops.iter().zip(&done.hops) {
        assert_eq!(before.preview, after.preview);
        assert_ne!(before.record, after.record);
    }
}

#[test]
fn evidence_that_the_preview_showed_need_not_come_again() {
    let (chain, path) = accepted(3);
    let trailer = chain.final_with(&path, COUNTED, &untouched);
    let bare = trailer.encode_without(&|_| true);
    assert!(bare.len() < 3000, "{} bytes", bare.len());
    assert!(verify(&chain, &bare, Expects::Final { path: &path, counters: COUNTED }, &policy()).is_ok());
}

#[test]
fn counters_agree_along_the_path_and_with_the_verifiers_own() {
    let (chain, path) = accepted(3);
    for hop in 1..=3 {
        let error = finish(&chain, &path, &at(hop, |record| receipt(record).counters.down -= 1)).unwrap_err();
        assert_refused(&error, Some(hop), Check::Receipt, Reason::Receipt);
        assert_eq!(error.expected, "1234 up, 56789 down");
    }
    let trailer = chain.final_with(&path, COUNTED, &untouched).encode();
    let counters = Counters { up: 1235, ..COUNTED };
    let error = verify(&chain, &trailer, Expects::Final { path: &path, counters }, &policy()).unwrap_err();
    assert_refused(&error, Some(1), Check::Receipt, Reason::Receipt);
}

#[test]
fn an_early_end_is_partial_and_never_complete() {
    let (chain, path) = accepted(3);
    let early = |record: &mut Record| {
        receipt(record).close = CloseReason::HalfClose;
        receipt(record).counters.up -= 1;
    };
    let done = finish(&chain, &path, &at(3, early)).unwrap();
    assert_eq!(done.close, Some(Close::Partial { reason: CloseReason::HalfClose }));
}

/// The final trailer of a path that broke off below `after`, with records H1..H(after).
fn severed(chain: &Chain, path: &Path, after: usize, preview: RecordDigest, close: CloseReason) -> Vec<u8> {
    let mut cut = chain.clone();
    cut.hops.truncate(after);
    cut.end = Downstream::Severed { preview, reason: Reason::Reset };
    cut.final_with(path, COUNTED, &at(after as u8, |record| receipt(record).close = close)).encode()
}

#[test]
fn a_path_that_broke_off_says_where() {
    let (chain, path) = accepted(3);
    let expects = Expects::Final { path: &path, counters: COUNTED };
    for after in 1..=2 {
        let bytes = severed(&chain, &path, after, path.hops[after].preview, CloseReason::Severed);
        let done = verify(&chain, &bytes, expects, &policy()).unwrap();
        assert_eq!(done.close, Some(Close::Severed { after: after as u8, reason: Reason::Reset }));
    }
    let other = severed(&chain, &path, 1, path.hops[2].preview, CloseReason::Severed);
    let error = verify(&chain, &other, expects, &policy()).unwrap_err();
    assert_refused(&error, Some(1), Check::Severed, Reason::PathChain);
    let complete = severed(&chain, &path, 2, path.hops[2].preview, CloseReason::Complete);
    let error = verify(&chain, &complete, expects, &policy()).unwrap_err();
    assert_refused(&error, Some(2), Check::Severed, Reason::PathChain);
    let end = severed(&chain, &path, 3, RecordDigest::from_bytes([1; 32]), CloseReason::Severed);
    let error = verify(&chain, &end, expects, &policy()).unwrap_err();
    assert_refused(&error, Some(3), Check::Severed, Reason::PathChain);
}

#[test]
fn a_later_trailer_has_the_hops_of_the_preview() {
    let (chain, path) = accepted(3);
    // The last hop is gone, and the one above says that it is the end.
    let mut short = chain.clone();
    short.hops.truncate(2);
    let trailer = short.final_with(&path, COUNTED, &untouched).encode();
    let expects = Expects::Final { path: &path, counters: COUNTED };
    assert_refused(
        &verify(&chain, &trailer, expects, &policy()).unwrap_err(),
        None,
        Check::SameHops,
        Reason::PathChain,
    );
    // It dialed the same hop anew.
    let mut redialed = chain.clone();
    redialed.hops[2].leg = LegId::from_bytes([7; 32]);
    let trailer = redialed.final_with(&path, COUNTED, &untouched).encode();
    let error = verify(&chain, &trailer, expects, &policy()).unwrap_err();
    assert_refused(&error, Some(2), Check::SameDownstream, Reason::PathChain);
    // Another role than it played.
    let error = finish(&chain, &path, &at(2, |record| record.role = "workload".to_owned())).unwrap_err();
    assert_refused(&error, Some(2), Check::Role, Reason::Role);
    // Another kind of end than it said.
    let end = |record: &mut Record| record.downstream = Downstream::Terminal(TerminalKind::TeeLocal);
    let error = finish(&chain, &path, &at(3, end)).unwrap_err();
    assert_refused(&error, Some(3), Check::SameDownstream, Reason::PathChain);
}

#[test]
fn the_first_hop_is_the_one_of_the_preview() {
    // The verifier's own session is the same, but the path that it compares with is another.
    let (chain, path) = accepted(1);
    let expects = |path| Expects::Final { path, counters: COUNTED };
    let trailer = chain.final_with(&path, COUNTED, &untouched).encode();
    let mut other = path.clone();
    other.hops[0].kid = HopKey::generate().unwrap().kid();
    let error = verify(&chain, &trailer, expects(&other), &policy()).unwrap_err();
    assert_refused(&error, Some(1), Check::SameKey, Reason::PathChain);
    let mut other = path.clone();
    other.hops[0].leg = LegId::from_bytes([1; 32]);
    let error = verify(&chain, &trailer, expects(&other), &policy()).unwrap_err();
    assert_refused(&error, Some(1), Check::SameLeg, Reason::PathChain);
    let mut other = path.clone();
    other.hops[0].open = OpenDigest::from_bytes([1; 32]);
    let error = verify(&chain, &trailer, expects(&other), &policy()).unwrap_err();
    assert_refused(&error, Some(1), Check::SameLeg, Reason::PathChain);
    let mut other = path;
    let attester = chain.hops[0].attester.clone();
    other.hops[0].evidence = Arc::new(evidence(attester.as_ref(), &chain.hops[0].key, None));
    let error = verify(&chain, &trailer, expects(&other), &policy()).unwrap_err();
    assert_refused(&error, Some(1), Check::SameEvidence, Reason::PathChain);
}

#[test]
fn preview_digest_and_sequence_tie_a_record_to_what_was_before() {
    let (chain, path) = accepted(3);
    for hop in 1..=3 {
        let preview = |record: &mut Record| match &mut record.stage {
            Stage::Final { preview, .. } | Stage::Refresh { preview, .. } => *preview = RecordDigest::of(b"other"),
            _ => (),
        };
        let error = finish(&chain, &path, &at(hop, preview)).unwrap_err();
        assert_refused(&error, Some(hop), Check::PreviewDigest, Reason::PathChain);
        let error = finish(&chain, &path, &at(hop, |record| record.seq = 0)).unwrap_err();
        assert_refused(&error, Some(hop), Check::Seq, Reason::Freshness);
        assert_eq!((error.expected.as_str(), error.found.as_str()), ("more than 0", "0"));
    }
    // A refresh that is shown twice.
    let trailer = chain.refresh_with(&path, None, &untouched).encode();
    let renewed = verify(&chain, &trailer, Expects::Refresh { path: &path, challenge: None }, &policy()).unwrap();
    let again = Expects::Refresh { path: &renewed, challenge: None };
    let error = verify(&chain, &trailer, again, &policy()).unwrap_err();
    assert_refused(&error, Some(1), Check::Seq, Reason::Freshness);
    assert!(finish(&chain, &renewed, &untouched).is_ok());
}

#[test]
fn a_refresh_answers_the_challenge_that_was_put() {
    let (chain, path) = accepted(2);
    let challenge = Challenge::generate().unwrap();
    let trailer = chain.refresh_with(&path, Some(challenge), &untouched).encode();
    let check = |challenge| verify(&chain, &trailer, Expects::Refresh { path: &path, challenge }, &policy());
    assert!(check(Some(&challenge)).is_ok());
    let other = Challenge::from_bytes([1; 32]);
    for expected in [Some(&other), None] {
        assert_refused(&check(expected).unwrap_err(), Some(1), Check::Challenge, Reason::Freshness);
    }
    let unasked = refresh(&chain, &path, &untouched);
    assert!(unasked.is_ok());
    let silent = chain.refresh_with(&path, None, &untouched).encode();
    let error = verify(&chain, &silent, Expects::Refresh { path: &path, challenge: Some(&other) }, &policy());
    assert_refused(&error.unwrap_err(), Some(1), Check::Challenge, Reason::Freshness);
}

#[test]
fn a_workload_verifies_the_path_behind_its_client() {
    let mut chain = Chain::new(NOW, &WORLD.attesters(3));
    // The verifier that opened the path shows no evidence: that is for the workload's policy to allow.
    chain.end = Downstream::Terminal(TerminalKind::Plain);
    let bytes = chain.forward().encode();
    let error = verify(&chain, &bytes, Expects::Preview, &policy()).unwrap_err();
    assert_refused(&error, None, Check::TrailerKind, Reason::Protocol);
    let check = |policy: &Policy| verify_path(&chain.input(&bytes, Expects::Forward), policy, &WORLD.appraiser);
    assert_refused(&check(&policy()).unwrap_err(), None, Check::Shape, Reason::Shape);
    let mut open = policy();
    open.shape.terminals.insert(TerminalKind::Plain);
    assert_eq!(check(&open).unwrap().hops.len(), 3);
}

#[test]
fn every_hop_has_to_ask_below_for_what_the_verifier_asks() {
    let (mut chain, _) = accepted(2);
    chain.binding = Binding::Key;
    let audited = Policy { binding: Binding::KeyAudit, ..policy() };
    let error = verify(&chain, &chain.preview().encode(), Expects::Preview, &audited).unwrap_err();
    assert_refused(&error, Some(1), Check::BindingLevel, Reason::BindingLevel);
    assert_eq!((error.expected.as_str(), error.found.as_str()), ("key+audit", "key"));
    chain.binding = Binding::Quote;
    assert!(verify(&chain, &chain.preview().encode(), Expects::Preview, &audited).is_ok());
}

#[test]
fn a_relay_builds_its_record_from_the_path_below() {
    // H1 verifies what H2 shows, then speaks of it: the verifier accepts the whole.
    let (chain, _) = accepted(2);
    let below = Trailer::new(chain.preview().records()[1].clone(), [Arc::from(chain.hops[1].evidence.blob())]);
    let mut input = chain.input(&[], Expects::Preview);
    let bytes = below.encode();
    input.trailer = &bytes;
    input.leg.id = chain.hops[1].leg;
    input.leg.spki = chain.hops[1].key.spki();
    input.leg.evidence = chain.hops[1].evidence.blob();
    input.own = Some(chain.hops[0].key.kid());
    input.open = OpenDigest::of(&chain.hops[1].open);
    let path = verify_path(&input, &policy(), &WORLD.appraiser).unwrap();
    let mut record = chain.preview().records()[0].record().clone();
    record.downstream = path.as_downstream(inclavared_attest::PolicyDigest::of(b"policy"), Binding::Key);
    let mut whole = below;
    whole.prepend(record.sign(&chain.hops[0].key).unwrap(), [Arc::from(chain.hops[0].evidence.blob())]);
    let path = verify(&chain, &whole.encode(), Expects::Preview, &policy()).unwrap();
    assert_eq!(path.hops.len(), 2);
    assert_eq!(path.expires, NOW.plus(Duration::from_secs(12 * 60)));
}
