//! Paths as a preview shows them: what is accepted, and for each check a path that fails exactly that one.

use std::sync::Arc;
use std::time::Duration;

use coset::{CborSerializable, CoseSign1, CoseSign1Builder, HeaderBuilder, iana};
use inclavared_attest::appraise::TcbStatus;
use inclavared_attest::hop_key::HopKey;
use inclavared_attest::path::{
    Abort, AttestedPeer, Check, Counters, Downstream, Expects, Fault, Kind, Nonce, Own, Path, PathError, RECORD_AAD,
    Record, SignedRecord, Trailer, TrailerLimits, verify_path,
};
use inclavared_attest::policy::{ChainShape, PathEnd, Policy, TerminalKind};
use inclavared_attest::sim::{SimSpec, TcbChoice};
use inclavared_attest::{Digest, EvidenceDigest, KeyId, LegId, OpenDigest, Reason, RecordDigest, Timestamp};

use crate::chain::{Chain, ChainHop, evidence, hop_claims, peer_of, raw, untouched};
use crate::world::{NOW, WORLD, policy};

fn chain(hops: usize) -> Chain {
    Chain::new(NOW, &WORLD.attesters(hops))
}

fn verify(chain: &Chain, trailer: &Trailer, policy: &Policy) -> Result<Path, PathError> {
    verify_bytes(chain, &trailer.encode(), policy)
}

fn verify_bytes(chain: &Chain, trailer: &[u8], policy: &Policy) -> Result<Path, PathError> {
    verify_path(&chain.input(trailer, Expects::Preview), policy, &WORLD.appraiser)
}

/// The one refusal of a path of which one record was spoiled before it was signed.
fn refused(chain: &Chain, spoil: &dyn Fn(u8, &mut Record)) -> PathError {
    verify(chain, &chain.preview_with(spoil), &policy()).unwrap_err()
}

#[track_caller]
pub(crate) fn assert_refused(error: &PathError, hop: Option<u8>, check: Check, reason: Reason) {
    assert_eq!((error.hop, error.check, error.reason()), (hop, check, reason), "{error}");
}

/// Spoils the record of one hop.
pub(crate) fn at(hop: u8, spoil: impl Fn(&mut Record)) -> impl Fn(u8, &mut Record) {
    move |position, record| {
        if position == hop {
            spoil(record);
        }
    }
}

#[test]
fn paths_of_one_to_eight_hops_are_accepted() {
    for hops in 1..=8 {
        let mut chain = chain(hops);
        chain.client = (hops % 2 == 0).then(|| Arc::new(HopKey::generate().unwrap()));
        let path = verify(&chain, &chain.preview(), &policy()).unwrap();
        assert_eq!(path.hops.len(), hops);
        assert_eq!(path.end, PathEnd::Terminal(TerminalKind::Workload));
        assert_eq!((path.worst, path.compared, path.simulated), (TcbStatus::UpToDate, false, true));
        assert_eq!(path.session, chain.nonce.session());
        for (hop, made) in path.hops.iter().zip(&chain.hops) {
            assert_eq!((hop.kid, hop.leg, &hop.role), (made.key.kid(), made.leg, &made.role));
            assert_eq!(hop.evidence.digest(), made.evidence.digest());
        }
    }
}

#[test]
fn a_path_is_as_bad_as_its_worst_hop_and_as_old_as_its_first_expiry() {
    let hardening = SimSpec { tcb: TcbChoice::Status(TcbStatus::SWHardeningNeeded), ..SimSpec::tdx("hop") };
    let attesters = [WORLD.attester(SimSpec::sgx("hop")), WORLD.attester(hardening)];
    let chain = Chain::new(NOW, &attesters);
    let path = verify(&chain, &chain.preview(), &policy()).unwrap();
    assert_eq!(path.worst, TcbStatus::SWHardeningNeeded);
    assert_eq!(path.expires, NOW.plus(Duration::from_secs(12 * 60)), "the certificates end first");
    assert!(path.is_current(Timestamp(path.expires.0 - 1)));
    assert!(!path.is_current(path.expires));
    assert_eq!(path.ages_at, NOW.plus(Duration::from_secs(3600)));
    let short = Policy { max_path_age: Duration::from_secs(60), ..policy() };
    let path = verify(&chain, &chain.preview(), &short).unwrap();
    assert_eq!(path.expires, NOW.plus(Duration::from_secs(60)));
}

