//! The certificates and CRLs of AMD that are at hand.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use super::chain::{self, Crl};
use super::{AmdRoot, SigningKey, SnpProduct, SnpReport, Vek};
use crate::Timestamp;
use crate::appraise::AppraisalError;
use crate::evidence::SnpEndorsements;

/// What reports are verified with: chains by chip and TCB, and one CRL a product. Everything in it was verified when
/// it came, and is verified again in every appraisal.
#[derive(Debug, Default)]
pub struct AmdBook {
    /// The oldest first. Invariant: at most [`AmdBook::MAX_CHAINS`].
    chains: RwLock<VecDeque<Kept>>,
    crls: RwLock<HashMap<SnpProduct, Crl>>,
}

#[derive(Clone, Debug)]
struct Kept {
    vek: Vek,
    endorsements: Arc<SnpEndorsements>,
}

impl AmdBook {
    /// About 3 KiB each. Beyond it the oldest goes: peers bring them, and bring them again.
    pub const MAX_CHAINS: usize = 1024;

    /// Keeps a chain, if it is one of AMD's.
    pub fn insert(
        &self,
        endorsements: &SnpEndorsements,
        roots: &[AmdRoot],
        now: Timestamp,
    ) -> Result<(), AppraisalError> {
        let vek = chain::verify(endorsements, roots, now)?;
        let mut chains = self.chains.write().unwrap_or_else(PoisonError::into_inner);
        // The same key may be certified anew, with a later end.
        chains.retain(|kept| kept.vek.point != vek.point);
        if chains.len() >= Self::MAX_CHAINS {
            chains.pop_front();
        }
        chains.push_back(Kept { vek, endorsements: Arc::new(endorsements.clone()) });
        Ok(())
    }

    /// Keeps a CRL (DER) in the place of the one before. From then on every appraisal of this product needs a CRL
    /// that is valid.
    pub fn insert_crl(&self, der: &[u8], roots: &[AmdRoot], now: Timestamp) -> Result<SnpProduct, AppraisalError> {
        let (product, crl) = Crl::verify(der, roots, now)?;
        self.crls.write().unwrap_or_else(PoisonError::into_inner).insert(product, crl);
        Ok(product)
    }

    pub fn len(&self) -> usize {
        self.chains.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(in crate::appraise) fn crl(&self, product: SnpProduct) -> Option<Crl> {
        self.crls.read().unwrap_or_else(PoisonError::into_inner).get(&product).cloned()
    }

    /// The chain that fits the report. Where neither chip nor cloud is named, keys are told apart by the signature.
    pub(in crate::appraise) fn find(&self, report: &SnpReport) -> Option<Arc<SnpEndorsements>> {
        let chains = self.chains.read().unwrap_or_else(PoisonError::into_inner);
        let mut fitting = chains.iter().rev().filter(|kept| kept.vek.vouches_for(report).is_ok());
        let named = report.signing_key() == Some(SigningKey::Vcek) && !report.chip_is_masked();
        let found =
            if named { fitting.next() } else { fitting.find(|kept| report.check_signature(&kept.vek.point).is_ok()) };
        found.map(|kept| Arc::clone(&kept.endorsements))
    }
}
