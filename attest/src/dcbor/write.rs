//! Writes deterministic CBOR: minicbor's encoder has the shortest forms, [`Map`] sees to the order of keys.

use std::convert::Infallible;

use minicbor::Encoder;
use minicbor::encode::Error;

/// Writes items into a vector. The caller gives as many items as the arrays and maps announce.
pub struct Writer(Encoder<Vec<u8>>);

impl Writer {
    pub fn new() -> Self {
        Self(Encoder::new(Vec::new()))
    }

    pub fn finish(self) -> Vec<u8> {
        self.0.into_writer()
    }

    pub fn uint(&mut self, value: u64) -> &mut Self {
        self.put(|e| e.u64(value))
    }

    pub fn int(&mut self, value: i64) -> &mut Self {
        self.put(|e| e.i64(value))
    }

    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.put(|e| e.bytes(value))
    }

    pub fn text(&mut self, value: &str) -> &mut Self {
        self.put(|e| e.str(value))
    }

    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.put(|e| e.bool(value))
    }

    pub fn null(&mut self) -> &mut Self {
        self.put(Encoder::null)
    }

    /// The bytes, or null.
    pub fn bytes_or_null(&mut self, value: Option<&[u8]>) -> &mut Self {
        match value {
            Some(value) => self.bytes(value),
            None => self.null(),
        }
    }

    /// `length` items follow.
    pub fn array(&mut self, length: usize) -> &mut Self {
        self.put(|e| e.array(length as u64))
    }

    /// `entries` pairs follow, which the caller gives in the order of their encoded keys.
    pub fn map_header(&mut self, entries: usize) -> &mut Self {
        self.put(|e| e.map(entries as u64))
    }

    /// An array of byte strings.
    pub fn list<'a>(&mut self, items: impl ExactSizeIterator<Item = &'a [u8; 32]>) -> &mut Self {
        self.array(items.len());
        items.for_each(|item| {
            self.bytes(item);
        });
        self
    }

    pub fn map(&mut self, map: Map) -> &mut Self {
        self.map_header(map.entries);
        self.0.writer_mut().extend_from_slice(&map.body.finish());
        self
    }

    fn put(
        &mut self,
        write: impl FnOnce(&mut Encoder<Vec<u8>>) -> Result<&mut Encoder<Vec<u8>>, Error<Infallible>>,
    ) -> &mut Self {
        write(&mut self.0).expect("a vector takes every write");
        self
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

/// A map with small integer keys, given in ascending order.
pub struct Map {
    entries: usize,
    last: Option<u64>,
    body: Writer,
}

impl Map {
    pub fn new() -> Self {
        Self { entries: 0, last: None, body: Writer::new() }
    }

    /// One entry: `value` writes exactly one item.
    pub fn entry(mut self, key: u64, value: impl FnOnce(&mut Writer) -> &mut Writer) -> Self {
        debug_assert!(self.last.is_none_or(|last| last < key), "keys ascend");
        self.entries += 1;
        self.last = Some(key);
        self.body.uint(key);
        value(&mut self.body);
        self
    }

    /// An entry that is left out when there is no value.
    pub fn optional<T>(self, key: u64, value: Option<T>, write: impl FnOnce(&mut Writer, T) -> &mut Writer) -> Self {
        match value {
            Some(value) => self.entry(key, |w| write(w, value)),
            None => self,
        }
    }

    pub fn uint(self, key: u64, value: u64) -> Self {
        self.entry(key, |w| w.uint(value))
    }

    pub fn bytes(self, key: u64, value: &[u8]) -> Self {
        self.entry(key, |w| w.bytes(value))
    }

    pub fn text(self, key: u64, value: &str) -> Self {
        self.entry(key, |w| w.text(value))
    }

    pub fn bytes_or_null(self, key: u64, value: Option<&[u8]>) -> Self {
        self.entry(key, |w| w.bytes_or_null(value))
    }

    pub fn map(self, key: u64, value: Self) -> Self {
        self.entry(key, |w| w.map(value))
    }

    /// The map as an item of its own.
    pub fn finish(self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.map(self);
        writer.finish()
    }
}

impl Default for Map {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, check};
    use super::*;

    #[test]
    fn writes_what_check_accepts() {
        let inner = Map::new().uint(1, 24).bytes_or_null(2, None);
        let map = Map::new()
            .uint(1, u64::MAX)
            .bytes(2, &[1; 300])
            .text(3, "text")
            .optional(4, None::<u64>, |w, v| w.uint(v))
            .map(5, inner)
            .entry(6, |w| w.array(2).int(-1).bool(true));
        let bytes = map.finish();
        assert_eq!(check(&bytes, &Limits::bytes(1024)), Ok(()));
        assert_eq!(bytes[0], 0xa5);
    }
}
