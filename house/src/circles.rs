//! Circles between files: each of them can only be understood with all the others.

use std::collections::{BTreeMap, BTreeSet};

use crate::Import;

/// Files that import one another in a circle, directly or through others. Each circle is sorted, the largest first.
pub fn circles(imports: &[Import]) -> Vec<Vec<String>> {
    let mut direct: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for one in imports {
        if let Some(to) = &one.defined_in {
            direct.entry(&one.file).or_default().insert(to);
        }
    }
    let reached: BTreeMap<_, _> = direct.keys().map(|file| (*file, all_reached(file, &direct))).collect();
    let reaches = |a: &str, b: &str| reached.get(a).is_some_and(|files| files.contains(b));
    let mut found: BTreeSet<Vec<String>> = BTreeSet::new();
    for file in direct.keys().filter(|file| reaches(file, file)) {
        let circle = direct.keys().filter(|other| reaches(file, other) && reaches(other, file));
        found.insert(circle.map(|file| (*file).to_owned()).collect());
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    found
}

fn all_reached<'a>(from: &str, direct: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = direct.get(from).into_iter().flatten().copied().collect();
    while let Some(file) = next.pop() {
        if reached.insert(file) {
            next.extend(direct.get(file).into_iter().flatten());
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::testing::tree;

    #[test]
    fn circles_are_found_and_what_hangs_on_them_is_not() {
        let files = [
            ("lib.rs", "mod a;\nmod b;\nmod c;\nmod d;\nmod e;\nmod f;"),
            ("a.rs", "use crate::b::B;\nuse crate::d::D;"),
            ("b.rs", "use crate::c::C;\npub struct B;"),
            ("c.rs", "use crate::a::A;\npub struct C;"),
            ("d.rs", "pub struct D;\nuse crate::e::E;"),
            ("e.rs", "pub struct E;\nuse crate::d::D;"),
            ("f.rs", "use crate::a::A;"),
        ];
        assert_eq!(
            circles(&tree(&files).imports()),
            [vec!["c/src/a.rs", "c/src/b.rs", "c/src/c.rs"], vec!["c/src/d.rs", "c/src/e.rs"]]
        );
    }
}
