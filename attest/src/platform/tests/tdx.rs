//! `/dev/tdx_guest` and a quoting service, alone and below configfs-tsm.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::super::{DriverOptions, QgsAddress, TdxEcdsa};
use super::fuse::Mounted;
use super::machine::{Machine, TdxGuest, TsmKernel};
use super::qgs::{QuotingService, Service};
use super::{LONG, SHORT, judged, pen, told, user_data};
use crate::attester::{Attester as _, AttesterError};
use crate::quote;
use crate::sim::SimSpec;
use crate::tee::{EvidenceTag, Tee};

fn guest() -> SimSpec {
    SimSpec::tdx("guest")
}

fn machine(device: TdxGuest) -> Option<Mounted<Machine>> {
    Mounted::new(Machine { tdx_guest: Some(device), ..Machine::default() })
}

fn open(mounted: &Mounted<Machine>, qgs: QgsAddress, deadline: Duration) -> TdxEcdsa {
    TdxEcdsa::open(&DriverOptions { qgs: Some(qgs), ..mounted.options(deadline) }).unwrap()
}

#[test]
fn from_the_device_to_a_verdict() {
    for service in [Service::Quotes(pen(guest())), Service::QuotesWithId(pen(guest()))] {
        let service = QuotingService::start(service);
        let Some(mounted) = machine(TdxGuest::default()) else { return };
        let attester = open(&mounted, service.address(), LONG);
        assert!(attester.interface().contains("tdx_guest makes reports for the quoting service at"));
        judged(&attester, Tee::Tdx);
        assert_eq!(service.requests.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn quotes_at_once_come_one_after_the_other() {
    let service = QuotingService::start(Service::Quotes(pen(guest())));
    let Some(mounted) = machine(TdxGuest::default()) else { return };
    let attester = Arc::new(open(&mounted, service.address(), LONG));
    let threads: Vec<_> = (0..4)
        .map(|n| {
            let attester = Arc::clone(&attester);
            thread::spawn(move || {
                let asked = user_data(&format!("{n}"));
                let quote = attester.quote(&asked).unwrap();
                assert_eq!(&quote::user_data(EvidenceTag::IntelQuote, &quote).unwrap(), asked.as_bytes());
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(service.requests.load(Ordering::SeqCst), 4);
}

#[test]
fn a_service_that_is_stuck_or_drips_costs_the_deadline() {
    let dripping = Service::Drips(pen(guest()), Duration::from_millis(20));
    for service in [Service::Silent, dripping, Service::Announces(5000)] {
        let service = QuotingService::start(service);
        let Some(mounted) = machine(TdxGuest::default()) else { return };
        let attester = open(&mounted, service.address(), SHORT);
        // The second shows that the first let go of the place: a socket, unlike the kernel, can be left.
        for _ in 0..2 {
            let started = Instant::now();
            let error = attester.quote(&user_data("a")).unwrap_err();
            assert!(
                matches!(&error, AttesterError::Deadline { doing, .. } if doing.starts_with("waiting for the answer"))
            );
            assert!(error.to_string().contains("qgs.socket"), "{error}");
            assert!((SHORT..SHORT * 4).contains(&started.elapsed()), "{:?}", started.elapsed());
        }
    }
}

#[test]
fn what_the_service_does_wrong_is_told() {
    for (service, expected) in [
        (Service::Error(0x12003), "reports error 0x12003 (invalid parameter"),
        (Service::Announces(u32::MAX), "announces 4294967295 bytes"),
        (Service::HangsUp(pen(guest())), "reading from the quoting service"),
        (Service::Quotes(pen(SimSpec::sgx("enclave"))), "a quote of Sgx where one of Tdx"),
        (Service::Quotes(Arc::new(|_| quote::testing::tdx_v4(&[9; 64]))), "over other user data"),
    ] {
        let service = QuotingService::start(service);
        let Some(mounted) = machine(TdxGuest::default()) else { return };
        let error = open(&mounted, service.address(), LONG).quote(&user_data("a")).unwrap_err();
        assert!(matches!(error, AttesterError::Answer { .. } | AttesterError::Refused { .. }));
        assert!(told(&error).contains(expected), "{}", told(&error));
    }
}

#[test]
fn no_service_there() {
    let Some(mounted) = machine(TdxGuest::default()) else { return };
    let nobody = QgsAddress::Unix(mounted.folder.parent().unwrap().join("nobody"));
    let error = open(&mounted, nobody, LONG).quote(&user_data("a")).unwrap_err();
    assert!(matches!(&error, AttesterError::Refused { remedy, .. } if remedy.contains("start QGS")), "{error}");

    // The local end of vsock, at a port where nobody listens: an error of the socket, whether or not there is vsock.
    let vsock = QgsAddress::Vsock { cid: 1, port: 1 };
    let error = open(&mounted, vsock, SHORT).quote(&user_data("a")).unwrap_err();
    assert!(matches!(error, AttesterError::Refused { .. } | AttesterError::Deadline { .. }));
    assert!(error.to_string().contains("vsock 1:1"), "{error}");
}

#[test]
fn what_the_device_does_wrong_is_told() {
    let service = QuotingService::start(Service::Quotes(pen(guest())));
    let fault = TdxGuest { fault: Some(Errno::IO), ..TdxGuest::default() };
    let other = TdxGuest { other_user_data: true, ..TdxGuest::default() };
    for (device, expected) in [(fault, "the TDX module refused"), (other, "a report over other user data")] {
        let Some(mounted) = machine(device) else { return };
        let error = open(&mounted, service.address(), LONG).quote(&user_data("a")).unwrap_err();
        assert!(matches!(error, AttesterError::Answer { .. } | AttesterError::Refused { .. }));
        assert!(told(&error).contains(expected), "{}", told(&error));
    }
    assert_eq!(service.requests.load(Ordering::SeqCst), 0, "no such report is sent anywhere");
}

#[test]
fn a_host_without_quotes_for_the_kernel_can_have_them_over_the_socket() {
    let service = QuotingService::start(Service::Quotes(pen(guest())));
    let tsm = TsmKernel::new("tdx_guest", pen(guest()));
    let machine = Machine { tsm: Some(tsm), tdx_guest: Some(TdxGuest::default()), ..Machine::default() };
    let Some(mounted) = Mounted::new(machine) else { return };
    let attester = open(&mounted, service.address(), LONG);
    let faults = || super::super::gate::lock(&mounted.system.tsm.as_ref().unwrap().faults);
    attester.quote(&user_data("a")).unwrap();
    assert_eq!(service.requests.load(Ordering::SeqCst), 0, "configfs-tsm comes first");
    faults().push_back(Errno::IO);
    judged(&attester, Tee::Tdx);
    assert_eq!(service.requests.load(Ordering::SeqCst), 1);

    let broken = QuotingService::start(Service::Error(0x12001));
    let attester = open(&mounted, broken.address(), LONG);
    faults().push_back(Errno::IO);
    match attester.quote(&user_data("a")).unwrap_err() {
        AttesterError::Interfaces { attester: "tdx_ecdsa", tried } => {
            assert!(told(&tried[0]).contains("outblob"), "{}", told(&tried[0]));
            assert!(told(&tried[1]).contains("0x12001"), "{}", told(&tried[1]));
        }
        other => panic!("{other}"),
    }
}
