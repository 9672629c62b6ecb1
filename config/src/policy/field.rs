//! One field of a hop table: which TEE it is of, and the measurements that it may hold.

use std::collections::BTreeSet;

use inclavared_attest::evidence::Tee;

use crate::document::Value;
use crate::words::tee_word;

/// Reports a key of another TEE than the table's reference values are of.
pub(super) fn belongs(value: &Value<'_>, tee: Tee, tees: &BTreeSet<Tee>) -> bool {
    if tees.is_empty() {
        return true;
    }
    if tees.len() > 1 {
        value.mistake(
            "the reference values are of several kinds of TEE, and this field is of one",
            "write a hop table for each kind",
        );
        return false;
    }
    let Some(other) = tees.iter().find(|other| **other != tee) else { return true };
    let what =
        format!("a field of `{}`, and the reference values of this table are of `{}`", tee_word(tee), tee_word(*other));
    value.mistake(what, "leave it out, or write a hop table of its own for that TEE");
    false
}

/// One measurement or several; an empty list and a measurement of zeros are mistakes.
pub(super) fn read_measurements<const N: usize>(value: &Value<'_>) -> Option<Vec<[u8; N]>> {
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
