//! The one encoding of a statement: strict dCBOR, every array that is a set in bytewise order of its elements' encodings.

use std::collections::BTreeSet;

use super::statement::{
    Commitment, Danger, FrontKey, Judged, MAX_COMMITMENT_NAME, MAX_STATEMENT, MAX_TARGET_NAME, MAX_TARGETS, MAX_WAYS,
    Mark, Passes, Place, Root, Source, StatementError, Target, Way,
};
use crate::dcbor::{FormError, Item, Limits, Map, Writer};
use crate::{Digest, KeyId, PolicyDigest};

const VERSION: u64 = 1;
const MAX_ROOTS: usize = 16;
const MAX_DANGERS: usize = 16;
const MAX_MARKS: usize = 8;
const MAX_CLIENT_ANCHORS: usize = 8;
const MAX_ANCHORS: usize = 32;

/// What a statement holds, in its order.
pub(super) struct Parts {
    pub(super) ways: Vec<Way>,
    pub(super) roots: Vec<Root>,
    pub(super) dangers: BTreeSet<Danger>,
    pub(super) commitment: Option<Commitment>,
}

/// What has an encoding of its own, so that a set of it has an order.
pub(super) trait Encoded: Sized {
    fn write<'w>(&self, w: &'w mut Writer) -> &'w mut Writer;

    fn bytes(&self) -> Vec<u8> {
        let mut w = Writer::new();
        self.write(&mut w);
        w.finish()
    }
}

/// The elements in bytewise order of their encodings, each once.
pub(super) fn sorted<T: Encoded>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<_> = items.into_iter().map(|item| (item.bytes(), item)).collect();
    items.sort_by(|(a, _), (b, _)| a.cmp(b));
    items.dedup_by(|(a, _), (b, _)| a == b);
    items.into_iter().map(|(_, item)| item).collect()
}

/// The way with its targets in their order.
pub(super) fn way_in_order(way: Way) -> Way {
    Way { targets: sorted(way.targets), ..way }
}

pub(super) fn encode(
    ways: &[Way],
    roots: &[Root],
    dangers: &BTreeSet<Danger>,
    commitment: Option<&Commitment>,
) -> Vec<u8> {
    Map::new()
        .uint(1, VERSION)
        .entry(2, |w| list(w, ways))
        .entry(3, |w| list(w, roots))
        .entry(4, |w| numbers(w, dangers, |danger| danger.code()))
        .optional(5, commitment, |w, commitment| w.array(2).text(&commitment.name).bytes(commitment.digest.as_bytes()))
        .finish()
}

pub(super) fn decode(bytes: &[u8]) -> Result<Parts, StatementError> {
    if bytes.len() > MAX_STATEMENT {
        return Err(StatementError::TooLong { what: "a statement", found: bytes.len() });
    }
    let whole = Item::parse(bytes, &Limits::bytes(MAX_STATEMENT)).map_err(FormError::from)?;
    let mut fields = whole.fields("statement")?;
    fields.required(1, "version")?.uint_in("version", VERSION, VERSION)?;
    let parts = Parts {
        ways: read_set(fields.required(2, "ways")?, "ways", 1, MAX_WAYS, read_way)?,
        roots: read_set(fields.required(3, "roots")?, "roots", 0, MAX_ROOTS, read_root)?,
        dangers: read_numbers(fields.required(4, "dangers")?, "dangers", 0, MAX_DANGERS, &Danger::ALL)?,
        commitment: fields.optional(5).map(read_commitment).transpose()?,
    };
    fields.finish()?;
    Ok(parts)
}

impl Encoded for Way {
    fn write<'w>(&self, w: &'w mut Writer) -> &'w mut Writer {
        let map = Map::new()
            .entry(1, |w| self.source.write(w))
            .entry(2, |w| list(w, &self.targets))
            .optional(3, self.http.then_some(1), |w, http| w.uint(http))
            .optional(4, (!self.marks.is_empty()).then_some(&self.marks), |w, marks| {
                numbers(w, marks, |mark| mark.code())
            });
        w.map(map)
    }
}

impl Encoded for Source {
    fn write<'w>(&self, w: &'w mut Writer) -> &'w mut Writer {
        match self {
            Self::Attested => w.array(1).uint(1),
            Self::Mutual(judged) => judged.write(w.array(2).uint(2)),
            Self::Pki { client_anchors, key, made } => w
                .array(3)
                .uint(3)
                .list(client_anchors.iter().map(KeyId::as_bytes))
                .array(2)
                .bytes(key.as_bytes())
                .uint(made.code()),
            Self::Plain(place) => w.array(2).uint(4).uint(place.code()),
            Self::Application(name) => w.array(2).uint(5).text(name),
        }
    }
}