#[test]
fn the_verifiers_own_view_of_its_leg_decides() {
    let chain = chain(2);
    let bytes = chain.preview().encode();
    let input = chain.input(&bytes, Expects::Preview);
    let check = |input| verify_path(&input, &policy(), &WORLD.appraiser).unwrap_err();

    let mut other = input;
    other.nonce = Nonce::from_bytes([9; 32]);
    assert_refused(&check(other), Some(1), Check::Session, Reason::Freshness);
    let mut other = input;
    other.leg.id = LegId::from_bytes([9; 32]);
    assert_refused(&check(other), Some(1), Check::Leg, Reason::PathChain);
    let key = HopKey::generate().unwrap();
    let mut other = input;
    other.leg.spki = key.spki();
    assert_refused(&check(other), Some(1), Check::Key, Reason::PathChain);
    let mut other = input;
    other.leg.evidence = chain.hops[1].evidence.blob();
    assert_refused(&check(other), Some(1), Check::EvidenceDigest, Reason::PathChain);
    let mut other = input;
    other.own = Some(key.kid());
    assert_refused(&check(other), Some(1), Check::Peer, Reason::PathChain);
    let mut other = input;
    other.open = OpenDigest::from_bytes([9; 32]);
    assert_refused(&check(other), Some(1), Check::Open, Reason::PathChain);
    let mut late = input;
    late.now = NOW.plus(Duration::from_secs(12 * 60 + 1));
    assert_refused(&check(late), Some(1), Check::NotAfter, Reason::Expired);
    let mut early = input;
    early.now = Timestamp(NOW.0 - 50 * 60);
    assert_refused(&check(early), Some(1), Check::NotAfter, Reason::Expired);
}

#[test]
fn a_record_that_is_not_what_the_hop_above_names_is_refused() {
    let chain = chain(3);
    let spoiled = |hop, spoil: fn(&mut Record)| refused(&chain, &at(hop, spoil));
    let session = |record: &mut Record| record.session = Nonce::from_bytes([1; 32]).session();
    let leg = |record: &mut Record| record.upstream.leg = LegId::from_bytes([1; 32]);
    let peer = |record: &mut Record| record.upstream.peer = Some(KeyId::from_bytes([1; 32]));
    let open = |record: &mut Record| record.upstream.open = OpenDigest::from_bytes([1; 32]);
    for hop in 1..=3 {
        assert_refused(&spoiled(hop, session), Some(hop), Check::Session, Reason::Freshness);
        assert_refused(&spoiled(hop, leg), Some(hop), Check::Leg, Reason::PathChain);
        assert_refused(&spoiled(hop, peer), Some(hop), Check::Peer, Reason::PathChain);
        assert_refused(&spoiled(hop, open), Some(hop), Check::Open, Reason::PathChain);
        assert_refused(&spoiled(hop, |r| r.depth += 1), Some(hop), Check::Depth, Reason::PathChain);
        assert_refused(&spoiled(hop, |r| r.role.push('s')), Some(hop), Check::Role, Reason::Role);
    }
    assert_refused(&spoiled(2, |r| r.upstream.peer = None), Some(2), Check::Peer, Reason::PathChain);
}

#[test]
fn what_a_hop_says_of_the_one_below_has_to_be_so() {
    let chain = chain(2);
    let spoiled = |spoil: &dyn Fn(&mut AttestedPeer)| {
        let spoil = |record: &mut Record| {
            if let Downstream::Attested { peer, .. } = &mut record.downstream {
                spoil(peer);
            }
        };
        refused(&chain, &at(1, spoil))
    };
    let key = spoiled(&|peer| peer.key = KeyId::from_bytes([1; 32]));
    assert_refused(&key, Some(2), Check::Key, Reason::PathChain);
    let leg = spoiled(&|peer| peer.leg = LegId::from_bytes([1; 32]));
    assert_refused(&leg, Some(2), Check::Leg, Reason::PathChain);
    let blob = chain.hops[0].evidence.digest();
    assert_refused(&spoiled(&|peer| peer.evidence = blob), Some(2), Check::EvidenceDigest, Reason::PathChain);
    let next = |record: &mut Record| {
        if let Downstream::Attested { next, .. } = &mut record.downstream {
            *next = RecordDigest::from_bytes([1; 32]);
        }
    };
    assert_refused(&refused(&chain, &at(1, next)), Some(2), Check::RecordDigest, Reason::PathChain);
    // The hop's own verdict is advice: the worst word in it changes nothing.
    let verdict = |record: &mut Record| {
        if let Downstream::Attested { peer, .. } = &mut record.downstream {
            peer.verdict.status = "Revoked".to_owned();
        }
    };
    assert!(verify(&chain, &chain.preview_with(&at(1, verdict)), &policy()).is_ok());
}

