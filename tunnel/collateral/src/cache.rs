//! The service: collateral kept in memory and on disk, fetched when it is first needed and again ahead of its end.
//!
//! It runs on a thread and a runtime of its own, so that callers on any runtime share one cache, and a caller that goes
//! away stops no fetch.

mod amd;
mod keep;
mod refresh;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use inclavared_attest::Timestamp;
use inclavared_attest::appraise::snp::{AmdSet, AmdSetId, SigningKey, SnpRequest};
use inclavared_attest::appraise::{Collateral, CollateralBook, CollateralId, Root, TrustRoots};
use inclavared_attest::evidence::Tee;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;

use super::admission::Admission;
use super::disk::Disk;
use super::fetch::Wanted;
use super::freshness::Freshness;
use super::source::{self, CollateralSource, SourceError, SourceFuture};
use super::{AmdPart, Bundle, CollateralError, CollateralSettings, Endpoint, Fetcher, Part, PartAnswer, SetId};
use crate::CollateralCounters;
use amd::AmdState;

/// All the collateral of a process.
#[derive(Debug)]
pub struct CollateralService {
    shared: Arc<Shared>,
    /// Dropped with the service: the thread ends then, and what it is fetching is given up.
    _stop: oneshot::Sender<()>,
}

impl CollateralService {
    /// Reads what is kept on disk (blocking, some milliseconds a set) and starts the thread.
    pub fn new(settings: CollateralSettings, roots: TrustRoots) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING_THREADS).build()?;
        let disk = settings.cache.folder.clone().map(Disk::new);
        let cache = &settings.cache;
        let counters = Arc::<CollateralCounters>::default();
        let shared = Arc::new(Shared {
            fetcher: Fetcher::with_counters(settings.fetch.clone(), Arc::clone(&counters)),
            book: Arc::new(CollateralBook::new()),
            state: Mutex::new(State {
                entries: HashMap::new(),
                known: HashMap::new(),
                flights: HashMap::new(),
                failures: HashMap::new(),
                admission: Admission::new(cache.admit_burst, cache.admit_every, Instant::now()),
                amd: AmdState::new(cache, Instant::now()),
            }),
            counters,
            changes: watch::Sender::new(0),
            due: Notify::new(),
            handle: runtime.handle().clone(),
            disk,
            roots,
            settings,
        });
        shared.load();
        shared.load_amd();
        let (stop, stopped) = oneshot::channel();
        let refresh = Arc::clone(&shared);
        std::thread::Builder::new().name("collateral".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => (),
                    () = refresh.refresh() => (),
                }
            });
            runtime.shutdown_background();
        })?;
        Ok(Self { shared, _stop: stop })
    }

    /// The set for `id`, verified against `root` and valid now: the one at hand, or one that is fetched, for which the
    /// caller waits no longer than `limit`. It is in the [`CollateralService::book`] then. Whatever is fetched at the
    /// same time for the same set is one fetch. Can be dropped at any time; the fetch goes on.
    pub async fn get(&self, root: Root, id: CollateralId, limit: Duration) -> Result<Arc<Collateral>, CollateralError> {
        self.shared.get(root, id, limit).await
    }

    /// The certificates for an SEV-SNP report that came without them, likewise: from AMD's key service.
    pub async fn get_amd(&self, root: Root, request: SnpRequest, limit: Duration) -> Result<(), CollateralError> {
        self.shared.get_amd(root, request, limit).await
    }

    /// The list of revoked certificates of a line of processors, which is not waited for: when it comes, what is alive is
    /// judged again.
    pub fn want_list(&self, root: Root, id: AmdSetId) {
        self.shared.want_list(root, id);
    }

    /// What is kept, for an appraiser: it changes as collateral comes and goes.
    pub fn book(&self) -> Arc<CollateralBook> {
        Arc::clone(&self.shared.book)
    }

    /// Counts the sets that took the place of another one. When it rises, what is alive is to be appraised again: there
    /// may have been a TCB recovery or a revocation.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Takes a set that is at hand, as a simulated platform's: verified as if it had been fetched. It is not let go of
    /// in favour of another.
    pub fn insert(&self, root: Root, collateral: Arc<Collateral>) -> Result<(), CollateralError> {
        self.shared.take(root, collateral, true)
    }

    /// [`CollateralService::insert`] of a set of AMD's.
    pub fn insert_amd(&self, root: Root, set: &AmdSet) -> Result<(), CollateralError> {
        self.shared.take_amd(root, set)
    }

    /// What was fetched, what failed and what was refused.
    pub fn counters(&self) -> &CollateralCounters {
        &self.shared.counters
    }

    /// Every set that is kept: when it was fetched, and until when it serves.
    pub fn ages(&self) -> Vec<(Root, SetId, Timestamp, Timestamp)> {
        let state = self.shared.state();
        let entries = state.entries.iter().filter_map(|((root, id), entry)| {
            let set = self.shared.book.get(*root, *id)?;
            Some((*root, SetId::Intel(*id), entry.fetched, set.expires()))
        });
        let mut ages: Vec<_> = entries.collect();
        ages.extend(state.amd.ages());
        ages
    }

    /// Takes every set of a bundle, or none if one of them is refused by its signatures or its dates. A set that is
    /// older than what is known is passed over. Gives the number of sets that were taken.
    pub fn import(&self, bundle: &Bundle) -> Result<usize, CollateralError> {
        let now = self.shared.settings.clock.now();
        for (root, set) in bundle.sets() {
            let der = self.shared.roots.der(*root).ok_or(CollateralError::NoRoot(*root))?;
            set.verify(der, now).map_err(CollateralError::Refused)?;
        }
        for (root, set) in bundle.amd_sets() {
            set.verify(self.shared.roots.amd(*root), now).map_err(CollateralError::Refused)?;
        }
        let mut taken = 0;
        for (root, set) in bundle.amd_sets() {
            match self.shared.take_amd(*root, set) {
                Ok(()) => taken += 1,
                Err(CollateralError::Rollback { id, what }) => {
                    tracing::warn!(%id, %what, "a set of the bundle is older than what is known");
                }
                Err(error) => return Err(error),
            }
        }
        for (root, set) in bundle.sets() {
            match self.shared.take(*root, Arc::clone(set), true) {
                Ok(()) => taken += 1,
                Err(CollateralError::Rollback { id, what }) => {
                    tracing::warn!(%id, %what, "a set of the bundle is older than what is known");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    /// Everything that is kept and valid.
    pub fn export(&self) -> Bundle {
        let now = self.shared.settings.clock.now();
        let mut sets = self.shared.book.all();
        sets.retain(|(_, set)| set.expires() > now);
        Bundle::new(now, sets).with_amd(self.shared.all_amd())
    }

    /// The sets of one root, for a PCCS: what it does not have is asked of the services behind it.
    pub fn source(&self, root: Root) -> Arc<dyn CollateralSource> {
        Arc::new(CachedSource { shared: Arc::clone(&self.shared), root })
    }
}

type Key = (Root, CollateralId);
type Outcome = Result<Arc<Collateral>, CollateralError>;

#[derive(Debug)]
struct Shared {
    settings: CollateralSettings,
    roots: TrustRoots,
    fetcher: Fetcher,
    book: Arc<CollateralBook>,
    disk: Option<Disk>,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
    /// Something has to be refreshed at another time than before.
    due: Notify,
    handle: Handle,
    counters: Arc<CollateralCounters>,
}

#[derive(Debug)]
struct State {
    /// Of every set in the book. Invariant: the same keys.
    entries: HashMap<Key, Entry>,
    /// The newest that was seen of each set, also of those that were let go of. Bounded by [`MAX_KNOWN`].
    known: HashMap<Key, Freshness>,
    /// What is being fetched.
    flights: HashMap<Key, watch::Receiver<Option<Outcome>>>,
    failures: HashMap<Key, (Instant, CollateralError)>,
    admission: Admission,
    amd: AmdState,
}

#[derive(Debug)]
struct Entry {
    bytes: usize,
    fetched: Timestamp,
    used: Instant,
    refresh_at: Timestamp,
    failed_refreshes: u32,
    pinned: bool,
}

impl Shared {
    async fn get(self: &Arc<Self>, root: Root, id: CollateralId, limit: Duration) -> Outcome {
        let mut flight = match self.look(root, id)? {
            Found::Set(set) => return Ok(set),
            Found::Flight(flight) => flight,
        };
        let outcome = match timeout(limit, flight.wait_for(Option::is_some)).await {
            Ok(Ok(outcome)) => outcome.clone(),
            Ok(Err(_)) => None,
            Err(_) => return Err(CollateralError::Deadline { id: id.into(), limit }),
        };
        outcome.unwrap_or(Err(CollateralError::Stopped))
    }

    fn look(self: &Arc<Self>, root: Root, id: CollateralId) -> Result<Found, CollateralError> {
        if self.roots.der(root).is_none() {
            return Err(CollateralError::NoRoot(root));
        }
        if !matches!(id.tee, Tee::Sgx | Tee::Tdx) {
            return Err(CollateralError::Unsupported(id));
        }
        let key = (root, id);
        let now = Instant::now();
        let mut state = self.state();
        let present = self.book.get(root, id);
        if let Some(set) = &present
            && set.expires() > self.settings.clock.now()
        {
            if let Some(entry) = state.entries.get_mut(&key) {
                entry.used = now;
            }
            return Ok(Found::Set(Arc::clone(set)));
        }
        if let Some((until, failure)) = state.failures.get(&key)
            && now < *until
        {
            return Err(failure.clone());
        }
        if self.endpoints(root).is_empty() {
            return Err(match present {
                Some(set) => CollateralError::Expired { id: id.into(), expired: set.expires() },
                None => CollateralError::NoService { root, id: id.into() },
            });
        }
        if let Some(flight) = state.flight(key) {
            return Ok(Found::Flight(flight));
        }
        // What is known was verified once: there is so much of it and no more.
        if !state.known.contains_key(&key) {
            let cache = &self.settings.cache;
            if state.flights.len() >= cache.max_fetches {
                return Err(CollateralError::Limited {
                    id: id.into(),
                    found: "too many fetches at once",
                    limit: cache.max_fetches,
                });
            }
            if !state.admission.admit(now) {
                let limit = cache.admit_burst;
                let found = "too many models that were never asked for";
                return Err(CollateralError::Limited { id: id.into(), found, limit });
            }
        }
        Ok(Found::Flight(self.start(&mut state, key)))
    }

    /// Starts to fetch a set on the service's own runtime.
    fn start(self: &Arc<Self>, state: &mut State, key: Key) -> watch::Receiver<Option<Outcome>> {
        let (sender, receiver) = watch::channel(None);
        state.flights.insert(key, receiver.clone());
        let shared = Arc::clone(self);
        self.handle.spawn(async move {
            let outcome = shared.fetch(key).await;
            let mut state = shared.state();
            state.flights.remove(&key);
            match &outcome {
                Ok(_) => {
                    state.failures.remove(&key);
                }
                Err(error) => {
                    tracing::warn!(id = %key.1, error = %super::client::chain(error), "no collateral");
                    let now = Instant::now();
                    state.failures.retain(|_, (until, _)| now < *until);
                    state.failures.insert(key, (now + shared.settings.cache.negative, error.clone()));
                }
            }
            drop(state);
            sender.send_replace(Some(outcome));
        });
        receiver
    }

    async fn fetch(self: &Arc<Self>, (root, id): Key) -> Outcome {
        let root_der = self.roots.der(root).ok_or(CollateralError::NoRoot(root))?;
        let known = self.state().known.get(&(root, id)).copied();
        let wanted = Wanted { id, root_der, now: self.settings.clock.now(), known };
        let fetched = self.fetcher.fetch_newer(self.endpoints(root), &wanted).await;
        let set = Arc::new(fetched.inspect_err(|error| self.counters.refused(error))?);
        self.keep(root, Arc::clone(&set), false)?;
        let shared = Arc::clone(self);
        let stored = Arc::clone(&set);
        // Not waited for: who needs the set needs no file.
        self.handle.spawn_blocking(move || shared.store(root, &stored));
        Ok(set)
    }

    fn endpoints(&self, root: Root) -> &[Endpoint] {
        match root {
            Root::Intel => &self.settings.intel,
            Root::Simulated => &self.settings.simulated,
            Root::Amd | Root::None => &[],
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What is in the air for a key. A fetch that ended without a word is none.
    fn flight(&mut self, key: Key) -> Option<watch::Receiver<Option<Outcome>>> {
        let flight = self.flights.get(&key)?;
        if flight.has_changed().is_err() {
            self.flights.remove(&key);
            return None;
        }
        Some(flight.clone())
    }
}

enum Found {
    Set(Arc<Collateral>),
    Flight(watch::Receiver<Option<Outcome>>),
}

/// Files are written and names resolved there, one after the other.
const BLOCKING_THREADS: usize = 4;

/// Bounds what is remembered of sets that were let go of.
const MAX_KNOWN: usize = 4096;

/// How long a client of a PCCS waits for a set.
const SOURCE_LIMIT: Duration = Duration::from_secs(20);

struct CachedSource {
    shared: Arc<Shared>,
    root: Root,
}

impl CollateralSource for CachedSource {
    fn part(&self, part: Part) -> SourceFuture<'_, PartAnswer> {
        Box::pin(async move {
            let now = self.shared.settings.clock.now();
            let sets = self.shared.book.all();
            let own = sets.iter().filter(|(root, _)| *root == self.root).map(|(_, set)| set);
            if let Some(answer) = source::part_of(own, part, now) {
                return Ok(answer);
            }
            if self.shared.endpoints(self.root).is_empty() {
                return Err(SourceError::NotFound);
            }
            // The TCB info of a model is the same under both CAs; nearly every platform is under this one.
            if let Part::TcbInfo { tee, fmspc } = part {
                let id = CollateralId { tee, fmspc, ca: inclavared_attest::appraise::PckCa::Platform };
                let set = self.shared.get(self.root, id, SOURCE_LIMIT).await.map_err(SourceError::from)?;
                return source::part_of([&set], part, now).ok_or(SourceError::NotFound);
            }
            // The other parts alone make no set that could be verified and kept: handed on as they come.
            if !self.shared.state().admission.admit(Instant::now()) {
                return Err(SourceError::Busy);
            }
            let root_der = self.shared.roots.der(self.root).ok_or(SourceError::NotFound)?.to_vec();
            let shared = Arc::clone(&self.shared);
            let root = self.root;
            let fetch = async move { shared.fetcher.part(shared.endpoints(root), part, &root_der).await };
            let fetched = self.shared.handle.spawn(fetch).await;
            fetched.map_err(|_| SourceError::Unavailable("the service has stopped".into()))?.map_err(SourceError::from)
        })
    }

    /// Intel's services are for Intel's root; beside them stands AMD's.
    fn amd(&self, part: AmdPart) -> SourceFuture<'_, Bytes> {
        Box::pin(async move {
            let root = if self.root == Root::Intel { Root::Amd } else { self.root };
            let (product, key) = match part {
                AmdPart::Chain(id) | AmdPart::Crl(id) => (id.product, id.key),
                AmdPart::Vcek { product, .. } => (product, SigningKey::Vcek),
            };
            if let Some(answer) = self.shared.amd_part(root, part) {
                return Ok(answer);
            }
            let request = match part {
                AmdPart::Vcek { chip_id, tcb, .. } => {
                    SnpRequest { products: vec![product], key, chip_id: Some(chip_id), tcb }
                }
                // A CA alone is what is fetched for a cloud's key.
                AmdPart::Chain(_) | AmdPart::Crl(_) => {
                    SnpRequest { products: vec![product], key, chip_id: None, tcb: [0; 8] }
                }
            };
            self.shared.get_amd_of(root, request, SOURCE_LIMIT).await.map_err(SourceError::from)?;
            self.shared.amd_part(root, part).ok_or(SourceError::NotFound)
        })
    }
}
