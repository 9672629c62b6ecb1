use proptest::prelude::*;

use super::super::statement::Statement;
use super::*;
use crate::dcbor::DcborError;

fn place(address: &str) -> Target {
    Target::Plain { place: Place::TeeLocal, address: address.into() }
}

fn judged(policy: &[u8], passes: u8) -> Judged {
    Judged { policy: PolicyDigest::of(policy), passes: Passes(passes) }
}

fn key(name: &[u8]) -> KeyId {
    KeyId::of(name)
}

/// One route of a TDX guest: attested clients, a plain workload.
fn honest() -> Statement {
    Statement::new([Way::bytes(Source::Attested, place("127.0.0.1:31311"))], [Root::Intel], BTreeSet::new(), None)
        .unwrap()
}

/// Everything that a statement can say.
fn full() -> Statement {
    let ways = [
        Way::bytes(Source::Attested, Target::Attested(judged(b"p", 0))),
        Way::bytes(Source::Mutual(judged(b"q", 255)), Target::Mutual(judged(b"p", 131))),
        Way {
            http: true,
            marks: Mark::ALL.into(),
            targets: vec![
                place("/run/app.sock"),
                place("127.0.0.1:1"),
                Target::Module { name: "echo".into(), content: None },
                Target::Module { name: "files".into(), content: Some(Digest::of(b"files")) },
            ],
            source: Source::Pki {
                client_anchors: [key(b"a"), key(b"b")].into(),
                key: key(b"front"),
                made: FrontKey::MadeHere,
            },
        },
        Way::bytes(
            Source::Pki { client_anchors: BTreeSet::new(), key: key(b"front"), made: FrontKey::ReadFromFile },
            Target::Pki { name: "db.example".into(), anchors: [key(b"x"), key(b"y")].into() },
        ),
        Way::bytes(Source::Plain(Place::SameTee), place("127.0.0.1:2")),
        Way::bytes(Source::Plain(Place::HostLocal), Target::Plain { place: Place::Plain, address: "db:5432".into() }),
        Way::bytes(Source::Application("shelter".into()), place("127.0.0.1:2")),
    ];
    let roots = [Root::Simulated(key(b"root")), Root::Amd, Root::Intel];
    let commitment = Commitment { name: "model".into(), digest: Digest::of(b"weights") };
    Statement::new(ways, roots, Danger::ALL.into(), Some(commitment)).unwrap()
}

fn written(write: impl FnOnce(&mut Writer) -> &mut Writer) -> Vec<u8> {
    let mut w = Writer::new();
    write(&mut w);
    w.finish()
}

/// A statement of these encoded ways, roots and numbers, whatever they are.
fn raw(ways: &[Vec<u8>], roots: &[Vec<u8>], dangers: &[u64]) -> Vec<u8> {
    let encoded = |items: &[Vec<u8>]| {
        let head = written(|w| w.array(items.len()));
        [vec![head], items.to_vec()].concat().concat()
    };
    let dangers = written(|w| {
        w.array(dangers.len());
        dangers.iter().fold(w, |w, danger| w.uint(*danger))
    });
    [vec![0xa4, 1, 1, 2], encoded(ways), vec![3], encoded(roots), vec![4], dangers].concat()
}

/// A way from `source` to the encoded `target`.
fn raw_way(source: &[u8], target: &[u8]) -> Vec<u8> {
    [&[0xa2, 1], source, &[2, 0x81], target].concat()
}

fn refused(bytes: &[u8]) -> String {
    Statement::decode(bytes).map(|statement| format!("accepted {statement:?}")).unwrap_err().to_string()
}

#[test]
fn the_documented_example_does_not_move() {
    let statement = honest();
    let expected = "a401010281a201810102818304036f3132372e302e302e313a3331333131038181010480";
    assert_eq!(hex::encode(statement.encoded()), expected);
    assert_eq!(statement.encoded().len(), 36);
    assert_eq!(statement.digest().to_string(), "133da8186e60bbef6932b85c63a5de721b489adb722c58e4968337740505798a");
    assert_eq!(statement.find(&statement.ways()[0], &place("127.0.0.1:31311")), Some((0, 0)));
    assert_eq!(statement.find(&statement.ways()[0], &place("127.0.0.1:31312")), None);
    // With a second way out.
    let thief = Way::bytes(
        Source::Plain(Place::TeeLocal),
        Target::Pki { name: "thief".into(), anchors: [key(b"root")].into() },
    );
    let ways = [statement.ways()[0].clone(), thief];
    let evil = Statement::new(ways, [Root::Intel], BTreeSet::new(), None).unwrap();
    assert_eq!(evil.encoded().len(), 86);
}

#[test]
fn comes_back_as_it_was() {
    for statement in [honest(), full()] {
        assert_eq!(Statement::decode(statement.encoded()).as_ref(), Ok(&statement));
    }
    let full = full();
    assert_eq!((full.ways().len(), full.roots().len(), full.dangers().len()), (7, 3, 5));
}

