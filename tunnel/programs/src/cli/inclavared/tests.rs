use std::fs;

use inclavared_attest::evidence::Tee;
use inclavared_config::{AttesterKind, Downstream, LogFormat, Upstream, VerifierKind};

use clap::CommandFactory as _;

use super::*;

fn parse(line: &str) -> Result<Parsed<Inclavared>, CliError> {
    Inclavared::parse(line.split_whitespace())
}

fn run(line: &str) -> (Config, Vec<String>) {
    match parse(line).unwrap() {
        Parsed { what: Inclavared::Run(config), notes, .. } => (config, notes),
        other => panic!("{other:?}"),
    }
}

/// Every mistake, a line each.
fn mistakes(line: &str) -> Vec<String> {
    match parse(line).unwrap_err() {
        CliError::Mistakes(mistakes) => mistakes.to_string().lines().map(str::to_owned).collect(),
        CliError::Usage(error) => panic!("{error}"),
    }
}

fn usage(line: &str) -> clap::Error {
    match parse(line).unwrap_err() {
        CliError::Usage(error) => error,
        CliError::Mistakes(mistakes) => panic!("{mistakes}"),
    }
}

#[test]
fn the_command_of_the_originals_daemonset() {
    let (config, notes) = run(
        "inclavared --listen 0.0.0.0:1236 --xfer 127.0.0.1:1234 --attester sgx_ecdsa --verifier sgx_ecdsa_qve --mutual",
    );
    let route = &config.routes[0];
    assert_eq!(route.listen.to_string(), "tcp://0.0.0.0:1236");
    assert_eq!(route.target.to_string(), "tcp://127.0.0.1:1234");
    assert_eq!(route.upstream, Upstream::Attested);
    assert!(matches!(&route.downstream, Downstream::Mutual { policy } if policy.name == "genuine-only"));
    assert_eq!(config.attestation.attester, AttesterKind::SgxEcdsa);
    assert_eq!(config.attestation.verifier, VerifierKind::SgxEcdsaQve);
    assert_eq!(notes.len(), 1);
    assert!(notes[0].contains("a library in this process appraises"), "{notes:?}");
}

#[test]
fn every_flag_of_the_original_in_its_spellings() {
    let long = run(
        "inclavared --listen=/run/a.sock --xfer=/run/b.sock --tls openssl --crypto openssl --enclave /usr/share/e.so \
         --attester nullattester --verifier nullverifier --mutual",
    );
    let short = run("inclavared -l /run/a.sock -x/run/b.sock --tls openssl --crypto openssl -e /usr/share/e.so \
         --attester nullattester --verifier nullverifier -m");
    assert_eq!(long, short);
    assert_eq!(long.0.routes[0].listen.to_string(), "unix:///run/a.sock");
    assert_eq!(long.0.routes[0].target.to_string(), "unix:///run/b.sock");
    assert_eq!(
        long.1,
        [
            "--tls openssl: rustls serves TLS 1.3 in its place",
            "--crypto openssl: aws-lc serves in its place",
            "--enclave /usr/share/e.so: not loaded, as this process attests itself",
        ]
    );
}

#[test]
fn nothing_about_trust_is_chosen_unnamed() {
    let (config, _) = run("inclavared -l 127.0.0.1:1 -x h:2");
    assert_eq!((config.attestation.attester, config.attestation.verifier), (AttesterKind::Auto, VerifierKind::Auto));
    let policy = config.routes[0].downstream.policy().unwrap();
    assert!(!policy.allow_simulated && !policy.danger_allow_null);
    let (config, _) = run("inclavared -l 127.0.0.1:1 -x h:2 --verifier sim --platform /p");
    assert!(config.routes[0].downstream.policy().unwrap().allow_simulated);
}

#[test]
fn the_client_mode_verifies() {
    let parsed = parse("inclavared -c 127.0.0.1:1236 --verifier sim --platform /p").unwrap();
    let Inclavared::Connect(verification) = parsed.what else { panic!("{parsed:?}") };
    assert_eq!(verification.target.to_string(), "tcp://127.0.0.1:1236");
    assert!(verification.policy.allow_simulated && !verification.mutual);
    assert_eq!(
        mistakes("inclavared -c 127.0.0.1:1236 -l 127.0.0.1:1"),
        ["command line: --listen: `--connect` is a client, which has no use for it; leave one of them out"]
    );
}

