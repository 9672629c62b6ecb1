//! The modules of one crate, found from its `lib.rs` on, and what each imports from the others.

use std::collections::{BTreeMap, BTreeSet};

use crate::module::{Module, modules};
use crate::tokens::tokens;

/// A crate's modules.
pub struct Tree {
    nodes: BTreeMap<Vec<String>, Node>,
}

struct Node {
    file: String,
    children: BTreeSet<String>,
    module: Module,
}

/// One place where a module names something of another one of its crate.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Import {
    /// The importing file, from the root of the tree.
    pub file: String,
    /// Where in it, counted from 1.
    pub line: usize,
    /// The room of the importing module. `None` for `lib.rs`, which stands above all rooms.
    pub from: Option<String>,
    /// The room whose name stands there; of a name that `lib.rs` passes on, the room that it comes from.
    pub to: Option<String>,
    /// The file that defines what is imported. `None` where a module is named as a whole, and where a name is only
    /// passed on (`pub use`): whoever uses it imports the file behind it.
    pub defined_in: Option<String>,
}

/// Where a path leads.
struct Target {
    /// The module that defines it, or the module itself.
    module: Vec<String>,
    /// Whether it is something inside of that module.
    is_item: bool,
    /// The first segment behind `crate::`, as it is written.
    written: Option<String>,
}

impl Tree {
    /// Reads a crate. `read` gives the text of a file, by its name from the root of the tree.
    ///
    /// # Errors
    /// A module whose file is not there.
    pub fn read(lib: &str, read: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let mut tree = Self { nodes: BTreeMap::new() };
        tree.add(Vec::new(), lib, read)?;
        Ok(tree)
    }

    /// The modules directly below `lib.rs`.
    pub fn rooms(&self) -> BTreeSet<String> {
        self.nodes.get(&Vec::new()).map(|root| root.children.clone()).unwrap_or_default()
    }

    /// Every import between different modules, in the order of files and lines.
    pub fn imports(&self) -> Vec<Import> {
        let mut found = BTreeSet::new();
        for (at, node) in &self.nodes {
            let uses = node.module.uses.iter().map(|one| (&one.path, one.public, one.name.is_none()));
            let paths = node.module.paths.iter().map(|path| (path, false, false));
            for (path, passed_on, is_glob) in uses.chain(paths) {
                let Some(target) = self.resolve(at, &path.segments, 0) else { continue };
                if target.module == *at {
                    continue;
                }
                let to_file = self.nodes.get(&target.module).map(|node| node.file.clone());
                let defined_in = to_file.filter(|file| !passed_on && (target.is_item || is_glob) && *file != node.file);
                found.insert(Import {
                    file: node.file.clone(),
                    line: path.line,
                    from: at.first().cloned(),
                    to: target.written.or(target.module.first().cloned()),
                    defined_in,
                });
            }
        }
        found.into_iter().collect()
    }

    fn add(&mut self, at: Vec<String>, file: &str, read: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
        let text = read(file).ok_or_else(|| format!("{file}: a module's file is not there"))?;
        let found = modules(&tokens(&text));
        let inline: Vec<_> = found.iter().map(|module| module.inside.clone()).collect();
        for module in found {
            let here = [at.as_slice(), &module.inside].concat();
            let folder = folder_of_children(file, &module.inside);
            let mut children: BTreeSet<_> = inline
                .iter()
                .filter(|inside| inside.len() == module.inside.len() + 1 && inside.starts_with(&module.inside))
                .filter_map(|inside| inside.last().cloned())
                .collect();
            for declared in &module.files {
                if IS_TEST.contains(&declared.name.as_str()) {
                    continue;
                }
                let path = match &declared.path {
                    Some(path) => format!("{}/{path}", file.rsplit_once('/').map_or("", |(folder, _)| folder)),
                    None => {
                        let beside = format!("{folder}/{}.rs", declared.name);
                        if read(&beside).is_some() { beside } else { format!("{folder}/{}/mod.rs", declared.name) }
                    }
                };
                children.insert(declared.name.clone());
                self.add([here.as_slice(), std::slice::from_ref(&declared.name)].concat(), &path, read)?;
            }
            self.nodes.insert(here, Node { file: file.to_owned(), children, module });
        }
        Ok(())
    }

    /// `None` for what is not of this crate.
    fn resolve(&self, from: &[String], segments: &[String], depth: usize) -> Option<Target> {
        if depth > DEEPEST {
            return None;
        }
        let node = self.nodes.get(from)?;
        let (first, rest) = segments.split_first()?;
        let (mut base, mut rest) = match first.as_str() {
            "crate" => (Vec::new(), rest),
            "self" => (from.to_vec(), rest),
            "super" => (from.split_last()?.1.to_vec(), rest),
            name if node.children.contains(name) => (from.to_vec(), segments),
            name => {
                let brought = node.module.uses.iter().find(|one| one.name.as_deref() == Some(name))?;
                // A name of itself (`use hex;`) is another crate's.
                (brought.path.segments != [name]).then_some(())?;
                let target = self.resolve(from, &brought.path.segments, depth + 1)?;
                return match target.is_item {
                    true => Some(target),
                    false => self
                        .walk(target.module, rest, depth + 1)
                        .map(|found| Target { written: target.written, ..found }),
                };
            }
        };
        while let Some(("super", further)) = rest.split_first().map(|(first, further)| (first.as_str(), further)) {
            base.pop()?;
            rest = further;
        }
        let root = self.nodes.get(&Vec::new())?;
        let written = base.first().or(rest.first()).filter(|name| root.children.contains(*name)).cloned();
        self.walk(base, rest, depth).map(|found| Target { written, ..found })
    }

