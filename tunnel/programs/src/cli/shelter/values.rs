//! Files of reference values: written, signed, compared, imported and measured.

use std::path::PathBuf;

use inclavared_attest::policy::Policy;
use inclavared_config::is_name;

use crate::cli::Mistakes;
use crate::cli::attestation::read_policy;

/// A file of reference values that is to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ValuesFile {
    /// `None` is standard output.
    pub out: Option<PathBuf>,
    pub overwrite: bool,
    /// The policy's name in the file.
    pub name: String,
    /// Who writes it, in words of their own.
    pub operator: Option<String>,
    /// The file of a P-256 key in PKCS#8 and PEM. Invariant: only where `out` is a file.
    pub sign_key: Option<PathBuf>,
}

/// Enclaves whose signer's files are to become reference values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Import {
    /// Invariant: not empty.
    pub files: Vec<PathBuf>,
    pub to: ValuesFile,
    /// Where in a path they may stand; anywhere, if it is not said.
    pub role: Option<String>,
}

/// One side of a comparison: a policy, and how it was named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ComparedFile {
    pub shown: String,
    pub policy: Policy,
}

/// An image that is to be measured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Measure {
    pub image: PathBuf,
    /// Holds what the measurement has to be.
    pub sigstruct: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
pub(super) struct WriteArgs {
    /// Where to write; `-` is standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The policy's name in the file [default: recorded, or imported]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Overwrite a file that is there
    #[arg(long)]
    force: bool,
    /// Who records, for the file [default: $USER]
    #[arg(long, value_name = "WORDS")]
    operator: Option<String>,
    /// Sign with this P-256 key (PKCS#8, PEM), into FILE.sig
    #[arg(long, value_name = "FILE")]
    sign_key: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
pub(super) struct ImportArgs {
    /// SIGSTRUCTs (`.sig`, `.ss`), or enclaves signed with Intel's SDK (`.signed.so`)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The role that these enclaves may have in a path [default: any]
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(clap::Subcommand, Debug)]
pub(super) enum MeasureArgs {
    /// MRENCLAVE of an SGX enclave's image
    Sgx {
        /// An SGX stream (`.sgxs`), or an enclave signed with Intel's SDK (`.signed.so`)
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// A SIGSTRUCT that has to name the same measurement
        #[arg(long, value_name = "FILE")]
        sigstruct: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl WriteArgs {
    pub(super) fn meaning(self, default_name: &str, mistakes: &mut Mistakes) -> ValuesFile {
        let name = self.name.unwrap_or_else(|| default_name.to_owned());
        if !is_name(&name) || name == inclavared_config::GENUINE_ONLY {
            let remedy = "write 1 to 64 letters, digits, `-`, `_` or `.`";
            mistakes.add("--name", format!("`{name}` cannot be a policy's name"), remedy);
        }
        let out = self.out.filter(|out| out.as_os_str() != "-");
        if self.sign_key.is_some() && out.is_none() {
            let what = "a signature stands in a file beside the one that is signed, and there is none";
            mistakes.add("--sign-key", what, "add `--out FILE`");
        }
        let user = || ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
        let operator = self.operator.or_else(user).filter(|operator| !operator.is_empty());
        ValuesFile { out, overwrite: self.force, name, operator, sign_key: self.sign_key }
    }
}

impl ImportArgs {
    pub(super) fn meaning(self, mistakes: &mut Mistakes) -> Import {
        if let Some(role) = self.role.as_ref().filter(|role| !is_name(role)) {
            let remedy = "write 1 to 64 letters, digits, `-`, `_` or `.`";
            mistakes.add("--role", format!("`{role}` cannot be a role"), remedy);
        }
        Import { files: self.files, to: self.write.meaning("imported", mistakes), role: self.role }
    }
}

pub(super) fn compared(file: &str, mistakes: &mut Mistakes) -> Option<ComparedFile> {
    read_policy(file, mistakes).map(|policy| ComparedFile { shown: file.to_owned(), policy })
}
