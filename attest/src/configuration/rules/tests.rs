use std::sync::Arc;

use super::super::statement::{FrontKey, Judged, Passes, Place, Root, Statement};
use super::*;
use crate::{Digest, KeyId, PolicyDigest};

fn plain(place: Place, address: &str) -> Target {
    Target::Plain { place, address: address.into() }
}

fn own() -> Way {
    Way::bytes(Source::Attested, plain(Place::TeeLocal, "127.0.0.1:1"))
}

fn statement(ways: impl IntoIterator<Item = Way>) -> Arc<Statement> {
    with(ways, [], None)
}

fn with<const N: usize>(
    ways: impl IntoIterator<Item = Way>,
    dangers: [Danger; N],
    commitment: Option<Commitment>,
) -> Arc<Statement> {
    Arc::new(Statement::new(ways, [Root::Intel], dangers.into(), commitment).unwrap())
}

fn stated(statement: Arc<Statement>, way: &Way) -> Stated {
    let (at, to) = statement.find(way, &way.targets[0]).unwrap();
    Stated::new(statement, at, to).unwrap()
}

fn judge(rules: &ConfigurationRules, stated: &Stated) -> Result<Judgement, ConfigurationFinding> {
    ConfigurationRule::Rules(rules.clone()).judge(Some(stated), Direction::Onward)
}

/// Rules that let the path's own target pass and are strict about the rest.
fn strict() -> ConfigurationRules {
    ConfigurationRules { targets: Targets::OneOf(["127.0.0.1:1".to_owned()].into()), ..Default::default() }
}

fn key_of(result: Result<Judgement, ConfigurationFinding>) -> &'static str {
    result.unwrap_err().key
}

#[test]
fn the_default_lets_no_plain_or_pki_end_pass() {
    let default = ConfigurationRules::default();
    let judged = Judged { policy: PolicyDigest::of(b""), passes: Passes(255) };
    let pki = Target::Pki { name: "db.example".into(), anchors: [KeyId::of(b"")].into() };
    let module = Target::Module { name: "echo".into(), content: None };
    let cases = [
        (plain(Place::TeeLocal, "127.0.0.1:1"), false),
        (pki, false),
        (module, true),
        (Target::Attested(judged), true),
        (Target::Mutual(judged), true),
    ];
    for (target, passes) in cases {
        let way = Way::bytes(Source::Attested, target.clone());
        let result = judge(&default, &stated(statement([way.clone()]), &way));
        match passes {
            true => assert_eq!(result, Ok(Judgement::Rules), "{target}"),
            false => {
                let finding = result.unwrap_err();
                assert_eq!((finding.key, finding.found), ("targets", target.to_string()));
            }
        }
    }
}

#[test]
fn targets_are_listed_exactly_as_stated() {
    let pki = Target::Pki { name: "db.example".into(), anchors: [KeyId::of(b"")].into() };
    let module = |name: &str| Target::Module { name: name.into(), content: None };
    let listed = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        ConfigurationRules { targets: Targets::OneOf(names), ..Default::default() }
    };
    let cases = [
        (plain(Place::TeeLocal, "127.0.0.1:1"), &["127.0.0.1:1"][..], true),
        (plain(Place::TeeLocal, "127.0.0.1:1"), &["127.0.0.1:2", "pki:db.example"], false),
        (plain(Place::TeeLocal, "localhost:1"), &["127.0.0.1:1"], false),
        (pki.clone(), &["pki:db.example"], true),
        (pki, &["db.example"], false),
        (module("echo"), &["module:echo"], true),
        (module("files"), &["module:echo"], false),
        (module("files"), &["127.0.0.1:1"], true),
    ];
    for (target, names, passes) in cases {
        let way = Way::bytes(Source::Attested, target.clone());
        let stated = stated(statement([way.clone()]), &way);
        assert_eq!(judge(&listed(names), &stated).is_ok(), passes, "{target} in {names:?}");
        let any = ConfigurationRules { targets: Targets::Any, ..Default::default() };
        assert_eq!(judge(&any, &stated), Ok(Judgement::Rules));
        // A hop behind a client leads to its judge: where it comes from is not a target.
        let behind = ConfigurationRule::Rules(Default::default()).judge(Some(&stated), Direction::Behind);
        assert_eq!(behind, Ok(Judgement::Rules));
    }
}

