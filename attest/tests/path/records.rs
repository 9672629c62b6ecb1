//! Records one by one: each form comes back as it was, and each departure from it is refused by its name.

use inclavared_attest::dcbor::{FormError, Map};
use inclavared_attest::path::{
    Challenge, CloseReason, Counters, Downstream, Expects, FreshQuote, Kind, MerklePath, Receipt, Record, RecordError,
    SignedRecord, Stage, Trailer, TrailerError, TrailerLimits, no_known_blobs, verify_path,
};
use inclavared_attest::policy::{Binding, TerminalKind};
use inclavared_attest::sim::SimSpec;
use inclavared_attest::{CollateralDigest, Digest, EvidenceDigest, KeyId, LegId, OpenDigest, Reason, RecordDigest};

use crate::chain::{Chain, peer_of, raw};
use crate::preview::{at, sign};
use crate::world::{NOW, WORLD, policy};

fn chain(hops: usize) -> Chain {
    let attester = WORLD.attester(SimSpec::sgx("hop"));
    Chain::new(NOW, &vec![attester; hops])
}

fn record() -> (Chain, Record) {
    let chain = chain(1);
    let record = chain.preview().records()[0].record().clone();
    (chain, record)
}

#[test]
fn every_stage_and_downstream_comes_back_as_it_was() {
    let (chain, record) = record();
    let key = &chain.hops[0].key;
    let digest = RecordDigest::from_bytes([1; 32]);
    let peer = peer_of(LegId::from_bytes([2; 32]), KeyId::from_bytes([3; 32]), EvidenceDigest::of(b"e"), NOW);
    let receipt = |close| Receipt { counters: Counters { up: u64::MAX, down: 0 }, close };
    let mut stages = vec![
        Stage::Preview,
        Stage::Forward,
        Stage::Refresh { preview: digest, challenge: None },
        Stage::Refresh { preview: digest, challenge: Some(Challenge::from_bytes([4; 32])) },
    ];
    stages.extend(CloseReason::ALL.map(|close| Stage::Final { preview: digest, receipt: receipt(close) }));
    let mut downstreams = vec![Downstream::Legacy(peer.clone())];
    for binding in [Binding::Key, Binding::KeyAudit, Binding::Quote] {
        let open = OpenDigest::of(b"open");
        for warm_ms in [None, Some(0), Some(u64::MAX)] {
            downstreams.push(Downstream::Attested { peer: peer.clone(), open, binding, next: digest, warm_ms });
        }
    }
    use TerminalKind::{HostLocal, Plain, SameTee, TeeLocal, Workload};
    downstreams.extend([Workload, SameTee, TeeLocal, HostLocal, Plain].map(Downstream::Terminal));
    for stage in &stages {
        for downstream in &downstreams {
            let record = Record { stage: stage.clone(), downstream: downstream.clone(), ..record.clone() };
            let signed = record.clone().sign(key).unwrap();
            let read = SignedRecord::decode(signed.bytes()).unwrap();
            assert_eq!((read.record(), read.digest(), read.kid()), (&record, signed.digest(), key.kid()));
            assert_eq!(read.payload(), record.payload());
            assert!(read.verify(key.spki()));
        }
    }
    let severed = Downstream::Severed { preview: digest, reason: Reason::Truncated };
    let stage = Stage::Final { preview: digest, receipt: receipt(CloseReason::Severed) };
    let mut record = Record { stage, downstream: severed, ..record };
    let path = MerklePath { index: 0xffff, siblings: vec![Digest::of(b"s"); 16] };
    record.own.fresh = Some(FreshQuote { evidence: EvidenceDigest::of(b"f"), path });
    record.role = "r".repeat(64);
    let signed = record.clone().sign(key).unwrap();
    assert_eq!(SignedRecord::decode(signed.bytes()).unwrap().record(), &record);
}

