//! AMD's key service over real HTTP: what a report without certificates needs is fetched, verified, kept, and served on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use inclavared_attest::appraise::snp::{AmdSet, SnpRequest};
use inclavared_attest::appraise::{Appraise as _, Appraiser, Root, TcbStatus, TrustRoots};
use inclavared_attest::certificate;
use inclavared_attest::evidence::{Evidence, EvidenceTag, HopClaims};
use inclavared_attest::hop_key::HopKey;
use inclavared_attest::sim::{SimPlatform, SimSnpAttester, SimSnpSpec};
use inclavared_attest::{ConfigDigest, PolicyDigest, Reason, Timestamp};
use inclavared_collateral::{
    Bundle, Clock, CollateralError, CollateralService, CollateralSettings, Endpoint, FetchError, PccsSettings,
    SimulatedSource,
};

use crate::fetch::refusal;
use crate::support::{HandMade, LIMIT, NOW, Reply, down, eventually, fetch_settings, start, within};

const SIM: Root = Root::Simulated;

struct Amd {
    platform: Arc<SimPlatform>,
}

impl Amd {
    fn new() -> Self {
        Self { platform: Arc::new(SimPlatform::generate(NOW).unwrap().with_amd(NOW).unwrap()) }
    }

    fn roots(&self) -> TrustRoots {
        let roots = TrustRoots::intel().with_simulated(self.platform.root_der());
        roots.with_simulated_amd([self.platform.amd().unwrap().root().clone()])
    }

    /// What a hop on that machine shows, whose host hands out no certificates.
    fn evidence(&self, machine: &str) -> Evidence {
        let hop = HopClaims {
            version: 1,
            chain_role: "workload".into(),
            policy_digest: PolicyDigest::of(b""),
            not_after: NOW.plus(Duration::from_secs(60)),
            config_digest: ConfigDigest::of(b""),
        };
        let spec = SimSnpSpec { machine: machine.into(), certificates: false, ..SimSnpSpec::new("a") };
        let attester = SimSnpAttester::new(&self.platform, spec, NOW).unwrap();
        certificate::issue(&HopKey::generate().unwrap(), &attester, hop, NOW).unwrap().evidence().clone()
    }

    fn request(&self, machine: &str) -> SnpRequest {
        SnpRequest::of(self.evidence(machine).quote()).unwrap()
    }

    fn settings(&self, endpoints: &[&Endpoint]) -> CollateralSettings {
        let mut settings = CollateralSettings {
            simulated: endpoints.iter().map(|endpoint| (*endpoint).clone()).collect(),
            fetch: fetch_settings(),
            clock: Clock::new(|| NOW),
            ..CollateralSettings::default()
        };
        settings.fetch.request_deadline = Duration::from_millis(500);
        settings.fetch.set_deadline = Duration::from_secs(5);
        settings.fetch.max_part = 100_000;
        settings.cache.negative = Duration::from_secs(600);
        settings
    }

    fn service(&self, endpoints: &[&Endpoint]) -> CollateralService {
        CollateralService::new(self.settings(endpoints), self.roots()).unwrap()
    }

    /// A service that speaks the paths of AMD's, and what it is told to make of each answer.
    async fn kds(&self, spoil: impl Fn(&str, Vec<u8>) -> Reply + Send + Sync + 'static) -> HandMade {
        let platform = Arc::clone(&self.platform);
        HandMade::start(move |path| match answer(&platform, path) {
            Some(body) => spoil(path, body),
            None => Reply::status(404),
        })
        .await
    }
}

fn good(_: &str, body: Vec<u8>) -> Reply {
    Reply::Answer { status: 200, headers: Vec::new(), body }
}

/// As AMD documents it, written down once more: nothing here comes from what is tested.
fn answer(platform: &SimPlatform, path: &str) -> Option<Vec<u8>> {
    let amd = platform.amd().unwrap();
    match path.strip_prefix("/vcek/v1/Milan/")? {
        "cert_chain" => {
            let pem = |der: &[u8]| {
                use base64::Engine as _;
                let text = base64::engine::general_purpose::STANDARD.encode(der);
                format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
            };
            Some((pem(&amd.set().ask) + &pem(&amd.root().der)).into_bytes())
        }
        "crl" => Some(amd.set().crl.clone()),
        chip => {
            let (chip, query) = chip.split_once('?')?;
            assert_eq!(query, "blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115");
            let chip: [u8; 64] = hex::decode(chip).ok()?.try_into().ok()?;
            amd.vcek(&chip, [3, 0, 0, 0, 0, 0, 8, 115], NOW).ok()
        }
    }
}

