//! A section that the code or a document cites is there.

#![allow(clippy::unwrap_used, reason = "test code, outside of test functions")]

use std::collections::BTreeSet;

use inclavared_house::{Cited, citations, prose, tracked};

#[test]
fn cited_sections_of_the_protocol_exist() {
    let protocol = prose("docs/PROTOCOL.md").unwrap().unwrap();
    let known = numbers(&protocol);
    assert!(known.contains("4"), "docs/PROTOCOL.md has no numbered headings");
    let wrong = cited().filter_map(|(file, one)| match one.section {
        Some(section) if one.document == "PROTOCOL" && !known.contains(section.as_str()) => {
            Some(format!("{file}:{}: docs/PROTOCOL.md has no section {section}: cite one of its headings", one.line))
        }
        _ => None,
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn cited_sections_of_rfcs_exist() {
    let mut used = BTreeSet::new();
    let mut wrong = Vec::new();
    for (file, Cited { document, section, line }) in cited() {
        let Some((number, sections)) = RFCS.iter().find(|(number, _)| document == format!("RFC {number}")) else {
            if document != "PROTOCOL" {
                wrong.push(format!("{file}:{line}: {document} is not listed in this test: look it up, then add it"));
            }
            continue;
        };
        used.insert((*number, None));
        if let Some(section) = section {
            match sections.iter().find(|known| **known == section) {
                Some(known) => drop(used.insert((*number, Some(*known)))),
                None => wrong.push(format!(
                    "{file}:{line}: section {section} of {document} is not listed in this test: look whether it exists, \
                     then add it"
                )),
            }
        }
    }
    for (number, sections) in RFCS {
        let all = sections.iter().map(|section| Some(*section)).chain([None]);
        for section in all.filter(|section| !used.contains(&(*number, *section))) {
            wrong.push(format!("RFC {number}, section {section:?}: nobody cites it: strike it from this test"));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// Files with code or prose of this project.
fn cited() -> impl Iterator<Item = (String, Cited)> {
    let files = tracked().unwrap().into_iter().filter(|file| {
        let own = !file.starts_with("house/");
        own && [".rs", ".md", ".toml", ".py", ".sh", ".yaml", ".go", ".java"]
            .iter()
            .any(|ending| file.ends_with(ending))
    });
    files.flat_map(|file| {
        let text = prose(&file).unwrap().unwrap_or_default();
        citations(&text).into_iter().map(move |one| (file.clone(), one))
    })
}

/// Numbers that headings begin with: `## 4. Frames`.
fn numbers(document: &str) -> BTreeSet<String> {
    let headings = document.lines().filter(|line| line.starts_with('#'));
    let numbers = headings.filter_map(|line| line.trim_start_matches('#').split_whitespace().next());
    let numbers = numbers.map(|number| number.trim_end_matches('.'));
    numbers.filter(|number| number.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned).collect()
}

/// The sections that are cited, and are there. Whoever cites another one looks it up and adds it.
const RFCS: &[(u32, &[&str])] = &[
    (1123, &["2.1"]),
    (3279, &["2.2.3"]),
    (3339, &[]),
    (4122, &[]),
    (5280, &[]),
    (5480, &["2", "2.2"]),
    (5758, &["3.2"]),
    (5869, &[]),
    (6066, &["3"]),
    (6979, &[]),
    (7093, &["2"]),
    (7301, &["3.1"]),
    (
        8446,
        &[
            "4.1.2", "4.1.3", "4.4.1", "4.6.1", "4.6.3", "5.1", "5.2", "5.3", "5.4", "5.5", "6", "6.1", "6.2", "7",
            "7.1", "7.2", "7.3", "7.5",
        ],
    ),
    (8448, &["3"]),
    (8610, &[]),
    (8949, &["3.1", "4.2.1", "A"]),
    (9052, &[]),
    (9053, &["2.1"]),
    (9110, &["6.5"]),
    (9261, &[]),
    (9334, &[]),
    (9530, &[]),
    (9651, &[]),
];
