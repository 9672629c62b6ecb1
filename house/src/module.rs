//! One file of Rust: its modules, what they declare, and the paths that they name. Tests are left out.

use std::collections::BTreeSet;

use crate::tokens::{Kind, Token};

/// A module as its source declares it: the file itself, or an inline module of it.
#[derive(Default, Debug)]
pub(crate) struct Module {
    /// Inline modules around it, from the file's own module on; empty for the file itself.
    pub(crate) inside: Vec<String>,
    /// `mod NAME;`: modules in files of their own.
    pub(crate) files: Vec<Declared>,
    pub(crate) uses: Vec<Use>,
    pub(crate) paths: Vec<Path>,
    /// Types, functions, constants, traits and macros.
    pub(crate) items: BTreeSet<String>,
}

/// A module that has a file of its own.
#[derive(Debug)]
pub(crate) struct Declared {
    pub(crate) name: String,
    /// `#[path = "..."]`.
    pub(crate) path: Option<String>,
}

/// One name that a `use` brings in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Use {
    pub(crate) path: Path,
    /// The name in this module. Not known of a glob.
    pub(crate) name: Option<String>,
    /// `pub use`, to whomever.
    pub(crate) public: bool,
}

/// `a::b::c`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Path {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
}

/// The modules of one file, the file's own first.
pub(crate) fn modules(tokens: &[Token]) -> Vec<Module> {
    let mut parser = Parser { tokens, at: 0, depth: 0, open: vec![(0, 0)], modules: vec![Module::default()] };
    while parser.at < tokens.len() {
        parser.step();
    }
    parser.modules
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    /// Of braces.
    depth: usize,
    /// The modules that are open: which one, and the depth inside it.
    open: Vec<(usize, usize)>,
    modules: Vec<Module>,
}

