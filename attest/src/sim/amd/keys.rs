//! The keys of the simulated AMD, and what they sign: certificates, revocation lists, reports.

use std::fmt;

use zeroize::Zeroizing;

use super::super::SimError;
use super::der::{
    Tbs, amd_oid, basic_constraints, extension, ia5, integer, key_usage, rsa_spki, signed, tbs_crl, unsigned,
};
use crate::Timestamp;
use crate::appraise::snp::{SigningKey, SnpProduct};
use crate::crypto::{Failed, P384_SPKI_PREFIX, P384Key, RsaKey};

/// What a certificate of a VCEK or VLEK says.
#[derive(Clone)]
pub(crate) struct VekSpec {
    pub(crate) product: SnpProduct,
    /// TCB_VERSION in the layout of the product.
    pub(crate) tcb: [u8; 8],
    pub(crate) hwid: Option<Vec<u8>>,
    pub(crate) csp_id: Option<&'static str>,
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) window: (Timestamp, Timestamp),
    /// Further extensions, whole, in DER.
    pub(crate) further: Vec<Vec<u8>>,
    /// Another key than the simulated firmware's.
    pub(crate) key: Option<Vec<u8>>,
}

/// What the certificate of an ASK or ASVK says.
#[derive(Clone)]
pub(crate) struct CaSpec {
    pub(crate) product: SnpProduct,
    pub(crate) subject: String,
    pub(crate) ca: bool,
    pub(crate) key_usage: u8,
    pub(crate) window: (Timestamp, Timestamp),
}

impl VekSpec {
    pub(crate) fn new(
        product: SnpProduct,
        kind: SigningKey,
        chip_id: &[u8; 64],
        tcb: [u8; 8],
        window: (Timestamp, Timestamp),
    ) -> Self {
        let vcek = kind == SigningKey::Vcek;
        Self {
            product,
            tcb,
            hwid: vcek.then(|| chip_id[..product.hwid_len()].to_vec()),
            csp_id: (!vcek).then_some("simulated cloud"),
            subject: if vcek { "SEV-VCEK" } else { "SEV-VLEK" }.into(),
            issuer: ca_name(product, kind),
            window,
            further: Vec::new(),
            key: None,
        }
    }
}

impl CaSpec {
    pub(crate) fn new(product: SnpProduct, kind: SigningKey, window: (Timestamp, Timestamp)) -> Self {
        Self { product, subject: ca_name(product, kind), ca: true, key_usage: KEY_CERT_SIGN, window }
    }
}

/// One key for all roots, one for all CAs, and one in every simulated chip.
pub(crate) struct AmdKeys {
    root: RsaKey,
    ca: RsaKey,
    vek: P384Key,
}

impl AmdKeys {
    /// Takes a fifth of a second or so.
    pub(crate) fn generate() -> Result<Self, SimError> {
        let rsa = || RsaKey::generate_2048().map_err(unmade);
        let vek = P384Key::generate().map_err(unmade)?;
        Ok(Self { root: rsa()?, ca: rsa()?, vek })
    }

    /// PKCS#8: root, CA, chip.
    pub(crate) fn to_pkcs8(&self) -> Result<[Zeroizing<Vec<u8>>; 3], SimError> {
        let whole = || Ok([self.root.pkcs8()?, self.ca.pkcs8()?, self.vek.to_pkcs8()?]);
        whole().map_err(unmade)
    }

    pub(crate) fn from_pkcs8([root, ca, vek]: [&[u8]; 3]) -> Result<Self, SimError> {
        let wrong = |kind: &str| SimError::Key(format!("it is not {kind} in PKCS#8"));
        let rsa = |der| RsaKey::from_pkcs8(der).map_err(|_| wrong("an RSA key"));
        Ok(Self { root: rsa(root)?, ca: rsa(ca)?, vek: P384Key::from_pkcs8(vek).map_err(|_| wrong("a P-384 key"))? })
    }

