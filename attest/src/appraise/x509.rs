//! What collateral needs of X.509: windows of validity, and "issued by that one" for chains of two.
//!
//! The chain of a quote itself is the library's to verify; this checks collateral before it is kept, and tells
//! whose fault it is when the library does not say.

use x509_parser::asn1_rs::BitString;
use x509_parser::pem::Pem;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate, X509Name};

use super::AppraisalError;
use crate::crypto::{Scheme, verifies};
use crate::{Reason, Timestamp};

/// Reads a certificate; nothing may follow it, and what is not signed of it is as DER has it.
pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, AppraisalError> {
    const WHAT: &str = "a certificate";
    match X509Certificate::from_der(der) {
        Ok(([], read)) => {
            strictly(WHAT, der, read.tbs_certificate.as_ref(), &read.signature_value)?;
            Ok(read)
        }
        Ok((rest, _)) => Err(bad(WHAT, "nothing behind it", format!("{} bytes", rest.len()))),
        Err(error) => Err(bad(WHAT, "an X.509 certificate", error.to_string())),
    }
}

/// The same for a CRL.
pub(crate) fn parse_crl(der: &[u8]) -> Result<CertificateRevocationList<'_>, AppraisalError> {
    const WHAT: &str = "a CRL";
    match CertificateRevocationList::from_der(der) {
        Ok(([], read)) => {
            strictly(WHAT, der, read.tbs_cert_list.as_ref(), &read.signature_value)?;
            Ok(read)
        }
        Ok((rest, _)) => Err(bad(WHAT, "nothing behind it", format!("{} bytes", rest.len()))),
        Err(error) => Err(bad(WHAT, "an X.509 CRL", error.to_string())),
    }
}

/// Nothing signs what lies around the signed part: two headers, the outer name of the algorithm, the count of unused bits.
/// The parser is lax with them (it takes a tag of another form), so whoever carries a document could change them. They are
/// all given by the rest, in DER: the outer name is the inner one, byte by byte.
fn strictly(what: &str, der: &[u8], signed: &[u8], signature: &BitString<'_>) -> Result<(), AppraisalError> {
    let value = &signature.data;
    let around = || {
        let outer_name_and_value = strip_header(der, SEQUENCE)?.strip_prefix(signed)?;
        let (name, rest) = outer_name_and_value.split_at_checked(outer_name_and_value.len() - value.len())?;
        let name = name.strip_suffix(&[&header(BIT_STRING, value.len() + 1)[..], &[0]].concat()[..])?;
        (rest == &value[..] && !name.is_empty() && signed.windows(name.len()).any(|part| part == name)).then_some(())
    };
    around()
        .ok_or_else(|| bad(what, "in DER what is not signed, too, and one name of the algorithm", "another encoding"))
}

/// What a header of this tag, in its one form, promises; nothing may follow it.
fn strip_header(der: &[u8], tag: u8) -> Option<&[u8]> {
    // A header has two to four bytes below 64 KiB; nothing here is longer.
    (2..=4)
        .filter_map(|at| der.split_at_checked(at))
        .find(|(head, rest)| *head == header(tag, rest.len()))
        .map(|(_, r)| r)
}

/// X.690 sections 8.1.3 and 10.1, up to 64 KiB.
fn header(tag: u8, length: usize) -> Vec<u8> {
    let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    match length {
        0..=0x7f => vec![tag, low],
        0x80..=0xff => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    }
}

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// From when to when a certificate is valid.
pub(crate) fn certificate_window(der: &[u8]) -> Result<(Timestamp, Timestamp), AppraisalError> {
    let certificate = parse(der)?;
    let validity = certificate.validity();
    Ok((timestamp(validity.not_before.timestamp()), timestamp(validity.not_after.timestamp())))
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
        self.signed(what, &tbs.issuer, tbs.as_ref(), &certificate.signature_value)?;
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
        self.signed(what, crl.issuer(), crl.tbs_cert_list.as_ref(), &crl.signature_value)?;
        let (begin, end) = crl_window(&crl)?;
        within(what, begin, end, now)?;
        Ok(crl)
    }

    fn signed(
        &self,
        what: &str,
        issuer: &X509Name<'_>,
        tbs: &[u8],
        signature: &BitString<'_>,
    ) -> Result<(), AppraisalError> {
        if issuer.as_raw() != self.certificate.subject().as_raw() {
            return Err(bad(what, format!("issued by {}", self.certificate.subject()), format!("by {issuer}")));
        }
        let key = &self.certificate.public_key().subject_public_key.data;
        if verifies(Scheme::P256Sha256Asn1, key, tbs, &signature.data) {
            return Ok(());
        }
        Err(bad(what, format!("signed by {}", self.certificate.subject()), "another signature"))
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
