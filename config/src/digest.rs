//! The digest of a configuration that a process attests (PROTOCOL section 2, claim 5).
//!
//! It covers what decides who is trusted and where bytes go: the routes, the policies that they use, and what evidence is
//! made and accepted. Limits, deadlines, logging, the number of workers and the simulated platform's settings are left
//! out: operators tune them on live machines, and they let nothing through.

use std::convert::Infallible;
use std::time::Duration;

use inclavared_attest::policy::{Applies, HopRule, IdentityRule, Measurements, Policy, ReferenceValue};
use inclavared_attest::{ConfigDigest, PolicyDigest};
use minicbor::Encoder;
use minicbor::encode::Error;

use crate::policy::{BINDINGS, TERMINALS};
use crate::{Attestation, Route};

/// H(dCBOR["inclavared/config", 1, attester, verifier, [route, ...]]), the routes in the order of their names.
///
/// A route is [name, listen, target, [upstream, policy digest or null], [downstream, policy digest or null], role, legacy,
/// ttl, disclose_expected]. There are no maps in it, so arrays of definite length are all that dCBOR asks for.
pub(crate) fn config_digest(attestation: &Attestation, routes: &[Route]) -> ConfigDigest {
    let mut sorted: Vec<_> = routes.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    ConfigDigest::of(&encoded(|e| {
        e.array(5)?.str("inclavared/config")?.u8(1)?;
        e.str(attestation.attester.name())?.str(attestation.verifier.name())?;
        e.array(sorted.len() as u64)?;
        sorted.iter().try_for_each(|route| write_route(e, route))
    }))
}

fn write_route(e: &mut Writer, route: &Route) -> Written {
    e.array(9)?.str(&route.name)?.str(&route.listen.to_string())?.str(&route.target.to_string())?;
    for (label, policy) in
        [(route.upstream.label(), route.upstream.policy()), (route.downstream.label(), route.downstream.policy())]
    {
        e.array(2)?.str(label)?;
        match policy {
            Some(policy) => e.bytes(policy_digest(policy).as_bytes())?,
            None => e.null()?,
        };
    }
    e.str(&route.role)?.str(route.legacy.label())?.u8(route.ttl)?.bool(route.disclose_expected)?;
    Ok(())
}

/// Over everything that a policy says, and its name.
fn policy_digest(policy: &Policy) -> PolicyDigest {
    PolicyDigest::of(&encoded(|e| write_policy(e, policy)))
}

fn write_policy(e: &mut Writer, policy: &Policy) -> Written {
    let (tcb, shape) = (&policy.tcb, &policy.shape);
    e.array(22)?.str("inclavared/policy")?.u8(1)?.str(&policy.name)?;
    e.bool(policy.allow_simulated)?.bool(policy.danger_allow_null)?.bool(policy.danger_allow_debug)?;
    write_list(e, tcb.accepted.iter(), |e, status| e.str(status.name()).map(drop))?;
    e.u64(millis(tcb.grace))?;
    write_list(e, tcb.refused_advisories.iter(), |e, advisory| e.str(advisory).map(drop))?;
    e.bool(tcb.allow_smt)?.bool(tcb.allow_dynamic_platform)?.bool(tcb.allow_cached_keys)?;
    match &policy.identity {
        IdentityRule::AnyGenuine => e.null().map(drop)?,
        IdentityRule::Platforms(ids) => write_list(e, ids.iter(), |e, id| e.bytes(id).map(drop))?,
    }
    match &policy.measurements {
        Measurements::NotCompared => e.null().map(drop)?,
        Measurements::Rules(rules) => write_list(e, rules.iter(), write_rule)?,
    }
    write_list(e, shape.order.iter(), |e, step| e.array(3)?.str(&step.role)?.u8(step.min)?.u8(step.max).map(drop))?;
    e.u8(shape.min_hops)?.u8(shape.max_hops)?;
    write_list(e, shape.terminals.iter(), |e, kind| e.str(word(TERMINALS, kind)).map(drop))?;
    e.bool(shape.allow_legacy_end)?;
    e.u64(millis(policy.max_evidence_age))?.u64(millis(policy.max_path_age))?;
    e.str(word(BINDINGS, &policy.binding)).map(drop)
}

fn write_rule(e: &mut Writer, rule: &HopRule) -> Written {
    e.array(4)?;
    match &rule.applies {
        Applies::Position(position) => e.u8(*position)?,
        Applies::Role(role) => e.str(role)?,
        Applies::Last => e.bool(true)?,
        Applies::Any => e.null()?,
    };
    write_list(e, rule.tees.iter(), |e, tee| e.str(crate::hop_rule::tee_word(*tee)).map(drop))?;
    write_list(e, rule.reference_values.iter(), write_reference_value)?;
    match rule.config_digest {
        Some(digest) => e.bytes(digest.as_bytes())?,
        None => e.null()?,
    };
    Ok(())
}

fn write_reference_value(e: &mut Writer, value: &ReferenceValue) -> Written {
    match value {
        ReferenceValue::SgxEnclave { mrenclave } => e.array(2)?.str("mrenclave")?.bytes(mrenclave)?,
        ReferenceValue::SgxSigner { mrsigner, isv_prod_id, isv_svn_min } => {
            e.array(4)?.str("mrsigner")?.bytes(mrsigner)?.u16(*isv_prod_id)?.u16(*isv_svn_min)?
        }
        ReferenceValue::Tdx { mrtd, rtmr, mrconfigid } => {
            e.array(7)?.str("mrtd")?.bytes(mrtd)?;
            for register in rtmr.iter().chain([mrconfigid]) {
                match register {
                    Some(value) => e.bytes(value)?,
                    None => e.null()?,
                };
            }
            e
        }
        ReferenceValue::SevSnp { measurement } => e.array(2)?.str("snp")?.bytes(measurement)?,
    };
    Ok(())
}

