//! Words of the configuration that more than one part reads or writes: tables, names, TEEs, bindings, products.

use inclavared_attest::appraise::snp::SnpProduct;
use inclavared_attest::evidence::Tee;
use inclavared_attest::policy::Binding;

/// Whether a text can name a route, a policy or a role. Such names stand in logs, metrics and paths of files.
pub fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

pub(crate) const NAME_REMEDY: &str = "write 1 to 64 letters, digits, `-`, `_` or `.`";

/// How a TEE is written in a policy; `none` for peers without evidence.
pub(crate) fn tee_word(tee: Tee) -> &'static str {
    TEES.iter().find(|(_, known)| *known == tee).map_or("none", |(word, _)| word)
}

pub(crate) const TEES: &[(&str, Tee)] = &[("sgx", Tee::Sgx), ("tdx", Tee::Tdx), ("sev-snp", Tee::SevSnp)];

pub(crate) const BINDINGS: &[(&str, Binding)] =
    &[("key", Binding::Key), ("key+audit", Binding::KeyAudit), ("quote", Binding::Quote)];

/// The products that `snp_min` can name.
pub(crate) const SNP_PRODUCTS: [(&str, SnpProduct); 3] =
    [("milan", SnpProduct::Milan), ("genoa", SnpProduct::Genoa), ("turin", SnpProduct::Turin)];

/// What a configuration consists of, besides policies and what was recorded. A reader of policies alone passes over
/// these.
pub(crate) const TABLES: &[&str] =
    &["route", "attestation", "collateral", "tls", "limits", "deadlines", "identity", "log", "admin", "workers"];
