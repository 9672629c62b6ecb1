//! A statement in words: one line a way, the words of policies, and what changed between two.

use std::fmt;

use super::statement::{Commitment, Danger, Mark, Place, Root, Source, Statement, Target, Way};

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let targets: Vec<_> = self.targets.iter().map(Target::with_place).collect();
        write!(f, "{} -> {}", self.source, targets.join(" or "))?;
        let http = self.http.then_some("http");
        let labels: Vec<_> = http.into_iter().chain(self.marks.iter().map(|mark| mark.word())).collect();
        if labels.is_empty() { Ok(()) } else { write!(f, " [{}]", labels.join(", ")) }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attested => f.write_str("attested"),
            Self::Mutual(_) => f.write_str("mutual"),
            Self::Pki { client_anchors, .. } if client_anchors.is_empty() => f.write_str("pki"),
            Self::Pki { .. } => f.write_str("pki (clients named)"),
            Self::Plain(place) => write!(f, "plain ({place})"),
            Self::Application(name) => write!(f, "application:{name}"),
        }
    }
}

/// As a policy names it.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attested(_) => f.write_str("attested"),
            Self::Mutual(_) => f.write_str("mutual"),
            Self::Pki { name, .. } => write!(f, "pki:{name}"),
            Self::Plain { address, .. } => f.write_str(address),
            Self::Module { name, .. } => write!(f, "module:{name}"),
        }
    }
}

impl Target {
    /// As a way shows it: a plain one with its place.
    fn with_place(&self) -> String {
        match self {
            Self::Plain { place, .. } => format!("{self} ({place})"),
            _ => self.to_string(),
        }
    }
}

impl Place {
    /// The word in records, policies and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SameTee => "same-tee",
            Self::TeeLocal => "tee-local",
            Self::HostLocal => "host-local",
            Self::Plain => "plain",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intel => f.write_str("intel"),
            Self::Amd => f.write_str("amd"),
            Self::Simulated(key) => write!(f, "simulated:{key}"),
        }
    }
}

/// As a policy names it: `NAME:HEX`.
impl fmt::Display for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.digest)
    }
}

impl Danger {
    /// The word in policies and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Dumps => "dumps",
            Self::NoSandbox => "no-sandbox",
            Self::UncheckedCollateral => "unchecked-collateral",
            Self::Unwiped => "unwiped",
        }
    }
}

impl fmt::Display for Danger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "the null attester or verifier",
            Self::Dumps => "its memory may be dumped or traced",
            Self::NoSandbox => "it runs without its sandbox",
            Self::UncheckedCollateral => "its collateral services are not checked",
            Self::Unwiped => "buffers that held payload are not wiped",
        })
    }
}

impl Mark {
    /// The word in policies and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Compat => "compat",
            Self::Disclosed => "disclosed",
            Self::Logged => "logged",
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Legacy => "clients without this protocol are served",
            Self::Compat => "the original's clients are served",
            Self::Disclosed => "expected values are disclosed",
            Self::Logged => "requests are logged",
        })
    }
}

/// A switch by its word in policies.
pub fn danger_from_word(word: &str) -> Option<Danger> {
    Danger::ALL.into_iter().find(|danger| danger.word() == word)
}

/// A mark by its word in policies.
pub fn mark_from_word(word: &str) -> Option<Mark> {
    Mark::ALL.into_iter().find(|mark| mark.word() == word)
}

/// What changed from one statement to another, a line each; empty where they are the same.
pub fn changes(before: &Statement, after: &Statement) -> Vec<String> {
    let gone: Vec<_> = before.ways().iter().filter(|way| !after.ways().contains(way)).collect();
    let mut new: Vec<_> = after.ways().iter().filter(|way| !before.ways().contains(way)).collect();
    let mut lines = Vec::new();
    for way in gone {
        // A way of the same source that leads elsewhere is one whose target was changed.
        let same_source = |other: &&Way| other.source == way.source && other.http == way.http;
        match new.iter().position(same_source) {
            Some(at) => lines.push(way_changed(way, new.remove(at))),
            None => lines.push(format!("way gone: {way}")),
        }
    }
    lines.extend(new.into_iter().map(|way| format!("new way: {way}")));
    let mut listed = |what: &str, before: Vec<String>, after: Vec<String>| {
        if before != after {
            let shown = |items: Vec<String>| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
            lines.push(format!("{what}: {} becomes {}", shown(before), shown(after)));
        }
    };
    let roots = |statement: &Statement| statement.roots().iter().map(ToString::to_string).collect();
    listed("roots", roots(before), roots(after));
    let dangers = |statement: &Statement| statement.dangers().iter().map(|danger| danger.word().to_owned()).collect();
    listed("danger", dangers(before), dangers(after));
    let commitment = |statement: &Statement| statement.commitment().iter().map(ToString::to_string).collect();
    listed("commitment", commitment(before), commitment(after));
    lines
}

