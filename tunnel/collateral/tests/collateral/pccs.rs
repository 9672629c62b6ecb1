//! Our server as Intel's libraries meet it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use inclavared_attest::appraise::Root;
use inclavared_attest::evidence::Tee;
use inclavared_collateral::{Clock, CollateralService, Fetcher, PccsSettings, SimulatedSource};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{
    HandMade, NOW, Pccs, Reply, World, assert_same, endpoint, fetch_settings, simulated, start, within,
};

struct Got {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Got {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

async fn send(address: SocketAddr, request: &str) -> Got {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    within(stream.read_to_end(&mut bytes)).await.unwrap();
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Got { status, head, body: bytes[end + 4..].to_vec() }
}

async fn get(address: SocketAddr, path: &str) -> Got {
    send(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await
}

#[tokio::test]
async fn the_resources_of_both_versions() {
    let world = World::new();
    let pccs = world.pccs().await;
    let (sgx, tdx) = (world.set(Tee::Sgx), world.set(Tee::Tdx));
    let fmspc = hex::encode(world.platform.fmspc());
    let chain = |pem: &str| {
        pem.replace('\n', "%0A").replace(' ', "%20").replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
    };

    for version in ["v3", "v4"] {
        let got = get(pccs.address, &format!("/sgx/certification/{version}/pckcrl?ca=platform&encoding=der")).await;
        assert_eq!(got.status, 200);
        let newest = [&sgx, &tdx].into_iter().find(|set| set.as_set().pck_crl == got.body);
        let newest = newest.expect("the CRL of one of the two sets");
        assert_eq!(got.header("SGX-PCK-CRL-Issuer-Chain"), Some(&*chain(&sgx.as_set().pck_crl_issuer_chain)));
        let got = get(pccs.address, &format!("/sgx/certification/{version}/pckcrl?ca=platform")).await;
        assert_eq!(got.body, hex::encode(&newest.as_set().pck_crl).into_bytes());
        let got = get(pccs.address, &format!("/sgx/certification/{version}/rootcacrl")).await;
        assert_eq!(got.body, hex::encode(&newest.as_set().root_ca_crl).into_bytes());

        let got = get(pccs.address, &format!("/sgx/certification/{version}/tcb?fmspc={}", fmspc.to_uppercase())).await;
        let signature = hex::encode(&sgx.as_set().tcb_info_signature);
        let expected = format!("{{\"tcbInfo\":{},\"signature\":\"{signature}\"}}", sgx.as_set().tcb_info);
        assert_eq!(got.body, expected.into_bytes());
        assert_eq!(got.header("Content-Type"), Some("application/json"));
        let (name, other) = match version {
            "v3" => ("SGX-TCB-Info-Issuer-Chain", "TCB-Info-Issuer-Chain"),
            _ => ("TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"),
        };
        assert_eq!(got.header(name), Some(&*chain(&sgx.as_set().tcb_info_issuer_chain)));
        assert_eq!(got.header(other), None);

        let got = get(pccs.address, &format!("/sgx/certification/{version}/qe/identity")).await;
        assert!(got.body.starts_with(b"{\"enclaveIdentity\":{"));
        assert!(got.header("SGX-Enclave-Identity-Issuer-Chain").is_some());
    }
    let got = get(pccs.address, &format!("/tdx/certification/v4/tcb?fmspc={fmspc}&update=standard")).await;
    assert!(String::from_utf8(got.body).unwrap().contains(&tdx.as_set().tcb_info));
    let got = get(pccs.address, "/tdx/certification/v4/qe/identity").await;
    assert!(String::from_utf8(got.body).unwrap().contains(&tdx.as_set().qe_identity));
}

#[tokio::test]
async fn the_codes_of_what_is_refused() {
    let world = World::new();
    let pccs = world.pccs().await;
    for (path, status) in [
        ("/", 404),
        ("/sgx/certification/v4/", 404),
        ("/sgx/certification/v5/rootcacrl", 404),
        ("/tdx/certification/v3/qe/identity", 404),
        ("/tdx/certification/v4/rootcacrl", 404),
        ("/sgx/certification/v4/platforms", 404),
        ("/sgx/certification/v4/pckcrl", 400),
        ("/sgx/certification/v4/pckcrl?ca=other", 400),
        ("/sgx/certification/v4/pckcrl?ca=platform&encoding=xml", 400),
        ("/sgx/certification/v4/pckcrl?ca=processor", 404),
        ("/sgx/certification/v4/tcb", 400),
        ("/sgx/certification/v4/tcb?fmspc=xx", 400),
        ("/sgx/certification/v4/tcb?fmspc=00", 400),
        ("/sgx/certification/v4/tcb?fmspc=000000000000", 404),
        ("/sgx/certification/v4/pckcert", 400),
        ("/sgx/certification/v4/pckcert?encrypted_ppid=00&cpusvn=00&pcesvn=0000&pceid=0000", 400),
        (
            "/sgx/certification/v4/pckcert?encrypted_ppid=00&cpusvn=00000000000000000000000000000000&pcesvn=0000&pceid=0000",
            404,
        ),
    ] {
        assert_eq!(get(pccs.address, path).await.status, status, "{path}");
    }
    let put =
        "PUT /sgx/certification/v4/rootcacrl HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(send(pccs.address, put).await.status, 405);
    let long = format!("/{}", "a".repeat(40_000));
    assert!((400..500).contains(&get(pccs.address, &long).await.status));

    // What has expired is not handed out.
    world.set_clock(world.platform.expires());
    assert_eq!(get(pccs.address, "/sgx/certification/v4/rootcacrl").await.status, 404);
}

#[tokio::test]
async fn the_pck_certificate_of_the_simulated_machine() {
    let world = World::new();
    let platform = Arc::new(world.platform);
    let source = Arc::new(SimulatedSource::new(&platform, Clock::new(|| NOW)));
    let (address, _server) = start(source, PccsSettings::default()).await;
    let path = |svn: &str, pce: &str| {
        format!("/sgx/certification/v4/pckcert?encrypted_ppid=00&cpusvn={}&pcesvn=ffff&pceid={pce}", svn.repeat(16))
    };
    let got = get(address, &path("ff", "0000")).await;
    assert_eq!(got.status, 200);
    let body = String::from_utf8(got.body.clone()).unwrap();
    assert_eq!(body.matches("BEGIN CERTIFICATE").count(), 1);
    assert_eq!(got.header("SGX-FMSPC"), Some(&*hex::encode_upper(platform.fmspc())));
    assert_eq!(got.header("SGX-PCK-Certificate-CA-Type"), Some("platform"));
    assert_eq!(got.header("SGX-TCBm").unwrap().len(), 36);
    let chain = got.header("SGX-PCK-Certificate-Issuer-Chain").unwrap();
    assert_eq!(chain.matches("BEGIN%20CERTIFICATE").count(), 2);
    assert_eq!(get(address, &path("00", "0000")).await.status, 404, "a TCB below");
    assert_eq!(get(address, &path("ff", "0100")).await.status, 404, "another PCE");
    assert_eq!(get(address, "/sgx/certification/v4/rootcacrl").await.status, 200);
}

#[tokio::test]
async fn connections_are_bounded_in_number_and_time() {
    let world = World::new();
    let settings =
        PccsSettings { max_connections: 2, head_deadline: Duration::from_millis(300), ..PccsSettings::default() };
    let pccs = Pccs::start_with(vec![Arc::new(world.set(Tee::Sgx))], world.clock(), settings, "http").await;
    // Two that say nothing, or half a head: they are sent away, and then it is the third one's turn.
    let begin = Instant::now();
    let mut slow = Vec::new();
    for text in ["", "GET / HTTP/1.1\r\nHost"] {
        let mut stream = TcpStream::connect(pccs.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(get(pccs.address, "/sgx/certification/v4/rootcacrl").await.status, 200);
    assert!(begin.elapsed() >= Duration::from_millis(200), "{:?}", begin.elapsed());
    for mut stream in slow {
        let mut rest = Vec::new();
        within(stream.read_to_end(&mut rest)).await.unwrap();
    }
}

#[tokio::test]
async fn a_cache_in_front_of_another_service() {
    let world = World::new();
    let behind = world.pccs().await;
    let service = CollateralService::new(world.settings(&[&behind.endpoint]), world.roots()).unwrap();
    let (address, _server) = start(service.source(Root::Simulated), PccsSettings::default()).await;
    let roots = world.roots();
    let fetcher = Fetcher::new(fetch_settings());
    for _ in 0..3 {
        for tee in [Tee::Sgx, Tee::Tdx] {
            let front = [endpoint("http", address)];
            let set = within(fetcher.fetch(&front, world.id(tee), simulated(&roots), NOW)).await.unwrap();
            assert_same(&set, &world.set(tee));
        }
    }
    assert!(behind.asked() <= 2 * 4 + 6, "what is kept is not asked for again: {}", behind.asked());
    assert_eq!(service.book().all().len(), 2);

    let asked = behind.asked();
    let unknown = get(address, "/sgx/certification/v4/tcb?fmspc=010203040506").await;
    assert!([404, 502].contains(&unknown.status), "{}", unknown.status);
    assert!(behind.asked() > asked);

    // What the service behind cannot do is its fault, and said so.
    let broken = HandMade::start(|_| Reply::status(500)).await;
    let service = CollateralService::new(world.settings(&[&broken.endpoint]), world.roots()).unwrap();
    let (address, _server) = start(service.source(Root::Simulated), PccsSettings::default()).await;
    for path in ["rootcacrl", "qe/identity", "tcb?fmspc=010203040506", "pckcrl?ca=processor"] {
        assert_eq!(get(address, &format!("/sgx/certification/v4/{path}")).await.status, 502, "{path}");
    }
    // The other root has no service here.
    let (address, _server) = start(service.source(Root::Intel), PccsSettings::default()).await;
    assert_eq!(get(address, "/sgx/certification/v4/rootcacrl").await.status, 404);
}
