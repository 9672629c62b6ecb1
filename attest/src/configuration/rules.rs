//! What a policy asks of a statement, and the judgement: the first thing that does not hold, with its key in the policy.

use std::collections::BTreeSet;

use super::statement::{Commitment, Danger, Mark, Source, Stated, Target, Way};
use crate::ConfigDigest;

/// What a relying party demands of a hop's configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigurationRule {
    /// Said aloud: a hop may do with bytes whatever its host configured.
    Any,
    /// The statement is one of these.
    Digests(BTreeSet<ConfigDigest>),
    /// Each rule holds.
    Rules(ConfigurationRules),
}

/// Rules over what a statement says. The default is the strict one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigurationRules {
    /// Where the path may end at this hop.
    pub targets: Targets,
    /// What else the process may do.
    pub other_ways: OtherWays,
    /// Switches that may be set.
    pub dangers: BTreeSet<Danger>,
    /// Marks that any way may have.
    pub marks: BTreeSet<Mark>,
    /// Where set, the process commits to one of these.
    pub commitments: Option<BTreeSet<Commitment>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Targets {
    Any,
    /// In the words of [`Target`]'s display. Attested targets and modules pass besides: the former have evidence of their
    /// own, the latter are code that was measured.
    OneOf(BTreeSet<String>),
}

/// What ways a process may have beside the one that serves the path.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum OtherWays {
    /// None.
    None,
    /// None that takes plain bytes from inside this TEE to anything but a module or an attested target whose policy
    /// compares code.
    NoExit,
    Any,
}

/// From which side a hop is judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// It leads from whoever judges it to its target.
    Onward,
    /// It stands behind a client, and leads from its source to whoever judges it. Its target is the judge's side, so it
    /// is not asked for.
    Behind,
}

/// By what a configuration was admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    Digest,
    Rules,
    Any,
}

/// What does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigurationFinding {
    /// The key of the policy.
    pub key: &'static str,
    pub expected: String,
    pub found: String,
}

impl Default for ConfigurationRules {
    fn default() -> Self {
        Self {
            targets: Targets::OneOf(BTreeSet::new()),
            other_ways: OtherWays::NoExit,
            dangers: BTreeSet::new(),
            marks: BTreeSet::from([Mark::Legacy, Mark::Disclosed]),
            commitments: None,
        }
    }
}

impl ConfigurationRule {
    /// Judges what a hop states; `None` is a peer that states nothing.
    pub fn judge(&self, stated: Option<&Stated>, direction: Direction) -> Result<Judgement, ConfigurationFinding> {
        let stated = match (self, stated) {
            (Self::Any, _) => return Ok(Judgement::Any),
            (_, Some(stated)) => stated,
            (_, None) => {
                return Err(ConfigurationFinding {
                    key: "configuration",
                    expected: "a statement of what the peer does with bytes, or `configuration = \"any\"`".to_owned(),
                    found: "none: it does not speak this protocol".to_owned(),
                });
            }
        };
        match self {
            Self::Any => Ok(Judgement::Any),
            Self::Digests(digests) => {
                let found = stated.statement().digest();
                if digests.contains(&found) {
                    return Ok(Judgement::Digest);
                }
                Err(ConfigurationFinding { key: "digests", expected: either(digests), found: found.to_string() })
            }
            Self::Rules(rules) => rules.judge(stated, direction).map(|()| Judgement::Rules),
        }
    }

    /// The keys of the policy by which something is compared.
    pub fn compares(&self, direction: Direction) -> Vec<&'static str> {
        match self {
            Self::Any => Vec::new(),
            Self::Digests(_) => vec!["digests"],
            Self::Rules(rules) => rules.compares(direction),
        }
    }
}

impl ConfigurationRules {
    fn judge(&self, stated: &Stated, direction: Direction) -> Result<(), ConfigurationFinding> {
        self.check_dangers(stated)?;
        self.check_marks(stated)?;
        if direction == Direction::Onward {
            self.check_target(stated.target())?;
        }
        self.check_other_ways(stated)?;
        self.check_commitment(stated)
    }