    fn walk(&self, mut module: Vec<String>, segments: &[String], depth: usize) -> Option<Target> {
        if depth > DEEPEST {
            return None;
        }
        for (i, segment) in segments.iter().enumerate() {
            let node = self.nodes.get(&module)?;
            if node.children.contains(segment) {
                module.push(segment.clone());
                continue;
            }
            let rest = &segments[i + 1..];
            if let Some(one) = node.module.uses.iter().find(|one| one.name.as_ref() == Some(segment)) {
                return match self.resolve(&module, &one.path.segments, depth + 1) {
                    Some(target) if !target.is_item => self.walk(target.module, rest, depth + 1),
                    Some(target) => Some(target),
                    // What comes from outside is passed on here.
                    None => Some(Target { module, is_item: true, written: None }),
                };
            }
            if !node.module.items.contains(segment) {
                let globs = node.module.uses.iter().filter(|one| one.name.is_none());
                let mut behind = globs.filter_map(|one| self.resolve(&module, &one.path.segments, depth + 1));
                let whole = segments.get(i..).unwrap_or_default();
                if let Some(found) = behind.find_map(|target| self.defined(&target, whole, depth)) {
                    return Some(found);
                }
            }
            return Some(Target { module, is_item: true, written: None });
        }
        Some(Target { module, is_item: false, written: None })
    }

    /// What a glob of this module brings in under this name, if it does.
    fn defined(&self, glob: &Target, segments: &[String], depth: usize) -> Option<Target> {
        let (node, name) = (self.nodes.get(&glob.module)?, segments.first()?);
        let brought = node.module.uses.iter().any(|one| one.public && one.name.as_ref() == Some(name));
        let known = node.children.contains(name) || node.module.items.contains(name) || brought;
        if known { self.walk(glob.module.clone(), segments, depth + 1) } else { None }
    }
}

/// The folder in which the files of a module's children lie.
fn folder_of_children(file: &str, inside: &[String]) -> String {
    let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
    let own = match name {
        "lib.rs" | "mod.rs" | "main.rs" => folder.to_owned(),
        _ => file.trim_end_matches(".rs").to_owned(),
    };
    inside.iter().fold(own, |folder, name| format!("{folder}/{name}"))
}

/// Names of modules that serve tests alone, with or without `#[cfg(test)]`.
const IS_TEST: [&str; 2] = ["tests", "testing"];

/// Names that name names that name names: what goes further is a circle of re-exports, which does not compile.
const DEEPEST: usize = 16;

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A crate in `c/src` of these files.
    pub(crate) fn tree(files: &[(&str, &str)]) -> Tree {
        let read = |name: &str| {
            files.iter().find(|(file, _)| format!("c/src/{file}") == name).map(|(_, text)| (*text).to_owned())
        };
        Tree::read("c/src/lib.rs", &read).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::tree;
    use super::*;

    fn shown(files: &[(&str, &str)]) -> Vec<String> {
        let none = || "-".to_owned();
        let all = tree(files).imports().into_iter();
        let short = |file: String| file.trim_start_matches("c/src/").to_owned();
        all.map(|one| {
            let (to, from) = (one.to.unwrap_or_else(none), one.from.unwrap_or_else(none));
            format!("{}:{} {from} {to} {}", short(one.file), one.line, one.defined_in.map_or_else(none, short))
        })
        .collect()
    }

    #[test]
    fn re_exports_are_followed_to_the_file_that_defines() {
        let files = [
            ("lib.rs", "mod a;\nmod b;\npub use b::Thing;"),
            ("a.rs", "use crate::Thing;\nuse crate::b::Other;\nuse crate::b;\nfn f() { b::g(); crate::b::deep::h() }"),
            ("b/mod.rs", "pub mod deep;\nmod glob;\npub use deep::{Thing, g};\npub(crate) use glob::*;"),
            ("b/deep.rs", "pub struct Thing; pub fn g() {} pub fn h() {}"),
            ("b/glob.rs", "pub struct Other;"),
        ];
        let expected = [
            "a.rs:1 a b b/deep.rs",
            "a.rs:2 a b b/glob.rs",
            "a.rs:3 a b -",
            "a.rs:4 a b b/deep.rs",
            "b/mod.rs:3 b b -",
            "b/mod.rs:4 b b -",
            "lib.rs:3 - b -",
        ];
        assert_eq!(shown(&files), expected);
    }

    #[test]
    fn super_and_inline_modules_are_known() {
        let files = [
            ("lib.rs", "mod a;\nmod z;"),
            ("a.rs", "mod inner { use super::super::z::Z; use super::own; }\nmod below;\nfn own() {}"),
            ("a/below.rs", "use super::own;\nuse std::fmt;\nuse hex::encode;\nfn f() { encode() }"),
            ("z.rs", "pub struct Z;\n#[cfg(test)]\nmod tests { use crate::a::own; }\n"),
        ];
        assert_eq!(shown(&files), ["a.rs:1 a a -", "a.rs:1 a z z.rs", "a/below.rs:1 a a a.rs"]);
    }

    #[test]
    fn a_missing_file_is_told() {
        let missing = Tree::read("c/src/lib.rs", &|file| (file == "c/src/lib.rs").then(|| "mod gone;".to_owned()));
        assert_eq!(missing.err().as_deref(), Some("c/src/gone/mod.rs: a module's file is not there"));
    }
}
