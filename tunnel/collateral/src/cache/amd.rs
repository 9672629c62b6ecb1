//! AMD's part of the cache: one set a line of processors, with the certificates of the chips that were asked for.
//!
//! Fetched when a report comes without them, and the list of revoked CAs again ahead of its end. Peers may bring the
//! certificates themselves; those never come here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use inclavared_attest::Timestamp;
use inclavared_attest::appraise::Root;
use inclavared_attest::appraise::snp::{AmdKeyId, AmdSet, AmdSetId, AmdSetWindow, SigningKey, SnpProduct, SnpRequest};
use tokio::sync::watch;
use tokio::time::timeout;

use super::refresh::{MAX_DOUBLINGS, jitter};
use super::{Shared, State};
use crate::admission::Admission;
use crate::kds::{AmdFetched, AmdWanted, MAX_KEYS};
use crate::source::pem_chain;
use crate::{AmdPart, CacheSettings, CollateralError, Endpoint, SetId};

#[derive(Debug)]
pub(super) struct AmdState {
    /// Bounded by the products and the kinds of keys.
    entries: HashMap<Key, Entry>,
    /// When the newest list that was seen of each product was issued.
    known: HashMap<(Root, SnpProduct), Timestamp>,
    flights: HashMap<Wanted, watch::Receiver<Option<Outcome>>>,
    failures: HashMap<Wanted, (Instant, CollateralError)>,
    /// Of chips that nobody has asked for before.
    admission: Admission,
}

type Key = (Root, AmdSetId);
type Wanted = (Root, SnpRequest);
type Outcome = Result<(), CollateralError>;

#[derive(Debug)]
struct Entry {
    set: AmdSet,
    window: AmdSetWindow,
    /// Of each certificate of the set, in its order.
    keys: Vec<AmdKeyId>,
    refresh_at: Timestamp,
    failed_refreshes: u32,
    fetched: Timestamp,
}

impl AmdState {
    pub(super) fn new(cache: &CacheSettings, now: Instant) -> Self {
        Self {
            entries: HashMap::new(),
            known: HashMap::new(),
            flights: HashMap::new(),
            failures: HashMap::new(),
            admission: Admission::new(cache.admit_chips_burst, cache.admit_chips_every, now),
        }
    }

    fn serves(&self, (root, request): &Wanted, now: Timestamp) -> bool {
        let valid = |id: AmdSetId| self.entries.get(&(*root, id)).filter(|entry| entry.window.expires > now);
        let own = |key: &AmdKeyId| key.chip_id == request.chip_id && key.tcb == request.tcb;
        request.products.iter().any(|product| {
            let entry = valid(AmdSetId { product: *product, key: request.key });
            entry.is_some_and(|entry| request.chip_id.is_none() || entry.keys.iter().any(own))
        })
    }

    fn flight(&mut self, wanted: &Wanted) -> Option<watch::Receiver<Option<Outcome>>> {
        let flight = self.flights.get(wanted)?;
        if flight.has_changed().is_err() {
            self.flights.remove(wanted);
            return None;
        }
        Some(flight.clone())
    }

    /// The next time at which a list is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.entries.values().map(|entry| entry.refresh_at).min()
    }

    /// Every set with when it was fetched and when it ends.
    pub(super) fn ages(&self) -> Vec<(Root, SetId, Timestamp, Timestamp)> {
        let shown = |((root, id), entry): (&Key, &Entry)| (*root, SetId::Amd(*id), entry.fetched, entry.window.expires);
        self.entries.iter().map(shown).collect()
    }
}

impl Shared {
    /// What a report needs.
    pub(super) async fn get_amd(self: &Arc<Self>, root: Root, request: SnpRequest, limit: Duration) -> Outcome {
        if request.key == SigningKey::Vcek && request.chip_id.is_none() {
            return Err(CollateralError::HiddenChip { id: SetId::of(&request) });
        }
        self.get_amd_of(root, request, limit).await
    }

