//! The path as JSON: everything that the verifier knows, by stable names.

use inclavared_attest::appraise::Appraised;
use inclavared_attest::evidence::Evidence;
use inclavared_attest::path::{Downstream, LegacyPeer, Path, PathHop};
use inclavared_attest::policy::{Claim, PathEnd, TrustVector, Verdict};
use inclavared_attest::{KeyId, LegId};
use serde_json::{Map, Value, json};

use super::measurement;

/// A path that was accepted.
pub fn json(path: &Path) -> Value {
    json!({
        "ok": true,
        "hops": path.hops.iter().map(hop).collect::<Vec<_>>(),
        "end": end(path),
        "worst_tcb_status": path.worst,
        "reference_values": if path.compared { "compared" } else { "not-compared" },
        "simulated": path.simulated,
        "accepted_at": path.accepted_at.to_string(),
        "expires": path.expires.to_string(),
        "session": path.session,
    })
}

fn hop(hop: &PathHop) -> Value {
    let mut value = peer(hop.kid, hop.leg, &hop.evidence, &hop.appraised, &hop.verdict);
    let more = json!({
        "position": hop.position,
        "role": hop.role,
        "record": hop.record,
        "not_after": hop.not_after.to_string(),
        "iat_ms": hop.iat_ms,
        "tls": {
            "suite": format!("{:#06x}", hop.tls.suite),
            "group": format!("{:#06x}", hop.tls.group),
            "alpn": String::from_utf8_lossy(&hop.tls.alpn),
        },
        "downstream": match &hop.downstream {
            Downstream::Attested { .. } => "attested",
            Downstream::Legacy(_) => "legacy",
            Downstream::Terminal(kind) => kind.name(),
            Downstream::Severed { .. } => "severed",
        },
    });
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

fn end(path: &Path) -> Value {
    match (&path.end, &path.legacy) {
        (PathEnd::Terminal(kind), _) => json!({ "kind": kind.name() }),
        (PathEnd::Legacy, Some(LegacyPeer { kid, leg, evidence, appraised, verdict })) => {
            json!({ "kind": "legacy", "peer": peer(*kid, *leg, evidence, appraised, verdict) })
        }
        (PathEnd::Legacy, None) => json!({ "kind": "legacy" }),
    }
}

fn peer(kid: KeyId, leg: LegId, evidence: &Evidence, appraised: &Appraised, verdict: &Verdict) -> Value {
    json!({
        "tee": appraised.tee,
        "root": appraised.root,
        "simulated": verdict.simulated,
        "debug": appraised.debug,
        "measurement": measurement(&appraised.code),
        "code": appraised.code,
        "tcb_status": appraised.tcb_status,
        "tcb_date": appraised.tcb_date.to_string(),
        "advisories": appraised.advisories,
        "platform": appraised.platform,
        "reference_values": if verdict.compared { "compared" } else { "not-compared" },
        "verdict": { "status": verdict.status, "trust": trust(&verdict.trust), "reasons": verdict.reasons },
        "collateral": appraised.collateral,
        "evidence": evidence.digest(),
        "config_digest": evidence.claims().hop().map(|hop| hop.config_digest),
        "policy_digest": evidence.claims().hop().map(|hop| hop.policy_digest),
        "key": kid,
        "leg": leg,
    })
}

fn trust(vector: &TrustVector) -> Value {
    let named = Claim::ALL.iter().map(|claim| (claim.name().to_owned(), vector.get(*claim).into()));
    Value::Object(named.collect::<Map<_, _>>())
}
