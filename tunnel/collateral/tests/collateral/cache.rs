//! What is kept, for how long, and what is not let in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use inclavared_attest::appraise::{CollateralId, PckCa, Root};
use inclavared_attest::evidence::Tee;
use inclavared_attest::sim::COLLATERAL_VALIDITY;
use inclavared_attest::{Reason, Timestamp};
use inclavared_collateral::{Bundle, CollateralError, CollateralService, FetchError};

use crate::fetch::refusal;
use crate::support::{HandMade, LIMIT, NOW, Pccs, Reply, World, assert_same, down, eventually, old_pccs, within};

const SIM: Root = Root::Simulated;

#[tokio::test]
async fn many_callers_are_one_fetch() {
    let world = World::new();
    let pccs = world.pccs().await;
    let service = Arc::new(CollateralService::new(world.settings(&[&pccs.endpoint]), world.roots()).unwrap());
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let (service, id) = (Arc::clone(&service), world.id(Tee::Sgx));
            tokio::spawn(async move { service.get(SIM, id, LIMIT).await })
        })
        .collect();
    for caller in callers {
        assert_same(&caller.await.unwrap().unwrap(), &world.set(Tee::Sgx));
    }
    assert_eq!(pccs.asked(), 4);
    assert!(service.book().get(SIM, world.id(Tee::Sgx)).is_some());
    assert!(service.book().get(Root::Intel, world.id(Tee::Sgx)).is_none());
    assert!(!service.changes().has_changed().unwrap(), "a first set changes nothing that is alive");
}

#[tokio::test]
async fn a_caller_that_goes_away_stops_nothing() {
    let world = World::new();
    let set = old_pccs(&world.set(Tee::Sgx));
    let slow = HandMade::start(move |path| Reply::Late(Duration::from_millis(300), Box::new(set(path)))).await;
    let service = CollateralService::new(world.settings(&[&slow.endpoint]), world.roots()).unwrap();
    let limit = Duration::from_millis(50);
    let error = service.get(SIM, world.id(Tee::Sgx), limit).await.unwrap_err();
    assert!(matches!(error, CollateralError::Deadline { .. }), "{error}");
    let book = service.book();
    eventually("the set arrives", || book.get(SIM, world.id(Tee::Sgx)).is_some()).await;
    assert_eq!(slow.requests(), 4);
}

#[tokio::test]
async fn what_was_kept_serves_after_a_restart() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let id = world.id(Tee::Sgx);
    {
        let pccs = world.pccs().await;
        let mut settings = world.settings(&[&pccs.endpoint]);
        settings.cache.folder = Some(folder.path().into());
        let service = CollateralService::new(settings, world.roots()).unwrap();
        within(service.get(SIM, id, LIMIT)).await.unwrap();
        eventually("the file is written", || files(folder.path()).len() == 1).await;
    }
    let mut settings = world.settings(&[]);
    settings.cache.folder = Some(folder.path().into());
    let service = CollateralService::new(settings.clone(), world.roots()).unwrap();
    let set = service.get(SIM, id, LIMIT).await.unwrap();
    assert_same(&set, &world.set(Tee::Sgx));

    // Another simulated platform, which has nothing to do with that file.
    let other = World::new();
    let service = CollateralService::new(settings.clone(), other.roots()).unwrap();
    assert!(service.book().all().is_empty());

    // A file that was written over is not believed.
    let file = &files(folder.path())[0];
    let good = std::fs::read_to_string(file).unwrap();
    for bad in [String::new(), "{}".into(), good.replacen("UpToDate", "Revoked", 1)] {
        std::fs::write(file, bad).unwrap();
        let service = CollateralService::new(settings.clone(), world.roots()).unwrap();
        assert!(service.book().all().is_empty());
        let error = service.get(SIM, id, LIMIT).await.unwrap_err();
        assert!(matches!(error, CollateralError::NoService { root: SIM, .. }), "{error}");
    }

    // Nor is what has expired meanwhile, but it still says how new the next one has to be.
    std::fs::write(file, good).unwrap();
    let later = NOW.plus(COLLATERAL_VALIDITY);
    world.set_clock(later);
    let old = Pccs::start(vec![world.later(-1)], World::new().clock()).await;
    settings.simulated = vec![old.endpoint.clone()];
    let service = CollateralService::new(settings, world.roots()).unwrap();
    assert!(service.book().all().is_empty());
    world.set_clock(Timestamp(NOW.0 + 60));
    let error = refusal(within(service.get(SIM, id, LIMIT)).await.unwrap_err());
    assert!(matches!(error, FetchError::Rollback(_)), "{error}");
}

