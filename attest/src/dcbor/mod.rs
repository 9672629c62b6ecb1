//! Strict deterministic CBOR (RFC 8949 section 4.2.1): what is not in that form is refused before it is read.
//!
//! [`check`] walks the bytes once, allocates nothing and goes no deeper than its limit. [`Item`] reads what passed it,
//! [`Writer`] and [`Map`] write it.

mod read;
mod write;

pub(crate) use read::Fields;
pub use read::{FormError, Item};
pub use write::{Map, Writer};

/// What a piece of CBOR may be at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Length of the whole, in bytes.
    pub bytes: usize,
    /// Arrays, maps and tags inside one another; a lone integer has depth 0. At most [`MAX_DEPTH`] whatever is asked for.
    pub depth: u8,
    /// The tags that may occur. None in the messages of the path.
    pub tags: &'static [u64],
}

/// Depth of nesting that is enough for everything in this protocol, and that a stack stands.
pub const MAX_DEPTH: u8 = 8;

impl Limits {
    /// At most `bytes` long, [`MAX_DEPTH`] deep, no tags.
    pub const fn bytes(bytes: usize) -> Self {
        Self { bytes, depth: MAX_DEPTH, tags: &[] }
    }
}

/// Why bytes are not deterministic CBOR; `at` is the offset where the offending item begins.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DcborError {
    #[error("{found} bytes, at most {limit} are allowed")]
    TooLong { limit: usize, found: usize },
    #[error("ends inside an item that begins at byte {at}")]
    Truncated { at: usize },
    #[error("{extra} bytes after the end")]
    Trailing { extra: usize },
    #[error("nested deeper than {limit} at byte {at}")]
    TooDeep { limit: u8, at: usize },
    #[error("an integer or length not in its shortest form at byte {at}")]
    NotShortest { at: usize },
    #[error("an item of indefinite length at byte {at}")]
    Indefinite { at: usize },
    #[error("a reserved initial byte at byte {at}")]
    Reserved { at: usize },
    #[error("text that is not UTF-8 at byte {at}")]
    NotUtf8 { at: usize },
    #[error("a map key out of order at byte {at}")]
    KeyOrder { at: usize },
    #[error("a map key that was there before, at byte {at}")]
    DuplicateKey { at: usize },
    #[error("a floating-point number at byte {at}")]
    Float { at: usize },
    #[error("simple value {value} at byte {at}; only false, true and null are allowed")]
    Simple { value: u64, at: usize },
    #[error("tag {tag} at byte {at}")]
    Tag { tag: u64, at: usize },
}

/// Whether `bytes` are exactly one item in deterministic form, within `limits`.
pub fn check(bytes: &[u8], limits: &Limits) -> Result<(), DcborError> {
    if bytes.len() > limits.bytes {
        return Err(DcborError::TooLong { limit: limits.bytes, found: bytes.len() });
    }
    let mut walk = Walk { bytes, at: 0, depth_limit: limits.depth.min(MAX_DEPTH), tags: Some(limits.tags) };
    walk.item(0)?;
    match bytes.len() - walk.at {
        0 => Ok(()),
        extra => Err(DcborError::Trailing { extra }),
    }
}

/// Major types (RFC 8949 section 3.1).
mod major {
    pub(super) const UINT: u8 = 0;
    pub(super) const NEGATIVE: u8 = 1;
    pub(super) const BYTES: u8 = 2;
    pub(super) const TEXT: u8 = 3;
    pub(super) const ARRAY: u8 = 4;
    pub(super) const MAP: u8 = 5;
    pub(super) const TAG: u8 = 6;
}

const FALSE: u64 = 20;
const TRUE: u64 = 21;
const NULL: u64 = 22;

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    depth_limit: u8,
    /// `None`: any.
    tags: Option<&'static [u64]>,
}

impl Walk<'_> {
    /// Passes one item. Recursion ends at `depth_limit`; a length that the peer chose costs nothing but the bytes
    /// that really follow, since every element takes at least one.
    fn item(&mut self, depth: u8) -> Result<(), DcborError> {
        let at = self.at;
        let head = Head::read(self.bytes, at)?;
        self.at = head.end;
        match head.major {
            major::UINT | major::NEGATIVE => Ok(()),
            major::BYTES => self.skip(head.value, at).map(drop),
            major::TEXT => {
                let from = self.at;
                self.skip(head.value, at)?;
                match std::str::from_utf8(&self.bytes[from..self.at]) {
                    Ok(_) => Ok(()),
                    Err(_) => Err(DcborError::NotUtf8 { at }),
                }
            }
            major::ARRAY => {
                let depth = self.deeper(depth, at)?;
                for _ in 0..head.value {
                    self.item(depth)?;
                }
                Ok(())
            }
            major::MAP => self.map(head.value, self.deeper(depth, at)?),
            major::TAG => {
                if self.tags.is_some_and(|tags| !tags.contains(&head.value)) {
                    return Err(DcborError::Tag { tag: head.value, at });
                }
                let depth = self.deeper(depth, at)?;
                self.item(depth)
            }
            _ => match (self.bytes[at] & 0x1f, head.value) {
                (25..=27, _) => Err(DcborError::Float { at }),
                (_, FALSE | TRUE | NULL) => Ok(()),
                (_, value) => Err(DcborError::Simple { value, at }),
            },
        }
    }

    fn map(&mut self, entries: u64, depth: u8) -> Result<(), DcborError> {
        let mut previous: Option<&[u8]> = None;
        for _ in 0..entries {
            let at = self.at;
            self.item(depth)?;
            let key = &self.bytes[at..self.at];
            match previous.map(|previous| previous.cmp(key)) {
                Some(std::cmp::Ordering::Equal) => return Err(DcborError::DuplicateKey { at }),
                Some(std::cmp::Ordering::Greater) => return Err(DcborError::KeyOrder { at }),
                _ => previous = Some(key),
            }
            self.item(depth)?;
        }
        Ok(())
    }

    fn deeper(&self, depth: u8, at: usize) -> Result<u8, DcborError> {
        if depth >= self.depth_limit {
            return Err(DcborError::TooDeep { limit: self.depth_limit, at });
        }
        Ok(depth + 1)
    }

    fn skip(&mut self, length: u64, at: usize) -> Result<(), DcborError> {
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length));
        match end {
            Some(end) if end <= self.bytes.len() => {
                self.at = end;
                Ok(())
            }
            _ => Err(DcborError::Truncated { at }),
        }
    }
}

