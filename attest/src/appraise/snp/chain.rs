//! ARK -> ASK or ASVK -> VCEK or VLEK, and the CRL of an ARK.
//!
//! AMD signs with RSASSA-PSS over SHA-384, and writes the algorithm's parameters in a form that strict verifiers of
//! whole chains refuse. So the few rules that matter are checked here, one by one.

use std::sync::Arc;

use x509_parser::prelude::{AlgorithmIdentifier, X509Certificate, X509Name};

use super::{AmdRoot, SigningKey, SnpProduct, Vek};
use crate::appraise::AppraisalError;
use crate::appraise::x509::{certificate_window, crl_window, parse, parse_crl, within};
use crate::crypto::{Scheme, verifies};
use crate::evidence::SnpEndorsements;
use crate::{Reason, Timestamp};

/// Verifies the certificates under one of the roots.
pub(super) fn verify(endorsements: &SnpEndorsements, roots: &[AmdRoot], now: Timestamp) -> Result<Vek, AppraisalError> {
    let ca = Authority::verify(&endorsements.ask, roots, now)?;
    let leaf = parse(&endorsements.vcek)?;
    signed("the VCEK or VLEK", &leaf, &ca.certificate)?;
    if leaf.is_ca() {
        return Err(refused("the VCEK or VLEK", "the certificate of an end entity", "one of a CA"));
    }
    let expires = valid("the VCEK or VLEK", &endorsements.vcek, now)?.min(ca.expires);

    let vek = Vek::read(&leaf, ca.root, ca.certificate.raw_serial().to_vec(), expires)?;
    // AMD has one CA for each kind; the one may not speak for the other.
    let subject = match vek.kind {
        SigningKey::Vcek => "SEV-VCEK",
        SigningKey::Vlek => "SEV-VLEK",
    };
    named("the issuer of the VCEK or VLEK", ca.certificate.subject(), &authority_name(vek.product, vek.kind))?;
    named("the VCEK or VLEK", leaf.subject(), subject)?;
    Ok(vek)
}

/// An ASK or ASVK whose certificate was verified.
pub(super) struct Authority<'a, 'r> {
    pub(super) root: &'r AmdRoot,
    certificate: X509Certificate<'a>,
    /// Of its certificate and the root's.
    pub(super) expires: Timestamp,
}

impl<'a, 'r> Authority<'a, 'r> {
    pub(super) fn verify(der: &'a [u8], roots: &'r [AmdRoot], now: Timestamp) -> Result<Self, AppraisalError> {
        let certificate = parse(der)?;
        let (root, above) = root_of(certificate.issuer(), roots)?;
        signed("the ASK or ASVK", &certificate, &above)?;
        let may_sign = certificate.key_usage().ok().flatten().is_none_or(|usage| usage.value.key_cert_sign());
        if !certificate.is_ca() || !may_sign {
            return Err(refused("the ASK or ASVK", "a CA certificate", "one that may not sign certificates"));
        }
        let expires = valid("the ARK", &root.der, now)?.min(valid("the ASK or ASVK", der, now)?);
        Ok(Self { root, certificate, expires })
    }

    /// That it certifies keys of this kind.
    pub(super) fn is_for(&self, key: SigningKey) -> Result<(), AppraisalError> {
        named("the ASK or ASVK", self.certificate.subject(), &authority_name(self.root.product, key))
    }
}

fn authority_name(product: SnpProduct, key: SigningKey) -> String {
    match key {
        SigningKey::Vcek => format!("SEV-{product}"),
        SigningKey::Vlek => format!("SEV-VLEK-{product}"),
    }
}

fn valid(what: &str, der: &[u8], now: Timestamp) -> Result<Timestamp, AppraisalError> {
    let (begin, end) = certificate_window(der)?;
    within(what, begin, end, now)?;
    Ok(end)
}

/// The certificate revocation list of an ARK: it names revoked ASKs and ASVKs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Crl(Arc<[u8]>);

/// When a list was issued and when the next one is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CrlWindow {
    pub(crate) issued: Timestamp,
    pub(crate) next: Timestamp,
}

impl Crl {
    /// Verifies a list under one of the roots. Returns whose it is.
    pub(crate) fn verify(der: &[u8], roots: &[AmdRoot], now: Timestamp) -> Result<(SnpProduct, Self), AppraisalError> {
        let crl = Self(der.into());
        let (product, _) = crl.check(roots, now)?;
        Ok((product, crl))
    }

