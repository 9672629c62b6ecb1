//! The collateral at hand.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::snp::AmdBook;
use super::{AppraisalError, Collateral, CollateralId, Root};
use crate::Reason;

/// Collateral by what it is for. Simulated and genuine collateral never meet: the root is part of the key.
#[derive(Debug, Default)]
pub struct CollateralBook {
    entries: RwLock<HashMap<(Root, CollateralId), Arc<Collateral>>>,
    /// For SEV-SNP, whose collateral has another form.
    amd: AmdBook,
    simulated_amd: AmdBook,
}

impl CollateralBook {
    pub fn new() -> Self {
        Self::default()
    }

    /// What is at hand for SEV-SNP: simulated, or AMD's own.
    pub fn amd(&self, root: Root) -> &AmdBook {
        match root {
            Root::Simulated => &self.simulated_amd,
            Root::Intel | Root::Amd | Root::None => &self.amd,
        }
    }

    /// Keeps `collateral` for appraisal under `root`, in the place of an older set. An older set than the one at
    /// hand is refused: a service that goes back in time hides a TCB recovery.
    pub fn insert(&self, root: Root, collateral: Arc<Collateral>) -> Result<(), AppraisalError> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let key = (root, collateral.id());
        if let Some(present) = entries.get(&key)
            && collateral.epoch() < present.epoch()
        {
            return Err(AppraisalError::new(
                Reason::Collateral,
                format!("rollback of the collateral for {}", collateral.id()),
                format!("number {} of {} or later", present.epoch().number, present.epoch().issued),
                format!("number {} of {}", collateral.epoch().number, collateral.epoch().issued),
            ));
        }
        entries.insert(key, collateral);
        Ok(())
    }

    pub fn get(&self, root: Root, id: CollateralId) -> Option<Arc<Collateral>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).get(&(root, id)).cloned()
    }

    /// Lets go of a set: what is bounded has to make room. It says nothing of how old the next set may be.
    pub fn remove(&self, root: Root, id: CollateralId) -> Option<Arc<Collateral>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).remove(&(root, id))
    }

    /// Everything that is kept, in no particular order.
    pub fn all(&self) -> Vec<(Root, Arc<Collateral>)> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.iter().map(|((root, _), collateral)| (*root, Arc::clone(collateral))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::sim::{CollateralSpec, SimPlatform};
    use crate::tee::Tee;

    #[test]
    fn keeps_the_newer_set_and_refuses_the_older() {
        let now = Timestamp(1_800_000_000);
        let platform = SimPlatform::generate(now).unwrap();
        let set = |at: u64| Arc::new(platform.collateral_with(&CollateralSpec::at(Tee::Sgx, Timestamp(at))).unwrap());
        let (old, new) = (set(now.0), set(now.0 + 1));
        let book = CollateralBook::new();
        book.insert(Root::Simulated, Arc::clone(&old)).unwrap();
        book.insert(Root::Simulated, Arc::clone(&new)).unwrap();
        let refused = book.insert(Root::Simulated, Arc::clone(&old)).unwrap_err();
        assert_eq!(refused.reason, Reason::Collateral);
        assert!(refused.what.contains("rollback"), "{refused}");
        assert_eq!(book.get(Root::Simulated, new.id()).unwrap().digest(), new.digest());
        assert!(book.get(Root::Intel, new.id()).is_none());
        assert_eq!(book.all().len(), 1);
        assert!(book.remove(Root::Intel, new.id()).is_none());
        assert!(book.remove(Root::Simulated, new.id()).is_some());
        assert!(book.all().is_empty());
    }
}
