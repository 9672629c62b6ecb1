//! Reading a TOML document so that every mistake in it is found, not only the first.
//!
//! serde stops at the first unknown key or wrong type. This reader walks the parsed document instead. Each key that is
//! asked for is known from then on, and keys that nobody asked for are reported. A value that cannot be read is
//! reported and replaced, so that reading goes on. The result is used only if there were no mistakes.

use std::cell::RefCell;
use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::duration::{parse_duration, show_duration};
use super::mistake::{Errors, Mistake, Origin};
use super::nearest::nearest;

/// Collects the mistakes of one file.
pub(crate) struct Report<'a> {
    origin: Origin,
    text: &'a str,
    mistakes: RefCell<Vec<Mistake>>,
}

/// One table, and which of its keys were asked for.
pub(crate) struct Table<'a> {
    report: &'a Report<'a>,
    path: String,
    span: Range<usize>,
    entries: &'a DeTable<'a>,
    known: RefCell<Vec<&'static str>>,
}

/// One value with its place.
#[derive(Clone)]
pub(crate) struct Value<'a> {
    report: &'a Report<'a>,
    path: String,
    span: Range<usize>,
    value: &'a DeValue<'a>,
}

/// Parses the text and hands its root table to `read`. `Ok` only if nothing was wrong.
pub(crate) fn read<T>(file: &Path, text: &str, read: impl FnOnce(&Table<'_>) -> Option<T>) -> Result<T, Errors> {
    let report = Report { origin: Origin::File(file.to_owned()), text, mistakes: RefCell::default() };
    let (document, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        for error in &syntax {
            let what = format!("not TOML: {}", error.message().replace('\n', ", "));
            report.add(error.span().unwrap_or(0..0), "", what, "nothing else was checked");
        }
        return Err(report.into_errors());
    }
    let root = Table {
        report: &report,
        path: String::new(),
        span: 0..0,
        entries: document.get_ref(),
        known: RefCell::default(),
    };
    let value = read(&root);
    root.finish();
    match value {
        Some(value) if report.mistakes.borrow().is_empty() => Ok(value),
        _ => Err(report.into_errors()),
    }
}

/// The text of a file. A file that is far too long is refused before its text is kept.
pub(crate) fn read_file(file: &Path) -> Result<String, Errors> {
    let refused = |what, remedy: &str| Errors::one(Origin::File(file.to_owned()), "", what, remedy);
    let unreadable = |error| refused(format!("cannot be read: {error}"), "name a readable TOML file");
    let mut text = String::new();
    File::open(file).map_err(unreadable)?.take(LONGEST_FILE + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > LONGEST_FILE {
        return Err(refused(format!("longer than {LONGEST_FILE} bytes"), "name a configuration"));
    }
    Ok(text)
}

impl Report<'_> {
    fn add(&self, span: Range<usize>, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let mistake = Mistake { line: Some(line), key: key.into(), what: what.into(), remedy: remedy.into() };
        self.mistakes.borrow_mut().push(mistake);
    }

    fn into_errors(self) -> Errors {
        let origin = self.origin.clone();
        Errors::new(self.origin, self.mistakes.into_inner())
            .unwrap_or_else(|| Errors::one(origin, "", "not usable", "report this: no mistake was named"))
    }
}

impl<'a> Table<'a> {
    /// The value of a key, which is known from now on.
    pub(crate) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        self.known.borrow_mut().push(key);
        let value = self.entries.get(key)?;
        Some(Value { report: self.report, path: self.key(key), span: value.span(), value: value.get_ref() })
    }

    /// The value of a key that has to be there.
    pub(crate) fn required(&self, key: &'static str, remedy: impl Into<String>) -> Option<Value<'a>> {
        let value = self.get(key);
        if value.is_none() {
            self.report.add(self.span.clone(), &self.key(key), "missing", remedy);
        }
        value
    }

    /// A table under a key; an absent one reads as `None`.
    pub(crate) fn table(&self, key: &'static str) -> Option<Table<'a>> {
        self.get(key)?.table()
    }

    /// An array of tables under a key; an absent one reads as empty.
    pub(crate) fn tables(&self, key: &'static str) -> Vec<Table<'a>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Value { value: DeValue::Array(items), .. } = &value else {
            value.mistake("not an array of tables", format!("write `[[{}]]`", value.path));
            return Vec::new();
        };
        (1..).zip(items.iter()).filter_map(|(i, item)| value.item(i, item).table()).collect()
    }

    /// Every entry of a table whose keys are names that the operator chose.
    pub(crate) fn named(&self) -> Vec<(&'a str, Range<usize>, Value<'a>)> {
        let entries = self.entries.iter().map(|(key, value)| {
            let path = self.key(key.get_ref());
            let named = Value { report: self.report, path, span: value.span(), value: value.get_ref() };
            (&**key.get_ref(), key.span(), named)
        });
        entries.collect()
    }

    /// Reports every key that nobody has asked for.
    pub(crate) fn finish(&self) {
        let known = self.known.borrow();
        for (key, _) in self.entries.iter() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let remedy = match nearest(name, &known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("there are {}", known.join(", ")),
                };
                self.report.add(key.span(), &self.key(name), "unknown key", remedy);
            }
        }
    }

    /// A mistake of the table as a whole.
    pub(crate) fn mistake(&self, what: impl Into<String>, remedy: impl Into<String>) {
        self.report.add(self.span.clone(), &self.path, what, remedy);
    }

    /// A mistake of the value of one key.
    pub(crate) fn mistake_at(&self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        let span = self.entries.get(key).map_or_else(|| self.span.clone(), Spanned::span);
        self.report.add(span, &self.key(key), what, remedy);
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// A file that the document names: a relative path begins beside the document.
    pub(crate) fn beside(&self, file: impl AsRef<Path>) -> PathBuf {
        match &self.report.origin {
            Origin::File(document) => document.parent().unwrap_or(Path::new("")).join(file),
            Origin::CommandLine => file.as_ref().to_owned(),
        }
    }

    /// The table's own key in full.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

impl<'a> Value<'a> {
    pub(crate) fn text(&self) -> Option<&'a str> {
        match self.value {
            DeValue::String(text) => Some(text.as_ref()),
            other => self.wrong_type("a string", other),
        }
    }

    /// A string that is not empty.
    pub(crate) fn filled_text(&self, remedy: &str) -> Option<&'a str> {
        let text = self.text()?;
        if text.is_empty() {
            self.mistake("empty", remedy);
            return None;
        }
        Some(text)
    }

    pub(crate) fn flag(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(flag) => Some(*flag),
            other => self.wrong_type("true or false", other),
        }
    }

    pub(crate) fn integer<T: TryFrom<i64>>(&self, range: RangeInclusive<i64>) -> Option<T> {
        let DeValue::Integer(integer) = self.value else {
            return self.wrong_type("a whole number", self.value);
        };
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|n| range.contains(n));
        let number = number.and_then(|n| T::try_from(n).ok());
        if number.is_none() {
            self.mistake(format!("{integer} is out of range"), format!("write {} to {}", range.start(), range.end()));
        }
        number
    }

    /// A string that `T` can be read from. The error of `T` is reported as it is: it names the remedy.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(&self) -> Option<T> {
        match self.text()?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.mistake(error.to_string(), "");
                None
            }
        }
    }

    /// One of some words.
    pub(crate) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.mistake(format!("`{text}` is not known"), format!("write {}", known.join(" or ")));
        }
        found
    }

    /// A duration such as `10m`, `500ms` or `1h30m`, within a range.
    pub(crate) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let DeValue::String(text) = self.value else {
            return self.wrong_type("a duration such as \"10s\"", self.value);
        };
        match parse_duration(text) {
            Ok(duration) if range.contains(&duration) => return Some(duration),
            Ok(duration) if duration < *range.start() => {
                self.mistake(
                    format!("`{text}` is too short"),
                    format!("write at least {}", show_duration(*range.start())),
                );
            }
            Ok(_) => {
                self.mistake(format!("`{text}` is too long"), format!("write at most {}", show_duration(*range.end())))
            }
            Err(what) => self.mistake(what, "write for example 500ms, 10s, 10m or 1h30m"),
        }
        None
    }

    /// A duration without a fraction of a second. A policy counts in whole seconds, as evidence and collateral do; its
    /// digest covers no less and no more.
    pub(crate) fn whole_seconds(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let duration = self.duration(range)?;
        if duration.subsec_nanos() != 0 {
            self.mistake("not whole seconds", "write for example 10s, 10m or 1h30m");
        }
        Some(duration)
    }

    /// Exactly `N` bytes in hexadecimal.
    pub(crate) fn hex<const N: usize>(&self) -> Option<[u8; N]> {
        self.hex_bytes(N)?.try_into().ok()
    }

    /// Exactly `width` bytes in hexadecimal, where the width is known at run time.
    pub(crate) fn hex_bytes(&self, width: usize) -> Option<Vec<u8>> {
        let text = self.text()?;
        match hex::decode(text) {
            Ok(bytes) if bytes.len() == width => Some(bytes),
            decoded => {
                let what = match decoded {
                    Err(_) if text.len() == 2 * width => "not hexadecimal".to_owned(),
                    _ => format!("{} characters instead of {}", text.chars().count(), 2 * width),
                };
                self.mistake(what, format!("write {} hexadecimal digits", 2 * width));
                None
            }
        }
    }

    /// The items of an array; anything else is an array of one.
    pub(crate) fn one_or_many(&self) -> Vec<Value<'a>> {
        match self.value {
            DeValue::Array(items) => (1..).zip(items.iter()).map(|(i, item)| self.item(i, item)).collect(),
            _ => vec![self.clone()],
        }
    }

    /// The items of an array that has at least one.
    pub(crate) fn filled_list(&self, what: &str, remedy: &str) -> Vec<Value<'a>> {
        let items = self.one_or_many();
        if items.is_empty() {
            self.mistake(what, remedy);
        }
        items
    }

    pub(crate) fn table(&self) -> Option<Table<'a>> {
        match self.value {
            DeValue::Table(entries) => Some(Table {
                report: self.report,
                path: self.path.clone(),
                span: self.span.clone(),
                entries,
                known: RefCell::default(),
            }),
            other => self.wrong_type("a table", other),
        }
    }

    pub(crate) fn is_table(&self) -> bool {
        matches!(self.value, DeValue::Table(_))
    }

    pub(crate) fn is_text(&self) -> bool {
        matches!(self.value, DeValue::String(_))
    }

    pub(crate) fn mistake(&self, what: impl Into<String>, remedy: impl Into<String>) {
        self.report.add(self.span.clone(), &self.path, what, remedy);
    }

    fn wrong_type<T>(&self, wanted: &str, found: &DeValue<'_>) -> Option<T> {
        let kind = match found {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.mistake(format!("{kind} stands here"), format!("write {wanted}"));
        None
    }

    fn item(&self, number: usize, item: &'a Spanned<DeValue<'a>>) -> Value<'a> {
        let path = format!("{}[{number}]", self.path);
        Value { report: self.report, path, span: item.span(), value: item.get_ref() }
    }
}

/// A thousand routes and policies fit in well; a device file or a wrong path does not fill the memory.
const LONGEST_FILE: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_wrong_types_and_missing_keys_are_reported_together() {
        let text = "a = 1\nb = \"x\"\nlisten = true\nlsiten = 1\n";
        let errors = read(Path::new("f"), text, |root| {
            root.get("a").and_then(|v| v.text().map(drop));
            root.get("b").and_then(|v| v.integer::<u8>(0..=9).map(drop));
            root.get("listen").and_then(|v| v.flag());
            root.required("target", "write a target");
            Some(())
        })
        .unwrap_err();
        assert_eq!(
            errors.to_string(),
            "f:1: a: a whole number stands here; write a string\n\
             f:1: target: missing; write a target\n\
             f:2: b: a string stands here; write a whole number\n\
             f:4: lsiten: unknown key; did you mean `listen`?"
        );
    }

    #[test]
    fn a_syntax_error_stops_the_rest() {
        let errors = read(Path::new("f"), "a = 1\nb = = 2\n", |_| Some(())).unwrap_err();
        assert_eq!(errors.mistakes()[0].line, Some(2));
        assert_eq!(errors.mistakes()[0].remedy, "nothing else was checked");
    }
}
