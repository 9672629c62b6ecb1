//! The fields of a hop table that name code: an enclave or its signer, a TD, an SEV-SNP guest.

use std::collections::BTreeSet;

use inclavared_attest::evidence::Tee;
use inclavared_attest::policy::ReferenceValue;

use super::field::{belongs, read_measurements};
use crate::document::{Table, Value};

pub(super) fn read_reference_values(table: &Table<'_>) -> Option<Vec<ReferenceValue>> {
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

/// The fields that name code, and the TEE that each is of.
pub(super) const PRIMARY: [(&str, Tee); 4] =
    [("mrenclave", Tee::Sgx), ("mrsigner", Tee::Sgx), ("mrtd", Tee::Tdx), ("snp_measurement", Tee::SevSnp)];

/// The fields that go with those, and the TEE that each is of.
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

pub(super) fn tee_of(value: &ReferenceValue) -> Tee {
    match value {
        ReferenceValue::SgxEnclave { .. } | ReferenceValue::SgxSigner { .. } => Tee::Sgx,
        ReferenceValue::Tdx { .. } => Tee::Tdx,
        ReferenceValue::SevSnp { .. } => Tee::SevSnp,
    }
}
