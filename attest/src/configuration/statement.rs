//! The statement: the ways that bytes take through a process, whose evidence it believes, and what is weaker than usual.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::encoding;
use crate::dcbor::FormError;
use crate::{ConfigDigest, Digest, KeyId, PolicyDigest};

/// A statement, in bytes.
pub const MAX_STATEMENT: usize = 4 * 1024;
/// Distinct ways of one process.
pub const MAX_WAYS: usize = 128;
/// Targets of one way.
pub const MAX_TARGETS: usize = 32;
/// A server's name, or a plain target as it is dialled, in bytes.
pub const MAX_TARGET_NAME: usize = 255;
/// The name of an embedding program's commitment, of an application, or of a module, in bytes.
pub const MAX_COMMITMENT_NAME: usize = 32;

/// What one process does with bytes. Its digest is claim 5 of the hop claims.
///
/// Ways are a set: two routes that do the same are one way, and two hops of a fleet that do the same state the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    /// Invariant: 1 to [`MAX_WAYS`], in bytewise order of their encodings, none twice.
    ways: Vec<Way>,
    /// Invariant: in bytewise order of their encodings, none twice.
    roots: Vec<Root>,
    dangers: BTreeSet<Danger>,
    commitment: Option<Commitment>,
    /// Invariant: the encoding of the rest, [`MAX_STATEMENT`] bytes at most.
    encoded: Arc<[u8]>,
}

/// Bytes that come in one way, and where they may leave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Way {
    pub source: Source,
    /// In bytewise order of their encodings once they stand in a statement; one, unless it is an http way.
    pub targets: Vec<Target>,
    /// Requests are told apart and may go to any of the targets. Otherwise bytes pass as they are.
    pub http: bool,
    pub marks: BTreeSet<Mark>,
}

/// Who can put bytes into a way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// Clients to whom evidence is shown and of whom none is asked.
    Attested,
    /// Clients whose evidence is judged.
    Mutual(Judged),
    /// Clients to whom a certificate of an ordinary PKI is shown.
    Pki {
        /// Keys of the authorities that vouch for clients. Empty: no client is asked.
        client_anchors: BTreeSet<KeyId>,
        key: KeyId,
        made: FrontKey,
    },
    /// Plain bytes that reach a listener.
    Plain(Place),
    /// An application in this process, by its name.
    Application(String),
}

/// Where bytes leave, and who is believed there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A server whose evidence is judged.
    Attested(Judged),
    /// The same, and this process shows its own evidence there.
    Mutual(Judged),
    /// A server with a certificate of an ordinary PKI.
    Pki {
        name: String,
        /// Keys of the authorities that are believed.
        anchors: BTreeSet<KeyId>,
    },
    /// A plain socket, by its address as it is dialled.
    Plain { place: Place, address: String },
    /// A module of this process, and the digest of what it serves; `None` where that is not known.
    Module { name: String, content: Option<Digest> },
}

/// Where a plain socket is, as seen from the code that was measured. The numbers are those of a record's terminal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Place {
    /// Inside the TEE's own kernel or LibOS.
    SameTee,
    /// Loopback in a TDX or SNP guest, or an unspecified address there: loopback reaches it.
    TeeLocal,
    /// Loopback or a Unix socket under SGX: the host's.
    HostLocal,
    /// The rest.
    Plain,
}

/// Where the key of a PKI's certificate came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrontKey {
    /// Made in this process.
    MadeHere,
    /// Read from a file: whoever has the file has the key.
    ReadFromFile,
}

/// By which policy this process judges the evidence of others, and what that policy lets pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Judged {
    pub policy: PolicyDigest,
    pub passes: Passes,
}

/// What a policy lets pass: a bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Passes(pub u8);

/// Whose evidence a process believes when it judges others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Root {
    Intel,
    Amd,
    /// A simulated platform, by the key of its root.
    Simulated(KeyId),
}

/// A switch that makes the whole process weaker than its code is by itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Danger {
    /// Its own evidence is of the null attester, or it judges by the null verifier.
    Null,
    /// Its memory may be dumped or traced.
    Dumps,
    /// It runs without its sandbox.
    NoSandbox,
    /// It does not check who its collateral services are.
    UncheckedCollateral,
    /// Buffers that held payload are not wiped.
    Unwiped,
}

/// What a way lets its clients do, or tells them, beyond the usual.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Mark {
    /// Clients that do not speak this protocol are served.
    Legacy,
    /// The original's clients are served in their own form.
    Compat,
    /// Expected values are told to clients that show no evidence.
    Disclosed,
    /// Requests are logged.
    Logged,
}

/// What an embedding program says of itself: model weights, or its own configuration.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Commitment {
    pub name: String,
    pub digest: Digest,
}

/// The way and the target in a statement that serve one path.
#[derive(Clone, Debug)]
pub struct Stated {
    statement: Arc<Statement>,
    /// Invariant: a way of the statement.
    way: u8,
    /// Invariant: a target of that way.
    target: u8,
}

