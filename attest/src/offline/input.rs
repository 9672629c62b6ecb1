//! What a file of evidence is.

use crate::appraise::{ParsedQuote, amd_root, parse, pem_certificates};
use crate::certificate::{self, EvidenceForm};
use crate::evidence::{Evidence, EvidenceError, FreshEvidence, Quoted};
use crate::quote::{Layout, QuoteError};
use crate::tee::{EvidenceTag, Tee};
use crate::{Reason, Timestamp};

/// A piece of evidence as it lies in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    Quote(QuoteInput),
    Certificate(CertificateInput),
    Evidence(EvidenceInput),
}

/// A quote or report without claims.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuoteInput {
    /// A bare quote has no tag. Its certificates say whether it is simulated: who made them is checked afterwards.
    pub tag: EvidenceTag,
    pub tee: Tee,
    /// Cut to its parsed length.
    pub quote: Vec<u8>,
    /// How many bytes were behind it.
    pub padding: usize,
}

/// An X.509 certificate with evidence in it, or without.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateInput {
    pub der: Vec<u8>,
    /// From when on it is valid: the time at which its form can be looked at whatever the clock says.
    pub not_before: Timestamp,
    /// Certificates behind the first one in a PEM file: not looked at.
    pub further: usize,
}

/// Evidence as it travels: a quote with the claims that it covers, of a key or over legs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EvidenceInput(pub(super) Quoted);

/// A file that is no evidence.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InputError {
    #[error("a file of {size} bytes: {max} at most")]
    TooLarge { size: usize, max: usize },
    #[error("an empty file")]
    Empty,
    #[error("neither a quote, nor a report, nor evidence, nor a certificate (raw, in hexadecimal, DER or PEM)")]
    Unknown,
    #[error("it begins like a quote, and is none")]
    Quote(#[source] QuoteError),
    #[error("it begins like evidence, and is none")]
    Evidence(#[source] EvidenceError),
    #[error("it begins like a certificate, and is none: {0}")]
    Certificate(String),
    #[error("collateral: {0}")]
    Collateral(String),
}

impl Input {
    /// In bytes. Quotes come padded, and in hexadecimal; none is near this.
    pub const MAX_LEN: usize = 1024 * 1024;

    /// Raw or in hexadecimal: an SGX quote v3, a TDX quote v4 or v5, an SEV-SNP report, evidence with its CBOR tag; in DER
    /// or PEM: a certificate.
    pub fn read(bytes: &[u8]) -> Result<Self, InputError> {
        if bytes.len() > Self::MAX_LEN {
            return Err(InputError::TooLarge { size: bytes.len(), max: Self::MAX_LEN });
        }
        if bytes.trim_ascii().is_empty() {
            return Err(InputError::Empty);
        }
        if let Some(pem) = std::str::from_utf8(bytes).ok().filter(|text| text.contains(PEM)) {
            return Self::pem(pem);
        }
        match hexadecimal(bytes) {
            Some(decoded) => Self::raw(&decoded),
            None => Self::raw(bytes),
        }
    }

    /// The SEV-SNP report in it, genuine or simulated; `None` if it is something else. Nothing is checked.
    pub fn snp_report(&self) -> Option<Vec<u8>> {
        match self {
            Self::Quote(quote) => amd_root(quote.tag, &quote.quote).map(|_| quote.quote.clone()),
            Self::Certificate(certificate) => {
                let (_, tagged) = certificate::locate_evidence(&certificate.der);
                let evidence = Evidence::decode(&tagged?).ok()?;
                amd_root(evidence.tag(), evidence.quote()).map(|_| evidence.quote().to_vec())
            }
            Self::Evidence(EvidenceInput(quoted)) => {
                amd_root(quoted.tag(), quoted.quote()).map(|_| quoted.quote().to_vec())
            }
        }
    }

    fn pem(text: &str) -> Result<Self, InputError> {
        let mut ders = pem_certificates(text).map_err(|e| InputError::Certificate(e.to_string()))?.into_iter();
        let der = ders.next().ok_or_else(|| InputError::Certificate("no certificate in it".into()))?;
        Self::certificate(der, ders.count())
    }

    fn certificate(der: Vec<u8>, further: usize) -> Result<Self, InputError> {
        let not_before = match parse(&der) {
            Ok(certificate) => certificate.validity().not_before.timestamp(),
            Err(error) => return Err(InputError::Certificate(error.to_string())),
        };
        let not_before = Timestamp(u64::try_from(not_before).unwrap_or(0));
        Ok(Self::Certificate(CertificateInput { der, not_before, further }))
    }

    fn raw(bytes: &[u8]) -> Result<Self, InputError> {
        let Some(head) = bytes.first_chunk::<4>() else { return Err(InputError::Unknown) };
        match *head {
            [0xd9, 0xea, 0x60, _] | [0xd9, 0xed, 0xe4 | 0xe5, _] | [0xda, 0x00, 0x1a, 0x75] => {
                Quoted::decode(bytes).map(|quoted| Self::Evidence(EvidenceInput(quoted))).map_err(InputError::Evidence)
            }
            [0x30, 0x82 | 0x83, ..] => Self::certificate(bytes.to_vec(), 0),
            // An SNP report has its version in 32 bits; a quote of Intel's has the kind of its key behind 16.
            [2..=5, 0, 0, 0] => QuoteInput::read(EvidenceTag::SevSnp, bytes).map(Self::Quote),
            [3..=5, 0, 2 | 3, 0] => QuoteInput::read(EvidenceTag::IntelQuote, bytes).map(Self::Quote),
            _ => Err(InputError::Unknown),
        }
    }
}

impl QuoteInput {
    fn read(tag: EvidenceTag, bytes: &[u8]) -> Result<Self, InputError> {
        let layout = Layout::read(tag, bytes).map_err(InputError::Quote)?;
        // `layout.len` is at most the length of what was read.
        let quote = bytes[..layout.len].to_vec();
        let tag = if tag == EvidenceTag::IntelQuote { tag_of_intels(&quote) } else { tag };
        Ok(Self { tag, tee: layout.tee, padding: bytes.len() - layout.len, quote })
    }

    pub(super) fn form(&self) -> &'static str {
        if self.tag == EvidenceTag::SevSnp { "report" } else { "quote" }
    }
}

impl EvidenceInput {
    pub(super) fn form(&self) -> &'static str {
        if self.fresh().is_some() { "fresh-quote" } else { "evidence" }
    }

    pub(super) fn of_a_key(&self) -> Option<Evidence> {
        self.0.clone().into_evidence().ok()
    }

    pub(super) fn fresh(&self) -> Option<FreshEvidence> {
        self.0.clone().into_fresh().ok()
    }
}

impl CertificateInput {
    /// Where in it the evidence stands.
    pub fn form(&self) -> EvidenceForm {
        certificate::locate_evidence(&self.der).0
    }
}

/// A quote without a tag is simulated if its certificates say so: who made them is checked afterwards.
pub(super) fn tag_of_intels(quote: &[u8]) -> EvidenceTag {
    let genuine = ParsedQuote::parse(EvidenceTag::IntelQuote, quote);
    match genuine.is_err_and(|error| error.reason == Reason::Simulated) {
        true => EvidenceTag::Simulated,
        false => EvidenceTag::IntelQuote,
    }
}

/// The bytes behind hexadecimal digits; `None` if there is anything else. White space may stand anywhere.
fn hexadecimal(bytes: &[u8]) -> Option<Vec<u8>> {
    let digits: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    hex::decode(digits.strip_prefix(b"0x").unwrap_or(&digits)).ok()
}

const PEM: &str = "-----BEGIN ";