#[test]
fn the_paths_own_target_is_judged_and_no_other() {
    let other = Way { http: true, targets: vec![own().targets[0].clone(), plain(Place::Plain, "db:1")], ..own() };
    let statement = statement([other]);
    let rules = ConfigurationRules { other_ways: OtherWays::None, ..strict() };
    assert_eq!(judge(&rules, &Stated::new(statement.clone(), 0, 0).unwrap()), Ok(Judgement::Rules));
    let finding = judge(&rules, &Stated::new(statement, 0, 1).unwrap()).unwrap_err();
    assert_eq!((finding.expected.as_str(), finding.found.as_str()), ("127.0.0.1:1", "db:1"));
}

#[test]
fn no_way_out_of_the_tee_but_to_compared_code() {
    let judged = |passes| Judged { policy: PolicyDigest::of(b"p"), passes };
    let lax = [Passes::NOT_COMPARED, Passes::SIMULATED, Passes::NULL, Passes::DEBUG, Passes::END_OUTSIDE];
    let fine = [Passes::default(), Passes::ANY_MACHINE, Passes::LEGACY_END, Passes::ANY_CONFIGURATION];
    let pki = || Target::Pki { name: "thief".into(), anchors: [KeyId::of(b"")].into() };
    let front = Source::Pki { client_anchors: BTreeSet::new(), key: KeyId::of(b""), made: FrontKey::MadeHere };
    let module = Target::Module { name: "echo".into(), content: None };
    let (inside, local, outside) = (Source::Plain(Place::SameTee), Source::Plain(Place::TeeLocal), Place::Plain);
    let mut cases = vec![
        (Way::bytes(local.clone(), pki()), false),
        (Way::bytes(inside.clone(), plain(outside, "thief:1")), false),
        (Way::bytes(local.clone(), plain(Place::TeeLocal, "127.0.0.1:2")), false),
        (Way::bytes(local.clone(), module), true),
        (Way::bytes(Source::Plain(outside), pki()), true),
        (Way::bytes(Source::Plain(Place::HostLocal), pki()), true),
        (Way::bytes(Source::Attested, pki()), true),
        (Way::bytes(front, pki()), true),
        (Way::bytes(Source::Application("x".into()), pki()), true),
    ];
    for passes in lax {
        cases.push((Way::bytes(local.clone(), Target::Attested(judged(passes))), false));
        cases.push((Way::bytes(inside.clone(), Target::Mutual(judged(passes))), false));
    }
    for passes in fine {
        cases.push((Way::bytes(local.clone(), Target::Mutual(judged(passes))), true));
    }
    let targets = vec![Target::Mutual(judged(Passes::default())), pki()];
    cases.push((Way { http: true, targets, ..Way::bytes(local, pki()) }, false));
    for (way, passes) in cases {
        let stated = stated(statement([own(), way.clone()]), &own());
        let result = judge(&strict(), &stated);
        match passes {
            true => assert_eq!(result, Ok(Judgement::Rules), "{way}"),
            false => {
                let finding = result.unwrap_err();
                assert_eq!((finding.key, finding.found), ("other_ways", way.to_string()));
            }
        }
        let alone = ConfigurationRules { other_ways: OtherWays::None, ..strict() };
        assert_eq!(key_of(judge(&alone, &stated)), "other_ways", "{way}");
        let any = ConfigurationRules { other_ways: OtherWays::Any, ..strict() };
        assert_eq!(judge(&any, &stated), Ok(Judgement::Rules), "{way}");
    }
    let alone = ConfigurationRules { other_ways: OtherWays::None, ..strict() };
    assert_eq!(judge(&alone, &stated(statement([own()]), &own())), Ok(Judgement::Rules));
}

