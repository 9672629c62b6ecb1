//! The files of the tree, and what their text cites.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// The root of the tree.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Names of the files that git tracks, from the root of the tree, without those that are deleted and not yet committed.
///
/// # Errors
/// git is not installed, or this is no checkout.
pub fn tracked() -> io::Result<Vec<String>> {
    let root = root();
    let listed = Command::new("git").arg("-C").arg(&root).args(["ls-files", "-z", "--cached"]).output()?;
    if !listed.status.success() {
        let told = String::from_utf8_lossy(&listed.stderr).into_owned();
        return Err(io::Error::other(format!("git ls-files: {told}: run the tests in a checkout, with git installed")));
    }
    let names = String::from_utf8_lossy(&listed.stdout);
    Ok(names.split('\0').filter(|name| root.join(name).is_file()).map(str::to_owned).collect())
}

/// The text of a tracked file. `None` if it is not text.
///
/// # Errors
/// It cannot be read.
pub fn prose(name: &str) -> io::Result<Option<String>> {
    Ok(String::from_utf8(fs::read(root().join(name))?).ok())
}

/// A document's section that a text cites.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cited {
    /// `PROTOCOL`, or `RFC` and its number.
    pub document: String,
    /// `4.6.1`, or `A` of an appendix. `None` where the document is cited as a whole.
    pub section: Option<String>,
    /// Counted from 1.
    pub line: usize,
}

/// What a text cites of docs/PROTOCOL.md and of RFCs. A citation may be broken over lines of a comment.
pub fn citations(text: &str) -> Vec<Cited> {
    let words = words(text);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some((word, line)) = words.get(at) {
        let (document, behind) = match (document(word), words.get(at + 1)) {
            (Some("RFC"), Some((number, _)))
                if bare(number).len() >= 3 && bare(number).bytes().all(|b| b.is_ascii_digit()) =>
            {
                (format!("RFC {}", bare(number)), at + 2)
            }
            (Some("PROTOCOL"), _) => ("PROTOCOL".to_owned(), at + 1),
            _ => {
                at += 1;
                continue;
            }
        };
        let (sections, end) = sections(&words, behind);
        if sections.is_empty() {
            found.push(Cited { document, section: None, line: *line });
        } else {
            found.extend(sections.into_iter().map(|section| Cited {
                document: document.clone(),
                section: Some(section),
                line: *line,
            }));
        }
        at = end;
    }
    found
}

/// Words with their lines, without the signs that begin a comment's line.
fn words(text: &str) -> Vec<(&str, usize)> {
    let lines = (1..).zip(text.lines());
    let words = lines.flat_map(|(line, text)| {
        let text = text.trim_start();
        let text = text.trim_start_matches(['/', '!', '#', '*']);
        text.split_whitespace().map(move |word| (word, line))
    });
    words.collect()
}

fn document(word: &str) -> Option<&'static str> {
    let word = bare(word);
    let word = word.rsplit('/').next().unwrap_or(word);
    match word.strip_suffix(".md").unwrap_or(word) {
        "RFC" => Some("RFC"),
        "PROTOCOL" => Some("PROTOCOL"),
        _ => None,
    }
}

/// Without the signs around it, and without a genitive.
fn bare(word: &str) -> &str {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric());
    word.strip_suffix("'s").unwrap_or(word)
}

/// `section 4`, `sections 3 to 6`, `sections 3 and 4`, `appendix A`; and the place behind it.
fn sections(words: &[(&str, usize)], at: usize) -> (Vec<String>, usize) {
    let word = |at: usize| words.get(at).map_or("", |(word, _)| *word);
    let number = |at: usize| {
        let number = bare(word(at));
        let is_number =
            number.starts_with(|c: char| c.is_ascii_digit()) && number.chars().all(|c| c.is_ascii_digit() || c == '.');
        is_number.then(|| number.to_owned())
    };
    // A sign behind the document's name ends the citation, but for a comma: `RFC 8446, section 5`.
    let ends = at.checked_sub(1).is_some_and(|before| word(before).ends_with(['.', ')', ';', ':']));
    match word(at) {
        "appendix" if !ends => (vec![bare(word(at + 1)).to_owned()], at + 2),
        "section" if !ends => (number(at + 1).into_iter().collect(), at + 2),
        "sections" if !ends => {
            let mut found: Vec<_> = number(at + 1).into_iter().collect();
            let mut next = at + 2;
            while let (true, Some(more)) = (matches!(word(next), "and" | "to" | "or"), number(next + 1)) {
                if word(next) == "to"
                    && let (Some(Ok(from)), Ok(to)) =
                        (found.last().map(|from| from.parse::<u32>()), more.parse::<u32>())
                {
                    found.extend((from + 1..to).map(|between| between.to_string()));
                }
                found.push(more);
                next += 2;
            }
            (found, next)
        }
        _ => (Vec::new(), at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn citations_are_found_also_over_two_lines() {
        let text = "//! The legs (docs/PROTOCOL.md sections 3 to 5), RFC 8446\n//! section 4.6.1.\n/// `PROTOCOL.md` section 6 and RFC 8949 appendix A. By RFC 3339.\n// RFC 9334, section 2; sections 7 and 8, PROTOCOL section\n// 9: nine";
        let shown: Vec<_> = citations(text)
            .into_iter()
            .map(|one| format!("{} {} {}", one.line, one.document, one.section.unwrap_or_default()))
            .collect();
        let expected = [
            "1 PROTOCOL 3",
            "1 PROTOCOL 4",
            "1 PROTOCOL 5",
            "1 RFC 8446 4.6.1",
            "3 PROTOCOL 6",
            "3 RFC 8949 A",
            "3 RFC 3339 ",
            "4 RFC 9334 2",
            "4 PROTOCOL 9",
        ];
        assert_eq!(shown, expected);
    }
}
