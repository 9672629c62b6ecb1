//! `[[policy.NAME.hop]]`: which code may stand at one hop.

use std::collections::BTreeSet;

use inclavared_attest::ConfigDigest;
use inclavared_attest::evidence::Tee;
use inclavared_attest::policy::{Applies, ChainShape, HopRule};

use super::code::{PRIMARY, read_reference_values, tee_of};
use super::demands::{add_defaults, read_demands};
use crate::document::Table;
use crate::values::References;
use crate::words::{NAME_REMEDY, TEES, is_name, tee_word};

/// The rules of one hop table: one, or those of the files of reference values that it names. `None` if something that
/// matters was wrong; it has been reported.
pub(super) fn read_hop_rules(table: &Table<'_>, shape: &ChainShape, files: &References<'_>) -> Option<Vec<HopRule>> {
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
        // Whoever names a file of reference values may still say it, so its own reader adds no defaults.
        if !files.is_named_file() {
            add_defaults(&mut rule);
        }
        HopRule { applies: applies.clone(), config_digest: digest.or(rule.config_digest), ..rule }
    });
    Some(rules.collect())
}

/// Reports roles of the order that no rule speaks of: such a hop would always be refused.
pub(super) fn check_coverage(table: &Table<'_>, rules: &[HopRule], shape: &ChainShape) {
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

/// `tee` says nothing that the reference values do not say. It is checked against them.
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
