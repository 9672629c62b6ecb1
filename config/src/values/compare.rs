//! What is different between two policies, hop by hop. They may hold the reference values of two moments or of two
//! paths.

use std::collections::BTreeMap;

use inclavared_attest::Digest;
use inclavared_attest::policy::{Applies, Field, HopRule, IdentityRule, Measurements, Policy, RoleStep};

use crate::document::show_duration;
use crate::words::tee_word;

/// One thing that is different.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The hop (`hop 2`, `last hop`, `role relay`, `any hop`), `path` for the order and end of the path, or `policy`.
    pub place: String,
    /// The key of the configuration, or what stands for one (`role`, `order`, `end`).
    pub key: String,
    /// What the first policy says. `None` where it says nothing.
    pub a: Option<String>,
    /// What the second policy says. `None` where it says nothing.
    pub b: Option<String>,
}

/// How much is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// What was seen: the hops, their order, the end. This serves for a path that is seen now, whatever its policy.
    Path,
    /// Whatever the policies demand.
    Everything,
}

/// Every difference: the hops in their order, then the path, then the policy. Empty if nothing is different.
#[must_use]
pub fn differences(a: &Policy, b: &Policy, scope: Scope) -> Vec<Difference> {
    let (a, b) = (entries(a, scope), entries(b, scope));
    let mut keys: Vec<_> = a.keys().chain(b.keys()).collect();
    keys.sort();
    keys.dedup();
    let different = keys.into_iter().filter(|key| a.get(key) != b.get(key));
    let shown = different.map(|key| Difference {
        place: key.0.shown(),
        key: key.1.1.clone(),
        a: a.get(key).cloned(),
        b: b.get(key).cloned(),
    });
    shown.collect()
}

/// Where something stands; `Ord` is the order of what is shown.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Hop(u8),
    LastHop,
    Role(String),
    AnyHop,
    Path,
    Policy,
}

/// The place, which of several tables for it, and the key with its rank.
type Key = (Numbered, (usize, String));

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Numbered(Place, usize);

impl Numbered {
    fn shown(&self) -> String {
        let place = match &self.0 {
            Place::Hop(position) => format!("hop {position}"),
            Place::LastHop => "last hop".into(),
            Place::Role(role) => format!("role {role}"),
            Place::AnyHop => "any hop".into(),
            Place::Path => "path".into(),
            Place::Policy => "policy".into(),
        };
        if self.1 == 0 { place } else { format!("{place}, table {}", self.1 + 1) }
    }
}

fn entries(policy: &Policy, scope: Scope) -> BTreeMap<Key, String> {
    let mut entries = BTreeMap::new();
    let mut tables: BTreeMap<Place, usize> = BTreeMap::new();
    let rules = match &policy.measurements {
        Measurements::Rules(rules) => rules.as_slice(),
        Measurements::NotCompared => &[],
    };
    for rule in rules {
        let place = match &rule.applies {
            Applies::Position(position) => Place::Hop(*position),
            Applies::Last => Place::LastHop,
            Applies::Role(role) => Place::Role(role.clone()),
            Applies::Any => Place::AnyHop,
        };
        let count = tables.entry(place.clone()).or_default();
        let numbered = Numbered(place, *count);
        *count += 1;
        for (rank, key, value) in rule_entries(rule) {
            entries.insert((numbered.clone(), (rank, key)), value);
        }
    }
    let mut add = |place: Place, rank: usize, key: &str, value: String| {
        entries.insert((Numbered(place, 0), (rank, key.to_owned())), value);
    };
    let shape = &policy.shape;
    match fixed_roles(&shape.order) {
        // Roles of a fixed path stand at their hops.
        Some(roles) => (1..).zip(roles).for_each(|(hop, role)| add(Place::Hop(hop), 0, "role", role.to_owned())),
        None => add(Place::Path, 0, "order", shown_order(&shape.order)),
    }
    let legacy = shape.allow_legacy_end.then_some("legacy");
    let ends: Vec<_> = shape.terminals.iter().map(|kind| kind.name()).chain(legacy).collect();
    add(Place::Path, 1, "end", ends.join(", "));
    add(Place::Path, 2, "simulated", policy.allow_simulated.to_string());
    add(Place::Path, 3, "debug", policy.danger_allow_debug.to_string());
    if scope == Scope::Path {
        return entries;
    }
    for (rank, (key, value)) in policy_entries(policy).into_iter().enumerate() {
        add(Place::Policy, rank, key, value);
    }
    entries
}

fn rule_entries(rule: &HopRule) -> Vec<(usize, String, String)> {
    let tees: Vec<_> = rule.tees.iter().map(|tee| tee_word(*tee)).collect();
    let mut entries = vec![(1, "tee".to_owned(), tees.join(", "))];
    let mut values: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for value in &rule.reference_values {
        for demand in value.demands() {
            let (seen, shown) = (values.entry(demand.field.name()).or_default(), demand.test.to_string());
            if !seen.contains(&shown) {
                seen.push(shown);
            }
        }
    }
    let demands = rule.demands.iter().map(|demand| (demand.field.name(), vec![demand.test.to_string()]));
    for (field, shown) in values.into_iter().chain(demands) {
        let rank = Field::ALL.iter().position(|known| known.name() == field).unwrap_or(0);
        entries.push((2 + rank, field.to_owned(), shown.join(" or ")));
    }
    if let Some(digest) = rule.config_digest {
        entries.push((100, "config_digest".to_owned(), digest.to_string()));
    }
    entries
}

