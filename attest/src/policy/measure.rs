//! Which code a hop may run: rules, reference values, and the mismatch that is worth showing.

use super::{
    Applies, Comparison, Demand, Field, FieldValue, HopPlace, HopRule, Policy, PolicyError, ReferenceValue, Test,
};
use crate::Reason;
use crate::appraise::{Appraised, CodeIdentity};
use crate::evidence::HopClaims;
use crate::tee::Tee;

impl Policy {
    /// The rule that the hop matches in full, and what was compared; or the mismatch of the rule that came nearest.
    pub(super) fn check_measurements<'a>(
        &self,
        rules: &'a [HopRule],
        place: &HopPlace<'_>,
        appraised: &Appraised,
        hop: Option<&HopClaims>,
    ) -> Result<Matched<'a>, PolicyError> {
        let mut nearest: Option<(Nearness, PolicyError)> = None;
        for rule in rules.iter().filter(|rule| rule.applies.to(place)) {
            match self.check_rule(rule, appraised, hop) {
                Ok(comparisons) => return Ok(Matched { rule, comparisons }),
                Err(miss) if nearest.as_ref().is_none_or(|(nearness, _)| *nearness < miss.0) => nearest = Some(miss),
                Err(_) => {}
            }
        }
        Err(nearest.map_or_else(
            || {
                self.refuse(
                    Reason::Measurement,
                    "rules",
                    format!("one for hop {} (role `{}`)", place.position, place.role.escape_debug()),
                    "none",
                )
            },
            |(_, error)| error,
        ))
    }

    fn check_rule(
        &self,
        rule: &HopRule,
        appraised: &Appraised,
        hop: Option<&HopClaims>,
    ) -> Result<Vec<Comparison>, (Nearness, PolicyError)> {
        if !rule.tees.contains(&appraised.tee) {
            let expected: Vec<_> = rule.tees.iter().map(|tee| tee_name(*tee)).collect();
            let found = tee_name(appraised.tee);
            return Err((Nearness::Tee, self.refuse(Reason::Tee, "TEE", expected.join(" or "), found)));
        }
        let Some(value) = rule.reference_values.iter().find(|value| value.matches(&appraised.code)) else {
            let (expected, found) = mismatch(&rule.reference_values, &appraised.code);
            return Err((Nearness::Code, self.refuse(Reason::Measurement, "measurements", expected, found)));
        };
        let mut comparisons: Vec<_> = value.demands().iter().map(|demand| demand.comparison(&appraised.code)).collect();
        for demand in &rule.demands {
            let comparison = demand.comparison(&appraised.code);
            if !demand.holds(&appraised.code) {
                let Comparison { field, expected, found } = comparison;
                return Err((Nearness::Field, self.refuse(Reason::Measurement, field, expected, found)));
            }
            comparisons.push(comparison);
        }
        if let Some(expected) = rule.config_digest {
            let found = hop.map(|hop| hop.config_digest);
            if found != Some(expected) {
                let found = found.map_or("none".into(), |found| found.to_string());
                let error = self.refuse(Reason::ConfigDigest, "configuration", expected.to_string(), found);
                return Err((Nearness::Configuration, error));
            }
            let (expected, found) = (expected.to_string(), expected.to_string());
            comparisons.push(Comparison { field: "config_digest", expected, found });
        }
        Ok(comparisons)
    }
}

/// A hop that passes.
pub(super) struct Matched<'a> {
    pub(super) rule: &'a HopRule,
    pub(super) comparisons: Vec<Comparison>,
}

/// How far a hop came with a rule.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    Tee,
    Code,
    Field,
    Configuration,
}

impl Applies {
    fn to(&self, place: &HopPlace<'_>) -> bool {
        match self {
            Self::Position(position) => *position == place.position,
            Self::Last => place.last,
            Self::Role(role) => role == place.role,
            Self::Any => true,
        }
    }
}

