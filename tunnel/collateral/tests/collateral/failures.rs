//! Services that are down, slow, lying, endless or confused: each has its typed error, takes no longer than it may, and
//! the next service is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use inclavared_attest::Reason;
use inclavared_attest::evidence::Tee;
use inclavared_attest::sim::{CollateralSpec, SimPlatform};
use inclavared_collateral::{CollateralError, Endpoint, FetchError, FetchSettings, Fetcher};

use crate::fetch::refusal;
use crate::support::{
    HandMade, NOW, Pccs, Reply, World, assert_same, down, fetch_settings, old_pccs, simulated, within,
};

fn quick() -> FetchSettings {
    FetchSettings {
        request_deadline: Duration::from_millis(400),
        set_deadline: Duration::from_secs(5),
        max_part: 100_000,
        ..fetch_settings()
    }
}

/// Asks one bad service, then the bad one and a good one after it.
async fn check(world: &World, bad: &Endpoint, expected: impl Fn(&FetchError) -> bool) {
    let good = world.pccs().await;
    let roots = world.roots();
    let (id, root) = (world.id(Tee::Sgx), simulated(&roots));
    let begin = Instant::now();
    let error = within(Fetcher::new(quick()).fetch(std::slice::from_ref(bad), id, root, NOW)).await.unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}: {error}", begin.elapsed());
    assert!(error.to_string().contains(&bad.to_string()), "{error}");
    assert_eq!(error.reason(), Reason::Collateral);
    let error = refusal(error);
    assert!(expected(&error), "{error:?}");

    let both = [bad.clone(), good.endpoint.clone()];
    let set = within(Fetcher::new(quick()).fetch(&both, id, root, NOW)).await.unwrap();
    assert_same(&set, &world.set(Tee::Sgx));
}

#[tokio::test]
async fn down_and_silent() {
    let world = World::new();
    check(&world, &down().await, |error| matches!(error, FetchError::Connect { .. })).await;

    let silent = HandMade::start(|_| Reply::Silence).await;
    check(&world, &silent.endpoint, |error| matches!(error, FetchError::Deadline { .. })).await;
    let dripping = HandMade::start(|_| Reply::Drip).await;
    check(&world, &dripping.endpoint, |error| matches!(error, FetchError::Deadline { .. })).await;

    let nowhere = Endpoint::parse("http://host.invalid:1/").unwrap().0;
    check(&world, &nowhere, |error| matches!(error, FetchError::PlainHttp)).await;
    let nowhere = Endpoint::parse("https://host.invalid:1/").unwrap().0;
    check(&world, &nowhere, |error| {
        matches!(error, FetchError::Connect { .. } | FetchError::Trust(_) | FetchError::Deadline { .. })
    })
    .await;
}

#[tokio::test]
async fn endless_and_confused() {
    let world = World::new();
    let endless = HandMade::start(|_| Reply::Endless).await;
    check(&world, &endless.endpoint, |error| matches!(error, FetchError::TooLarge { limit: 100_000, .. })).await;

    for bytes in [&b""[..], b"\0\0", b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nshort"] {
        let confused = HandMade::start(move |_| Reply::Bytes(bytes)).await;
        check(&world, &confused.endpoint, |error| matches!(error, FetchError::Http { .. })).await;
    }
    for status in [301, 400, 404, 461, 500, 502] {
        let refusing = HandMade::start(move |_| Reply::status(status)).await;
        check(
            &world,
            &refusing.endpoint,
            |error| matches!(error, FetchError::Status { status: s, .. } if *s == status),
        )
        .await;
    }

    // One part of a good set is spoilt.
    type Spoil = fn(&str, Reply) -> Reply;
    let spoils: [(&str, Spoil); 5] = [
        ("pckcrl", |_, _| Reply::Answer { status: 200, headers: Vec::new(), body: b"3030".to_vec() }),
        ("tcb?", |_, reply| match reply {
            Reply::Answer { headers, .. } => Reply::Answer { status: 200, headers, body: b"<html>".to_vec() },
            other => other,
        }),
        ("tcb?", |_, reply| match reply {
            Reply::Answer { body, .. } => Reply::Answer { status: 200, headers: Vec::new(), body },
            other => other,
        }),
        ("qe/identity", |_, reply| match reply {
            Reply::Answer { body, .. } => {
                let headers = vec![("SGX-Enclave-Identity-Issuer-Chain", "%zz".to_owned())];
                Reply::Answer { status: 200, headers, body }
            }
            other => other,
        }),
        ("rootcacrl", |_, _| Reply::Answer { status: 200, headers: Vec::new(), body: b"not a CRL".to_vec() }),
    ];
    for (part, spoil) in spoils {
        let set = old_pccs(&world.set(Tee::Sgx));
        let service =
            HandMade::start(move |path| if path.contains(part) { spoil(path, set(path)) } else { set(path) }).await;
        check(&world, &service.endpoint, |error| matches!(error, FetchError::Form { .. })).await;
    }
}

