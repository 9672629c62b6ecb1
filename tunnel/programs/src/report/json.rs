//! A verified path for programs.

use inclavared_attest::Timestamp;
use inclavared_attest::appraise::{Appraised, CodeIdentity};
use inclavared_attest::evidence::Evidence;
use inclavared_attest::path::{Downstream, LEGACY_ROLE, LegacyPeer, Path, PathHop};
use inclavared_attest::policy::{PathEnd, Verdict};
use serde_json::{Map, Value, json};

/// Everything that is known of the path. Times are RFC 3339; ages are in seconds at `now`.
pub fn path_json(path: &Path, now: Timestamp) -> Value {
    json!({
        "ok": true,
        "session": path.session,
        "hops": hops_json(path, now),
        "legacy": path.legacy.as_ref().map(|peer| legacy_json(peer, path.hops.len() + 1, now)),
        "end": match path.end {
            PathEnd::Terminal(kind) => kind.name(),
            PathEnd::Legacy => "legacy",
        },
        "tcb_status": path.worst,
        "reference_values": reference_values(path.compared),
        "simulated": path.simulated,
        "accepted_at": path.accepted_at.to_string(),
        "expires": path.expires.to_string(),
        "ages_at": path.ages_at.to_string(),
    })
}

/// On one line, in ASCII alone: what a peer chose cannot command a terminal, and no byte of it is lost.
pub fn json_line(value: &Value) -> String {
    ascii(&value.to_string())
}

/// The same on many lines, for people.
pub fn json_pretty(value: &Value) -> String {
    ascii(&format!("{value:#}"))
}

fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            // Beyond ASCII, and DEL, which serde_json leaves: they stand in strings alone.
            '\u{7f}'.. => {
                c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out += &format!("\\u{unit:04x}"));
            }
            c => out.push(c),
        }
    }
    out
}

/// Each with the age that its leg had when it was asked for this path: the hop above states it, this process of the first.
fn hops_json(path: &Path, now: Timestamp) -> Vec<Value> {
    let below = |hop: &PathHop| match hop.downstream {
        Downstream::Attested { warm_ms, .. } => warm_ms,
        _ => None,
    };
    let first = path.warm.map(|warm| u64::try_from(warm.as_millis()).unwrap_or(u64::MAX));
    let warm = [first].into_iter().chain(path.hops.iter().map(below));
    let hops = path.hops.iter().zip(warm).map(|(hop, warm)| {
        let mut value = hop_json(hop, now);
        value["leg_warm_ms"] = json!(warm);
        value
    });
    hops.collect()
}

fn hop_json(hop: &PathHop, now: Timestamp) -> Value {
    let mut value = evidence_json(hop.position.into(), &hop.role, &hop.evidence, &hop.appraised, &hop.verdict, now);
    let more = json!({
        "kid": hop.kid,
        "leg": hop.leg,
        "open": hop.open,
        "record": hop.record,
        "seq": hop.seq,
        "not_after": hop.not_after.to_string(),
        "bound_by": if hop.fresh_at.is_some() { "quote" } else { "key" },
        "quote_age_s": hop.fresh_at.map(|at| now.since(at).as_secs()),
        "tls": {
            "suite": format!("{:#06x}", hop.tls.suite),
            "group": format!("{:#06x}", hop.tls.group),
            "alpn": String::from_utf8_lossy(&hop.tls.alpn),
        },
    });
    merge(&mut value, more);
    Value::Object(value)
}

fn legacy_json(peer: &LegacyPeer, position: usize, now: Timestamp) -> Value {
    let role = peer.evidence.claims().hop().map_or(LEGACY_ROLE, |claims| &claims.chain_role);
    let mut value = evidence_json(position, role, &peer.evidence, &peer.appraised, &peer.verdict, now);
    merge(&mut value, json!({ "kid": peer.kid, "leg": peer.leg }));
    Value::Object(value)
}

/// What is known of whoever shows evidence.
fn evidence_json(
    position: usize,
    role: &str,
    evidence: &Evidence,
    appraised: &Appraised,
    verdict: &Verdict,
    now: Timestamp,
) -> Map<String, Value> {
    let claims = evidence.claims().hop();
    let value = json!({
        "position": position,
        "role": role,
        "tee": appraised.tee,
        "root": appraised.root,
        "simulated": verdict.simulated,
        "debug": appraised.debug,
        "measurement": measurement(&appraised.code),
        "tcb_status": verdict.status,
        "tcb_date": appraised.tcb_date.to_string(),
        "advisories": appraised.advisories,
        "platform": appraised.platform,
        "reference_values": reference_values(verdict.compared),
        "verdict": { "trust": verdict.trust, "reasons": verdict.reasons, "comparisons": verdict.comparisons },
        "age_s": now.since(appraised.appraised_at).as_secs(),
        "evidence_digest": evidence.digest(),
        "collateral_digest": appraised.collateral,
        "config_digest": claims.map(|claims| claims.config_digest),
        "policy_digest": claims.map(|claims| claims.policy_digest),
    });
    let mut map = Map::new();
    merge(&mut map, value);
    map
}

