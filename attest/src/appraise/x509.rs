//! What collateral needs of X.509: windows of validity, and "issued by that one" for chains of two.
//!
//! The chain of a quote itself is the library's to verify; this checks collateral before it is kept, and tells
//! whose fault it is when the library does not say.

use webpki::aws_lc_rs::ECDSA_P256_SHA256;
use x509_parser::asn1_rs::BitString;
use x509_parser::pem::Pem;
use x509_parser::prelude::{AlgorithmIdentifier, CertificateRevocationList, FromDer, X509Certificate, X509Name};

use super::AppraisalError;
use crate::{Reason, Timestamp};

/// Reads a certificate; nothing may follow it.
pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, AppraisalError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok((rest, _)) => Err(bad("a certificate", "nothing behind it", format!("{} bytes", rest.len()))),
        Err(error) => Err(bad("a certificate", "an X.509 certificate", error.to_string())),
    }
}

pub(crate) fn parse_crl(der: &[u8]) -> Result<CertificateRevocationList<'_>, AppraisalError> {
    match CertificateRevocationList::from_der(der) {
        Ok(([], crl)) => Ok(crl),
        Ok((rest, _)) => Err(bad("a CRL", "nothing behind it", format!("{} bytes", rest.len()))),
        Err(error) => Err(bad("a CRL", "an X.509 CRL", error.to_string())),
    }
}

/// From when to when a certificate is valid.
pub(crate) fn certificate_window(der: &[u8]) -> Result<(Timestamp, Timestamp), AppraisalError> {
    let certificate = parse(der)?;
    let validity = certificate.validity();
    Ok((timestamp(validity.not_before.timestamp()), timestamp(validity.not_after.timestamp())))
}

/// The public key of a certificate: for P-256 an uncompressed point.
pub(crate) fn certificate_key(der: &[u8]) -> Result<Vec<u8>, AppraisalError> {
    Ok(parse(der)?.public_key().subject_public_key.data.to_vec())
}

/// From when to when a CRL is valid. One that does not say when the next comes cannot be judged.
pub(super) fn crl_window(crl: &CertificateRevocationList<'_>) -> Result<(Timestamp, Timestamp), AppraisalError> {
    let next = crl.next_update().ok_or_else(|| bad("a CRL", "a nextUpdate", "none"))?;
    Ok((timestamp(crl.last_update().timestamp()), timestamp(next.timestamp())))
}

/// The certificates of a PEM text, in DER, in their order.
pub(crate) fn pem_certificates(text: &str) -> Result<Vec<Vec<u8>>, AppraisalError> {
    Pem::iter_from_buffer(text.as_bytes())
        .map(|block| match block {
            Ok(block) if block.label == "CERTIFICATE" => Ok(block.contents),
            Ok(block) => Err(bad("a chain of certificates", "PEM blocks CERTIFICATE", block.label)),
            Err(error) => Err(bad("a chain of certificates", "PEM", error.to_string())),
        })
        .collect()
}

/// Who may issue certificates and CRLs here.
pub(super) struct Issuer<'a> {
    certificate: X509Certificate<'a>,
}

impl<'a> Issuer<'a> {
    /// A root: trusted as it stands.
    pub(super) fn root(der: &'a [u8]) -> Result<Self, AppraisalError> {
        Ok(Self { certificate: parse(der)? })
    }