/// Why a statement cannot be made or read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StatementError {
    #[error(transparent)]
    Form(#[from] FormError),
    /// The elements are not in bytewise order of their encodings, or one stands there twice.
    #[error("{field} not in the order of their encodings, or one twice")]
    Order { field: &'static str },
    #[error("{what} of {found} bytes, at most {MAX_STATEMENT} are allowed")]
    TooLong { what: &'static str, found: usize },
    #[error("{field}: {found}, 1 to {most} are allowed")]
    Count { field: &'static str, most: usize, found: usize },
}

impl Statement {
    /// A statement of these ways, in any order; the same twice is one.
    pub fn new(
        ways: impl IntoIterator<Item = Way>,
        roots: impl IntoIterator<Item = Root>,
        dangers: BTreeSet<Danger>,
        commitment: Option<Commitment>,
    ) -> Result<Self, StatementError> {
        let ways = encoding::sorted(ways.into_iter().map(encoding::way_in_order));
        let roots = encoding::sorted(roots);
        let encoded = encoding::encode(&ways, &roots, &dangers, commitment.as_ref());
        if encoded.len() > MAX_STATEMENT {
            return Err(StatementError::TooLong { what: "a statement", found: encoded.len() });
        }
        // What is made here is held to what others will hold it to: limits of names and counts stand in one place.
        Self::decode(&encoded)
    }

    /// Reads a statement; anything but its one encoding is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, StatementError> {
        let encoding::Parts { ways, roots, dangers, commitment } = encoding::decode(bytes)?;
        Ok(Self { ways, roots, dangers, commitment, encoded: bytes.into() })
    }

    /// In bytewise order of their encodings.
    pub fn ways(&self) -> &[Way] {
        &self.ways
    }

    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    pub fn dangers(&self) -> &BTreeSet<Danger> {
        &self.dangers
    }

    pub fn commitment(&self) -> Option<&Commitment> {
        self.commitment.as_ref()
    }

    /// The bytes that travel.
    pub fn encoded(&self) -> &Arc<[u8]> {
        &self.encoded
    }

    /// What evidence names it by.
    pub fn digest(&self) -> ConfigDigest {
        ConfigDigest::of(&self.encoded)
    }

    /// The place of a way and of its target; `None` if this statement does not have them.
    pub fn find(&self, way: &Way, target: &Target) -> Option<(u8, u8)> {
        let way = encoding::way_in_order(way.clone());
        let at = self.ways.iter().position(|known| *known == way)?;
        let target = self.ways[at].targets.iter().position(|known| known == target)?;
        Some((u8::try_from(at).ok()?, u8::try_from(target).ok()?))
    }
}

impl Stated {
    /// `None` if the statement has no such way, or the way no such target.
    pub fn new(statement: Arc<Statement>, way: u8, target: u8) -> Option<Self> {
        statement.ways.get(usize::from(way))?.targets.get(usize::from(target))?;
        Some(Self { statement, way, target })
    }

    pub fn statement(&self) -> &Arc<Statement> {
        &self.statement
    }

    /// As a record has it: the way's place among the ways, the target's place in the way.
    pub fn indices(&self) -> (u8, u8) {
        (self.way, self.target)
    }

    pub fn way(&self) -> &Way {
        &self.statement.ways[usize::from(self.way)]
    }

    pub fn target(&self) -> &Target {
        &self.way().targets[usize::from(self.target)]
    }

    /// The ways that do not serve this path.
    pub fn other_ways(&self) -> impl Iterator<Item = &Way> {
        let own = usize::from(self.way);
        self.statement.ways.iter().enumerate().filter(move |(at, _)| *at != own).map(|(_, way)| way)
    }
}

impl Way {
    /// A way of bytes as they are, without marks.
    pub fn bytes(source: Source, target: Target) -> Self {
        Self { source, targets: vec![target], http: false, marks: BTreeSet::new() }
    }
}

impl Passes {
    pub const NOT_COMPARED: Self = Self(1);
    pub const ANY_MACHINE: Self = Self(1 << 1);
    pub const SIMULATED: Self = Self(1 << 2);
    pub const NULL: Self = Self(1 << 3);
    pub const DEBUG: Self = Self(1 << 4);
    pub const LEGACY_END: Self = Self(1 << 5);
    pub const END_OUTSIDE: Self = Self(1 << 6);
    pub const ANY_CONFIGURATION: Self = Self(1 << 7);

    pub const fn with(self, other: Self, set: bool) -> Self {
        if set { Self(self.0 | other.0) } else { self }
    }

    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether only code that was compared passes, in a genuine TEE whose memory is closed, and ends inside one.
    pub const fn compares(self) -> bool {
        let lax = Self::NOT_COMPARED.0 | Self::SIMULATED.0 | Self::NULL.0 | Self::DEBUG.0 | Self::END_OUTSIDE.0;
        self.0 & lax == 0
    }
}

impl Place {
    /// Whether other programs inside this TEE can reach it.
    pub const fn is_inside(self) -> bool {
        matches!(self, Self::SameTee | Self::TeeLocal)
    }
}
