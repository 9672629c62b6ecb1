//! `shelter appraise`: evidence in files, and what is beside it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use inclavared_attest::Timestamp;
use inclavared_attest::policy::Policy;
use inclavared_config::VerifierKind;

use crate::cli::Mistakes;
use crate::cli::attestation::read_policy;

/// Evidence to be judged without a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OfflineAppraisal {
    pub evidence: Source,
    /// Invariant: at most one of all sources is standard input.
    pub collateral: Vec<Source>,
    /// `None` is the time at which it is judged.
    pub at: Option<Timestamp>,
    pub policy: Arc<Policy>,
    pub allow_debug: bool,
    /// The folder of the simulated platform that is believed, for simulated evidence alone.
    pub simulated: Option<PathBuf>,
}

/// Where bytes come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// Written `-`.
    Stdin,
    File(PathBuf),
}

#[derive(clap::Args, Debug)]
pub(super) struct OfflineArgs {
    /// A quote, a report or a certificate; `-` is standard input
    #[arg(long, value_name = "FILE")]
    evidence: PathBuf,
    /// Intel's collateral (JSON) or AMD's certificates and CRLs; repeatable
    #[arg(long, value_name = "FILE")]
    collateral: Vec<PathBuf>,
    /// Judge as of then: seconds since 1970, or RFC 3339 [default: now]
    #[arg(long, value_name = "UNIX_SECONDS")]
    at: Option<String>,
    /// The policy for the evidence [default: genuine-only]
    #[arg(long, value_name = "FILE[#NAME]")]
    policy: Option<String>,
    /// Let a debug enclave, TD or guest pass: its memory is open to its host
    #[arg(long)]
    allow_debug: bool,
    /// auto, or sim: simulated evidence, too [default: auto]
    #[arg(long, value_name = "TYPE")]
    verifier: Option<String>,
    /// The folder of the simulated platform
    #[arg(long, value_name = "DIR")]
    platform: Option<PathBuf>,
}

impl OfflineArgs {
    pub(super) fn meaning(self, mistakes: &mut Mistakes) -> Option<OfflineAppraisal> {
        let verifier = self.verifier(mistakes);
        let simulated = match (verifier, &self.platform) {
            (VerifierKind::Sim, None) => {
                let what = "missing: `sim` needs a simulated platform";
                mistakes.add("--platform", what, "add `--platform DIR`, its folder");
                None
            }
            (VerifierKind::Sim, platform) => platform.clone(),
            (_, Some(_)) if self.verifier.is_none() => {
                mistakes.add("--platform", "simulated evidence is not asked for", "add `--verifier sim`");
                None
            }
            (_, _) => None,
        };
        let at = self.at.as_deref().and_then(|text| {
            let at = text.parse().map(Timestamp).or_else(|_| text.parse::<Timestamp>()).ok();
            if at.is_none() {
                let remedy = "write seconds since 1970, or for example 2030-01-31T12:00:00Z";
                mistakes.add("--at", format!("`{text}` is no time"), remedy);
            }
            at
        });
        let policy = match &self.policy {
            Some(text) => read_policy(text, mistakes)?,
            None => verifier.default_policy(),
        };
        let evidence = Source::from(self.evidence);
        let collateral: Vec<_> = self.collateral.into_iter().map(Source::from).collect();
        if collateral.iter().chain([&evidence]).filter(|source| **source == Source::Stdin).count() > 1 {
            mistakes.add("-", "standard input is named twice, and can be read once", "name a file for the others");
        }
        if collateral.len() > MOST_FILES {
            let what = format!("{} files", collateral.len());
            mistakes.add("--collateral", what, format!("name at most {MOST_FILES}, those for this evidence"));
        }
        let (policy, allow_debug) = (Arc::new(policy), self.allow_debug);
        Some(OfflineAppraisal { evidence, collateral, at, policy, allow_debug, simulated })
    }

    /// A file is judged as what it is: the names that narrow what a peer may show have no use here.
    fn verifier(&self, mistakes: &mut Mistakes) -> VerifierKind {
        match self.verifier.as_deref().map(str::parse) {
            None | Some(Ok(VerifierKind::Auto)) => VerifierKind::Auto,
            Some(Ok(VerifierKind::Sim)) => VerifierKind::Sim,
            Some(Ok(other)) => {
                let what = format!("`{other}` narrows what a peer may show, and a file is judged as what it is");
                mistakes.add("--verifier", what, "leave it out, or write sim for simulated evidence");
                VerifierKind::Auto
            }
            Some(Err(error)) => {
                mistakes.add("--verifier", error.to_string(), "write auto or sim");
                VerifierKind::Auto
            }
        }
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        if path.as_os_str() == "-" { Self::Stdin } else { Self::File(path) }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A megabyte each. What one piece of evidence needs is two or three.
const MOST_FILES: usize = 64;