#[tokio::test]
async fn lying() {
    let world = World::new();
    // Another root, with a set for the very platform.
    let other = SimPlatform::generate(NOW).unwrap();
    let spec = CollateralSpec { fmspc: Some(world.platform.fmspc()), ..CollateralSpec::at(Tee::Sgx, NOW) };
    let others = Arc::new(other.collateral_with(&spec).unwrap());
    let service = Pccs::start(vec![others], world.clock()).await;
    check(&world, &service.endpoint, |error| matches!(error, FetchError::Refused(e) if e.reason == Reason::Collateral))
        .await;

    // A signature that does not cover what is said.
    let set = old_pccs(&world.set(Tee::Sgx));
    let service = HandMade::start(move |path| match set(path) {
        Reply::Answer { status, headers, body } if path.contains("tcb?") => {
            let text = String::from_utf8(body).unwrap().replacen("OutOfDate", "UpToDate", 1);
            Reply::Answer { status, headers, body: text.into() }
        }
        reply => reply,
    })
    .await;
    check(&world, &service.endpoint, |error| matches!(error, FetchError::Refused(e) if e.what == "TCB info")).await;

    // A set for another model, and one that has expired.
    let service = HandMade::start(old_pccs(&world.model([7; 6]))).await;
    check(&world, &service.endpoint, |error| matches!(error, FetchError::OtherSet { found } if found.fmspc == [7; 6]))
        .await;
    let service = HandMade::start(old_pccs(&world.later(-40 * 86_400))).await;
    check(&world, &service.endpoint, |error| matches!(error, FetchError::Refused(e) if e.reason == Reason::Expired))
        .await;
}

#[tokio::test]
async fn every_service_is_named_in_one_message_and_shares_the_time() {
    let world = World::new();
    let silent = [HandMade::start(|_| Reply::Silence).await, HandMade::start(|_| Reply::Silence).await];
    let refusing = HandMade::start(|_| Reply::status(500)).await;
    let endpoints = [&silent[0], &refusing, &silent[1]].map(|service| service.endpoint.clone());
    let settings = FetchSettings {
        request_deadline: Duration::from_secs(60),
        set_deadline: Duration::from_millis(900),
        ..fetch_settings()
    };
    let roots = world.roots();
    let begin = Instant::now();
    let fetcher = Fetcher::new(settings);
    let fetch = fetcher.fetch(&endpoints, world.id(Tee::Sgx), simulated(&roots), NOW);
    let error = within(fetch).await.unwrap_err();
    assert!((Duration::from_millis(850)..Duration::from_secs(2)).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    let CollateralError::Services { failures, .. } = &error else { panic!("{error}") };
    assert!(
        matches!(
            failures.iter().map(|failure| &failure.error).collect::<Vec<_>>()[..],
            [FetchError::Deadline { .. }, FetchError::Status { status: 500, .. }, FetchError::Deadline { .. }]
        ),
        "{error}"
    );
    let message = error.to_string();
    for endpoint in &endpoints {
        assert!(message.contains(&endpoint.to_string()), "{message}");
    }
    assert!(!message.contains('\n'));
}

#[tokio::test]
async fn a_busy_service_is_waited_for_and_then_left_alone() {
    let world = World::new();
    let (roots, id) = (world.roots(), world.id(Tee::Sgx));
    let busy =
        |wait: &str| Reply::Answer { status: 429, headers: vec![("Retry-After", wait.to_owned())], body: Vec::new() };

    // Once a second later is within the bounds.
    let set = old_pccs(&world.set(Tee::Sgx));
    let turned_away = AtomicUsize::new(0);
    let soon = HandMade::start(move |path| {
        if path.contains("tcb?") && turned_away.fetch_add(1, Ordering::SeqCst) == 0 { busy("1") } else { set(path) }
    })
    .await;
    let begin = Instant::now();
    let endpoints = std::slice::from_ref(&soon.endpoint);
    within(Fetcher::new(fetch_settings()).fetch(endpoints, id, simulated(&roots), NOW)).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(soon.requests(), 5);

    // An hour is not, nor is for ever; nobody asks again meanwhile.
    let later = HandMade::start(move |_| busy("3600")).await;
    let fetcher = Fetcher::new(fetch_settings());
    let endpoints = std::slice::from_ref(&later.endpoint);
    let begin = Instant::now();
    let error = refusal(within(fetcher.fetch(endpoints, id, simulated(&roots), NOW)).await.unwrap_err());
    assert!(begin.elapsed() < Duration::from_secs(1));
    let hour = Duration::from_secs(3600);
    assert!(matches!(error, FetchError::Busy { status: 429, wait, .. } if wait == hour), "{error}");
    let asked = later.requests();
    let error = refusal(within(fetcher.fetch(endpoints, id, simulated(&roots), NOW)).await.unwrap_err());
    assert!(matches!(error, FetchError::Busy { part: "not asked", status: 429, .. }), "{error}");
    assert_eq!(later.requests(), asked);
    let good = world.pccs().await;
    let both = [later.endpoint.clone(), good.endpoint.clone()];
    within(fetcher.fetch(&both, id, simulated(&roots), NOW)).await.unwrap();
}
