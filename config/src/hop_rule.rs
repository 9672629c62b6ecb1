//! `[[policy.NAME.hop]]`: which code may stand at one hop.

use std::collections::BTreeSet;

use inclavared_attest::ConfigDigest;
use inclavared_attest::evidence::Tee;
use inclavared_attest::policy::{Applies, ChainShape, Field, HopRule, ReferenceValue};

use crate::demands::{belongs, default_demands, read_demands};
use crate::document::{Table, Value};
use crate::policy::{NAME_REMEDY, is_name};
use crate::references::References;

/// The rules of one hop table: one, or those of the files of reference values that it names. `None` if something that
/// matters was wrong; it has been reported.
pub(crate) fn read_hop_rules(table: &Table<'_>, shape: &ChainShape, files: &References<'_>) -> Option<Vec<HopRule>> {
    let applies = read_applies(table, shape);
    let read = match table.get("reference_values") {
        None => read_reference_values(table).map(|values| {
            let tees = values.iter().map(tee_of).collect();
            vec![HopRule {
                applies: Applies::Any,
                tees,
                reference_values: values,
                demands: vec![],
                config_digest: None,
            }]
        }),
        Some(value) => {
            let own = PRIMARY.iter().find(|(key, _)| table.get(key).is_some());
            if let Some((key, _)) = own {
                table.mistake_at(
                    key,
                    "stands beside `reference_values`",
                    "write a hop table for each; any of them suffices",
                );
            }
            files.read(table, &value)
        }
    };
    let tees = read.iter().flatten().flat_map(|rule| rule.tees.iter().copied()).collect();
    let demands = read_demands(table, &tees);
    read_tees(table, &tees);
    let digest = table.get("config_digest").and_then(|v| v.hex().map(ConfigDigest::from_bytes));
    table.finish();
    let applies = applies?;
    let rules = read?.into_iter().map(|mut rule| {
        rule.demands.extend(demands.iter().cloned());
        if rule.demands.iter().filter(|demand| demand.field == Field::Vmpl).count() > 1 {
            // Of a file that says nothing of it; this table does.
            rule.demands.retain(|demand| demand.field != Field::Vmpl || demands.contains(demand));
        }
        let unsaid: Vec<_> = rule.tees.iter().filter_map(|tee| default_demands(*tee, &rule.demands)).collect();
        rule.demands.extend(unsaid);
        HopRule { applies: applies.clone(), config_digest: digest.or(rule.config_digest), ..rule }
    });
    Some(rules.collect())
}

/// Reports roles of the order that no rule speaks of: such a hop would always be refused.
pub(crate) fn check_coverage(table: &Table<'_>, rules: &[HopRule], shape: &ChainShape) {
    if !rules.iter().all(|rule| matches!(rule.applies, Applies::Role(_))) {
        return;
    }
    for step in &shape.order {
        if !rules.iter().any(|rule| rule.applies == Applies::Role(step.role.clone())) {
            table.mistake(
                format!("`order` has the role `{}`, and no hop table speaks of it", step.role),
                format!("write a `[[{}.hop]]` with `role = \"{}\"`", table.path(), step.role),
            );
        }
    }
}

fn read_applies(table: &Table<'_>, shape: &ChainShape) -> Option<Applies> {
    let (role, position, last) = (table.get("role"), table.get("position"), table.get("last"));
    if [&role, &position, &last].into_iter().flatten().count() > 1 {
        table.mistake("more than one of role, position and last", "keep one of them");
        return None;
    }
    if let Some(value) = role {
        let role = value.text()?;
        if !is_name(role) {
            value.mistake("not a role", NAME_REMEDY);
            return None;
        }
        if !shape.order.is_empty() && !shape.order.iter().any(|step| step.role == role) {
            value.mistake(format!("`order` has no role `{role}`, so this never applies"), "add it to `order`");
        }
        return Some(Applies::Role(role.to_owned()));
    }
    if let Some(value) = position {
        let position = value.integer::<u8>(1..=16)?;
        if position > shape.max_hops {
            value.mistake(format!("max_hops is {}, so this never applies", shape.max_hops), "raise max_hops");
        }
        return Some(Applies::Position(position));
    }
    match last {
        None => Some(Applies::Any),
        Some(value) if value.flag()? => Some(Applies::Last),
        Some(value) => {
            value.mistake("`false` says nothing", "write `last = true`, or leave it out for any hop");
            None
        }
    }
}

