//! Fresh quotes over legs, one quote for many (docs/PROTOCOL.md section 3).
//!
//! A platform makes few quotes a second. So at most one is in flight; what is asked for meanwhile waits and becomes the
//! leaves of a Merkle tree, whose root the next quote covers. A quote names no key, so one tree serves all keys of the
//! process, in service or retired, on both sides of their legs; but for legs from before a reload, whose configuration is
//! another. Owns the queue, not what the records say.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use inclavared_attest::attester::{Attester, AttesterError, UserData};
use inclavared_attest::evidence::{Endorsements, EvidenceTag, FreshClaims, FreshEvidence};
use inclavared_attest::path::{Challenge, FreshQuote, Kind, MAX_LEAVES, MerkleTree, Side, binder, leaf};
use inclavared_attest::{ConfigDigest, Digest, LegId, OpenDigest, Timestamp};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::error::{Error, QuoteError};
use crate::trust::blocking::BlockingPool;
use crate::trust::identity::HopIdentity;

/// What a fresh quote claims of its own end. As long as a certificate lives; PROTOCOL section 6 refuses more than an hour.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// Most leaves that wait for a quote: what one tree can hold.
const MAX_WAITING: usize = MAX_LEAVES;

/// Makes fresh quotes. Clones share one queue; a process has one for its attester.
#[derive(Clone)]
pub struct Quoter(Arc<Shared>);

/// What a quote is asked for: one record of one established leg.
///
/// Only a [`Statement`](crate::path::statement::Statement) makes one, and the client of an established leg for its
/// [`forward`](crate::path::behind) record: whoever could have bytes of its own choice quoted would
/// have a signing oracle.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Under which the leg runs.
    config: ConfigDigest,
    digest: Digest,
}

/// A quote over one leaf, as its record names it.
#[derive(Clone, Debug)]
pub struct Fresh {
    pub quote: FreshQuote,
    /// The evidence that `quote` names.
    pub blob: Arc<[u8]>,
}

/// A quote that was asked for. Dropped, it is not made for this leaf.
#[derive(Debug)]
pub struct Pending {
    answer: oneshot::Receiver<Answer>,
    until: Instant,
    limit: Duration,
}

/// Shared by all that wait for one quote.
type Answer = Result<Fresh, Arc<QuoteError>>;

struct Shared {
    attester: Arc<dyn Attester>,
    pool: BlockingPool,
    limit: Duration,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// One a configuration, the one that has waited longest first. Invariant: none is empty, or holds more than a tree
    /// does.
    groups: VecDeque<Group>,
    /// A quote is in flight, or about to be.
    busy: bool,
}

struct Group {
    config: ConfigDigest,
    leaves: Vec<(Digest, oneshot::Sender<Answer>)>,
}

impl Quoter {
    /// `limit` is how long whoever asks waits for its quote, with those before it.
    pub fn new(attester: Arc<dyn Attester>, pool: BlockingPool, limit: Duration) -> Self {
        Self(Arc::new(Shared { attester, pool, limit, queue: Mutex::default() }))
    }

    /// Whether there is anything that quotes. It may fail all the same.
    pub fn can_quote(&self) -> bool {
        self.0.attester.tag() != EvidenceTag::Null
    }

    /// Puts a leaf in line for the next quote. Does not block.
    pub fn ask(&self, leaf: Leaf) -> Result<Pending, Error> {
        self.ask_all([leaf]).map(|[pending]| pending)
    }

    /// Puts leaves in line together: they are under one quote, if it has room.
    pub fn ask_all<const N: usize>(&self, leaves: [Leaf; N]) -> Result<[Pending; N], Error> {
        if !self.can_quote() {
            return Err(Error::NeverQuotes);
        }
        let limit = self.0.limit;
        let until = Instant::now() + limit;
        let mut queue = self.0.queue();
        let mut waiting = Vec::with_capacity(N);
        for leaf in leaves {
            let (answer, receiver) = oneshot::channel();
            queue.put(leaf, answer)?;
            waiting.push(Pending { answer: receiver, until, limit });
        }
        if !queue.busy {
            let shared = Arc::clone(&self.0);
            if let Err(error) = self.0.pool.spawn(move || shared.rounds()) {
                // Nobody else waits: whoever comes while no quote is in flight starts one.
                queue.groups.clear();
                return Err(error);
            }
            queue.busy = true;
        }
        drop(queue);
        Ok(waiting.try_into().expect("one for each leaf"))
    }
}

impl Pending {
    /// Waits for the quote.
    pub async fn done(self) -> Result<Fresh, Error> {
        match timeout_at(self.until, self.answer).await {
            Ok(Ok(answer)) => answer.map_err(Error::Quote),
            Ok(Err(_)) => Err(Error::Internal("whoever made a quote has gone".to_owned())),
            Err(_) => Err(Error::Deadline { what: "a fresh quote", limit: self.limit }),
        }
    }
}

impl Leaf {
    /// The leaf for a record of `kind` on the leg of which `identity` is the server.
    pub(crate) fn new(
        identity: &HopIdentity,
        (leg, open): (LegId, OpenDigest),
        kind: Kind,
        seq: u64,
        challenge: Option<&Challenge>,
    ) -> Self {
        let binder = binder(Side::Server, leg, open, identity.key.kid());
        Self { config: identity.config_digest(), digest: leaf(binder, kind, seq, challenge) }
    }

