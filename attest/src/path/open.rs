//! The messages that open a path: OPEN, START and ABORT (docs/PROTOCOL.md section 4).

use super::codes::{binding_code, binding_from_code};
use super::{MAX_HOPS, Nonce, WireError};
use crate::dcbor::{FormError, Item, Limits, Map};
use crate::policy::Binding;
use crate::{Digest, KeyId, OpenDigest, PolicyDigest, Reason, RecordDigest};

/// The version of the protocol that this crate speaks.
pub const VERSION: u64 = 1;
/// Payload of an OPEN, in bytes.
pub const MAX_OPEN: usize = 4 * 1024;
/// Digests in `have` at most: both sides hold the blobs until START.
pub const MAX_HAVE: usize = 32;
const MAX_VERSIONS: usize = 8;
const MAX_ROUTE: usize = 255;
/// A chain of `forward` records with its evidence is as long as a trailer may be, and the client's proof goes with it.
const MAX_START: usize = 320 * 1024;
const MAX_CLIENT_PROOF: usize = 32 * 1024;
/// Text in ABORT and FAULT, in bytes.
pub(super) const MAX_TEXT: usize = 256;
const MAX_ABORT: usize = 512;

/// The first message of a client on a leg: what it asks of the path behind the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Open {
    /// Versions that the client speaks, best first. Invariant: 1 to 8 of them.
    pub versions: Vec<u64>,
    /// Copied from leg to leg.
    pub nonce: Nonce,
    pub binding: Binding,
    pub route: Option<String>,
    pub policy: Option<PolicyDigest>,
    /// How many hops may follow the server's own.
    pub ttl: u8,
    /// The keys of the hops so far: a hop that finds one of its own refuses the loop.
    pub visited: Vec<KeyId>,
    /// Blobs that the client holds: they may be left out of the PREVIEW.
    pub have: Vec<Digest>,
    /// Every leg below has to be made for this path: none may have stood ready.
    pub no_warm_legs: bool,
    /// The path was begun by a client that nobody has admitted. Hops set it and tell it on; it decides who waits for whom,
    /// and nothing about trust.
    pub stranger: bool,
}

impl Open {
    pub fn encode(&self) -> Vec<u8> {
        Map::new()
            .entry(1, |w| {
                w.array(self.versions.len());
                self.versions.iter().fold(w, |w, version| w.uint(*version))
            })
            .bytes(2, self.nonce.as_bytes())
            .uint(3, binding_code(self.binding))
            .optional(4, self.route.as_deref(), |w, route| w.text(route))
            .optional(5, self.policy, |w, policy| w.bytes(policy.as_bytes()))
            .uint(6, u64::from(self.ttl))
            .entry(7, |w| w.list(self.visited.iter().map(KeyId::as_bytes)))
            .entry(8, |w| w.list(self.have.iter().map(Digest::as_bytes)))
            .optional(9, self.no_warm_legs.then_some(true), |w, no| w.bool(no))
            .optional(16, self.stranger.then_some(true), |w, yes| w.bool(yes))
            .finish()
    }

    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        Self::read(payload).map_err(|form| WireError { message: "OPEN", form })
    }

    /// Over the payload as it was sent, never over an encoding made anew.
    pub fn digest(payload: &[u8]) -> OpenDigest {
        OpenDigest::of(payload)
    }

    fn read(payload: &[u8]) -> Result<Self, FormError> {
        let mut fields = Item::parse(payload, &Limits::bytes(MAX_OPEN))?.fields("OPEN")?;
        let versions = fields.required(1, "versions")?.array("versions", MAX_VERSIONS)?;
        if versions.is_empty() {
            return Err(FormError::Range { field: "versions", expected: "at least 1 element".to_owned(), found: 0 });
        }
        let visited = |item: Item<'_>| Ok(KeyId::from_bytes(item.bytes32("visited")?));
        let have = |item: Item<'_>| Ok(Digest::from_bytes(item.bytes32("have")?));
        let open = Self {
            versions: versions.into_iter().map(|version| version.uint("versions")).collect::<Result<_, _>>()?,
            nonce: Nonce::from_bytes(fields.required(2, "nonce")?.bytes32("nonce")?),
            binding: binding_from_code(fields.required(3, "binding")?)?,
            route: match fields.optional(4) {
                Some(route) => Some(route.text("route", MAX_ROUTE)?.to_owned()),
                None => None,
            },
            policy: match fields.optional(5) {
                Some(policy) => Some(PolicyDigest::from_bytes(policy.bytes32("policy_digest")?)),
                None => None,
            },
            ttl: fields.required(6, "ttl")?.uint_in("ttl", 0, u64::from(MAX_HOPS))? as u8,
            visited: each(fields.required(7, "visited")?.array("visited", usize::from(MAX_HOPS))?, visited)?,
            have: each(fields.required(8, "have")?.array("have", MAX_HAVE)?, have)?,
            no_warm_legs: flag(fields.optional(9), "no_warm_legs")?,
            stranger: flag(fields.optional(16), "stranger")?,
        };
        fields.finish()?;
        Ok(open)
    }
}

