//! A chain of processes in this one, over real sockets, by the library alone.

use std::sync::{Arc, Mutex};

use inclavared_attest::Timestamp;
use inclavared_attest::sim::SimPlatform;
use inclavared_config::{AttesterKind, Config, FlagConfig, Listen, Target, VerifierKind};
use inclavared_tunnel::client;
use inclavared_tunnel::process::{self, Process, Setup};
use inclavared_tunnel::workload::Echo;

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
    let start = |target: &str, workload: bool| {
        let mut config = config(&platform, target);
        if workload {
            config.routes[0].role = "workload".into();
        }
        let reports = Arc::clone(&reports);
        let ended = Box::new(move |report: &inclavared_tunnel::connection::Report| {
            reports.lock().unwrap().push(format!("{:?}", report.result.as_ref().map_err(|e| e.one_line())));
        });
        let workload = workload.then(|| Arc::new(Echo) as _);
        Process::start(Setup { config, workload, ended }).unwrap()
    };
    let address = |process: &Process| process.addresses()[0].1.to_string();
    let workload = start("127.0.0.1:9", true);
    let relay = start(&address(&workload), false);
    let ingress = start(&address(&relay), false);

    let config = config(&platform, "127.0.0.1:9");
    let policy = Arc::clone(config.routes[0].downstream.policy().unwrap());
    let (node, _blocking) = process::node(&config, Box::new(|_| {})).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let target: Target = address(&ingress).parse().unwrap();
    runtime.block_on(async {
        let verified = client::verify(&node, &target, &policy).await.unwrap();
        assert_eq!(verified.path().hops.len(), 3);
        let roles: Vec<_> = verified.path().hops.iter().map(|hop| hop.role.as_str()).collect();
        assert_eq!(roles, ["relay", "relay", "workload"]);
        verified.leave().await;
    });
    for process in [ingress, relay, workload] {
        process.shutdown(|| false);
    }
    eprintln!("{:#?}", reports.lock().unwrap());
}
