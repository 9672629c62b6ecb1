//! Bytes that are accepted, for the mutations to begin with.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use inclavared_attest::attester::Attester as _;
use inclavared_attest::attester::UserData;
use inclavared_attest::certificate::{LegacyKey, issue, issue_legacy};
use inclavared_attest::evidence::{Claims, Endorsements, FreshClaims, FreshEvidence, HopClaims, IntelEndorsements};
use inclavared_attest::hop_key::HopKey;
use inclavared_attest::path::{Abort, Fault, Start};
use inclavared_attest::sim::{SimAttester, SimPlatform, SimSpec};
use inclavared_attest::{ConfigDigest, Digest, PolicyDigest, Reason, RecordDigest};
use inclavared_wire::frame::{FrameKind, header};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::Value;

use crate::targets::NOW;

/// A hop on a simulated platform, and what it shows.
pub(crate) struct Seeds {
    attester: SimAttester,
    tdx: SimAttester,
    certificate: Vec<u8>,
    evidence: Vec<u8>,
    claims: Vec<u8>,
}

impl Seeds {
    pub(crate) fn new() -> Self {
        let platform = Arc::new(SimPlatform::generate(NOW).unwrap());
        let attester = SimAttester::new(&platform, SimSpec::sgx("seed")).unwrap();
        let tdx = SimAttester::new(&platform, SimSpec::tdx("seed")).unwrap();
        let hop = HopClaims {
            version: 1,
            chain_role: "relay".into(),
            policy_digest: PolicyDigest::of(b"policy"),
            not_after: NOW.plus(Duration::from_secs(1800)),
            config_digest: ConfigDigest::of(b"configuration"),
        };
        let issued = issue(&HopKey::generate().unwrap(), &attester, hop, NOW).unwrap();
        let (evidence, claims) = (issued.evidence().blob().to_vec(), issued.evidence().claims().encoded().to_vec());
        Self { certificate: issued.der().to_vec(), evidence, claims, attester, tdx }
    }

    /// Evidence, claims, endorsements, a fresh quote.
    pub(crate) fn evidence(&self) -> Vec<Vec<u8>> {
        let part = |text: &str| text.repeat(3).into_bytes();
        let endorsements = Endorsements::Simulated(IntelEndorsements {
            version: 3,
            tcb_info: part("tcb info"),
            tcb_issuer_chain: part("chain"),
            pck_crl: part("crl"),
            root_ca_crl: part("crl"),
            pck_crl_issuer_chain: part("chain"),
            qe_identity: part("identity"),
            qe_issuer_chain: part("chain"),
        });
        let claims = FreshClaims {
            config_digest: ConfigDigest::of(b"configuration"),
            not_after: NOW.plus(Duration::from_secs(1800)),
            root: Digest::of(b"legs"),
            iat_ms: NOW.0 * 1000,
        };
        let quote = self.attester.quote(&UserData::of_fresh(&claims)).unwrap();
        let fresh = FreshEvidence::new(self.attester.tag(), quote, claims).unwrap();
        vec![self.evidence.clone(), self.claims.clone(), endorsements.encode(), fresh.blob().to_vec()]
    }

    /// Of a hop, and in the old form.
    pub(crate) fn certificates(&self) -> Vec<Vec<u8>> {
        let key = LegacyKey::generate().unwrap();
        let legacy = issue_legacy(&key, &self.attester, NOW, Duration::from_secs(1800)).unwrap();
        vec![self.certificate.clone(), legacy]
    }

    pub(crate) fn quotes(&self) -> Vec<Vec<u8>> {
        let claims = UserData::of(&Claims::decode(&self.claims).unwrap());
        let mut quotes = vec![self.attester.quote(&claims).unwrap(), self.tdx.quote(&claims).unwrap()];
        let padded = [quotes[0].clone(), vec![0; 70]].concat();
        // A report of AMD's has a fixed length, and is read by its place alone.
        let report = [&[2, 0, 0, 0][..], &[0; 1180]].concat();
        quotes.extend([padded, report]);
        quotes
    }

    /// OPEN, START, ABORT, FAULT.
    pub(crate) fn messages(&self) -> Vec<Vec<u8>> {
        let start = Start { record: RecordDigest(Digest::of(b"record")), client_proof: None, forward: None };
        let fault = Fault::new(Reason::Measurement, "mrenclave").with_values("one", "another");
        vec![
            bytes(&vector("key-2.json")["open"]),
            start.encode(),
            Abort::new(Reason::Cancelled, Some("attestation only")).encode(),
            fault.encode(),
        ]
    }

    /// Whole, with the evidence that their records name.
    pub(crate) fn trailers(&self) -> Vec<Vec<u8>> {
        ["key-1.json", "key-3.json"].map(|name| bytes(&vector(name)["preview"])).to_vec()
    }

    pub(crate) fn frames() -> Vec<Vec<u8>> {
        let frame = |kind, payload: &[u8]| [&header(kind, payload.len())[..], payload].concat();
        let data = frame(FrameKind::Data, &[7; 300]);
        let stream = [data.clone(), frame(FrameKind::Challenge, &[1; 32]), data, frame(FrameKind::End, &[])].concat();
        vec![stream, frame(FrameKind::Preview, &[0xa5; 5000]), frame(FrameKind::Fault, b"\xa2\x01\x00\x02\x01")]
    }

    pub(crate) fn record_content() -> Vec<Vec<u8>> {
        let record = |kind: u8, content: &[u8]| [&[kind, content.len() as u8][..], content].concat();
        let ticket = [4, 0, 0, 17, 0, 0, 0, 9, 1, 2, 3, 4, 1, 5, 0, 3, 6, 7, 8, 0, 0];
        let update = [24, 0, 0, 1, 1];
        let all = [
            record(23, b"data"),
            record(22, &ticket),
            record(22, &update),
            record(22, &ticket[..9]),
            record(22, &ticket[9..]),
            record(21, &[1, 0]),
        ];
        vec![all.concat(), record(21, &[2, 40])]
    }

    pub(crate) fn client_hello() -> Vec<Vec<u8>> {
        let hello = |alpn: &[&[u8]], name: &str| {
            let mut config = ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth();
            config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
            let name = name.to_owned().try_into().unwrap();
            let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            bytes
        };
        vec![hello(&[b"inclavared/1"], "hop.example"), hello(&[b"h2", b"http/1.1"], "127.0.0.1"), hello(&[], "a.b")]
    }

    /// Every TOML file of these folders.
    pub(crate) fn files(folders: &[&str]) -> Vec<Vec<u8>> {
        let mut files: Vec<_> = folders
            .iter()
            .flat_map(|folder| std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap())
            .map(|entry| entry.unwrap().path())
            .filter(|file| file.extension().is_some_and(|extension| extension == "toml"))
            .filter(|file| file.file_name().is_none_or(|name| name != "Cargo.toml"))
            .collect();
        files.sort();
        files.iter().map(|file| std::fs::read(file).unwrap()).collect()
    }
}

/// One of the published test vectors.
fn vector(name: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors").join(name);
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}
