//! Gramine's pseudo-files and Occlum's device.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use rustix::io::Errno;

use super::super::gate::lock;
use super::super::{DriverOptions, SgxEcdsa};
use super::fuse::{Mounted, roots};
use super::machine::{Gramine, Machine, Occlum};
use super::{LONG, judged, pen, told, user_data};
use crate::attester::{Attester as _, AttesterError};
use crate::quote;
use crate::sim::SimSpec;
use crate::tee::{EvidenceTag, Tee};

fn enclave() -> SimSpec {
    SimSpec::sgx("enclave")
}

fn gramine(gramine: Gramine) -> Option<Mounted<Machine>> {
    Mounted::new(Machine { gramine: Some(gramine), ..Machine::default() })
}

fn occlum(occlum: Occlum) -> Option<Mounted<Machine>> {
    Mounted::new(Machine { occlum: Some(occlum), ..Machine::default() })
}

#[test]
fn gramine_from_the_driver_to_a_verdict() {
    let Some(mounted) = gramine(Gramine::new(pen(enclave()))) else { return };
    let attester = SgxEcdsa::open(&mounted.options(LONG)).unwrap();
    assert_eq!((attester.name(), attester.tag()), ("sgx_ecdsa", EvidenceTag::IntelQuote));
    assert!(attester.interface().starts_with("Gramine's"), "{}", attester.interface());
    judged(&attester, Tee::Sgx);
}

#[test]
fn gramines_one_buffer_is_not_shared_by_two_quotes() {
    let Some(mounted) = gramine(Gramine::new(pen(enclave()))) else { return };
    // Two attesters: the buffer is the process's.
    let attesters = [(); 2].map(|()| Arc::new(SgxEcdsa::open(&mounted.options(LONG)).unwrap()));
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let attester = Arc::clone(&attesters[n % 2]);
            thread::spawn(move || {
                for round in 0..5 {
                    let asked = user_data(&format!("{n}/{round}"));
                    let quote = attester.quote(&asked).unwrap();
                    assert_eq!(&quote::user_data(EvidenceTag::IntelQuote, &quote).unwrap(), asked.as_bytes());
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn gramines_buffer_written_by_something_else() {
    let Some(mounted) = gramine(Gramine::new(pen(enclave()))) else { return };
    let attester = SgxEcdsa::open(&mounted.options(LONG)).unwrap();
    let meddling = &mounted.system.gramine.as_ref().unwrap().meddling;
    meddling.store(2, Ordering::SeqCst);
    attester.quote(&user_data("a")).unwrap();
    assert_eq!(meddling.load(Ordering::SeqCst), 0);
    assert_eq!(lock(&mounted.system.gramine.as_ref().unwrap().user_report_data).len(), 64);

    meddling.store(usize::MAX, Ordering::SeqCst);
    let error = attester.quote(&user_data("a")).unwrap_err();
    assert!(matches!(&error, AttesterError::Answer { what, .. } if what.contains("other user data")), "{error}");
}

#[test]
fn gramine_without_dcap() {
    for kind in ["none", "epid", ""] {
        let Some(mounted) = gramine(Gramine { kind, ..Gramine::new(pen(enclave())) }) else { return };
        match SgxEcdsa::open(&mounted.options(LONG)).unwrap_err() {
            AttesterError::Interfaces { tried, .. } => {
                let error = told(&tried[0]);
                assert!(matches!(tried[0], AttesterError::Missing { .. }));
                assert!(error.contains(&format!("is {kind:?}")) && error.contains("sgx.remote_attestation"), "{error}");
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn occlum_from_the_driver_to_a_verdict() {
    let pen = pen(enclave());
    let unpadded: super::Pen = Arc::new(move |user_data| {
        let quote = pen(user_data);
        quote::cut(EvidenceTag::IntelQuote, &quote).unwrap().to_vec()
    });
    let Some(mounted) = occlum(Occlum { pen: unpadded, fault: None }) else { return };
    let attester = SgxEcdsa::open(&mounted.options(LONG)).unwrap();
    assert!(attester.interface().starts_with("Occlum's"), "{}", attester.interface());
    judged(&attester, Tee::Sgx);
    let asked = user_data("a");
    let quote = attester.quote(&asked).unwrap();
    assert_eq!(&quote::user_data(EvidenceTag::IntelQuote, &quote).unwrap(), asked.as_bytes());
}

#[test]
fn what_occlum_does_wrong_is_told() {
    let other: super::Pen = Arc::new(|_| quote::testing::sgx_v3(&[9; 64]));
    for (device, expected) in [
        (Occlum { pen: pen(enclave()), fault: Some(Errno::IO) }, "the host's AESM must run"),
        (Occlum { pen: other, fault: None }, "over other user data"),
        (Occlum { pen: pen(SimSpec::tdx("guest")), fault: None }, "a quote of Tdx where one of Sgx"),
    ] {
        let Some(mounted) = occlum(device) else { return };
        let error = SgxEcdsa::open(&mounted.options(LONG)).unwrap().quote(&user_data("a")).unwrap_err();
        assert!(matches!(error, AttesterError::Answer { .. } | AttesterError::Refused { .. }));
        assert!(told(&error).contains(expected), "{}", told(&error));
    }
}

#[test]
fn outside_an_enclave() {
    let folder = tempfile::tempdir().unwrap();
    let options = DriverOptions { roots: roots(folder.path()), ..DriverOptions::default() };
    let tried = |options| match SgxEcdsa::open(options).unwrap_err() {
        AttesterError::Interfaces { attester: "sgx_ecdsa", tried } => {
            assert!(tried.iter().all(|error| matches!(error, AttesterError::Missing { .. })), "{tried:?}");
            tried.iter().map(told).collect::<Vec<_>>()
        }
        other => panic!("{other}"),
    };
    let nothing = tried(&options);
    assert!(nothing[0].contains("dev/attestation/attestation_type is not there"), "{nothing:?}");
    assert!(nothing.iter().all(|error| error.contains("must run inside the enclave")), "{nothing:?}");

    // A host: Intel's old driver has a folder there, other things a device that knows no such requests.
    std::fs::create_dir_all(folder.path().join("dev/sgx")).unwrap();
    assert!(tried(&options)[1].contains("dev/sgx as Occlum has it"));
    std::fs::remove_dir(folder.path().join("dev/sgx")).unwrap();
    std::fs::write(folder.path().join("dev/sgx"), b"").unwrap();
    assert!(tried(&options)[1].contains("inside Occlum"), "{:?}", tried(&options));
}