#[tokio::test]
async fn a_report_without_certificates_is_appraised_with_fetched_ones() {
    let amd = Amd::new();
    let kds = amd.kds(good).await;
    let service = Arc::new(amd.service(&[&kds.endpoint]));
    let appraiser = Appraiser::new(amd.roots(), service.book());
    let evidence = amd.evidence("a");
    assert_eq!(appraiser.appraise(&evidence, NOW).unwrap_err().reason, Reason::Collateral);
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let (service, request) = (Arc::clone(&service), amd.request("a"));
            tokio::spawn(async move { service.get_amd(SIM, request, LIMIT).await })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(kds.requests(), 3, "certificate, chain and list, once for all who waited");
    let found = appraiser.appraise(&evidence, NOW).unwrap();
    assert_eq!((found.root, found.tcb_status, found.revocation_checked), (SIM, TcbStatus::UpToDate, true));

    // Another chip of the same line: its certificate alone. The same one again: nothing.
    for machine in ["b", "b", "a"] {
        within(service.get_amd(SIM, amd.request(machine), LIMIT)).await.unwrap();
    }
    assert_eq!(kds.requests(), 4);
    assert_eq!(service.counters().fetches(&kds.endpoint.to_string()), (2, 0));
    assert_eq!(service.ages().len(), 1);
    appraiser.appraise(&amd.evidence("b"), NOW).unwrap();
    // Nothing of it counts as AMD's own.
    assert!(service.book().amd(Root::Amd).is_empty());
}

#[tokio::test]
async fn bad_services_neither_stop_nor_open_anything() {
    let amd = Amd::new();
    let other = Arc::new(SimPlatform::generate(NOW).unwrap().with_amd(NOW).unwrap());
    let others = move |path: &str, _: Vec<u8>| good(path, answer(&other, path).unwrap());
    type Check = fn(&FetchError) -> bool;
    let is_vcek = |path: &str| path.contains('?');
    let cases: Vec<(&str, HandMade, Check)> = vec![
        ("silent", amd.kds(|_, _| Reply::Silence).await, |e| matches!(e, FetchError::Deadline { .. })),
        ("slow", amd.kds(|_, _| Reply::Drip).await, |e| matches!(e, FetchError::Deadline { .. })),
        ("endless", amd.kds(|_, _| Reply::Endless).await, |e| matches!(e, FetchError::TooLarge { limit: 100_000, .. })),
        ("confused", amd.kds(|_, _| Reply::Bytes(b"\0\0")).await, |e| matches!(e, FetchError::Http { .. })),
        ("broken", amd.kds(|_, _| Reply::status(500)).await, |e| matches!(e, FetchError::Status { status: 500, .. })),
        (
            "no certificate",
            amd.kds(move |path, body| if is_vcek(path) { good(path, b"<html>".into()) } else { good(path, body) })
                .await,
            |e| matches!(e, FetchError::Refused(error) if error.reason == Reason::Collateral),
        ),
        (
            "no chain",
            amd.kds(|path, body| good(path, if path.ends_with("cert_chain") { b"x".to_vec() } else { body })).await,
            |e| matches!(e, FetchError::Form { .. }),
        ),
        (
            "no list",
            amd.kds(|path, body| good(path, if path.ends_with("crl") { b"x".to_vec() } else { body })).await,
            |e| matches!(e, FetchError::Refused(error) if error.reason == Reason::Collateral),
        ),
        (
            "a list with one bit changed",
            amd.kds(|path, mut body| {
                if path.ends_with("crl") {
                    *body.last_mut().unwrap() ^= 1;
                }
                good(path, body)
            })
            .await,
            |e| matches!(e, FetchError::Refused(error) if error.what == "AMD's CRL"),
        ),
        (
            "another root",
            amd.kds(others).await,
            |e| matches!(e, FetchError::Refused(error) if error.reason == Reason::QuoteSignature),
        ),
    ];
    let kds = amd.kds(good).await;
    for (what, bad, expected) in cases {
        let service = amd.service(&[&bad.endpoint]);
        let begun = Instant::now();
        let error = within(service.get_amd(SIM, amd.request("a"), LIMIT)).await.unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(4), "{what}: {:?}", begun.elapsed());
        assert_eq!(error.reason(), Reason::Collateral);
        assert!(error.to_string().contains(&bad.endpoint.to_string()), "{what}: {error}");
        let error = refusal(error);
        assert!(expected(&error), "{what}: {error:?}");
        assert!(service.book().amd(SIM).is_empty() && service.export().is_empty(), "{what}");
        // And the next service is asked.
        let service = amd.service(&[&bad.endpoint, &kds.endpoint]);
        within(service.get_amd(SIM, amd.request("a"), LIMIT)).await.unwrap();
    }
    let down = down().await;
    let service = amd.service(&[&down, &kds.endpoint]);
    within(service.get_amd(SIM, amd.request("a"), LIMIT)).await.unwrap();
    assert_eq!(service.counters().fetches(&down.to_string()), (0, 1));
}