impl Parser<'_> {
    fn step(&mut self) {
        let Some(token) = self.tokens.get(self.at) else { return };
        match &token.kind {
            Kind::Sign('#') => self.attribute(),
            Kind::Sign('{') => {
                self.depth += 1;
                self.at += 1;
            }
            Kind::Sign('}') => {
                if self.open.len() > 1 && self.open.last().is_some_and(|(_, depth)| *depth == self.depth) {
                    self.open.pop();
                }
                self.depth = self.depth.saturating_sub(1);
                self.at += 1;
            }
            Kind::Word(word) => match word.as_str() {
                "mod" if self.word(self.at + 1).is_some() => self.module(None),
                "use" if !self.is(self.at + 1, '<') => self.use_item(),
                word => {
                    self.item(word);
                    self.path();
                }
            },
            _ => self.at += 1,
        }
    }

    fn current(&mut self) -> &mut Module {
        let (index, _) = self.open.last().copied().unwrap_or_default();
        &mut self.modules[index]
    }

    fn word(&self, at: usize) -> Option<&str> {
        self.tokens.get(at)?.word()
    }

    fn is(&self, at: usize, sign: char) -> bool {
        self.tokens.get(at).is_some_and(|token| token.is(sign))
    }

    /// `::` begins at `at`.
    fn separator(&self, at: usize) -> bool {
        self.is(at, ':') && self.is(at + 1, ':')
    }

    /// An attribute: `cfg(test)` drops the item behind it, `path` names a module's file.
    fn attribute(&mut self) {
        let inner = self.is(self.at + 1, '!');
        let from = self.at + 1 + usize::from(inner);
        if !self.is(from, '[') {
            self.at += 1;
            return;
        }
        let end = self.closing(from);
        let words: Vec<_> = (from..end).filter_map(|i| self.word(i)).collect();
        let is_test = match words.as_slice() {
            ["cfg", rest @ ..] => (0..rest.len())
                .any(|i| rest[i] == "test" && i.checked_sub(1).is_none_or(|before| rest[before] != "not")),
            _ => false,
        };
        let is_path = words.as_slice() == ["path"];
        let text = (from..end).find_map(|i| match &self.tokens[i].kind {
            Kind::Text(text) => Some(text.clone()),
            _ => None,
        });
        self.at = end;
        if is_test && !inner {
            self.skip_item();
        } else if let (true, Some(text)) = (is_path, text) {
            while self.at < self.tokens.len() && self.word(self.at) != Some("mod") {
                self.at += 1;
            }
            self.module(Some(text));
        }
    }

    /// Behind the bracket that closes the one at `at`.
    fn closing(&self, at: usize) -> usize {
        let mut depth = 0_usize;
        for (i, token) in self.tokens.iter().enumerate().skip(at) {
            match token.kind {
                Kind::Sign('(' | '[' | '{') => depth += 1,
                Kind::Sign(')' | ']' | '}') => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return i + 1;
            }
        }
        self.tokens.len()
    }

    /// Passes over an item, or over a field, variant, arm or statement, whose attribute was just read.
    fn skip_item(&mut self) {
        while self.is(self.at, '#') {
            self.at = self.closing(self.at + 1);
        }
        let is_item = self.word(self.at).is_some_and(|word| ITEMS.contains(&word));
        while let Some(token) = self.tokens.get(self.at) {
            match token.kind {
                Kind::Sign('{') => {
                    self.at = self.closing(self.at);
                    return;
                }
                Kind::Sign('(' | '[') => self.at = self.closing(self.at),
                Kind::Sign(';') => {
                    self.at += 1;
                    return;
                }
                Kind::Sign(',') if !is_item => return,
                Kind::Sign('}' | ')' | ']') => return,
                _ => self.at += 1,
            }
        }
    }

    fn module(&mut self, path: Option<String>) {
        let Some(name) = self.word(self.at + 1).map(str::to_owned) else {
            self.at += 1;
            return;
        };
        self.at += 2;
        if self.is(self.at, ';') {
            self.current().files.push(Declared { name, path });
        } else if self.is(self.at, '{') {
            let inside = [self.current().inside.as_slice(), &[name]].concat();
            self.depth += 1;
            self.at += 1;
            self.open.push((self.modules.len(), self.depth));
            self.modules.push(Module { inside, ..Module::default() });
        }
    }

    fn use_item(&mut self) {
        let public = self.is_public();
        self.at += 1;
        let mut found = Vec::new();
        self.use_tree(&[], &mut found);
        let uses = found.into_iter().map(|(path, name)| Use { path, name, public });
        let uses: Vec<_> = uses.collect();
        self.current().uses.extend(uses);
    }

    /// `pub`, or `pub(...)`, stands before.
    fn is_public(&self) -> bool {
        let Some(mut before) = self.at.checked_sub(1) else { return false };
        if self.is(before, ')') {
            while before > 0 && !self.is(before, '(') {
                before -= 1;
            }
            before = before.saturating_sub(1);
        }
        self.word(before) == Some("pub")
    }

    fn use_tree(&mut self, prefix: &[String], found: &mut Vec<(Path, Option<String>)>) {
        let mut segments = prefix.to_vec();
        let line = self.tokens.get(self.at).map_or(0, |token| token.line);
        // `::std` begins outside: it stays a path with an empty first segment, which is nobody's module.
        if self.separator(self.at) {
            segments.push(String::new());
            self.at += 2;
        }
        loop {
            if self.is(self.at, '{') {
                self.at += 1;
                while self.at < self.tokens.len() && !self.is(self.at, '}') {
                    self.use_tree(&segments, found);
                    if self.is(self.at, ',') {
                        self.at += 1;
                    }
                }
                self.at += 1;
                return;
            }
            if self.is(self.at, '*') {
                self.at += 1;
                found.push((Path { segments, line }, None));
                return;
            }
            let Some(word) = self.word(self.at).map(str::to_owned) else {
                self.at += 1;
                return;
            };
            self.at += 1;
            if word != "self" || segments.is_empty() {
                segments.push(word);
            }
            if !self.separator(self.at) {
                break;
            }
            self.at += 2;
        }
        let mut name = segments.last().cloned();
        if self.word(self.at) == Some("as") {
            name = self.word(self.at + 1).map(str::to_owned);
            self.at += 2;
        }
        found.push((Path { segments, line }, name));
    }

    /// Remembers a name that is declared directly in a module.
    fn item(&mut self, word: &str) {
        let at_top = self.open.last().is_some_and(|(_, depth)| *depth == self.depth);
        let name = match word {
            "fn" | "struct" | "enum" | "trait" | "const" | "static" | "type" | "union" => self.word(self.at + 1),
            "macro_rules" if self.is(self.at + 1, '!') => self.word(self.at + 2),
            _ => None,
        };
        if let (true, Some(name)) = (at_top, name.map(str::to_owned)) {
            self.current().items.insert(name);
        }
    }

    /// `a::b`, where nothing comes before `a`.
    fn path(&mut self) {
        let from = self.at;
        let mut segments = Vec::new();
        let line = self.tokens[from].line;
        while let Some(word) = self.word(self.at) {
            segments.push(word.to_owned());
            self.at += 1;
            if !self.separator(self.at) || self.word(self.at + 2).is_none() {
                break;
            }
            self.at += 2;
        }
        let goes_before = from >= 2 && self.separator(from - 2);
        let is_visibility = from >= 1 && self.word(from - 1) == Some("in") && from >= 2 && self.is(from - 2, '(');
        if segments.len() > 1 && !goes_before && !is_visibility {
            self.current().paths.push(Path { segments, line });
        }
    }
}

