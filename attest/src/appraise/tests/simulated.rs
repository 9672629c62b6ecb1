//! Every verdict, produced by the simulated platform and read by the production appraisal.

use std::sync::Arc;
use std::time::Duration;

use crate::appraise::{
    AppraisalError, Appraised, Appraiser, CodeIdentity, CollateralBook, Root, TcbStatus, TrustRoots,
};
use crate::sim::{CollateralSpec, QuoteFormat, SimAttester, SimError, SimPlatform, SimSpec, TcbChoice};
use crate::tee::{EvidenceTag, Tee};
use crate::{Reason, Timestamp};

pub(super) const NOW: Timestamp = Timestamp(1_800_000_000);

/// A platform and an appraiser that trusts it, with its collateral at hand.
pub(super) struct World {
    pub(super) platform: Arc<SimPlatform>,
    pub(super) appraiser: Appraiser,
}

impl World {
    pub(super) fn new() -> Self {
        let platform = Arc::new(SimPlatform::generate(NOW).unwrap());
        let book = CollateralBook::new();
        for tee in [Tee::Sgx, Tee::Tdx] {
            book.insert(Root::Simulated, Arc::new(platform.collateral(tee).unwrap().clone())).unwrap();
        }
        let roots = TrustRoots::intel().with_simulated(platform.root_der());
        Self { appraiser: Appraiser::new(roots, Arc::new(book)), platform }
    }

    /// The same platform with other collateral at hand.
    pub(super) fn with_collateral(&self, spec: &CollateralSpec) -> Appraiser {
        let book = CollateralBook::new();
        book.insert(Root::Simulated, Arc::new(self.platform.collateral_with(spec).unwrap())).unwrap();
        Appraiser::new(self.appraiser.roots().clone(), Arc::new(book))
    }

    pub(super) fn quote(&self, spec: SimSpec) -> Vec<u8> {
        SimAttester::new(&self.platform, spec).unwrap().quote_over(&[7; 64]).unwrap()
    }

    pub(super) fn appraise(&self, spec: SimSpec) -> Result<Appraised, AppraisalError> {
        self.appraiser.appraise_quote(EvidenceTag::Simulated, &self.quote(spec), NOW)
    }
}

fn formats() -> [SimSpec; 3] {
    let tdx = SimSpec::tdx("inclavared");
    [SimSpec::sgx("inclavared"), tdx.clone(), SimSpec { format: QuoteFormat::TdxV5, ..tdx }]
}

#[test]
fn measurements_arrive_as_they_were_stated() {
    let world = World::new();
    let spec = SimSpec { isv_prod_id: 0x1234, isv_svn: 0x5678, ..SimSpec::sgx("inclavared") };
    let appraised = world.appraise(spec.clone()).unwrap();
    assert_eq!((appraised.tee, appraised.root), (Tee::Sgx, Root::Simulated));
    let CodeIdentity::Sgx(sgx) = &appraised.code else { panic!("{:?}", appraised.code) };
    assert_eq!((sgx.mrenclave, sgx.mrsigner), (spec.mrenclave, spec.mrsigner));
    assert_eq!((sgx.isv_prod_id, sgx.isv_svn), (0x1234, 0x5678));
    assert_eq!(spec.mrenclave, *crate::Digest::of(b"inclavared").as_bytes());

    for spec in formats().into_iter().skip(1) {
        let spec = SimSpec { mrconfigid: [3; 48], ..spec };
        let appraised = world.appraise(spec.clone()).unwrap();
        assert_eq!((appraised.tee, appraised.root), (Tee::Tdx, Root::Simulated));
        let CodeIdentity::Tdx(tdx) = &appraised.code else { panic!("{:?}", appraised.code) };
        assert_eq!((tdx.mrtd, tdx.rtmr, tdx.mrconfigid), (spec.mrtd, spec.rtmr, spec.mrconfigid));
    }
}

