//! What is damaged, who judges it, and what of it matters.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, PAD};
use inclavared_attest::appraise::snp::{AmdRoot, AmdSet};
use inclavared_attest::appraise::{Appraise as _, Appraiser, Collateral, CollateralBook, Root, TrustRoots};
use inclavared_attest::attester::{Attester, UserData};
use inclavared_attest::certificate;
use inclavared_attest::evidence::{Claims, Endorsements, Evidence, EvidenceTag, HopClaims, Tee};
use inclavared_attest::hop_key::HopKey;
use inclavared_attest::sim::{QuoteFormat, SimAttester, SimPlatform, SimSnpAttester, SimSnpSpec, SimSpec};
use inclavared_attest::{ConfigDigest, KeyId, PolicyDigest, Timestamp};

pub(super) struct Subject {
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
    /// What the undamaged one says in everything that matters.
    pub(super) says: Vec<u8>,
    pub(super) judge: Judge,
}

type Judge = Box<dyn Fn(&[u8]) -> Judged>;

pub(super) enum Judged {
    Refused,
    /// With what it says.
    Accepted(Vec<u8>),
}

/// The time of the run: nothing in it depends on the clock.
const NOW: Timestamp = Timestamp(1_800_000_000);

/// A damaged input changes nothing of what is kept for the next: each is judged with this alone.
#[derive(Clone)]
struct Verifier {
    roots: TrustRoots,
    intel: Vec<Arc<Collateral>>,
    amd: AmdSet,
}

impl Verifier {
    fn appraiser(&self) -> Option<Appraiser> {
        let book = CollateralBook::new();
        for set in &self.intel {
            book.insert(Root::Simulated, Arc::clone(set)).ok()?;
        }
        book.amd(Root::Simulated).insert_set(&self.amd, self.roots.amd(Root::Simulated), NOW).ok()?;
        Some(Appraiser::new(self.roots.clone(), Arc::new(book)))
    }

    fn amd_roots(&self) -> &[AmdRoot] {
        self.roots.amd(Root::Simulated)
    }
}

pub(super) fn all() -> Result<Vec<Subject>> {
    let platform = Arc::new(SimPlatform::generate(NOW)?.with_amd(NOW)?);
    let amd = platform.amd().context("no SEV-SNP")?;
    let set = |tee| platform.collateral(tee).cloned().context("no collateral");
    let (sgx, tdx) = (set(Tee::Sgx)?, set(Tee::Tdx)?);
    let chip = platform.chip_id("machine");
    let vcek = amd.vcek(&chip, [3, 0, 0, 0, 0, 0, 8, 115], NOW)?;
    let verifier = Verifier {
        roots: TrustRoots::intel().with_simulated(platform.root_der()).with_simulated_amd([amd.root().clone()]),
        intel: vec![Arc::new(sgx.clone()), Arc::new(tdx.clone())],
        amd: AmdSet { certificates: vec![vcek], ..amd.set().clone() },
    };
    let intel = |spec| SimAttester::new(&platform, spec).map(|attester| Arc::new(attester) as Arc<dyn Attester>);
    let td = SimSpec::tdx("a");
    let snp: Arc<dyn Attester> = Arc::new(SimSnpAttester::new(&platform, SimSnpSpec::new("a"), NOW)?);
    let attesters = [
        ("SGX quote v3", intel(SimSpec::sgx("a"))?),
        ("TDX quote v4", intel(td.clone())?),
        ("TDX quote v5", intel(SimSpec { format: QuoteFormat::TdxV5, ..td })?),
        ("SEV-SNP report", Arc::clone(&snp)),
    ];
    let mut subjects = Vec::new();
    for (name, attester) in &attesters {
        let claims = Claims::new(KeyId::of(b"key"), None);
        subjects.push(quote(name, attester.quote(&UserData::of(&claims))?, verifier.clone())?);
    }
    subjects.push(evidence("evidence, SGX", &attesters[0].1, &verifier)?);
    subjects.push(certificate("certificate, TDX", &attesters[1].1, &verifier)?);
    subjects.push(certificate("certificate, SEV-SNP", &snp, &verifier)?);
    subjects.push(collateral("collateral, SGX", &sgx, platform.root_der())?);
    subjects.push(collateral("collateral, TDX", &tdx, platform.root_der())?);
    subjects.push(amd_set(verifier)?);
    Ok(subjects)
}

fn subject(name: &'static str, bytes: Vec<u8>, judge: impl Fn(&[u8]) -> Option<Vec<u8>> + 'static) -> Result<Subject> {
    let says = judge(&bytes).with_context(|| format!("{name}: refused as it is"))?;
    let judge = move |bytes: &[u8]| judge(bytes).map_or(Judged::Refused, Judged::Accepted);
    Ok(Subject { name, bytes, says, judge: Box::new(judge) })
}

/// A bare quote. It says what is signed.
fn quote(name: &'static str, bytes: Vec<u8>, verifier: Verifier) -> Result<Subject> {
    let appraiser = verifier.appraiser().context("an appraiser")?;
    subject(name, bytes, move |bytes| {
        appraiser.appraise_quote(EvidenceTag::Simulated, bytes, NOW).ok()?;
        Some(of_quote(bytes))
    })
}