    pub(crate) fn root(&self, product: SnpProduct, window: (Timestamp, Timestamp)) -> Result<Vec<u8>, SimError> {
        let name = root_name(product);
        let tbs = Tbs {
            serial: 1,
            issuer: &name,
            subject: &name,
            window,
            spki: &rsa_spki(self.root.public_pkcs1()),
            extensions: [basic_constraints(true), key_usage(0x06)].concat(),
        };
        sign(&self.root, &tbs.to_der())
    }

    pub(crate) fn ca(&self, spec: &CaSpec) -> Result<Vec<u8>, SimError> {
        let tbs = Tbs {
            serial: CA_SERIAL,
            issuer: &root_name(spec.product),
            subject: &spec.subject,
            window: spec.window,
            spki: &rsa_spki(self.ca.public_pkcs1()),
            extensions: [basic_constraints(spec.ca), key_usage(spec.key_usage)].concat(),
        };
        sign(&self.root, &tbs.to_der())
    }

    pub(crate) fn vek(&self, spec: &VekSpec) -> Result<Vec<u8>, SimError> {
        let mut extensions = Vec::new();
        for (part, id) in spec.tcb.into_iter().zip(spec.product.tcb_extensions()) {
            extensions.extend(extension(&amd_oid(&[3, id]), false, &integer(part)));
        }
        if let Some(hwid) = &spec.hwid {
            extensions.extend(extension(&amd_oid(&[4]), false, hwid));
        }
        if let Some(csp_id) = spec.csp_id {
            extensions.extend(extension(&amd_oid(&[5]), false, &ia5(csp_id)));
        }
        extensions.extend(spec.further.concat());
        let own = self.vek_spki();
        let spki = spec.key.as_ref().unwrap_or(&own);
        let (issuer, subject) = (&spec.issuer, &spec.subject);
        let tbs = Tbs { serial: 0, issuer, subject, window: spec.window, spki, extensions };
        sign(&self.ca, &tbs.to_der())
    }

    pub(crate) fn vek_spki(&self) -> Vec<u8> {
        [P384_SPKI_PREFIX, self.vek.point()].concat()
    }

    /// The list of a root, with its ASK and ASVK on it or not.
    pub(crate) fn crl(
        &self,
        product: SnpProduct,
        revoked: bool,
        window: (Timestamp, Timestamp),
    ) -> Result<Vec<u8>, SimError> {
        let revoked: &[u8] = if revoked { &[CA_SERIAL] } else { &[] };
        sign(&self.root, &tbs_crl(&root_name(product), window, revoked))
    }

    /// Puts the signature where a report has it: r and s, little-endian, 72 bytes each.
    pub(crate) fn sign_report(&self, report: &mut [u8; 1184]) -> Result<(), SimError> {
        let signature = self.vek.sign_fixed(&report[..0x2A0]).map_err(unsigned)?;
        for (half, offset) in signature.chunks(48).zip([0x2A0, 0x2E8]) {
            for (to, from) in report[offset..offset + 48].iter_mut().zip(half.iter().rev()) {
                *to = *from;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for AmdKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AmdKeys")
    }
}

fn sign(key: &RsaKey, tbs: &[u8]) -> Result<Vec<u8>, SimError> {
    Ok(signed(tbs, &key.sign_pss_sha384(tbs).map_err(unsigned)?))
}

fn unmade(_: Failed) -> SimError {
    SimError::Key("a key of the simulated AMD could not be made".into())
}

fn root_name(product: SnpProduct) -> String {
    format!("ARK-{product}")
}

fn ca_name(product: SnpProduct, kind: SigningKey) -> String {
    match kind {
        SigningKey::Vcek => format!("SEV-{product}"),
        SigningKey::Vlek => format!("SEV-VLEK-{product}"),
    }
}

const CA_SERIAL: u8 = 42;
const KEY_CERT_SIGN: u8 = 0x04;