/// The head of an item: its major type, its argument, and where it ends.
struct Head {
    major: u8,
    value: u64,
    end: usize,
}

impl Head {
    fn read(bytes: &[u8], at: usize) -> Result<Self, DcborError> {
        let truncated = DcborError::Truncated { at };
        let first = *bytes.get(at).ok_or(truncated.clone())?;
        let (major, info) = (first >> 5, first & 0x1f);
        let width = match info {
            0..=23 => return Ok(Self { major, value: u64::from(info), end: at + 1 }),
            24..=27 => 1usize << (info - 24),
            31 => return Err(DcborError::Indefinite { at }),
            _ => return Err(DcborError::Reserved { at }),
        };
        let argument = bytes.get(at + 1..at + 1 + width).ok_or(truncated)?;
        let value = argument.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
        let least = [24, 1 << 8, 1 << 16, 1 << 32][usize::from(info - 24)];
        // Floats (major type 7, two bytes and more) are no integers; a simple value of two bytes starts at 32.
        let least = if (major, info) == (7, 24) { 32 } else { least };
        if (major != 7 || info == 24) && value < least {
            return Err(DcborError::NotShortest { at });
        }
        Ok(Self { major, value, end: at + 1 + width })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn checked(hex: &str) -> Result<(), DcborError> {
        check(&hex::decode(hex).unwrap(), &Limits::bytes(1024))
    }

    #[test]
    fn accepts_the_deterministic_form() {
        for hex in ["00", "17", "1818", "190100", "1b0000000100000000", "20", "3818", "40", "6161", "80", "8201f6"] {
            assert_eq!(checked(hex), Ok(()), "{hex}");
        }
        for hex in ["a0", "a2010002f5", "a3010218180341ff00", "a201006161f4"] {
            assert_eq!(checked(hex), Ok(()), "{hex}");
        }
    }

    #[test]
    fn refuses_each_departure_by_its_name() {
        use DcborError::*;
        let cases = [
            ("", Truncated { at: 0 }),
            ("18", Truncated { at: 0 }),
            ("4261", Truncated { at: 0 }),
            ("5bffffffffffffffff", Truncated { at: 0 }),
            ("9bffffffffffffffff", Truncated { at: 9 }),
            ("bbffffffffffffffff", Truncated { at: 9 }),
            ("0000", Trailing { extra: 1 }),
            ("1817", NotShortest { at: 0 }),
            ("1900ff", NotShortest { at: 0 }),
            ("1a0000ffff", NotShortest { at: 0 }),
            ("1b00000000ffffffff", NotShortest { at: 0 }),
            ("580161", NotShortest { at: 0 }),
            ("5f4161ff", Indefinite { at: 0 }),
            ("9fff", Indefinite { at: 0 }),
            ("bfff", Indefinite { at: 0 }),
            ("ff", Indefinite { at: 0 }),
            ("1c", Reserved { at: 0 }),
            ("62c328", NotUtf8 { at: 0 }),
            ("a202000100", KeyOrder { at: 3 }),
            ("a26161000100", KeyOrder { at: 4 }),
            ("a201000101", DuplicateKey { at: 3 }),
            ("f97e00", Float { at: 0 }),
            ("fa7f800000", Float { at: 0 }),
            ("fb3ff199999999999a", Float { at: 0 }),
            ("f7", Simple { value: 23, at: 0 }),
            ("e0", Simple { value: 0, at: 0 }),
            ("f820", Simple { value: 32, at: 0 }),
            ("c100", Tag { tag: 1, at: 0 }),
        ];
        for (hex, error) in cases {
            assert_eq!(checked(hex), Err(error), "{hex}");
        }
        // A simple value that hides in two bytes what one byte says.
        assert_eq!(checked("f814"), Err(NotShortest { at: 0 }));
    }

    #[test]
    fn depth_length_and_tags_are_limited() {
        let nested = |depth: usize| [vec![0x81; depth], vec![0]].concat();
        assert_eq!(check(&nested(8), &Limits::bytes(64)), Ok(()));
        assert_eq!(check(&nested(9), &Limits::bytes(64)), Err(DcborError::TooDeep { limit: 8, at: 8 }));
        let wide = Limits { bytes: 1 << 20, depth: u8::MAX, tags: &[] };
        assert_eq!(check(&nested(1 << 19), &wide), Err(DcborError::TooDeep { limit: 8, at: 8 }));
        assert_eq!(check(&[0; 3], &Limits::bytes(2)), Err(DcborError::TooLong { limit: 2, found: 3 }));
        let tagged = Limits { bytes: 64, depth: 2, tags: &[1] };
        assert_eq!(check(&[0xc1, 0], &tagged), Ok(()));
        assert_eq!(check(&[0xc2, 0], &tagged), Err(DcborError::Tag { tag: 2, at: 0 }));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = check(&bytes, &Limits::bytes(256));
        }
    }
}