    /// The same; without a chip it is the CA and its list alone.
    pub(super) async fn get_amd_of(self: &Arc<Self>, root: Root, request: SnpRequest, limit: Duration) -> Outcome {
        let id = SetId::of(&request);
        let Some(mut flight) = self.look_amd((root, request))? else { return Ok(()) };
        let outcome = match timeout(limit, flight.wait_for(Option::is_some)).await {
            Ok(Ok(outcome)) => outcome.clone(),
            Ok(Err(_)) => None,
            Err(_) => return Err(CollateralError::Deadline { id, limit }),
        };
        outcome.unwrap_or(Err(CollateralError::Stopped))
    }

    pub(super) fn want_list(self: &Arc<Self>, root: Root, id: AmdSetId) {
        let request = SnpRequest { products: vec![id.product], key: id.key, chip_id: None, tcb: [0; 8] };
        // Without a service there is none to be had, and a failure is in the log.
        if !self.amd_endpoints(root).is_empty()
            && let Err(error) = self.look_amd((root, request))
        {
            tracing::debug!(%id, %error, "no list of revoked certificates");
        }
    }

    /// `None`: it is at hand.
    fn look_amd(self: &Arc<Self>, wanted: Wanted) -> Result<Option<watch::Receiver<Option<Outcome>>>, CollateralError> {
        let (root, request) = &wanted;
        let id = SetId::of(request);
        if self.roots.amd(*root).is_empty() {
            return Err(CollateralError::NoRoot(*root));
        }
        let now = Instant::now();
        let mut state = self.state();
        let amd = &mut state.amd;
        if amd.serves(&wanted, self.settings.clock.now()) {
            return Ok(None);
        }
        if let Some((until, failure)) = amd.failures.get(&wanted)
            && now < *until
        {
            return Err(failure.clone());
        }
        if self.amd_endpoints(*root).is_empty() {
            return Err(CollateralError::NoService { root: *root, id });
        }
        if let Some(flight) = amd.flight(&wanted) {
            return Ok(Some(flight));
        }
        let cache = &self.settings.cache;
        if amd.flights.len() >= cache.max_fetches {
            return Err(CollateralError::Limited { id, found: "too many fetches at once", limit: cache.max_fetches });
        }
        if !amd.admission.admit(now) {
            let (found, limit) = ("too many chips that were never asked for", cache.admit_chips_burst);
            return Err(CollateralError::Limited { id, found, limit });
        }
        let (sender, receiver) = watch::channel(None);
        amd.flights.insert(wanted.clone(), receiver.clone());
        drop(state);
        let shared = Arc::clone(self);
        self.handle.spawn(async move {
            let outcome = shared.fetch_amd(&wanted).await;
            let mut state = shared.state();
            state.amd.flights.remove(&wanted);
            match &outcome {
                Ok(()) => {
                    state.amd.failures.remove(&wanted);
                }
                Err(error) => {
                    let id = SetId::of(&wanted.1);
                    tracing::warn!(%id, error = %crate::client::chain(error), "no collateral");
                    let now = Instant::now();
                    state.amd.failures.retain(|_, (until, _)| now < *until);
                    state.amd.failures.insert(wanted, (now + shared.settings.cache.negative, error.clone()));
                }
            }
            drop(state);
            sender.send_replace(Some(outcome));
        });
        Ok(Some(receiver))
    }

    async fn fetch_amd(self: &Arc<Self>, (root, request): &Wanted) -> Outcome {
        let now = self.settings.clock.now();
        let valid = |id: &AmdSetId, entry: &Entry| entry.window.expires > now && request.products.contains(&id.product);
        let (present, known) = {
            let state = self.state();
            let own = state.amd.entries.iter().filter(|((of, id), entry)| of == root && valid(id, entry));
            (own.map(|(_, entry)| entry.set.clone()).collect::<Vec<_>>(), state.amd.known.clone())
        };
        let known = |product| known.get(&(*root, product)).copied();
        let wanted = AmdWanted { request, roots: self.roots.amd(*root), now, present: &present, known: &known };
        let fetched = self.fetcher.amd(self.amd_endpoints(*root), &wanted).await;
        let fetched = fetched.inspect_err(|error| self.counters.refused(error))?;
        self.keep_amd(*root, fetched)?;
        Ok(())
    }

