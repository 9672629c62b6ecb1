//! What can be read off a quote without judging it: which TEE made it, where its user data stand, how long it is.
//!
//! Nothing here verifies anything. Every read is bounds-checked: a quote comes from a peer.
//! Formats: Intel "SGX ECDSA Quote Library Reference for DCAP" appendix A (v3), "TDX DCAP Quoting Library API"
//! appendix A.3 (v4, v5); AMD "SEV-SNP Firmware ABI" table 23.

#[cfg(test)]
pub(crate) mod testing;

use crate::Reason;
use crate::tee::{EvidenceTag, Tee};

/// The shape of one quote, read off its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    pub tee: Tee,
    /// The format's version: Intel's 3, 4 or 5; AMD's report version.
    pub version: u32,
    /// Where the 64 bytes of user data start. Invariant: `user_data + 64 <= len`.
    pub user_data: usize,
    /// The parsed length: platforms pad their quotes behind it. Invariant: at most the length of what was read.
    pub len: usize,
}

impl Layout {
    pub fn read(tag: EvidenceTag, quote: &[u8]) -> Result<Self, QuoteError> {
        match tag {
            EvidenceTag::Simulated if is_snp_report(quote) => sev_snp(quote),
            EvidenceTag::IntelQuote | EvidenceTag::Simulated => intel(quote),
            EvidenceTag::SevSnp => sev_snp(quote),
            EvidenceTag::Null => Err(QuoteError::NoQuote),
        }
    }
}

/// Which TEE made the quote. [`Tee::None`] for the null attester, which makes none.
pub fn tee(tag: EvidenceTag, quote: &[u8]) -> Result<Tee, QuoteError> {
    match tag {
        EvidenceTag::Null => Ok(Tee::None),
        _ => Ok(Layout::read(tag, quote)?.tee),
    }
}

/// The 64 bytes that the attester chose (`report_data`).
pub fn user_data(tag: EvidenceTag, quote: &[u8]) -> Result<[u8; 64], QuoteError> {
    let layout = Layout::read(tag, quote)?;
    array_at(quote, layout.user_data)
}

/// The quote without the padding behind its parsed length.
pub fn cut(tag: EvidenceTag, quote: &[u8]) -> Result<&[u8], QuoteError> {
    let layout = Layout::read(tag, quote)?;
    bytes_at(quote, 0, layout.len)
}

/// A quote whose shape cannot be read. The peer's fault, or the platform's when it is our own.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum QuoteError {
    #[error("a quote that ends too early: {needed} bytes are needed, {found} are there")]
    TooShort { needed: usize, found: usize },
    #[error("a quote of version {version}: known are Intel's 3 (SGX), 4 and 5 (TDX)")]
    Version { version: u16 },
    #[error("a quote of version {version} with TEE type {tee_type:#x}: version 3 is SGX (0), 4 and 5 are TDX (0x81)")]
    TeeType { version: u16, tee_type: u32 },
    #[error("a quote of version 5 with body type {body_type} of {size} bytes")]
    Body { body_type: u16, size: u32 },
    #[error("an SEV-SNP report of version {version}: known are 2 to 5")]
    SnpVersion { version: u32 },
    #[error("the null attester makes no quote")]
    NoQuote,
}

impl QuoteError {
    pub fn reason(&self) -> Reason {
        match self {
            Self::NoQuote => Reason::Null,
            _ => Reason::EvidenceForm,
        }
    }
}

