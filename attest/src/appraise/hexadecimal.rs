//! Bytes as hexadecimal text in JSON.

use serde::Serializer;

pub(super) fn bytes<S: Serializer>(bytes: &impl AsRef<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(bytes))
}

pub(super) fn list<'a, S, L, B>(list: &'a L, serializer: S) -> Result<S::Ok, S::Error>
where
    S: Serializer,
    &'a L: IntoIterator<Item = &'a B>,
    B: AsRef<[u8]> + 'a,
{
    serializer.collect_seq(list.into_iter().map(hex::encode))
}