/// The fields of the identity itself, without the kind of TEE around them.
fn measurement(code: &CodeIdentity) -> Value {
    match code {
        CodeIdentity::Sgx(id) => json!(id),
        CodeIdentity::Tdx(id) => json!(id),
        CodeIdentity::SevSnp(id) => json!(id),
        CodeIdentity::None => Value::Null,
    }
}

fn merge(into: &mut Map<String, Value>, more: Value) {
    if let Value::Object(fields) = more {
        into.extend(fields);
    }
}

fn reference_values(compared: bool) -> &'static str {
    if compared { "compared" } else { "not-compared" }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW, WORLD, chain, pinned, policy};
    use super::*;
    use inclavared_attest::appraise::Root;
    use std::time::Duration;

    #[test]
    fn a_hop_with_everything_that_is_known_of_it() {
        let chain = chain(&WORLD, NOW, 2);
        let path = chain.verify(&policy()).unwrap();
        let json = path_json(&path, NOW.plus(Duration::from_secs(7)));
        assert_eq!((&json["ok"], &json["simulated"], &json["end"]), (&json!(true), &json!(true), &json!("workload")));
        assert_eq!((&json["reference_values"], &json["legacy"]), (&json!("not-compared"), &Value::Null));
        assert_eq!(json["session"], path.session.to_string());
        assert_eq!(json["expires"], path.expires.to_string());
        let hops = json["hops"].as_array().unwrap();
        assert_eq!(hops.len(), 2);
        let (first, second) = (&hops[0], &hops[1]);
        assert_eq!((&first["position"], &first["role"], &first["tee"]), (&json!(1), &json!("ingress"), &json!("sgx")));
        assert_eq!(first["root"], json!(Root::Simulated));
        let mrenclave = first["measurement"]["mrenclave"].as_str().unwrap();
        assert_eq!(mrenclave, inclavared_attest::Digest::of(b"hop").to_string());
        assert_eq!(second["measurement"]["mrtd"].as_str().unwrap().len(), 96);
        assert_eq!((&first["tcb_status"], &first["age_s"]), (&json!("UpToDate"), &json!(7)));
        assert_eq!(first["verdict"]["trust"]["hardware"], 96);
        assert_eq!(first["verdict"]["trust"].as_object().unwrap().len(), 8);
        assert_eq!(first["leg"], path.hops[0].leg.to_string());
        assert_eq!(first["kid"], path.hops[0].kid.to_string());
        assert_eq!(first["evidence_digest"], path.hops[0].evidence.digest().to_string());
        assert_eq!((&first["bound_by"], &first["quote_age_s"]), (&json!("key"), &Value::Null));
        assert_eq!(first["tls"], json!({ "suite": "0x1301", "group": "0x11ec", "alpn": "inclavared/1" }));
    }

    #[test]
    fn compared_values_say_so() {
        let chain = chain(&WORLD, NOW, 2);
        let path = chain.verify(&pinned(&chain.verify(&policy()).unwrap())).unwrap();
        let json = path_json(&path, NOW);
        assert_eq!(json["reference_values"], "compared");
        assert_eq!(json["hops"][1]["reference_values"], "compared");
        assert_eq!(json["hops"][1]["verdict"]["trust"]["executables"], 2);
    }

    #[test]
    fn the_peer_behind_the_last_hop() {
        let chain = chain(&WORLD, NOW, 1).with_legacy_end(&WORLD, "peer");
        let json = path_json(&chain.verify(&policy()).unwrap(), NOW);
        assert_eq!((&json["end"], &json["legacy"]["position"]), (&json!("legacy"), &json!(2)));
        assert_eq!(json["legacy"]["role"], LEGACY_ROLE);
    }

    #[test]
    fn a_line_is_ascii_and_loses_nothing() {
        let value = json!({ "role": "a\u{7f}\u{9b}31m\u{202e}😀\n" });
        let line = json_line(&value);
        assert_eq!(line, r#"{"role":"a\u007f\u009b31m\u202e\ud83d\ude00\n"}"#);
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }
}