impl Encoded for Target {
    fn write<'w>(&self, w: &'w mut Writer) -> &'w mut Writer {
        match self {
            Self::Attested(judged) => judged.write(w.array(2).uint(1)),
            Self::Mutual(judged) => judged.write(w.array(2).uint(2)),
            Self::Pki { name, anchors } => w.array(3).uint(3).text(name).list(anchors.iter().map(KeyId::as_bytes)),
            Self::Plain { place, address } => w.array(3).uint(4).uint(place.code()).text(address),
            Self::Module { name, content } => {
                let content = content.as_ref().map(|digest| &digest.as_bytes()[..]);
                w.array(3).uint(5).text(name).bytes_or_null(content)
            }
        }
    }
}

impl Encoded for Root {
    fn write<'w>(&self, w: &'w mut Writer) -> &'w mut Writer {
        match self {
            Self::Intel => w.array(1).uint(1),
            Self::Amd => w.array(1).uint(2),
            Self::Simulated(key) => w.array(2).uint(3).bytes(key.as_bytes()),
        }
    }
}

impl Judged {
    fn write<'w>(&self, w: &'w mut Writer) -> &'w mut Writer {
        w.array(2).bytes(self.policy.as_bytes()).uint(u64::from(self.passes.0))
    }
}

fn list<'w, T: Encoded>(w: &'w mut Writer, items: &[T]) -> &'w mut Writer {
    w.array(items.len());
    items.iter().fold(w, |w, item| item.write(w))
}

fn numbers<'w, T>(w: &'w mut Writer, set: &BTreeSet<T>, code: impl Fn(&T) -> u64) -> &'w mut Writer {
    w.array(set.len());
    set.iter().fold(w, |w, item| w.uint(code(item)))
}

fn read_way(item: Item<'_>) -> Result<Way, StatementError> {
    let mut fields = item.fields("way")?;
    let way = Way {
        source: read_source(fields.required(1, "source")?)?,
        targets: read_set(fields.required(2, "targets")?, "targets", 1, MAX_TARGETS, read_target)?,
        http: match fields.optional(3) {
            Some(http) => http.uint_in("http", 1, 1).map(|_| true)?,
            None => false,
        },
        marks: match fields.optional(4) {
            Some(marks) => read_numbers(marks, "marks", 1, MAX_MARKS, &Mark::ALL)?,
            None => BTreeSet::new(),
        },
    };
    fields.finish()?;
    Ok(way)
}

fn read_source(item: Item<'_>) -> Result<Source, StatementError> {
    let (kind, rest) = kind(item, "source")?;
    Ok(match (kind, rest.as_slice()) {
        (1, []) => Source::Attested,
        (2, [judged]) => Source::Mutual(read_judged(*judged)?),
        (3, [anchors, key]) => {
            let [kid, made] = key.tuple("own key")?;
            Source::Pki {
                client_anchors: read_keys(*anchors, "client authorities", 0, MAX_CLIENT_ANCHORS)?,
                key: KeyId::from_bytes(kid.bytes32("own key")?),
                made: match made.uint_in("origin of the own key", 1, 2)? {
                    1 => FrontKey::MadeHere,
                    _ => FrontKey::ReadFromFile,
                },
            }
        }
        (4, [place]) => Source::Plain(read_place(*place)?),
        (5, [name]) => Source::Application(read_name(*name, "application", MAX_COMMITMENT_NAME)?),
        _ => return Err(unknown("source", kind)),
    })
}

fn read_target(item: Item<'_>) -> Result<Target, StatementError> {
    let (kind, rest) = kind(item, "target")?;
    Ok(match (kind, rest.as_slice()) {
        (1, [judged]) => Target::Attested(read_judged(*judged)?),
        (2, [judged]) => Target::Mutual(read_judged(*judged)?),
        (3, [name, anchors]) => Target::Pki {
            name: read_name(*name, "server name", MAX_TARGET_NAME)?,
            anchors: read_keys(*anchors, "authorities", 1, MAX_ANCHORS)?,
        },
        (4, [place, address]) => {
            Target::Plain { place: read_place(*place)?, address: read_name(*address, "plain target", MAX_TARGET_NAME)? }
        }
        (5, [name, content]) => Target::Module {
            name: read_name(*name, "module", MAX_COMMITMENT_NAME)?,
            content: match content.is_null() {
                true => None,
                false => Some(Digest::from_bytes(content.bytes32("content of the module")?)),
            },
        },
        _ => return Err(unknown("target", kind)),
    })
}

fn read_root(item: Item<'_>) -> Result<Root, StatementError> {
    let (kind, rest) = kind(item, "root")?;
    Ok(match (kind, rest.as_slice()) {
        (1, []) => Root::Intel,
        (2, []) => Root::Amd,
        (3, [key]) => Root::Simulated(KeyId::from_bytes(key.bytes32("root of a simulated platform")?)),
        _ => return Err(unknown("root", kind)),
    })
}

fn read_judged(item: Item<'_>) -> Result<Judged, StatementError> {
    let [policy, passes] = item.tuple("judged")?;
    let policy = PolicyDigest::from_bytes(policy.bytes32("policy_digest")?);
    let passes = passes.uint_in("what a policy lets pass", 0, 255)?;
    // `uint_in` has bounded it.
    Ok(Judged { policy, passes: Passes(passes as u8) })
}

