//! Evidence in a file: what is said of it in a few lines.

use std::fmt::Write as _;

use inclavared_attest::appraise::CodeIdentity;
use inclavared_attest::offline::{OfflineVerdict, Outcome};

use super::text::{paragraph, shown};

/// The verdict. Measurements stand on one line each, so that they can be copied.
pub fn offline_verdict(verdict: &OfflineVerdict) -> String {
    let mut out = match verdict.outcome {
        Outcome::Accepted => "Evidence accepted".to_owned(),
        Outcome::Refused => "Evidence refused".to_owned(),
        Outcome::CouldNotTry => "Evidence not judged".to_owned(),
    };
    let words = [word(&verdict.tee), word(&verdict.form), word(&verdict.root).map(|root| format!("root {root}"))];
    let status = verdict.tcb_status.map(|status| format!("TCB {status}"));
    let known: Vec<_> = words.into_iter().flatten().chain(status).collect();
    if !known.is_empty() {
        out.push_str(&format!(": {}", shown(&known.join(", "))));
    }
    out.push('\n');
    let compared = match verdict.reference_values {
        Some("compared") => ", measurements compared",
        Some(_) => ", measurements not compared",
        None => "",
    };
    out.push_str(&format!("at {}, policy {}{compared}\n", verdict.at, shown(&verdict.policy)));
    if let Some(code) = &verdict.code {
        // Writing to a String cannot fail.
        let _ = write_code(&mut out, code);
    }
    if let Some(advisories) = verdict.advisories.as_ref().filter(|list| !list.is_empty()) {
        out.push_str(&paragraph("advisories ", &shown(&advisories.join(", "))));
    }
    for reason in &verdict.reasons {
        out.push_str(&paragraph("note: ", &shown(reason)));
    }
    out
}

/// Why it is not accepted, if it is not.
pub fn offline_error(verdict: &OfflineVerdict) -> Option<String> {
    let error = verdict.error.as_ref()?;
    let what = if verdict.outcome == Outcome::Refused { "refused" } else { "could not be tried" };
    Some(format!("shelter: {what} [{}]: {}\n", error.code, shown(&error.message)))
}

/// As it stands in the JSON.
fn word(value: &impl serde::Serialize) -> Option<String> {
    serde_json::to_value(value).ok()?.as_str().map(str::to_owned)
}

fn write_code(out: &mut String, code: &CodeIdentity) -> std::fmt::Result {
    let mut value = |name: &str, bytes: &[u8]| writeln!(out, "{name} {}", hex::encode(bytes));
    match code {
        CodeIdentity::Sgx(id) => {
            value("mrenclave", &id.mrenclave)?;
            value("mrsigner", &id.mrsigner)?;
            writeln!(out, "isvprodid {}, isvsvn {}", id.isv_prod_id, id.isv_svn)
        }
        CodeIdentity::Tdx(id) => {
            value("mrtd", &id.mrtd)?;
            let registers = ["rtmr0", "rtmr1", "rtmr2", "rtmr3"].into_iter().zip(&id.rtmr);
            registers.into_iter().try_for_each(|(name, register)| value(name, register))
        }
        CodeIdentity::SevSnp(id) => value("snp_measurement", &id.measurement),
        CodeIdentity::None => Ok(()),
    }
}