#[tokio::test]
async fn newer_sets_are_told_of_and_older_ones_refused() {
    let world = World::new();
    let pccs = world.pccs().await;
    let mut settings = world.settings(&[&pccs.endpoint]);
    // Due at once: the refresher fetches as soon as the clock has moved.
    settings.cache.refresh_every = Duration::from_secs(10);
    settings.cache.refresh_retry = Duration::from_secs(10);
    let service = CollateralService::new(settings, world.roots()).unwrap();
    let id = world.id(Tee::Sgx);
    within(service.get(SIM, id, LIMIT)).await.unwrap();
    let mut changes = service.changes();
    let (old, new) = (world.later(-5), world.later(5));

    // The same set again is no change; asked for by nobody, ahead of its end.
    world.set_clock(NOW.plus(Duration::from_secs(13)));
    service.insert(SIM, Arc::new(world.set(Tee::Tdx))).unwrap();
    eventually("a refresh", || pccs.asked() >= 8).await;
    assert!(!changes.has_changed().unwrap());

    pccs.serve_instead(vec![Arc::clone(&new)]);
    world.set_clock(NOW.plus(Duration::from_secs(40)));
    service.insert(SIM, Arc::new(world.set(Tee::Tdx))).unwrap();
    within(changes.changed()).await.unwrap();
    assert_eq!(*changes.borrow_and_update(), 1);
    assert_eq!(service.get(SIM, id, LIMIT).await.unwrap().digest(), new.digest());

    // A service that goes back in time: what is at hand stays, and stays good.
    pccs.serve_instead(vec![Arc::clone(&old)]);
    let asked = pccs.asked();
    world.set_clock(NOW.plus(Duration::from_secs(90)));
    service.insert(SIM, Arc::new(world.set(Tee::Tdx))).unwrap();
    eventually("a refresh", || pccs.asked() >= asked + 4).await;
    assert_eq!(service.get(SIM, id, LIMIT).await.unwrap().digest(), new.digest());
    let refused = service.insert(SIM, old).unwrap_err();
    assert!(matches!(&refused, CollateralError::Rollback { what, .. } if what.contains("TCB info")), "{refused}");
    assert_eq!(*changes.borrow(), 1);
}

#[tokio::test]
async fn a_service_that_is_down_does_no_harm_until_the_end() {
    let world = World::new();
    let down = down().await;
    let service = CollateralService::new(world.settings(&[&down]), world.roots()).unwrap();
    service.insert(SIM, Arc::new(world.set(Tee::Sgx))).unwrap();
    let id = world.id(Tee::Sgx);
    let expires = world.set(Tee::Sgx).expires();
    world.set_clock(Timestamp(expires.0 - 1));
    service.get(SIM, id, LIMIT).await.unwrap();
    world.set_clock(expires);
    let error = refusal(within(service.get(SIM, id, LIMIT)).await.unwrap_err());
    assert!(matches!(error, FetchError::Connect { .. }), "{error}");

    let nobody = CollateralService::new(world.settings(&[]), world.roots()).unwrap();
    world.set_clock(NOW);
    nobody.insert(SIM, Arc::new(world.set(Tee::Sgx))).unwrap();
    world.set_clock(expires);
    let error = nobody.get(SIM, id, LIMIT).await.unwrap_err();
    assert!(matches!(error, CollateralError::Expired { expired, .. } if expired == expires), "{error}");
}