impl ReferenceValue {
    /// What it demands of single fields: it matches where all of them hold.
    pub fn demands(&self) -> Vec<Demand> {
        let full = |field, bytes: &[u8]| Demand::one(field, FieldValue::Bytes(bytes.to_vec()));
        match self {
            Self::SgxEnclave { mrenclave } => vec![full(Field::Mrenclave, mrenclave)],
            Self::SgxSigner { mrsigner, isv_prod_id, isv_svn_min } => vec![
                full(Field::Mrsigner, mrsigner),
                Demand::one(Field::IsvProdId, FieldValue::Number((*isv_prod_id).into())),
                Demand { field: Field::IsvSvn, test: Test::AtLeast((*isv_svn_min).into()) },
            ],
            Self::Tdx { mrtd, rtmr, mrconfigid } => {
                let registers = [Field::Rtmr0, Field::Rtmr1, Field::Rtmr2, Field::Rtmr3].into_iter().zip(rtmr);
                let registers = registers.filter_map(|(field, value)| Some(full(field, value.as_ref()?)));
                let config = mrconfigid.iter().map(|value| full(Field::MrConfigId, value));
                std::iter::once(full(Field::Mrtd, mrtd)).chain(registers).chain(config).collect()
            }
            Self::SevSnp { measurement } => vec![full(Field::SnpMeasurement, measurement)],
        }
    }

    fn matches(&self, code: &CodeIdentity) -> bool {
        self.demands().iter().all(|demand| demand.holds(code))
    }
}

/// What was expected and found. Of one value the fields alone that differ: the rest would hide them.
fn mismatch(values: &[ReferenceValue], code: &CodeIdentity) -> (String, String) {
    let differing: Vec<_> = match values {
        [one] => one.demands().iter().filter(|demand| !demand.holds(code)).map(|d| d.comparison(code)).collect(),
        _ => Vec::new(),
    };
    if differing.is_empty() || differing.iter().all(|comparison| comparison.found == "none") {
        let expected: Vec<_> = values.iter().map(ToString::to_string).collect();
        return (if expected.is_empty() { "no code at all".into() } else { expected.join(" or ") }, shown(code));
    }
    let side = |of: fn(&Comparison) -> &str| {
        let words: Vec<_> = differing.iter().map(|one| format!("{} {}", one.field, of(one))).collect();
        words.join(" ")
    };
    (side(|one| &one.expected), side(|one| &one.found))
}

impl std::fmt::Display for ReferenceValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SgxEnclave { mrenclave } => write!(f, "mrenclave {}", hex::encode(mrenclave)),
            Self::SgxSigner { mrsigner, isv_prod_id, isv_svn_min } => {
                let mrsigner = hex::encode(mrsigner);
                write!(f, "mrsigner {mrsigner} isvprodid {isv_prod_id} isvsvn {isv_svn_min} or higher")
            }
            Self::Tdx { mrtd, rtmr, mrconfigid } => {
                write!(f, "mrtd {}", hex::encode(mrtd))?;
                for (i, rtmr) in rtmr.iter().enumerate() {
                    if let Some(rtmr) = rtmr {
                        write!(f, " rtmr{i} {}", hex::encode(rtmr))?;
                    }
                }
                match mrconfigid {
                    Some(mrconfigid) => write!(f, " mrconfigid {}", hex::encode(mrconfigid)),
                    None => Ok(()),
                }
            }
            Self::SevSnp { measurement } => write!(f, "measurement {}", hex::encode(measurement)),
        }
    }
}

fn shown(code: &CodeIdentity) -> String {
    match code {
        CodeIdentity::Sgx(sgx) => format!(
            "mrenclave {} mrsigner {} isvprodid {} isvsvn {}",
            hex::encode(sgx.mrenclave),
            hex::encode(sgx.mrsigner),
            sgx.isv_prod_id,
            sgx.isv_svn
        ),
        CodeIdentity::Tdx(tdx) => {
            let mut text = format!("mrtd {}", hex::encode(tdx.mrtd));
            for (i, rtmr) in tdx.rtmr.iter().enumerate() {
                text.push_str(&format!(" rtmr{i} {}", hex::encode(rtmr)));
            }
            text.push_str(&format!(" mrconfigid {}", hex::encode(tdx.mrconfigid)));
            text
        }
        CodeIdentity::SevSnp(snp) => format!("measurement {}", hex::encode(snp.measurement)),
        CodeIdentity::None => "none".into(),
    }
}

pub(super) const fn tee_name(tee: Tee) -> &'static str {
    match tee {
        Tee::Sgx => "sgx",
        Tee::Tdx => "tdx",
        Tee::SevSnp => "sev-snp",
        Tee::None => "none",
    }
}
