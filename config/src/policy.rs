//! `[policy.NAME]`: from TOML to the policies that appraisal uses.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use inclavared_attest::appraise::TcbStatus;
use inclavared_attest::appraise::snp::{SnpProduct, SnpTcb};
use inclavared_attest::policy::{
    Binding, ChainShape, IdentityRule, Measurements, Policy, RoleStep, TcbPolicy, TerminalKind,
};

use crate::document::{self, Table, Value};
use crate::hop_rule::{check_coverage, read_hop_rules};
use crate::name_rule::read_name_rule;
use crate::references::References;
use crate::{Errors, recorded};

/// Reads one policy from a file of reference values, or from a configuration.
///
/// Without a name the file has to hold exactly one policy. Tables of a configuration that are no policies are not judged.
pub fn load_policy(path: &Path, name: Option<&str>) -> Result<Policy, Errors> {
    let text = document::read_file(path)?;
    parse_policy(path, &text, name)
}

/// [`load_policy`] of a text that is there already; `path` is shown in errors, and files that the text names lie beside it.
pub fn parse_policy(path: impl AsRef<Path>, text: &str, name: Option<&str>) -> Result<Policy, Errors> {
    choose_policy(path.as_ref(), text, name, true)
}

/// `named_files` says whether the text may name files of reference values: such a file itself may not.
pub(crate) fn choose_policy(path: &Path, text: &str, name: Option<&str>, named_files: bool) -> Result<Policy, Errors> {
    document::read(path, text, |root| {
        for key in crate::config::TABLES {
            root.get(key);
        }
        recorded::read_recorded(root);
        let policies = read_policies_with(root, named_files);
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

/// Every policy of a document; a broken one is reported and stands in, so that routes which name it are not blamed.
pub(crate) fn read_policies(root: &Table<'_>) -> BTreeMap<String, Arc<Policy>> {
    read_policies_with(root, true)
}

fn read_policies_with(root: &Table<'_>, named_files: bool) -> BTreeMap<String, Arc<Policy>> {
    let Some(table) = root.table("policy") else { return BTreeMap::new() };
    let mut policies = BTreeMap::new();
    for (name, _, value) in table.named() {
        if name == GENUINE_ONLY {
            value.mistake("this name is the built-in policy's", "take another name");
        } else if !is_name(name) {
            value.mistake("not a name", NAME_REMEDY);
        }
        if let Some(table) = value.table() {
            policies.insert(name.to_owned(), Arc::new(read_policy(name, &table, named_files)));
        }
    }
    policies
}

/// A policy by its name in a route: one of the file's or the built-in one.
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

/// A policy for what is behind a client. The built-in one lets such a path begin anywhere; any other says where.
pub(crate) fn for_callers(policy: Arc<Policy>) -> Arc<Policy> {
    match policy.name.as_str() {
        GENUINE_ONLY => Arc::new(Policy { shape: Policy::genuine_callers().shape, ..Policy::clone(&policy) }),
        _ => policy,
    }
}

/// Names of routes, policies and roles: they stand in logs, metrics and paths of files.
pub fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

pub(crate) const NAME_REMEDY: &str = "write 1 to 64 letters, digits, `-`, `_` or `.`";

fn known_policies(names: &[&str]) -> String {
    match names {
        [] => format!("write a `[policy.NAME]`, or `{GENUINE_ONLY}`"),
        _ => format!("there are {}, {GENUINE_ONLY}", names.join(", ")),
    }
}

fn read_policy(name: &str, table: &Table<'_>, named_files: bool) -> Policy {
    let shape = read_shape(table);
    let measurements = read_measurements(table, &shape, named_files);
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

fn read_tcb(table: &Table<'_>) -> TcbPolicy {
    let mut tcb = TcbPolicy::cloud();
    if let Some(list) = table.get("tcb") {
        let statuses = list.filled_list("an empty list denies every platform", "leave `tcb` out for the default");
        tcb.accepted = statuses.iter().filter_map(Value::parsed::<TcbStatus>).collect();
        if tcb.accepted.contains(&TcbStatus::Revoked) {
            list.mistake("`Revoked` cannot be accepted", "leave it out: the platform's keys are known to be lost");
        }
    }
    if let Some(grace) = table.get("grace") {
        tcb.grace = read_seconds(&grace, Duration::ZERO..=10 * YEAR).unwrap_or_default();
    }
    if let Some(list) = table.get("refused_advisories") {
        tcb.refused_advisories = list.one_or_many().iter().filter_map(|v| v.text().map(str::to_owned)).collect();
    }
    if let Some(list) = table.get("allowed_advisories") {
        let allowed: BTreeSet<_> = list.one_or_many().iter().filter_map(|v| v.text().map(str::to_owned)).collect();
        if let Some(both) = allowed.intersection(&tcb.refused_advisories).next() {
            list.mistake(format!("`{both}` is refused as well"), "keep it in one of the lists: it would be refused");
        }
        tcb.allowed_advisories = Some(allowed);
    }
    for (key, slot) in [
        ("allow_smt", &mut tcb.allow_smt),
        ("allow_dynamic_platform", &mut tcb.allow_dynamic_platform),
        ("allow_cached_keys", &mut tcb.allow_cached_keys),
    ] {
        *slot = table.get(key).and_then(|v| v.flag()).unwrap_or(*slot);
    }
    if let Some(products) = table.table("snp_min") {
        tcb.snp_min = read_snp_min(&products);
    }
    tcb
}

/// `snp_min = { milan = { bootloader = 4, snp = 24, microcode = 219 } }`. A part that is left out is not compared; a
/// product that is left out is refused.
fn read_snp_min(products: &Table<'_>) -> BTreeMap<SnpProduct, SnpTcb> {
    let mut minimum = BTreeMap::new();
    for (key, product) in SNP_PRODUCTS {
        let Some(value) = products.get(key) else { continue };
        let Some(parts) = value.table() else { continue };
        let part = |key| parts.get(key).and_then(|v| v.integer(0..=u8::MAX.into()));
        let [bootloader, tee, snp, microcode] = ["bootloader", "tee", "snp", "microcode"].map(part);
        let fmc = if product == SnpProduct::Turin { part("fmc") } else { None };
        parts.finish();
        if !["bootloader", "tee", "snp", "microcode", "fmc"].iter().any(|key| parts.has(key)) {
            parts.mistake("no part has a minimum", "write for example `{ snp = 24, microcode = 219 }`");
        }
        let or_any = Option::unwrap_or_default;
        let tcb = SnpTcb {
            fmc,
            bootloader: or_any(bootloader),
            tee: or_any(tee),
            snp: or_any(snp),
            microcode: or_any(microcode),
        };
        minimum.insert(product, tcb);
    }
    products.finish();
    if minimum.is_empty() {
        products.mistake(
            "no product has a minimum",
            "leave `snp_min` out to accept any firmware, or name milan, genoa or turin",
        );
    }
    minimum
}

fn read_identity(table: &Table<'_>) -> IdentityRule {
    let remedy = "write `identity = \"any-genuine\"` or `identity = { platforms = [\"HEX\"] }`";
    let configids = "write `identity = { platforms = [\"HEX\"] }`, and `configid` in the hop tables";
    let Some(value) = table.required("identity", remedy) else { return IdentityRule::AnyGenuine };
    if value.is_text() {
        if value.text() != Some("any-genuine") {
            value.mistake("not an identity rule", remedy);
        }
        return IdentityRule::AnyGenuine;
    }
    let Some(table) = value.table() else { return IdentityRule::AnyGenuine };
    if let Some(list) = table.get("configids") {
        if let Some(platforms) = table.get("platforms") {
            platforms.mistake("platforms and configids, and one of them would suffice", configids);
        }
        let items = list.filled_list("an empty list denies every enclave", remedy);
        table.finish();
        return IdentityRule::ConfigIds(
            items
                .iter()
                .filter_map(|item| {
                    let id = item.hex::<64>()?;
                    if id == [0; 64] {
                        item.mistake("a CONFIGID of zeros", "write the real one: enclaves without KSS have zeros");
                    }
                    Some(id)
                })
                .collect(),
        );
    }
    let list = table.required("platforms", remedy);
    let items = list.map(|l| l.filled_list("an empty list denies every platform", remedy)).unwrap_or_default();
    let mut platforms = BTreeSet::new();
    for item in items {
        let Some(text) = item.text() else { continue };
        match hex::decode(text) {
            // A PPID or a platform instance id, or a chip id of AMD.
            Ok(id) if matches!(id.len(), 16 | 64) => drop(platforms.insert(id)),
            _ => item.mistake("not a platform id", "write 32 (Intel) or 128 (AMD) hexadecimal digits"),
        }
    }
    table.finish();
    IdentityRule::Platforms(platforms)
}

fn read_measurements(table: &Table<'_>, shape: &ChainShape, named_files: bool) -> Measurements {
    let files = References::of_policy(table, named_files);
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
    let named = files.named.as_ref().map(|value| files.read(table, value));
    let whole = own.iter().chain(&named).all(Option::is_some);
    let rules: Vec<_> = own.into_iter().chain(named).flatten().flatten().collect();
    if whole {
        check_coverage(table, &rules, shape);
        files.check_use(&hops);
    }
    Measurements::Rules(rules)
}

fn read_shape(table: &Table<'_>) -> ChainShape {
    let order: Vec<RoleStep> = match table.get("order") {
        None => Vec::new(),
        Some(list) => {
            let items = list.filled_list("an empty order", "leave `order` out to accept roles in any order");
            items.iter().filter_map(read_role_step).collect()
        }
    };
    let hops = |key| table.get(key).and_then(|v| v.integer::<u8>(1..=MAX_HOPS.into()).map(|n| (n, v)));
    let (min, max) = (hops("min_hops"), hops("max_hops"));
    let max_hops = max.as_ref().map_or(DEFAULT_HOPS, |(n, _)| *n);
    let least: usize = order.iter().map(|step| usize::from(step.min)).sum();
    let min_hops = min.as_ref().map_or(1, |(n, _)| *n);
    if min_hops > max_hops {
        table
            .mistake(format!("min_hops {min_hops} is above max_hops {max_hops}"), "no path could pass: raise max_hops");
    } else if least > usize::from(max_hops) {
        table.mistake(
            format!("`order` needs at least {least} hops, and max_hops is {max_hops}"),
            "no path could pass: raise max_hops",
        );
    }
    let terminals = match table.get("terminal") {
        None => BTreeSet::from(CONFIDENTIAL_TERMINALS),
        Some(list) => {
            let items = list.filled_list("an empty list denies every path", "leave `terminal` out for the default");
            items.iter().filter_map(|item| item.word(&TerminalKind::ALL.map(|kind| (kind.name(), kind)))).collect()
        }
    };
    let allow_legacy_end = table.get("allow_legacy_end").and_then(|v| v.flag()).unwrap_or(false);
    ChainShape { order, min_hops, max_hops, terminals, allow_legacy_end }
}

/// `ROLE`, `ROLE{N}` or `ROLE{MIN,MAX}`.
fn read_role_step(value: &Value<'_>) -> Option<RoleStep> {
    let text = value.text()?;
    let step = parse_role_step(text);
    if step.is_none() {
        value.mistake(format!("`{text}` is no step"), "write `role`, `role{2}` or `role{0,2}`, at most 16 of a role");
    }
    step
}

fn parse_role_step(text: &str) -> Option<RoleStep> {
    let (role, min, max) = match text.strip_suffix('}') {
        None => (text, 1, 1),
        Some(head) => {
            let (role, range) = head.split_once('{')?;
            let (min, max) = range.split_once(',').unwrap_or((range, range));
            (role, min.trim().parse().ok()?, max.trim().parse().ok()?)
        }
    };
    let valid = is_name(role) && min <= max && (1..=MAX_HOPS).contains(&max);
    valid.then(|| RoleStep { role: role.to_owned(), min, max })
}

fn read_age(table: &Table<'_>, key: &'static str) -> Duration {
    let value = table.get(key).and_then(|v| read_seconds(&v, Duration::from_secs(1)..=DAY));
    value.unwrap_or(DEFAULT_AGE)
}

/// A policy counts in whole seconds, as evidence and collateral do; its digest covers no less and no more.
fn read_seconds(value: &Value<'_>, range: RangeInclusive<Duration>) -> Option<Duration> {
    let duration = value.duration(range)?;
    if duration.subsec_nanos() != 0 {
        value.mistake("not whole seconds", "write for example 10s, 10m or 1h30m");
    }
    Some(duration)
}

/// The name of the built-in policy ([`Policy::genuine_only`]); no policy of a file may have it.
pub const GENUINE_ONLY: &str = "genuine-only";

/// As they are written under `snp_min`.
pub(crate) const SNP_PRODUCTS: [(&str, SnpProduct); 3] =
    [("milan", SnpProduct::Milan), ("genoa", SnpProduct::Genoa), ("turin", SnpProduct::Turin)];

/// The ends at which no plain byte leaves the TEE: the default.
const CONFIDENTIAL_TERMINALS: [TerminalKind; 3] =
    [TerminalKind::Workload, TerminalKind::SameTee, TerminalKind::TeeLocal];

pub(crate) const BINDINGS: &[(&str, Binding)] =
    &[("key", Binding::Key), ("key+audit", Binding::KeyAudit), ("quote", Binding::Quote)];

/// Whether they are refused.
const WARM_LEGS: &[(&str, bool)] = &[("allow", false), ("refuse", true)];

/// Hops of a path unless the policy says otherwise, and the most that the protocol allows (PROTOCOL section 5).
const DEFAULT_HOPS: u8 = 8;
const MAX_HOPS: u8 = 16;
/// A certificate lives at most an hour (PROTOCOL section 6).
const DEFAULT_AGE: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_steps() {
        let step = |role: &str, min, max| Some(RoleStep { role: role.into(), min, max });
        assert_eq!(parse_role_step("ingress"), step("ingress", 1, 1));
        assert_eq!(parse_role_step("relay{0,2}"), step("relay", 0, 2));
        assert_eq!(parse_role_step("relay{2}"), step("relay", 2, 2));
        for text in ["", "relay{", "relay{}", "relay{2,1}", "relay{0}", "relay{0,17}", "re lay", "relay}", "{1}"] {
            assert_eq!(parse_role_step(text), None, "{text}");
        }
    }
}