#[test]
fn a_leg_that_stood_ready_is_the_policys_matter() {
    let chain = chain(3);
    let warm = |record: &mut Record| {
        if let Downstream::Attested { warm_ms, .. } = &mut record.downstream {
            *warm_ms = Some(1500);
        }
    };
    let strict = Policy { refuse_warm_legs: true, ..policy() };
    assert!(verify(&chain, &chain.preview(), &strict).is_ok());
    for hop in 1..=2 {
        let preview = chain.preview_with(&at(hop, warm));
        let path = verify(&chain, &preview, &policy()).unwrap();
        let found = &path.hops[usize::from(hop) - 1].downstream;
        assert!(matches!(found, Downstream::Attested { warm_ms: Some(1500), .. }), "{found:?}");
        let error = verify(&chain, &preview, &strict).unwrap_err();
        assert_refused(&error, Some(hop), Check::WarmLeg, Reason::BindingLevel);
        assert!(error.found.contains("1500 ms"), "{error}");
    }
}

#[test]
fn a_record_signed_by_another_key_is_refused() {
    let chain = chain(1);
    let hop = &chain.hops[0];
    let refused = |record: &SignedRecord| {
        verify_bytes(&chain, &raw(Kind::Preview, &[record], &[hop.evidence.blob()]), &policy()).unwrap_err()
    };
    let record = chain.preview().records()[0].clone();
    let forger = HopKey::generate().unwrap();

    // The header and the payload name the right key, the signature is another's.
    let payload = CoseSign1::from_slice(record.bytes()).unwrap().payload.unwrap();
    let forged = SignedRecord::decode(&sign(payload, hop.key.kid(), &forger)).unwrap();
    assert_refused(&refused(&forged), Some(1), Check::Signature, Reason::RecordSignature);

    // The payload names another SPKI than the header.
    let own = Own { spki: forger.spki().to_vec(), ..record.record().own.clone() };
    let other = Record { own, ..record.record().clone() }.sign(&forger).unwrap();
    let payload = CoseSign1::from_slice(other.bytes()).unwrap().payload.unwrap();
    let spki = SignedRecord::decode(&sign(payload, hop.key.kid(), &hop.key)).unwrap();
    assert_refused(&refused(&spki), Some(1), Check::Spki, Reason::PathChain);

    // All of it is the forger's.
    assert_refused(&refused(&other), Some(1), Check::Key, Reason::PathChain);
}

/// Signs any payload under any kid, as `Record::sign` does not.
pub(crate) fn sign(payload: Vec<u8>, kid: KeyId, key: &HopKey) -> Vec<u8> {
    let header = HeaderBuilder::new().algorithm(iana::Algorithm::ES256).key_id(kid.as_bytes().to_vec()).build();
    let cose = CoseSign1Builder::new()
        .protected(header)
        .payload(payload)
        .create_signature(RECORD_AAD, |message| key.sign_es256(message).unwrap().to_vec())
        .build();
    cose.to_vec().unwrap()
}