#[test]
fn all_mistakes_at_once_each_with_its_remedy() {
    assert_eq!(
        mistakes(
            "inclavared --listen localhost:1236 --attester sgx_la --verifier sim --role a/b --log-level loud \
             --sim-mrenclave 12"
        ),
        [
            "command line: --xfer: missing: this proxy answers nothing by itself; write the next hop or the workload, for example 127.0.0.1:1234",
            "command line: --listen: `localhost` is a name, and a listener needs an address; write `0.0.0.0:1236`, `[::]:1236` or one address of this machine",
            "command line: --log-level: `loud` is no level; write off, error, warn, info, debug or trace",
            "command line: --attester: `sgx_la` is no attester; there are sim, null, sgx_ecdsa, tdx_ecdsa, sev_snp, auto; local attestation proves nothing to another machine: write sgx_ecdsa",
            "command line: --sim-mrenclave: `12`: Invalid string length; write 64 hexadecimal digits",
            "command line: --platform: missing: `sim` needs a simulated platform; add `--platform DIR`, its folder",
            "command line: --role: not a name; write 1 to 64 letters, digits, `-`, `_` or `.`",
        ]
    );
    assert_eq!(mistakes("inclavared").len(), 1);
    assert!(mistakes("inclavared")[0].contains("`demo` to see it work"));
    assert!(mistakes("inclavared -l 0.0.0.0:5 -x 127.0.0.1:5")[0].contains("what the process itself listens on"));
}

#[test]
fn what_the_simulated_attester_states() {
    let hex = "ab".repeat(48);
    let (config, _) = run(&format!(
        "inclavared -l 127.0.0.1:1 -x h:2 --attester sim --platform /p --sim-tee tdx --sim-mrtd {hex} --sim-tcb OutOfDate \
         --sim-debug --sim-machine m --sim-label l"
    ));
    let sim = config.attestation.sim;
    assert_eq!((sim.tee, sim.mrtd, sim.debug), (Tee::Tdx, Some([0xab; 48]), true));
    assert_eq!((sim.machine.as_str(), sim.label.as_deref(), sim.tcb.name()), ("m", Some("l"), "OutOfDate"));
    assert_eq!(
        mistakes("inclavared -l 127.0.0.1:1 -x h:2 --attester sgx_ecdsa --sim-label l"),
        [
            "command line: --sim-label: the attester is `sgx_ecdsa`, which measures for itself; leave it out, or add `--attester sim`"
        ]
    );
    let wrong = mistakes("inclavared -l 127.0.0.1:1 -x h:2 --attester sim --platform /p --sim-isvsvn 3 --sim-tee tdx");
    assert_eq!(
        wrong,
        ["command line: --sim-isvsvn: a simulated tdx has no such value; leave it out, or change `--sim-tee`"]
    );
}

#[test]
fn a_file_takes_the_place_of_the_flags() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hop.toml");
    let text = "[[route]]\nname = \"a\"\nlisten = \"127.0.0.1:1236\"\nxfer = \"h:1\"\nupstream = \"attested\"\ndownstream = \"plain\"\n";
    fs::write(&file, text).unwrap();
    let path = file.display();
    let (config, _) = run(&format!("inclavared --config {path} --log-level debug --log-format json"));
    assert_eq!(config.routes[0].name, "a");
    assert_eq!((config.log.filter.as_str(), config.log.format), ("debug", LogFormat::Json));
    assert_eq!(
        mistakes(&format!("inclavared --config {path} --listen 1.2.3.4:5 -m --attester sim --sim-debug")),
        [
            "command line: --config: the file says what --listen, --mutual, --attester, --sim-debug would say as well; leave out the one or the other"
        ]
    );
    fs::write(&file, format!("{text}\ncolour = 1\n[limits]\nconnections = 0")).unwrap();
    let wrong = mistakes(&format!("inclavared --config {path} -m"));
    assert!(wrong.len() >= 3 && wrong[1].contains("hop.toml:"), "{wrong:?}");
}

