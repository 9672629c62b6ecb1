use inclavared_config::{AttesterKind, Downstream, Upstream};

use super::*;

fn parse(line: &str) -> Result<Parsed<EnclaveTlsServer>, CliError> {
    EnclaveTlsServer::parse(line.split_whitespace())
}

fn mistakes(line: &str) -> Vec<String> {
    match parse(line).unwrap_err() {
        CliError::Mistakes(mistakes) => mistakes.to_string().lines().map(str::to_owned).collect(),
        CliError::Usage(error) => panic!("{error}"),
    }
}

#[test]
fn without_flags_as_the_original() {
    let server = parse("enclave-tls-server").unwrap().what;
    let route = &server.config.routes[0];
    assert_eq!(route.listen.to_string(), "tcp://127.0.0.1:1234");
    assert_eq!(route.target.to_string(), "process:greeting");
    assert_eq!(
        (route.role.as_str(), &route.upstream, &route.downstream),
        ("workload", &Upstream::Attested, &Downstream::Plain)
    );
    assert_eq!(server.serves, Serves::Greeting);
    assert_eq!(server.config.attestation.attester, AttesterKind::Auto);
}

#[test]
fn every_flag_of_the_original_in_its_spellings() {
    let long = parse(
        "enclave-tls-server --attester sgx_ecdsa --verifier sgx_ecdsa_qve --tls openssl --crypto openssl --mutual \
         --log-level DEBUG --ip 0.0.0.0 --port 5555 --product-enclave",
    )
    .unwrap();
    let short =
        parse("enclave-tls-server -a sgx_ecdsa -vsgx_ecdsa_qve -t openssl -c openssl -mP -l debug -i 0.0.0.0 -p 5555");
    assert_eq!(long, short.unwrap());
    let shortened = "enclave-tls-server --att sgx_ecdsa --veri=sgx_ecdsa_qve --tl openssl --cry openssl --mut --log-l debug \
         --ip 0.0.0.0 --port 1 --port 5555 --prod";
    assert_eq!(long.what, parse(shortened).unwrap().what);
    assert!(
        matches!(&long.what.config.routes[0].upstream, Upstream::Mutual { policy } if policy.name == "genuine-only")
    );
    assert_eq!(long.log.filter, "debug");
    assert_eq!(long.notes.len(), 4);

    let qve = parse("enclave-tls-server --attester sgx_ecdsa_qve").unwrap();
    assert_eq!(qve.what.config.attestation.attester, AttesterKind::SgxEcdsa);
    assert_eq!(qve.notes.len(), 1);
}

#[test]
fn what_it_serves_is_one_thing_and_is_attested() {
    let serves = |flags: &str| parse(&format!("enclave-tls-server {flags}")).unwrap().what;
    assert_eq!(serves("--echo").serves, Serves::Echo);
    assert_eq!(serves("--serve-dir /srv").serves, Serves::Files("/srv".into()));
    let backend = serves("--xfer 127.0.0.1:80");
    assert_eq!(backend.config.routes[0].target.to_string(), "tcp://127.0.0.1:80");
    let digests =
        ["", "--echo", "--serve-dir /srv", "--serve-dir /etc", "--xfer h:80"].map(|flags| serves(flags).config.digest);
    for (i, digest) in digests.iter().enumerate() {
        assert!(!digests[..i].contains(digest), "{i}");
    }
    assert_eq!(
        mistakes("enclave-tls-server --echo --xfer h:1"),
        ["command line: --echo: --echo and --xfer say different things; keep one of them"]
    );
}

#[test]
fn a_policy_needs_somebody_to_judge_and_the_proxy_protocol_somebody_to_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.toml");
    std::fs::write(&policy, "[policy.p]\nidentity = \"any-genuine\"\nmeasurements = \"not-compared\"").unwrap();
    let policy = policy.display();
    let judging = parse(&format!("enclave-tls-server --mutual --policy {policy} --xfer h:1 --proxy-protocol v2"));
    let route = &judging.unwrap().what.config.routes[0];
    assert!(matches!(&route.upstream, Upstream::Mutual { policy } if policy.name == "p"));
    assert_eq!(route.proxy_protocol, Some(ProxyProtocol::V2));
    assert_eq!(
        mistakes(&format!("enclave-tls-server --policy {policy}")),
        [
            "command line: --policy: it would judge nobody: clients are not asked for evidence; add `--mutual`, or leave \
          it out"
        ]
    );
    for line in ["enclave-tls-server --proxy-protocol v2", "enclave-tls-server --xfer h:1 --proxy-protocol v1"] {
        assert!(matches!(parse(line), Err(CliError::Usage(_))), "{line}");
    }
}

#[test]
fn all_mistakes_at_once() {
    assert_eq!(
        mistakes("enclave-tls-server -i host -p 99999 -a sim --xfer nowhere"),
        [
            "command line: --ip: `host`: invalid IP address syntax; write an address of this machine, for example 127.0.0.1, 0.0.0.0 or ::",
            "command line: --port: `99999`: number too large to fit in target type; write a number from 0 to 65535",
            "command line: --xfer: `nowhere` has no port; write `HOST:PORT`, an IPv6 address in brackets",
            "command line: --platform: missing: `sim` needs a simulated platform; add `--platform DIR`, its folder",
        ]
    );
}

#[test]
fn help_fits_a_terminal() {
    ServerArgs::command().debug_assert();
    let Err(CliError::Usage(help)) = parse("enclave-tls-server --help") else { panic!() };
    assert_eq!(help.exit_code(), 0);
    assert!(help.to_string().lines().all(|line| line.chars().count() <= 100), "{help}");
}