#[test]
fn dropped_swapped_and_spliced_records_are_refused() {
    let chain = chain(3);
    let trailer = chain.preview();
    let records = trailer.records();
    let of = |order: &[usize], blobs: &[usize]| {
        let records: Vec<_> = order.iter().map(|i| &records[*i]).collect();
        let blobs: Vec<_> = blobs.iter().map(|i| chain.hops[*i].evidence.blob()).collect();
        verify_bytes(&chain, &raw(Kind::Preview, &records, &blobs), &policy()).unwrap_err()
    };
    // A blob that no record names any more is found first.
    assert_refused(&of(&[0], &[0, 1, 2]), None, Check::BlobUnreferenced, Reason::PathChain);
    assert_refused(&of(&[0], &[0, 1]), Some(1), Check::Depth, Reason::PathChain);
    assert_refused(&of(&[0, 1], &[0, 1, 2]), Some(1), Check::Depth, Reason::PathChain);
    assert_refused(&of(&[1, 2], &[1, 2]), Some(1), Check::Key, Reason::PathChain);
    assert_refused(&of(&[1, 0, 2], &[0, 1, 2]), Some(1), Check::Key, Reason::PathChain);
    assert_refused(&of(&[0, 2, 1], &[0, 1, 2]), Some(2), Check::RecordDigest, Reason::PathChain);
    assert_refused(&of(&[0, 1, 1, 2], &[0, 1, 2]), Some(1), Check::Depth, Reason::PathChain);
}

#[test]
fn what_was_signed_for_another_session_or_leg_does_not_fit() {
    let chain = chain(3);
    let blobs: Vec<_> = chain.hops.iter().map(|hop| hop.evidence.blob()).collect();
    // H1 puts what H2 and H3 signed elsewhere under a record of this session.
    let spliced = |other: Chain| {
        let other = other.preview();
        let mut record = chain.preview().records()[0].record().clone();
        if let Downstream::Attested { next, .. } = &mut record.downstream {
            *next = other.records()[1].digest();
        }
        let record = record.sign(&chain.hops[0].key).unwrap();
        let bytes = raw(Kind::Preview, &[&record, &other.records()[1], &other.records()[2]], &blobs);
        verify_bytes(&chain, &bytes, &policy()).unwrap_err()
    };
    let mut session = chain.clone();
    session.nonce = Nonce::from_bytes([9; 32]);
    assert_refused(&spliced(session), Some(2), Check::Session, Reason::Freshness);
    let mut leg = chain.clone();
    leg.hops[1].leg = LegId::from_bytes([9; 32]);
    assert_refused(&spliced(leg), Some(2), Check::Leg, Reason::PathChain);
    let mut client = chain.clone();
    client.hops[0].key = Arc::new(HopKey::generate().unwrap());
    assert_refused(&spliced(client), Some(2), Check::Peer, Reason::PathChain);
}

#[test]
fn a_hop_cannot_hide_the_one_below_it() {
    let chain = chain(3);
    // H2 says that it is the end; the record of H3 stays there.
    let hides = |record: &mut Record| record.downstream = Downstream::Terminal(TerminalKind::Workload);
    let error = refused(&chain, &at(2, hides));
    assert_refused(&error, Some(3), Check::End, Reason::PathChain);
    // It takes the record and the blob away as well: only the shape can tell, and the policy demands it.
    let short = self::chain(2);
    let demanding = Policy { shape: ChainShape { min_hops: 3, ..policy().shape }, ..policy() };
    let error = verify(&short, &short.preview(), &demanding).unwrap_err();
    assert_refused(&error, None, Check::Shape, Reason::Shape);
    // It promises a record and gives none.
    let blobs: Vec<_> = chain.hops.iter().map(|hop| hop.evidence.blob()).collect();
    let cut = |trailer: &Trailer| {
        let records = trailer.records();
        verify_bytes(&chain, &raw(Kind::Preview, &[&records[0], &records[1]], &blobs), &policy()).unwrap_err()
    };
    assert_refused(&cut(&chain.preview()), Some(1), Check::Depth, Reason::PathChain);
    let shallower = chain.preview_with(&|_, record| record.depth = record.depth.saturating_sub(1));
    assert_refused(&cut(&shallower), Some(2), Check::End, Reason::PathChain);
}

#[test]
fn a_key_that_comes_twice_is_a_loop() {
    let mut chain = chain(3);
    // H3 is H1 again: the same key and evidence on another leg.
    let (leg, open) = (chain.hops[2].leg, chain.hops[2].open.clone());
    chain.hops[2] = ChainHop { leg, open, ..chain.hops[0].clone() };
    assert_refused(&refused(&chain, &untouched), Some(3), Check::Loop, Reason::Loop);
}

