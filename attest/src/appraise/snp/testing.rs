//! An AMD of its own: roots, certificates, CRLs and signed reports in AMD's form, for tests.

use std::sync::OnceLock;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PSS_SHA384};

use super::{AmdRoot, SigningKey, SnpProduct};
use crate::Timestamp;
use crate::evidence::SnpEndorsements;

/// The time at which everything here is valid.
pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000);
pub(crate) const YEAR: u64 = 365 * 86_400;

pub(crate) const CHIP: [u8; 64] = [0xC4; 64];
/// In the layout of each product: bootloader 3, TEE 0, SNP 8, microcode 115; fmc 1 for Turin.
pub(crate) const MILAN_TCB: [u8; 8] = [3, 0, 0, 0, 0, 0, 8, 115];
pub(crate) const TURIN_TCB: [u8; 8] = [1, 3, 0, 8, 0, 0, 0, 200];

/// The keys are made once: those for RSA take their time.
pub(crate) struct TestAmd {
    root: RsaKeyPair,
    ca: RsaKeyPair,
    vek: EcdsaKeyPair,
}

/// What a certificate of a VCEK or VLEK says; the tests change one thing at a time.
#[derive(Clone)]
pub(crate) struct VekSpec {
    pub(crate) product: SnpProduct,
    pub(crate) kind: SigningKey,
    pub(crate) tcb: [u8; 8],
    pub(crate) hwid: Option<Vec<u8>>,
    pub(crate) csp_id: Option<&'static str>,
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) window: (Timestamp, Timestamp),
    /// Further extensions, whole, in DER.
    pub(crate) further: Vec<Vec<u8>>,
    pub(crate) key: Option<Vec<u8>>,
}

#[derive(Clone)]
pub(crate) struct CaSpec {
    pub(crate) product: SnpProduct,
    pub(crate) subject: String,
    pub(crate) ca: bool,
    pub(crate) key_usage: u8,
    pub(crate) window: (Timestamp, Timestamp),
}

impl VekSpec {
    pub(crate) fn vcek(product: SnpProduct) -> Self {
        let turin = product == SnpProduct::Turin;
        Self {
            product,
            kind: SigningKey::Vcek,
            tcb: if turin { TURIN_TCB } else { MILAN_TCB },
            hwid: Some(CHIP[..if turin { 8 } else { 64 }].to_vec()),
            csp_id: None,
            subject: "SEV-VCEK".into(),
            issuer: format!("SEV-{product}"),
            window: (Timestamp(NOW.0 - YEAR), Timestamp(NOW.0 + YEAR)),
            further: Vec::new(),
            key: None,
        }
    }

    pub(crate) fn vlek(product: SnpProduct) -> Self {
        Self {
            kind: SigningKey::Vlek,
            hwid: None,
            csp_id: Some("cloud"),
            subject: "SEV-VLEK".into(),
            issuer: format!("SEV-VLEK-{product}"),
            ..Self::vcek(product)
        }
    }
}

impl CaSpec {
    /// The ASK or ASVK that issues `vek`.
    pub(crate) fn above(vek: &VekSpec) -> Self {
        Self {
            product: vek.product,
            subject: vek.issuer.clone(),
            ca: true,
            key_usage: 0x04,
            window: (Timestamp(NOW.0 - 2 * YEAR), Timestamp(NOW.0 + 2 * YEAR)),
        }
    }
}

