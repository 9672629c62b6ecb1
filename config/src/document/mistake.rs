//! The mistakes of one configuration, all of them, each with its place and its remedy.

use std::fmt;
use std::path::PathBuf;

use inclavared_attest::Reason;

/// Everything that is wrong with one configuration, sorted by line. `Display` shows one mistake a line.
///
/// Invariant: there is at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Errors {
    origin: Origin,
    mistakes: Vec<Mistake>,
}

/// What is wrong at one place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// Counted from 1. `None` where no line is to blame: the file cannot be read, or the mistake is on a command line.
    pub line: Option<usize>,
    /// The key in full (`route[2].listen`; routes and hops are counted from 1), or empty.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
}

/// Where the configuration came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A file of TOML, as it was named.
    File(PathBuf),
    /// Flags: nothing was read from a file.
    CommandLine,
}

impl Errors {
    /// `None` if there are no mistakes.
    pub(crate) fn new(origin: Origin, mut mistakes: Vec<Mistake>) -> Option<Self> {
        if mistakes.is_empty() {
            return None;
        }
        mistakes.sort_by_key(|m| m.line);
        mistakes.dedup();
        Some(Self { origin, mistakes })
    }

    pub(crate) fn one(origin: Origin, key: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        let mistake = Mistake { line: None, key: key.into(), what: what.into(), remedy: remedy.into() };
        Self { origin, mistakes: vec![mistake] }
    }

    /// Where all of these mistakes are.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Every mistake, sorted by line. There is at least one.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// The reason code. A configuration is the operator's fault, never the peer's.
    pub fn reason(&self) -> Reason {
        Reason::Internal
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.mistakes.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}", self.origin)?;
            if let Some(line) = mistake.line {
                write!(f, ":{line}")?;
            }
            write!(f, ": {mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}