    /// A CA that `self` has certified.
    pub(super) fn ca<'b>(&self, what: &str, der: &'b [u8], now: Timestamp) -> Result<Issuer<'b>, AppraisalError> {
        let certificate = self.certifies(what, der, now)?;
        if !certificate.is_ca() {
            return Err(bad(what, "a CA certificate", "one of an end entity"));
        }
        Ok(Issuer { certificate })
    }

    /// A certificate that `self` has issued, within its time.
    pub(super) fn certifies<'b>(
        &self,
        what: &str,
        der: &'b [u8],
        now: Timestamp,
    ) -> Result<X509Certificate<'b>, AppraisalError> {
        let certificate = parse(der)?;
        let tbs = &certificate.tbs_certificate;
        let signature = Signature {
            inner: &tbs.signature,
            outer: &certificate.signature_algorithm,
            value: &certificate.signature_value,
        };
        self.signed(what, &tbs.issuer, tbs.as_ref(), &signature)?;
        let (begin, end) = certificate_window(der)?;
        within(what, begin, end, now)?;
        Ok(certificate)
    }

    /// A CRL that `self` has issued, within its time.
    pub(super) fn lists<'b>(
        &self,
        what: &str,
        der: &'b [u8],
        now: Timestamp,
    ) -> Result<CertificateRevocationList<'b>, AppraisalError> {
        let crl = parse_crl(der)?;
        let signature = Signature {
            inner: &crl.tbs_cert_list.signature,
            outer: &crl.signature_algorithm,
            value: &crl.signature_value,
        };
        self.signed(what, crl.issuer(), crl.tbs_cert_list.as_ref(), &signature)?;
        let (begin, end) = crl_window(&crl)?;
        within(what, begin, end, now)?;
        Ok(crl)
    }

    fn signed(
        &self,
        what: &str,
        issuer: &X509Name<'_>,
        tbs: &[u8],
        signature: &Signature<'_>,
    ) -> Result<(), AppraisalError> {
        if issuer.as_raw() != self.certificate.subject().as_raw() {
            return Err(bad(what, format!("issued by {}", self.certificate.subject()), format!("by {issuer}")));
        }
        if !signature.is_plain() {
            return Err(bad(what, "one name of the algorithm, signed and unsigned, and whole bytes", "others"));
        }
        let key = &self.certificate.public_key().subject_public_key.data;
        ECDSA_P256_SHA256
            .verify_signature(key, tbs, &signature.value.data)
            .map_err(|_| bad(what, format!("signed by {}", self.certificate.subject()), "another signature"))
    }
}

/// The signature of a certificate or a CRL, with the names of its algorithm: within what is signed, and outside of it.
struct Signature<'a> {
    inner: &'a AlgorithmIdentifier<'a>,
    outer: &'a AlgorithmIdentifier<'a>,
    value: &'a BitString<'a>,
}

impl Signature<'_> {
    /// Nothing signs the outer name and the count of unused bits: whoever carries them could change them.
    fn is_plain(&self) -> bool {
        self.inner == self.outer && self.value.unused_bits == 0
    }
}

/// That `now` lies within a window, both ends included.
pub(super) fn within(what: &str, begin: Timestamp, end: Timestamp, now: Timestamp) -> Result<(), AppraisalError> {
    if now < begin {
        let expected = format!("valid at {now}");
        return Err(AppraisalError::new(Reason::Expired, what, expected, format!("valid from {begin} on")));
    }
    if now > end {
        let expected = format!("valid at {now}");
        return Err(AppraisalError::new(Reason::Expired, what, expected, format!("expired at {end}")));
    }
    Ok(())
}

/// Refuses a certificate that a CRL lists.
pub(super) fn not_revoked(
    what: &str,
    certificate: &X509Certificate<'_>,
    crl: &CertificateRevocationList<'_>,
) -> Result<(), AppraisalError> {
    let revoked = crl.iter_revoked_certificates().any(|entry| *entry.serial() == certificate.serial);
    if revoked {
        return Err(bad(what, "not revoked", format!("certificate {} on the CRL", certificate.raw_serial_as_string())));
    }
    Ok(())
}

/// A date before 1970 is 1970.
fn timestamp(seconds: i64) -> Timestamp {
    Timestamp(u64::try_from(seconds).unwrap_or(0))
}

fn bad(what: &str, expected: impl Into<String>, found: impl Into<String>) -> AppraisalError {
    AppraisalError::new(Reason::Collateral, what, expected, found)
}
