//! Why a path was not accepted: which hop, which check, what was expected and what was found.

use inclavared_attest::Reason;
use serde_json::{Value, json};

use crate::error::{Error, Refused};
use crate::log::printable;
use crate::process::StartError;

/// A verification that did not succeed.
#[derive(Debug)]
pub struct Failure {
    reason: Reason,
    /// 1 is the hop next to the verifier.
    hop: Option<u8>,
    check: Option<String>,
    expected: Option<String>,
    found: Option<String>,
    message: String,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = printable(&error.one_line());
        let reason = error.reason();
        let blank = Self { reason, hop: None, check: None, expected: None, found: None, message };
        match error {
            Error::Refused(Refused::Path(e)) => Self {
                hop: e.hop,
                check: Some(e.what.clone().unwrap_or_else(|| e.check.name().to_owned())),
                expected: Some(e.expected.clone()),
                found: Some(e.found.clone()),
                ..blank
            },
            // The first hop is the one that we met ourselves.
            Error::Refused(Refused::Appraisal(e)) => {
                Self { hop: Some(1), check: Some(e.what), expected: Some(e.expected), found: Some(e.found), ..blank }
            }
            Error::Refused(Refused::Policy(e)) => {
                Self { hop: Some(1), check: Some(e.what), expected: Some(e.expected), found: Some(e.found), ..blank }
            }
            Error::Refused(_) => Self { hop: Some(1), ..blank },
            // Advice of the first hop, or of one behind it.
            Error::Fault(fault) => Self {
                hop: Some(fault.distance.saturating_add(1)),
                check: fault.text,
                expected: fault.expected,
                found: fault.found,
                ..blank
            },
            _ => blank,
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let message = printable(&format!("{:#}", anyhow::Error::new(error)));
        Self { reason: Reason::Internal, hop: None, check: None, expected: None, found: None, message }
    }
}

impl Failure {
    /// In the original's words, on one line.
    pub fn text(&self) -> String {
        format!("Remote attestation failed with err: {}", self.message)
    }

    pub fn json(&self) -> Value {
        json!({
            "ok": false,
            "error": {
                "code": self.reason.label(),
                "hop": self.hop,
                "check": self.check,
                "expected": self.expected,
                "found": self.found,
                "message": self.message,
            },
        })
    }
}
