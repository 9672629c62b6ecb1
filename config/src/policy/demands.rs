//! The fields of a hop table beside those that name code. Each narrows what passes.

use std::collections::BTreeSet;

use inclavared_attest::evidence::Tee;
use inclavared_attest::policy::{Demand, Field, FieldValue, GUEST_POLICY_BITS, HopRule, Test};

use super::field::{belongs, read_measurements};
use crate::document::{Table, Value};

/// What the table demands beside its reference values, which are of `tees`. Where those could not be read, `tees` is
/// empty, and nothing is said of other TEEs.
pub(super) fn read_demands(table: &Table<'_>, tees: &BTreeSet<Tee>) -> Vec<Demand> {
    let mut demands = Vec::new();
    let mut add = |value: Option<Value<'_>>, field: Field, test: &dyn Fn(&Value<'_>) -> Option<Test>| {
        let Some(value) = value.filter(|value| belongs(value, field.tee(), tees)) else { return };
        demands.extend(test(&value).map(|test| Demand { field, test }));
    };
    if table.has("mrenclave") {
        add(table.get("mrsigner"), Field::Mrsigner, &|value| {
            let signers = read_measurements::<32>(value)?;
            Some(Test::OneOf(signers.into_iter().map(|signer| FieldValue::Bytes(signer.to_vec())).collect()))
        });
        add(table.get("isvprodid"), Field::IsvProdId, &|value| {
            let number = value.integer::<u16>(0..=u16::MAX.into())?;
            Some(Test::OneOf([FieldValue::Number(number.into())].into()))
        });
        add(table.get("isvsvn_min"), Field::IsvSvn, &|value| {
            value.integer::<u16>(0..=u16::MAX.into()).map(|least| Test::AtLeast(least.into()))
        });
    }
    for field in IN_FULL {
        add(table.get(field.name()), *field, &|value| read_values(value, *field));
    }
    for (field, mask) in MASKED {
        let mask = table.get(mask);
        if !table.has(field.name())
            && let Some(mask) = &mask
        {
            mask.mistake(format!("a mask without `{field}`"), format!("write `{field}`, or leave the mask out"));
        }
        add(table.get(field.name()), *field, &|value| read_masked(value, mask.as_ref(), *field));
    }
    for (key, field, most) in
        [("configsvn_min", Field::ConfigSvn, 0xffff), ("guest_svn_min", Field::GuestSvn, 0xffff_ffff)]
    {
        add(table.get(key), field, &|value| value.integer::<u64>(0..=most).map(Test::AtLeast));
    }
    let (must, must_not) = (table.get("guest_policy_must"), table.get("guest_policy_must_not"));
    if let Some(either) = must.as_ref().or(must_not.as_ref()) {
        add(Some(either.clone()), Field::GuestPolicy, &|_| {
            let [set, clear] = [&must, &must_not].map(|list| list.as_ref().map_or(Some(0), read_bits));
            let (set, clear) = (set?, clear?);
            if let (true, Some(both)) = (set & clear != 0, must_not.as_ref()) {
                both.mistake("a bit that must and must not be set", "no guest could pass: leave it out of one list");
            }
            Some(Test::Bits { set, clear })
        });
    }
    add(table.get("vmpl_max"), Field::Vmpl, &|value| value.integer::<u64>(0..=3).map(Test::AtMost));
    demands
}

/// Adds what is demanded unless a table says otherwise: VMPL 0, where the launch measurement begins. Code at other
/// levels can ask for reports as well.
pub(super) fn add_defaults(rule: &mut HopRule) {
    if rule.tees.contains(&Tee::SevSnp) && !rule.demands.iter().any(|demand| demand.field == Field::Vmpl) {
        rule.demands.push(Demand { field: Field::Vmpl, test: Test::AtMost(0) });
    }
}

fn read_values(value: &Value<'_>, field: Field) -> Option<Test> {
    let items = value.filled_list("an empty list denies every hop", "write at least one value");
    let values: Vec<_> = items.iter().map(|item| item.hex_bytes(field.width()?)).collect();
    let values: Option<BTreeSet<_>> = values.into_iter().map(|value| value.map(FieldValue::Bytes)).collect();
    values.filter(|values| !values.is_empty()).map(Test::OneOf)
}

fn read_masked(value: &Value<'_>, mask: Option<&Value<'_>>, field: Field) -> Option<Test> {
    let width = field.width()?;
    let Some(mask) = mask else { return read_values(value, field) };
    let (bits, shown) = (value.hex_bytes(width), mask);
    let mask = mask.hex_bytes(width);
    let (bits, mask) = (bits?, mask?);
    if mask.iter().all(|byte| *byte == 0) {
        shown.mistake("a mask of zeros compares nothing", format!("set the bits of `{field}` that matter"));
    } else if bits.iter().zip(&mask).any(|(bits, mask)| bits & !mask != 0) {
        value.mistake("has bits outside of its mask, which are not compared", "clear them, or widen the mask");
    }
    Some(Test::Masked { value: bits, mask })
}

/// Words, or the numbers of bits.
fn read_bits(value: &Value<'_>) -> Option<u64> {
    let items = value.filled_list("an empty list demands nothing", "leave it out");
    let bit = |item: &Value<'_>| match item.is_text() {
        true => item.word(GUEST_POLICY_BITS),
        false => item.integer::<u8>(16..=63),
    };
    let bits: Vec<_> = items.iter().map(bit).collect();
    bits.into_iter().try_fold(0, |bits, bit| Some(bits | 1 << bit?))
}

const IN_FULL: &[Field] = &[
    Field::ConfigId,
    Field::IsvFamilyId,
    Field::IsvExtProdId,
    Field::MrOwner,
    Field::MrOwnerConfig,
    Field::MrSeam,
    Field::MrSignerSeam,
    Field::HostData,
    Field::IdKeyDigest,
    Field::AuthorKeyDigest,
    Field::FamilyId,
    Field::ImageId,
];

const MASKED: &[(Field, &str)] = &[
    (Field::Attributes, "attributes_mask"),
    (Field::MiscSelect, "miscselect_mask"),
    (Field::TdAttributes, "td_attributes_mask"),
    (Field::Xfam, "xfam_mask"),
];
