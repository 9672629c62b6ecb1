//! What comes in and what has to go.

use std::sync::Arc;
use std::time::Instant;

use inclavared_attest::appraise::{Collateral, CollateralId, Root};

use super::{Entry, Key, MAX_KNOWN, Shared, State};
use crate::CollateralError;
use crate::freshness::Freshness;

impl Shared {
    /// What was kept on disk, verified again: the disk may have been written by others, and time has passed. A set
    /// that has expired still tells how new the next one has to be.
    pub(super) fn load(&self) {
        let Some(disk) = &self.disk else { return };
        let now = self.settings.clock.now();
        for (root, set) in disk.load(&self.roots, self.settings.cache.max_sets) {
            let Some(root_der) = self.roots.der(root) else { continue };
            let id = set.id();
            if set.expires() <= now {
                // Its signatures can still be judged at a time when it was valid.
                if set.verify(root_der, set.epoch().issued).is_ok() {
                    self.state().known.insert((root, id), Freshness::of(&set));
                }
                continue;
            }
            let kept = set.verify(root_der, now).map_err(CollateralError::Refused);
            if let Err(error) = kept.and_then(|()| self.keep(root, Arc::new(set), false)) {
                let error = crate::client::chain(&error);
                tracing::warn!(%id, %error, "kept collateral is refused");
            }
        }
    }

    /// A set that somebody handed in. It is written to disk at once.
    pub(super) fn take(&self, root: Root, set: Arc<Collateral>, pinned: bool) -> Result<(), CollateralError> {
        let root_der = self.roots.der(root).ok_or(CollateralError::NoRoot(root))?;
        set.verify(root_der, self.settings.clock.now()).map_err(CollateralError::Refused)?;
        self.keep(root, Arc::clone(&set), pinned)?;
        self.store(root, &set);
        Ok(())
    }

    /// Puts a verified set into the book, unless it is older than what is known or there is no room for it.
    pub(super) fn keep(&self, root: Root, set: Arc<Collateral>, pinned: bool) -> Result<(), CollateralError> {
        let key = (root, set.id());
        let freshness = Freshness::of(&set);
        let mut state = self.state();
        let known = state.known.get(&key).copied();
        if let Some(what) = known.and_then(|known| freshness.older_than(&known)) {
            self.counters.count_rollback();
            return Err(CollateralError::Rollback { id: key.1.into(), what });
        }
        let bytes = size(&set);
        let released = self.make_room(&mut state, key, bytes)?;
        let previous = self.book.get(root, key.1);
        let changed = previous.is_some_and(|previous| previous.digest() != set.digest());
        let refresh_at = self.next_refresh(root, &set);
        let (digest, expires) = (set.digest(), set.expires());
        self.book.insert(root, set).map_err(|error| {
            self.counters.count_rollback();
            CollateralError::Rollback { id: key.1.into(), what: error.to_string() }
        })?;
        let pinned = pinned || state.entries.get(&key).is_some_and(|entry| entry.pinned);
        let (used, fetched) = (Instant::now(), self.settings.clock.now());
        let entry = Entry { bytes, fetched, used, refresh_at, failed_refreshes: 0, pinned };
        state.entries.insert(key, entry);
        state.failures.remove(&key);
        state.remember(key, known.map_or(freshness, |known| freshness.max(known)));
        drop(state);

        for id in released {
            self.remove_file(id);
        }
        tracing::info!(id = %key.1, ?root, %digest, %expires, changed, "collateral");
        if changed {
            self.changes.send_modify(|count| *count += 1);
        }
        self.due.notify_one();
        Ok(())
    }

    /// Lets go of what was not asked for in a while, the longest unused first.
    fn make_room(&self, state: &mut State, key: Key, bytes: usize) -> Result<Vec<Key>, CollateralError> {
        let cache = &self.settings.cache;
        let now = self.settings.clock.now();
        let expired = |key: &Key| self.book.get(key.0, key.1).is_none_or(|set| set.expires() <= now);
        let mut released = Vec::new();
        loop {
            let others = || state.entries.iter().filter(|(other, _)| **other != key && !released.contains(*other));
            let full = others().count() >= cache.max_sets;
            let total: usize = others().map(|(_, entry)| entry.bytes).sum();
            if !full && total.saturating_add(bytes) <= cache.max_bytes {
                break;
            }
            let free =
                |(key, entry): &(&Key, &Entry)| !entry.pinned && (entry.used.elapsed() >= cache.in_use || expired(key));
            match others().filter(free).min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key) {
                Some(key) => released.push(key),
                None if full => {
                    let found = "as many sets as are kept, all in use";
                    return Err(CollateralError::Limited { id: key.1.into(), found, limit: cache.max_sets });
                }
                None => {
                    let found = "as many bytes of collateral as are kept, all in use";
                    return Err(CollateralError::Limited { id: key.1.into(), found, limit: cache.max_bytes });
                }
            }
        }
        for key in &released {
            state.entries.remove(key);
            self.book.remove(key.0, key.1);
        }
        Ok(released)
    }

    /// Blocks for as long as the disk takes. A disk that fails costs a fetch after the next start, and nothing else.
    pub(super) fn store(&self, root: Root, set: &Collateral) {
        if let Some(disk) = &self.disk
            && let Err(error) = disk.store(root, &self.roots, set)
        {
            tracing::warn!(id = %set.id(), %error, "collateral cannot be kept on disk");
        }
    }

    fn remove_file(&self, (root, id): (Root, CollateralId)) {
        if let Some(disk) = &self.disk
            && let Err(error) = disk.remove(root, &self.roots, id)
        {
            tracing::warn!(%id, %error, "collateral cannot be removed from disk");
        }
    }
}

impl State {
    fn remember(&mut self, key: Key, freshness: Freshness) {
        if self.known.len() >= MAX_KNOWN && !self.known.contains_key(&key) {
            let entries = &self.entries;
            self.known.retain(|key, _| entries.contains_key(key));
        }
        self.known.insert(key, freshness);
    }
}

/// What a set takes in memory, near enough.
fn size(set: &Collateral) -> usize {
    let set = set.as_set();
    [
        set.pck_crl_issuer_chain.len(),
        set.root_ca_crl.len(),
        set.pck_crl.len(),
        set.tcb_info_issuer_chain.len(),
        set.tcb_info.len(),
        set.qe_identity_issuer_chain.len(),
        set.qe_identity.len(),
    ]
    .iter()
    .sum()
}
