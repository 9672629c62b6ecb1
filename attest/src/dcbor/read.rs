//! Reads what [`check`](super::check) has passed, without copying it.

use super::{DcborError, Head, Limits, Walk, check, major};

/// One item, borrowed from bytes that are deterministic CBOR.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// Invariant: exactly one item that passed `check`.
    bytes: &'a [u8],
}

/// Why CBOR is not the structure that was expected.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FormError {
    #[error(transparent)]
    Dcbor(#[from] DcborError),
    #[error("{field}: expected {expected}, found {found}")]
    Type { field: &'static str, expected: &'static str, found: &'static str },
    #[error("{field}: expected {expected}, found {found}")]
    Range { field: &'static str, expected: String, found: u64 },
    #[error("{field} is missing")]
    Missing { field: &'static str },
    #[error("key {key} is not known here")]
    UnknownKey { key: u64 },
    #[error("{field} has control characters")]
    ControlCharacters { field: &'static str },
}

impl<'a> Item<'a> {
    /// The one item in `bytes`, if they are deterministic CBOR within `limits`.
    pub fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Self, DcborError> {
        check(bytes, limits)?;
        Ok(Self { bytes })
    }

    pub fn uint(self, field: &'static str) -> Result<u64, FormError> {
        let (head, _) = self.head();
        match head.major {
            major::UINT => Ok(head.value),
            _ => Err(self.wrong(field, "an unsigned integer")),
        }
    }

    /// An unsigned integer from `least` to `most`.
    pub fn uint_in(self, field: &'static str, least: u64, most: u64) -> Result<u64, FormError> {
        let found = self.uint(field)?;
        if !(least..=most).contains(&found) {
            return Err(FormError::Range { field, expected: format!("{least} to {most}"), found });
        }
        Ok(found)
    }

    pub fn int(self, field: &'static str) -> Result<i64, FormError> {
        let (head, _) = self.head();
        match (head.major, i64::try_from(head.value)) {
            (major::UINT, Ok(value)) => Ok(value),
            (major::NEGATIVE, Ok(value)) => Ok(-1 - value),
            _ => Err(self.wrong(field, "an integer of 64 bits")),
        }
    }

    pub fn bool(self, field: &'static str) -> Result<bool, FormError> {
        match self.bytes {
            [0xf4] => Ok(false),
            [0xf5] => Ok(true),
            _ => Err(self.wrong(field, "true or false")),
        }
    }

    pub fn is_null(self) -> bool {
        self.bytes == [0xf6]
    }

    pub fn bytes(self, field: &'static str, most: usize) -> Result<&'a [u8], FormError> {
        let (head, content) = self.head();
        match head.major {
            major::BYTES if content.len() <= most => Ok(content),
            major::BYTES => Err(too_long(field, most, content.len())),
            _ => Err(self.wrong(field, "a byte string")),
        }
    }

    pub fn bytes32(self, field: &'static str) -> Result<[u8; 32], FormError> {
        let bytes = self.bytes(field, usize::MAX)?;
        bytes.try_into().map_err(|_| FormError::Range {
            field,
            expected: "32 bytes".to_owned(),
            found: bytes.len() as u64,
        })
    }

    /// Text of at most `most` bytes without control characters: it can stand in a log line as it is.
    pub fn text(self, field: &'static str, most: usize) -> Result<&'a str, FormError> {
        let (head, content) = self.head();
        if head.major != major::TEXT {
            return Err(self.wrong(field, "text"));
        }
        if content.len() > most {
            return Err(too_long(field, most, content.len()));
        }
        let text = std::str::from_utf8(content).map_err(|_| DcborError::NotUtf8 { at: 0 })?;
        if text.chars().any(char::is_control) {
            return Err(FormError::ControlCharacters { field });
        }
        Ok(text)
    }

    /// The elements of an array of at most `most`.
    pub fn array(self, field: &'static str, most: usize) -> Result<Vec<Self>, FormError> {
        let (head, content) = self.head();
        if head.major != major::ARRAY {
            return Err(self.wrong(field, "an array"));
        }
        split(field, content, head.value, most)
    }

    /// The elements of an array of exactly `N`.
    pub fn tuple<const N: usize>(self, field: &'static str) -> Result<[Self; N], FormError> {
        let elements = self.array(field, N)?;
        let found = elements.len() as u64;
        elements.try_into().map_err(|_| FormError::Range { field, expected: format!("{N} elements"), found })
    }

    /// Keys and values of a map of at most `most` entries, in order.
    pub fn map(self, field: &'static str, most: usize) -> Result<Vec<(Self, Self)>, FormError> {
        let (head, content) = self.head();
        if head.major != major::MAP {
            return Err(self.wrong(field, "a map"));
        }
        if head.value > most as u64 {
            return Err(FormError::Range { field, expected: format!("at most {most} entries"), found: head.value });
        }
        let items = split(field, content, head.value * 2, most * 2)?;
        Ok(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
    }

    /// A map with integer keys as a set of fields.
    pub(crate) fn fields(self, field: &'static str) -> Result<Fields<'a>, FormError> {
        let entries = self.map(field, MOST_FIELDS)?;
        let entries: Result<Vec<_>, FormError> =
            entries.into_iter().map(|(key, value)| Ok((key.uint(field)?, value))).collect();
        Ok(Fields { entries: entries? })
    }

    /// The head and the bytes after it.
    fn head(self) -> (Head, &'a [u8]) {
        let head = Head::read(self.bytes, 0).expect("an item holds a whole item that passed `check`");
        let content = &self.bytes[head.end..];
        (head, content)
    }

    fn wrong(self, field: &'static str, expected: &'static str) -> FormError {
        let found = match self.head().0.major {
            major::UINT | major::NEGATIVE => "an integer",
            major::BYTES => "a byte string",
            major::TEXT => "text",
            major::ARRAY => "an array",
            major::MAP => "a map",
            major::TAG => "a tag",
            _ if self.is_null() => "null",
            _ => "a simple value",
        };
        FormError::Type { field, expected, found }
    }
}

/// The fields of a map with integer keys. Each is taken once; what is left at the end is unknown, and refused.
pub(crate) struct Fields<'a> {
    entries: Vec<(u64, Item<'a>)>,
}

impl<'a> Fields<'a> {
    pub(crate) fn optional(&mut self, key: u64) -> Option<Item<'a>> {
        let index = self.entries.iter().position(|(k, _)| *k == key)?;
        Some(self.entries.remove(index).1)
    }

    pub(crate) fn required(&mut self, key: u64, field: &'static str) -> Result<Item<'a>, FormError> {
        self.optional(key).ok_or(FormError::Missing { field })
    }

    pub(crate) fn finish(self) -> Result<(), FormError> {
        match self.entries.first() {
            None => Ok(()),
            Some((key, _)) => Err(FormError::UnknownKey { key: *key }),
        }
    }
}

/// No structure of this protocol has more fields.
const MOST_FIELDS: usize = 16;

fn split<'a>(field: &'static str, content: &'a [u8], count: u64, most: usize) -> Result<Vec<Item<'a>>, FormError> {
    if count > most as u64 {
        return Err(FormError::Range { field, expected: format!("at most {most} elements"), found: count });
    }
    let mut items = Vec::with_capacity(count as usize);
    // Passes over again what passed before; the tags in it were judged then.
    let mut walk = Walk { bytes: content, at: 0, depth_limit: super::MAX_DEPTH, tags: None };
    for _ in 0..count {
        let from = walk.at;
        walk.item(0)?;
        items.push(Item { bytes: &content[from..walk.at] });
    }
    Ok(items)
}

fn too_long(field: &'static str, most: usize, found: usize) -> FormError {
    FormError::Range { field, expected: format!("at most {most} bytes"), found: found as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(bytes: &[u8]) -> Item<'_> {
        Item::parse(bytes, &Limits::bytes(1024)).unwrap()
    }

    #[test]
    fn reads_integers_at_their_ends() {
        assert_eq!(item(&[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).uint("n"), Ok(u64::MAX));
        assert_eq!(item(&[0x20]).int("n"), Ok(-1));
        assert_eq!(item(&[0x3b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).int("n"), Ok(i64::MIN));
        let below = item(&[0x3b, 0x80, 0, 0, 0, 0, 0, 0, 0]);
        assert!(matches!(below.int("n"), Err(FormError::Type { field: "n", .. })));
    }

    #[test]
    fn fields_are_taken_once_and_none_is_left() {
        let bytes = [0xa2, 1, 0x41, 7, 3, 0xf6];
        let mut fields = item(&bytes).fields("map").unwrap();
        assert_eq!(fields.required(1, "one").unwrap().bytes("one", 1), Ok(&[7][..]));
        assert_eq!(fields.required(1, "one").unwrap_err(), FormError::Missing { field: "one" });
        assert_eq!(fields.finish(), Err(FormError::UnknownKey { key: 3 }));
    }

    #[test]
    fn wrong_types_and_lengths_are_named() {
        assert_eq!(
            item(&[0x41, 0]).uint("ttl"),
            Err(FormError::Type { field: "ttl", expected: "an unsigned integer", found: "a byte string" })
        );
        assert!(matches!(item(&[0x42, 0, 0]).bytes("b", 1), Err(FormError::Range { found: 2, .. })));
        assert!(matches!(item(&[0x82, 0, 0]).array("a", 1), Err(FormError::Range { found: 2, .. })));
        assert!(matches!(item(&[0x82, 0, 0]).tuple::<3>("a"), Err(FormError::Range { found: 2, .. })));
        assert_eq!(item(&[0x61, 0x0a]).text("t", 8), Err(FormError::ControlCharacters { field: "t" }));
    }
}