fn write_list<T>(
    e: &mut Writer,
    items: impl ExactSizeIterator<Item = T>,
    mut write: impl FnMut(&mut Writer, T) -> Written,
) -> Written {
    e.array(items.len() as u64)?;
    for item in items {
        write(e, item)?;
    }
    Ok(())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn word<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    words.iter().find(|(_, known)| known == value).map_or("", |(word, _)| word)
}

fn encoded(write: impl FnOnce(&mut Writer) -> Written) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    write(&mut encoder).expect("a vector takes every byte");
    encoder.into_writer()
}

type Writer = Encoder<Vec<u8>>;
type Written = Result<(), Error<Infallible>>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, parse};

    const BASE: &str = r#"
[attestation]
attester = "sgx_ecdsa"
[[route]]
name = "b"
listen = "127.0.0.1:1236"
target = "tcp://127.0.0.1:1234"
upstream = "attested"
downstream = { tls = "mutual", policy = "p" }
[[route]]
name = "a"
listen = "127.0.0.1:1237"
target = "tcp://127.0.0.1:1234"
upstream = "attested"
downstream = "plain"
[policy.p]
identity = "any-genuine"
[[policy.p.hop]]
mrenclave = "1111111111111111111111111111111111111111111111111111111111111111"
"#;

    fn read(text: &str) -> Config {
        parse("test.toml", text).unwrap()
    }

    #[test]
    fn every_word_about_trust_changes_the_digest() {
        let mut seen = vec![read(BASE).digest];
        for (from, to) in [
            ("sgx_ecdsa", "auto"),
            ("\"b\"", "\"c\""),
            ("0.1:1236", "0.1:1238"),
            (
                "\"tcp://127.0.0.1:1234\"\nupstream = \"attested\"\ndownstream = \"plain\"",
                "\"h:1\"\nupstream = \"attested\"\ndownstream = \"plain\"",
            ),
            ("mutual", "attested"),
            ("downstream = \"plain\"", "downstream = \"plain\"\nrole = \"x\""),
            ("downstream = \"plain\"", "downstream = \"plain\"\nlegacy = \"deny\""),
            ("downstream = \"plain\"", "downstream = \"plain\"\nttl = 2"),
            ("downstream = \"plain\"", "downstream = \"plain\"\ndisclose_expected = true"),
            ("1111\"", "1112\""),
            ("[[policy.p.hop]]", "allow_simulated = true\n[[policy.p.hop]]"),
            ("[[policy.p.hop]]", "danger_allow_debug = true\n[[policy.p.hop]]"),
            ("[[policy.p.hop]]", "danger_allow_null = true\n[[policy.p.hop]]"),
            ("[[policy.p.hop]]", "grace = \"1d\"\n[[policy.p.hop]]"),
            ("[[policy.p.hop]]", "tcb = [\"UpToDate\"]\n[[policy.p.hop]]"),
            ("[[policy.p.hop]]", "allow_smt = false\n[[policy.p.hop]]"),
            ("[[policy.p.hop]]", "refused_advisories = [\"INTEL-SA-00615\"]\n[[policy.p.hop]]"),
            ("[[policy.p.hop]]", "max_hops = 2\n[[policy.p.hop]]"),
            ("[[policy.p.hop]]", "terminal = \"plain\"\n[[policy.p.hop]]"),
            ("[[policy.p.hop]]", "binding = \"quote\"\n[[policy.p.hop]]"),
            ("[[policy.p.hop]]", "max_path_age = \"1m\"\n[[policy.p.hop]]"),
            ("[[policy.p.hop]]", "[[policy.p.hop]]\nlast = true"),
            ("[[policy.p.hop]]", "[[policy.p.hop]]\nposition = 1"),
            ("\"any-genuine\"", "{ platforms = \"11111111111111111111111111111111\" }"),
        ] {
            assert!(BASE.contains(from), "{from}");
            let digest = read(&BASE.replacen(from, to, 1)).digest;
            assert!(!seen.contains(&digest), "{to}");
            seen.push(digest);
        }
    }

    #[test]
    fn arrays_hold_what_they_announce() {
        let config = read(BASE);
        for bytes in [
            encoded(|e| write_policy(e, &config.policies["p"])),
            encoded(|e| write_policy(e, &crate::genuine_only())),
            encoded(|e| write_route(e, &config.routes[0])),
        ] {
            let mut decoder = minicbor::Decoder::new(&bytes);
            decoder.skip().unwrap();
            assert_eq!(decoder.position(), bytes.len());
        }
    }

    #[test]
    fn what_lets_nothing_through_does_not() {
        let tuned = format!(
            "workers = 3\n{BASE}\n[limits]\nconnections = 7\n[deadlines]\ndial = \"1s\"\n[log]\nfilter = \"debug\""
        );
        assert_eq!(read(BASE).digest, read(&tuned).digest);
        let unused = format!("{BASE}\n[policy.q]\nidentity = \"any-genuine\"\nmeasurements = \"not-compared\"");
        assert_eq!(read(BASE).digest, read(&unused).digest);
    }

    #[test]
    fn the_order_of_routes_does_not() {
        let mut parts: Vec<_> = BASE.split("[[route]]").collect();
        let (last, policy) = parts[2].split_once("[policy.p]").unwrap();
        parts[2] = last;
        let swapped = format!("{}[[route]]{}[[route]]{}[policy.p]{policy}", parts[0], parts[2], parts[1]);
        assert_eq!(read(BASE).digest, read(&swapped).digest);
    }
}
