//! The claims of a key: those of a certificate's evidence, kept as they were received.

use super::EvidenceError;
use super::reader::Reader;
use super::writer::Writer;
use crate::{ConfigDigest, Digest, KeyId, PolicyDigest, Timestamp};

/// The claims of one piece of evidence, with their encoding as received: digests are over that, never over an
/// encoding made anew.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claims {
    encoded: Vec<u8>,
    key: KeyId,
    hop: Option<HopClaims>,
    /// Invariant: `None` where `hop` is there.
    nonce: Option<Digest>,
    name: Option<Vec<u8>>,
    unknown: Vec<(String, Vec<u8>)>,
}

/// What an `inclavared` process says of itself in its evidence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HopClaims {
    pub version: u64,
    pub chain_role: String,
    pub policy_digest: PolicyDigest,
    /// When the certificate that carries this evidence ends.
    pub not_after: Timestamp,
    pub config_digest: ConfigDigest,
}

impl Claims {
    /// The claims of this process, encoded here once. `pubkey-hash` stands first, as rats-tls writes it.
    pub fn new(key: KeyId, hop: Option<HopClaims>) -> Self {
        Self::named(key, hop, None)
    }

    /// [`new`](Self::new), with what an authority says of the key ([`NamingKey::name`](crate::named::NamingKey::name)).
    pub fn named(key: KeyId, hop: Option<HopClaims>, name: Option<Vec<u8>>) -> Self {
        let entries = 1 + usize::from(hop.is_some()) + usize::from(name.is_some());
        let key_hash = Writer::default().array(2).uint(SHA_256).bytes(key.as_bytes()).finish();
        let mut writer = Writer::default().map(entries).text(PUBKEY_HASH).bytes(&key_hash);
        if let Some(hop) = &hop {
            writer = writer.text(INCLAVARED).bytes(&hop.encode());
        }
        if let Some(name) = &name {
            writer = writer.text(NAME).bytes(name);
        }
        Self { encoded: writer.finish(), key, hop, nonce: None, name, unknown: Vec::new() }
    }

    /// From the entries of a map that says nothing of legs, which is kept as it is.
    pub(super) fn read(encoded: &[u8], entries: &[(&str, &[u8])]) -> Result<Self, EvidenceError> {
        let (mut key, mut hop, mut nonce, mut named) = (None, None, None, None);
        let mut unknown = Vec::new();
        let mut has_nonce = false;
        for &(name, value) in entries {
            has_nonce |= name == NONCE;
            match name {
                PUBKEY_HASH => key = Some(decode_key_hash(value)?),
                INCLAVARED => hop = Some(HopClaims::decode(value)?),
                // Another attester's nonce may be of any length; rats-tls' is a digest.
                NONCE if value.len() == 32 => nonce = Digest::from_slice(value),
                NAME => named = Some(value.to_vec()),
                _ => unknown.push((name.to_owned(), value.to_vec())),
            }
        }
        if has_nonce && hop.is_some() {
            return Err(EvidenceError::NonceOfAHop);
        }
        let key = key.ok_or(EvidenceError::MissingClaim(PUBKEY_HASH))?;
        Ok(Self { encoded: encoded.to_vec(), key, hop, nonce, name: named, unknown })
    }

    /// The bytes that the quote's user data is the hash of.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// The key that the evidence speaks of.
    pub fn key(&self) -> KeyId {
        self.key
    }

    pub fn hop(&self) -> Option<&HopClaims> {
        self.hop.as_ref()
    }

    /// Of a peer that does not speak this protocol: rats-tls writes one. A hop's evidence has none.
    pub fn nonce(&self) -> Option<Digest> {
        self.nonce
    }

    /// What an authority says of the key, as it was received: a policy that asks for a name verifies it.
    pub fn name(&self) -> Option<&[u8]> {
        self.name.as_deref()
    }

    /// Entries that this version does not know: shown, never trusted.
    pub fn unknown(&self) -> &[(String, Vec<u8>)] {
        &self.unknown
    }
}

