//! Where the log goes and how much of it: standard error, as text or JSON.

use std::io::{self, IsTerminal as _};

use inclavared_config::{LogFormat, LogSettings};
use tracing_subscriber::EnvFilter;

use super::Mistakes;

/// Installs the process's log. Colours only where a person sees them.
pub fn init_logging(settings: &LogSettings) -> Result<(), LogError> {
    let filter = filter(&settings.filter).map_err(LogError::Filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()));
    let installed = match settings.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_ansi(false).try_init(),
    };
    installed.map_err(|error| LogError::Install(error.to_string()))
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("log filter: {0}")]
    Filter(String),
    #[error("installing the log: {0}")]
    Install(String),
}

/// `--log-level` and `--log-format`.
#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct LogArgs {
    /// off, error, warn, info, debug, trace, or a filter (TARGET=LEVEL,...)
    #[arg(long, value_name = "LEVEL", help_heading = "Log")]
    log_level: Option<String>,
    /// text or json
    #[arg(long, value_name = "FORMAT", help_heading = "Log")]
    log_format: Option<String>,
}

impl LogArgs {
    /// `settings` is what holds where nothing was typed.
    pub(super) fn over(&self, mut settings: LogSettings, mistakes: &mut Mistakes) -> LogSettings {
        if let Some(text) = &self.log_level {
            match level(text) {
                Ok(filter) => settings.filter = filter,
                Err(what) => mistakes.add("--log-level", what, "write off, error, warn, info, debug or trace"),
            }
        }
        match self.log_format.as_deref() {
            None => (),
            Some("text") => settings.format = LogFormat::Text,
            Some("json") => settings.format = LogFormat::Json,
            Some(other) => mistakes.add("--log-format", format!("`{other}` is no format"), "write text or json"),
        }
        settings
    }
}

pub(super) fn log_at(filter: &str) -> LogSettings {
    LogSettings { filter: filter.to_owned(), ..LogSettings::default() }
}

/// The original's levels in any case (`fatal` is its own), or a filter of tracing.
fn level(text: &str) -> Result<String, String> {
    let word = text.to_ascii_lowercase();
    match word.as_str() {
        "off" | "error" | "warn" | "info" | "debug" | "trace" => Ok(word),
        "fatal" => Ok("error".into()),
        // tracing reads any word as the name of a target: a mistyped level would silence the log.
        _ if !text.contains('=') => Err(format!("`{text}` is no level")),
        _ => filter(text).map(|_| text.to_owned()),
    }
}

fn filter(text: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder().parse(text).map_err(|error| format!("`{text}` is no filter: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_the_originals_and_filters_are_tracings() {
        assert_eq!(level("DEBUG"), Ok("debug".into()));
        assert_eq!(level("fatal"), Ok("error".into()));
        assert_eq!(level("inclavared_tunnel=debug,info"), Ok("inclavared_tunnel=debug,info".into()));
        assert_eq!(level("inof"), Err("`inof` is no level".into()));
        assert!(level("a=loud").unwrap_err().contains("`a=loud` is no filter"));
    }

    #[test]
    fn both_flags_are_judged() {
        let args = LogArgs { log_level: Some("loud".into()), log_format: Some("xml".into()) };
        let mut mistakes = Mistakes::default();
        args.over(LogSettings::default(), &mut mistakes);
        assert_eq!(
            mistakes.to_string(),
            "command line: --log-level: `loud` is no level; write off, error, warn, info, debug or trace\n\
             command line: --log-format: `xml` is no format; write text or json"
        );
    }
}
