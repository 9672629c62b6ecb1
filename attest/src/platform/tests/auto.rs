//! What `auto` makes of a machine.

use std::sync::Arc;

use super::super::auto::detect;
use super::super::{DriverOptions, QgsAddress};
use super::fuse::{Mounted, roots};
use super::machine::{Gramine, Machine, Occlum, SevGuest, TdxGuest, TsmKernel};
use super::{LONG, pen, told, user_data};
use crate::attester::AttesterError;
use crate::sim::SimSpec;

fn names(machine: Machine) -> Option<Vec<&'static str>> {
    let mounted = Mounted::new(machine)?;
    let found =
        detect(&DriverOptions { qgs: Some(QgsAddress::Unix(mounted.folder.join("nobody"))), ..mounted.options(LONG) })
            .unwrap();
    assert_eq!(found.attester.name(), found.detected[0].name);
    for detected in &found.detected {
        assert!(detected.because.contains(&mounted.folder.display().to_string()), "{detected:?}");
    }
    Some(found.detected.iter().map(|detected| detected.name).collect())
}

#[test]
fn finds_what_is_there_the_inner_first() {
    let tdx = || pen(SimSpec::tdx("guest"));
    let sgx = || pen(SimSpec::sgx("enclave"));
    let snp = || SevGuest { pen: Arc::new(crate::quote::testing::snp), status: 0, fault: None };
    let tsm = |provider| Some(TsmKernel::new(provider, tdx()));
    for (machine, expected) in [
        (Machine { tsm: tsm("tdx_guest"), ..Machine::default() }, vec!["tdx_ecdsa"]),
        (Machine { tdx_guest: Some(TdxGuest::default()), ..Machine::default() }, vec!["tdx_ecdsa"]),
        (Machine { tsm: tsm("sev_guest"), ..Machine::default() }, vec!["sev_snp"]),
        (Machine { sev_guest: Some(snp()), ..Machine::default() }, vec!["sev_snp"]),
        (Machine { occlum: Some(Occlum { pen: sgx(), fault: None }), ..Machine::default() }, vec!["sgx_ecdsa"]),
        (
            Machine { gramine: Some(Gramine::new(sgx())), tsm: tsm("tdx_guest"), ..Machine::default() },
            vec!["sgx_ecdsa", "tdx_ecdsa"],
        ),
        // Gramine is there and cannot attest; the VM around it can.
        (
            Machine {
                gramine: Some(Gramine { kind: "none", ..Gramine::new(sgx()) }),
                tsm: tsm("tdx_guest"),
                ..Machine::default()
            },
            vec!["tdx_ecdsa"],
        ),
    ] {
        let Some(found) = names(machine) else { return };
        assert_eq!(found, expected);
    }
}

#[test]
fn the_chosen_one_quotes() {
    let machine = Machine { tsm: Some(TsmKernel::new("tdx_guest", pen(SimSpec::tdx("guest")))), ..Machine::default() };
    let Some(mounted) = Mounted::new(machine) else { return };
    let found = detect(&mounted.options(LONG)).unwrap();
    found.attester.quote(&user_data("a")).unwrap();
}

#[test]
fn on_a_plain_machine_everything_that_was_looked_for_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let options = DriverOptions { roots: roots(folder.path()), ..DriverOptions::default() };
    let error = detect(&options).unwrap_err();
    let line = told(&error);
    match error {
        AttesterError::Interfaces { attester: "auto", tried } => {
            assert_eq!(tried.len(), 6, "{line}");
            assert!(tried.iter().all(|error| matches!(error, AttesterError::Missing { .. })));
        }
        other => panic!("{other}"),
    }
    for looked_for in ["dev/attestation/attestation_type", "dev/sgx", "config", "dev/tdx_guest", "dev/sev-guest"] {
        let path = folder.path().join(looked_for).display().to_string();
        assert!(line.contains(&path), "{looked_for}: {line}");
    }
    for remedy in ["sgx.remote_attestation", "mount -t configfs", "modprobe tdx_guest", "modprobe sev-guest"] {
        assert!(line.contains(remedy), "{remedy}: {line}");
    }
    assert!(!line.contains("sim") && !line.contains("null"), "{line}");
}
