//! The appraiser: from a tag to the root and the collateral that may judge it.

use std::sync::Arc;

use super::dcap::ParsedQuote;
use super::snp::SnpReport;
use super::{
    AppraisalError, Appraise, Appraised, CodeIdentity, Collateral, CollateralBook, Platform, Root, TcbStatus,
    TrustRoots, snp,
};
use crate::evidence::{Endorsements, Quoted, SnpEndorsements};
use crate::tee::{EvidenceTag, Tee};
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
        evidence: &Quoted,
        collateral: &Collateral,
        now: Timestamp,
    ) -> Result<Appraised, AppraisalError> {
        self.appraise_form(evidence.tag(), evidence.quote(), now, |_, _| Ok(collateral))
    }

    /// Takes the certificates that a peer sent along with an SEV-SNP report. They are kept if AMD's roots stand behind
    /// them and they verify this very report: nobody can fill the book with what it has no report of. A CA that they come
    /// without is the book's, if it has one.
    pub fn learn(
        &self,
        evidence: &Quoted,
        endorsements: &SnpEndorsements,
        now: Timestamp,
    ) -> Result<(), AppraisalError> {
        let Some(root) = amd_root(evidence.tag(), evidence.quote()) else {
            let found = format!("{:?}", evidence.tag());
            return Err(AppraisalError::new(Reason::Tee, "what the certificates are for", "SEV-SNP", found));
        };
        let (amd, roots) = (self.book.amd(root), self.roots.amd(root));
        let endorsements = amd.complete(endorsements, roots, now)?;
        snp::appraise(evidence.quote(), &endorsements, roots, |product| amd.crl(product), now)?;
        amd.insert(&endorsements, roots, now)
    }

    /// Appraises a quote or report without claims, cut to its own length. Nothing ties it to a key: that is the
    /// caller's to check.
    pub fn appraise_quote(&self, tag: EvidenceTag, quote: &[u8], now: Timestamp) -> Result<Appraised, AppraisalError> {
        self.appraise_form(tag, quote, now, |root, id| {
            self.book.get(root, id).ok_or_else(|| {
                AppraisalError::new(Reason::Collateral, "collateral", format!("a set for {id}"), "none at hand")
            })
        })
    }

    fn appraise_form<C: AsRef<Collateral>>(
        &self,
        tag: EvidenceTag,
        quote: &[u8],
        now: Timestamp,
        collateral: impl FnOnce(Root, super::CollateralId) -> Result<C, AppraisalError>,
    ) -> Result<Appraised, AppraisalError> {
        if let Some(root) = amd_root(tag, quote) {
            return self.appraise_snp(root, quote, now);
        }
        match tag {
            EvidenceTag::IntelQuote | EvidenceTag::Simulated | EvidenceTag::SevSnp => {
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
            EvidenceTag::Null => Ok(null(now)),
        }
    }

    fn appraise_snp(&self, root: Root, bytes: &[u8], now: Timestamp) -> Result<Appraised, AppraisalError> {
        let roots = self.roots.amd(root);
        if roots.is_empty() {
            return Err(match root {
                Root::Simulated => {
                    let expected = "a simulated platform with SEV-SNP that was named as a root of trust";
                    AppraisalError::new(Reason::Simulated, "simulated evidence", expected, "none")
                }
                _ => {
                    let expected = "a TEE whose maker is trusted here";
                    AppraisalError::new(Reason::Tee, "SEV-SNP evidence", expected, "one of AMD's")
                }
            });
        }
        let report = SnpReport::parse(bytes)?;
        let amd = self.book.amd(root);
        let endorsements = amd.find(&report).ok_or_else(|| {
            let expected = format!(
                "the VCEK or VLEK, and its ASK or ASVK, for chip {} at TCB {}",
                hex::encode(report.chip_id),
                hex::encode(report.reported_tcb)
            );
            AppraisalError::new(Reason::Collateral, "AMD's certificates", expected, "none at hand")
        })?;
        snp::appraise(bytes, &endorsements, roots, |product| amd.crl(product), now)
    }
}

impl Appraise for Appraiser {
    fn appraise(&self, evidence: &Quoted, now: Timestamp) -> Result<Arc<Appraised>, AppraisalError> {
        self.appraise_quote(evidence.tag(), evidence.quote(), now).map(Arc::new)
    }

    /// AMD's certificates alone: Intel's collateral comes from where its age can be told.
    fn learn_endorsements(
        &self,
        evidence: &Quoted,
        endorsements: &Endorsements,
        now: Timestamp,
    ) -> Result<(), AppraisalError> {
        match endorsements {
            Endorsements::SevSnp(endorsements) | Endorsements::SimulatedSnp(endorsements) => {
                self.learn(evidence, endorsements, now)
            }
            Endorsements::Intel(_) | Endorsements::Simulated(_) => Ok(()),
        }
    }
}

/// Which of AMD's roots a report is to be checked with; `None` if it is no SEV-SNP report.
pub fn amd_root(tag: EvidenceTag, quote: &[u8]) -> Option<Root> {
    match tag {
        EvidenceTag::SevSnp => Some(Root::Amd),
        EvidenceTag::Simulated if crate::quote::is_snp_report(quote) => Some(Root::Simulated),
        EvidenceTag::Simulated | EvidenceTag::IntelQuote | EvidenceTag::Null => None,
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
        revocation_checked: false,
        appraised_at: now,
        expires: Timestamp(u64::MAX),
    }
}
