//! configfs-tsm with provider `tdx_guest`: its rules, its faults, its races.

use std::collections::VecDeque;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::super::gate::lock;
use super::super::{DriverOptions, TdxEcdsa};
use super::fuse::{Mounted, roots};
use super::machine::{Machine, TsmKernel};
use super::{LONG, SHORT, judged, pen, told, user_data};
use crate::attester::{Attester as _, AttesterError};
use crate::quote;
use crate::sim::SimSpec;
use crate::tee::{EvidenceTag, Tee};

fn machine() -> Option<Mounted<Machine>> {
    let tsm = TsmKernel::new("tdx_guest", pen(SimSpec::tdx("guest")));
    Mounted::new(Machine { tsm: Some(tsm), ..Machine::default() })
}

fn kernel(mounted: &Mounted<Machine>) -> &TsmKernel {
    mounted.system.tsm.as_ref().unwrap()
}

fn open(mounted: &Mounted<Machine>, deadline: Duration) -> TdxEcdsa {
    TdxEcdsa::open(&mounted.options(deadline)).unwrap()
}

fn is_over(quote: &[u8], name: &str) {
    let found = quote::user_data(EvidenceTag::IntelQuote, quote).unwrap();
    assert_eq!(&found, user_data(name).as_bytes());
}

/// Nothing stays behind, whatever happened.
fn is_clean(mounted: &Mounted<Machine>) {
    assert_eq!(fs::read_dir(mounted.path("config/tsm/report")).unwrap().count(), 0, "a request was left behind");
}

#[test]
fn from_the_driver_to_a_verdict() {
    let Some(mounted) = machine() else { return };
    let attester = open(&mounted, LONG);
    assert_eq!((attester.name(), attester.tag()), ("tdx_ecdsa", EvidenceTag::IntelQuote));
    assert!(attester.interface().ends_with("has provider tdx_guest"), "{}", attester.interface());
    judged(&attester, Tee::Tdx);
    let quote = attester.quote(&user_data("a")).unwrap();
    is_over(&quote, "a");
    assert!(quote.len() < 8000, "the padding is cut");
    is_clean(&mounted);
    // The one that looked for the provider, and two quotes.
    assert_eq!(kernel(&mounted).removed.load(Ordering::SeqCst), 3);
}

#[test]
fn quotes_at_once_come_one_after_the_other() {
    let Some(mounted) = machine() else { return };
    // Two attesters and many threads, as with two listeners.
    let attesters = [open(&mounted, LONG), open(&mounted, LONG)].map(Arc::new);
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let attester = Arc::clone(&attesters[n % 2]);
            thread::spawn(move || {
                for round in 0..3 {
                    let name = format!("{n}/{round}");
                    is_over(&attester.quote(&user_data(&name)).unwrap(), &name);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(kernel(&mounted).made.load(Ordering::SeqCst), 24);
    assert_eq!(kernel(&mounted).most_at_once.load(Ordering::SeqCst), 1);
    is_clean(&mounted);
}

#[test]
fn somebody_elses_write_is_noticed_and_the_quote_asked_for_anew() {
    let Some(mounted) = machine() else { return };
    let attester = open(&mounted, LONG);
    kernel(&mounted).meddling.store(2, Ordering::SeqCst);
    is_over(&attester.quote(&user_data("mine")).unwrap(), "mine");
    assert_eq!(kernel(&mounted).made.load(Ordering::SeqCst), 3, "two quotes over other data were thrown away");
    is_clean(&mounted);
}

#[test]
fn who_never_stops_meddling_costs_the_deadline_and_no_more() {
    let Some(mounted) = machine() else { return };
    let attester = open(&mounted, SHORT);
    kernel(&mounted).meddling.store(usize::MAX, Ordering::SeqCst);
    let error = attester.quote(&user_data("mine")).unwrap_err();
    assert!(
        matches!(&error, AttesterError::Deadline { doing, .. } if doing.contains("somebody else wrote")),
        "{error}"
    );
    is_clean(&mounted);
}

#[test]
fn a_process_that_writes_into_every_request() {
    let Some(mounted) = machine() else { return };
    let attester = open(&mounted, LONG);
    let (stop, writes) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut quotes = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            // Bounded: it must not be able to starve the driver for ever.
            while !stop.load(Ordering::SeqCst) && writes.load(Ordering::SeqCst) < 40 {
                for request in fs::read_dir(mounted.path("config/tsm/report")).unwrap().flatten() {
                    if fs::OpenOptions::new()
                        .write(true)
                        .open(request.path().join("inblob"))
                        .is_ok_and(|mut file| std::io::Write::write_all(&mut file, &[9; 64]).is_ok())
                    {
                        writes.fetch_add(1, Ordering::SeqCst);
                    }
                }
                thread::yield_now();
            }
        });
        // Checked outside: a failure in here would leave the other process running.
        for round in 0..10 {
            let name = round.to_string();
            quotes.push((attester.quote(&user_data(&name)), name));
        }
        stop.store(true, Ordering::SeqCst);
    });
    for (quote, name) in quotes {
        is_over(&quote.unwrap(), &name);
    }
    assert!(writes.load(Ordering::SeqCst) > 0, "the other process wrote nothing");
    is_clean(&mounted);
}

