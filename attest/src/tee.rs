//! Which environments there are, and which forms evidence of them has: two closed lists that everything else names.

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

impl EvidenceTag {
    /// The CBOR tag.
    pub const fn number(self) -> u64 {
        match self {
            Self::IntelQuote => 60000,
            Self::SevSnp => 0x1A_7504,
            Self::Simulated => 60900,
            Self::Null => 60901,
        }
    }

    /// The form with this CBOR tag, if it is one that is read here.
    pub(crate) const fn from_number(tag: u64) -> Option<Self> {
        match tag {
            60000 => Some(Self::IntelQuote),
            0x1A_7504 => Some(Self::SevSnp),
            60900 => Some(Self::Simulated),
            60901 => Some(Self::Null),
            _ => None,
        }
    }
}

/// The kind of trusted execution environment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tee {
    /// Intel SGX: an enclave within a process.
    Sgx,
    /// Intel TDX: a whole virtual machine.
    Tdx,
    /// AMD SEV-SNP: a whole virtual machine.
    SevSnp,
    /// Nothing: the null attester.
    None,
}