#[test]
fn switches_and_marks_are_among_the_words() {
    for danger in Danger::ALL {
        let stated = stated(with([own()], [danger], None), &own());
        let finding = judge(&strict(), &stated).unwrap_err();
        assert_eq!((finding.key, finding.expected.as_str()), ("danger", "none"));
        assert!(finding.found.starts_with(danger.word()), "{}", finding.found);
        let allowed = ConfigurationRules { dangers: [danger].into(), ..strict() };
        assert_eq!(judge(&allowed, &stated), Ok(Judgement::Rules));
    }
    for mark in Mark::ALL {
        // On another way: a mark weakens a process for all who use it.
        let other = Way { marks: [mark].into(), ..Way::bytes(Source::Attested, plain(Place::Plain, "b:1")) };
        let stated = stated(statement([own(), other]), &own());
        let default = matches!(mark, Mark::Legacy | Mark::Disclosed);
        match default {
            true => assert_eq!(judge(&strict(), &stated), Ok(Judgement::Rules)),
            false => assert_eq!(key_of(judge(&strict(), &stated)), "marks"),
        }
        let none = ConfigurationRules { marks: BTreeSet::new(), ..strict() };
        assert_eq!(key_of(judge(&none, &stated)), "marks");
        let all = ConfigurationRules { marks: Mark::ALL.into(), ..strict() };
        assert_eq!(judge(&all, &stated), Ok(Judgement::Rules));
    }
}

#[test]
fn a_commitment_is_there_and_listed() {
    let model = |weights: &[u8]| Commitment { name: "model".into(), digest: Digest::of(weights) };
    let rules = ConfigurationRules { commitments: Some([model(b"1"), model(b"2")].into()), ..strict() };
    for (commitment, passes) in [(None, false), (Some(model(b"3")), false), (Some(model(b"2")), true)] {
        let stated = stated(with([own()], [], commitment.clone()), &own());
        match passes {
            true => assert_eq!(judge(&rules, &stated), Ok(Judgement::Rules)),
            false => {
                let finding = judge(&rules, &stated).unwrap_err();
                let found = commitment.map_or_else(|| "none".into(), |commitment| commitment.to_string());
                assert_eq!((finding.key, finding.found), ("commitments", found));
            }
        }
        assert_eq!(judge(&strict(), &stated), Ok(Judgement::Rules), "not asked");
    }
}

#[test]
fn digests_stand_alone_and_any_asks_for_nothing() {
    let stated = stated(with([own()], [Danger::Null], None), &own());
    let digest = stated.statement().digest();
    let listed = ConfigurationRule::Digests([ConfigDigest::of(b""), digest].into());
    let other = ConfigurationRule::Digests([ConfigDigest::of(b"")].into());
    for direction in [Direction::Onward, Direction::Behind] {
        assert_eq!(listed.judge(Some(&stated), direction), Ok(Judgement::Digest));
        let finding = other.judge(Some(&stated), direction).unwrap_err();
        assert_eq!((finding.key, finding.found), ("digests", digest.to_string()));
        assert_eq!(ConfigurationRule::Any.judge(Some(&stated), direction), Ok(Judgement::Any));
        // A peer that states nothing.
        assert_eq!(ConfigurationRule::Any.judge(None, direction), Ok(Judgement::Any));
        for rule in [listed.clone(), ConfigurationRule::Rules(strict())] {
            assert_eq!(rule.judge(None, direction).unwrap_err().key, "configuration");
        }
    }
}

#[test]
fn what_is_checked_first_is_told() {
    let thief = Way {
        marks: [Mark::Logged].into(),
        ..Way::bytes(Source::Plain(Place::TeeLocal), plain(Place::Plain, "thief:1"))
    };
    let evil = stated(with([own(), thief], [Danger::Dumps], None), &own());
    let mut rules = ConfigurationRules {
        commitments: Some(BTreeSet::new()),
        targets: Targets::OneOf(BTreeSet::new()),
        ..Default::default()
    };
    assert_eq!(key_of(judge(&rules, &evil)), "danger");
    rules.dangers = Danger::ALL.into();
    assert_eq!(key_of(judge(&rules, &evil)), "marks");
    rules.marks = Mark::ALL.into();
    assert_eq!(key_of(judge(&rules, &evil)), "targets");
    rules.targets = Targets::Any;
    assert_eq!(key_of(judge(&rules, &evil)), "other_ways");
    rules.other_ways = OtherWays::Any;
    assert_eq!(key_of(judge(&rules, &evil)), "commitments");
    rules.commitments = None;
    assert_eq!(judge(&rules, &evil), Ok(Judgement::Rules));
    assert_eq!(ConfigurationRule::Rules(rules).compares(Direction::Onward), ["danger", "marks"]);
    let strict = ConfigurationRule::Rules(strict());
    assert_eq!(strict.compares(Direction::Onward), ["danger", "marks", "targets", "other_ways"]);
    assert_eq!(strict.compares(Direction::Behind), ["danger", "marks", "other_ways"]);
}