#[test]
fn a_busy_machine_is_asked_again() {
    let Some(mounted) = machine() else { return };
    let attester = open(&mounted, LONG);
    lock(&kernel(&mounted).faults).extend([Errno::BUSY, Errno::AGAIN, Errno::BUSY]);
    is_over(&attester.quote(&user_data("a")).unwrap(), "a");
    is_clean(&mounted);

    let attester = open(&mounted, SHORT);
    *lock(&kernel(&mounted).faults) = VecDeque::from([Errno::BUSY; 1000]);
    let started = Instant::now();
    let error = attester.quote(&user_data("a")).unwrap_err();
    assert!(matches!(&error, AttesterError::Deadline { doing, .. } if doing.contains("EBUSY")), "{error}");
    assert!(started.elapsed() < SHORT * 3);
    let asked = 1000 - lock(&kernel(&mounted).faults).len();
    assert!((3..20).contains(&asked), "asked {asked} times in {SHORT:?}: the pauses do not grow");
    is_clean(&mounted);
}

#[test]
fn each_fault_says_what_helps() {
    let Some(mounted) = machine() else { return };
    let attester = open(&mounted, LONG);
    for (fault, remedy) in [
        (Errno::INVAL, "EINVAL"),
        (Errno::NXIO, "modprobe tdx_guest"),
        (Errno::TIMEDOUT, "(QGS) is down"),
        (Errno::IO, "see dmesg"),
        (Errno::ACCESS, "run as root"),
    ] {
        lock(&kernel(&mounted).faults).push_back(fault);
        let error = attester.quote(&user_data("a")).unwrap_err();
        assert!(matches!(&error, AttesterError::Refused { source, .. } if Errno::from_io_error(source) == Some(fault)));
        assert!(told(&error).contains(remedy), "{}", told(&error));
        assert!(error.to_string().contains("reading outblob of configfs-tsm failed"), "{error}");
        is_clean(&mounted);
    }
    is_over(&attester.quote(&user_data("a")).unwrap(), "a");
}

#[test]
fn a_provider_that_goes_away() {
    let Some(mounted) = machine() else { return };
    let attester = open(&mounted, LONG);
    *lock(&kernel(&mounted).provider) = None;
    let error = attester.quote(&user_data("a")).unwrap_err();
    assert!(matches!(&error, AttesterError::Refused { doing, remedy, source, .. }
        if doing.starts_with("making a request") && remedy.contains("modprobe tdx_guest")
            && Errno::from_io_error(source) == Some(Errno::NXIO)));
    *lock(&kernel(&mounted).provider) = Some("arm_cca_guest");
    let error = attester.quote(&user_data("a")).unwrap_err();
    assert!(
        matches!(&error, AttesterError::Missing { what, .. } if what.ends_with("(it is arm_cca_guest)")),
        "{error}"
    );
    is_clean(&mounted);
}