#[test]
fn evidence_is_appraised_and_judged_at_every_hop() {
    let spoil = |hop: usize, spec: SimSpec| {
        let mut attesters = WORLD.attesters(3);
        attesters[hop] = WORLD.attester(spec);
        let chain = Chain::new(NOW, &attesters);
        verify(&chain, &chain.preview(), &policy()).unwrap_err()
    };
    for hop in 0..3 {
        let debug = spoil(hop, SimSpec { debug: true, ..SimSpec::sgx("hop") });
        assert_refused(&debug, Some(hop as u8 + 1), Check::Policy, Reason::Debug);
        let tcb = TcbChoice::Status(TcbStatus::OutOfDate);
        let old = spoil(hop, SimSpec { tcb, ..SimSpec::sgx("hop") });
        assert_refused(&old, Some(hop as u8 + 1), Check::Policy, Reason::TcbStatus);
        let revoked = spoil(hop, SimSpec { tcb: TcbChoice::Status(TcbStatus::Revoked), ..SimSpec::sgx("hop") });
        assert_eq!((revoked.hop, revoked.reason()), (Some(hop as u8 + 1), Reason::TcbStatus), "{revoked}");
        let unlisted = spoil(hop, SimSpec { tcb: TcbChoice::Unlisted, ..SimSpec::sgx("hop") });
        assert_refused(&unlisted, Some(hop as u8 + 1), Check::Appraisal, Reason::TcbStatus);
    }
    let strict = Policy { allow_simulated: false, ..policy() };
    let chain = chain(2);
    let error = verify(&chain, &chain.preview(), &strict).unwrap_err();
    assert_refused(&error, Some(1), Check::Policy, Reason::Simulated);
}

#[test]
fn evidence_speaks_of_the_key_and_the_role_and_of_a_hop() {
    let mut chain = chain(2);
    let attester = chain.hops[1].attester.clone();
    // A relayed quote: genuine evidence of another key.
    let stolen = HopKey::generate().unwrap();
    chain.hops[1].evidence = evidence(attester.as_ref(), &stolen, Some(hop_claims("workload", NOW)));
    assert_refused(&refused(&chain, &untouched), Some(2), Check::EvidenceKey, Reason::Binding);
    chain.hops[1].evidence = evidence(attester.as_ref(), &chain.hops[1].key, Some(hop_claims("ingress", NOW)));
    assert_refused(&refused(&chain, &untouched), Some(2), Check::Role, Reason::Role);
    chain.hops[1].evidence = evidence(attester.as_ref(), &chain.hops[1].key, None);
    assert_refused(&refused(&chain, &untouched), Some(2), Check::HopClaims, Reason::EvidenceForm);
    let long = NOW.plus(Duration::from_secs(3661));
    let mut claims = hop_claims("workload", NOW);
    claims.not_after = long;
    chain.hops[1].evidence = evidence(attester.as_ref(), &chain.hops[1].key, Some(claims));
    assert_refused(&refused(&chain, &untouched), Some(2), Check::NotAfter, Reason::Expired);
}

#[test]
fn blobs_have_their_names_and_their_place() {
    let chain = chain(2);
    let limits = |blob| TrailerLimits { blob, ..TrailerLimits::DEFAULT };
    let trailer = chain.preview();
    let bytes = trailer.encode();
    let check = |bytes: &[u8], limits| {
        let mut input = chain.input(bytes, Expects::Preview);
        input.limits = limits;
        verify_path(&input, &policy(), &WORLD.appraiser).unwrap_err()
    };
    let long = check(&bytes, limits(1000));
    assert_refused(&long, None, Check::BlobSize, Reason::PathForm);
    let name = chain.hops[1].evidence.digest();
    let without = trailer.encode_without(&|blob| *blob == name.0);
    let missing = check(&without, TrailerLimits::DEFAULT);
    assert_refused(&missing, None, Check::BlobMissing, Reason::PathChain);
    assert_eq!(missing.expected, name.to_string());

    let records: Vec<_> = trailer.records().iter().collect();
    let blobs = [chain.hops[0].evidence.blob(), chain.hops[1].evidence.blob(), b"another blob"];
    let unreferenced = check(&raw(Kind::Preview, &records, &blobs), TrailerLimits::DEFAULT);
    assert_refused(&unreferenced, None, Check::BlobUnreferenced, Reason::PathChain);
    assert_eq!(unreferenced.found, Digest::of(b"another blob").to_string());

    // What both hold may be left out, and what the verifier's own cache gives is hashed like the rest.
    let known = |digest: &EvidenceDigest| (*digest == name).then(|| Arc::from(chain.hops[1].evidence.blob()));
    let mut input = chain.input(&without, Expects::Preview);
    input.known = &known;
    assert!(verify_path(&input, &policy(), &WORLD.appraiser).is_ok());
    let wrong = |_: &EvidenceDigest| Some(Arc::from(&b"something else"[..]));
    input.known = &wrong;
    let error = verify_path(&input, &policy(), &WORLD.appraiser).unwrap_err();
    assert_refused(&error, None, Check::BlobName, Reason::PathChain);
}