#[test]
fn every_status_can_be_produced() {
    let world = World::new();
    let advisories = |status| match status {
        TcbStatus::UpToDate => vec![],
        TcbStatus::SWHardeningNeeded => vec!["INTEL-SA-00615"],
        TcbStatus::ConfigurationNeeded => vec!["INTEL-SA-00219"],
        TcbStatus::ConfigurationAndSWHardeningNeeded => vec!["INTEL-SA-00219", "INTEL-SA-00615"],
        TcbStatus::OutOfDate | TcbStatus::TDRelaunchAdvised => vec!["INTEL-SA-00828", "INTEL-SA-00837"],
        TcbStatus::OutOfDateConfigurationNeeded | TcbStatus::TDRelaunchAdvisedConfigurationNeeded => {
            vec!["INTEL-SA-00219", "INTEL-SA-00828"]
        }
        TcbStatus::Revoked => vec!["INTEL-SA-00161"],
    };
    for spec in formats() {
        for &status in TcbStatus::ALL {
            let spec = SimSpec { tcb: TcbChoice::Status(status), ..spec.clone() };
            let relaunch =
                matches!(status, TcbStatus::TDRelaunchAdvised | TcbStatus::TDRelaunchAdvisedConfigurationNeeded);
            if relaunch && spec.format != QuoteFormat::TdxV5 {
                let refused = SimAttester::new(&world.platform, spec).unwrap_err();
                assert!(matches!(refused, SimError::Status { .. }), "{refused}");
                continue;
            }
            match world.appraise(spec.clone()) {
                Ok(appraised) => {
                    assert_eq!(appraised.tcb_status, status, "{spec:?}");
                    assert_eq!(appraised.advisories, advisories(status), "{spec:?}");
                    let age = NOW.since(appraised.tcb_date).as_secs() / 86_400;
                    let outdated = status >= TcbStatus::TDRelaunchAdvised;
                    assert!(if outdated { (180..=181).contains(&age) } else { (30..=31).contains(&age) }, "{age}");
                }
                // The one status that the library itself refuses.
                Err(refused) => {
                    assert_eq!(status, TcbStatus::Revoked, "{refused}");
                    assert_eq!(refused.reason, Reason::TcbStatus);
                    assert!(refused.found.contains("Revoked"), "{refused}");
                }
            }
        }
        let refused = world.appraise(SimSpec { tcb: TcbChoice::Unlisted, ..spec }).unwrap_err();
        assert_eq!((refused.reason, refused.what.as_str()), (Reason::TcbStatus, "TCB level"));
    }
}

#[test]
fn the_quoting_enclave_pulls_the_status_down() {
    let world = World::new();
    for spec in formats() {
        let outdated = SimSpec { qe_status: TcbStatus::OutOfDate, ..spec.clone() };
        let appraised = world.appraise(outdated.clone()).unwrap();
        assert_eq!(appraised.tcb_status, TcbStatus::OutOfDate);
        assert_eq!(appraised.advisories, ["INTEL-SA-00477"]);
        assert!(NOW.since(appraised.tcb_date) > Duration::from_secs(179 * 86_400), "dated by the quoting enclave");

        let both = SimSpec { tcb: TcbChoice::Status(TcbStatus::ConfigurationNeeded), ..outdated };
        assert_eq!(world.appraise(both).unwrap().tcb_status, TcbStatus::OutOfDateConfigurationNeeded);

        let revoked = world.appraise(SimSpec { qe_status: TcbStatus::Revoked, ..spec.clone() }).unwrap_err();
        assert_eq!(revoked.reason, Reason::TcbStatus);
        let refused =
            SimAttester::new(&world.platform, SimSpec { qe_status: TcbStatus::SWHardeningNeeded, ..spec }).unwrap_err();
        assert!(matches!(refused, SimError::Status { .. }));
    }
}

#[test]
fn debug_and_flags_and_machines_are_seen() {
    let world = World::new();
    for spec in formats() {
        assert!(!world.appraise(spec.clone()).unwrap().debug);
        assert!(world.appraise(SimSpec { debug: true, ..spec.clone() }).unwrap().debug);
        for (smt, dynamic_platform, cached_keys) in [(true, false, false), (false, true, false), (false, false, true)] {
            let platform =
                world.appraise(SimSpec { smt, dynamic_platform, cached_keys, ..spec.clone() }).unwrap().platform;
            assert_eq!(platform.smt, Some(smt));
            assert_eq!(platform.dynamic, Some(dynamic_platform));
            assert_eq!(platform.cached_keys, Some(cached_keys));
        }
        let here = world.appraise(spec.clone()).unwrap().platform.ids;
        let there = world.appraise(SimSpec { machine: "elsewhere".into(), ..spec }).unwrap().platform.ids;
        assert_eq!(here[0], world.platform.machine_id("machine"));
        assert_eq!(there[0], world.platform.machine_id("elsewhere"));
        assert!(here.len() == 2 && here.iter().all(|id| !there.contains(id)));
    }
}

