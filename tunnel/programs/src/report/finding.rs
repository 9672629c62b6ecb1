//! Why a path was not accepted, in one form whoever found it.

use std::error::Error;

use inclavared_attest::Reason;
use inclavared_attest::path::{Fault, PathError};
use serde_json::{Value, json};

use super::text::{paragraph, shown};

/// What failed, where, and by which check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    pub code: Reason,
    /// 1 is the hop next to the verifier; `None` for what concerns no hop, or the path as a whole.
    pub hop: Option<u8>,
    /// The hop whose word this is; `None` for our own.
    pub reported_by: Option<u8>,
    /// The check in words.
    pub check: String,
    pub expected: Option<String>,
    pub found: Option<String>,
    /// The whole on one line.
    pub text: String,
}

impl Finding {
    /// What a hop says: advice, not proof. The path may have been refused below it.
    pub fn told(fault: &Fault) -> Self {
        let by = fault.distance.saturating_add(1);
        let about = fault.hop.map(|hop| by.saturating_add(hop));
        let check = fault.text.clone().unwrap_or_else(|| fault.code.label().to_owned());
        let mut text = match about {
            Some(hop) => format!("hop {by} says of hop {hop}: {check}"),
            None => format!("hop {by} says: {check}"),
        };
        match (&fault.expected, &fault.found) {
            (Some(expected), Some(found)) => text += &format!(": expected {expected}, found {found}"),
            (Some(expected), None) => text += &format!(": expected {expected}"),
            (None, Some(found)) => text += &format!(": found {found}"),
            (None, None) => (),
        }
        let (expected, found) = (fault.expected.clone(), fault.found.clone());
        Self { code: fault.code, hop: about.or(Some(by)), reported_by: Some(by), check, expected, found, text }
    }

    /// What failed before there was a path: a dial, a handshake, an appraisal. The sources stand in the text.
    pub fn of_error(code: Reason, hop: Option<u8>, check: &str, error: &dyn Error) -> Self {
        let mut text = format!("{check}: {error}");
        let mut source = error.source();
        while let Some(error) = source {
            text += &format!(": {error}");
            source = error.source();
        }
        if let Some(hop) = hop {
            text = format!("hop {hop}: {text}");
        }
        Self { code, hop, reported_by: None, check: check.to_owned(), expected: None, found: None, text }
    }
}

impl From<&PathError> for Finding {
    fn from(error: &PathError) -> Self {
        Self {
            code: error.reason(),
            hop: error.hop,
            reported_by: None,
            check: error.part(),
            expected: Some(error.expected.clone()),
            found: Some(error.found.clone()),
            text: error.to_string(),
        }
    }
}

/// For people: the original's line first, then the parts. Ends with a newline.
pub fn failure(finding: &Finding) -> String {
    let mut out = format!("Remote attestation failed with err: {}\n", shown(&finding.text));
    let mut part = |head: &str, text: &str| out += &paragraph(&format!("  {head:<9} "), &shown(text));
    if let Some(hop) = finding.hop {
        part("hop", &hop.to_string());
    }
    if let Some(by) = finding.reported_by.filter(|by| Some(*by) != finding.hop) {
        part("by", &format!("hop {by}: its word, not proof"));
    }
    part("check", &finding.check);
    if let Some(expected) = &finding.expected {
        part("expected", expected);
    }
    if let Some(found) = &finding.found {
        part("found", found);
    }
    part("reason", &format!("{} ({})", finding.code, finding.code.code()));
    out
}

/// For programs.
pub fn failure_json(finding: &Finding) -> Value {
    json!({
        "ok": false,
        "error": {
            "code": finding.code.label(),
            "hop": finding.hop,
            "reported_by": finding.reported_by,
            "check": finding.check,
            "expected": finding.expected,
            "found": finding.found,
            "message": finding.text,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::super::testing::{NOW, WORLD, chain, policy};
    use super::*;
    use inclavared_attest::policy::Policy;

    #[test]
    fn a_path_that_was_refused_names_hop_check_expected_and_found() {
        let chain = chain(&WORLD, NOW, 2);
        let error = chain.verify(&Policy { allow_simulated: false, ..policy() }).unwrap_err();
        let finding = Finding::from(&error);
        let text = failure(&finding);
        let first = format!("Remote attestation failed with err: {error}\n  hop       1\n  check     policy (`test`, ");
        assert!(text.starts_with(&first), "{text}");
        assert!(text.ends_with("\n  reason    simulated (27)\n"), "{text}");
        let json = failure_json(&finding);
        assert_eq!(json["ok"], false);
        assert_eq!((&json["error"]["code"], &json["error"]["hop"]), (&json!("simulated"), &json!(1)));
        assert_eq!(json["error"]["message"], error.to_string());
        assert_eq!(json["error"]["found"], error.found);
    }

    #[test]
    fn what_a_hop_says_is_marked_as_its_word() {
        let fault = Fault::new(Reason::TcbStatus, "TCB status").with_values("UpToDate", "OutOfDate").relayed();
        let finding = Finding::told(&fault);
        assert_eq!((finding.hop, finding.reported_by), (Some(2), Some(2)));
        assert_eq!(finding.text, "hop 2 says: TCB status: expected UpToDate, found OutOfDate");
        let finding = Finding::told(&fault.without_expected().about(Some(3)));
        assert_eq!((finding.hop, finding.reported_by), (Some(5), Some(2)));
        assert_eq!(finding.text, "hop 2 says of hop 5: TCB status: found OutOfDate");
        assert!(!failure(&finding).contains("expected"));
        assert_eq!(failure_json(&finding)["error"]["expected"], Value::Null);
    }

    #[test]
    fn errors_bring_their_sources_and_no_control_characters() {
        let error = io::Error::other("refused\u{1b}[2J");
        let finding = Finding::of_error(Reason::Unreachable, None, "dial tcp://h:1", &error);
        assert_eq!(
            failure(&finding),
            "Remote attestation failed with err: dial tcp://h:1: refused\\u{1b}[2J\n  check     dial tcp://h:1\n  \
             reason    unreachable (8)\n"
        );
    }

    #[test]
    fn long_values_wrap() {
        let long = vec!["0123456789abcdef"; 20].join(" or ");
        let mut finding = Finding::of_error(Reason::Measurement, Some(1), "measurement", &io::Error::other("x"));
        finding.expected = Some(long);
        assert!(failure(&finding).lines().all(|line| line.len() <= 100));
    }
}
