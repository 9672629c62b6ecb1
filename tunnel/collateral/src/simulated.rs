//! A simulated platform as a source: its collateral, and the PCK certificate of its machine.

use std::future::ready;
use std::sync::Arc;

use bytes::Bytes;
use inclavared_attest::appraise::PckCa;
use inclavared_attest::attester::{Attester as _, UserData};
use inclavared_attest::evidence::{Claims, Tee};
use inclavared_attest::sim::{SimAttester, SimPlatform, SimSpec};
use inclavared_attest::{Digest, KeyId};

use super::source::pem_chain;
use super::{
    AmdPart, Clock, CollateralSource, Part, PartAnswer, PckAnswer, PckRequest, SourceError, SourceFuture, StaticSource,
};

/// What stands in for Intel's service where there is no hardware.
#[derive(Debug)]
pub struct SimulatedSource {
    sets: StaticSource,
    pce_id: [u8; 2],
    pck: Option<PckAnswer>,
    platform: Arc<SimPlatform>,
    clock: Clock,
}

impl SimulatedSource {
    /// A copy of the platform without keys hands out collateral alone. Takes a millisecond or two.
    pub fn new(platform: &Arc<SimPlatform>, clock: Clock) -> Self {
        let sets = [Tee::Sgx, Tee::Tdx].into_iter().filter_map(|tee| platform.collateral(tee).cloned());
        let sets = StaticSource::new(sets.map(Arc::new).collect(), clock.clone());
        Self { sets, pce_id: [0; 2], pck: pck(platform), platform: Arc::clone(platform), clock }
    }
}

impl CollateralSource for SimulatedSource {
    fn part(&self, part: Part) -> SourceFuture<'_, PartAnswer> {
        self.sets.part(part)
    }

    /// A simulated chip has a certificate for whatever TCB it is asked for; without the keys no chip has one.
    fn amd(&self, part: AmdPart) -> SourceFuture<'_, Bytes> {
        let answer = || {
            let amd = self.platform.amd()?;
            let id = amd.set().id;
            match part {
                AmdPart::Chain(asked) => {
                    (asked == id).then(|| pem_chain(&[&amd.set().ask, &amd.root().der]).into_bytes())
                }
                AmdPart::Crl(asked) => (asked == id).then(|| amd.set().crl.clone()),
                AmdPart::Vcek { product, chip_id, tcb } if product == id.product => {
                    amd.vcek(&chip_id, tcb, self.clock.now()).ok()
                }
                AmdPart::Vcek { .. } => None,
            }
        };
        Box::pin(ready(answer().map(Bytes::from).ok_or(SourceError::NotFound)))
    }

    /// The certificate of the one TCB that the simulated machine has, for every TCB that is not below it. Whose PPID it
    /// was asked for cannot be told: it is encrypted for Intel.
    fn pck(&self, request: PckRequest) -> SourceFuture<'_, PckAnswer> {
        let fits = |pck: &&PckAnswer| {
            request.pce_id == self.pce_id
                && request.pce_svn >= pck.pce_svn
                && request.cpu_svn.iter().zip(pck.cpu_svn).all(|(asked, own)| *asked >= own)
        };
        Box::pin(ready(self.pck.as_ref().filter(fits).cloned().ok_or(SourceError::NotFound)))
    }
}

/// A quote brings its PCK certificate, so one of any claims shows it.
fn pck(platform: &Arc<SimPlatform>) -> Option<PckAnswer> {
    let attester = SimAttester::new(platform, SimSpec::default()).ok()?;
    let claims = Claims::new(KeyId(Digest::of(b"no key")), None);
    let quote = attester.quote(&UserData::of(&claims)).ok()?;
    let begin = position(&quote, PEM_BEGIN)?;
    let chain = std::str::from_utf8(&quote[begin..]).ok()?;
    let end = chain.find(PEM_END)? + PEM_END.len();
    let (certificate, issuer_chain) = chain.split_at(end);
    let issuer_chain = issuer_chain.trim_start();

    let der = <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(
        certificate.as_bytes(),
    )
    .ok()?;
    let pce_svn = match tcb_value(&der, PCE_SVN)? {
        [INTEGER, 1, svn, ..] => u16::from(*svn),
        [INTEGER, 2, high, low, ..] => u16::from_be_bytes([*high, *low]),
        _ => return None,
    };
    let cpu_svn = match tcb_value(&der, CPU_SVN)? {
        [OCTET_STRING, 16, svn @ ..] => *svn.first_chunk::<16>()?,
        _ => return None,
    };
    Some(PckAnswer {
        certificate: certificate.to_owned() + "\n",
        issuer_chain: issuer_chain.to_owned(),
        cpu_svn,
        pce_svn,
        fmspc: platform.fmspc(),
        ca: PckCa::Platform,
    })
}

/// The value of an entry of the TCB sequence in a certificate that the simulation itself has made.
fn tcb_value(der: &[u8], arc: u8) -> Option<&[u8]> {
    let oid = [&SGX_TCB[..], &[arc]].concat();
    der.get(position(der, &oid)? + oid.len()..)
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

const PEM_BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const PEM_END: &str = "-----END CERTIFICATE-----";

/// OBJECT IDENTIFIER 1.2.840.113741.1.13.1.2, before its last arc.
const SGX_TCB: [u8; 12] = [0x06, 0x0b, 0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01, 0x02];
const PCE_SVN: u8 = 17;
const CPU_SVN: u8 = 18;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
