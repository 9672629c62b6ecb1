//! How a stream over a verified path ended, and what its hops signed about it.

use inclavared_attest::path::{Close, Counters, Path};
use serde_json::{Value, json};

/// For people and the log, on one line. `own` is what this side sent and accepted; a path without a final trailer has
/// no receipt, which is never success.
pub fn receipt_line(path: &Path, own: Counters) -> String {
    let bytes = format!("{} bytes up, {} down", own.up, own.down);
    match path.close {
        Some(Close::Complete { .. }) => {
            format!("receipt: complete, {bytes}, the same at all {} hops", path.hops.len())
        }
        Some(Close::Partial { reason }) => {
            format!("receipt: PARTIAL ({}), {bytes}; the hops' counters were not compared", reason.name())
        }
        Some(Close::Severed { after, reason }) => {
            format!("receipt: SEVERED below hop {after} ({reason}), {bytes}; what arrived may not be all")
        }
        None => format!("receipt: NONE, {bytes}; nothing proves that what arrived is all"),
    }
}

/// For programs. Success is `close` = `complete` alone.
pub fn receipt_json(path: &Path, own: Counters) -> Value {
    let (close, reason, after) = match path.close {
        Some(Close::Complete { .. }) => ("complete", None, None),
        Some(Close::Partial { reason }) => ("partial", Some(reason.name()), None),
        Some(Close::Severed { after, reason }) => ("severed", Some(reason.label()), Some(after)),
        None => ("unreceipted", None, None),
    };
    let hops = path.hops.iter().map(|hop| match &hop.receipt {
        Some(receipt) => json!({
            "position": hop.position,
            "role": hop.role,
            "close": receipt.close.name(),
            "bytes_up": receipt.counters.up,
            "bytes_down": receipt.counters.down,
        }),
        None => json!({ "position": hop.position, "role": hop.role, "close": "unreceipted" }),
    });
    json!({
        "receipt": {
            "session": path.session,
            "close": close,
            "reason": reason,
            "severed_after": after,
            "bytes_up": own.up,
            "bytes_down": own.down,
            "hops": hops.collect::<Vec<_>>(),
        },
    })
}

/// The exit status of a program that carried one stream (docs/OPERATIONS.md): 0 is a complete one alone.
pub fn close_status(close: Option<Close>) -> u8 {
    match close {
        Some(Close::Complete { .. }) => 0,
        Some(Close::Partial { .. }) => 3,
        Some(Close::Severed { .. }) => 4,
        None => 5,
    }
}

#[cfg(test)]
mod tests {
    use inclavared_attest::Reason;
    use inclavared_attest::path::CloseReason;

    use super::super::testing::{NOW, WORLD, chain, policy};
    use super::*;

    const OWN: Counters = Counters { up: 12, down: 3400 };

    #[test]
    fn a_complete_receipt_of_a_real_path() {
        let chain = chain(&WORLD, NOW, 2);
        let path = chain.close(&chain.verify(&policy()).unwrap(), OWN).unwrap();
        assert_eq!(receipt_line(&path, OWN), "receipt: complete, 12 bytes up, 3400 down, the same at all 2 hops");
        let json = &receipt_json(&path, OWN)["receipt"];
        assert_eq!(
            (&json["close"], &json["bytes_up"], &json["bytes_down"]),
            (&json!("complete"), &json!(12), &json!(3400))
        );
        assert_eq!(
            json["hops"][1],
            json!({ "position": 2, "role": "workload", "close": "complete", "bytes_up": 12, "bytes_down": 3400 })
        );
    }

    #[test]
    fn whatever_is_not_complete_says_so() {
        let mut path = chain(&WORLD, NOW, 1).verify(&policy()).unwrap();
        assert!(receipt_line(&path, OWN).starts_with("receipt: NONE, 12 bytes up"));
        let json = &receipt_json(&path, OWN)["receipt"];
        assert_eq!((&json["close"], &json["hops"][0]["close"]), (&json!("unreceipted"), &json!("unreceipted")));

        path.close = Some(Close::Partial { reason: CloseReason::HalfClose });
        assert!(receipt_line(&path, OWN).starts_with("receipt: PARTIAL (half-close)"));
        assert_eq!(receipt_json(&path, OWN)["receipt"]["reason"], "half-close");

        path.close = Some(Close::Severed { after: 1, reason: Reason::Unreachable });
        assert!(receipt_line(&path, OWN).starts_with("receipt: SEVERED below hop 1 (unreachable)"));
        let json = &receipt_json(&path, OWN)["receipt"];
        assert_eq!((&json["close"], &json["severed_after"]), (&json!("severed"), &json!(1)));
    }
}
