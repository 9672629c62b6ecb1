//! The two sides of a route: what a client meets, and how the target is spoken to.
//!
//! Owns what follows from one side alone. Files of certificates are in `pki`, policies are found by `policy`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use inclavared_attest::policy::Policy;

use super::address::Target;
use super::pki::{PkiDownstream, PkiUpstream, read_pki_downstream, read_pki_upstream};
use crate::document::{Table, Value};
use crate::policy::{GENUINE_ONLY, find_policy, for_callers};

/// What a client meets. Invariant of a [`crate::Route`]: not both sides are plain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Upstream {
    /// Plain bytes: the client is the application beside this process.
    Plain,
    /// TLS with this process's evidence; the client needs none.
    Attested,
    /// TLS with evidence both ways; the client's is appraised under this policy, and the path behind it judged.
    Mutual {
        /// What judges the client and the path behind it.
        policy: Arc<Policy>,
    },
    /// TLS with a certificate of an ordinary PKI, for clients that know nothing of evidence.
    Pki(PkiUpstream),
}

/// How the target is spoken to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Downstream {
    /// Plain bytes: the workload is behind this process.
    Plain,
    /// TLS; the server's evidence and the path behind it are appraised under this policy.
    Attested {
        /// What judges the server and the path behind it.
        policy: Arc<Policy>,
    },
    /// The same, and this process shows its own evidence.
    Mutual {
        /// What judges the server and the path behind it.
        policy: Arc<Policy>,
    },
    /// TLS with a certificate of an ordinary PKI: the end of what is attested.
    Pki(PkiDownstream),
}

impl Upstream {
    /// The policy that judges this side, where it shows evidence.
    pub fn policy(&self) -> Option<&Arc<Policy>> {
        match self {
            Self::Plain | Self::Attested | Self::Pki(_) => None,
            Self::Mutual { policy } => Some(policy),
        }
    }

    /// Whether this side shows evidence, so that the process needs an attester.
    pub fn shows_evidence(&self) -> bool {
        matches!(self, Self::Attested | Self::Mutual { .. })
    }

    /// The word in configuration, logs and metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Attested => "attested",
            Self::Mutual { .. } => "mutual",
            Self::Pki(_) => "pki",
        }
    }
}

impl Downstream {
    /// The policy that judges this side, where it shows evidence.
    pub fn policy(&self) -> Option<&Arc<Policy>> {
        match self {
            Self::Plain | Self::Pki(_) => None,
            Self::Attested { policy } | Self::Mutual { policy } => Some(policy),
        }
    }

    /// Whether this side shows evidence, so that the process needs an attester.
    pub fn shows_evidence(&self) -> bool {
        matches!(self, Self::Mutual { .. })
    }

    /// The word in configuration, logs and metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Attested { .. } => "attested",
            Self::Mutual { .. } => "mutual",
            Self::Pki(_) => "pki",
        }
    }
}

pub(super) fn read_upstream(
    table: &Table<'_>,
    folder: &Path,
    policies: &BTreeMap<String, Arc<Policy>>,
) -> Option<Upstream> {
    let remedy = "write \"plain\", \"attested\" or { tls = \"mutual\", policy = \"NAME\" }";
    let side = read_side(table, "upstream", remedy, policies, |side| read_pki_upstream(side, folder))?;
    match (side.tls, side.policy) {
        (Tls::Plain, None) => Some(Upstream::Plain),
        (Tls::Attested, None) => Some(Upstream::Attested),
        (Tls::Plain | Tls::Attested, Some(_)) => {
            let remedy = "leave the policy out, or write `tls = \"mutual\"` to demand the client's evidence";
            side.value.mistake("a policy, and the client shows no evidence that it could judge", remedy);
            None
        }
        (Tls::Mutual, policy) => Some(Upstream::Mutual { policy: for_callers(policy??) }),
        (Tls::Pki, _) => side.pki.map(Upstream::Pki),
    }
}