#[test]
fn a_host_that_does_not_answer_holds_nobody_longer_than_the_deadline() {
    let Some(mounted) = machine() else { return };
    let attester = open(&mounted, SHORT);
    kernel(&mounted).host.set_silent(true);
    let started = Instant::now();
    let error = attester.quote(&user_data("a")).unwrap_err();
    assert!(matches!(&error, AttesterError::Deadline { doing, .. } if doing.contains("outblob")), "{error}");
    let error = attester.quote(&user_data("b")).unwrap_err();
    assert!(matches!(&error, AttesterError::Deadline { doing, .. } if doing.contains("quote before")), "{error}");
    assert!(started.elapsed() < SHORT * 6);
    assert_eq!(fs::read_dir(mounted.path("config/tsm/report")).unwrap().count(), 1, "the kernel still has it");

    kernel(&mounted).host.set_silent(false);
    is_over(&open(&mounted, LONG).quote(&user_data("c")).unwrap(), "c");
    is_clean(&mounted);
}

#[test]
fn a_wrong_answer_is_not_passed_on() {
    for (pen, expected) in [
        (pen(SimSpec::sgx("enclave")), "a quote of Sgx where one of Tdx was asked for"),
        (Arc::new(|_: &[u8; 64]| quote::testing::tdx_v4(&[9; 64])) as super::Pen, "over other user data"),
        (Arc::new(|_: &[u8; 64]| Vec::new()), "ends too early"),
        (Arc::new(|_: &[u8; 64]| vec![4; 300_000]), "more than 262144 bytes"),
    ] {
        let tsm = TsmKernel::new("tdx_guest", pen);
        let Some(mounted) = Mounted::new(Machine { tsm: Some(tsm), ..Machine::default() }) else { return };
        let error = open(&mounted, LONG).quote(&user_data("a")).unwrap_err();
        assert!(matches!(error, AttesterError::Answer { .. } | AttesterError::Refused { .. }));
        assert!(told(&error).contains(expected), "{}", told(&error));
        is_clean(&mounted);
    }
}

#[test]
fn without_the_interface_each_step_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let options = DriverOptions { roots: roots(folder.path()), ..DriverOptions::default() };
    let configfs = |options: &DriverOptions| match TdxEcdsa::open(options) {
        Err(AttesterError::Interfaces { attester: "tdx_ecdsa", tried }) => {
            assert_eq!(tried.len(), 2);
            assert!(told(&tried[1]).contains("modprobe tdx_guest"), "{}", told(&tried[1]));
            told(&tried[0])
        }
        other => panic!("{other:?}"),
    };
    assert!(configfs(&options).contains("mount -t configfs none"));
    fs::create_dir(folder.path().join("config")).unwrap();
    assert!(configfs(&options).contains("Linux 6.7"));
    fs::create_dir_all(folder.path().join("config/tsm/report")).unwrap();
    let error = configfs(&options);
    assert!(error.contains("reading provider of configfs-tsm failed"), "a folder that is no configfs: {error}");
    assert_eq!(fs::read_dir(folder.path().join("config/tsm/report")).unwrap().count(), 0);

    let tsm = TsmKernel::new("sev_guest", pen(SimSpec::tdx("guest")));
    let Some(mounted) = Mounted::new(Machine { tsm: Some(tsm), ..Machine::default() }) else { return };
    let error = configfs(&mounted.options(LONG));
    assert!(error.contains("provider tdx_guest (it is sev_guest)"), "{error}");
    is_clean(&mounted);
}