    fn compares(&self, direction: Direction) -> Vec<&'static str> {
        let keys = [
            ("danger", true),
            ("marks", true),
            ("targets", direction == Direction::Onward && self.targets != Targets::Any),
            ("other_ways", self.other_ways != OtherWays::Any),
            ("commitments", self.commitments.is_some()),
        ];
        keys.into_iter().filter(|(_, compared)| *compared).map(|(key, _)| key).collect()
    }

    fn check_dangers(&self, stated: &Stated) -> Result<(), ConfigurationFinding> {
        match stated.statement().dangers().iter().find(|danger| !self.dangers.contains(danger)) {
            None => Ok(()),
            Some(danger) => Err(ConfigurationFinding {
                key: "danger",
                expected: none_but(self.dangers.iter().map(|danger| danger.word())),
                found: format!("{} ({danger})", danger.word()),
            }),
        }
    }

    fn check_marks(&self, stated: &Stated) -> Result<(), ConfigurationFinding> {
        let ways = stated.statement().ways();
        let refused = |way: &Way| way.marks.iter().find(|mark| !self.marks.contains(mark)).copied();
        match ways.iter().find_map(|way| Some((way, refused(way)?))) {
            None => Ok(()),
            Some((way, mark)) => Err(ConfigurationFinding {
                key: "marks",
                expected: none_but(self.marks.iter().map(|mark| mark.word())),
                found: format!("{} ({mark}) on the way {way}", mark.word()),
            }),
        }
    }

    fn check_target(&self, target: &Target) -> Result<(), ConfigurationFinding> {
        let Targets::OneOf(listed) = &self.targets else { return Ok(()) };
        let found = target.to_string();
        let passes = match target {
            // Its evidence says who is there, and this policy judges that.
            Target::Attested(_) | Target::Mutual(_) => true,
            // Of those that are listed, if any is; otherwise any: a module is code that was measured.
            Target::Module { .. } => listed.contains(&found) || !listed.iter().any(|name| is_module(name)),
            Target::Pki { .. } | Target::Plain { .. } => listed.contains(&found),
        };
        if passes {
            return Ok(());
        }
        let expected = if listed.is_empty() {
            "an attested target or a module of the process: none is listed".to_owned()
        } else {
            either(listed)
        };
        Err(ConfigurationFinding { key: "targets", expected, found })
    }

    fn check_other_ways(&self, stated: &Stated) -> Result<(), ConfigurationFinding> {
        let finding = |expected: &str, way: &Way| ConfigurationFinding {
            key: "other_ways",
            expected: expected.to_owned(),
            found: way.to_string(),
        };
        match self.other_ways {
            OtherWays::Any => Ok(()),
            OtherWays::None => match stated.other_ways().next() {
                None => Ok(()),
                Some(way) => Err(finding("no other way than the path's own", way)),
            },
            OtherWays::NoExit => match stated.other_ways().find(|way| way.is_exit()) {
                None => Ok(()),
                Some(way) => Err(finding(
                    "no way that takes plain bytes from inside this TEE to anything but a module or an attested target \
                     whose policy compares code",
                    way,
                )),
            },
        }
    }

    fn check_commitment(&self, stated: &Stated) -> Result<(), ConfigurationFinding> {
        let Some(listed) = &self.commitments else { return Ok(()) };
        let found = stated.statement().commitment();
        if found.is_some_and(|found| listed.contains(found)) {
            return Ok(());
        }
        let found = found.map_or_else(|| "none".to_owned(), ToString::to_string);
        Err(ConfigurationFinding { key: "commitments", expected: either(listed), found })
    }
}

impl Way {
    /// Whether a program inside the TEE could send bytes out by it to somebody whose code nobody compares.
    fn is_exit(&self) -> bool {
        let Source::Plain(place) = &self.source else { return false };
        place.is_inside()
            && self.targets.iter().any(|target| match target {
                Target::Attested(judged) | Target::Mutual(judged) => !judged.passes.compares(),
                Target::Module { .. } => false,
                Target::Pki { .. } | Target::Plain { .. } => true,
            })
    }
}

fn is_module(listed: &str) -> bool {
    listed.starts_with("module:")
}

fn either(items: impl IntoIterator<Item = impl ToString>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "none at all".to_owned() } else { items.join(" or ") }
}

fn none_but(words: impl Iterator<Item = &'static str>) -> String {
    let words: Vec<_> = words.collect();
    if words.is_empty() { "none".to_owned() } else { format!("none but {}", words.join(", ")) }
}

#[cfg(test)]
mod tests;
