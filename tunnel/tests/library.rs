//! A chain of processes in this one, over real sockets, by the library alone.

#![allow(clippy::unwrap_used)] // what a helper of a test cannot do fails the test

use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex};

use inclavared_attest::Timestamp;
use inclavared_attest::sim::SimPlatform;
use inclavared_config::{AttesterKind, Config, FlagConfig, Listen, Target, VerifierKind};
use inclavared_tunnel::path::client;
use inclavared_tunnel::server::process::{self, Process, Setup};
use inclavared_tunnel::server::workload::{Echo, Workload};

fn config(folder: &std::path::Path, target: &str) -> Config {
    let listen: Listen = "127.0.0.1:0".parse().unwrap();
    let flags = FlagConfig {
        attester: AttesterKind::Sim,
        verifier: VerifierKind::Sim,
        mutual: true,
        platform: Some(folder.to_owned()),
        ..FlagConfig::new(listen, target.parse().unwrap())
    };
    Config::from_flags(flags).unwrap()
}

#[test]
fn a_chain_of_three_shows_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let platform = folder.path().join("platform");
    SimPlatform::generate(Timestamp::now()).unwrap().save(&platform).unwrap();
    let reports = Arc::new(Mutex::new(Vec::new()));
    let start_config = |config: Config, workload: Option<Arc<dyn Workload>>| {
        let reports = Arc::clone(&reports);
        let ended = Box::new(move |report: &inclavared_tunnel::server::ended::Report| {
            reports.lock().unwrap().push(format!(
                "{} {:?} {:?}",
                report.route.route.role,
                report.counters,
                report.result.as_ref().map(|c| c.reason).map_err(|e| e.one_line())
            ));
        });
        Process::start(Setup { config, workload, ended }).unwrap()
    };
    let start = |target: &str, workload: bool| {
        let mut config = config(&platform, target);
        if workload {
            config.routes[0].role = "workload".into();
        }
        start_config(config, workload.then(|| Arc::new(Echo::default()) as _))
    };
    let address = |process: &Process| process.addresses()[0].1.to_string();
    let workload = start("127.0.0.1:9", true);
    let relay = start(&address(&workload), false);
    let ingress = start(&address(&relay), false);

    let config = config(&platform, "127.0.0.1:9");
    let policy = Arc::clone(config.routes[0].downstream.policy().unwrap());
    let (node, _blocking) =
        process::node(&config.attestation, &config.tls, &config.limits, &config.deadlines, Box::new(|_| {})).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let target: Target = address(&ingress).parse().unwrap();
    runtime.block_on(async {
        let verified = client::verify(&node.side, &target, &policy, None).await.unwrap();
        assert_eq!(verified.path().hops.len(), 3);
        let roles: Vec<_> = verified.path().hops.iter().map(|hop| hop.role.as_str()).collect();
        assert_eq!(roles, ["relay", "relay", "workload"]);
        verified.leave().await;
    });
    let text = format!(
        r#"
        [attestation]
        verifier = "sim"
        platform = "{}"
        [policy.here]
        allow_simulated = true
        identity = "any-genuine"
        measurements = "not-compared"
        [[route]]
        name = "egress"
        listen = "127.0.0.1:0"
        xfer = "{target}"
        upstream = {{ tls = "plain" }}
        downstream = {{ tls = "attested", policy = "here" }}
        "#,
        platform.display()
    );
    let egress = start_config(inclavared_config::parse("egress.toml", &text).unwrap(), None);
    let mut stream = std::net::TcpStream::connect(address(&egress).trim_start_matches("tcp://")).unwrap();
    let sent: Vec<u8> = (0..4 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let copy = sent.clone();
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        writer.write_all(&copy).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    writing.join().unwrap();
    assert!(back == sent, "{} bytes came back", back.len());
    drop(stream);
    for process in [egress, ingress, relay, workload] {
        process.shutdown(|| false);
    }
    let reports = reports.lock().unwrap();
    let complete = r#"Counters { up: 4194304, down: 4194304 } Ok(Complete)"#;
    assert_eq!(reports.iter().filter(|report| report.ends_with(complete)).count(), 4, "{reports:#?}");
}
