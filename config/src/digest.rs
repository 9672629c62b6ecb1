//! The digest of a configuration that a process attests (PROTOCOL section 2, claim 5).
//!
//! It covers what decides who is trusted and where bytes go: the routes, the policies that they use, and what evidence
//! is made and accepted. It does not cover where collateral comes from, limits, deadlines, legs that stand ready,
//! logging, the number of workers, and the simulated platform's settings. Operators tune these on live machines, and
//! none of them lets anybody through.

use std::convert::Infallible;
use std::sync::Arc;

use inclavared_attest::ConfigDigest;
use inclavared_attest::policy::Policy;
use minicbor::Encoder;
use minicbor::encode::Error;

use crate::route::{Downstream, PkiUpstream, Route, Upstream};
use crate::settings::Attestation;

/// H(dCBOR["inclavared/config", 1, attester, verifier, [route, ...]]), the routes in the order of their names.
///
/// A route is [name, listen, target, [upstream, demand], [downstream, demand], role, legacy, ttl, disclose_expected,
/// ?proxy_protocol, ?compat]. A demand is the digest of a policy, or null. A side with a PKI's certificates has instead
/// what names the peers that are let in: [client_ca or null] upstream, [ca, server_name] downstream. Files are covered
/// by name alone, because their content changes with every renewal. There are no maps, so all that dCBOR asks for is
/// arrays of definite length.
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
    // Keys that are not set are left out, so that configurations from before these keys keep their digests.
    e.array(9 + u64::from(route.proxy_protocol.is_some()) + u64::from(route.compat.is_some()))?
        .str(&route.name)?
        .str(&route.listen.to_string())?
        .str(&route.target.to_string())?;
    e.array(2)?.str(route.upstream.label())?;
    match &route.upstream {
        Upstream::Pki(PkiUpstream { client_ca: Some(ca), .. }) => e.array(1)?.str(&ca.to_string_lossy())?,
        Upstream::Pki(PkiUpstream { client_ca: None, .. }) => e.array(1)?.null()?,
        side => write_policy(e, side.policy())?,
    };
    e.array(2)?.str(route.downstream.label())?;
    match &route.downstream {
        Downstream::Pki(side) => e.array(2)?.str(&side.ca.to_string_lossy())?.str(&side.server_name)?,
        side => write_policy(e, side.policy())?,
    };
    e.str(&route.role)?.str(route.legacy.label())?.u8(route.ttl)?.bool(route.disclose_expected)?;
    if let Some(proxy_protocol) = route.proxy_protocol {
        e.str(proxy_protocol.label())?;
    }
    if let Some(compat) = route.compat {
        e.str(compat.label())?;
    }
    Ok(())
}

fn write_policy<'e>(e: &'e mut Writer, policy: Option<&Arc<Policy>>) -> Result<&'e mut Writer, Error<Infallible>> {
    match policy {
        Some(policy) => e.bytes(policy.digest().as_bytes()),
        None => e.null(),
    }
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
xfer = "tcp://127.0.0.1:1234"
upstream = "attested"
downstream = { tls = "mutual", policy = "p" }
[[route]]
name = "a"
listen = "127.0.0.1:1237"
xfer = "tcp://127.0.0.1:1234"
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
            ("policy = \"p\" }", "policy = \"p\" }\ncompat = \"enclave-tls\""),
            ("downstream = \"plain\"", "downstream = \"plain\"\nproxy_protocol = \"v2\""),
            ("upstream = \"attested\"", "upstream = { tls = \"pki\", cert = \"c\", key = \"k\" }"),
            ("upstream = \"attested\"", "upstream = { tls = \"pki\", cert = \"c\", key = \"k\", client_ca = \"a\" }"),
            ("downstream = \"plain\"", "downstream = { tls = \"pki\", ca = \"a\" }"),
            ("downstream = \"plain\"", "downstream = { tls = \"pki\", ca = \"b\" }"),
            ("downstream = \"plain\"", "downstream = { tls = \"pki\", ca = \"a\", server_name = \"x\" }"),
            ("1111\"", "1112\""),
            ("[[policy.p.hop]]", "allow_simulated = true\n[[policy.p.hop]]"),
            ("[[policy.p.hop]]", "danger_allow_debug = true\n[[policy.p.hop]]"),
            ("[[policy.p.hop]]", "danger_allow_null = true\n[[policy.p.hop]]"),
            ("[[policy.p.hop]]", "grace = \"1d\"\n[[policy.p.hop]]"),
            ("[[policy.p.hop]]", "tcb = [\"UpToDate\"]\n[[policy.p.hop]]"),
            ("[[policy.p.hop]]", "allow_smt = false\n[[policy.p.hop]]"),
            ("[[policy.p.hop]]", "snp_min = { milan = { snp = 1 } }\n[[policy.p.hop]]"),
            ("[[policy.p.hop]]", "snp_min = { genoa = { snp = 1 } }\n[[policy.p.hop]]"),
            ("[[policy.p.hop]]", "refused_advisories = [\"INTEL-SA-00615\"]\n[[policy.p.hop]]"),
            ("[[policy.p.hop]]", "max_hops = 2\n[[policy.p.hop]]"),
            ("[[policy.p.hop]]", "terminal = \"plain\"\n[[policy.p.hop]]"),
            ("[[policy.p.hop]]", "binding = \"quote\"\n[[policy.p.hop]]"),
            ("[[policy.p.hop]]", "warm_legs = \"refuse\"\n[[policy.p.hop]]"),
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
        for route in &config.routes {
            let bytes = encoded(|e| write_route(e, route));
            let mut decoder = minicbor::Decoder::new(&bytes);
            decoder.skip().unwrap();
            assert_eq!(decoder.position(), bytes.len());
        }
    }

    #[test]
    fn what_lets_nothing_through_does_not() {
        let tuned = format!(
            "workers = 3\n{BASE}\n[limits]\nconnections = 7\n[collateral]\nservices = \"https://pccs/\"\n[deadlines]\n\
             dial = \"1s\"\n[log]\nfilter = \"debug\""
        );
        assert_eq!(read(BASE).digest, read(&tuned).digest);
        let warm = "downstream = { tls = \"mutual\", policy = \"p\" }\nwarm = { size = 1 }";
        let warm = BASE.replacen("downstream = { tls = \"mutual\", policy = \"p\" }", warm, 1);
        assert_eq!(read(BASE).digest, read(&warm).digest);
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
