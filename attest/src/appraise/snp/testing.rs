//! An AMD of its own, which says what a test wants it to: roots, certificates, CRLs and signed reports in AMD's form.

use std::sync::OnceLock;

use super::{AmdRoot, SigningKey, SnpProduct};
use crate::Timestamp;
use crate::appraise::Root;
use crate::evidence::SnpEndorsements;
use crate::sim::amd::AmdKeys;
pub(crate) use crate::sim::amd::{CaSpec, VekSpec, amd_oid, extension, integer};

/// The time at which everything here is valid.
pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000);
pub(crate) const YEAR: u64 = 365 * 86_400;

pub(crate) const CHIP: [u8; 64] = [0xC4; 64];
/// In the layout of each product: bootloader 3, TEE 0, SNP 8, microcode 115; fmc 1 for Turin.
pub(crate) const MILAN_TCB: [u8; 8] = [3, 0, 0, 0, 0, 0, 8, 115];
pub(crate) const TURIN_TCB: [u8; 8] = [1, 3, 0, 8, 0, 0, 0, 200];

/// The keys are made once: those for RSA take their time.
pub(crate) struct TestAmd(AmdKeys);

impl VekSpec {
    pub(crate) fn vcek(product: SnpProduct) -> Self {
        Self::valid(product, SigningKey::Vcek)
    }

    pub(crate) fn vlek(product: SnpProduct) -> Self {
        Self::valid(product, SigningKey::Vlek)
    }

    pub(crate) fn kind(&self) -> SigningKey {
        if self.csp_id.is_some() { SigningKey::Vlek } else { SigningKey::Vcek }
    }

    fn valid(product: SnpProduct, kind: SigningKey) -> Self {
        let tcb = if product == SnpProduct::Turin { TURIN_TCB } else { MILAN_TCB };
        Self::new(product, kind, &CHIP, tcb, (Timestamp(NOW.0 - YEAR), Timestamp(NOW.0 + YEAR)))
    }
}

impl CaSpec {
    /// The ASK or ASVK that issues `vek`.
    pub(crate) fn above(vek: &VekSpec) -> Self {
        let window = (Timestamp(NOW.0 - 2 * YEAR), Timestamp(NOW.0 + 2 * YEAR));
        Self { subject: vek.issuer.clone(), ..Self::new(vek.product, vek.kind(), window) }
    }
}

impl TestAmd {
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<TestAmd> = OnceLock::new();
        SHARED.get_or_init(Self::generate)
    }

    pub(crate) fn generate() -> Self {
        Self(AmdKeys::generate().unwrap())
    }

    pub(crate) fn roots(&self) -> Vec<AmdRoot> {
        let window = (Timestamp(NOW.0 - 9 * YEAR), Timestamp(NOW.0 + 9 * YEAR));
        let root = |product| AmdRoot { product, der: self.0.root(product, window).unwrap(), root: Root::Amd };
        SnpProduct::ALL.map(root).into()
    }

    pub(crate) fn ca(&self, spec: &CaSpec) -> Vec<u8> {
        self.0.ca(spec).unwrap()
    }

    pub(crate) fn vek(&self, spec: &VekSpec) -> Vec<u8> {
        self.0.vek(spec).unwrap()
    }

    pub(crate) fn vek_spki(&self) -> Vec<u8> {
        self.0.vek_spki()
    }

    pub(crate) fn endorsements(&self, spec: &VekSpec) -> SnpEndorsements {
        SnpEndorsements { vcek: self.vek(spec), ask: self.ca(&CaSpec::above(spec)) }
    }

    /// A report of version 3 that fits the certificate, changed before it is signed.
    pub(crate) fn report(&self, spec: &VekSpec, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut report = vec![0; 1184];
        report[0] = 3;
        report[0x08..0x10].copy_from_slice(&0x3_0000u64.to_le_bytes());
        report[0x34] = 1;
        for offset in [0x38, 0x180, 0x1E0, 0x1F0] {
            report[offset..offset + 8].copy_from_slice(&spec.tcb);
        }
        report[0x40] = 1;
        report[0x48] = if spec.kind() == SigningKey::Vlek { 1 << 2 } else { 0 };
        report[0x50..0x90].fill(7);
        report[0x90..0xC0].fill(9);
        report[0x160..0x180].fill(0xFF);
        let chip = spec.hwid.as_deref().unwrap_or(&CHIP);
        report[0x1A0..0x1A0 + chip.len()].copy_from_slice(chip);
        change(&mut report);
        self.sign_report(&mut report);
        report
    }

    pub(crate) fn sign_report(&self, report: &mut [u8]) {
        self.0.sign_report(report.try_into().unwrap()).unwrap();
    }

    /// The CRL of a root, with the ASK on it or not.
    pub(crate) fn crl(&self, product: SnpProduct, revoked: bool, window: (Timestamp, Timestamp)) -> Vec<u8> {
        self.0.crl(product, revoked, window).unwrap()
    }
}