fn intel(quote: &[u8]) -> Result<Layout, QuoteError> {
    let version = u16::from_le_bytes(array_at(quote, 0)?);
    let tee_type = u32::from_le_bytes(array_at(quote, 4)?);
    let (tee, body, body_len, user_data) = match (version, tee_type) {
        (3, TEE_TYPE_SGX) => (Tee::Sgx, HEADER_LEN, SGX_BODY_LEN, SGX_USER_DATA),
        (4, TEE_TYPE_TDX) => (Tee::Tdx, HEADER_LEN, TD_1_0_BODY_LEN, TDX_USER_DATA),
        (5, TEE_TYPE_TDX) => {
            let body_type = u16::from_le_bytes(array_at(quote, HEADER_LEN)?);
            let size = u32::from_le_bytes(array_at(quote, HEADER_LEN + 2)?);
            let body_len = match body_type {
                2 => TD_1_0_BODY_LEN,
                3 => TD_1_5_BODY_LEN,
                4 => TD_1_5_EX_BODY_LEN,
                _ => return Err(QuoteError::Body { body_type, size }),
            };
            if usize::try_from(size) != Ok(body_len) {
                return Err(QuoteError::Body { body_type, size });
            }
            (Tee::Tdx, HEADER_LEN + BODY_DESCRIPTOR_LEN, body_len, TDX_USER_DATA)
        }
        (3..=5, _) => return Err(QuoteError::TeeType { version, tee_type }),
        _ => return Err(QuoteError::Version { version }),
    };
    let signature = body + body_len;
    let signature_len = u32::from_le_bytes(array_at(quote, signature)?);
    let len = usize::try_from(signature_len).unwrap_or(usize::MAX).saturating_add(signature + 4);
    bytes_at(quote, 0, len)?;
    Ok(Layout { tee, version: u32::from(version), user_data: body + user_data, len })
}

fn sev_snp(report: &[u8]) -> Result<Layout, QuoteError> {
    let version = u32::from_le_bytes(array_at(report, 0)?);
    if !(2..=5).contains(&version) {
        return Err(QuoteError::SnpVersion { version });
    }
    bytes_at(report, 0, SNP_REPORT_LEN)?;
    Ok(Layout { tee: Tee::SevSnp, version, user_data: SNP_USER_DATA, len: SNP_REPORT_LEN })
}

/// An SEV-SNP report has its version in 32 bits; a quote of Intel's has the kind of its key, which is never 0, behind 16.
pub(crate) fn is_snp_report(bytes: &[u8]) -> bool {
    matches!(bytes, [2..=5, 0, 0, 0, ..])
}

fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> Result<[u8; N], QuoteError> {
    let slice = bytes_at(bytes, offset, N)?;
    slice.try_into().map_err(|_| QuoteError::TooShort { needed: offset + N, found: bytes.len() })
}

fn bytes_at(bytes: &[u8], offset: usize, len: usize) -> Result<&[u8], QuoteError> {
    let end = offset.saturating_add(len);
    bytes.get(offset..end).ok_or(QuoteError::TooShort { needed: end, found: bytes.len() })
}

const TEE_TYPE_SGX: u32 = 0;
const TEE_TYPE_TDX: u32 = 0x81;

