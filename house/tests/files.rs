//! Files are short and named after what they are about, and none of them knows the machine that it was written on.

use inclavared_house::{prose, tracked};

/// Lines of a source file. What is longer holds more than one concept.
const LONGEST: usize = 600;

/// Names that say nothing.
const NAMELESS: [&str; 6] = ["util", "utils", "common", "helper", "helpers", "misc"];

/// Where people and programs keep a tree on one machine: spelled in two, so that this file does not name them itself.
const OF_A_MACHINE: [(&str, &str); 5] =
    [("/wo", "rk/"), ("/ro", "ot/"), ("/ho", "me/"), ("/Us", "ers/"), ("/tm", "p/bash")];

#[test]
fn source_files_are_short() {
    let mut wrong = Vec::new();
    for file in
        tracked().unwrap().into_iter().filter(|file| file.ends_with(".rs") && format!("/{file}").contains("/src/"))
    {
        let lines = prose(&file).unwrap().unwrap_or_default().lines().count();
        if lines > LONGEST {
            wrong.push(format!("{file}: {lines} lines: split it by concept, {LONGEST} are the most"));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn files_and_folders_are_named_after_what_they_are_about() {
    let nameless = tracked().unwrap().into_iter().filter(|file| {
        file.split('/').any(|part| NAMELESS.contains(&part.split('.').next().unwrap_or(part).to_lowercase().as_str()))
    });
    let wrong: Vec<_> = nameless.map(|file| format!("{file}: name it after its concept")).collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn no_file_names_a_place_on_one_machine() {
    let places = OF_A_MACHINE.map(|(a, b)| format!("{a}{b}"));
    let mut wrong = Vec::new();
    for file in tracked().unwrap() {
        let Some(text) = prose(&file).unwrap() else { continue };
        for (number, line) in (1..).zip(text.lines()) {
            for place in places.iter().filter(|place| names(line, place)) {
                wrong.push(format!(
                    "{file}:{number}: `{place}`: name it from the root of the tree, or by a placeholder"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn a_place_is_told_from_a_part_of_a_name() {
    assert!(names("cp /place/x y", "/place/") && names("\"/place/\"", "/place/"));
    assert!(!names("https://example.org/place/x", "/place/") && !names("a/place/x", "/place/"));
}

/// The place as an absolute path: nothing of a name or an address stands right before it.
fn names(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        !line[..at].ends_with(|c: char| c.is_alphanumeric() || ['.', '-', '_', '~', '}', ')'].contains(&c))
    })
}