impl TestAmd {
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<TestAmd> = OnceLock::new();
        SHARED.get_or_init(Self::generate)
    }

    pub(crate) fn generate() -> Self {
        Self {
            root: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            ca: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            vek: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
        }
    }

    pub(crate) fn roots(&self) -> Vec<AmdRoot> {
        SnpProduct::ALL.map(|product| AmdRoot { product, der: self.root_der(product) }).into()
    }

    fn root_der(&self, product: SnpProduct) -> Vec<u8> {
        let name = format!("ARK-{product}");
        let window = (Timestamp(NOW.0 - 9 * YEAR), Timestamp(NOW.0 + 9 * YEAR));
        let extensions = [basic_constraints(true), key_usage(0x06)].concat();
        let tbs = tbs(1, &name, &name, window, &rsa_spki(&self.root), &extensions);
        signed(&self.root, &tbs)
    }

    pub(crate) fn ca(&self, spec: &CaSpec) -> Vec<u8> {
        let extensions = [basic_constraints(spec.ca), key_usage(spec.key_usage)].concat();
        let issuer = format!("ARK-{}", spec.product);
        let tbs = tbs(CA_SERIAL, &issuer, &spec.subject, spec.window, &rsa_spki(&self.ca), &extensions);
        signed(&self.root, &tbs)
    }

    pub(crate) fn vek(&self, spec: &VekSpec) -> Vec<u8> {
        let mut extensions = Vec::new();
        for (part, id) in spec.tcb.into_iter().zip(spec.product.tcb_extensions()) {
            extensions.extend(extension(&amd_oid(&[3, id]), false, &integer(part)));
        }
        if let Some(hwid) = &spec.hwid {
            extensions.extend(extension(&amd_oid(&[4]), false, hwid));
        }
        if let Some(csp_id) = spec.csp_id {
            extensions.extend(extension(&amd_oid(&[5]), false, &element(0x16, csp_id.as_bytes())));
        }
        extensions.extend(spec.further.concat());
        let spki = spec.key.clone().unwrap_or_else(|| self.vek_spki());
        let tbs = tbs(0, &spec.issuer, &spec.subject, spec.window, &spki, &extensions);
        signed(&self.ca, &tbs)
    }

    pub(crate) fn vek_spki(&self) -> Vec<u8> {
        self.vek.public_key().as_der().unwrap().as_ref().to_vec()
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
        report[0x48] = if spec.kind == SigningKey::Vlek { 1 << 2 } else { 0 };
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
        let signature = self.vek.sign(&SystemRandom::new(), &report[..0x2A0]).unwrap();
        for (half, offset) in signature.as_ref().chunks(48).zip([0x2A0, 0x2E8]) {
            for (to, from) in report[offset..offset + 48].iter_mut().zip(half.iter().rev()) {
                *to = *from;
            }
        }
    }

    /// The CRL of a root, with the ASK on it or not.
    pub(crate) fn crl(&self, product: SnpProduct, revoked: bool, window: (Timestamp, Timestamp)) -> Vec<u8> {
        let entry = element(0x30, &[integer(CA_SERIAL), time(window.0)].concat());
        let entries = if revoked { element(0x30, &entry) } else { Vec::new() };
        let tbs = element(
            0x30,
            &[
                integer(1),
                PSS_SHA384.to_vec(),
                name(&format!("ARK-{product}")),
                time(window.0),
                time(window.1),
                entries,
            ]
            .concat(),
        );
        signed(&self.root, &tbs)
    }
}

/// `SEQUENCE { OID, ?BOOLEAN critical, OCTET STRING }`.
pub(crate) fn extension(oid: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[0x01, 0x01, 0xff] } else { &[] };
    element(0x30, &[element(0x06, oid).as_slice(), critical, &element(0x04, value)].concat())
}

pub(crate) fn amd_oid(last: &[u8]) -> Vec<u8> {
    [&[0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x01], last].concat()
}

pub(crate) fn integer(value: u8) -> Vec<u8> {
    if value < 0x80 { vec![2, 1, value] } else { vec![2, 2, 0, value] }
}

fn tbs(
    serial: u8,
    issuer: &str,
    subject: &str,
    window: (Timestamp, Timestamp),
    spki: &[u8],
    extensions: &[u8],
) -> Vec<u8> {
    let parts = [
        element(0xA0, &integer(2)),
        integer(serial),
        PSS_SHA384.to_vec(),
        name(issuer),
        element(0x30, &[time(window.0), time(window.1)].concat()),
        name(subject),
        spki.to_vec(),
        element(0xA3, &element(0x30, extensions)),
    ];
    element(0x30, &parts.concat())
}

fn signed(key: &RsaKeyPair, tbs: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PSS_SHA384, &SystemRandom::new(), tbs, &mut signature).unwrap();
    let signature = element(0x03, &[&[0], signature.as_slice()].concat());
    element(0x30, &[tbs, PSS_SHA384, &signature].concat())
}

fn rsa_spki(key: &RsaKeyPair) -> Vec<u8> {
    let public = element(0x03, &[&[0], key.public_key().as_ref()].concat());
    element(0x30, &[RSA_ALGORITHM, &public].concat())
}

fn basic_constraints(ca: bool) -> Vec<u8> {
    let value: &[u8] = if ca { &[0x30, 0x03, 0x01, 0x01, 0xff] } else { &[0x30, 0x00] };
    extension(&[0x55, 0x1d, 0x13], true, value)
}

fn key_usage(bits: u8) -> Vec<u8> {
    extension(&[0x55, 0x1d, 0x0f], true, &[0x03, 0x02, 0x01, bits])
}

fn name(common_name: &str) -> Vec<u8> {
    let attribute = [element(0x06, &[0x55, 0x04, 0x03]), element(0x0c, common_name.as_bytes())].concat();
    element(0x30, &element(0x31, &element(0x30, &attribute)))
}

/// GeneralizedTime.
fn time(time: Timestamp) -> Vec<u8> {
    let digits: String = time.to_string().chars().filter(char::is_ascii_digit).collect();
    element(0x18, format!("{digits}Z").as_bytes())
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let head = match len {
        0..=0x7f => vec![tag, len as u8],
        0x80..=0xff => vec![tag, 0x81, len as u8],
        _ => vec![tag, 0x82, (len >> 8) as u8, len as u8],
    };
    [head.as_slice(), content].concat()
}

const CA_SERIAL: u8 = 42;

/// `{ id-RSASSA-PSS, { sha384, mgf1 with sha384, 48 } }`, as AMD writes it.
const PSS_SHA384: &[u8] = &[
    0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x34, 0xa0, 0x0f, 0x30, 0x0d,
    0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09,
    0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03,
    0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01, 0x30,
];
/// `{ rsaEncryption, NULL }`.
const RSA_ALGORITHM: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
