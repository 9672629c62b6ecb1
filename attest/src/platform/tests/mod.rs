//! The drivers against stand-ins of their interfaces: a FUSE filesystem, so that the drivers make the system calls that
//! they make on hardware, and a quoting service on a Unix socket. Quotes come from the simulated platform.

mod auto;
mod fuse;
mod machine;
mod memory;
mod qgs;
mod sgx;
mod snp;
mod tdx;
mod tsm;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::appraise::{Appraise as _, Appraiser, CollateralBook, Root, TrustRoots};
use crate::attester::{Attester, AttesterError};
use crate::certificate::{HopCertificate, issue, parse};
use crate::evidence::{Claims, Evidence, HopClaims, UserData};
use crate::hop_key::HopKey;
use crate::sim::{SimAttester, SimPlatform, SimSpec};
use crate::tee::{EvidenceTag, Tee};
use crate::{ConfigDigest, KeyId, PolicyDigest, Timestamp};

const NOW: Timestamp = Timestamp(1_800_000_000);

/// Long enough never to be met by a test that does not want it.
const LONG: Duration = Duration::from_secs(30);
/// Short enough to be waited for.
const SHORT: Duration = Duration::from_millis(300);

/// Makes a quote over user data: what stands behind a stand-in.
type Pen = Arc<dyn Fn(&[u8; 64]) -> Vec<u8> + Send + Sync>;

static PLATFORM: LazyLock<Arc<SimPlatform>> = LazyLock::new(|| Arc::new(SimPlatform::generate(NOW).unwrap()));

/// Quotes of the simulated platform, padded as clouds pad theirs.
fn pen(spec: SimSpec) -> Pen {
    let attester = SimAttester::new(&PLATFORM, spec).unwrap();
    Arc::new(move |user_data| {
        let mut quote = attester.quote_over(user_data).unwrap();
        quote.resize(8000, 0);
        quote
    })
}

fn user_data(name: &str) -> UserData {
    UserData::of(&Claims::new(KeyId::of(name.as_bytes()), None))
}

/// From the driver to a certificate, as a peer reads it.
fn certified(attester: &dyn Attester) -> HopCertificate {
    let hop = HopClaims {
        version: 1,
        chain_role: "workload".into(),
        policy_digest: PolicyDigest::of(b"policy"),
        not_after: NOW.plus(Duration::from_secs(1800)),
        config_digest: ConfigDigest::of(b"configuration"),
    };
    let key = HopKey::generate().unwrap();
    let certificate = issue(&key, attester, hop, NOW).unwrap();
    let read = parse(certificate.der(), NOW).unwrap();
    assert_eq!(read.evidence.as_ref(), Some(certificate.evidence()));
    assert_eq!(read.kid, key.kid());
    certificate
}

/// The whole way to a verdict. The evidence is tagged as genuine, which a simulated root must not vouch for: the same
/// quote is judged under the tag that its root is for.
fn judged(attester: &dyn Attester, tee: Tee) {
    let certificate = certified(attester);
    let evidence = certificate.evidence();
    assert_eq!((evidence.tag(), evidence.tee()), (EvidenceTag::IntelQuote, tee));
    let book = CollateralBook::new();
    book.insert(Root::Simulated, Arc::new(PLATFORM.collateral(tee).unwrap().clone())).unwrap();
    let appraiser = Appraiser::new(TrustRoots::intel().with_simulated(PLATFORM.root_der()), Arc::new(book));
    assert!(appraiser.appraise(evidence, NOW).is_err(), "never as genuine");
    let simulated =
        Evidence::new(EvidenceTag::Simulated, evidence.quote().to_vec(), evidence.claims().clone()).unwrap();
    let appraised = appraiser.appraise(&simulated, NOW).unwrap();
    assert_eq!((appraised.root, appraised.tee), (Root::Simulated, tee));
}

/// An error as an operator reads it: the line and its sources.
fn told(error: &AttesterError) -> String {
    let mut line = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        line.push_str(&format!(": {error}"));
        source = error.source();
    }
    line
}