    /// Puts what was verified beside what is there, into the book and onto the disk.
    fn keep_amd(self: &Arc<Self>, root: Root, fetched: AmdFetched) -> Outcome {
        let set = self.keep_amd_set(root, fetched)?;
        let shared = Arc::clone(self);
        // Not waited for: who needs the set needs no file.
        self.handle.spawn_blocking(move || shared.store_amd(root, &set));
        Ok(())
    }

    fn keep_amd_set(&self, root: Root, fetched: AmdFetched) -> Result<AmdSet, CollateralError> {
        let AmdFetched { set, window, keys, fresh } = fetched;
        let (id, now) = (set.id, self.settings.clock.now());
        let book = self.book.amd(root);
        let mut state = self.state();
        let epoch = book.epoch();
        book.insert_set(&set, self.roots.amd(root), now).map_err(|error| {
            self.counters.count_rollback();
            CollateralError::Rollback { id: id.into(), what: error.to_string() }
        })?;
        let changed = book.epoch() != epoch;
        let known = state.amd.known.entry((root, id.product)).or_insert(window.issued);
        *known = window.issued.max(*known);
        let refresh_at = self.next_amd_refresh(root, window);
        let entry = state.amd.entries.entry((root, id)).or_insert_with(|| Entry {
            set: AmdSet { certificates: Vec::new(), ..set.clone() },
            window,
            keys: Vec::new(),
            refresh_at,
            failed_refreshes: 0,
            fetched: now,
        });
        if fresh {
            (entry.refresh_at, entry.failed_refreshes, entry.fetched) = (refresh_at, 0, now);
        }
        (entry.set.ask, entry.set.crl, entry.window) = (set.ask, set.crl, window);
        for (key, certificate) in keys.into_iter().zip(set.certificates) {
            if let Some(at) = entry.keys.iter().position(|own| *own == key) {
                entry.keys.remove(at);
                entry.set.certificates.remove(at);
            } else if entry.keys.len() >= MAX_KEYS {
                entry.keys.remove(0);
                entry.set.certificates.remove(0);
            }
            entry.keys.push(key);
            entry.set.certificates.push(certificate);
        }
        let whole = entry.set.clone();
        drop(state);
        tracing::info!(%id, ?root, expires = %window.expires, certificates = whole.certificates.len(), changed, "collateral");
        if changed {
            self.changes.send_modify(|count| *count += 1);
        }
        self.due.notify_one();
        Ok(whole)
    }

    /// A set that somebody handed in. Blocks for the disk.
    pub(super) fn take_amd(&self, root: Root, set: &AmdSet) -> Outcome {
        let now = self.settings.clock.now();
        let roots = self.roots.amd(root);
        if roots.is_empty() {
            return Err(CollateralError::NoRoot(root));
        }
        let window = set.verify(roots, now).map_err(CollateralError::Refused)?;
        let keys = set.keys(roots, now).map_err(CollateralError::Refused)?;
        let whole = self.keep_amd_set(root, AmdFetched { set: set.clone(), window, keys, fresh: true })?;
        self.store_amd(root, &whole);
        Ok(())
    }

    /// What was kept on disk, verified again. One that has expired still tells how new the next one has to be.
    pub(super) fn load_amd(&self) {
        let Some(disk) = &self.disk else { return };
        let now = self.settings.clock.now();
        for (root, set) in disk.load_amd(&self.roots) {
            let (id, roots) = (set.id, self.roots.amd(root));
            let kept = set.verify(roots, now).and_then(|window| Ok((window, set.keys(roots, now)?)));
            match kept {
                Ok((window, keys)) => {
                    if let Err(error) = self.keep_amd_set(root, AmdFetched { set, window, keys, fresh: true }) {
                        tracing::warn!(%id, %error, "kept collateral is refused");
                    }
                }
                Err(error) => {
                    tracing::warn!(%id, %error, "kept collateral is refused");
                    if let Some(issued) = set.issued_once(roots) {
                        self.state().amd.known.insert((root, id.product), issued);
                    }
                }
            }
        }
    }

