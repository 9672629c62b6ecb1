//! What a good service hands out, in every form there is.

use std::sync::Arc;

use inclavared_attest::Timestamp;
use inclavared_attest::appraise::{Root, TrustRoots};
use inclavared_attest::evidence::Tee;
use inclavared_collateral::{
    CollateralError, EndpointFailure, FetchError, FetchSettings, Fetcher, PccsSettings, TcbUpdate, TlsTrust,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::support::{
    HandMade, NOW, Pccs, Reply, World, assert_same, fetch_settings, old_pccs, sample, simulated, within,
};

#[tokio::test]
async fn whole_sets_from_a_pccs_of_ours() {
    let world = World::new();
    let pccs = world.pccs().await;
    let fetcher = Fetcher::new(fetch_settings());
    for tee in [Tee::Sgx, Tee::Tdx] {
        let roots = world.roots();
        let fetch = fetcher.fetch(std::slice::from_ref(&pccs.endpoint), world.id(tee), simulated(&roots), NOW);
        let set = within(fetch).await.unwrap();
        assert_same(&set, &world.set(tee));
    }
    assert_eq!(pccs.asked(), 8, "four parts a set");
}

#[tokio::test]
async fn an_old_pccs_in_hexadecimal_with_the_headers_of_version_3() {
    let world = World::new();
    let service = HandMade::start(old_pccs(&world.set(Tee::Tdx))).await;
    let roots = world.roots();
    let fetcher = Fetcher::new(fetch_settings());
    let fetch = fetcher.fetch(std::slice::from_ref(&service.endpoint), world.id(Tee::Tdx), simulated(&roots), NOW);
    assert_same(&within(fetch).await.unwrap(), &world.set(Tee::Tdx));
}

#[tokio::test]
async fn genuine_collateral_at_its_time() {
    for (name, now) in [
        ("sgx_quote_collateral.json", "2025-07-01T00:00:00Z"),
        ("tdx_quote_collateral.json", "2025-07-01T00:00:00Z"),
        ("tdx_quote_outdated_collateral.json", "2026-03-01T00:00:00Z"),
    ] {
        let set = sample(name);
        let now: Timestamp = now.parse().unwrap();
        let service = HandMade::start(old_pccs(&set)).await;
        let roots = TrustRoots::intel();
        let intel = roots.der(Root::Intel).unwrap();
        let endpoints = std::slice::from_ref(&service.endpoint);
        let fetcher = Fetcher::new(fetch_settings());
        let fetched = within(fetcher.fetch(endpoints, set.id(), intel, now)).await.unwrap();
        assert_eq!(fetched.digest(), set.digest(), "{name}");

        // Under another root, or at another time, it is nothing.
        let world = World::new();
        let under = |root: Vec<u8>, now| {
            let fetcher = &fetcher;
            async move { refusal(within(fetcher.fetch(endpoints, set.id(), &root, now)).await.unwrap_err()) }
        };
        let error = under.clone()(world.platform.root_der().to_vec(), now).await;
        assert!(matches!(&error, FetchError::Refused(e) if e.what == "root CA CRL"), "{error}");
        let error = under(intel.to_vec(), Timestamp(now.0 + 90 * 86_400)).await;
        assert!(matches!(&error, FetchError::Refused(e) if e.reason == inclavared_attest::Reason::Expired), "{error}");
    }
}

#[tokio::test]
async fn over_tls_under_a_ca_that_was_named() {
    let world = World::new();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let der = certified.cert.der().to_vec();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let settings = PccsSettings { tls: Some(Arc::new(tls)), ..PccsSettings::default() };
    let pccs = Pccs::start_with(vec![Arc::new(world.set(Tee::Sgx))], world.clock(), settings, "https").await;
    let roots = world.roots();
    let fetch = |tls: TlsTrust| {
        let fetcher = Fetcher::new(FetchSettings { tls, ..fetch_settings() });
        let (endpoint, id, root) = (pccs.endpoint.clone(), world.id(Tee::Sgx), simulated(&roots).to_vec());
        async move { within(fetcher.fetch(&[endpoint], id, &root, NOW)).await }
    };

    let named = TlsTrust { system: false, roots: vec![der], danger_accept_any_certificate: false };
    assert_same(&fetch(named).await.unwrap(), &world.set(Tee::Sgx));
    let any = TlsTrust { system: false, roots: Vec::new(), danger_accept_any_certificate: true };
    fetch(any).await.unwrap();

    let nobody = TlsTrust { system: false, roots: Vec::new(), danger_accept_any_certificate: false };
    let error = refusal(fetch(nobody).await.unwrap_err());
    assert!(matches!(error, FetchError::Trust(_)), "{error}");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.der().to_vec();
    let others = TlsTrust { system: false, roots: vec![other], danger_accept_any_certificate: false };
    let error = refusal(fetch(others).await.unwrap_err());
    assert!(matches!(error, FetchError::Tls { .. }), "{error}");
}

#[tokio::test]
async fn the_early_baseline_is_asked_for_by_name() {
    let world = World::new();
    let set = old_pccs(&world.set(Tee::Sgx));
    let service = HandMade::start(move |path| match path.strip_suffix("update=early") {
        Some(path) => set(path.trim_end_matches(['?', '&'])),
        None if path.contains("crl") => set(path),
        None => Reply::status(400),
    })
    .await;
    let roots = world.roots();
    let endpoints = std::slice::from_ref(&service.endpoint);
    let early = Fetcher::new(FetchSettings { tcb_update: TcbUpdate::Early, ..fetch_settings() });
    within(early.fetch(endpoints, world.id(Tee::Sgx), simulated(&roots), NOW)).await.unwrap();
    let standard = Fetcher::new(fetch_settings());
    let error = within(standard.fetch(endpoints, world.id(Tee::Sgx), simulated(&roots), NOW)).await.unwrap_err();
    assert!(matches!(refusal(error), FetchError::Status { status: 400, .. }));
}

/// What the only service did.
pub(crate) fn refusal(error: CollateralError) -> FetchError {
    match error {
        CollateralError::Services { failures, .. } => match &*failures {
            [EndpointFailure { error, .. }] => error.clone(),
            more => panic!("{more:?}"),
        },
        other => panic!("{other}"),
    }
}