#[test]
fn ways_are_a_set_in_one_order() {
    let ways = [
        Way::bytes(Source::Plain(Place::TeeLocal), place("b")),
        Way { targets: vec![place("d"), place("c")], http: true, ..Way::bytes(Source::Attested, place("")) },
        Way::bytes(Source::Plain(Place::TeeLocal), place("b")),
    ];
    let new =
        |ways: Vec<Way>| Statement::new(ways, [Root::Amd, Root::Intel, Root::Amd], BTreeSet::new(), None).unwrap();
    let one = new(ways.to_vec());
    let mut turned = ways.to_vec();
    turned.reverse();
    turned[1].targets.reverse();
    assert_eq!(one, new(turned));
    assert_eq!((one.ways().len(), one.roots()), (2, &[Root::Intel, Root::Amd][..]));
    for way in &ways {
        for target in &way.targets {
            let (at, to) = one.find(way, target).unwrap();
            let stated = super::super::Stated::new(one.clone().into(), at, to).unwrap();
            assert_eq!((&stated.way().source, stated.target()), (&way.source, target));
            assert_eq!(stated.other_ways().count(), 1);
        }
    }
    let one = std::sync::Arc::new(one);
    assert!(super::super::Stated::new(one.clone(), 2, 0).is_none(), "no such way");
    assert!(super::super::Stated::new(one, 0, 2).is_none(), "no such target");
}

#[test]
fn another_order_or_one_twice_is_refused() {
    let way = |address: &str| raw_way(&[0x81, 1], &place(address).bytes());
    let (a, b, root) = (way("a"), way("b"), Root::Intel.bytes());
    let roots = std::slice::from_ref(&root);
    assert!(Statement::decode(&raw(&[a.clone(), b.clone()], roots, &[1, 2])).is_ok());
    let cases = [
        (raw(&[b, a.clone()], roots, &[]), "ways"),
        (raw(&[a.clone(), a.clone()], roots, &[]), "ways"),
        (raw(std::slice::from_ref(&a), &[Root::Amd.bytes(), root.clone()], &[]), "roots"),
        (raw(std::slice::from_ref(&a), &[root.clone(), root.clone()], &[]), "roots"),
        (raw(std::slice::from_ref(&a), roots, &[2, 1]), "dangers"),
        (raw(std::slice::from_ref(&a), roots, &[2, 2]), "dangers"),
    ];
    for (bytes, field) in cases {
        let order = format!("{field} not in the order of their encodings, or one twice");
        assert_eq!(refused(&bytes), order);
    }
    let two = |first: &str, second: &str| {
        let targets = [vec![0x82], place(first).bytes(), place(second).bytes()].concat();
        raw(&[[&[0xa3, 1, 0x81, 1, 2], &targets[..], &[3, 1]].concat()], roots, &[])
    };
    assert!(Statement::decode(&two("a", "b")).is_ok());
    assert_eq!(refused(&two("b", "a")), "targets not in the order of their encodings, or one twice");
    assert_eq!(refused(&two("a", "a")), "targets not in the order of their encodings, or one twice");
    let marks = |marks: &[u8]| {
        let targets = place("a").bytes();
        raw(&[[&[0xa3, 1, 0x81, 1, 2, 0x81], &targets[..], &[4], marks].concat()], roots, &[])
    };
    assert!(Statement::decode(&marks(&[0x82, 1, 3])).is_ok());
    assert_eq!(refused(&marks(&[0x82, 3, 1])), "marks not in the order of their encodings, or one twice");
    assert_eq!(refused(&marks(&[0x80])), "marks: 0, 1 to 8 are allowed");
    let anchors = |a: &[u8], b: &[u8]| {
        let target = written(|w| w.array(3).uint(3).text("x").list([*key(a).as_bytes(), *key(b).as_bytes()].iter()));
        raw(&[raw_way(&[0x81, 1], &target)], roots, &[])
    };
    let (low, high) = if key(b"a") < key(b"b") { (b"a", b"b") } else { (b"b", b"a") };
    assert!(Statement::decode(&anchors(low, high)).is_ok());
    assert_eq!(refused(&anchors(high, low)), "authorities not in the order of their encodings, or one twice");
    assert_eq!(refused(&anchors(low, low)), "authorities not in the order of their encodings, or one twice");
}