fn policy_entries(policy: &Policy) -> Vec<(&'static str, String)> {
    let tcb = &policy.tcb;
    let words = |list: &mut dyn Iterator<Item = String>| list.collect::<Vec<_>>().join(", ");
    let identity = match &policy.identity {
        IdentityRule::AnyGenuine => match &policy.named {
            None => "any-genuine".to_owned(),
            Some(named) => {
                let authorities = words(&mut named.authorities.iter().map(|der| Digest::of(der).to_string()));
                format!("ca {authorities}, spiffe {}", words(&mut named.uris.iter().cloned()))
            }
        },
        IdentityRule::Platforms(ids) => format!("platforms {}", words(&mut ids.iter().map(hex::encode))),
        IdentityRule::ConfigIds(ids) => format!("configids {}", words(&mut ids.iter().map(hex::encode))),
    };
    let allowed = tcb.allowed_advisories.as_ref();
    vec![
        ("identity", identity),
        (
            "measurements",
            if policy.measurements == Measurements::NotCompared { "not-compared" } else { "compared" }.into(),
        ),
        ("tcb", words(&mut tcb.accepted.iter().map(|status| status.name().to_owned()))),
        ("grace", show_duration(tcb.grace)),
        ("refused_advisories", words(&mut tcb.refused_advisories.iter().cloned())),
        ("allowed_advisories", allowed.map_or("any".into(), |list| words(&mut list.iter().cloned()))),
        ("allow_smt", tcb.allow_smt.to_string()),
        ("allow_dynamic_platform", tcb.allow_dynamic_platform.to_string()),
        ("allow_cached_keys", tcb.allow_cached_keys.to_string()),
        ("snp_min", words(&mut tcb.snp_min.iter().map(|(product, min)| format!("{product} {min}")))),
        ("danger_allow_null", policy.danger_allow_null.to_string()),
        ("hops", format!("{} to {}", policy.shape.min_hops, policy.shape.max_hops)),
        ("warm_legs", if policy.refuse_warm_legs { "refuse" } else { "allow" }.into()),
        ("binding", format!("{:?}", policy.binding).to_lowercase()),
        ("max_evidence_age", show_duration(policy.max_evidence_age)),
        ("max_path_age", show_duration(policy.max_path_age)),
    ]
}

/// One role a hop, where the order leaves no choice.
fn fixed_roles(order: &[RoleStep]) -> Option<Vec<&str>> {
    let fixed = !order.is_empty() && order.iter().all(|step| step.min == step.max);
    fixed.then(|| order.iter().flat_map(|step| std::iter::repeat_n(step.role.as_str(), step.min.into())).collect())
}

fn shown_order(order: &[RoleStep]) -> String {
    let steps: Vec<_> = order.iter().map(|step| format!("{}{{{},{}}}", step.role, step.min, step.max)).collect();
    if steps.is_empty() { "any".into() } else { steps.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_policy;

    fn policy(text: &str) -> Policy {
        parse_policy("p.toml", &format!("[policy.p]\nidentity = \"any-genuine\"\n{text}"), None).unwrap()
    }

    fn shown(a: &str, b: &str, scope: Scope) -> Vec<String> {
        let none = || "-".to_owned();
        let all = differences(&policy(a), &policy(b), scope).into_iter();
        all.map(|d| format!("{} {}: {} {}", d.place, d.key, d.a.unwrap_or_else(none), d.b.unwrap_or_else(none)))
            .collect()
    }

    fn hop(place: &str, byte: &str) -> String {
        format!("[[policy.p.hop]]\n{place}\nmrenclave = \"{}\"\n", byte.repeat(32))
    }

    #[test]
    fn hops_first_and_in_their_order() {
        let ten = "11".repeat(32);
        let two = "22".repeat(32);
        let a = format!("order = [\"a\", \"b\"]\n{}{}", hop("position = 2", "11"), hop("position = 1", "11"));
        assert_eq!(shown(&a, &a, Scope::Everything), [""; 0]);
        let b = format!(
            "order = [\"a\", \"c\"]\nbinding = \"quote\"\n{}{}",
            hop("position = 2", "22"),
            hop("position = 1", "11")
        );
        let expected =
            ["hop 2 role: b c".to_owned(), format!("hop 2 mrenclave: {ten} {two}"), "policy binding: key quote".into()];
        assert_eq!(shown(&a, &b, Scope::Everything), expected);
        assert_eq!(shown(&a, &b, Scope::Path), expected[..2]);
        let less = format!("order = [\"a\"]\n{}", hop("position = 1", "11"));
        let expected = ["hop 2 role: b -", "hop 2 tee: sgx -", &format!("hop 2 mrenclave: {ten} -")];
        assert_eq!(shown(&a, &less, Scope::Path), expected);
    }

    #[test]
    fn fields_and_several_tables() {
        let a = format!("{}configid = \"{}\"\n{}", hop("", "11"), "33".repeat(64), hop("", "22"));
        let b =
            format!("terminal = \"plain\"\n{}configid = \"{}\"\nconfigsvn_min = 2\n", hop("", "11"), "44".repeat(64));
        let expected = [
            format!("any hop configid: {} {}", "33".repeat(64), "44".repeat(64)),
            "any hop configsvn: - 2 or higher".into(),
            "any hop, table 2 tee: sgx -".into(),
            format!("any hop, table 2 mrenclave: {} -", "22".repeat(32)),
            "path end: workload, same-tee, tee-local plain".into(),
        ];
        assert_eq!(shown(&a, &b, Scope::Path), expected);
    }
}
