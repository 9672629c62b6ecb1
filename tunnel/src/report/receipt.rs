//! The receipt of one stream.

use inclavared_attest::path::{Close, Path};
use serde_json::{Value, json};

use crate::connection::Report;
use crate::log::printable;

/// One line: how the stream closed, what crossed it, who signed for it.
pub fn receipt(report: &Report) -> String {
    let (up, down) = (report.counters.up, report.counters.down);
    let hops = report.path.as_ref().map_or(0, |path| path.hops.len());
    let ms = report.lasted.as_millis();
    match &report.result {
        Ok(_) => format!("receipt: {}, {up} bytes up, {down} bytes down, {hops} hops signed, {ms} ms", close(report)),
        Err(error) => format!(
            "no receipt: {}, {up} bytes up, {down} bytes down, {ms} ms: {}",
            close(report),
            printable(&error.one_line())
        ),
    }
}

pub fn receipt_json(report: &Report) -> Value {
    let error = report.result.as_ref().err();
    json!({
        "receipt": {
            "ok": close(report) == "complete",
            "close": close(report),
            "bytes_up": report.counters.up,
            "bytes_down": report.counters.down,
            "lasted_ms": u64::try_from(report.lasted.as_millis()).unwrap_or(u64::MAX),
            "session": report.path.as_ref().map(|path| path.session),
            "hops": report.path.as_ref().map_or_else(Vec::new, |path| hops(path)),
            "error": error.map(|error| json!({
                "code": error.reason().label(),
                "message": printable(&error.one_line()),
            })),
        }
    })
}

/// PROTOCOL section 4: only `complete` is success.
fn close(report: &Report) -> &'static str {
    match &report.result {
        Ok(_) => match report.path.as_ref().and_then(|path| path.close) {
            Some(Close::Complete { .. }) => "complete",
            Some(Close::Partial { .. }) => "partial",
            Some(Close::Severed { .. }) => "severed",
            None => "unreceipted",
        },
        Err(_) if report.path.is_none() => "refused",
        Err(_) => "unreceipted",
    }
}

fn hops(path: &Path) -> Vec<Value> {
    let each = path.hops.iter().map(|hop| {
        let receipt = hop.receipt.as_ref();
        json!({
            "position": hop.position,
            "role": hop.role,
            "key": hop.kid,
            "record": hop.record,
            "bytes_up": receipt.map(|r| r.counters.up),
            "bytes_down": receipt.map(|r| r.counters.down),
            "close": receipt.map(|r| r.close.name()),
        })
    });
    each.collect()
}