#[tokio::test]
async fn a_certificate_of_another_chip_is_not_taken() {
    let amd = Amd::new();
    let platform = Arc::clone(&amd.platform);
    let other = platform.chip_id("other");
    let confusing = amd
        .kds(move |path, body| {
            let vcek = || platform.amd().unwrap().vcek(&other, [3, 0, 0, 0, 0, 0, 8, 115], NOW).unwrap();
            good(path, if path.contains('?') { vcek() } else { body })
        })
        .await;
    let service = amd.service(&[&confusing.endpoint]);
    let error = refusal(within(service.get_amd(SIM, amd.request("a"), LIMIT)).await.unwrap_err());
    assert!(matches!(&error, FetchError::Form { what, .. } if what.contains("another chip")), "{error}");
    assert!(service.book().amd(SIM).is_empty());
}

#[tokio::test]
async fn a_busy_service_is_waited_for_and_then_left_alone() {
    let amd = Amd::new();
    let busy = |wait: &str| Reply::Answer { status: 429, headers: vec![("Retry-After", wait.into())], body: vec![] };
    let turned_away = AtomicBool::new(false);
    let soon = amd
        .kds(move |path, body| match path.contains('?') && !turned_away.swap(true, Ordering::SeqCst) {
            true => busy("1"),
            false => good(path, body),
        })
        .await;
    let begun = Instant::now();
    within(amd.service(&[&soon.endpoint]).get_amd(SIM, amd.request("a"), LIMIT)).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(soon.requests(), 4);

    let later = amd.kds(move |_, _| busy("3600")).await;
    let mut settings = amd.settings(&[&later.endpoint]);
    settings.cache.negative = Duration::ZERO;
    let service = CollateralService::new(settings, amd.roots()).unwrap();
    let error = refusal(within(service.get_amd(SIM, amd.request("a"), LIMIT)).await.unwrap_err());
    assert!(matches!(error, FetchError::Busy { status: 429, .. }), "{error}");
    let error = refusal(within(service.get_amd(SIM, amd.request("a"), LIMIT)).await.unwrap_err());
    assert!(matches!(error, FetchError::Busy { part: "not asked", .. }), "{error}");
    assert_eq!(later.requests(), 1);
}

