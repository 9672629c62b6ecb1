//! `identity = { ca = "FILE", spiffe = "ID" }`: whose a hop has to be, by the word of an authority.

use std::collections::BTreeSet;

use inclavared_attest::named::authorities;
use inclavared_attest::policy::NameRule;

use crate::document::Table;

/// The longest SPIFFE id, in bytes (SPIFFE-ID section 2.3).
const MAX_URI: usize = 2048;

/// `None` where the policy's identity is another rule.
pub(crate) fn read_name_rule(policy: &Table<'_>) -> Option<NameRule> {
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