/// The client has verified the preview and lets the applications speak.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start {
    /// The first record of the preview that the client accepted.
    pub record: RecordDigest,
    /// A COSE_Sign1 by the client's hop key over its binder, where the leg is mutual.
    pub client_proof: Option<Vec<u8>>,
    /// The chain the other way: a trailer of kind `forward`.
    pub forward: Option<Vec<u8>>,
}

impl Start {
    pub fn encode(&self) -> Vec<u8> {
        Map::new()
            .bytes(1, self.record.as_bytes())
            .optional(2, self.client_proof.as_deref(), |w, proof| w.bytes(proof))
            .optional(3, self.forward.as_deref(), |w, forward| w.bytes(forward))
            .finish()
    }

    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        Self::read(payload).map_err(|form| WireError { message: "START", form })
    }

    fn read(payload: &[u8]) -> Result<Self, FormError> {
        let mut fields = Item::parse(payload, &Limits::bytes(MAX_START))?.fields("START")?;
        let mut blob = |key, field, most| match fields.optional(key) {
            Some(item) => Ok::<_, FormError>(Some(item.bytes(field, most)?.to_vec())),
            None => Ok(None),
        };
        let client_proof = blob(2, "client_proof", MAX_CLIENT_PROOF)?;
        let forward = blob(3, "forward", MAX_START)?;
        let record = RecordDigest::from_bytes(fields.required(1, "record")?.bytes32("record")?);
        fields.finish()?;
        Ok(Self { record, client_proof, forward })
    }
}

/// The client gives up before START.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Abort {
    pub code: Reason,
    pub text: Option<String>,
}

impl Abort {
    /// Control characters and what is over 256 bytes are taken out of the text.
    pub fn new(code: Reason, text: Option<&str>) -> Self {
        Self { code, text: text.map(printable) }
    }

    pub fn encode(&self) -> Vec<u8> {
        Map::new()
            .uint(1, u64::from(self.code.code()))
            .optional(2, self.text.as_deref(), |w, text| w.text(&printable(text)))
            .finish()
    }

    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        Self::read(payload).map_err(|form| WireError { message: "ABORT", form })
    }

    fn read(payload: &[u8]) -> Result<Self, FormError> {
        let mut fields = Item::parse(payload, &Limits::bytes(MAX_ABORT))?.fields("ABORT")?;
        let code = Reason::from_code(fields.required(1, "code")?.uint("code")?);
        let text = optional_text(fields.optional(2), "text")?;
        fields.finish()?;
        Ok(Self { code, text })
    }
}

/// What does not hold is left out: one encoding for one meaning.
fn flag(item: Option<Item<'_>>, field: &'static str) -> Result<bool, FormError> {
    match item.map(|item| item.bool(field)).transpose()? {
        Some(false) => Err(FormError::Type { field, expected: "true, or nothing", found: "false" }),
        set => Ok(set.is_some()),
    }
}

pub(super) fn optional_text(item: Option<Item<'_>>, field: &'static str) -> Result<Option<String>, FormError> {
    item.map(|item| item.text(field, MAX_TEXT).map(str::to_owned)).transpose()
}

/// The text as it may stand on the wire: no control characters, at most 256 bytes.
pub(super) fn printable(text: &str) -> String {
    let mut clean = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if clean.len() + c.len_utf8() > MAX_TEXT {
            break;
        }
        clean.push(c);
    }
    clean
}

