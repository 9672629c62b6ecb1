//! SHA-256 values, one type for each thing that must not be mixed up with another.

use std::fmt;
use std::str::FromStr;

use crate::crypto;

/// A SHA-256 value of 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(crypto::sha256(bytes))
    }

    /// SHA-256 of the parts, one after the other.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut hash = crypto::Sha256::new();
        for part in parts {
            hash.update(part);
        }
        Self(hash.finish())
    }

    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// `None` unless the slice has exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = hex::FromHexError;

    /// Reads 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

macro_rules! digest_kinds {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        pub struct $name(pub Digest);

        impl $name {
            pub fn of(bytes: &[u8]) -> Self {
                Self(Digest::of(bytes))
            }

            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(Digest::from_bytes(bytes))
            }

            /// `None` unless the slice has exactly 32 bytes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                Digest::from_slice(bytes).map(Self)
            }

            pub const fn as_bytes(&self) -> &[u8; 32] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    )*};
}

digest_kinds! {
    /// SHA-256 of a key's SubjectPublicKeyInfo in DER: names a hop key (the `kid` of its records).
    KeyId
    /// SHA-256 of an evidence extension's value exactly as it was received.
    EvidenceDigest
    /// SHA-256 of a record (the content of its byte string).
    RecordDigest
    /// The exporter value of one TLS session: an identifier, never a key.
    LegId
    /// SHA-256 over the verifier's nonce: one path's session.
    SessionId
    /// SHA-256 of an OPEN payload as it was sent.
    OpenDigest
    /// SHA-256 of the dCBOR of a compiled policy.
    PolicyDigest
    /// SHA-256 of the dCBOR of a configuration.
    ConfigDigest
    /// SHA-256 over a whole set of collateral.
    CollateralDigest
}