fn read_place(item: Item<'_>) -> Result<Place, StatementError> {
    Ok(match item.uint_in("place", 2, 5)? {
        2 => Place::SameTee,
        3 => Place::TeeLocal,
        4 => Place::HostLocal,
        _ => Place::Plain,
    })
}

fn read_commitment(item: Item<'_>) -> Result<Commitment, StatementError> {
    let [name, digest] = item.tuple("commitment")?;
    let name = read_name(name, "commitment", MAX_COMMITMENT_NAME)?;
    Ok(Commitment { name, digest: Digest::from_bytes(digest.bytes32("commitment")?) })
}

fn read_name(item: Item<'_>, field: &'static str, most: usize) -> Result<String, StatementError> {
    let name = item.text(field, most)?;
    if name.is_empty() {
        return Err(FormError::Range { field, expected: format!("1 to {most} bytes"), found: 0 }.into());
    }
    Ok(name.to_owned())
}

fn read_keys(
    item: Item<'_>,
    field: &'static str,
    least: usize,
    most: usize,
) -> Result<BTreeSet<KeyId>, StatementError> {
    let mut keys = BTreeSet::new();
    for item in counted(item, field, least, most)? {
        let key = KeyId::from_bytes(item.bytes32(field)?);
        // Digests have one length, so their order is that of their encodings.
        if keys.last().is_some_and(|last| *last >= key) {
            return Err(StatementError::Order { field });
        }
        keys.insert(key);
    }
    Ok(keys)
}

/// Elements in bytewise order of their encodings, none twice.
fn read_set<T: Encoded>(
    item: Item<'_>,
    field: &'static str,
    least: usize,
    most: usize,
    read: impl Fn(Item<'_>) -> Result<T, StatementError>,
) -> Result<Vec<T>, StatementError> {
    let mut items = Vec::new();
    let mut last: Option<Vec<u8>> = None;
    for item in counted(item, field, least, most)? {
        let element = read(item)?;
        let bytes = element.bytes();
        if last.is_some_and(|last| last >= bytes) {
            return Err(StatementError::Order { field });
        }
        last = Some(bytes);
        items.push(element);
    }
    Ok(items)
}

/// Numbers in ascending order, none twice; `all` has what 1, 2, ... mean.
fn read_numbers<T: Copy + Ord>(
    item: Item<'_>,
    field: &'static str,
    least: usize,
    most: usize,
    all: &[T],
) -> Result<BTreeSet<T>, StatementError> {
    let mut set = BTreeSet::new();
    for item in counted(item, field, least, most)? {
        let number = item.uint_in(field, 1, all.len() as u64)?;
        // `uint_in` has bounded it.
        let value = all[number as usize - 1];
        if set.last().is_some_and(|last| *last >= value) {
            return Err(StatementError::Order { field });
        }
        set.insert(value);
    }
    Ok(set)
}

fn counted<'a>(
    item: Item<'a>,
    field: &'static str,
    least: usize,
    most: usize,
) -> Result<Vec<Item<'a>>, StatementError> {
    let items = item.array(field, most)?;
    if items.len() < least {
        return Err(StatementError::Count { field, most, found: items.len() });
    }
    Ok(items)
}

/// An array whose first element says what the others are.
fn kind<'a>(item: Item<'a>, field: &'static str) -> Result<(u64, Vec<Item<'a>>), StatementError> {
    let mut items = item.array(field, 3)?;
    if items.is_empty() {
        return Err(StatementError::Count { field, most: 3, found: 0 });
    }
    let kind = items.remove(0).uint(field)?;
    Ok((kind, items))
}

fn unknown(field: &'static str, kind: u64) -> StatementError {
    FormError::Range { field, expected: "a kind that is known, with its elements".to_owned(), found: kind }.into()
}

impl Place {
    const fn code(self) -> u64 {
        match self {
            Self::SameTee => 2,
            Self::TeeLocal => 3,
            Self::HostLocal => 4,
            Self::Plain => 5,
        }
    }
}

impl FrontKey {
    const fn code(self) -> u64 {
        match self {
            Self::MadeHere => 1,
            Self::ReadFromFile => 2,
        }
    }
}

impl Danger {
    /// In the order of their numbers, from 1 on.
    pub const ALL: [Self; 5] = [Self::Null, Self::Dumps, Self::NoSandbox, Self::UncheckedCollateral, Self::Unwiped];

    const fn code(self) -> u64 {
        self as u64 + 1
    }
}

impl Mark {
    /// In the order of their numbers, from 1 on.
    pub const ALL: [Self; 4] = [Self::Legacy, Self::Compat, Self::Disclosed, Self::Logged];

    const fn code(self) -> u64 {
        self as u64 + 1
    }
}

#[cfg(test)]
mod tests;