#[test]
fn a_blob_that_is_no_evidence_is_refused_even_under_its_right_name() {
    let chain = chain(1);
    let junk: Arc<[u8]> = Arc::from(&b"junk"[..]);
    let mut record = chain.preview().records()[0].record().clone();
    record.own.evidence = EvidenceDigest::of(&junk);
    let trailer = Trailer::new(record.sign(&chain.hops[0].key).unwrap(), [junk.clone()]).encode();
    let mut input = chain.input(&trailer, Expects::Preview);
    input.leg.evidence = &junk;
    let error = verify_path(&input, &policy(), &WORLD.appraiser).unwrap_err();
    assert_refused(&error, Some(1), Check::EvidenceForm, Reason::EvidenceForm);
}

#[test]
fn hops_are_counted_before_anything_else() {
    let chain = chain(9);
    let error = verify(&chain, &chain.preview(), &policy()).unwrap_err();
    assert_refused(&error, None, Check::HopCount, Reason::PathForm);
    assert_eq!((error.expected.as_str(), error.found.as_str()), ("1 to 8", "9"));
    let bytes = chain.preview().encode();
    let mut input = chain.input(&bytes, Expects::Preview);
    input.limits = TrailerLimits::MOST;
    let roomy = Policy { shape: ChainShape { max_hops: 16, ..policy().shape }, ..policy() };
    assert_eq!(verify_path(&input, &roomy, &WORLD.appraiser).unwrap().hops.len(), 9);
    input.limits.bytes = bytes.len() - 1;
    let error = verify_path(&input, &roomy, &WORLD.appraiser).unwrap_err();
    assert_refused(&error, None, Check::TrailerForm, Reason::PathForm);
    assert!(error.found.contains("at most"), "{error}");
    // An empty trailer: [1, 1, [], {}].
    let empty = verify_path(&chain.input(&[0x84, 1, 1, 0x80, 0xa0], Expects::Preview), &roomy, &WORLD.appraiser);
    assert_refused(&empty.unwrap_err(), None, Check::HopCount, Reason::PathForm);
}

#[test]
fn parts_that_are_missing_or_of_another_version_are_refused() {
    let chain = chain(1);
    let error =
        |bytes: &[u8]| verify_path(&chain.input(bytes, Expects::Preview), &policy(), &WORLD.appraiser).unwrap_err();
    for bytes in [&[][..], &[0x83, 1, 1, 0x80], &[0x84, 2, 1, 0x80, 0xa0], &[0xa0], &[0x84, 1, 9, 0x80, 0xa0]] {
        assert_refused(&error(bytes), None, Check::TrailerForm, Reason::PathForm);
    }
    let junk = error(&[0x84, 1, 1, 0x81, 0x41, 0x00, 0xa0]);
    assert_refused(&junk, Some(1), Check::RecordForm, Reason::PathForm);
}

