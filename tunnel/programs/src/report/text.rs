//! Text that fits a terminal and cannot command it.

/// Printable ASCII; everything else as `\u{..}`.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' '..='~' => out.push(c),
            other => out.extend(other.escape_unicode()),
        }
    }
    out
}

/// Lines of at most `width` columns. Breaks at spaces, else in front of a capital (`SWHardeningNeeded`), else anywhere.
/// `text` has to be ASCII, as [`shown`] makes it.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text.trim();
    while rest.len() > width {
        let head = &rest.as_bytes()[..=width];
        let space = head.iter().rposition(|b| *b == b' ').filter(|at| *at > 0);
        let capital = (1..=width).rev().find(|at| head[*at].is_ascii_uppercase() && head[*at - 1].is_ascii_lowercase());
        let at = space.or(capital).unwrap_or(width);
        lines.push(rest[..at].trim_end().to_owned());
        rest = rest[at..].trim_start();
    }
    if !rest.is_empty() || lines.is_empty() {
        lines.push(rest.to_owned());
    }
    lines
}

/// A paragraph: the first line after `head`, the others below it.
pub(super) fn paragraph(head: &str, text: &str) -> String {
    let lines = wrapped(text, WIDTH - head.len());
    let indent = format!("\n{:1$}", "", head.len());
    format!("{head}{}\n", lines.join(&indent))
}

/// What everything printed for people fits in, in columns.
pub(super) const WIDTH: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_commands_a_terminal() {
        assert_eq!(shown("a\u{1b}[31m\n\u{202e}é~"), "a\\u{1b}[31m\\u{a}\\u{202e}\\u{e9}~");
    }

    #[test]
    fn breaks_where_words_end() {
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
        assert_eq!(wrapped("ConfigurationAndSWHardeningNeeded", 15), ["Configuration", "AndSWHardening", "Needed"]);
        assert_eq!(wrapped(&"a".repeat(5), 2), ["aa", "aa", "a"]);
        assert_eq!(wrapped("", 5), [""]);
        assert_eq!(wrapped("   x", 2), ["x"]);
    }
}
