//! Flags as Go programs take them: `-addr=VALUE` as well as `--addr VALUE`, and `--mutual=false`.

use std::ffi::OsString;

use clap::Command;

/// Writes `-name` and `-name=value` with two dashes where `name` is a long flag of the command or of a subcommand.
/// Nothing after `--` is touched, and no value of a flag that stands apart from it.
pub(super) fn with_two_dashes(command: &Command, args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let commands = || std::iter::once(command).chain(command.get_subcommands());
    let flag = |name: &str| commands().flat_map(Command::get_arguments).find(|arg| arg.get_long() == Some(name));
    let mut out = Vec::new();
    let (mut verbatim, mut value_follows) = (false, false);
    for arg in args {
        let Some(text) = arg.to_str().filter(|text| !verbatim && !value_follows && text.starts_with('-')) else {
            value_follows = false;
            out.push(arg);
            continue;
        };
        verbatim = text == "--";
        let bare = text.trim_start_matches('-');
        let (name, has_value) = bare.split_once('=').map_or((bare, false), |(name, _)| (name, true));
        let known = flag(name).filter(|_| name.len() > 1);
        let optional = known.and_then(|arg| arg.get_num_args()).is_some_and(|count| count.min_values() == 0);
        value_follows = known.is_some_and(|arg| arg.get_action().takes_values()) && !has_value && !optional;
        match known {
            Some(_) if !text.starts_with("--") => out.push(format!("-{text}").into()),
            _ => out.push(arg),
        }
    }
    out
}

/// What Go's `strconv.ParseBool` reads.
pub(super) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("write `true` or `false`, or the flag alone".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction};

    use super::*;

    fn rewritten(args: &[&str]) -> Vec<String> {
        let command = Command::new("p").subcommand(
            Command::new("sub")
                .arg(Arg::new("addr").long("addr"))
                .arg(Arg::new("mutual").long("mutual").num_args(0..=1).require_equals(true).action(ArgAction::Set)),
        );
        let out = with_two_dashes(&command, args.iter().map(OsString::from));
        out.into_iter().map(|arg| arg.into_string().unwrap()).collect()
    }

    #[test]
    fn only_known_names_get_a_second_dash() {
        assert_eq!(rewritten(&["p", "sub", "-addr=tcp://h:1"]), ["p", "sub", "--addr=tcp://h:1"]);
        assert_eq!(
            rewritten(&["-addr", "-mutual", "-mutual"]),
            ["--addr", "-mutual", "--mutual"],
            "a value is a value"
        );
        assert_eq!(rewritten(&["-mutual", "-addr", "x"]), ["--mutual", "--addr", "x"]);
        assert_eq!(rewritten(&["--addr", "x", "-h", "-x=1", "-"]), ["--addr", "x", "-h", "-x=1", "-"]);
        assert_eq!(rewritten(&["--", "-addr"]), ["--", "-addr"]);
    }

    #[test]
    fn booleans_are_gos() {
        assert_eq!(parse_bool("False"), Ok(false));
        assert_eq!(parse_bool("1"), Ok(true));
        assert!(parse_bool("yes").is_err());
    }
}
