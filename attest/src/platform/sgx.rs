//! `sgx_ecdsa`: quotes of the enclave that this process runs in, under Gramine or Occlum.
//!
//! A process outside an enclave has no quote of its own: the host's AESM makes quotes of enclaves alone.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

use super::answer::{self, UnfitAnswer};
use super::gate::{Deadline, Gate};
use super::options::DriverOptions;
use super::{files, sys};
use crate::attester::{Attester, AttesterError};
use crate::evidence::UserData;
use crate::tee::{EvidenceTag, Tee};

/// The attester of an SGX enclave.
#[derive(Debug)]
pub struct SgxEcdsa {
    runtime: Runtime,
    gate: Gate,
    deadline: Duration,
}

#[derive(Clone, Debug)]
enum Runtime {
    Gramine { folder: PathBuf },
    Occlum { device: PathBuf },
}

impl SgxEcdsa {
    pub const NAME: &'static str = "sgx_ecdsa";

    /// Looks for Gramine, then for Occlum. The error lists both.
    pub fn open(options: &DriverOptions) -> Result<Self, AttesterError> {
        let (folder, device) = (options.roots.dev.join("attestation"), options.roots.dev.join("sgx"));
        let mut tried = Vec::new();
        for runtime in [open_gramine(folder), open_occlum(device)] {
            match runtime {
                Ok(runtime) => {
                    let gate = Gate::of(runtime.path());
                    return Ok(Self { runtime, gate, deadline: options.deadline });
                }
                Err(error) => tried.push(error),
            }
        }
        Err(AttesterError::Interfaces { attester: Self::NAME, tried })
    }

    /// What was found.
    pub fn interface(&self) -> String {
        match &self.runtime {
            Runtime::Gramine { folder } => format!("Gramine's {} offers DCAP quotes", folder.display()),
            Runtime::Occlum { device } => format!("Occlum's {} makes DCAP quotes", device.display()),
        }
    }
}

impl Attester for SgxEcdsa {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn tag(&self) -> EvidenceTag {
        EvidenceTag::IntelQuote
    }

    fn quote(&self, user_data: &UserData) -> Result<Vec<u8>, AttesterError> {
        let (runtime, user_data) = (self.runtime.clone(), *user_data.as_bytes());
        self.gate.run(Self::NAME, self.deadline, move |deadline| match &runtime {
            Runtime::Gramine { folder } => gramine_quote(folder, &user_data, deadline),
            Runtime::Occlum { device } => occlum_quote(device, &user_data, deadline),
        })
    }
}

impl Runtime {
    fn path(&self) -> &Path {
        match self {
            Self::Gramine { folder } => folder,
            Self::Occlum { device } => device,
        }
    }
}

fn open_gramine(folder: PathBuf) -> Result<Runtime, AttesterError> {
    let kind = folder.join("attestation_type");
    match files::read_text(&kind) {
        Ok(found) if found == "dcap" => Ok(Runtime::Gramine { folder }),
        Ok(found) => Err(AttesterError::Missing {
            attester: SgxEcdsa::NAME,
            what: format!("DCAP attestation in Gramine ({} is {found:?})", kind.display()),
            remedy: GRAMINE_MANIFEST.into(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(AttesterError::Missing {
            attester: SgxEcdsa::NAME,
            what: kind.display().to_string(),
            remedy: format!("the proxy must run inside the enclave; with Gramine: {GRAMINE_MANIFEST}"),
        }),
        Err(error) => Err(refused("reading Gramine's attestation_type", GRAMINE_MANIFEST, error)),
    }
}

/// The report data are one buffer for the whole process: something else in it may write between our write and our read.
fn gramine_quote(folder: &Path, user_data: &[u8; 64], deadline: &Deadline) -> Result<Vec<u8>, AttesterError> {
    let mut attempts = GRAMINE_ATTEMPTS;
    loop {
        deadline.doing("writing Gramine's user_report_data");
        files::write_once(&folder.join("user_report_data"), user_data)
            .map_err(|error| refused("writing Gramine's user_report_data", GRAMINE_MANIFEST, error))?;
        deadline.doing("reading Gramine's quote (the host's AESM makes it)");
        let answer = files::read(&folder.join("quote"))
            .map_err(|error| refused("reading Gramine's quote", "the host's AESM must run, with DCAP set up", error))?;
        attempts -= 1;
        match answer::check(EvidenceTag::IntelQuote, Tee::Sgx, answer, user_data) {
            Err(UnfitAnswer::UserData) if attempts > 0 => {
                deadline.some_left()?;
            }
            other => return other.map_err(|unfit| unfit.told(SgxEcdsa::NAME)),
        }
    }
}

fn open_occlum(device: PathBuf) -> Result<Runtime, AttesterError> {
    // On a host with Intel's old driver this is a folder.
    if !fs::metadata(&device).is_ok_and(|found| !found.is_dir()) {
        return Err(AttesterError::Missing {
            attester: SgxEcdsa::NAME,
            what: format!("{} as Occlum has it", device.display()),
            remedy: "the proxy must run inside the enclave; with Occlum, built with DCAP".into(),
        });
    }
    let opened = open_device(&device)?;
    occlum_quote_size(&opened, &device)?;
    Ok(Runtime::Occlum { device })
}

fn occlum_quote(path: &Path, user_data: &[u8; 64], deadline: &Deadline) -> Result<Vec<u8>, AttesterError> {
    deadline.doing(format!("asking {} for the size of a quote", path.display()));
    let device = open_device(path)?;
    let mut quote = vec![0; occlum_quote_size(&device, path)?];
    deadline.doing(format!("waiting for {} to make a quote", path.display()));
    let len = sys::sgx_quote(&device, user_data, &mut quote).map_err(|error| {
        let doing = format!("making a quote with {}", path.display());
        refused(&doing, "the host's AESM must run, with DCAP set up", error)
    })?;
    quote.truncate(len);
    answer::check(EvidenceTag::IntelQuote, Tee::Sgx, quote, user_data).map_err(|unfit| unfit.told(SgxEcdsa::NAME))
}

fn occlum_quote_size(device: &File, path: &Path) -> Result<usize, AttesterError> {
    let size = sys::sgx_quote_size(device).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NOTTY | Errno::INVAL | Errno::NOSYS) => AttesterError::Missing {
            attester: SgxEcdsa::NAME,
            what: format!("Occlum's way to quotes in {}", path.display()),
            remedy: "the proxy must run inside Occlum, built with DCAP; a host's device of that name has none".into(),
        },
        _ => refused(&format!("asking {} for the size of a quote", path.display()), "see Occlum's log", error),
    })? as usize;
    if size == 0 || size > files::MAX_BLOB {
        let what = format!("{} announces quotes of {size} bytes", path.display());
        return Err(AttesterError::Answer { attester: SgxEcdsa::NAME, what });
    }
    Ok(size)
}

fn open_device(path: &Path) -> Result<File, AttesterError> {
    File::open(path)
        .map_err(|error| refused(&format!("opening {}", path.display()), "the process must be let read it", error))
}

fn refused(doing: &str, remedy: &str, source: io::Error) -> AttesterError {
    AttesterError::Refused { attester: SgxEcdsa::NAME, doing: doing.into(), remedy: remedy.into(), source }
}

const GRAMINE_MANIFEST: &str = "set sgx.remote_attestation = \"dcap\" in the manifest and sign it anew";

/// Another writer in this process is rare: it is met once, not again and again.
const GRAMINE_ATTEMPTS: u32 = 5;
