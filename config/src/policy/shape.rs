//! The shape of a path: how many hops, of which roles in which order, and how the last one reaches the workload.

use std::collections::BTreeSet;

use inclavared_attest::policy::{ChainShape, RoleStep, TerminalKind};

use crate::document::{Table, Value};
use crate::words::is_name;

pub(super) fn read_shape(table: &Table<'_>) -> ChainShape {
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

/// The ends at which no plain byte leaves the TEE: the default.
const CONFIDENTIAL_TERMINALS: [TerminalKind; 3] =
    [TerminalKind::Workload, TerminalKind::SameTee, TerminalKind::TeeLocal];

/// Hops of a path unless the policy says otherwise, and the most that the protocol allows (PROTOCOL section 5).
const DEFAULT_HOPS: u8 = 8;

const MAX_HOPS: u8 = 16;

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
