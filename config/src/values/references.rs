//! The files of reference values that a policy names (`reference_values`), and the keys that have to have signed them
//! (`signed_by`).

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use inclavared_attest::KeyId;
use inclavared_attest::policy::{HopRule, Measurements, Policy};
use inclavared_attest::reference::signature::{self, TrustedKey};

use crate::document::{self, Errors, Table, Value};

/// `reference_values` and `signed_by` of one policy.
pub(crate) struct References<'a> {
    /// Files that the policy itself names. Their hop tables apply where they say.
    pub(crate) named: Option<Value<'a>>,
    /// `None` if no signature is asked for.
    signers: Option<Signers<'a>>,
    /// Reads the policy of such a file. `None`: what is being read is itself such a file, and may name no further ones.
    read_policy: Option<ReadPolicy>,
}

/// The policy of this name, or the only one, of a file and its text.
pub(crate) type ReadPolicy = fn(&Path, &str, Option<&str>) -> Result<Policy, Errors>;

struct Signers<'a> {
    value: Value<'a>,
    keys: Vec<TrustedKey>,
}

impl<'a> References<'a> {
    /// Without `read_policy` a file that was named itself is being read: files do not name further ones.
    pub(crate) fn of_policy(table: &Table<'a>, read_policy: Option<ReadPolicy>) -> Self {
        let named = table.get("reference_values");
        let signers = table.get("signed_by").map(|value| Signers { keys: read_keys(table, &value), value });
        Self { named, signers, read_policy }
    }

    /// What is being read is itself such a file.
    pub(crate) fn is_named_file(&self) -> bool {
        self.read_policy.is_none()
    }

    /// The rules of all files that `value` names. `None` if something was wrong; it has been reported.
    pub(crate) fn read(&self, table: &Table<'_>, value: &Value<'_>) -> Option<Vec<HopRule>> {
        let Some(read_policy) = self.read_policy else {
            value.mistake("a file of reference values names another one", "write its hop tables into this file");
            return None;
        };
        let items = value.filled_list("an empty list denies every hop", "name at least one file");
        let read: Vec<_> = items.iter().map(|item| self.read_file(table, item, read_policy)).collect();
        let rules: Vec<_> = read.into_iter().collect::<Option<Vec<_>>>()?.into_iter().flatten().collect();
        (!rules.is_empty()).then_some(rules)
    }

    fn read_file(&self, table: &Table<'_>, item: &Value<'_>, read_policy: ReadPolicy) -> Option<Vec<HopRule>> {
        let (file, name) = file_and_name(item.filled_text("write the name of a file, FILE or FILE#NAME")?);
        let path = table.beside(file);
        let text = match document::read_file(&path) {
            Ok(text) => text,
            Err(errors) => {
                item.mistake(errors.to_string(), "");
                return None;
            }
        };
        // The very bytes that are read below are the ones that are checked.
        if let Some(signers) = &self.signers
            && let Err((what, remedy)) = signers.check(&path, &text)
        {
            item.mistake(what, remedy);
            return None;
        }
        let policy = match read_policy(&path, &text, name) {
            Ok(policy) => policy,
            Err(errors) => {
                errors.to_string().lines().for_each(|line| item.mistake(line, ""));
                return None;
            }
        };
        match policy.measurements {
            Measurements::Rules(rules) => Some(rules),
            Measurements::NotCompared => {
                item.mistake(format!("its policy `{}` compares nothing", policy.name), "name a file with hop tables");
                None
            }
        }
    }

    /// Reports signatures that nothing is to be signed by.
    pub(crate) fn check_use(&self, hops: &[Table<'_>]) {
        let used = self.named.is_some() || hops.iter().any(|hop| hop.has("reference_values"));
        if let Some(signers) = self.signers.as_ref().filter(|_| !used) {
            signers
                .value
                .mistake("no `reference_values` are named that could be signed", "name a file, or leave it out");
        }
    }
}

impl Signers<'_> {
    fn check(&self, path: &Path, text: &str) -> Result<KeyId, (String, String)> {
        let shown = path.display();
        let beside = signature_file(path);
        let found = match read_small(&beside) {
            Ok(found) => found,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let what = format!("`{shown}` is not signed: there is no `{}`", beside.display());
                return Err((what, "sign it (`shelter record --sign-key KEY`), or leave `signed_by` out".into()));
            }
            Err(error) => {
                return Err((format!("`{}` cannot be read: {error}", beside.display()), "name a signed file".into()));
            }
        };
        signature::check(text.as_bytes(), &found, &self.keys, named_key(text)).map_err(|error| {
            (
                format!("`{shown}`: {error}"),
                "take the file from its signer anew, or name that key in `signed_by`".into(),
            )
        })
    }
}

/// `FILE` or `FILE#NAME`. What comes after the last `#` is a name only if it can be one.
pub fn file_and_name(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once('#') {
        Some((file, name)) if !file.is_empty() && !name.contains('/') => (file, Some(name)),
        _ => (text, None),
    }
}

/// Where the signature of a file stands: beside it.
pub fn signature_file(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

fn read_keys(table: &Table<'_>, value: &Value<'_>) -> Vec<TrustedKey> {
    let items =
        value.filled_list("an empty list trusts no signature", "name the file of a public key, or leave it out");
    let key = |item: &Value<'_>| {
        let path = table.beside(item.filled_text("write the name of a file with a public key in PEM")?);
        let read = read_small(&path).map_err(|error| format!("`{}` cannot be read: {error}", path.display()));
        let key =
            read.and_then(|pem| TrustedKey::from_pem(&pem).map_err(|error| format!("`{}`: {error}", path.display())));
        key.map_err(|what| item.mistake(what, "name the file of a P-256 public key in PEM")).ok()
    };
    items.iter().filter_map(key).collect()
}

/// Keys and signatures are short. The limit keeps a device file or a wrong path from filling the memory.
fn read_small(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(16 * 1024).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The key that `[recorded]` names. It is not believed: it serves to say what is wrong with a signature.
fn named_key(text: &str) -> Option<KeyId> {
    let document: toml::Table = text.parse().ok()?;
    let key = document.get("recorded")?.get("key")?.as_str()?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(key, &mut bytes).ok()?;
    Some(KeyId::from_bytes(bytes))
}
