//! Which states of a platform a policy accepts: TCB statuses, advisories, least versions of AMD's firmware.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use inclavared_attest::appraise::TcbStatus;
use inclavared_attest::appraise::snp::{SnpProduct, SnpTcb};
use inclavared_attest::policy::TcbPolicy;

use crate::document::{Table, Value};
use crate::words::SNP_PRODUCTS;

pub(super) fn read_tcb(table: &Table<'_>) -> TcbPolicy {
    let mut tcb = TcbPolicy::cloud();
    if let Some(list) = table.get("tcb") {
        let statuses = list.filled_list("an empty list denies every platform", "leave `tcb` out for the default");
        tcb.accepted = statuses.iter().filter_map(Value::parsed::<TcbStatus>).collect();
        if tcb.accepted.contains(&TcbStatus::Revoked) {
            list.mistake("`Revoked` cannot be accepted", "leave it out: the platform's keys are known to be lost");
        }
    }
    if let Some(grace) = table.get("grace") {
        tcb.grace = grace.whole_seconds(Duration::ZERO..=10 * YEAR).unwrap_or_default();
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

const YEAR: Duration = Duration::from_secs(365 * 86_400);