    /// The leaf for the `forward` record on the leg of which `identity` is the client.
    pub(crate) fn of_client(identity: &HopIdentity, leg: LegId, open: OpenDigest) -> Self {
        let binder = binder(Side::Client, leg, open, identity.key.kid());
        Self { config: identity.config_digest(), digest: leaf(binder, Kind::Forward, 0, None) }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes quotes until nobody waits. Blocks.
    fn rounds(self: Arc<Self>) {
        let mut busy = Busy { shared: &self, over: false };
        while let Some(group) = self.next() {
            self.round(group);
            // Between two quotes the others that wait for the pool have their turn, if there is one for us behind them.
            let again = Arc::clone(&self);
            if !self.queue().groups.is_empty() && self.pool.spawn(move || again.rounds()).is_ok() {
                busy.over = true;
                return;
            }
        }
        busy.over = true;
    }

    /// The next leaves that somebody still waits for. None: no quote is in flight from now on.
    fn next(&self) -> Option<Group> {
        let mut queue = self.queue();
        queue.forget_the_gone();
        let group = queue.groups.pop_front();
        queue.busy = group.is_some();
        group
    }

    fn round(&self, Group { config, leaves }: Group) {
        let digests: Vec<_> = leaves.iter().map(|(digest, _)| *digest).collect();
        let tree = MerkleTree::new(&digests).expect("a group has a leaf, and no more than a tree holds");
        let made = self.quote(config, tree.root()).map_err(Arc::new);
        match &made {
            Ok(_) => tracing::debug!(legs = leaves.len(), "a fresh quote"),
            Err(error) => {
                let source = std::error::Error::source(&**error).map(ToString::to_string);
                tracing::error!(legs = leaves.len(), %error, source, "no fresh quote");
            }
        }
        for (place, (_, answer)) in leaves.into_iter().enumerate() {
            let path = tree.path(place).expect("every leaf has its path");
            let fresh = made.clone().map(|evidence| Fresh {
                quote: FreshQuote { evidence: evidence.digest(), path },
                blob: evidence.blob().into(),
            });
            // Who does not wait any more does not miss it.
            let _ = answer.send(fresh);
        }
    }

    /// One quote over the root, under the configuration of its legs.
    fn quote(&self, config_digest: ConfigDigest, root: Digest) -> Result<Arc<FreshEvidence>, QuoteError> {
        let not_after = Timestamp::now().plus(LIFETIME);
        let claims = FreshClaims { config_digest, not_after, root, iat_ms: Timestamp::now_ms() };
        let quote = self.attester.quote(&UserData::of_fresh(&claims)).map_err(QuoteError::Attester)?;
        FreshEvidence::new(self.attester.tag(), quote, claims).map(Arc::new).map_err(QuoteError::Evidence)
    }
}

impl Queue {
    fn put(&mut self, leaf: Leaf, answer: oneshot::Sender<Answer>) -> Result<(), Error> {
        if self.waiting() >= MAX_WAITING {
            self.forget_the_gone();
        }
        if self.waiting() >= MAX_WAITING {
            return Err(Error::Overload { what: "legs waiting for a fresh quote", limit: MAX_WAITING });
        }
        match self.groups.iter_mut().find(|group| group.config == leaf.config) {
            Some(group) => group.leaves.push((leaf.digest, answer)),
            None => self.groups.push_back(Group { config: leaf.config, leaves: vec![(leaf.digest, answer)] }),
        }
        Ok(())
    }

    fn waiting(&self) -> usize {
        self.groups.iter().map(|group| group.leaves.len()).sum()
    }

    fn forget_the_gone(&mut self) {
        for group in &mut self.groups {
            group.leaves.retain(|(_, answer)| !answer.is_closed());
        }
        self.groups.retain(|group| !group.leaves.is_empty());
    }
}

/// An attester that panics takes its own quote along, not all that come after it.
struct Busy<'a> {
    shared: &'a Shared,
    over: bool,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.shared.queue().busy = false;
        }
    }
}

impl fmt::Debug for Quoter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quoter")
            .field("attester", &self.0.attester)
            .field("limit", &self.0.limit)
            .finish_non_exhaustive()
    }
}

/// An attester of which certificates and fresh quotes have one at a time: the device has no more.
#[derive(Debug)]
pub struct OneAtATime {
    attester: Arc<dyn Attester>,
    turn: Mutex<()>,
}

impl OneAtATime {
    pub fn new(attester: Arc<dyn Attester>) -> Self {
        Self { attester, turn: Mutex::default() }
    }
}

impl Attester for OneAtATime {
    fn name(&self) -> &'static str {
        self.attester.name()
    }

    fn tag(&self) -> EvidenceTag {
        self.attester.tag()
    }

    fn quote(&self, user_data: &UserData) -> Result<Vec<u8>, AttesterError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.attester.quote(user_data)
    }

    fn endorsements(&self) -> Option<Endorsements> {
        self.attester.endorsements()
    }
}
