//! The evidence trailer: the records of H1..Hn and the blobs that they name (docs/PROTOCOL.md section 5).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::open::VERSION;
use super::signed::MAX_RECORD;
use super::{Kind, Record, RecordError, SignedRecord};
use crate::dcbor::{FormError, Item, Limits, Writer};
use crate::{Digest, EvidenceDigest, Reason};

/// What a trailer may be at most. All of it is checked before anything is allocated by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrailerLimits {
    pub hops: u8,
    pub bytes: usize,
    /// One piece of evidence, in bytes.
    pub blob: usize,
    /// One set of collateral, in bytes; 0 refuses all.
    pub collateral: usize,
    /// The endorsements of one hop, in bytes.
    pub endorsements: usize,
}

impl TrailerLimits {
    /// The protocol's defaults: 8 hops, 256 KiB, evidence of 16 KiB, no collateral.
    pub const DEFAULT: Self =
        Self { hops: 8, bytes: 256 * 1024, blob: 16 * 1024, collateral: 0, endorsements: ENDORSEMENTS };
    /// The most that any configuration can ask for: 16 hops, 512 KiB with collateral of 128 KiB.
    pub const MOST: Self = Self {
        hops: super::MAX_HOPS,
        bytes: 512 * 1024,
        blob: 16 * 1024,
        collateral: 128 * 1024,
        endorsements: ENDORSEMENTS,
    };
}

/// Two certificates of AMD's, about 1.5 KiB each.
const ENDORSEMENTS: usize = 8 * 1024;

impl Default for TrailerLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Blobs that both sides hold and that a sender may therefore leave out. What it gives is hashed like any other.
pub type KnownBlobs<'a> = &'a dyn Fn(&EvidenceDigest) -> Option<Arc<[u8]>>;

/// Knows no blob: everything has to be in the trailer.
pub fn no_known_blobs(_: &EvidenceDigest) -> Option<Arc<[u8]>> {
    None
}

/// A trailer in its right form: no signature of it has been checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trailer {
    kind: Kind,
    /// H1 first.
    records: Vec<SignedRecord>,
    /// Invariant: each hashes to its name and is named by a record; no evidence that a record names is missing.
    blobs: BTreeMap<Digest, Arc<[u8]>>,
}

/// Why bytes are not a trailer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TrailerError {
    #[error(transparent)]
    Form(#[from] FormError),
    #[error("{found} hops, 1 to {limit} are allowed")]
    HopCount { limit: u8, found: u64 },
    /// `hop` counts from 1.
    #[error("record {hop}: {source}")]
    Record { hop: u8, source: RecordError },
    #[error("blob {name} of {found} bytes, at most {limit} are allowed")]
    BlobSize { name: Digest, limit: usize, found: usize },
    #[error("blob {name} hashes to {found}")]
    BlobName { name: Digest, found: Digest },
    #[error("blob {name} is named by no record")]
    BlobUnreferenced { name: Digest },
    #[error("blob {name} is missing")]
    BlobMissing { name: Digest },
}

impl TrailerError {
    pub fn reason(&self) -> Reason {
        match self {
            Self::BlobName { .. } | Self::BlobUnreferenced { .. } | Self::BlobMissing { .. } => Reason::PathChain,
            _ => Reason::PathForm,
        }
    }
}

impl Trailer {
    /// The trailer of the last hop.
    pub fn new(record: SignedRecord, blobs: impl IntoIterator<Item = Arc<[u8]>>) -> Self {
        let kind = record.record().kind();
        let mut trailer = Self { kind, records: vec![record], blobs: BTreeMap::new() };
        trailer.add(blobs);
        trailer
    }

    /// Puts a hop's own record, and the blobs that it names, in front of what came from below.
    pub fn prepend(&mut self, record: SignedRecord, blobs: impl IntoIterator<Item = Arc<[u8]>>) {
        debug_assert_eq!(record.record().kind(), self.kind, "one kind a trailer");
        self.records.insert(0, record);
        self.add(blobs);
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn records(&self) -> &[SignedRecord] {
        &self.records
    }

    pub fn blob(&self, name: &EvidenceDigest) -> Option<&Arc<[u8]>> {
        self.blobs.get(&name.0)
    }

    /// What a hop sent along with its evidence, if it did.
    pub fn endorsements(&self, record: &Record) -> Option<&Arc<[u8]>> {
        self.blobs.get(&record.own.endorsements?)
    }

    /// All blobs with their names: a relaying hop keeps them in its cache.
    pub fn blobs(&self) -> impl Iterator<Item = (&Digest, &Arc<[u8]>)> {
        self.blobs.iter()
    }

    /// The trailer with all its blobs.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_without(&|_| false)
    }