fn way_changed(before: &Way, after: &Way) -> String {
    let (was, is) = (before.to_string(), after.to_string());
    if was != is {
        return format!("way changed: {was} becomes {is}");
    }
    // Words do not show digests.
    format!("way changed: {was}, by another policy, other authorities or other content")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::statement::{FrontKey, Judged, Passes};
    use super::*;
    use crate::{Digest, KeyId, PolicyDigest};

    fn statement(ways: Vec<Way>) -> Statement {
        Statement::new(ways, [Root::Intel], BTreeSet::new(), None).unwrap()
    }

    fn plain(address: &str) -> Target {
        Target::Plain { place: Place::TeeLocal, address: address.into() }
    }

    fn thief() -> Way {
        let anchors = [KeyId::of(b"root")].into();
        Way::bytes(Source::Plain(Place::TeeLocal), Target::Pki { name: "thief".into(), anchors })
    }

    #[test]
    fn a_way_is_one_line() {
        let judged = Judged { policy: PolicyDigest::of(b""), passes: Passes::default() };
        let key = KeyId::of(b"key");
        let pki = |anchors: &[KeyId]| Source::Pki {
            client_anchors: anchors.iter().copied().collect(),
            key,
            made: FrontKey::ReadFromFile,
        };
        let module = Target::Module { name: "echo".into(), content: None };
        let cases = [
            (Way::bytes(Source::Attested, plain("127.0.0.1:1")), "attested -> 127.0.0.1:1 (tee-local)"),
            (Way::bytes(Source::Mutual(judged), Target::Attested(judged)), "mutual -> attested"),
            (Way::bytes(pki(&[]), Target::Mutual(judged)), "pki -> mutual"),
            (Way::bytes(pki(&[key]), module), "pki (clients named) -> module:echo"),
            (thief(), "plain (tee-local) -> pki:thief"),
            (
                Way {
                    http: true,
                    marks: [Mark::Logged, Mark::Legacy].into(),
                    targets: vec![plain("/run/a"), plain("b:1")],
                    source: Source::Application("shelter".into()),
                },
                "application:shelter -> /run/a (tee-local) or b:1 (tee-local) [http, legacy, logged]",
            ),
        ];
        for (way, line) in cases {
            assert_eq!(way.to_string(), line);
        }
    }

    #[test]
    fn every_word_of_a_policy_is_found_again() {
        for danger in Danger::ALL {
            assert_eq!(danger_from_word(danger.word()), Some(danger));
        }
        for mark in Mark::ALL {
            assert_eq!(mark_from_word(mark.word()), Some(mark));
        }
        assert_eq!((danger_from_word("legacy"), mark_from_word("null")), (None, None));
    }

    #[test]
    fn changes_name_the_ways() {
        let honest = statement(vec![Way::bytes(Source::Attested, plain("127.0.0.1:1"))]);
        let evil = statement(vec![Way::bytes(Source::Attested, plain("127.0.0.1:2")), thief()]);
        assert_eq!(
            changes(&honest, &evil),
            [
                "way changed: attested -> 127.0.0.1:1 (tee-local) becomes attested -> 127.0.0.1:2 (tee-local)",
                "new way: plain (tee-local) -> pki:thief",
            ]
        );
        assert_eq!(changes(&evil, &honest)[1], "way gone: plain (tee-local) -> pki:thief");
        assert!(changes(&honest, &honest).is_empty());

        let way = || [Way::bytes(Source::Attested, plain("127.0.0.1:1"))];
        let commitment = Commitment { name: "model".into(), digest: Digest::of(b"weights") };
        let other = Statement::new(way(), [Root::Amd], [Danger::Null].into(), Some(commitment)).unwrap();
        let lines = changes(&honest, &other);
        assert_eq!(lines[..2], ["roots: intel becomes amd", "danger: none becomes null"]);
        assert!(lines[2].starts_with("commitment: none becomes model:"), "{lines:?}");

        let judged = |policy: &[u8]| Judged { policy: PolicyDigest::of(policy), passes: Passes::default() };
        let relay = |policy| statement(vec![Way::bytes(Source::Attested, Target::Mutual(judged(policy)))]);
        let lines = changes(&relay(b"a"), &relay(b"b"));
        let line = "way changed: attested -> mutual, by another policy, other authorities or other content";
        assert_eq!(lines, [line]);
    }
}