/// Lengths and offsets in bytes; user data are counted from the start of the body.
const HEADER_LEN: usize = 48;
const BODY_DESCRIPTOR_LEN: usize = 6;
const SGX_BODY_LEN: usize = 384;
const SGX_USER_DATA: usize = 320;
const TD_1_0_BODY_LEN: usize = 584;
const TD_1_5_BODY_LEN: usize = 648;
const TD_1_5_EX_BODY_LEN: usize = 885;
const TDX_USER_DATA: usize = 520;
const SNP_REPORT_LEN: usize = 1184;
const SNP_USER_DATA: usize = 0x50;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTEL: EvidenceTag = EvidenceTag::IntelQuote;

    #[test]
    fn reads_each_format() {
        for (quote, tag, tee, version) in [
            (testing::sgx_v3(&[7; 64]), INTEL, Tee::Sgx, 3),
            (testing::tdx_v4(&[7; 64]), INTEL, Tee::Tdx, 4),
            (testing::tdx_v5(&[7; 64]), EvidenceTag::Simulated, Tee::Tdx, 5),
            (testing::snp(&[7; 64]), EvidenceTag::SevSnp, Tee::SevSnp, 2),
        ] {
            let layout = Layout::read(tag, &quote).unwrap();
            assert_eq!((layout.tee, layout.version, layout.len), (tee, version, quote.len()));
            assert_eq!(user_data(tag, &quote).unwrap(), [7; 64]);
            let padded = [quote.as_slice(), &[0; 70]].concat();
            assert_eq!(cut(tag, &padded).unwrap(), quote);
            for end in 0..quote.len() {
                assert!(matches!(Layout::read(tag, &quote[..end]), Err(QuoteError::TooShort { .. })), "cut at {end}");
            }
        }
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let mut quote = testing::sgx_v3(&[0; 64]);
        quote[4] = 0x81;
        assert_eq!(tee(INTEL, &quote), Err(QuoteError::TeeType { version: 3, tee_type: 0x81 }));
        quote[0] = 6;
        assert_eq!(tee(INTEL, &quote), Err(QuoteError::Version { version: 6 }));
        let mut quote = testing::tdx_v4(&[0; 64]);
        quote[4] = 0;
        assert_eq!(
            tee(INTEL, &quote),
            Err(QuoteError::TeeType { version: 4, tee_type: 0 }),
            "an SGX quote of version 4"
        );
        let mut quote = testing::tdx_v5(&[0; 64]);
        quote[50] ^= 1;
        assert!(matches!(tee(INTEL, &quote), Err(QuoteError::Body { body_type: 3, .. })));
        quote[48] = 1;
        assert!(matches!(tee(INTEL, &quote), Err(QuoteError::Body { body_type: 1, .. })));
        let mut report = testing::snp(&[0; 64]);
        report[0] = 1;
        assert_eq!(tee(EvidenceTag::SevSnp, &report), Err(QuoteError::SnpVersion { version: 1 }));
        assert_eq!(tee(EvidenceTag::Null, b""), Ok(Tee::None));
        assert_eq!(user_data(EvidenceTag::Null, b""), Err(QuoteError::NoQuote));
        assert_eq!(QuoteError::NoQuote.reason(), Reason::Null);
        assert_eq!(QuoteError::Version { version: 6 }.reason(), Reason::EvidenceForm);
    }

    #[test]
    fn a_signature_length_of_four_gigabytes_is_only_too_short() {
        let mut quote = testing::sgx_v3(&[0; 64]);
        quote[432..436].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(cut(INTEL, &quote), Err(QuoteError::TooShort { .. })));
    }

    #[test]
    fn agrees_with_the_library_that_appraises() {
        for (name, bytes) in testing::dcap_qvl_samples() {
            let parsed = dcap_qvl::quote::Quote::parse(&bytes).unwrap();
            let expected = match &parsed.report {
                dcap_qvl::quote::Report::SgxEnclave(report) => report.report_data,
                dcap_qvl::quote::Report::TD10(report) => report.report_data,
                dcap_qvl::quote::Report::TD15(report) => report.base.report_data,
                dcap_qvl::quote::Report::TD15Ex(report) => report.base.base.report_data,
            };
            assert_eq!(user_data(INTEL, &bytes).unwrap(), expected, "{name}");
            let cut = cut(INTEL, &bytes).unwrap();
            assert_eq!(dcap_qvl::quote::Quote::parse(cut).unwrap(), parsed, "{name}");
            assert!(dcap_qvl::quote::Quote::parse(&cut[..cut.len() - 1]).is_err(), "{name}: the cut leaves padding");
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..1400), version in 0u8..7, tee_type in 0u8..0x83) {
            let mut bytes = bytes;
            for (offset, value) in [(0, version), (1, 0), (4, tee_type), (5, 0), (6, 0), (7, 0)] {
                if let Some(byte) = bytes.get_mut(offset) {
                    *byte = value;
                }
            }
            for tag in [INTEL, EvidenceTag::SevSnp, EvidenceTag::Simulated, EvidenceTag::Null] {
                if let Ok(cut) = cut(tag, &bytes) {
                    prop_assert!(cut.len() <= bytes.len());
                    user_data(tag, &bytes).unwrap();
                }
            }
        }
    }
}