#[test]
fn fields_outside_their_bounds_are_refused() {
    let (chain, good) = record();
    let refused = |spoil: &dyn Fn(&mut Record)| {
        let mut record = good.clone();
        spoil(&mut record);
        SignedRecord::decode(record.sign(&chain.hops[0].key).unwrap().bytes()).unwrap_err()
    };
    let range = |error: RecordError, field: &str| match error {
        RecordError::Form(FormError::Range { field: found, .. }) => assert_eq!(found, field),
        other => panic!("{field}: {other}"),
    };
    range(refused(&|record| record.role = "r".repeat(65)), "chain_role");
    range(refused(&|record| record.depth = 16), "depth");
    range(refused(&|record| record.upstream.tls.alpn = vec![b'a'; 65]), "alpn");
    let fresh = |index, steps| {
        let path = MerklePath { index, siblings: vec![Digest::of(b"s"); steps] };
        Some(FreshQuote { evidence: EvidenceDigest::of(b"f"), path })
    };
    range(refused(&|record| record.own.fresh = fresh(0, 17)), "path");
    range(refused(&|record| record.own.fresh = fresh(4, 2)), "index");
    range(refused(&|record| record.own.fresh = fresh(1, 0)), "index");
    let controls = RecordError::Form(FormError::ControlCharacters { field: "chain_role" });
    assert_eq!(refused(&|record| record.role = "a\u{7f}".to_owned()), controls);
}

#[test]
fn payloads_of_another_structure_are_refused() {
    let (chain, good) = record();
    let key = &chain.hops[0].key;
    let decode = |payload: Vec<u8>| SignedRecord::decode(&sign(payload, key.kid(), key)).unwrap_err();
    let form = |error: RecordError| match error {
        RecordError::Form(error) => error,
        other => panic!("{other}"),
    };
    // The good payload with one more key, and with each of its keys left out.
    let payload = good.payload();
    let mut more = payload.clone();
    more[0] += 1;
    more.extend([0x18, 99, 0]);
    assert_eq!(form(decode(more)), FormError::UnknownKey { key: 99 });
    let mut challenge = payload.clone();
    challenge[0] += 1;
    challenge.extend([15, 0xf6]);
    assert_eq!(form(decode(challenge)), FormError::UnknownKey { key: 15 }, "a challenge in a preview");
    assert_eq!(form(decode(Map::new().finish())), FormError::Missing { field: "version" });
    let version = Map::new().uint(1, 2).finish();
    assert!(matches!(form(decode(version)), FormError::Range { field: "version", found: 2, .. }));
    // `next` without a record below, and none where there is one.
    let null = payload.iter().rposition(|byte| *byte == 0xf6).unwrap();
    let next = [&payload[..null], &[0x58, 0x20], &[7; 32]].concat();
    assert_eq!(form(decode(next)), FormError::Type { field: "next", expected: "null", found: "a digest" });
    let two = self::chain(2);
    let attested = two.preview().records()[0].record().payload();
    let next = attested.len() - 34;
    let missing = [&attested[..next], &[0xf6]].concat();
    assert_eq!(form(decode(missing)), FormError::Type { field: "next", expected: "a digest", found: "null" });
}

#[test]
fn collateral_may_ride_along_where_it_is_allowed() {
    let chain = chain(2);
    let set = vec![7; 20_000];
    let name = CollateralDigest::of(&set);
    let trailer = chain.preview_with(&at(1, |record| {
        if let Downstream::Attested { peer, .. } = &mut record.downstream {
            peer.collateral = name;
        }
    }));
    let records: Vec<_> = trailer.records().iter().collect();
    let blobs = [chain.hops[0].evidence.blob(), chain.hops[1].evidence.blob(), &set];
    let bytes = raw(Kind::Preview, &records, &blobs);
    let error = Trailer::decode(&bytes, &TrailerLimits::DEFAULT, &no_known_blobs).unwrap_err();
    assert_eq!(error, TrailerError::BlobSize { name: name.0, limit: 0, found: 20_000 });
    let mut input = chain.input(&bytes, Expects::Preview);
    input.limits = TrailerLimits::MOST;
    assert!(verify_path(&input, &policy(), &WORLD.appraiser).is_ok());
}
