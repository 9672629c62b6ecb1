//! The certificates and CRLs of AMD that are at hand.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::chain::{self, Crl};
use super::{AmdRoot, AmdSet, AmdSetId, SigningKey, SnpProduct, SnpReport, Vek};
use crate::appraise::AppraisalError;
use crate::evidence::SnpEndorsements;
use crate::{Reason, Timestamp};

/// What reports are verified with: chains by chip and TCB, CAs, and one CRL a product. Everything in it was verified
/// when it came, and is verified again in every appraisal.
#[derive(Debug, Default)]
pub struct AmdBook {
    /// The oldest first. Invariant: at most [`AmdBook::MAX_CHAINS`].
    chains: RwLock<VecDeque<Kept>>,
    /// ASKs and ASVKs from a service, for peers that bring the certificate of a key alone.
    authorities: RwLock<HashMap<AmdSetId, Vec<u8>>>,
    crls: RwLock<HashMap<SnpProduct, Crl>>,
    epoch: AtomicU64,
}

/// Keys that are tried on one report which does not name its key. A verification on P-384 takes about half a millisecond.
const MOST_TRIED: usize = 8;

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
        // The same key may be certified anew, with a later end. Simulated chips share theirs.
        let names = |vek: &Vek| (vek.point.clone(), vek.chip_id, vek.tcb);
        chains.retain(|kept| names(&kept.vek) != names(&vek));
        if chains.len() >= Self::MAX_CHAINS {
            chains.pop_front();
        }
        chains.push_back(Kept { vek, endorsements: Arc::new(endorsements.clone()) });
        Ok(())
    }

    /// Keeps a CRL (DER) in the place of the one before. From then on every appraisal of this product needs a CRL
    /// that is valid. An older list than the one at hand is refused: it hides a revocation.
    pub fn insert_crl(&self, der: &[u8], roots: &[AmdRoot], now: Timestamp) -> Result<SnpProduct, AppraisalError> {
        let (product, crl) = Crl::verify(der, roots, now)?;
        let mut crls = self.crls.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(present) = crls.get(&product) {
            let (known, found) = (present.window()?.issued, crl.window()?.issued);
            if found < known {
                let expected = format!("one of {known} or later");
                return Err(AppraisalError::new(
                    Reason::Collateral,
                    "rollback of AMD's CRL",
                    expected,
                    found.to_string(),
                ));
            }
            if *present == crl {
                return Ok(product);
            }
        }
        crls.insert(product, crl);
        self.epoch.fetch_add(1, Ordering::Release);
        Ok(product)
    }

    /// Keeps a whole set, verified.
    pub fn insert_set(&self, set: &AmdSet, roots: &[AmdRoot], now: Timestamp) -> Result<(), AppraisalError> {
        set.verify(roots, now)?;
        self.insert_crl(&set.crl, roots, now)?;
        self.authorities.write().unwrap_or_else(PoisonError::into_inner).insert(set.id, set.ask.clone());
        for certificate in &set.certificates {
            self.insert(&set.endorsements(certificate), roots, now)?;
        }
        Ok(())
    }

    /// Rises with every CRL that takes the place of another, or of none: what was judged before is to be judged again.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    pub fn len(&self) -> usize {
        self.chains.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the certificates for a report are at hand. Whether they do is for the appraisal to say.
    pub fn serves(&self, report: &[u8]) -> bool {
        SnpReport::parse(report).is_ok_and(|report| self.find(&report).is_some())
    }

    pub(in crate::appraise) fn crl(&self, product: SnpProduct) -> Option<Crl> {
        self.crls.read().unwrap_or_else(PoisonError::into_inner).get(&product).cloned()
    }

    /// What a peer sent, with the CA from here if it sent none.
    pub(in crate::appraise) fn complete(
        &self,
        sent: &SnpEndorsements,
        roots: &[AmdRoot],
        now: Timestamp,
    ) -> Result<SnpEndorsements, AppraisalError> {
        if !sent.ask.is_empty() {
            return Ok(sent.clone());
        }
        let authorities = self.authorities.read().unwrap_or_else(PoisonError::into_inner);
        let with = |ask: &Vec<u8>| SnpEndorsements { vcek: sent.vcek.clone(), ask: ask.clone() };
        let fits = |ask: &&Vec<u8>| chain::verify(&with(ask), roots, now).is_ok();
        authorities.values().find(fits).map(with).ok_or_else(|| {
            let expected = "the one that issued the VCEK or VLEK, which came without it";
            AppraisalError::new(Reason::Collateral, "the ASK or ASVK", expected, "none at hand")
        })
    }

    /// The chain that fits the report. Where neither chip nor cloud is named, keys are told apart by the signature: the
    /// last few that came or were found are tried, for anybody can send such a report, and each try is a verification. A
    /// cloud has few such keys; a host that hides its chip hands out the certificate, which is then the last that came.
    pub(in crate::appraise) fn find(&self, report: &SnpReport) -> Option<Arc<SnpEndorsements>> {
        let chains = self.chains.read().unwrap_or_else(PoisonError::into_inner);
        let mut fitting = chains.iter().enumerate().rev().filter(|(_, kept)| kept.vek.vouches_for(report).is_ok());
        let named = report.signing_key() == Some(SigningKey::Vcek) && !report.chip_is_masked();
        if named {
            return fitting.next().map(|(_, kept)| Arc::clone(&kept.endorsements));
        }
        let mut tried = fitting.take(MOST_TRIED);
        let (at, found) = tried.find(|(_, kept)| report.check_signature(&kept.vek.point).is_ok())?;
        let (endorsements, is_last) = (Arc::clone(&found.endorsements), at + 1 == chains.len());
        drop(chains);
        if !is_last {
            self.found(&endorsements);
        }
        Some(endorsements)
    }

    /// A chain that is in use is not pushed out of those that are tried.
    fn found(&self, endorsements: &Arc<SnpEndorsements>) {
        let mut chains = self.chains.write().unwrap_or_else(PoisonError::into_inner);
        let at = chains.iter().position(|kept| Arc::ptr_eq(&kept.endorsements, endorsements));
        if let Some(kept) = at.and_then(|at| chains.remove(at)) {
            chains.push_back(kept);
        }
    }
}
