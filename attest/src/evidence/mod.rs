//! Evidence as it travels: a tagged CBOR item that holds a quote and the claims which the quote covers.

mod claims;

pub use claims::{Claims, HopClaims};

use crate::EvidenceDigest;

/// One piece of evidence: what a certificate's evidence extension holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Evidence {
    tag: EvidenceTag,
    quote: Vec<u8>,
    claims: Claims,
    blob: Vec<u8>,
}

impl Evidence {
    pub fn tag(&self) -> EvidenceTag {
        self.tag
    }

    /// The quote, cut to its own length. Empty for [`EvidenceTag::Null`].
    pub fn quote(&self) -> &[u8] {
        &self.quote
    }

    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The extension's value exactly as it was received.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    pub fn digest(&self) -> EvidenceDigest {
        EvidenceDigest::of(&self.blob)
    }
}

/// Which form a piece of evidence has. The CBOR tag decides; simulated evidence can never be taken for real.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EvidenceTag {
    /// An Intel SGX or TDX quote (TCG DICE "tagged evidence", 60000).
    IntelQuote,
    /// An AMD SEV-SNP attestation report (rats-tls' private 0x1A7504).
    SevSnp,
    /// A quote in Intel's format from a simulated platform (private, 60900).
    Simulated,
    /// No quote at all, only claims (private, 60901). Proves nothing; accepted only where a policy says so.
    Null,
}

/// The kind of trusted execution environment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tee {
    Sgx,
    Tdx,
    SevSnp,
    /// Nothing: the null attester.
    None,
}
