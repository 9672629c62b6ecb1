//! `[policy.NAME]`: from TOML to the policies that appraisal uses.

mod code;
mod demands;
mod field;
mod hop_rule;
mod identity;
mod shape;
mod tcb;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use inclavared_attest::policy::{ChainShape, HopRule, IdentityRule, Measurements, Policy};

use self::demands::add_defaults;
use self::hop_rule::{check_coverage, read_hop_rules};
use self::identity::{read_identity, read_name_rule};
use self::shape::read_shape;
use self::tcb::read_tcb;
use crate::document::{self, Errors, Table, Value};
use crate::values::{ReadPolicy, References, read_recorded};
use crate::words::{BINDINGS, NAME_REMEDY, TABLES, is_name};

/// Reads one policy from a file of reference values, or from a configuration.
///
/// Without a name the file has to hold exactly one policy. Tables of a configuration that are no policies are not
/// judged.
pub fn load_policy(path: &Path, name: Option<&str>) -> Result<Policy, Errors> {
    let text = document::read_file(path)?;
    parse_policy(path, &text, name)
}

/// [`load_policy`] of a text that is there already; `path` is shown in errors, and files that the text names lie beside
/// it.
pub fn parse_policy(path: impl AsRef<Path>, text: &str, name: Option<&str>) -> Result<Policy, Errors> {
    choose_policy(path.as_ref(), text, name, Some(named_policy))
}

/// The policy of a file of reference values that a policy names. It may name no further files.
fn named_policy(path: &Path, text: &str, name: Option<&str>) -> Result<Policy, Errors> {
    choose_policy(path, text, name, None)
}

/// `read_named` reads the files of reference values that the text names; without it the text may name none.
fn choose_policy(
    path: &Path,
    text: &str,
    name: Option<&str>,
    read_named: Option<ReadPolicy>,
) -> Result<Policy, Errors> {
    document::read(path, text, |root| {
        for key in TABLES {
            root.get(key);
        }
        read_recorded(root);
        let policies = read_policies_with(root, read_named);
        let names: Vec<_> = policies.keys().map(String::as_str).collect();
        let chosen = match (name, names.as_slice()) {
            (Some(name), _) => policies.get(name),
            (None, [only]) => policies.get(*only),
            (None, _) => None,
        };
        if chosen.is_none() {
            match name {
                Some(name) => root.mistake(format!("no policy is named `{name}`"), known_policies(&names)),
                None if names.is_empty() => root.mistake("holds no policy", "write `[policy.NAME]`"),
                None => root.mistake("holds more than one policy", format!("name one of {}", names.join(", "))),
            }
        }
        chosen.map(|policy| Policy::clone(policy))
    })
}

/// Every policy of a document. A broken one is reported and kept, so that routes which name it are not blamed.
pub(crate) fn read_policies(root: &Table<'_>) -> BTreeMap<String, Arc<Policy>> {
    read_policies_with(root, Some(named_policy))
}

fn read_policies_with(root: &Table<'_>, read_named: Option<ReadPolicy>) -> BTreeMap<String, Arc<Policy>> {
    let Some(table) = root.table("policy") else { return BTreeMap::new() };
    let mut policies = BTreeMap::new();
    for (name, _, value) in table.named() {
        if name == GENUINE_ONLY {
            value.mistake("this name is the built-in policy's", "take another name");
        } else if !is_name(name) {
            value.mistake("not a name", NAME_REMEDY);
        }
        if let Some(table) = value.table() {
            policies.insert(name.to_owned(), Arc::new(read_policy(name, &table, read_named)));
        }
    }
    policies
}

/// The policy that a route names: one of the file, or the built-in one.
pub(crate) fn find_policy(policies: &BTreeMap<String, Arc<Policy>>, value: &Value<'_>) -> Option<Arc<Policy>> {
    let name = value.text()?;
    if name == GENUINE_ONLY {
        return Some(Arc::new(Policy::genuine_only()));
    }
    let found = policies.get(name).cloned();
    if found.is_none() {
        let names: Vec<_> = policies.keys().map(String::as_str).collect();
        value.mistake(format!("no policy is named `{name}`"), known_policies(&names));
    }
    found
}

