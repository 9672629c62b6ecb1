//! The appraiser: from a tag to the root and the collateral that may judge it.

use std::sync::Arc;

use super::dcap::ParsedQuote;
use super::{
    AppraisalError, Appraise, Appraised, CodeIdentity, Collateral, CollateralBook, Platform, Root, TcbStatus,
    TrustRoots,
};
use crate::evidence::{Evidence, EvidenceTag, Tee};
use crate::{CollateralDigest, Reason, Timestamp};

/// Appraises evidence with the roots and the collateral that it was given. It fetches nothing: what the book lacks
/// is refused with [`Reason::Collateral`].
#[derive(Clone, Debug)]
pub struct Appraiser {
    roots: TrustRoots,
    book: Arc<CollateralBook>,
}

impl Appraiser {
    pub fn new(roots: TrustRoots, book: Arc<CollateralBook>) -> Self {
        Self { roots, book }
    }

    pub fn roots(&self) -> &TrustRoots {
        &self.roots
    }

    pub fn book(&self) -> &Arc<CollateralBook> {
        &self.book
    }

    /// Appraises with collateral that came with the evidence. It is believed no further than its signatures go.
    pub fn appraise_with(
        &self,
        evidence: &Evidence,
        collateral: &Collateral,
        now: Timestamp,
    ) -> Result<Appraised, AppraisalError> {
        self.appraise_quote(evidence.tag(), evidence.quote(), now, |_, _| Ok(collateral))
    }

    pub(crate) fn appraise_bytes(
        &self,
        tag: EvidenceTag,
        quote: &[u8],
        now: Timestamp,
    ) -> Result<Appraised, AppraisalError> {
        self.appraise_quote(tag, quote, now, |root, id| {
            self.book.get(root, id).ok_or_else(|| {
                AppraisalError::new(Reason::Collateral, "collateral", format!("a set for {id}"), "none at hand")
            })
        })
    }

    fn appraise_quote<C: AsRef<Collateral>>(
        &self,
        tag: EvidenceTag,
        quote: &[u8],
        now: Timestamp,
        collateral: impl FnOnce(Root, super::CollateralId) -> Result<C, AppraisalError>,
    ) -> Result<Appraised, AppraisalError> {
        match tag {
            EvidenceTag::IntelQuote | EvidenceTag::Simulated => {
                let quote = ParsedQuote::parse(tag, quote)?;
                let root_der = self.roots.der(quote.root).ok_or_else(|| {
                    AppraisalError::new(
                        Reason::Simulated,
                        "simulated evidence",
                        "a simulated platform that was named as a root of trust",
                        "none",
                    )
                })?;
                quote.appraise(root_der, collateral(quote.root, quote.id)?.as_ref(), now)
            }
            EvidenceTag::SevSnp => Err(AppraisalError::new(
                Reason::Tee,
                "SEV-SNP evidence",
                "SGX or TDX",
                "SEV-SNP, which is not supported yet",
            )),
            EvidenceTag::Null => Ok(null(now)),
        }
    }
}

impl Appraise for Appraiser {
    fn appraise(&self, evidence: &Evidence, now: Timestamp) -> Result<Arc<Appraised>, AppraisalError> {
        self.appraise_bytes(evidence.tag(), evidence.quote(), now).map(Arc::new)
    }
}

impl AsRef<Collateral> for Collateral {
    fn as_ref(&self) -> &Collateral {
        self
    }
}

/// What is known of a peer without evidence: nothing. The worst status stands in it, so that no rule but the one
/// that names the null verifier lets it pass.
fn null(now: Timestamp) -> Appraised {
    Appraised {
        tee: Tee::None,
        root: Root::None,
        code: CodeIdentity::None,
        debug: false,
        tcb_status: TcbStatus::Revoked,
        tcb_date: Timestamp(0),
        advisories: Vec::new(),
        platform: Platform::default(),
        collateral: CollateralDigest::from_bytes([0; 32]),
        appraised_at: now,
        expires: Timestamp(u64::MAX),
    }
}
