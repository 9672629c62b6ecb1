//! What a verifier brings to a path: its own leg and nonce, what it expects, and the time.

use super::trailer::KnownBlobs;
use super::{Challenge, Counters, Kind, Nonce, Path, TrailerLimits};
use crate::{KeyId, LegId, OpenDigest, Timestamp};

/// Everything that a path is verified against, besides policy and appraisal.
#[derive(Clone, Copy)]
pub struct PathInput<'a> {
    /// The payload of PREVIEW, REFRESH or TRAILER.
    pub trailer: &'a [u8],
    pub limits: TrailerLimits,
    pub expects: Expects<'a>,
    /// The verifier's own, for the whole path.
    pub nonce: Nonce,
    pub leg: FirstLeg<'a>,
    /// The key that the verifier itself showed on the leg.
    pub own: Option<KeyId>,
    /// Of the OPEN that the verifier sent.
    pub open: OpenDigest,
    pub now: Timestamp,
    /// Blobs that the verifier named in `have`.
    pub known: KnownBlobs<'a>,
}

/// The verifier's own leg, as its TLS session says it.
#[derive(Clone, Copy)]
pub struct FirstLeg<'a> {
    pub id: LegId,
    /// The server's SubjectPublicKeyInfo.
    pub spki: &'a [u8],
    /// The evidence of the server's certificate: the extension's value.
    pub evidence: &'a [u8],
}

/// Which trailer is due, and what has to be as it was before.
#[derive(Clone, Copy)]
pub enum Expects<'a> {
    Preview,
    /// The chain behind a client, mirrored: the first leg's server stands for the client, `open` is what it sent.
    Forward,
    /// `path` is the newest state: its sequence numbers have to be passed.
    Refresh {
        path: &'a Path,
        challenge: Option<&'a Challenge>,
    },
    /// `counters` are what the verifier itself sent and accepted.
    Final {
        path: &'a Path,
        counters: Counters,
    },
}

impl<'a> Expects<'a> {
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Preview => Kind::Preview,
            Self::Forward => Kind::Forward,
            Self::Refresh { .. } => Kind::Refresh,
            Self::Final { .. } => Kind::Final,
        }
    }

    pub(super) const fn path(&self) -> Option<&'a Path> {
        match self {
            Self::Preview | Self::Forward => None,
            Self::Refresh { path, .. } | Self::Final { path, .. } => Some(path),
        }
    }
}
