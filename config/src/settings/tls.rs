//! `[tls]`: the key exchange groups and cipher suites of every TLS leg.

use crate::document::{Table, Value};

/// What is offered and accepted on every leg, in order of preference. TLS 1.3 alone.
///
/// Invariant: neither is empty, and nothing is in either twice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsSettings {
    /// Key exchange groups.
    pub groups: Vec<Group>,
    /// Cipher suites.
    pub suites: Vec<Suite>,
}

/// A key exchange group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// ML-KEM-768 and X25519 together: closed to a quantum computer as long as ML-KEM is, and to others as long as
    /// either is.
    X25519MlKem768,
    /// Curve25519.
    X25519,
    /// NIST's P-256.
    Secp256r1,
    /// NIST's P-384.
    Secp384r1,
}

/// A cipher suite of TLS 1.3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Suite {
    /// `TLS_AES_128_GCM_SHA256`.
    Aes128Gcm,
    /// `TLS_AES_256_GCM_SHA384`.
    Aes256Gcm,
    /// `TLS_CHACHA20_POLY1305_SHA256`.
    ChaCha20Poly1305,
}

impl Default for TlsSettings {
    /// AES-128-GCM first: it is faster than AES-256-GCM and no weaker against any attack that is known. The hybrid
    /// group first, so that traffic which is recorded today stays closed to a quantum computer.
    fn default() -> Self {
        Self {
            groups: GROUPS.iter().map(|(_, group)| *group).collect(),
            suites: SUITES.iter().map(|(_, suite)| *suite).collect(),
        }
    }
}

/// `[tls]`.
pub(crate) fn read_tls(root: &Table<'_>) -> TlsSettings {
    let mut settings = TlsSettings::default();
    let Some(table) = root.table("tls") else { return settings };
    if let Some(groups) = table.get("groups").and_then(|value| read_list(&value, "no group", GROUPS)) {
        settings.groups = groups;
    }
    if let Some(suites) = table.get("suites").and_then(|value| read_list(&value, "no suite", SUITES)) {
        settings.suites = suites;
    }
    table.finish();
    settings
}

fn read_list<T: Copy + PartialEq>(value: &Value<'_>, empty: &str, words: &[(&str, T)]) -> Option<Vec<T>> {
    let mut list = Vec::new();
    for item in value.filled_list(empty, "write at least one, or leave the key out") {
        match item.word(words) {
            Some(word) if list.contains(&word) => item.mistake("stands in the list already", "leave it out"),
            Some(word) => list.push(word),
            None => {}
        }
    }
    (!list.is_empty()).then_some(list)
}

/// The names of RFC 8446 and IANA, in the default order.
const GROUPS: &[(&str, Group)] = &[
    ("X25519MLKEM768", Group::X25519MlKem768),
    ("X25519", Group::X25519),
    ("secp256r1", Group::Secp256r1),
    ("secp384r1", Group::Secp384r1),
];

const SUITES: &[(&str, Suite)] = &[
    ("TLS_AES_128_GCM_SHA256", Suite::Aes128Gcm),
    ("TLS_AES_256_GCM_SHA384", Suite::Aes256Gcm),
    ("TLS_CHACHA20_POLY1305_SHA256", Suite::ChaCha20Poly1305),
];