/// The policy as it judges a path behind a client. The built-in one lets such a path begin anywhere. Any other says
/// itself where.
pub(crate) fn for_callers(policy: Arc<Policy>) -> Arc<Policy> {
    match policy.name.as_str() {
        GENUINE_ONLY => Arc::new(Policy { shape: Policy::genuine_callers().shape, ..Policy::clone(&policy) }),
        _ => policy,
    }
}

fn known_policies(names: &[&str]) -> String {
    match names {
        [] => format!("write a `[policy.NAME]`, or `{GENUINE_ONLY}`"),
        _ => format!("there are {}, {GENUINE_ONLY}", names.join(", ")),
    }
}

fn read_policy(name: &str, table: &Table<'_>, read_named: Option<ReadPolicy>) -> Policy {
    let shape = read_shape(table);
    let measurements = read_measurements(table, &shape, read_named);
    let named = read_name_rule(table);
    let flag = |key| table.get(key).and_then(|v| v.flag()).unwrap_or(false);
    let policy = Policy {
        name: name.to_owned(),
        allow_simulated: flag("allow_simulated"),
        danger_allow_null: flag("danger_allow_null"),
        danger_allow_debug: flag("danger_allow_debug"),
        tcb: read_tcb(table),
        identity: if named.is_some() { IdentityRule::AnyGenuine } else { read_identity(table) },
        named,
        measurements,
        shape,
        max_evidence_age: read_age(table, "max_evidence_age"),
        max_path_age: read_age(table, "max_path_age"),
        binding: table.get("binding").and_then(|v| v.word(BINDINGS)).unwrap_or_default(),
        refuse_warm_legs: table.get("warm_legs").and_then(|v| v.word(WARM_LEGS)).unwrap_or(false),
    };
    if let Some(debug) = table.get("debug")
        && debug.text().is_some_and(|text| text != "refuse" || policy.danger_allow_debug)
    {
        debug.mistake("`refuse` is the only word", "write `danger_allow_debug = true` alone to accept debug TEEs");
    }
    table.finish();
    policy
}

fn read_measurements(table: &Table<'_>, shape: &ChainShape, read_named: Option<ReadPolicy>) -> Measurements {
    let files = References::of_policy(table, read_named);
    let hops = table.tables("hop");
    let remedy =
        "write a `[[policy.NAME.hop]]` table for each hop, or `measurements = \"not-compared\"` for development";
    if let Some(word) = table.get("measurements") {
        if word.word(&[("not-compared", ())]).is_some() && !(hops.is_empty() && files.named.is_none()) {
            word.mistake("says that nothing is compared, and there are reference values", "leave one of them out");
        }
        return Measurements::NotCompared;
    }
    if hops.is_empty() && files.named.is_none() {
        table.mistake("no reference values, so every hop is denied", remedy);
    }
    let own: Vec<_> = hops.iter().map(|hop| read_hop_rules(hop, shape, &files)).collect();
    let named = files.named.as_ref().map(|value| files.read(table, value).map(with_defaults));
    let whole = own.iter().chain(&named).all(Option::is_some);
    let rules: Vec<_> = own.into_iter().chain(named).flatten().flatten().collect();
    if whole {
        check_coverage(table, &rules, shape);
        files.check_use(&hops);
    }
    Measurements::Rules(rules)
}

/// The rules of a file that is named by the policy itself. Nobody narrows them further, so the defaults apply.
fn with_defaults(mut rules: Vec<HopRule>) -> Vec<HopRule> {
    rules.iter_mut().for_each(add_defaults);
    rules
}

fn read_age(table: &Table<'_>, key: &'static str) -> Duration {
    let value = table.get(key).and_then(|v| v.whole_seconds(Duration::from_secs(1)..=DAY));
    value.unwrap_or(DEFAULT_AGE)
}

/// The name of the built-in policy ([`Policy::genuine_only`]); no policy of a file may have it.
pub const GENUINE_ONLY: &str = "genuine-only";

/// Whether such legs are refused.
const WARM_LEGS: &[(&str, bool)] = &[("allow", false), ("refuse", true)];

/// A certificate lives at most an hour (PROTOCOL section 6).
const DEFAULT_AGE: Duration = Duration::from_secs(3600);

const DAY: Duration = Duration::from_secs(86_400);