impl HopClaims {
    /// The version of this structure that is written and read here.
    pub const VERSION: u64 = 1;
    /// A role is a word of a policy. It comes to logs and error lines, so it is short.
    pub const MAX_ROLE_LEN: usize = 64;

    fn encode(&self) -> Vec<u8> {
        Writer::default()
            .map(5)
            .uint(1)
            .uint(self.version)
            .uint(2)
            .text(&self.chain_role)
            .uint(3)
            .bytes(self.policy_digest.as_bytes())
            .uint(4)
            .uint(self.not_after.0)
            .uint(5)
            .bytes(self.config_digest.as_bytes())
            .finish()
    }

    /// Exactly the keys of version 1, in order.
    fn decode(bytes: &[u8]) -> Result<Self, EvidenceError> {
        let mut reader = Reader::new(bytes, "the claim `inclavared`");
        let found = reader.map()?;
        expect_key(&mut reader, 1)?;
        let version = reader.uint()?;
        if version != Self::VERSION {
            return Err(EvidenceError::HopVersion { version });
        }
        if found != 5 {
            return Err(EvidenceError::Count { what: "the claim `inclavared`", expected: 5, found });
        }
        expect_key(&mut reader, 2)?;
        let chain_role = reader.text()?;
        if chain_role.len() > Self::MAX_ROLE_LEN || chain_role.chars().any(char::is_control) {
            return Err(EvidenceError::Role { size: chain_role.len(), max: Self::MAX_ROLE_LEN });
        }
        expect_key(&mut reader, 3)?;
        let policy_digest = PolicyDigest(digest(reader.bytes()?, INCLAVARED)?);
        expect_key(&mut reader, 4)?;
        let not_after = Timestamp(reader.uint()?);
        expect_key(&mut reader, 5)?;
        let config_digest = ConfigDigest(digest(reader.bytes()?, INCLAVARED)?);
        reader.end()?;
        Ok(Self { version, chain_role: chain_role.to_owned(), policy_digest, not_after, config_digest })
    }
}

/// `[hash algorithm, hash]`, as the interoperable RA-TLS format has it.
fn decode_key_hash(bytes: &[u8]) -> Result<KeyId, EvidenceError> {
    let mut reader = Reader::new(bytes, "the claim `pubkey-hash`");
    reader.array(2)?;
    let id = reader.uint()?;
    if id != SHA_256 {
        return Err(EvidenceError::HashAlgorithm { id, name: hash_algorithm_name(id) });
    }
    let hash = digest(reader.bytes()?, PUBKEY_HASH)?;
    reader.end()?;
    Ok(KeyId(hash))
}

pub(super) fn expect_key(reader: &mut Reader<'_>, expected: u64) -> Result<(), EvidenceError> {
    match reader.uint()? {
        found if found == expected => Ok(()),
        found => Err(EvidenceError::HopKeyOrder { expected, found }),
    }
}

pub(super) fn digest(bytes: &[u8], claim: &'static str) -> Result<Digest, EvidenceError> {
    Digest::from_slice(bytes).ok_or(EvidenceError::ClaimLength { claim, expected: 32, found: bytes.len() })
}

/// IANA "Named Information Hash Algorithm Registry".
fn hash_algorithm_name(id: u64) -> &'static str {
    match id {
        2..=6 => "truncated SHA-256",
        7 => "SHA-384",
        8 => "SHA-512",
        9..=12 => "SHA-3",
        _ => "unknown",
    }
}