    /// The trailer without the blobs that the receiver `has`.
    pub fn encode_without(&self, has: &dyn Fn(&Digest) -> bool) -> Vec<u8> {
        let sent: Vec<_> = self.blobs.iter().filter(|(name, _)| !has(name)).collect();
        let mut w = Writer::new();
        w.array(4).uint(VERSION).uint(self.kind.code()).array(self.records.len());
        for record in &self.records {
            w.bytes(record.bytes());
        }
        // Names are 32 bytes each, so their order is the order of their encodings.
        w.map_header(sent.len());
        for (name, blob) in sent {
            w.bytes(name.as_bytes()).bytes(blob);
        }
        w.finish()
    }

    /// Reads a trailer. Evidence that a record names and that is not in it is asked of `known`.
    pub fn decode(bytes: &[u8], limits: &TrailerLimits, known: KnownBlobs<'_>) -> Result<Self, TrailerError> {
        let whole = Item::parse(bytes, &Limits::bytes(limits.bytes)).map_err(FormError::from)?;
        let [version, kind, records, blobs] = whole.tuple("trailer")?;
        version.uint_in("version", VERSION, VERSION)?;
        let kind = Kind::read(kind)?;
        let records = read_records(records, limits)?;
        let mut trailer = Self { kind, records, blobs: BTreeMap::new() };
        trailer.read_blobs(blobs, limits)?;
        trailer.resolve(limits, known)?;
        Ok(trailer)
    }

    fn read_blobs(&mut self, blobs: Item<'_>, limits: &TrailerLimits) -> Result<(), TrailerError> {
        let (evidence, collateral) = self.referenced();
        let own = |record: &SignedRecord| record.record().own.endorsements;
        let endorsements: BTreeSet<Digest> = self.records.iter().filter_map(own).collect();
        for (name, blob) in blobs.map("blobs", self.records.len() * BLOBS_PER_RECORD)? {
            let name = Digest::from_bytes(name.bytes32("blob name")?);
            let limit = match name {
                name if evidence.contains(&name) => limits.blob,
                name if endorsements.contains(&name) => limits.endorsements,
                name if collateral.contains(&name) => limits.collateral,
                name => return Err(TrailerError::BlobUnreferenced { name }),
            };
            self.insert(name, blob.bytes("blob", usize::MAX)?, limit)?;
        }
        Ok(())
    }

    fn resolve(&mut self, limits: &TrailerLimits, known: KnownBlobs<'_>) -> Result<(), TrailerError> {
        for name in self.referenced().0 {
            if !self.blobs.contains_key(&name) {
                let blob = known(&EvidenceDigest(name)).ok_or(TrailerError::BlobMissing { name })?;
                self.insert(name, &blob, limits.blob)?;
            }
        }
        Ok(())
    }

    fn insert(&mut self, name: Digest, blob: &[u8], limit: usize) -> Result<(), TrailerError> {
        if blob.len() > limit {
            return Err(TrailerError::BlobSize { name, limit, found: blob.len() });
        }
        let found = Digest::of(blob);
        if found != name {
            return Err(TrailerError::BlobName { name, found });
        }
        self.blobs.insert(name, blob.into());
        Ok(())
    }

    fn add(&mut self, blobs: impl IntoIterator<Item = Arc<[u8]>>) {
        for blob in blobs {
            self.blobs.insert(Digest::of(&blob), blob);
        }
    }

    /// Names of evidence, which has to be there, and of collateral, which may.
    fn referenced(&self) -> (BTreeSet<Digest>, BTreeSet<Digest>) {
        let records = || self.records.iter().map(SignedRecord::record);
        let evidence = records().flat_map(|record| record.evidence_digests()).map(|digest| digest.0).collect();
        let collateral = records().filter_map(|record| record.collateral_digest()).map(|digest| digest.0).collect();
        (evidence, collateral)
    }
}

/// Evidence of the hop, its endorsements, a fresh quote, what it saw of its peer, and collateral.
const BLOBS_PER_RECORD: usize = 5;

fn read_records(records: Item<'_>, limits: &TrailerLimits) -> Result<Vec<SignedRecord>, TrailerError> {
    let most = limits.hops.min(super::MAX_HOPS);
    let records = match records.array("records", usize::from(most)) {
        Err(FormError::Range { found, .. }) => return Err(TrailerError::HopCount { limit: most, found }),
        records => records?,
    };
    if records.is_empty() {
        return Err(TrailerError::HopCount { limit: most, found: 0 });
    }
    let read = |(index, record): (usize, Item<'_>)| {
        let content = record.bytes("record", MAX_RECORD)?;
        SignedRecord::decode(content).map_err(|source| TrailerError::Record { hop: index as u8 + 1, source })
    };
    records.into_iter().enumerate().map(read).collect()
}