fn read_reference_values(table: &Table<'_>) -> Option<Vec<ReferenceValue>> {
    let named: BTreeSet<_> = PRIMARY.iter().filter(|(key, _)| table.has(key)).map(|(_, tee)| *tee).collect();
    if let (Some(tee), 1) = (named.first(), named.len()) {
        // What kind of code it is about is clear: whatever is of another kind is a mistake of its own.
        for (key, of) in OTHERS.iter().filter(|(_, of)| of != tee) {
            if let Some(value) = table.get(key) {
                belongs(&value, *of, &named);
            }
        }
        return match tee {
            Tee::Sgx => read_sgx(table)?,
            Tee::Tdx => read_tds(table)?,
            _ => read_snp(table)?,
        };
    }
    let readers = [read_sgx, read_tds, read_snp];
    let kinds: Vec<_> = readers.into_iter().map(|read| read(table)).collect();
    match kinds.iter().filter(|kind| kind.is_some()).count() {
        1 => kinds.into_iter().flatten().next()?,
        0 => {
            table.mistake(
                "no reference value, so this hop is denied",
                "write mrenclave, mrsigner with isvprodid and isvsvn_min, mrtd, snp_measurement or reference_values",
            );
            None
        }
        // Code is of one kind: such a table would never match.
        _ => {
            table.mistake("more than one kind of reference value", "write a hop table for each; any of them suffices");
            None
        }
    }
}

/// The fields that name code, and whose they are.
const PRIMARY: [(&str, Tee); 4] =
    [("mrenclave", Tee::Sgx), ("mrsigner", Tee::Sgx), ("mrtd", Tee::Tdx), ("snp_measurement", Tee::SevSnp)];

/// Those that go with them.
const OTHERS: [(&str, Tee); 7] = [
    ("isvprodid", Tee::Sgx),
    ("isvsvn_min", Tee::Sgx),
    ("rtmr0", Tee::Tdx),
    ("rtmr1", Tee::Tdx),
    ("rtmr2", Tee::Tdx),
    ("rtmr3", Tee::Tdx),
    ("mrconfigid", Tee::Tdx),
];

/// An enclave, or what a signer signed.
fn read_sgx(table: &Table<'_>) -> Found {
    if table.has("mrenclave") { read_enclaves(table) } else { read_signers(table) }
}

/// The outer `Option`: whether the table speaks of this kind at all. The inner: whether it could be read.
type Found = Option<Option<Vec<ReferenceValue>>>;

fn read_enclaves(table: &Table<'_>) -> Found {
    let value = table.get("mrenclave")?;
    Some(
        read_measurements(&value)
            .map(|all| all.into_iter().map(|m| ReferenceValue::SgxEnclave { mrenclave: m }).collect()),
    )
}

fn read_signers(table: &Table<'_>) -> Found {
    let keys = ["mrsigner", "isvprodid", "isvsvn_min"].map(|key| table.get(key));
    if keys.iter().all(Option::is_none) {
        return None;
    }
    if keys.iter().any(Option::is_none) {
        table.mistake(
            "mrsigner, isvprodid and isvsvn_min go together",
            "add what is missing: everything that a signer ever signed would pass otherwise",
        );
    }
    let [signers, product, svn] = keys;
    let signers = signers.as_ref().and_then(read_measurements);
    let number = |value: Option<Value<'_>>| value.and_then(|v| v.integer::<u16>(0..=u16::MAX.into()));
    let (Some(signers), Some(isv_prod_id), Some(isv_svn_min)) = (signers, number(product), number(svn)) else {
        return Some(None);
    };
    let value = |mrsigner| ReferenceValue::SgxSigner { mrsigner, isv_prod_id, isv_svn_min };
    Some(Some(signers.into_iter().map(value).collect()))
}