const PUBKEY_HASH: &str = "pubkey-hash";
const INCLAVARED: &str = "inclavared";
const NONCE: &str = "nonce";
const NAME: &str = "inclavared-name";
const SHA_256: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn hop() -> HopClaims {
        HopClaims {
            version: 1,
            chain_role: "relay".into(),
            policy_digest: PolicyDigest::of(b"policy"),
            not_after: Timestamp(1_900_000_000),
            config_digest: ConfigDigest::of(b"configuration"),
        }
    }

    fn key() -> KeyId {
        KeyId::of(b"key")
    }

    fn key_hash() -> Vec<u8> {
        Writer::default().array(2).uint(1).bytes(key().as_bytes()).finish()
    }

    #[test]
    fn round_trips() {
        for hop in [None, Some(hop())] {
            for name in [None, Some(b"name".to_vec())] {
                let claims = Claims::named(key(), hop.clone(), name.clone());
                assert_eq!(Claims::decode(claims.encoded()).unwrap(), claims);
                assert_eq!((claims.hop(), claims.name(), claims.key()), (hop.as_ref(), name.as_deref(), key()));
            }
        }
    }

    #[test]
    fn starts_as_rats_tls_does() {
        let encoded = Claims::new(key(), None);
        // A map of one: "pubkey-hash" => bstr of [1, bstr of 32].
        assert!(hex::encode(encoded.encoded()).starts_with("a16b7075626b65792d6861736858248201"));
        assert!(hex::encode(encoded.encoded()).contains("82015820"));
    }

    #[test]
    fn takes_any_order_and_shows_what_it_does_not_know() {
        let encoded = Writer::default()
            .map(3)
            .text("nonce")
            .bytes(b"a short nonce of somebody else's")
            .text("app")
            .bytes(b"x")
            .text(PUBKEY_HASH)
            .bytes(&key_hash())
            .finish();
        let claims = Claims::decode(&encoded).unwrap();
        assert_eq!(claims.encoded(), encoded);
        assert_eq!(claims.nonce().unwrap().as_bytes(), b"a short nonce of somebody else's");
        assert_eq!(claims.unknown(), [("app".to_owned(), b"x".to_vec())]);

        let encoded = Writer::default().map(2).text("nonce").bytes(b"short").text(PUBKEY_HASH).bytes(&key_hash());
        let claims = Claims::decode(&encoded.finish()).unwrap();
        assert_eq!(claims.nonce(), None);
        assert_eq!(claims.unknown(), [("nonce".to_owned(), b"short".to_vec())]);
    }

    /// Whatever its length and its place: a hop's evidence that says when it was asked for is none of a certificate.
    #[test]
    fn a_hop_has_no_nonce() {
        let hop = hop().encode();
        for nonce in [&[7; 32][..], b"short", b""] {
            let entries = [(PUBKEY_HASH, key_hash()), (INCLAVARED, hop.clone()), (NONCE, nonce.to_vec())];
            for first in 0..3 {
                let written = (0..3).fold(Writer::default().map(3), |writer, i| {
                    let (name, value) = &entries[(first + i) % 3];
                    writer.text(name).bytes(value)
                });
                let error = Claims::decode(&written.finish()).unwrap_err();
                assert_eq!((&error, error.reason()), (&EvidenceError::NonceOfAHop, crate::Reason::EvidenceForm));
            }
        }
    }

    #[test]
    fn refuses_a_claim_twice_or_none_for_the_key() {
        let twice = Writer::default().map(2).text("a").bytes(b"1").text("a").bytes(b"2").finish();
        assert_eq!(Claims::decode(&twice), Err(EvidenceError::DuplicateClaim("a".into())));
        let mut writer = Writer::default().map(2);
        for _ in 0..2 {
            writer = writer.text(PUBKEY_HASH).bytes(&key_hash());
        }
        assert_eq!(Claims::decode(&writer.finish()), Err(EvidenceError::DuplicateClaim(PUBKEY_HASH.into())));
        let none = Writer::default().map(1).text("a").bytes(b"1").finish();
        assert_eq!(Claims::decode(&none), Err(EvidenceError::MissingClaim(PUBKEY_HASH)));
        let many = Writer::default().map(65).finish();
        assert_eq!(Claims::decode(&many), Err(EvidenceError::TooManyClaims { max: 64 }));
    }

    #[test]
    fn refuses_other_hashes_of_the_key() {
        let decode =
            |inner: Vec<u8>| Claims::decode(&Writer::default().map(1).text(PUBKEY_HASH).bytes(&inner).finish());
        let sha_384 = Writer::default().array(2).uint(7).bytes(&[0; 48]).finish();
        assert_eq!(decode(sha_384), Err(EvidenceError::HashAlgorithm { id: 7, name: "SHA-384" }));
        let short = Writer::default().array(2).uint(1).bytes(&[0; 31]).finish();
        let expected = EvidenceError::ClaimLength { claim: PUBKEY_HASH, expected: 32, found: 31 };
        assert_eq!(decode(short), Err(expected));
        let longer = [key_hash(), vec![0]].concat();
        assert!(matches!(decode(longer), Err(EvidenceError::TrailingBytes { count: 1, .. })));
        let three = Writer::default().array(3).uint(1).bytes(&[0; 32]).uint(0).finish();
        assert!(matches!(decode(three), Err(EvidenceError::Count { expected: 2, found: 3, .. })));
        // A number of two bytes where one would do is how libcbor's fixed widths look: tolerated.
        let wide = [&[0x82, 0x18, 0x01, 0x58, 0x20][..], key().as_bytes()].concat();
        assert_eq!(decode(wide).unwrap().key(), key());
    }

    #[test]
    fn refuses_indefinite_lengths_and_trailing_bytes() {
        let claims = Claims::new(key(), Some(hop()));
        let longer = [claims.encoded(), &[0]].concat();
        let what = "the map of claims";
        assert_eq!(Claims::decode(&longer), Err(EvidenceError::TrailingBytes { what, count: 1 }));
        let mut indefinite = claims.encoded().to_vec();
        indefinite[0] = 0xbf;
        indefinite.push(0xff);
        assert_eq!(Claims::decode(&indefinite), Err(EvidenceError::Indefinite { what }));
        let text = [&[0xa1, 0x7f][..], b"\x61a\xff\x41\x01"].concat();
        assert_eq!(Claims::decode(&text), Err(EvidenceError::Indefinite { what }));
        let bytes = [&[0xa1, 0x61, b'a', 0x5f][..], b"\x41\x01\xff"].concat();
        assert_eq!(Claims::decode(&bytes), Err(EvidenceError::Indefinite { what }));
        let number = Writer::default().map(1).text("a").uint(1).finish();
        assert!(matches!(Claims::decode(&number), Err(EvidenceError::Cbor { .. })));
        assert!(matches!(Claims::decode(&[]), Err(EvidenceError::Cbor { .. })));
    }

    #[test]
    fn reads_the_own_claim_strictly() {
        let decode = |hop: HopClaims| Claims::decode(Claims::new(key(), Some(hop)).encoded());
        assert_eq!(decode(HopClaims { version: 2, ..hop() }), Err(EvidenceError::HopVersion { version: 2 }));
        let role = "r".repeat(65);
        let expected = Err(EvidenceError::Role { size: 65, max: 64 });
        assert_eq!(decode(HopClaims { chain_role: role, ..hop() }), expected);
        let expected = Err(EvidenceError::Role { size: 3, max: 64 });
        assert_eq!(decode(HopClaims { chain_role: "a\nb".into(), ..hop() }), expected);

        let decode = |inner: Vec<u8>| Claims::decode(&Writer::default().map(1).text(INCLAVARED).bytes(&inner).finish());
        let swapped = Writer::default().map(5).uint(1).uint(1).uint(3).bytes(&[0; 32]).finish();
        assert_eq!(decode(swapped), Err(EvidenceError::HopKeyOrder { expected: 2, found: 3 }));
        let four = Writer::default().map(4).uint(1).uint(1).finish();
        assert!(matches!(decode(four), Err(EvidenceError::Count { expected: 5, found: 4, .. })));
        let longer = [hop().encode(), vec![0]].concat();
        assert!(matches!(decode(longer), Err(EvidenceError::TrailingBytes { count: 1, .. })));
    }
}