#[tokio::test]
async fn chips_that_nobody_has_are_bounded() {
    let amd = Amd::new();
    let none = HandMade::start(|_| Reply::status(404)).await;
    let mut settings = amd.settings(&[&none.endpoint]);
    settings.cache.admit_chips_burst = 3;
    settings.cache.admit_chips_every = Duration::from_secs(3600);
    let service = CollateralService::new(settings, amd.roots()).unwrap();
    let (mut asked, mut limited) = (0, 0);
    for i in 0..50u8 {
        let request = SnpRequest { chip_id: Some([i + 1; 64]), ..amd.request("a") };
        match within(service.get_amd(SIM, request, LIMIT)).await.unwrap_err() {
            CollateralError::Services { .. } => asked += 1,
            CollateralError::Limited { limit: 3, .. } => limited += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((asked, limited), (3, 47));
    let hidden = SnpRequest { chip_id: None, ..amd.request("a") };
    let error = service.get_amd(SIM, hidden, LIMIT).await.unwrap_err();
    assert!(matches!(error, CollateralError::HiddenChip { .. }), "{error}");
    let error = service.get_amd(Root::Amd, amd.request("a"), LIMIT).await.unwrap_err();
    assert!(matches!(error, CollateralError::NoRoot(Root::Amd)), "{error}");
}

#[tokio::test]
async fn what_was_kept_serves_after_a_restart_and_in_a_bundle() {
    let amd = Amd::new();
    let folder = tempfile::tempdir().unwrap();
    let files = || walk(folder.path());
    let kds = amd.kds(good).await;
    let mut settings = amd.settings(&[&kds.endpoint]);
    settings.cache.folder = Some(folder.path().into());
    {
        let service = CollateralService::new(settings.clone(), amd.roots()).unwrap();
        for machine in ["a", "b"] {
            within(service.get_amd(SIM, amd.request(machine), LIMIT)).await.unwrap();
        }
        let both =
            || files().first().is_some_and(|file| std::fs::read_to_string(file).is_ok_and(|t| certificates(&t) == 2));
        eventually("the file is written", both).await;
    }
    settings.simulated.clear();
    let service = CollateralService::new(settings.clone(), amd.roots()).unwrap();
    let appraiser = Appraiser::new(amd.roots(), service.book());
    service.get_amd(SIM, amd.request("b"), LIMIT).await.unwrap();
    appraiser.appraise(&amd.evidence("a"), NOW).unwrap();

    let bundle = Bundle::parse(&service.export().to_json()).unwrap();
    let offline = amd.service(&[]);
    assert_eq!(offline.import(&bundle).unwrap(), 1);
    Appraiser::new(amd.roots(), offline.book()).appraise(&amd.evidence("b"), NOW).unwrap();
    let strange = CollateralService::new(amd.settings(&[]), Amd::new().roots()).unwrap();
    let error = strange.import(&bundle).unwrap_err();
    assert!(matches!(error, CollateralError::Refused(_)), "{error}");

    // What was written over is not believed.
    let file = &files()[0];
    let text = std::fs::read_to_string(file).unwrap();
    for bad in [String::new(), "{}".into(), text.replacen("milan", "genoa", 1), text.replacen("30", "31", 40)] {
        std::fs::write(file, bad).unwrap();
        let service = CollateralService::new(settings.clone(), amd.roots()).unwrap();
        assert!(service.book().amd(SIM).is_empty());
        let error = service.get_amd(SIM, amd.request("a"), LIMIT).await.unwrap_err();
        assert!(matches!(error, CollateralError::NoService { root: SIM, .. }), "{error}");
    }
}

#[tokio::test]
async fn newer_lists_are_told_of_and_older_ones_refused() {
    let amd = Amd::new();
    let issued = Arc::new(AtomicUsize::new(10));
    let (platform, at) = (Arc::clone(&amd.platform), Arc::clone(&issued));
    let kds = amd
        .kds(move |path, body| {
            let (amd, at) = (platform.amd().unwrap(), at.load(Ordering::SeqCst));
            // From the twentieth second on it revokes.
            let crl = || amd.crl(at >= 20, Timestamp(NOW.0 + at as u64)).unwrap();
            good(path, if path.ends_with("crl") { crl() } else { body })
        })
        .await;
    let mut settings = amd.settings(&[&kds.endpoint]);
    settings.cache.refresh_every = Duration::from_secs(1);
    settings.cache.refresh_retry = Duration::from_secs(1);
    settings.clock = {
        let begun = Instant::now();
        Clock::new(move || NOW.plus(begun.elapsed() * 20))
    };
    let service = CollateralService::new(settings, amd.roots()).unwrap();
    within(service.get_amd(SIM, amd.request("a"), LIMIT)).await.unwrap();
    let appraiser = Appraiser::new(amd.roots(), service.book());
    let evidence = amd.evidence("a");
    appraiser.appraise(&evidence, NOW).unwrap();
    let mut changes = service.changes();
    changes.borrow_and_update();

    issued.store(5, Ordering::SeqCst);
    eventually("an older list is refused", || service.counters().rollbacks() > 0).await;
    appraiser.appraise(&evidence, NOW).unwrap();
    assert!(!changes.has_changed().unwrap());

    issued.store(20, Ordering::SeqCst);
    within(changes.changed()).await.unwrap();
    let refused = appraiser.appraise(&evidence, NOW).unwrap_err();
    assert!(refused.found.contains("on AMD's CRL"), "{refused}");
}

#[tokio::test]
async fn a_pccs_of_ours_speaks_for_amd_too() {
    let amd = Amd::new();
    let (address, task) =
        start(Arc::new(SimulatedSource::new(&amd.platform, Clock::new(|| NOW))), PccsSettings::default()).await;
    let endpoint = Endpoint::parse_amd(&format!("http://{address}")).unwrap();
    let service = amd.service(&[&endpoint]);
    within(service.get_amd(SIM, amd.request("a"), LIMIT)).await.unwrap();

    // A cache in front of it, and a verifier in front of that.
    let (cache, second) = start(service.source(SIM), PccsSettings::default()).await;
    let cached = amd.service(&[&Endpoint::parse_amd(&format!("http://{cache}")).unwrap()]);
    within(cached.get_amd(SIM, amd.request("b"), LIMIT)).await.unwrap();
    task.abort();
    within(amd.service(&[&Endpoint::parse_amd(&format!("http://{cache}")).unwrap()]).get_amd(
        SIM,
        amd.request("a"),
        LIMIT,
    ))
    .await
    .unwrap();
    second.abort();
}

/// AMD's own: a report of Milan's, replayed at a time when its certificates were valid. There is no list of that time among
/// the vectors, so that the chain is what is shown: found by chip and TCB, and refused without the list.
#[tokio::test]
async fn a_real_report() {
    let Some(folder) = std::env::var_os("ATTEST_VECTORS") else {
        println!("a_real_report: skipped, ATTEST_VECTORS is not set");
        return;
    };
    let read = move |name: &str| std::fs::read(Path::new(&folder).join("snp").join(name)).unwrap();
    let report = hex::decode(read("report_milan.hex")).unwrap();
    let now: Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
    let (vcek, chain) = (read("vcek_milan.der"), read("cert_chain_milan"));
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let kds = HandMade::start(move |path| {
        seen.lock().unwrap().push(path.to_owned());
        match path {
            "/vcek/v1/Milan/cert_chain" => good(path, chain.clone()),
            path if path.contains("/Milan/") && path.contains('?') => good(path, vcek.clone()),
            _ => Reply::status(404),
        }
    })
    .await;
    let settings = CollateralSettings {
        amd: vec![kds.endpoint.clone()],
        fetch: fetch_settings(),
        clock: Clock::new(move || now),
        ..CollateralSettings::default()
    };
    let service = CollateralService::new(settings, TrustRoots::vendors()).unwrap();
    let request = SnpRequest::of(&report).unwrap();
    let chip = hex::encode(request.chip_id.unwrap());
    let error = refusal(within(service.get_amd(Root::Amd, request, LIMIT)).await.unwrap_err());
    assert!(matches!(error, FetchError::Status { part: "AMD's CRL", status: 404 }), "{error}");
    let asked = asked.lock().unwrap().clone();
    assert!(asked.contains(&format!("/vcek/v1/Milan/{chip}?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115")), "{asked:?}");
    let appraiser = Appraiser::new(TrustRoots::vendors(), service.book());
    let refused = appraiser.appraise_quote(EvidenceTag::SevSnp, &report, now).unwrap_err();
    assert_eq!((refused.reason, refused.found.as_str()), (Reason::Collateral, "none at hand"));
}

fn certificates(json: &str) -> usize {
    AmdSet::from_json(json.as_bytes()).map_or(0, |set| set.certificates.len())
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files
}