#[test]
fn a_policy_of_a_file_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.toml");
    let policy = |name: &str| format!("[policy.{name}]\nidentity = \"any-genuine\"\nmeasurements = \"not-compared\"\n");
    fs::write(&file, policy("a") + &policy("b")).unwrap();
    let line = |name: &str| format!("inclavared -l 127.0.0.1:1 -x h:2 --policy {}{name}", file.display());
    assert_eq!(run(&line("#b")).0.routes[0].downstream.policy().unwrap().name, "b");
    assert!(mistakes(&line(""))[0].contains("holds more than one policy; name one of a, b"));
    assert!(mistakes(&line("#c"))[0].contains("no policy is named `c`"));
    assert!(mistakes("inclavared -l 127.0.0.1:1 -x h:2 --policy /nowhere/p.toml")[0].contains("/nowhere/p.toml"));
}

#[test]
fn subcommands() {
    assert_eq!(parse("inclavared check a.toml").unwrap().what, Inclavared::Check("a.toml".into()));
    let demo = |hops, json| Inclavared::Demo(DemoOptions { hops, json });
    assert_eq!(parse("inclavared demo").unwrap().what, demo(3, false));
    let parsed = parse("inclavared demo --hops 5 --json --log-level info").unwrap();
    assert_eq!((parsed.what, parsed.log.filter.as_str()), (demo(5, true), "info"));
    let init = |renew| Inclavared::SimInit { folder: "/tmp/p".into(), renew };
    assert_eq!(parse("inclavared sim init /tmp/p").unwrap().what, init(false));
    assert_eq!(parse("inclavared sim init /tmp/p --renew").unwrap().what, init(true));
    let Inclavared::Pccs(pccs) = parse("inclavared pccs --listen 127.0.0.1:8081 --platform p").unwrap().what else {
        panic!()
    };
    assert_eq!((pccs.from, pccs.tls), (PccsFrom::Platform("p".into()), None));
    let line = "inclavared pccs --listen [::]:8081 --upstream https://h:1 --upstream https://h:2 --cert c --key k";
    let Inclavared::Pccs(pccs) = parse(line).unwrap().what else { panic!() };
    assert_eq!(pccs.tls, Some(TlsFiles { certificates: "c".into(), key: "k".into() }));
    let PccsFrom::Options(options) = pccs.from else { panic!() };
    assert_eq!(options.services.unwrap(), ["https://h:1", "https://h:2"]);
    let fetch = "inclavared collateral fetch --tee tdx --out o --fmspc";
    let Inclavared::Collateral(task) = parse(&format!("{fetch} 00A06F050000")).unwrap().what else { panic!() };
    assert!(matches!(task.what, CollateralWhat::Fetch { id, .. } if id.fmspc == [0, 0xa0, 0x6f, 5, 0, 0]));
    assert!(mistakes(&format!("{fetch} 00A0"))[0].contains("12 hexadecimal digits"));
    assert!(mistakes("inclavared pccs --listen 127.0.0.1:1 --upstream ftp://h")[0].contains("neither https"));
    for line in ["--cert c", "--platform p --bundle b", "--bundle b --upstream https://h"] {
        assert!(parse(&format!("inclavared pccs --listen 127.0.0.1:1 {line}")).is_err(), "{line}");
    }
    assert!(usage("inclavared demo --hops 0").to_string().contains("0 is not in 1..=8"));
    assert_eq!(usage("inclavared --listen 127.0.0.1:1 demo").kind(), clap::error::ErrorKind::ArgumentConflict);
    assert_eq!(usage("inclavared --lisen a").kind(), clap::error::ErrorKind::UnknownArgument);
    assert_eq!(usage("inclavared --help").exit_code(), 0);
}

#[test]
fn help_fits_a_terminal_and_names_every_flag() {
    let help = usage("inclavared --help").to_string();
    for flag in
        ["--listen", "--xfer", "--connect", "--enclave", "--config", "--sim-tcb", "--log-format", "demo", "check"]
    {
        assert!(help.contains(flag), "{flag}: {help}");
    }
    InclavaredArgs::command().debug_assert();
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
}