fn each<T>(items: Vec<Item<'_>>, read: impl Fn(Item<'_>) -> Result<T, FormError>) -> Result<Vec<T>, FormError> {
    items.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dcbor::{DcborError, Writer};

    fn open() -> Open {
        Open {
            versions: vec![1],
            nonce: Nonce::from_bytes([7; 32]),
            binding: Binding::Key,
            route: Some("db".to_owned()),
            policy: Some(PolicyDigest::from_bytes([8; 32])),
            ttl: 8,
            visited: vec![KeyId::from_bytes([9; 32])],
            have: vec![Digest::from_bytes([10; 32])],
            no_warm_legs: true,
            stranger: true,
        }
    }

    #[test]
    fn open_comes_back_as_it_was() {
        let full = open();
        assert_eq!(Open::decode(&full.encode()), Ok(full.clone()));
        let none = Open { route: None, policy: None, visited: vec![], have: vec![], ..full };
        let bare = Open { no_warm_legs: false, stranger: false, ..none };
        assert_eq!(Open::decode(&bare.encode()), Ok(bare.clone()));
        assert_eq!(Open::digest(&bare.encode()), OpenDigest::of(&bare.encode()));
    }

    #[test]
    fn the_largest_open_fits_and_one_more_of_anything_is_refused() {
        let largest = Open {
            versions: vec![u64::MAX; MAX_VERSIONS],
            route: Some("r".repeat(MAX_ROUTE)),
            ttl: MAX_HOPS,
            visited: vec![KeyId::from_bytes([9; 32]); usize::from(MAX_HOPS)],
            have: vec![Digest::from_bytes([10; 32]); MAX_HAVE],
            ..open()
        };
        assert!(largest.encode().len() <= MAX_OPEN);
        assert_eq!(Open::decode(&largest.encode()), Ok(largest));
        let more = [
            (Open { versions: vec![1; MAX_VERSIONS + 1], ..open() }, "versions"),
            (Open { versions: vec![], ..open() }, "versions"),
            (Open { route: Some("r".repeat(MAX_ROUTE + 1)), ..open() }, "route"),
            (Open { ttl: MAX_HOPS + 1, ..open() }, "ttl"),
            (Open { visited: vec![KeyId::from_bytes([9; 32]); 17], ..open() }, "visited"),
            (Open { have: vec![Digest::from_bytes([10; 32]); MAX_HAVE + 1], ..open() }, "have"),
        ];
        for (open, name) in more {
            match Open::decode(&open.encode()).unwrap_err().form {
                FormError::Range { field, .. } => assert_eq!(field, name),
                other => panic!("{other}"),
            }
        }
        let over = DcborError::TooLong { limit: MAX_OPEN, found: MAX_OPEN + 1 };
        assert_eq!(Open::decode(&[0; MAX_OPEN + 1]).unwrap_err().form, FormError::Dcbor(over));
    }

    #[test]
    fn unknown_keys_bindings_and_controls_are_refused() {
        let mut unknown = open().encode();
        unknown[0] += 1;
        unknown.extend([17, 0]);
        assert_eq!(Open::decode(&unknown).unwrap_err().form, FormError::UnknownKey { key: 17 });
        let text = Open { route: Some("a\nb".to_owned()), ..open() };
        assert_eq!(Open::decode(&text.encode()).unwrap_err().form, FormError::ControlCharacters { field: "route" });
        let mut w = Writer::new();
        w.map(Map::new().uint(1, 1));
        assert_eq!(
            Open::decode(&w.finish()).unwrap_err().to_string(),
            "OPEN: versions: expected an array, found an integer"
        );
    }

    #[test]
    fn start_and_abort_come_back_as_they_were() {
        let start = Start {
            record: RecordDigest::from_bytes([1; 32]),
            client_proof: Some(vec![1, 2]),
            forward: Some(vec![3; 70_000]),
        };
        assert_eq!(Start::decode(&start.encode()), Ok(start.clone()));
        let bare = Start { client_proof: None, forward: None, ..start };
        assert_eq!(Start::decode(&bare.encode()), Ok(bare));
        let abort = Abort::new(Reason::Measurement, Some("no\nrule"));
        assert_eq!(abort.text.as_deref(), Some("no rule"));
        assert_eq!(Abort::decode(&abort.encode()), Ok(abort));
        assert_eq!(Start::decode(&[0xa0]).unwrap_err().form, FormError::Missing { field: "record" });
        assert_eq!(Abort::decode(&[0xa0]).unwrap_err().form, FormError::Missing { field: "code" });
    }

    proptest! {
        #[test]
        fn bytes_of_a_peer_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = (Open::decode(&bytes), Start::decode(&bytes), Abort::decode(&bytes));
        }

        #[test]
        fn a_changed_open_is_refused_or_differs(at in 0usize..200, bit in 0u8..8) {
            let mut bytes = open().encode();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(changed) = Open::decode(&bytes) {
                prop_assert_ne!(&changed, &open());
                prop_assert_eq!(changed.encode(), bytes);
            }
        }
    }
}
