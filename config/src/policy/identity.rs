//! `identity`: whose platform a hop has to run on, or which name an authority has to have given it.

use std::collections::BTreeSet;

use inclavared_attest::named::authorities;
use inclavared_attest::policy::{IdentityRule, NameRule};

use crate::document::Table;

pub(super) fn read_identity(table: &Table<'_>) -> IdentityRule {
    let remedy = "write `identity = \"any-genuine\"` or `identity = { platforms = [\"HEX\"] }`";
    let configids = "write `identity = { platforms = [\"HEX\"] }`, and `configid` in the hop tables";
    let Some(value) = table.required("identity", remedy) else { return IdentityRule::AnyGenuine };
    if value.is_text() {
        if value.text() != Some("any-genuine") {
            value.mistake("not an identity rule", remedy);
        }
        return IdentityRule::AnyGenuine;
    }
    let Some(table) = value.table() else { return IdentityRule::AnyGenuine };
    if let Some(list) = table.get("configids") {
        if let Some(platforms) = table.get("platforms") {
            platforms.mistake("platforms and configids, and one of them would suffice", configids);
        }
        let items = list.filled_list("an empty list denies every enclave", remedy);
        table.finish();
        return IdentityRule::ConfigIds(
            items
                .iter()
                .filter_map(|item| {
                    let id = item.hex::<64>()?;
                    if id == [0; 64] {
                        item.mistake("a CONFIGID of zeros", "write the real one: enclaves without KSS have zeros");
                    }
                    Some(id)
                })
                .collect(),
        );
    }
    let list = table.required("platforms", remedy);
    let items = list.map(|l| l.filled_list("an empty list denies every platform", remedy)).unwrap_or_default();
    let mut platforms = BTreeSet::new();
    for item in items {
        let Some(text) = item.text() else { continue };
        match hex::decode(text) {
            // A PPID or a platform instance id, or a chip id of AMD.
            Ok(id) if matches!(id.len(), 16 | 64) => drop(platforms.insert(id)),
            _ => item.mistake("not a platform id", "write 32 (Intel) or 128 (AMD) hexadecimal digits"),
        }
    }
    table.finish();
    IdentityRule::Platforms(platforms)
}

/// `None` where the policy's identity is another rule.
pub(super) fn read_name_rule(policy: &Table<'_>) -> Option<NameRule> {
    let value = policy.get("identity").filter(|value| value.is_table())?;
    let table = value.table().filter(|table| table.has("ca") || table.has("spiffe"))?;
    let remedy = "write `identity = { ca = \"FILE\", spiffe = \"spiffe://DOMAIN/PATH\" }`";
    let mut read = Vec::new();
    if let Some(ca) = table.required("ca", remedy)
        && let Some(file) = ca.filled_text(remedy)
    {
        let file = table.beside(file);
        match std::fs::read(&file).map_err(|error| error.to_string()) {
            Ok(pem) => match authorities(&pem) {
                Ok(certificates) => read = certificates,
                Err(error) => {
                    ca.mistake(format!("{}: {error}", file.display()), "name the authority's certificate in PEM")
                }
            },
            Err(error) => ca.mistake(format!("{}: {error}", file.display()), "name a readable file"),
        }
    }
    let ids = table.required("spiffe", remedy);
    let ids = ids.map(|list| list.filled_list("an empty list denies every hop", remedy)).unwrap_or_default();
    let mut uris = BTreeSet::new();
    for id in ids {
        let Some(uri) = id.text() else { continue };
        if uri.len() > MAX_URI || !uri.strip_prefix("spiffe://").is_some_and(|rest| !rest.is_empty() && rest.is_ascii())
        {
            id.mistake("not a SPIFFE id", "write for example `spiffe://example.org/gateway`");
            continue;
        }
        uris.insert(uri.to_owned());
    }
    table.finish();
    Some(NameRule { authorities: read, uris })
}

/// The longest SPIFFE id, in bytes (SPIFFE-ID section 2.3).
const MAX_URI: usize = 2048;