#[test]
fn unknown_numbers_and_keys_are_refused() {
    let root = Root::Intel.bytes();
    let roots = std::slice::from_ref(&root);
    let way = raw_way(&[0x81, 1], &place("a").bytes());
    let ways = std::slice::from_ref(&way);
    let target = |bytes: &[u8]| raw(&[raw_way(&[0x81, 1], bytes)], roots, &[]);
    let source = |bytes: &[u8]| raw(&[raw_way(bytes, &place("a").bytes())], roots, &[]);
    let known = "expected a kind that is known, with its elements, found";
    let cases = [
        (source(&[0x81, 6]), format!("source: {known} 6")),
        (source(&[0x82, 1, 1]), format!("source: {known} 1")),
        (source(&[0x80]), "source: 0, 1 to 3 are allowed".into()),
        (source(&[0x82, 4, 1]), "place: expected 2 to 5, found 1".into()),
        (source(&[0x82, 4, 6]), "place: expected 2 to 5, found 6".into()),
        (source(&[0x82, 5, 0x60]), "application: expected 1 to 32 bytes, found 0".into()),
        (target(&[0x81, 6]), format!("target: {known} 6")),
        (target(&[0x83, 4, 3, 0x60]), "plain target: expected 1 to 255 bytes, found 0".into()),
        (target(&[0x83, 4, 3, 0x61, 0x0a]), "plain target has control characters".into()),
        (target(&[0x83, 3, 0x61, b'a', 0x80]), "authorities: 0, 1 to 32 are allowed".into()),
        (raw(ways, &[vec![0x81, 4]], &[]), format!("root: {known} 4")),
        (raw(ways, &[vec![0x81, 3]], &[]), format!("root: {known} 3")),
        (raw(ways, roots, &[6]), "dangers: expected 1 to 5, found 6".into()),
        (raw(ways, roots, &[0]), "dangers: expected 1 to 5, found 0".into()),
        (raw(&[], roots, &[]), "ways: 0, 1 to 128 are allowed".into()),
        (raw(&[[&[0xa3][..], &way[1..], &[3, 2]].concat()], roots, &[]), "http: expected 1 to 1, found 2".into()),
        (
            raw(&[[&[0xa3][..], &way[1..], &[4, 0x81, 5]].concat()], roots, &[]),
            "marks: expected 1 to 4, found 5".into(),
        ),
        (raw(&[[&[0xa3][..], &way[1..], &[5, 1]].concat()], roots, &[]), "key 5 is not known here".into()),
    ];
    for (bytes, error) in cases {
        assert_eq!(refused(&bytes), error, "{}", hex::encode(bytes));
    }
    let mut more = raw(ways, roots, &[]);
    more[0] = 0xa5;
    assert_eq!(refused(&[&more[..], &[6, 1]].concat()), "key 6 is not known here");
    let version = [&[0xa4, 1, 2], &raw(ways, roots, &[])[3..]].concat();
    assert_eq!(refused(&version), "version: expected 1 to 1, found 2");
}

#[test]
fn what_is_too_long_is_no_statement() {
    let route = |number: usize| Way::bytes(Source::Attested, place(&format!("127.0.0.1:{number}")));
    let many = |count: usize| Statement::new((0..count).map(route), [Root::Intel], BTreeSet::new(), None);
    assert_eq!(many(100).unwrap().ways().len(), 100);
    let long = |size: usize| {
        let name = |at: usize| format!("{at:02}{}", "x".repeat(size - 2));
        Statement::new((0..20).map(|at| Way::bytes(Source::Attested, place(&name(at)))), [], BTreeSet::new(), None)
    };
    assert_eq!(long(193).unwrap().encoded().len(), 4089);
    assert!(matches!(long(194), Err(StatementError::TooLong { found: 4109, .. })));
    assert_eq!(refused(&[0; 4097]), "a statement of 4097 bytes, at most 4096 are allowed");
    assert_eq!(many(129).unwrap_err().to_string(), "ways: expected at most 128 elements, found 129");
    let name = Statement::new([Way::bytes(Source::Application("x".repeat(33)), place("a"))], [], BTreeSet::new(), None);
    assert_eq!(name.unwrap_err().to_string(), "application: expected at most 32 bytes, found 33");
    let odd = Statement::new([Way::bytes(Source::Attested, place("a\nb"))], [], BTreeSet::new(), None);
    assert_eq!(odd.unwrap_err().to_string(), "plain target has control characters");
}

#[test]
fn only_the_one_encoding_is_read() {
    let trailing = [&honest().encoded()[..], &[0]].concat();
    assert_eq!(Statement::decode(&trailing).unwrap_err(), FormError::Dcbor(DcborError::Trailing { extra: 1 }).into());
    let wide = [&[0xa4, 1, 0x18, 1], &honest().encoded()[3..]].concat();
    assert_eq!(Statement::decode(&wide).unwrap_err(), FormError::Dcbor(DcborError::NotShortest { at: 2 }).into());
}

proptest! {
    #[test]
    fn bytes_of_a_peer_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = Statement::decode(&bytes);
    }

    #[test]
    fn a_changed_statement_is_refused_or_differs(at in 0usize..2000, bit in 0u8..8) {
        let full = full();
        let mut bytes = full.encoded().to_vec();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        if let Ok(changed) = Statement::decode(&bytes) {
            let made = Statement::new(
                changed.ways().to_vec(),
                changed.roots().to_vec(),
                changed.dangers().clone(),
                changed.commitment().cloned(),
            );
            prop_assert_ne!(&changed, &full);
            prop_assert_eq!(made.unwrap(), changed);
        }
    }
}
