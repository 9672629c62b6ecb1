//! What a program of ours met, in the words of the report: errors as findings, ended streams as receipts.

use inclavared_tunnel::error::{Error, Refused};
use inclavared_tunnel::server::ended::Report;
use inclavared_tunnel::server::process::StartError;
use serde_json::{Value, json};

use super::text::shown;
use super::{Finding, close_status, receipt_json, receipt_line};

impl From<&Error> for Finding {
    fn from(error: &Error) -> Self {
        let parts = |check: &str, expected: &str, found: &str| Self {
            code: error.reason(),
            // The first hop is the one that we meet ourselves.
            hop: Some(1),
            reported_by: None,
            check: check.to_owned(),
            expected: Some(expected.to_owned()),
            found: Some(found.to_owned()),
            text: format!("hop 1: {}", error.one_line()),
        };
        match error {
            Error::Fault(fault) => Self::told(fault),
            Error::Refused(Refused::Path(path)) => Self::from(&**path),
            Error::Refused(Refused::Appraisal(e)) => parts(&e.what, &e.expected, &e.found),
            Error::Refused(Refused::Policy(e)) => parts(&e.what, &e.expected, &e.found),
            Error::Refused(Refused::NoEvidence | Refused::Certificate(_)) => {
                Self::of_error(error.reason(), Some(1), "evidence of the peer", error)
            }
            Error::Collateral { hop, .. } => {
                Self::of_error(error.reason(), hop.or(Some(1)), "collateral for the evidence", error)
            }
            Error::Peer(_) => Self::of_error(error.reason(), Some(1), "connection to the first hop", error),
            _ => Self::of_error(error.reason(), None, "reaching the path", error),
        }
    }
}

impl From<&StartError> for Finding {
    fn from(error: &StartError) -> Self {
        Self::of_error(inclavared_attest::Reason::Internal, None, "what this verifier rests on", error)
    }
}

/// One line for a stream that has ended.
pub fn stream_line(report: &Report) -> String {
    let (up, down) = (report.counters.up, report.counters.down);
    match (&report.result, &report.path) {
        (Ok(_), Some(path)) => receipt_line(path, report.counters),
        (Ok(_), None) => format!("closed: {up} bytes up, {down} bytes down; no path below"),
        (Err(error), Some(_)) => {
            format!("unreceipted: {up} bytes up, {down} bytes down: {}", shown(&error.one_line()))
        }
        (Err(error), None) => format!("refused: nothing was sent: {}", shown(&Finding::from(error).text)),
    }
}

/// The same as an exit status: 1 where nothing was sent.
pub fn stream_status(report: &Report) -> u8 {
    match (&report.result, &report.path) {
        (Ok(_), Some(path)) => close_status(path.close),
        (Err(_), Some(_)) => close_status(None),
        (_, None) => 1,
    }
}

/// The same for a program.
pub fn stream_json(report: &Report) -> Value {
    let mut value = match (&report.result, &report.path) {
        (Ok(_), Some(path)) => receipt_json(path, report.counters),
        (result, path) => json!({
            "ok": false,
            "receipt": {
                "close": if path.is_some() { "unreceipted" } else { "refused" },
                "bytes_up": report.counters.up,
                "bytes_down": report.counters.down,
            },
            "error": result.as_ref().err().map(|error| super::failure_json(&Finding::from(error))["error"].take()),
        }),
    };
    let complete = value["receipt"]["close"] == "complete";
    if let Value::Object(fields) = &mut value {
        fields.insert("ok".to_owned(), complete.into());
        let lasted = u64::try_from(report.lasted.as_millis()).unwrap_or(u64::MAX);
        fields.insert("lasted_ms".to_owned(), lasted.into());
    }
    value
}
