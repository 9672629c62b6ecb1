//! Documents are read in terminals and in diffs: their lines are at most 120 columns.

use inclavared_house::{prose, tracked};

const COLUMNS: usize = 120;

#[test]
fn lines_of_documents_are_short() {
    let documents = tracked().unwrap().into_iter().filter(|file| file.ends_with(".md"));
    let mut wrong = Vec::new();
    for file in documents {
        let text = prose(&file).unwrap().unwrap_or_default();
        wrong.extend(too_long(&text).into_iter().map(|(line, columns)| {
            format!("{file}:{line}: {columns} columns: break it; what a table cannot hold is told below it")
        }));
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn what_can_be_broken_is_found() {
    let long = "word ".repeat(30);
    let link = format!("https://example.org/{}", "a".repeat(130));
    let row = format!("| {} | b |", "word ".repeat(30));
    assert_eq!(too_long(&format!("short\n{long}\n")).len(), 1);
    assert_eq!(too_long(&row).len(), 1);
    assert_eq!(too_long(&format!("{link}\n- {link}\n```\n{long}\n```\n{long}")), [(6, 150)]);
}

/// Lines outside of code blocks that are too long and could be broken, with their lengths. One token is left as it is.
fn too_long(text: &str) -> Vec<(usize, usize)> {
    let mut in_code = false;
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        let columns = line.chars().count();
        let tokens = line.split_whitespace().filter(|token| !["-", "*", ">", "#"].contains(token)).count();
        if !in_code && columns > COLUMNS && tokens > 1 {
            found.push((number, columns));
        }
    }
    found
}