#[tokio::test]
async fn failures_answer_for_a_moment() {
    let world = World::new();
    let refusing = HandMade::start(|_| Reply::status(500)).await;
    let mut settings = world.settings(&[&refusing.endpoint]);
    settings.cache.negative = Duration::from_millis(300);
    let service = CollateralService::new(settings, world.roots()).unwrap();
    let id = world.id(Tee::Sgx);
    for _ in 0..20 {
        let error = refusal(within(service.get(SIM, id, LIMIT)).await.unwrap_err());
        assert!(matches!(error, FetchError::Status { status: 500, .. }), "{error}");
    }
    let first = refusing.requests();
    assert!((1..=4).contains(&first), "{first}");
    tokio::time::sleep(Duration::from_millis(350)).await;
    within(service.get(SIM, id, LIMIT)).await.unwrap_err();
    assert!(refusing.requests() > first);
}

#[tokio::test]
async fn a_flood_of_unknown_models_is_bounded() {
    let world = World::new();
    let refusing = HandMade::start(|_| Reply::status(404)).await;
    let mut settings = world.settings(&[&refusing.endpoint]);
    settings.cache.admit_burst = 5;
    settings.cache.admit_every = Duration::from_secs(3600);
    let service = CollateralService::new(settings, world.roots()).unwrap();
    service.insert(SIM, Arc::new(world.set(Tee::Sgx))).unwrap();
    let (mut asked, mut limited) = (0, 0);
    for i in 0..1000u16 {
        let [a, b] = i.to_be_bytes();
        let id = CollateralId { tee: Tee::Sgx, fmspc: [9, 9, 9, 9, a, b], ca: PckCa::Platform };
        match within(service.get(SIM, id, LIMIT)).await.unwrap_err() {
            CollateralError::Services { .. } => asked += 1,
            error @ CollateralError::Limited { limit: 5, .. } => {
                assert_eq!(error.reason(), Reason::Overload);
                limited += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!((asked, limited), (5, 995));
    assert!(refusing.requests() <= 5 * 4, "{}", refusing.requests());
    // What is known is served all the while.
    service.get(SIM, world.id(Tee::Sgx), LIMIT).await.unwrap();

    // So is what is under way at once.
    let silent = HandMade::start(|_| Reply::Silence).await;
    let mut settings = world.settings(&[&silent.endpoint]);
    settings.cache.max_fetches = 2;
    let service = CollateralService::new(settings, world.roots()).unwrap();
    let begin = Instant::now();
    for i in 0..4 {
        let id = CollateralId { tee: Tee::Tdx, fmspc: [i; 6], ca: PckCa::Platform };
        let error = service.get(SIM, id, Duration::from_millis(20)).await.unwrap_err();
        match (i, error) {
            (0 | 1, CollateralError::Deadline { .. }) | (2 | 3, CollateralError::Limited { limit: 2, .. }) => (),
            (i, other) => panic!("{i}: {other}"),
        }
    }
    assert!(begin.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn so_much_is_kept_and_no_more() {
    let world = World::new();
    let models: Vec<_> = (1..=3).map(|i| world.model([i; 6])).collect();
    let pccs = Pccs::start(models.clone(), world.clock()).await;
    let folder = tempfile::tempdir().unwrap();
    let mut settings = world.settings(&[&pccs.endpoint]);
    settings.cache.max_sets = 2;
    settings.cache.folder = Some(folder.path().into());

    // In use: the third finds no room, and the two stay.
    let service = CollateralService::new(settings.clone(), world.roots()).unwrap();
    for model in &models[..2] {
        within(service.get(SIM, model.id(), LIMIT)).await.unwrap();
    }
    let error = within(service.get(SIM, models[2].id(), LIMIT)).await.unwrap_err();
    assert!(matches!(error, CollateralError::Limited { limit: 2, .. }), "{error}");
    assert_eq!(service.book().all().len(), 2);
    eventually("files", || files(folder.path()).len() == 2).await;
    drop(service);

    // Not in use: the one that nobody has asked for the longest makes room.
    settings.cache.in_use = Duration::ZERO;
    let service = CollateralService::new(settings.clone(), world.roots()).unwrap();
    for model in [&models[0], &models[1], &models[0], &models[2]] {
        within(service.get(SIM, model.id(), LIMIT)).await.unwrap();
    }
    let book = service.book();
    assert_eq!([0, 1, 2].map(|i| book.get(SIM, models[i].id()).is_some()), [true, false, true]);
    eventually("files", || files(folder.path()).len() == 2).await;
    drop(service);

    // By bytes as well; what was pinned stays, whoever else comes.
    let set = models[0].as_set();
    settings.cache.folder = None;
    settings.cache.max_sets = 9;
    let chains = set.pck_crl_issuer_chain.len() + set.tcb_info_issuer_chain.len() + set.qe_identity_issuer_chain.len();
    let crls = set.pck_crl.len() + set.root_ca_crl.len();
    // Two of them, and half of a third.
    settings.cache.max_bytes = 5 * (chains + crls + set.tcb_info.len() + set.qe_identity.len()) / 2;
    let service = CollateralService::new(settings.clone(), world.roots()).unwrap();
    service.insert(SIM, Arc::clone(&models[0])).unwrap();
    for i in 0..6 {
        within(service.get(SIM, models[1 + i % 2].id(), LIMIT)).await.unwrap();
        assert_eq!(service.book().all().len(), 2);
        assert!(service.book().get(SIM, models[0].id()).is_some());
    }
    service.insert(SIM, Arc::clone(&models[1])).unwrap();
    let error = service.insert(SIM, Arc::clone(&models[2])).unwrap_err();
    let limit = settings.cache.max_bytes;
    assert!(matches!(error, CollateralError::Limited { limit: l, .. } if l == limit), "{error}");
}

#[tokio::test]
async fn what_is_not_asked_of_anybody() {
    let world = World::new();
    let pccs = world.pccs().await;
    let settings = world.settings(&[&pccs.endpoint]);
    let service = CollateralService::new(settings, inclavared_attest::appraise::TrustRoots::intel()).unwrap();
    let id = world.id(Tee::Sgx);
    let error = service.get(SIM, id, LIMIT).await.unwrap_err();
    assert!(matches!(error, CollateralError::NoRoot(SIM)), "{error}");
    assert_eq!(error.reason(), Reason::Simulated);
    let error = service.get(Root::Intel, id, LIMIT).await.unwrap_err();
    assert!(matches!(error, CollateralError::NoService { root: Root::Intel, .. }), "{error}");
    let snp = CollateralId { tee: Tee::SevSnp, ..id };
    let error = service.get(Root::Intel, snp, LIMIT).await.unwrap_err();
    assert!(matches!(error, CollateralError::Unsupported(_)), "{error}");
    let error = service.insert(Root::Intel, Arc::new(world.set(Tee::Sgx))).unwrap_err();
    assert!(matches!(&error, CollateralError::Refused(e) if e.reason == Reason::Collateral), "{error}");
    assert_eq!(pccs.asked(), 0);
    assert!(service.book().all().is_empty());
}

#[tokio::test]
async fn a_bundle_takes_collateral_to_where_no_service_is() {
    let world = World::new();
    let pccs = world.pccs().await;
    let online = CollateralService::new(world.settings(&[&pccs.endpoint]), world.roots()).unwrap();
    for tee in [Tee::Sgx, Tee::Tdx] {
        within(online.get(SIM, world.id(tee), LIMIT)).await.unwrap();
    }
    let bundle = Bundle::parse(&online.export().to_json()).unwrap();

    let offline = CollateralService::new(world.settings(&[]), world.roots()).unwrap();
    assert_eq!(offline.import(&bundle).unwrap(), 2);
    offline.get(SIM, world.id(Tee::Tdx), LIMIT).await.unwrap();
    // An older bundle takes nothing back, and a foreign one brings nothing in.
    let older = Bundle::new(NOW, vec![(SIM, world.later(-9))]);
    assert_eq!(offline.import(&older).unwrap(), 0);
    let foreign = Bundle::new(NOW, vec![(SIM, world.later(9)), (SIM, Arc::new(World::new().set(Tee::Sgx)))]);
    let error = offline.import(&foreign).unwrap_err();
    assert!(matches!(error, CollateralError::Refused(_)), "{error}");
    assert_same(&offline.get(SIM, world.id(Tee::Sgx), LIMIT).await.unwrap(), &world.set(Tee::Sgx));
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files
}