/// What an item begins with: a comma does not end it.
const ITEMS: [&str; 14] = [
    "pub", "fn", "mod", "use", "impl", "struct", "enum", "const", "static", "type", "trait", "async", "unsafe",
    "extern",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::tokens;

    fn read(source: &str) -> Vec<Module> {
        modules(&tokens(source))
    }

    fn shown(module: &Module) -> Vec<String> {
        let uses = module.uses.iter().map(|one| {
            let name = one.name.as_deref().unwrap_or("*");
            format!("{}{} as {name}", if one.public { "pub " } else { "" }, one.path.segments.join("::"))
        });
        uses.chain(module.paths.iter().map(|path| path.segments.join("::"))).collect()
    }

    #[test]
    fn trees_of_use_are_taken_apart() {
        let source = "use a::{self, b::{C, D as E}, f::*};\npub(crate) use super::G;\npub use h::I;\nuse ::std::fmt;";
        let expected = [
            "a as a",
            "a::b::C as C",
            "a::b::D as E",
            "a::f as *",
            "pub super::G as G",
            "pub h::I as I",
            "::std::fmt as fmt",
        ];
        assert_eq!(shown(&read(source)[0]), expected);
    }

    #[test]
    fn paths_in_code_are_found_and_visibility_is_none() {
        let source = "pub(in crate::a) fn f() -> crate::b::C { super::d::e::<X>(self.x, g::h()); ::std::i() }";
        assert_eq!(shown(&read(source)[0]), ["crate::b::C", "super::d::e", "g::h"]);
    }

    #[test]
    fn tests_are_left_out_and_what_follows_them_is_not() {
        let source = "#[cfg(test)] mod tests { use crate::x; }\n#[cfg(not(test))] use crate::y;
            struct S { #[cfg(test)] a: crate::z::A, b: crate::w::B }
            #[cfg(all(test, unix))] fn f<A, B>() { crate::v::g() } #[cfg(test)] mod testing; mod kept;";
        let modules = read(source);
        assert_eq!(modules.len(), 1);
        assert_eq!(shown(&modules[0]), ["crate::y as y", "crate::w::B"]);
        assert_eq!(modules[0].files.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["kept"]);
    }

    #[test]
    fn inline_modules_hold_what_stands_in_them() {
        let modules =
            read("mod a { fn f() {} mod b { use super::c; } fn g() {} }\n#[path = \"x.rs\"] pub mod d;\nfn h() {}");
        assert_eq!(modules[1].inside, ["a"]);
        assert_eq!(modules[1].items, BTreeSet::from(["f".to_owned(), "g".to_owned()]));
        assert_eq!(modules[2].inside, ["a", "b"]);
        assert_eq!(shown(&modules[2]), ["super::c as c"]);
        assert_eq!(modules[0].items, BTreeSet::from(["h".to_owned()]));
        assert_eq!(modules[0].files[0].path.as_deref(), Some("x.rs"));
    }
}