fn read_tds(table: &Table<'_>) -> Found {
    let mrtd = table.get("mrtd");
    let registers = ["rtmr0", "rtmr1", "rtmr2", "rtmr3"].map(|key| table.get(key));
    let config = table.get("mrconfigid");
    if mrtd.is_none() && config.is_none() && registers.iter().all(Option::is_none) {
        return None;
    }
    if mrtd.is_none() {
        table.mistake(
            "rtmr0 to rtmr3 and mrconfigid say nothing without mrtd",
            "add mrtd: firmware could write any RTMR",
        );
    }
    let optional = |value: &Option<Value<'_>>| value.as_ref().map(|v| v.hex::<48>());
    let registers = registers.each_ref().map(optional);
    let config = optional(&config);
    let Some(mrtds) = mrtd.as_ref().and_then(read_measurements) else { return Some(None) };
    // A register that is there and could not be read has been reported: nothing of the document is used.
    let (rtmr, mrconfigid) = (registers.map(Option::flatten), config.flatten());
    Some(Some(mrtds.into_iter().map(|mrtd| ReferenceValue::Tdx { mrtd, rtmr, mrconfigid }).collect()))
}

fn read_snp(table: &Table<'_>) -> Found {
    let value = table.get("snp_measurement")?;
    Some(
        read_measurements(&value)
            .map(|all| all.into_iter().map(|m| ReferenceValue::SevSnp { measurement: m }).collect()),
    )
}

/// One measurement or several; an empty list and a measurement of zeros are mistakes.
pub(crate) fn read_measurements<const N: usize>(value: &Value<'_>) -> Option<Vec<[u8; N]>> {
    let items = value.filled_list("an empty list denies every hop", "write at least one measurement");
    let mut all = Vec::new();
    for item in &items {
        let measurement = item.hex::<N>()?;
        if measurement == [0; N] {
            item.mistake("a measurement of zeros", "write the real one: zeros are what an unset field reads as");
        }
        all.push(measurement);
    }
    (!all.is_empty()).then_some(all)
}

/// `tee` says nothing that the reference values do not say; it is checked against them.
fn read_tees(table: &Table<'_>, meant: &BTreeSet<Tee>) {
    let Some(list) = table.get("tee") else { return };
    let items = list.filled_list("an empty list denies every hop", "leave `tee` out: the reference values say it");
    let tees: BTreeSet<_> = items.iter().filter_map(|item| item.word(TEES)).collect();
    if let Some(tee) = tees.difference(meant).next().filter(|_| !meant.is_empty()) {
        list.mistake(
            format!("no reference value of this table is of `{}`", tee_word(*tee)),
            "write a hop table of its own for that TEE",
        );
    } else if let Some(tee) = meant.difference(&tees).next().filter(|_| !tees.is_empty()) {
        list.mistake(format!("the reference values are of `{}`", tee_word(*tee)), "name that TEE, or leave `tee` out");
    }
}

fn tee_of(value: &ReferenceValue) -> Tee {
    match value {
        ReferenceValue::SgxEnclave { .. } | ReferenceValue::SgxSigner { .. } => Tee::Sgx,
        ReferenceValue::Tdx { .. } => Tee::Tdx,
        ReferenceValue::SevSnp { .. } => Tee::SevSnp,
    }
}

pub(crate) fn tee_word(tee: Tee) -> &'static str {
    TEES.iter().find(|(_, known)| *known == tee).map_or("none", |(word, _)| word)
}

const TEES: &[(&str, Tee)] = &[("sgx", Tee::Sgx), ("tdx", Tee::Tdx), ("sev-snp", Tee::SevSnp)];
