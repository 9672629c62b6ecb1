//! Everything that is wrong with one command line, told at once.

use std::fmt;
use std::process::ExitCode;

use inclavared_config::{Errors, Mistake};

/// What is wrong with a command line and with the files that it names. `Display` shows one mistake a line.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Mistakes {
    own: Vec<Mistake>,
    files: Vec<Errors>,
}

/// Why there is nothing to run.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// An unknown flag, a missing value; also `--help` and `--version`, which are no errors.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    #[error("{0}")]
    Mistakes(Mistakes),
}

impl Mistakes {
    /// What is wrong with the flags themselves.
    pub fn own(&self) -> &[Mistake] {
        &self.own
    }

    /// What is wrong with files, and with the flags taken together.
    pub fn files(&self) -> &[Errors] {
        &self.files
    }

    pub(super) fn add(&mut self, flag: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.own.push(Mistake { line: None, key: flag.into(), what: what.into(), remedy: remedy.into() });
    }

    pub(super) fn add_errors(&mut self, errors: Errors) {
        self.files.push(errors);
    }

    /// The value, if there was no mistake. Invariant: `None` only after a mistake was added.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, CliError> {
        match value {
            Some(value) if self.own.is_empty() && self.files.is_empty() => Ok(value),
            _ => Err(CliError::Mistakes(self)),
        }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.own.iter().map(|mistake| format!("command line: {mistake}"));
        let lines: Vec<_> = own.chain(self.files.iter().map(|errors| errors.to_string())).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl CliError {
    /// Says it where it belongs (help on standard output, the rest on standard error) and gives the exit code: 0 for
    /// help, 2 for a command line that cannot be meant.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Usage(error) => {
                // Nobody is left to be told that a message could not be written.
                let _ = error.print();
                ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(EXIT_USAGE))
            }
            Self::Mistakes(mistakes) => {
                eprintln!("{mistakes}");
                ExitCode::from(EXIT_USAGE)
            }
        }
    }
}

/// As clap exits.
const EXIT_USAGE: u8 = 2;