    /// A part for others, if it is at hand and valid.
    pub(super) fn amd_part(&self, root: Root, part: AmdPart) -> Option<Bytes> {
        let now = self.settings.clock.now();
        let state = self.state();
        let entry = |id| state.amd.entries.get(&(root, id)).filter(|entry| entry.window.expires > now);
        match part {
            AmdPart::Chain(id) => {
                let own = self.roots.amd(root).iter().find(|root| root.product == id.product)?;
                Some(pem_chain(&[&entry(id)?.set.ask, &own.der]).into())
            }
            AmdPart::Crl(id) => Some(Bytes::copy_from_slice(&entry(id)?.set.crl)),
            AmdPart::Vcek { product, chip_id, tcb } => {
                let entry = entry(AmdSetId { product, key: SigningKey::Vcek })?;
                let wanted = AmdKeyId { chip_id: Some(chip_id), tcb };
                let at = entry.keys.iter().position(|key| *key == wanted)?;
                Some(Bytes::copy_from_slice(&entry.set.certificates[at]))
            }
        }
    }

    pub(super) fn all_amd(&self) -> Vec<(Root, AmdSet)> {
        let now = self.settings.clock.now();
        let state = self.state();
        let valid = state.amd.entries.iter().filter(|(_, entry)| entry.window.expires > now);
        valid.map(|((root, _), entry)| (*root, entry.set.clone())).collect()
    }

    fn store_amd(&self, root: Root, set: &AmdSet) {
        if let Some(disk) = &self.disk
            && let Err(error) = disk.store_amd(root, &self.roots, set)
        {
            tracing::warn!(id = %set.id, %error, "collateral cannot be kept on disk");
        }
    }

    pub(super) fn amd_endpoints(&self, root: Root) -> &[Endpoint] {
        match root {
            Root::Amd => &self.settings.amd,
            Root::Simulated => &self.settings.simulated,
            Root::Intel | Root::None => &[],
        }
    }

    fn next_amd_refresh(&self, root: Root, window: AmdSetWindow) -> Timestamp {
        if self.amd_endpoints(root).is_empty() {
            return Timestamp(u64::MAX);
        }
        let cache = &self.settings.cache;
        let now = self.settings.clock.now();
        let wait = cache.refresh_every.min(window.expires.since(now) / 2).max(cache.refresh_retry);
        now.plus(jitter(wait))
    }

    /// Fetches the lists that are due. Each is put off meanwhile.
    pub(super) fn refresh_amd(self: &Arc<Self>) {
        let now = self.settings.clock.now();
        let due: Vec<Key> = {
            let mut state = self.state();
            let put_off = now.plus(self.settings.fetch.set_deadline + self.settings.cache.refresh_retry);
            let due = state.amd.entries.iter_mut().filter(|(_, entry)| entry.refresh_at <= now);
            due.map(|(key, entry)| {
                entry.refresh_at = put_off;
                *key
            })
            .collect()
        };
        for key in due {
            let shared = Arc::clone(self);
            self.handle.spawn(async move {
                if let Err(error) = shared.refresh_one_amd(key).await {
                    tracing::warn!(id = %key.1, error = %crate::client::chain(&error), "no newer collateral");
                    shared.put_off_amd(key);
                }
            });
        }
    }

    async fn refresh_one_amd(self: &Arc<Self>, (root, id): Key) -> Outcome {
        let known = self.state().amd.known.clone();
        let known = |product| known.get(&(root, product)).copied();
        // What names the set, and no chip.
        let request = SnpRequest { products: vec![id.product], key: id.key, chip_id: None, tcb: [0; 8] };
        let (roots, now) = (self.roots.amd(root), self.settings.clock.now());
        let wanted = AmdWanted { request: &request, roots, now, present: &[], known: &known };
        let fetched = self.fetcher.amd_authority(self.amd_endpoints(root), id, &wanted).await;
        self.keep_amd(root, fetched.inspect_err(|error| self.counters.refused(error))?)
    }

    fn put_off_amd(&self, key: Key) {
        let cache = &self.settings.cache;
        let now = self.settings.clock.now();
        let mut state: std::sync::MutexGuard<'_, State> = self.state();
        if let Some(entry) = state.amd.entries.get_mut(&key) {
            let wait = cache.refresh_retry.saturating_mul(1 << entry.failed_refreshes.min(MAX_DOUBLINGS));
            entry.failed_refreshes += 1;
            entry.refresh_at = now.plus(jitter(wait.min(cache.refresh_every.max(cache.refresh_retry))));
        }
        drop(state);
        self.due.notify_one();
    }
}
