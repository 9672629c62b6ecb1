//! What the certificate of a VCEK or VLEK says (AMD 57230 table 8, 58369 table 2).

use x509_parser::prelude::{X509Certificate, X509Extension};

use super::{AmdRoot, SigningKey, SnpProduct, SnpReport, SnpTcb};
use crate::appraise::{AppraisalError, Root};
use crate::crypto::P384_SPKI_PREFIX;
use crate::{Reason, Timestamp};

/// A versioned endorsement key whose chain was verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Vek {
    /// Whose root it ends in: AMD's, or the simulated one.
    pub(super) root: Root,
    pub(crate) product: SnpProduct,
    pub(crate) kind: SigningKey,
    /// The key: an uncompressed point on P-384.
    pub(super) point: Vec<u8>,
    /// TCB_VERSION in the layout of the product.
    pub(super) tcb: [u8; 8],
    /// Of the chip, as reports state it. `None` for a VLEK.
    pub(super) chip_id: Option<[u8; 64]>,
    /// The serial number of the ASK or ASVK, for the CRL.
    pub(super) intermediate_serial: Vec<u8>,
    /// The earliest end in the chain.
    pub(super) expires: Timestamp,
}

impl Vek {
    /// Reads the certificate. The caller has verified it.
    pub(super) fn read(
        certificate: &X509Certificate<'_>,
        root: &AmdRoot,
        intermediate_serial: Vec<u8>,
        expires: Timestamp,
    ) -> Result<Self, AppraisalError> {
        let product = root.product;
        let extensions = Extensions(certificate);
        extensions.none_is_unknown()?;
        let hwid = extensions.find(&[HWID])?;
        let csp_id = extensions.find(&[CSP_ID])?;
        let (kind, chip_id) = match (hwid, csp_id) {
            (Some(hwid), None) => (SigningKey::Vcek, Some(chip_id(hwid, product)?)),
            (None, Some(_)) => (SigningKey::Vlek, None),
            (Some(_), Some(_)) => return Err(bad("a chip's identifier or a cloud's", "both")),
            (None, None) => return Err(bad("a chip's identifier or a cloud's", "neither")),
        };
        let mut tcb = [0; 8];
        for (part, id) in tcb.iter_mut().zip(product.tcb_extensions()) {
            *part = match extensions.find(&[TCB, id])? {
                Some(value) => small_integer(value)?,
                // Four of the eight parts are reserved, and zero.
                None if (4..=7).contains(&id) => 0,
                None => return Err(bad(format!("the TCB's part {id}"), "none")),
            };
        }
        Ok(Self {
            root: root.root,
            product,
            kind,
            point: point(certificate)?,
            tcb,
            chip_id,
            intermediate_serial,
            expires,
        })
    }

    /// That it is the key of this chip, with this TCB, and of the kind that the report names.
    pub(super) fn vouches_for(&self, report: &SnpReport) -> Result<(), AppraisalError> {
        if report.signing_key() != Some(self.kind) {
            let found = report.signing_key().map_or("none".into(), |kind| format!("{kind:?}"));
            return Err(not_of_it("the kind of key that signed the report", format!("{:?}", self.kind), found));
        }
        if report.reported_tcb != self.tcb {
            let shown = |raw| format!("{} ({})", SnpTcb::read(self.product, raw), hex::encode(raw));
            let (expected, found) = (shown(report.reported_tcb), shown(self.tcb));
            return Err(not_of_it("the TCB in the certificate of the key", expected, found));
        }
        match self.chip_id {
            Some(chip_id) if !report.chip_is_masked() && report.chip_id != chip_id => Err(not_of_it(
                "the chip in the certificate of the key",
                hex::encode(report.chip_id),
                hex::encode(chip_id),
            )),
            _ => Ok(()),
        }
    }
}

struct Extensions<'a>(&'a X509Certificate<'a>);

impl Extensions<'_> {
    /// The value of AMD's extension with these last numbers.
    fn find(&self, last: &[u8]) -> Result<Option<&[u8]>, AppraisalError> {
        let mut found = self.0.extensions().iter().filter(|extension| amd(extension) == Some(last));
        let value = found.next().map(|extension| extension.value);
        match found.next() {
            Some(_) => Err(bad(format!("the extension {last:?} once"), "twice")),
            None => Ok(value),
        }
    }

    /// A critical extension would say something that is not understood here.
    fn none_is_unknown(&self) -> Result<(), AppraisalError> {
        match self.0.extensions().iter().find(|extension| extension.critical && amd(extension).is_none()) {
            Some(other) if !STANDARD.contains(&other.oid.as_bytes()) => {
                Err(bad("known critical extensions", hex::encode(other.oid.as_bytes())))
            }
            _ => Ok(()),
        }
    }
}

/// The numbers behind AMD's arc.
fn amd<'a>(extension: &'a X509Extension<'_>) -> Option<&'a [u8]> {
    extension.oid.as_bytes().strip_prefix(ARC)
}

/// An INTEGER from 0 to 255 in DER.
fn small_integer(der: &[u8]) -> Result<u8, AppraisalError> {
    match *der {
        [2, 1, value @ 0..=0x7f] | [2, 2, 0, value @ 0x80..=0xff] => Ok(value),
        _ => Err(bad("a TCB's part from 0 to 255", hex::encode(&der[..der.len().min(16)]))),
    }
}

/// The identifier stands in the extension without any DER around it.
fn chip_id(hwid: &[u8], product: SnpProduct) -> Result<[u8; 64], AppraisalError> {
    if hwid.len() != product.hwid_len() {
        let expected = format!("a chip's identifier of {} bytes ({product})", product.hwid_len());
        return Err(bad(expected, format!("{} bytes", hwid.len())));
    }
    let mut chip_id = [0; 64];
    chip_id[..hwid.len()].copy_from_slice(hwid);
    Ok(chip_id)
}

fn point(certificate: &X509Certificate<'_>) -> Result<Vec<u8>, AppraisalError> {
    match certificate.public_key().raw.strip_prefix(P384_SPKI_PREFIX) {
        Some(point) if point.len() == 97 && point[0] == 4 => Ok(point.to_vec()),
        _ => Err(bad("a key on P-384", "another key")),
    }
}

/// The certificate is one of AMD's, and not the one of this report.
fn not_of_it(what: &str, expected: String, found: String) -> AppraisalError {
    AppraisalError::new(Reason::Collateral, what, expected, found)
}

fn bad(expected: impl Into<String>, found: impl Into<String>) -> AppraisalError {
    AppraisalError::new(Reason::Collateral, "the certificate of the VCEK or VLEK", expected, found)
}

/// 1.3.6.1.4.1.3704.1, AMD's.
const ARC: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x01];
const TCB: u8 = 3;
const HWID: u8 = 4;
const CSP_ID: u8 = 5;
/// Key usage and basic constraints.
const STANDARD: [&[u8]; 2] = [&[0x55, 0x1d, 0x0f], &[0x55, 0x1d, 0x13]];
