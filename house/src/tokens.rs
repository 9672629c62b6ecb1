//! Rust source as words and signs, with their lines. Comments are dropped, and what stands in literals is not looked
//! at.

/// One token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// Counted from 1.
    pub(crate) line: usize,
}

/// What a token is. A number reads as a word: no path begins with one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Word(String),
    Sign(char),
    /// Text, without its quotes.
    Text(String),
}

impl Token {
    /// The word, if it is one.
    pub(crate) fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(word) => Some(word),
            _ => None,
        }
    }

    /// Whether it is this sign.
    pub(crate) fn is(&self, sign: char) -> bool {
        self.kind == Kind::Sign(sign)
    }
}

/// The tokens of a file. A file that does not compile gives some tokens, too; nothing of this panics on it.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut reader = Reader { chars: source.chars().collect(), at: 0, line: 1, found: Vec::new() };
    while let Some(next) = reader.peek(0) {
        reader.step(next);
    }
    reader.found
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    line: usize,
    found: Vec<Token>,
}

impl Reader {
    fn step(&mut self, next: char) {
        match next {
            '/' if self.peek(1) == Some('/') => self.skip_while(|c| c != '\n'),
            '/' if self.peek(1) == Some('*') => self.skip_block_comment(),
            '"' => self.read_text(),
            '\'' => self.read_quote(),
            c if c.is_alphanumeric() || c == '_' => self.read_word(),
            c => {
                if !c.is_whitespace() {
                    self.push(Kind::Sign(c), self.line);
                }
                self.bump();
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn bump(&mut self) {
        if self.peek(0) == Some('\n') {
            self.line += 1;
        }
        self.at += 1;
    }

    fn skip(&mut self, count: usize) {
        (0..count).for_each(|_| self.bump());
    }

    fn skip_while(&mut self, goes_on: impl Fn(char) -> bool) {
        while self.peek(0).is_some_and(&goes_on) {
            self.bump();
        }
    }

    fn push(&mut self, kind: Kind, line: usize) {
        self.found.push(Token { kind, line });
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 0;
        while let Some(c) = self.peek(0) {
            match (c, self.peek(1)) {
                ('/', Some('*')) => {
                    depth += 1;
                    self.skip(2);
                }
                ('*', Some('/')) => {
                    depth -= 1;
                    self.skip(2);
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.bump(),
            }
        }
    }

    fn read_text(&mut self) {
        let line = self.line;
        self.bump();
        let from = self.at;
        while let Some(c) = self.peek(0) {
            match c {
                '\\' => self.skip(2),
                '"' => break,
                _ => self.bump(),
            }
        }
        let text = self.chars.get(from..self.at.min(self.chars.len())).unwrap_or_default().iter().collect();
        self.push(Kind::Text(text), line);
        self.bump();
    }

    /// `r"..."` and `r#"..."#`, after the `r`.
    fn read_raw_text(&mut self, hashes: usize) {
        let line = self.line;
        self.skip(hashes + 1);
        let from = self.at;
        while self.peek(0).is_some() {
            if self.peek(0) == Some('"') && (1..=hashes).all(|i| self.peek(i) == Some('#')) {
                break;
            }
            self.bump();
        }
        let text = self.chars.get(from..self.at.min(self.chars.len())).unwrap_or_default().iter().collect();
        self.push(Kind::Text(text), line);
        self.skip(hashes + 1);
    }

    /// A character, or a lifetime, which is dropped.
    fn read_quote(&mut self) {
        match (self.peek(1), self.peek(2)) {
            (Some('\\'), _) => {
                self.skip(3);
                self.skip_while(|c| c != '\'');
                self.bump();
            }
            (Some(_), Some('\'')) => self.skip(3),
            _ => {
                self.bump();
                self.skip_while(|c| c.is_alphanumeric() || c == '_');
            }
        }
    }

    fn read_word(&mut self) {
        let line = self.line;
        let from = self.at;
        self.skip_while(|c| c.is_alphanumeric() || c == '_');
        let word: String = self.chars[from..self.at].iter().collect();
        let hashes = (0..).take_while(|i| self.peek(*i) == Some('#')).count();
        let quoted = self.peek(hashes) == Some('"');
        match word.as_str() {
            "r" | "br" | "cr" if quoted => self.read_raw_text(hashes),
            "b" | "c" if quoted && hashes == 0 => self.read_text(),
            "b" if self.peek(0) == Some('\'') => self.read_quote(),
            // A raw identifier.
            "r" if hashes == 1 => self.bump(),
            _ => self.push(Kind::Word(word), line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(source: &str) -> String {
        let shown = tokens(source).into_iter().map(|token| match token.kind {
            Kind::Word(word) => word,
            Kind::Sign(sign) => sign.to_string(),
            Kind::Text(_) => "TEXT".into(),
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_are_dropped_and_literals_are_closed() {
        assert_eq!(shown("a // crate::b\n/* c /* d */ e */ f"), "a f");
        assert_eq!(shown(r##"x = "a \" crate::b"; y = r#"a " b"#; z"##), "x = TEXT ; y = TEXT ; z");
        assert_eq!(shown(r#"b"x" br"\" c"y" z"#), "TEXT TEXT TEXT z");
    }

    #[test]
    fn characters_are_told_from_lifetimes() {
        assert_eq!(shown(r"f::<'a>('\'', '{', b'}', '\u{7f}', 'x')"), "f : : < > ( , , , , )");
        assert_eq!(shown("r#use r#type"), "use type");
    }

    #[test]
    fn lines_are_counted_through_literals() {
        let lines: Vec<_> = tokens("a\n\"x\ny\"\nb").iter().map(|token| token.line).collect();
        assert_eq!(lines, [1, 2, 4]);
    }
}
