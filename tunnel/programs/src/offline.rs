//! Evidence in files: opened, bounded, and handed to `inclavared_attest::offline` with the clock and the roots.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read as _};

use inclavared_attest::appraise::TrustRoots;
use inclavared_attest::evidence::Tee;
use inclavared_attest::offline::{self, Input, InputError, OfflineCollateral, OfflineVerdict, Outcome, VerdictError};
use inclavared_attest::platform::sim::SimFolderError;
use inclavared_attest::sim::SimPlatform;
use inclavared_attest::{Reason, Timestamp};
use serde_json::Value;

use crate::cli::{OfflineAppraisal, Source};

/// Why evidence did not come to be judged or shown.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    #[error("{file}: cannot be read; name a readable file, or `-` for standard input")]
    Unreadable {
        file: Source,
        #[source]
        source: io::Error,
    },
    #[error("{file}: more than {} bytes; no evidence and no collateral is so large: name another file", Input::MAX_LEN)]
    TooLarge { file: Source },
    #[error("{file}: no evidence; name a quote, a report or a certificate, in full")]
    Evidence {
        file: Source,
        #[source]
        source: InputError,
    },
    #[error("{file}: no collateral; name a collateral set in JSON, or certificates and CRLs in PEM or DER")]
    Collateral {
        file: Source,
        #[source]
        source: InputError,
    },
    #[error("the simulated platform")]
    Platform(#[from] SimFolderError),
}

/// Judges. Whatever is in the way of that is a verdict, too.
pub fn appraise(appraisal: &OfflineAppraisal) -> OfflineVerdict {
    let at = appraisal.at.unwrap_or_else(Timestamp::now);
    judged(appraisal, at).unwrap_or_else(|error| {
        let told = VerdictError { code: error.code(), message: error.message() };
        OfflineVerdict::not_judged(&appraisal.policy, at, error.outcome(), told)
    })
}

/// Everything that stands in a file of evidence.
pub fn inspect(file: &Source) -> Result<Value, OfflineError> {
    Ok(offline::inspect(&evidence(file)?))
}

fn judged(appraisal: &OfflineAppraisal, at: Timestamp) -> Result<OfflineVerdict, OfflineError> {
    let OfflineAppraisal { policy, allow_debug, .. } = appraisal;
    let input = evidence(&appraisal.evidence)?;
    let mut collateral = OfflineCollateral::new();
    for file in &appraisal.collateral {
        let bytes = read(file)?;
        collateral.add(&bytes).map_err(|source| OfflineError::Collateral { file: file.clone(), source })?;
    }
    let mut roots = TrustRoots::vendors();
    if let Some(folder) = &appraisal.simulated {
        let platform = SimPlatform::load(folder, at)?;
        roots = roots.with_simulated(platform.root_der());
        for set in [Tee::Sgx, Tee::Tdx].into_iter().filter_map(|tee| platform.collateral(tee)) {
            let file = Source::File(folder.clone());
            collateral.add(&set.to_json()).map_err(|source| OfflineError::Collateral { file, source })?;
        }
        if let Some(amd) = platform.amd() {
            roots = roots.with_simulated_amd([amd.root().clone()]);
            let file = Source::File(folder.clone());
            collateral.add(&amd.set().to_json()).map_err(|source| OfflineError::Collateral { file, source })?;
        }
    }
    let mut verdict = offline::appraise(&input, &collateral, &roots, policy, *allow_debug, at);
    if let (Some(error), Outcome::CouldNotTry, Some(kept)) = (&mut verdict.error, verdict.outcome, collateral.now())
        && error.code == Reason::Expired.label()
        && kept != at
    {
        let Timestamp(seconds) = kept;
        error.message.push_str(&format!("; the collateral was kept for {kept}: `--at {seconds}` judges as of then"));
    }
    Ok(verdict)
}

fn evidence(file: &Source) -> Result<Input, OfflineError> {
    Input::read(&read(file)?).map_err(|source| OfflineError::Evidence { file: file.clone(), source })
}

/// At most [`Input::MAX_LEN`] bytes: a device file or a wrong path does not fill the memory.
fn read(file: &Source) -> Result<Vec<u8>, OfflineError> {
    let mut bytes = Vec::new();
    let limit = Input::MAX_LEN as u64 + 1;
    let result = match file {
        Source::Stdin => io::stdin().lock().take(limit).read_to_end(&mut bytes),
        Source::File(path) => File::open(path).and_then(|opened| opened.take(limit).read_to_end(&mut bytes)),
    };
    match result {
        Ok(length) if length > Input::MAX_LEN => Err(OfflineError::TooLarge { file: file.clone() }),
        Ok(_) => Ok(bytes),
        Err(source) => Err(OfflineError::Unreadable { file: file.clone(), source }),
    }
}

impl OfflineError {
    /// Damaged evidence is refused. What is no evidence at all says nothing of any.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Evidence { source: InputError::Quote(_) | InputError::Certificate(_), .. } => Outcome::Refused,
            _ => Outcome::CouldNotTry,
        }
    }

    /// The label of a [`Reason`], or [`FILE`].
    pub fn code(&self) -> &'static str {
        match self {
            Self::Evidence { .. } => Reason::EvidenceForm.label(),
            Self::Collateral { .. } | Self::Platform(_) => Reason::Collateral.label(),
            Self::Unreadable { .. } | Self::TooLarge { .. } => FILE,
        }
    }

    /// The whole chain of causes on one line.
    pub fn message(&self) -> String {
        let mut line = self.to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            line.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        line
    }
}

/// The code of what never crosses a wire: a file that cannot be read.
pub const FILE: &str = "file";
