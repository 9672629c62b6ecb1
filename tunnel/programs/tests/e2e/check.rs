//! `inclavared check`: every mistake of a file at once, with its line and what to write instead.

use std::path::{Path, PathBuf};

use crate::harness::{World, command, run};
use crate::program::Finished;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn check(file: &Path) -> Finished {
    run(&mut command("inclavared", &format!("check {}", file.display())))
}

#[test]
fn says_all_mistakes() {
    let file = repository().join("config/tests/invalid/ten_mistakes.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let expected: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# expect: ")).collect();
    assert_eq!(expected.len(), 10);
    let checked = check(&file);
    assert_eq!((checked.code, checked.out.as_str()), (Some(1), ""), "{checked:?}");
    for mistake in expected {
        assert!(checked.err.contains(&format!("ten_mistakes.toml:{mistake}")), "{mistake}\n{}", checked.err);
    }
    // What does not pass does not start, and says the same.
    let started = run(&mut command("inclavared", &format!("--config {}", file.display())));
    assert_eq!(started.code, Some(2), "{started:?}");
    assert_eq!(started.err.matches("ten_mistakes.toml:").count(), 10, "{}", started.err);
}

#[test]
fn accepts_the_examples_as_they_stand() {
    let examples: Vec<_> = std::fs::read_dir(repository().join("examples"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "toml") && !path.ends_with("Cargo.toml"))
        .collect();
    assert!(examples.len() >= 5, "{examples:?}");
    for example in examples {
        let checked = check(&example);
        assert_eq!((checked.code, checked.err.as_str()), (Some(0), ""), "{}: {checked:?}", example.display());
        assert!(checked.out.starts_with("route ") && checked.out.contains("configuration digest "), "{}", checked.out);
    }
}

#[test]
fn says_that_there_is_no_such_file() {
    let file = World::new().path("nowhere.toml");
    let checked = check(&file);
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!(checked.err.contains("nowhere.toml") && checked.err.contains("No such file"), "{}", checked.err);
}