    pub(crate) fn der(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn window(&self) -> Result<CrlWindow, AppraisalError> {
        let (issued, next) = crl_window(&parse_crl(&self.0)?)?;
        Ok(CrlWindow { issued, next })
    }

    /// That the list does not name what is above `vek`, and until when it says so.
    pub(super) fn clears(&self, vek: &Vek, roots: &[AmdRoot], now: Timestamp) -> Result<Timestamp, AppraisalError> {
        let (product, end) = self.check(roots, now)?;
        if product != vek.product {
            return Err(AppraisalError::new(Reason::Collateral, "AMD's CRL", vek.product.name(), product.name()));
        }
        let crl = parse_crl(&self.0)?;
        let listed = crl.iter_revoked_certificates().any(|entry| entry.raw_serial() == vek.intermediate_serial);
        if listed {
            let found = format!("certificate {} on AMD's CRL", hex::encode(&vek.intermediate_serial));
            return Err(refused("the ASK or ASVK", "not revoked", found));
        }
        Ok(end)
    }

    fn check(&self, roots: &[AmdRoot], now: Timestamp) -> Result<(SnpProduct, Timestamp), AppraisalError> {
        const WHAT: &str = "AMD's CRL";
        let bad = |expected: String, found: &str| AppraisalError::new(Reason::Collateral, WHAT, expected, found);
        let crl = parse_crl(&self.0)?;
        let (AmdRoot { product, .. }, root) = root_of(crl.issuer(), roots).map_err(|error| AppraisalError {
            reason: Reason::Collateral,
            what: WHAT.into(),
            ..error
        })?;
        let signature = &crl.signature_value.data;
        if !pss(&root, &crl.signature_algorithm, crl.tbs_cert_list.as_ref(), signature) {
            return Err(bad(format!("signed by ARK-{product}"), "another signature"));
        }
        if let Some(other) = crl.extensions().iter().find(|extension| extension.critical) {
            return Err(bad("no critical extension".into(), &hex::encode(other.oid.as_bytes())));
        }
        let (begin, end) = crl_window(&crl)?;
        within(WHAT, begin, end, now)?;
        Ok((*product, end))
    }
}

fn root_of<'a>(
    issuer: &X509Name<'_>,
    roots: &'a [AmdRoot],
) -> Result<(&'a AmdRoot, X509Certificate<'a>), AppraisalError> {
    for root in roots {
        let certificate = parse(&root.der)?;
        if certificate.subject().as_raw() == issuer.as_raw() {
            return Ok((root, certificate));
        }
    }
    Err(refused("the root of the certificates", "one of the roots that are trusted for SEV-SNP", issuer.to_string()))
}

fn signed(what: &str, certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> Result<(), AppraisalError> {
    let tbs = &certificate.tbs_certificate;
    if tbs.issuer.as_raw() != issuer.subject().as_raw() {
        return Err(refused(what, format!("issued by {}", issuer.subject()), format!("by {}", tbs.issuer)));
    }
    let algorithm = &certificate.signature_algorithm;
    let same = tbs.signature == *algorithm && certificate.signature_value.unused_bits == 0;
    if !same || !pss(issuer, algorithm, tbs.as_ref(), &certificate.signature_value.data) {
        return Err(refused(what, format!("signed by {}", issuer.subject()), "another signature"));
    }
    Ok(())
}

/// RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 bytes. A signature with other parameters than these
/// does not verify, whatever the algorithm's identifier says of them.
fn pss(issuer: &X509Certificate<'_>, algorithm: &AlgorithmIdentifier<'_>, tbs: &[u8], signature: &[u8]) -> bool {
    let key = issuer.public_key();
    algorithm.algorithm.as_bytes() == RSASSA_PSS
        && [RSA_ENCRYPTION, RSASSA_PSS].contains(&key.algorithm.algorithm.as_bytes())
        && verifies(Scheme::RsaPssSha384, &key.subject_public_key.data, tbs, signature)
}

fn named(what: &str, name: &X509Name<'_>, expected: &str) -> Result<(), AppraisalError> {
    let found = name.iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or("no name");
    if found == expected { Ok(()) } else { Err(refused(what, expected, found)) }
}

fn refused(what: &str, expected: impl Into<String>, found: impl Into<String>) -> AppraisalError {
    AppraisalError::new(Reason::QuoteSignature, what, expected, found)
}

/// 1.2.840.113549.1.1.1 and .10
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const RSASSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
