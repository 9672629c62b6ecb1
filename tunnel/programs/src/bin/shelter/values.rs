//! Files of reference values: recorded, compared, imported; images measured.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use inclavared_attest::{KeyId, Timestamp, path};
use inclavared_config::{Scope, differences, parse_policy};
use inclavared_programs::cli::{ComparedFile, DiffWith, Import, Measure, ValuesFile, Verification};
use inclavared_programs::reference_values;
use inclavared_programs::relying_party::RelyingParty;
use inclavared_programs::report::{self, Finding, Recording};

use super::NOT_TRIED;

/// Verifies the path and writes what was measured as a policy.
pub(crate) fn record(path: Verification, to: &ValuesFile) -> anyhow::Result<ExitCode> {
    let key = reference_values::signing_key(to)?;
    let kid = key.as_ref().map(|key| key.trusted().kid());
    let (party, verified) = match seen(path)? {
        Ok(seen) => seen,
        Err(finding) => {
            eprint!("{}", report::failure(&finding));
            return Ok(ExitCode::FAILURE);
        }
    };
    let text = recorded(&party, &verified, &to.name, to.operator.as_deref(), kid);
    reference_values::write(&text, to, key.as_ref())?;
    say_written(&format!("{} hops recorded", verified.hops.len()), to, kid)?;
    Ok(ExitCode::SUCCESS)
}

/// The path as it is now.
fn seen(path: Verification) -> anyhow::Result<Result<(RelyingParty, Arc<path::Path>), Finding>> {
    let party = RelyingParty::new(path)?;
    let verified = party.verify(async |_, verified| {
        let path = Arc::clone(verified.path());
        verified.leave().await;
        Ok(path)
    });
    Ok(verified.map(|path| (party, path)).map_err(|error| Finding::from(&error)))
}

fn recorded(
    party: &RelyingParty,
    verified: &path::Path,
    name: &str,
    operator: Option<&str>,
    key: Option<KeyId>,
) -> String {
    let Verification { target, policy, .. } = party.path();
    let (address, at) = (target.to_string(), Timestamp::now());
    report::recorded(verified, &Recording { name, address: &address, at, operator, key, policy })
}

fn say_written(what: &str, to: &ValuesFile, key: Option<KeyId>) -> anyhow::Result<()> {
    let Some(out) = &to.out else { return Ok(()) };
    let out = out.display();
    let mut said = format!("{what} in {out}: use it with `--policy {out}`, or as `reference_values` in a policy\n");
    if let Some(key) = key {
        said.push_str(&format!("signed in {out}.sig with the key {key}\n"));
    }
    io::stdout().write_all(said.as_bytes()).context("writing to standard output")
}

/// Compares reference values: exit status 0 if they are the same, 1 if not, 2 if it could not be tried.
pub(crate) fn diff(a: &ComparedFile, b: DiffWith, json: bool) -> anyhow::Result<ExitCode> {
    let (shown, other, scope) = match b {
        DiffWith::File(file) => (file.shown, file.policy, Scope::Everything),
        DiffWith::Path(path) => {
            let shown = path.target.to_string();
            match seen(path)? {
                Ok((party, verified)) => {
                    let text = recorded(&party, &verified, "path", None, None);
                    (shown, parse_policy("the path", &text, None)?, Scope::Path)
                }
                Err(finding) => {
                    if json {
                        writeln!(io::stdout(), "{}", report::json_line(&report::failure_json(&finding)))?;
                    }
                    eprint!("{}", report::failure(&finding));
                    return Ok(ExitCode::from(NOT_TRIED));
                }
            }
        }
    };
    let found = differences(&a.policy, &other, scope);
    let text = match json {
        true => report::json_line(&report::differences_json(&a.shown, &shown, &found)) + "\n",
        false => report::differences_text(&a.shown, &shown, &found),
    };
    write!(io::stdout(), "{text}")?;
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes what signers state as a policy: exit status 0, or 2 if one of the files is not what it should be.
pub(crate) fn import(import: &Import) -> anyhow::Result<ExitCode> {
    let key = reference_values::signing_key(&import.to)?;
    let kid = key.as_ref().map(|key| key.trusted().kid());
    let text = reference_values::import(import, kid, Timestamp::now())?;
    reference_values::write(&text, &import.to, key.as_ref())?;
    say_written(&format!("{} enclaves imported", import.files.len()), &import.to, kid)?;
    Ok(ExitCode::SUCCESS)
}

/// Measures an image: exit status 0, 1 if its SIGSTRUCT names another measurement, 2 if it could not be tried.
pub(crate) fn measure(what: &Measure, json: bool) -> anyhow::Result<ExitCode> {
    let measured = reference_values::measure(what)?;
    let text = match json {
        true => report::json_line(&report::measured_json(&measured)) + "\n",
        false => report::measured_text(&measured),
    };
    write!(io::stdout(), "{text}")?;
    Ok(if measured.agrees() == Some(false) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