pub(super) fn read_downstream(
    table: &Table<'_>,
    folder: &Path,
    target: Option<&Target>,
    policies: &BTreeMap<String, Arc<Policy>>,
) -> Option<Downstream> {
    let remedy = "write \"plain\", or { tls = \"attested\", policy = \"NAME\" } (or \"mutual\")";
    let pki = |side: &Table<'_>| read_pki_downstream(side, folder, target);
    let side = read_side(table, "downstream", remedy, policies, pki)?;
    match (side.tls, side.policy) {
        (Tls::Plain, None) => Some(Downstream::Plain),
        (Tls::Plain, Some(_)) => {
            let remedy = "leave the policy out, or write `tls = \"attested\"`";
            side.value.mistake("a policy, and a plain target shows no evidence that it could judge", remedy);
            None
        }
        (Tls::Attested, policy) => Some(Downstream::Attested { policy: policy?? }),
        (Tls::Mutual, policy) => Some(Downstream::Mutual { policy: policy?? }),
        (Tls::Pki, _) => side.pki.map(Downstream::Pki),
    }
}

/// One side of a route, as it is written.
struct Side<'a, P> {
    value: Value<'a>,
    tls: Tls,
    /// The outer `Option`: whether a policy is named. The inner: whether there is one of that name.
    policy: Option<Option<Arc<Policy>>>,
    /// Some where `tls` is `pki`, if all of it could be read.
    pki: Option<P>,
}

#[derive(Clone, Copy, PartialEq)]
enum Tls {
    Plain,
    Attested,
    Mutual,
    Pki,
}

/// `"WORD"` or `{ tls = "WORD", policy = "NAME" }`. Reports a policy that is missing where the peer shows evidence.
/// `pki` reads the other keys of `{ tls = "pki", ... }`.
fn read_side<'a, P>(
    table: &Table<'a>,
    key: &'static str,
    remedy: &str,
    policies: &BTreeMap<String, Arc<Policy>>,
    pki: impl FnOnce(&Table<'_>) -> Option<P>,
) -> Option<Side<'a, P>> {
    let words = [("plain", Tls::Plain), ("attested", Tls::Attested), ("mutual", Tls::Mutual), ("pki", Tls::Pki)];
    let value = table.required(key, remedy)?;
    let (word, tls, policy, pki) = if value.is_text() {
        let tls = value.word(&words)?;
        if tls == Tls::Pki {
            value.mistake("no certificates", format!("write `{key} = {{ tls = \"pki\", {} }}`", pki_keys(key)));
            return None;
        }
        (value.clone(), tls, None, None)
    } else if !value.is_table() {
        value.mistake("neither a word nor a table", remedy);
        return None;
    } else {
        let side = value.table()?;
        let word = side.required("tls", "write `tls = \"plain\"`, `\"attested\"`, `\"mutual\"` or `\"pki\"`");
        let tls = word.as_ref().and_then(|word| word.word(&words));
        let policy = side.get("policy").map(|v| find_policy(policies, &v));
        let pki = if tls == Some(Tls::Pki) { pki(&side) } else { None };
        side.finish();
        (word?, tls?, policy, pki)
    };
    if tls == Tls::Pki && policy.is_some() {
        value.mistake(
            "a policy, and a peer with a PKI's certificate shows no evidence that it could judge",
            "leave the policy out",
        );
        return None;
    }
    let judges = tls == Tls::Mutual || (tls == Tls::Attested && key == "downstream");
    if judges && policy.is_none() {
        let tls = word.text().unwrap_or_default();
        value.mistake(
            "no policy for the evidence of the other side",
            format!(
                "write `{key} = {{ tls = \"{tls}\", policy = \"NAME\" }}`, the name of a `[policy.NAME]` or \
                 `{GENUINE_ONLY}`"
            ),
        );
        return None;
    }
    Some(Side { value, tls, policy, pki })
}

fn pki_keys(side: &str) -> &'static str {
    if side == "upstream" { "cert = \"FILE\", key = \"FILE\"" } else { "ca = \"FILE\"" }
}
