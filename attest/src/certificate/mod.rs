//! Hop certificates: issued around evidence, parsed strictly (docs/PROTOCOL.md section 2).
//!
//! A certificate is self-signed: its signature shows that the key was held, and nothing else. What makes a peer
//! trusted is the evidence in an extension, appraised elsewhere; here its form and its tie to the key are checked.

mod cmw;
mod error;
#[cfg(feature = "issue")]
mod issue;
#[cfg(feature = "issue")]
mod issue_error;
#[cfg(feature = "issue")]
mod issue_legacy;
mod legacy;
mod locate;
mod parse;
#[cfg(test)]
pub(crate) mod testing;
mod x509;

pub use cmw::CmwError;
pub use error::CertificateError;
#[cfg(feature = "sim")]
pub(crate) use issue::key_identifier;
#[cfg(feature = "issue")]
pub use issue::{HopCertificate, issue, issue_named, issue_with_endorsements};
#[cfg(feature = "issue")]
pub use issue_error::IssueError;
#[cfg(feature = "issue")]
pub use issue_legacy::{LegacyKey, issue_legacy};
pub use legacy::{LegacyCertificate, parse_legacy};
pub use locate::EvidenceForm;
pub(crate) use locate::locate_evidence;
pub use parse::{PeerCertificate, parse, parse_interoperable};
pub use x509::KeyAlgorithm;

/// In bytes. The TLS library's own parser goes no further, and a handshake message has no more room.
pub const MAX_CERTIFICATE_LEN: usize = 64 * 1024 - 1;

/// Contents of object identifiers, as they stand in DER.
mod oid {
    /// 2.23.133.5.4.9, TCG DICE tagged evidence.
    pub(super) const TAGGED_EVIDENCE: &[u8] = &[0x67, 0x81, 0x05, 0x05, 0x04, 0x09];
    /// 2.23.133.5.4.2, TCG DICE endorsements.
    pub(super) const ENDORSEMENTS: &[u8] = &[0x67, 0x81, 0x05, 0x05, 0x04, 0x02];
    /// 1.3.6.1.5.5.7.1.35, id-pe-cmw.
    pub(super) const CMW: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x23];
    /// 1.2.840.113741.1337.6, the SGX quote of early RA-TLS.
    pub(super) const LEGACY_QUOTE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x8a, 0x39, 0x06];
    /// The same as Gramine writes it: with the DER header of the identifier inside the identifier.
    pub(super) const LEGACY_QUOTE_GRAMINE: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x8a, 0x39, 0x06];
    /// 1.2.840.113741.1337, under which early RA-TLS put everything.
    pub(super) const LEGACY_ARC: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x8a, 0x39];

    /// 2.5.29.15, .17, .19, .37: what RFC 5280 defines and is read here or by the TLS library.
    pub(super) const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
    pub(super) const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
    pub(super) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
    pub(super) const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];

    /// 1.2.840.113549.1.1.1
    pub(super) const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    /// 1.2.840.10045.4.3.2, .3
    pub(super) const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    pub(super) const ECDSA_WITH_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];
    /// 1.2.840.113549.1.1.11, .12
    pub(super) const SHA256_WITH_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];
    pub(super) const SHA384_WITH_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c];

    /// Dotted decimals, as far as they are worth a line. The library's own panics on a truncated identifier.
    pub(super) fn dotted(content: &[u8]) -> String {
        let mut numbers = Vec::new();
        let mut number: u64 = 0;
        for byte in content.iter().take(32) {
            number = (number << 7) | u64::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                if numbers.is_empty() {
                    let first = (number / 40).min(2);
                    numbers.push(first);
                    number -= first * 40;
                }
                numbers.push(number);
                number = 0;
            }
        }
        numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn shows_dotted_decimals() {
            for (content, expected) in [
                (TAGGED_EVIDENCE, "2.23.133.5.4.9"),
                (ENDORSEMENTS, "2.23.133.5.4.2"),
                (CMW, "1.3.6.1.5.5.7.1.35"),
                (LEGACY_QUOTE, "1.2.840.113741.1337.6"),
                (LEGACY_QUOTE_GRAMINE, "0.6.9.42.840.113741.1337.6"),
                (KEY_USAGE, "2.5.29.15"),
                (&[0x88, 0x37], "2.999"),
                (&[0x80, 0xff], ""),
                (&[], ""),
            ] {
                assert_eq!(dotted(content), expected);
            }
            dotted(&[0xff; 100]);
        }
    }
}