/// Evidence as it travels, judged as a path's is.
fn evidence(name: &'static str, attester: &Arc<dyn Attester>, verifier: &Verifier) -> Result<Subject> {
    let issued = certificate::issue(&HopKey::generate()?, attester.as_ref(), hop(), NOW)?;
    let appraiser = verifier.appraiser().context("an appraiser")?;
    subject(name, issued.evidence().blob().to_vec(), move |bytes| {
        let evidence = Evidence::decode(bytes).ok()?;
        appraiser.appraise(&evidence, NOW).ok()?;
        Some(of_evidence(&evidence))
    })
}

/// A peer's certificate: strictly read, its endorsements learnt, its evidence appraised.
fn certificate(name: &'static str, attester: &Arc<dyn Attester>, verifier: &Verifier) -> Result<Subject> {
    let issued = certificate::issue(&HopKey::generate()?, attester.as_ref(), hop(), NOW)?;
    let (verifier, appraiser) = (verifier.clone(), verifier.appraiser().context("an appraiser")?);
    subject(name, issued.der().to_vec(), move |bytes| {
        let peer = certificate::parse(bytes, NOW).ok()?;
        let evidence = peer.evidence?;
        match &peer.endorsements {
            Some(endorsements) => {
                // What is learnt is kept: each has a book of its own.
                let learner = verifier.appraiser()?;
                learner.learn_endorsements(&evidence, endorsements, NOW).ok()?;
                learner.appraise(&evidence, NOW).ok()?;
            }
            None => drop(appraiser.appraise(&evidence, NOW).ok()?),
        }
        let endorsements = peer.endorsements.as_ref().map(Endorsements::encode).unwrap_or_default();
        Some([peer.spki, of_evidence(&evidence), endorsements].concat())
    })
}

/// A whole set of Intel's form.
fn collateral(name: &'static str, set: &Collateral, root_der: &[u8]) -> Result<Subject> {
    let root_der = root_der.to_vec();
    subject(name, set.to_json(), move |bytes| {
        let set = Collateral::from_json(bytes).ok()?;
        set.verify(&root_der, NOW).ok()?;
        let set = set.as_set();
        let chains = [&set.pck_crl_issuer_chain, &set.tcb_info_issuer_chain, &set.qe_identity_issuer_chain];
        let mut says = chains.map(|chain| certificates(chain.as_bytes(), 1)).concat();
        for part in [&set.tcb_info, &set.qe_identity] {
            says.extend(part.as_bytes());
        }
        for part in [&set.tcb_info_signature, &set.qe_identity_signature, &set.pck_crl, &set.root_ca_crl] {
            says.extend(part);
        }
        Some(says)
    })
}

/// A whole set of AMD's.
fn amd_set(verifier: Verifier) -> Result<Subject> {
    subject("collateral, SEV-SNP", verifier.amd.to_json(), move |bytes| {
        let set = AmdSet::from_json(bytes).ok()?;
        set.verify(verifier.amd_roots(), NOW).ok()?;
        // Each part for itself: one certificate of a key less, or the same one twice, is no lie.
        let mut certificates = set.certificates.clone();
        certificates.sort();
        certificates.dedup();
        let certificates =
            if certificates.is_empty() { verifier.amd.certificates.concat() } else { certificates.concat() };
        Some([&set.id.to_string().into_bytes(), &set.ask, &set.crl, &certificates].map(|part| part.to_vec()).concat())
    })
}

fn hop() -> HopClaims {
    HopClaims {
        version: 1,
        chain_role: "relay".into(),
        policy_digest: PolicyDigest::of(b""),
        not_after: NOW.plus(Duration::from_secs(1800)),
        config_digest: ConfigDigest::of(b""),
    }
}

fn of_evidence(evidence: &Evidence) -> Vec<u8> {
    [evidence.claims().encoded(), &of_quote(evidence.quote())].concat()
}

/// A quote without its malleable bytes: of a TD the type of the outer certification data; of the chain everything but
/// the PCK certificate and its CA. A report of AMD's has none.
fn of_quote(quote: &[u8]) -> Vec<u8> {
    let Some(chain) = quote.windows(PEM.len()).position(|window| window == PEM) else { return quote.to_vec() };
    let mut says = quote[..chain].to_vec();
    // The lengths before the chain are checked against it, and follow from it.
    says.truncate(chain.saturating_sub(4));
    let signed = match (quote.first(), quote.get(48)) {
        (Some(4), _) => Some(48 + 584),
        (Some(5), Some(3)) => Some(48 + 6 + 648),
        (Some(5), _) => Some(48 + 6 + 584),
        _ => None,
    };
    let signature = signed.map(|signed| signed..signed + 4).unwrap_or(48 + 384..48 + 384 + 4);
    says[signature].fill(0);
    if let Some(outer) = signed.map(|signed| signed + 4 + 128) {
        // Type and length.
        says[outer..outer + 6].fill(0);
    }
    says.extend(certificates(&quote[chain..], 2));
    says
}

/// The first so many certificates of a chain in PEM. As lax as those that read it: bits of base64 that encode nothing do not
/// count, nor do line ends.
fn certificates(pem: &[u8], count: usize) -> Vec<u8> {
    let lax = GeneralPurpose::new(&STANDARD, PAD.with_decode_allow_trailing_bits(true));
    let text = String::from_utf8_lossy(pem);
    let blocks = text.split(BEGIN).skip(1).filter_map(|block| Some(block.split_once(END)?.0)).take(count);
    let read = |block: &str| lax.decode(block.split_whitespace().collect::<String>()).unwrap_or_default();
    blocks.flat_map(read).collect()
}

const PEM: &[u8] = BEGIN.as_bytes();
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
/// What the rest of the line says does not count.
const END: &str = "-----END";
