//! The rooms of each crate import one another as ARCHITECTURE.md says, and no circle of files is large.

#![allow(clippy::unwrap_used, reason = "test code, outside of test functions")]

use std::fs;

use inclavared_house::{Rooms, Tree, circles, judge, root, tables};

/// Folders of the crates, and how many imports of each may run back up.
const CRATES: [(&str, usize); 6] =
    [("attest", 0), ("config", 0), ("tunnel", 3), ("tunnel/wire", 0), ("tunnel/collateral", 0), ("tunnel/programs", 0)];

/// Files that import one another in a circle: what is larger is not understood a file at a time.
const LARGEST_CIRCLE: usize = 3;

const DOCUMENT: &str = "ARCHITECTURE.md";
const HEADING: &str = "## Who may import whom";

#[test]
fn rooms_import_what_their_rows_name() {
    let tables = tables(&read(DOCUMENT).unwrap(), HEADING).unwrap();
    let mut wrong = Vec::new();
    for (folder, most_back) in CRATES {
        match tables.get(folder) {
            Some(rows) => wrong.extend(judge(&tree(folder), Rooms { document: DOCUMENT, rows, most_back })),
            None => wrong.push(format!("{DOCUMENT}: no table under `### {folder}`: write one")),
        }
    }
    for folder in tables.keys().filter(|folder| !CRATES.iter().any(|(known, _)| known == folder)) {
        wrong.push(format!("{DOCUMENT}: `### {folder}` is about no crate that is looked at: add it to this test"));
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn circles_of_files_are_small() {
    let mut wrong = Vec::new();
    for (folder, _) in CRATES {
        let imports = tree(folder).imports();
        for circle in circles(&imports).into_iter().filter(|circle| circle.len() > LARGEST_CIRCLE) {
            wrong.push(format!(
                "{} files import one another in a circle; move what they share into a file below:",
                circle.len()
            ));
            let within = imports.iter().filter(|one| circle.contains(&one.file));
            let within =
                within.filter_map(|one| Some((one, one.defined_in.as_ref().filter(|to| circle.contains(to))?)));
            wrong.extend(within.map(|(one, to)| format!("  {}:{} -> {to}", one.file, one.line)));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn tree(folder: &str) -> Tree {
    Tree::read(&format!("{folder}/src/lib.rs"), &read).unwrap()
}

fn read(file: &str) -> Option<String> {
    fs::read_to_string(root().join(file)).ok()
}
