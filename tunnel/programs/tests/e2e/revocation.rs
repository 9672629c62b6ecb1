//! New collateral that revokes a machine ends the paths over it that are alive, and no new one opens.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use inclavared_attest::Timestamp;
use inclavared_attest::appraise::snp::AmdSet;
use inclavared_attest::evidence::Tee;
use inclavared_attest::sim::{CollateralSpec, SimAttester, SimPlatform, SimSpec};

use crate::harness::{World, unused_address};
use crate::pccs::pccs;
use crate::program::PATIENCE;
use crate::stream::{connect, echo};

/// Newer than what the platform's folder holds, by its clock.
fn newer() -> Timestamp {
    Timestamp(Timestamp::now().0 + 60)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

/// A path over a machine called `second`, which `revoke` puts on a list in the folder that a PCCS serves.
fn ends_live_paths(workload: &str, revoke: impl FnOnce(&SimPlatform, &Path)) {
    let world = World::new();
    let served = world.path("served");
    copy(&world.path("platform"), &served);
    let address = unused_address();
    let from = format!("--platform {}", served.display());
    let (service, url) = pccs(&from, &address.to_string());
    let server = world.workload(&format!("--mutual --echo --sim-machine second {workload}"));
    let hop = world.route(
        "ingress",
        &format!(
            r#"
            listen = "127.0.0.1:0"
            xfer = "{}"
            upstream = "attested"
            downstream = {{ tls = "mutual", policy = "any" }}
            role = "ingress"
            [collateral]
            services = "{url}"
            refresh = "1s"
            "#,
            server.address
        ),
    );
    let forward = world.forward(&hop.address, "");
    let mut stream = connect(forward.address);
    echo(&mut stream, b"while the machine is good");

    let platform = SimPlatform::load(&served, Timestamp::now()).unwrap();
    revoke(&platform, &served);
    // It reads its folder when it starts.
    drop(service);
    let _service = pccs(&from, &address.to_string());

    // The stream is used on, and ends: never as if it were complete.
    let end = Instant::now() + PATIENCE;
    let broken = loop {
        let mut byte = [0];
        match stream.write_all(b"x").and_then(|()| stream.read(&mut byte)) {
            Ok(1) => std::thread::park_timeout(Duration::from_millis(50)),
            Ok(_) => break None,
            Err(error) => break Some(error.kind()),
        }
        assert!(Instant::now() < end, "the path lives on");
    };
    assert!(broken.is_some(), "it ended as an end of file");
    let receipt = forward.receipt();
    assert_eq!(receipt["error"]["code"], "quote-signature", "{receipt:#}");
    // Both ends of the leg that was cut say why.
    hop.program.err.wait("why", |line| (line.contains("quote-signature") && line.contains("hop 1")).then_some(()));
    server.program.err.wait("why", |line| line.contains("quote-signature").then_some(()));

    let (code, failure) = world.attest(&hop.address, "");
    assert_eq!((code, &failure["error"]["code"]), (Some(1), &"quote-signature".into()), "{failure:#}");
}

#[test]
fn by_intels_list_of_platforms() {
    ends_live_paths("", |platform, folder| {
        let keys = std::sync::Arc::new(SimPlatform::load(folder, Timestamp::now()).unwrap());
        let second = SimSpec { machine: "second".into(), ..SimSpec::sgx("inclavared") };
        let serial = SimAttester::new(&keys, second).unwrap().pck_serial().to_vec();
        let spec = CollateralSpec { revoked_pcks: vec![serial], ..CollateralSpec::at(Tee::Sgx, newer()) };
        let set = platform.collateral_with(&spec).unwrap();
        fs::write(folder.join("collateral-sgx.json"), set.to_json()).unwrap();
    });
}

#[test]
fn by_amds_list_of_authorities() {
    ends_live_paths("--sim-tee snp", |platform, folder| {
        let amd = platform.amd().unwrap();
        let set = AmdSet { crl: amd.crl(true, newer()).unwrap(), ..amd.set().clone() };
        fs::write(folder.join("collateral-snp.json"), set.to_json()).unwrap();
    });
}
