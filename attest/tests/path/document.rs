//! docs/PROTOCOL.md says what the code says, where that can be compared.

use std::fs;
use std::path::{Path, PathBuf};

use inclavared_attest::Reason;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn document() -> String {
    fs::read_to_string(root().join("docs/PROTOCOL.md")).unwrap()
}

/// The rows of the table that stands under a heading, cell by cell.
fn table(heading: &str) -> Vec<Vec<String>> {
    let document = document();
    let section = document.split(heading).nth(1).unwrap_or_else(|| panic!("no `{heading}`"));
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    rows.skip(2).map(cells).collect()
}

#[test]
fn reasons_are_those_of_the_code() {
    let stated: Vec<_> = table("### Reasons").into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let code = |reason: &Reason| (reason.code().to_string(), format!("`{}`", reason.label()));
    assert_eq!(stated, Reason::ALL.iter().map(code).collect::<Vec<_>>());
}

#[test]
fn named_tests_are_there() {
    let mut sources = Vec::new();
    for member in ["attest", "config", "tunnel"] {
        collect(&root().join(member), &mut sources);
    }
    let rows = table("## Implemented");
    assert!(rows.len() > 20, "{} rows", rows.len());
    for row in rows {
        let names = row[2].split('`').skip(1).step_by(2).filter(|name| name.contains("::"));
        for name in names {
            // A module of tests ends in `tests`; anything else is one test.
            let (module, test) = name.rsplit_once("::").unwrap();
            let file = module.trim_end_matches("::tests").rsplit("::").next().unwrap();
            let wanted = if test == "tests" { "mod tests {".to_owned() } else { format!("fn {test}()") };
            let other = if test == "tests" { "mod tests;" } else { "" };
            let is_there = sources.iter().any(|(path, text)| {
                let path = path.to_string_lossy();
                let named = path.ends_with(&format!("/{file}.rs")) || path.contains(&format!("/{file}/"));
                named && (text.contains(&wanted) || (!other.is_empty() && text.contains(other)))
            });
            assert!(is_there, "`{name}` in the row `{}`", row[0]);
        }
    }
}

fn collect(folder: &Path, sources: &mut Vec<(PathBuf, String)>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push((path.clone(), fs::read_to_string(&path).unwrap()));
        }
    }
}