#[test]
fn kinds_are_not_mixed() {
    let chain = chain(2);
    let preview = verify(&chain, &chain.preview(), &policy()).unwrap();
    let counters = Counters::default();
    let last = chain.final_with(&preview, counters, &untouched);
    assert_refused(&verify(&chain, &last, &policy()).unwrap_err(), None, Check::TrailerKind, Reason::Protocol);
    // A record of another kind in a trailer of the right one.
    let final_record = last.records();
    let blobs: Vec<_> = chain.hops.iter().map(|hop| hop.evidence.blob()).collect();
    let bytes = raw(Kind::Preview, &[&final_record[0], &final_record[1]], &blobs);
    let error = verify_bytes(&chain, &bytes, &policy()).unwrap_err();
    assert_refused(&error, Some(1), Check::RecordKind, Reason::PathForm);
    // A broken-off path is no preview: it does not even parse as one.
    let severed = Downstream::Severed { preview: RecordDigest::from_bytes([0; 32]), reason: Reason::Reset };
    let bytes = chain.preview_with(&at(2, |record| record.downstream = severed.clone())).encode();
    let error = verify_bytes(&chain, &bytes, &policy()).unwrap_err();
    assert_refused(&error, Some(2), Check::RecordForm, Reason::PathForm);
}

#[test]
fn the_end_and_the_shape_are_the_policys() {
    let mut chain = chain(2);
    for kind in [TerminalKind::HostLocal, TerminalKind::Plain, TerminalKind::SameTee] {
        chain.end = Downstream::Terminal(kind);
        let error = refused(&chain, &untouched);
        assert_refused(&error, None, Check::Shape, Reason::Shape);
    }
    chain.end = Downstream::Terminal(TerminalKind::TeeLocal);
    let path = verify(&chain, &chain.preview(), &policy()).unwrap();
    assert_eq!(path.end, PathEnd::Terminal(TerminalKind::TeeLocal));
}

#[test]
fn a_legacy_end_is_appraised_by_the_verifier_itself() {
    let mut chain = chain(2);
    let key = HopKey::generate().unwrap();
    let attester = WORLD.attester(SimSpec::sgx("legacy"));
    let legacy = evidence(attester.as_ref(), &key, None);
    let peer = peer_of(LegId::from_bytes([3; 32]), key.kid(), legacy.digest(), NOW);
    chain.end = Downstream::Legacy(peer.clone());
    let mut lenient = policy();
    lenient.shape.allow_legacy_end = true;
    let build = |chain: &Chain| {
        let trailer = chain.preview();
        let blobs = [chain.hops[0].evidence.blob(), chain.hops[1].evidence.blob(), legacy.blob()];
        raw(Kind::Preview, &[&trailer.records()[0], &trailer.records()[1]], &blobs)
    };
    let path = verify_bytes(&chain, &build(&chain), &lenient).unwrap();
    assert_eq!(path.end, PathEnd::Legacy);
    assert_eq!(path.legacy.unwrap().kid, key.kid());
    assert_refused(&verify_bytes(&chain, &build(&chain), &policy()).unwrap_err(), None, Check::Shape, Reason::Shape);
    // Evidence of another key than the one on that leg.
    chain.end = Downstream::Legacy(AttestedPeer { key: KeyId::of(b"other"), ..peer.clone() });
    let error = verify_bytes(&chain, &build(&chain), &lenient).unwrap_err();
    assert_refused(&error, Some(3), Check::EvidenceKey, Reason::Binding);
    chain.end = Downstream::Legacy(AttestedPeer { key: chain.hops[0].key.kid(), ..peer });
    let error = verify_bytes(&chain, &build(&chain), &lenient).unwrap_err();
    assert_refused(&error, Some(3), Check::Loop, Reason::Loop);
}

#[test]
fn an_error_names_hop_check_expected_and_found() {
    let chain = chain(2);
    let error = refused(&chain, &at(2, |record| record.depth = 5));
    assert_eq!(error.to_string(), "hop 2: depth: expected 0, found 5");
    let fault = Fault::from(&error);
    assert_eq!((fault.distance, fault.code, fault.text.as_deref()), (0, Reason::PathChain, Some("depth")));
    assert_eq!(fault.hop, Some(2));
    assert_eq!((fault.expected.as_deref(), fault.found.as_deref()), (Some("0"), Some("5")));
    assert_eq!(Abort::from(&error), Abort { code: Reason::PathChain, text: Some("hop 2: depth".to_owned()) });
    let strict = Policy { allow_simulated: false, ..policy() };
    let error = verify(&chain, &chain.preview(), &strict).unwrap_err();
    assert!(error.to_string().starts_with("hop 1: policy (`test`, "), "{error}");
}
