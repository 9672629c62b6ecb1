//! SEV-SNP by configfs-tsm and by its device. There is no simulated platform for it: its reports are unsigned.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::super::SevSnp;
use super::super::snp_certificates::tests::table;
use super::fuse::Mounted;
use super::machine::{Machine, SevGuest, TsmKernel};
use super::{LONG, NOW, Pen, certified, told, user_data};
use crate::attester::{Attester as _, AttesterError};
use crate::certificate::parse;
use crate::evidence::{Endorsements, SnpEndorsements};
use crate::quote;
use crate::tee::{EvidenceTag, Tee};

fn pen() -> Pen {
    Arc::new(quote::testing::snp)
}

fn tsm(change: impl FnOnce(&mut TsmKernel)) -> Option<Mounted<Machine>> {
    let mut kernel = TsmKernel::new("sev_guest", pen());
    change(&mut kernel);
    Mounted::new(Machine { tsm: Some(kernel), ..Machine::default() })
}

fn device(status: u32, fault: Option<(Errno, u64)>) -> Option<Mounted<Machine>> {
    Mounted::new(Machine { sev_guest: Some(SevGuest { pen: pen(), status, fault }), ..Machine::default() })
}

#[test]
fn the_hosts_certificates_reach_the_peer() {
    let Some(mounted) = tsm(|kernel| kernel.auxblob = table(&[("VCEK", b"vcek"), ("ASK", b"ask"), ("ARK", b"ark")]))
    else {
        return;
    };
    let attester = SevSnp::open(&mounted.options(LONG)).unwrap();
    assert_eq!((attester.name(), attester.tag()), ("sev_snp", EvidenceTag::SevSnp));
    assert_eq!(attester.endorsements(), None, "before there is a report");
    let certificate = certified(&attester);
    assert_eq!(certificate.evidence().tee(), Tee::SevSnp);
    let expected = Endorsements::SevSnp(SnpEndorsements { vcek: b"vcek".to_vec(), ask: b"ask".to_vec() });
    assert_eq!(parse(certificate.der(), NOW).unwrap().endorsements, Some(expected));
}

#[test]
fn a_host_without_certificates_or_with_bad_ones_stops_nobody() {
    for auxblob in [Vec::new(), vec![0; 4096], vec![0xff; 100]] {
        let Some(mounted) = tsm(|kernel| kernel.auxblob = auxblob) else { return };
        let certificate = certified(&SevSnp::open(&mounted.options(LONG)).unwrap());
        assert_eq!(parse(certificate.der(), NOW).unwrap().endorsements, None);
    }
}

#[test]
fn under_a_service_module_the_level_is_the_floor() {
    let Some(mounted) = tsm(|kernel| kernel.privlevel_floor = Some(2)) else { return };
    let attester = SevSnp::open(&mounted.options(LONG)).unwrap();
    assert!(attester.interface().ends_with("has provider sev_guest"), "{}", attester.interface());
    attester.quote(&user_data("a")).unwrap();
    // The write of the level is not taken for somebody else's.
    assert_eq!(mounted.system.tsm.as_ref().unwrap().made.load(Ordering::SeqCst), 1);
}

#[test]
fn the_device_where_there_is_no_configfs() {
    let Some(mounted) = device(0, None) else { return };
    let attester = SevSnp::open(&mounted.options(LONG)).unwrap();
    assert!(attester.interface().ends_with("dev/sev-guest makes reports"), "{}", attester.interface());
    let certificate = certified(&attester);
    assert_eq!(certificate.evidence().tag(), EvidenceTag::SevSnp);
    let asked = user_data("a");
    let report = attester.quote(&asked).unwrap();
    assert_eq!(&quote::user_data(EvidenceTag::SevSnp, &report).unwrap(), asked.as_bytes());
    assert_eq!(report.len(), 1184);
}

#[test]
fn what_the_device_does_wrong_is_told() {
    for (status, fault, expected) in [
        (0x16, None, "the firmware states status 0x16"),
        (0, Some((Errno::NOTTY, 0)), "start the guest anew"),
        (0, Some((Errno::IO, 0x16)), "(firmware 0x16, host 0x0) failed; the firmware refused"),
        (0, Some((Errno::TIMEDOUT, 2 << 32)), "(firmware 0x0, host 0x2) failed; the host limits"),
    ] {
        let Some(mounted) = device(status, fault) else { return };
        let error = SevSnp::open(&mounted.options(LONG)).unwrap().quote(&user_data("a")).unwrap_err();
        match fault {
            Some((errno, _)) => assert!(
                matches!(&error, AttesterError::Refused { source, .. } if Errno::from_io_error(source) == Some(errno))
            ),
            None => assert!(matches!(error, AttesterError::Answer { .. })),
        }
        assert!(told(&error).contains(expected), "{}", told(&error));
    }
}

#[test]
fn neither_interface() {
    let Some(mounted) = Mounted::new(Machine::default()) else { return };
    match SevSnp::open(&mounted.options(LONG)).unwrap_err() {
        AttesterError::Interfaces { attester: "sev_snp", tried } => {
            assert!(told(&tried[0]).contains("tsm/report is not there"), "{}", told(&tried[0]));
            assert!(told(&tried[1]).contains("modprobe sev-guest"), "{}", told(&tried[1]));
        }
        other => panic!("{other}"),
    }
}
