//! A leg: one TLS session between two hops, and what binds evidence to it (docs/PROTOCOL.md section 3).

use std::fmt;

use super::{Kind, WireError};
use crate::dcbor::{Item, Limits, Writer};
use crate::{Digest, KeyId, LegId, OpenDigest, Reason, SessionId};

/// The label of the TLS exporter that gives a leg its id.
pub const LEG_LABEL: &[u8] = b"EXPORTER-inclavared-leg";

/// The exporter's context. Both key hashes stand in it: the TLS 1.3 exporter secret does not cover the client's
/// certificate.
pub fn leg_context(server: KeyId, client: Option<KeyId>, alpn: Option<&[u8]>) -> [u8; 32] {
    let mut w = Writer::new();
    w.array(5).text("inclavared/leg").uint(1).bytes(server.as_bytes());
    w.bytes_or_null(client.as_ref().map(|c| &c.as_bytes()[..])).bytes_or_null(alpn);
    *Digest::of(&w.finish()).as_bytes()
}

/// Which end of a leg.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    Server,
    Client,
}

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

/// Binds a key to a leg, to what was asked on it, and to a side of it: an exporter value alone is symmetric and could
/// be reflected.
pub fn binder(side: Side, leg: LegId, open: OpenDigest, key: KeyId) -> Digest {
    let mut w = Writer::new();
    w.array(6).text("inclavared/binder").uint(1).text(side.name());
    w.bytes(leg.as_bytes()).bytes(open.as_bytes()).bytes(key.as_bytes());
    Digest::of(&w.finish())
}

/// What a fresh quote covers for one record of one leg.
pub fn leaf(binder: Digest, kind: Kind, seq: u64, challenge: Option<&Challenge>) -> Digest {
    let mut w = Writer::new();
    w.array(6).text("inclavared/leaf").uint(1).bytes(binder.as_bytes()).uint(kind.code()).uint(seq);
    w.bytes_or_null(challenge.map(|c| &c.0[..]));
    Digest::of(&w.finish())
}

/// The verifier's 32 random bytes for one path. Not secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce([u8; 32]);

/// 32 random bytes with which a client asks for a REFRESH.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Challenge([u8; 32]);

impl Nonce {
    /// The session of the path that this nonce opens.
    pub fn session(&self) -> SessionId {
        let mut w = Writer::new();
        w.array(3).text("inclavared/session").uint(1).bytes(&self.0);
        SessionId::of(&w.finish())
    }
}

impl Challenge {
    /// The payload of a CHALLENGE frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.bytes(&self.0);
        w.finish()
    }

    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let read = || Item::parse(payload, &Limits::bytes(34))?.bytes32("challenge");
        read().map(Self).map_err(|form| WireError { message: "CHALLENGE", form })
    }
}

macro_rules! random_bytes {
    ($($name:ident)*) => {$(
        impl $name {
            /// Random, from the system.
            #[cfg(feature = "os")]
            pub fn generate() -> Result<Self, RandomError> {
                let mut bytes = [0; 32];
                crate::crypto::fill(&mut bytes).map_err(|_| RandomError)?;
                Ok(Self(bytes))
            }

            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    )*};
}

random_bytes! { Nonce Challenge }

/// The system gave no random bytes.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the system gave no random bytes")]
pub struct RandomError;

impl RandomError {
    pub fn reason(&self) -> Reason {
        Reason::Internal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: KeyId = KeyId::from_bytes([1; 32]);
    const CLIENT: KeyId = KeyId::from_bytes([2; 32]);

    #[test]
    fn the_context_is_the_documented_encoding() {
        let mut bytes = vec![0x85, 0x6e];
        bytes.extend(b"inclavared/leg\x01\x58\x20");
        bytes.extend([1; 32]);
        bytes.push(0xf6);
        bytes.push(0x4c);
        bytes.extend(b"inclavared/1");
        assert_eq!(&leg_context(SERVER, None, Some(b"inclavared/1")), Digest::of(&bytes).as_bytes());
    }

    #[test]
    fn everything_in_the_context_and_the_binder_matters() {
        let base = leg_context(SERVER, Some(CLIENT), Some(b"h2"));
        assert_ne!(base, leg_context(CLIENT, Some(SERVER), Some(b"h2")));
        assert_ne!(base, leg_context(SERVER, None, Some(b"h2")));
        assert_ne!(base, leg_context(SERVER, Some(CLIENT), None));
        let (leg, open) = (LegId::from_bytes([3; 32]), OpenDigest::from_bytes([4; 32]));
        let server = binder(Side::Server, leg, open, SERVER);
        assert_ne!(server, binder(Side::Client, leg, open, SERVER), "reflected");
        assert_ne!(server, binder(Side::Server, leg, open, CLIENT));
        let challenge = Challenge::from_bytes([5; 32]);
        assert_ne!(leaf(server, Kind::Preview, 0, None), leaf(server, Kind::Preview, 1, None));
        assert_ne!(leaf(server, Kind::Refresh, 1, None), leaf(server, Kind::Refresh, 1, Some(&challenge)));
    }

    #[test]
    fn a_challenge_is_32_bytes() {
        let challenge = Challenge::generate().unwrap();
        assert_eq!(Challenge::decode(&challenge.encode()), Ok(challenge));
        let error = Challenge::decode(&[0x41, 0]).unwrap_err();
        assert_eq!(error.to_string(), "CHALLENGE: challenge: expected 32 bytes, found 1");
    }
}