#[test]
fn attributes_of_a_td() {
    const SEPT_VE_DISABLE: u64 = 1 << 28;
    let world = World::new();
    for spec in formats().into_iter().skip(1) {
        let with = |td_attributes| world.appraise(SimSpec { td_attributes, ..spec.clone() });
        for (attributes, what) in [
            (0, "TD attributes"),
            (SEPT_VE_DISABLE | 1 << 29, "TD attributes"),
            (SEPT_VE_DISABLE | 1 << 17, "TD attributes"),
            (SEPT_VE_DISABLE | 1 << 40, "TD attributes"),
        ] {
            let refused = with(attributes).unwrap_err();
            assert_eq!((refused.reason, refused.what.as_str()), (Reason::Measurement, what), "{attributes:x}");
        }
        assert!(with(0).unwrap_err().to_string().contains("Azure"));
        // Profiling opens a TD to its host as debugging does.
        for bit in 4..7 {
            assert!(with(SEPT_VE_DISABLE | 1 << bit).unwrap().debug);
        }
    }
}

#[test]
fn it_rests_on_the_earliest_end() {
    let world = World::new();
    let spec = CollateralSpec::at(Tee::Sgx, NOW);
    assert_eq!(world.appraise(SimSpec::sgx("a")).unwrap().expires, spec.next_update);

    let soon = NOW.plus(Duration::from_secs(60));
    let quote = world.quote(SimSpec::sgx("a"));
    for spec in [CollateralSpec { next_update: soon, ..spec.clone() }, CollateralSpec { crl_next_update: soon, ..spec }]
    {
        let appraiser = world.with_collateral(&spec);
        let appraised = appraiser.appraise_quote(EvidenceTag::Simulated, &quote, NOW).unwrap();
        assert_eq!(appraised.expires, soon);
        assert_eq!(appraised.appraised_at, NOW);
        let collateral = world.platform.collateral_with(&spec).unwrap();
        assert_eq!(collateral.expires(), soon);
        // A CRL ends with its last second, TCB info after it: before that second both hold, behind it neither.
        appraiser.appraise_quote(EvidenceTag::Simulated, &quote, Timestamp(soon.0 - 1)).unwrap();
        let late = appraiser.appraise_quote(EvidenceTag::Simulated, &quote, Timestamp(soon.0 + 1)).unwrap_err();
        assert_eq!(late.reason, Reason::Expired, "{late}");
    }
}

#[test]
fn nothing_stands_behind_null() {
    let appraiser = Appraiser::new(TrustRoots::intel(), Arc::default());
    let null = appraiser.appraise_quote(EvidenceTag::Null, &[], NOW).unwrap();
    assert_eq!((null.tee, null.root, null.code), (Tee::None, Root::None, CodeIdentity::None));
    assert_eq!(null.tcb_status, TcbStatus::Revoked, "the worst, so that no status rule lets it pass");
    let snp = appraiser.appraise_quote(EvidenceTag::SevSnp, &[0; 1184], NOW).unwrap_err();
    assert_eq!((snp.reason, snp.found.as_str()), (Reason::Tee, "one of AMD's"), "nobody named AMD's roots");
}

#[test]
fn one_appraisal_takes_under_a_millisecond_or_so() {
    let world = World::new();
    let quote = world.quote(SimSpec::sgx("a"));
    let rounds = 50;
    let start = std::time::Instant::now();
    for _ in 0..rounds {
        world.appraiser.appraise_quote(EvidenceTag::Simulated, &quote, NOW).unwrap();
    }
    let each = start.elapsed() / rounds;
    println!("one appraisal: {each:?}");
    assert!(each < Duration::from_millis(100), "{each:?}: the blocking pool is sized for about a millisecond");
}
