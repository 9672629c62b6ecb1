//! `tdx_ecdsa`: quotes of the trust domain that this process runs in.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::answer;
use super::gate::{Deadline, Gate};
use super::options::DriverOptions;
use super::tsm::{Provider, Tsm};
use super::{QgsAddress, files, qgs, sys};
use crate::attester::{Attester, AttesterError};
use crate::evidence::UserData;
use crate::tee::{EvidenceTag, Tee};

/// The attester of a TDX guest.
///
/// Where both interfaces are there, both are tried for each quote: a kernel can have configfs-tsm on a host that
/// makes quotes over vsock alone.
#[derive(Debug)]
pub struct TdxEcdsa {
    interfaces: Vec<Interface>,
    gate: Gate,
    deadline: Duration,
}

#[derive(Clone, Debug)]
enum Interface {
    Tsm(Tsm),
    Device { path: PathBuf, qgs: QgsAddress },
}

impl TdxEcdsa {
    pub const NAME: &'static str = "tdx_ecdsa";

    /// Looks for configfs-tsm, then for the device. The error lists both.
    pub fn open(options: &DriverOptions) -> Result<Self, AttesterError> {
        let mut tried = Vec::new();
        let mut interfaces = Vec::new();
        for interface in [Tsm::open(Self::NAME, Provider::TdxGuest, options).map(Interface::Tsm), open_device(options)]
        {
            match interface {
                Ok(interface) => interfaces.push(interface),
                Err(error) => tried.push(error),
            }
        }
        let gate = match interfaces.first() {
            None => return Err(AttesterError::Interfaces { attester: Self::NAME, tried }),
            Some(Interface::Tsm(tsm)) => tsm.gate(),
            Some(Interface::Device { path, .. }) => Gate::of(path),
        };
        Ok(Self { interfaces, gate, deadline: options.deadline })
    }

    /// What was found.
    pub fn interface(&self) -> String {
        let found: Vec<_> = self.interfaces.iter().map(Interface::to_string).collect();
        found.join(", and ")
    }
}

impl Attester for TdxEcdsa {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn tag(&self) -> EvidenceTag {
        EvidenceTag::IntelQuote
    }

    fn quote(&self, user_data: &UserData) -> Result<Vec<u8>, AttesterError> {
        let (interfaces, user_data) = (self.interfaces.clone(), *user_data.as_bytes());
        self.gate.run(Self::NAME, self.deadline, move |deadline| {
            let mut tried = Vec::new();
            for interface in &interfaces {
                match interface.quote(&user_data, deadline) {
                    Ok(quote) => return Ok(quote),
                    Err(error) => tried.push(error),
                }
            }
            match (tried.pop(), tried.is_empty()) {
                (Some(only), true) => Err(only),
                (last, _) => {
                    tried.extend(last);
                    Err(AttesterError::Interfaces { attester: Self::NAME, tried })
                }
            }
        })
    }
}

impl Interface {
    fn quote(&self, user_data: &[u8; 64], deadline: &Deadline) -> Result<Vec<u8>, AttesterError> {
        let answer = match self {
            Self::Tsm(tsm) => tsm.report(user_data, deadline)?.outblob,
            Self::Device { path, qgs } => qgs::quote(qgs, &td_report(path, user_data)?, deadline)?,
        };
        answer::check(EvidenceTag::IntelQuote, Tee::Tdx, answer, user_data).map_err(|unfit| unfit.told(TdxEcdsa::NAME))
    }
}

impl std::fmt::Display for Interface {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tsm(tsm) => tsm.fmt(f),
            Self::Device { path, qgs } => {
                write!(f, "{} makes reports for the quoting service at {qgs}", path.display())
            }
        }
    }
}

fn open_device(options: &DriverOptions) -> Result<Interface, AttesterError> {
    let path = options.roots.dev.join("tdx_guest");
    open(&path)?;
    let qgs = match &options.qgs {
        Some(address) => address.clone(),
        None => QgsAddress::Vsock {
            cid: QgsAddress::HOST,
            port: configured_port(&options.roots.etc.join("tdx-attest.conf"))?,
        },
    };
    Ok(Interface::Device { path, qgs })
}

fn open(path: &Path) -> Result<File, AttesterError> {
    OpenOptions::new().read(true).write(true).open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => AttesterError::Missing {
            attester: TdxEcdsa::NAME,
            what: path.display().to_string(),
            remedy: "it needs Linux 6.2 or later in a TDX guest: modprobe tdx_guest; a container must be given the \
                     device"
                .into(),
        },
        _ => AttesterError::Refused {
            attester: TdxEcdsa::NAME,
            doing: format!("opening {}", path.display()),
            remedy: "the process must be let read and write it: run as root, or change its group".into(),
            source,
        },
    })
}

fn td_report(path: &Path, user_data: &[u8; 64]) -> Result<[u8; sys::TD_REPORT_LEN], AttesterError> {
    let report = sys::td_report(&open(path)?, user_data).map_err(|source| AttesterError::Refused {
        attester: TdxEcdsa::NAME,
        doing: format!("making a report with {}", path.display()),
        remedy: "the TDX module refused: see dmesg".into(),
        source,
    })?;
    if report[TD_REPORT_USER_DATA..][..64] != *user_data {
        let what = format!("{} made a report over other user data than was asked", path.display());
        return Err(AttesterError::Answer { attester: TdxEcdsa::NAME, what });
    }
    Ok(report)
}

/// The port in Intel's configuration of a guest, or Intel's default if there is no such file or line.
fn configured_port(path: &Path) -> Result<u32, AttesterError> {
    let refused = |source: io::Error| AttesterError::Refused {
        attester: TdxEcdsa::NAME,
        doing: format!("reading {}", path.display()),
        remedy: "write the quoting service's port into it (port=4050), or remove it".into(),
        source,
    };
    let text = match files::read_text(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(QgsAddress::PORT),
        other => other.map_err(refused)?,
    };
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let Some((key, value)) = line.split_once('=') else { continue };
        if key.trim() == "port" {
            return match value.trim().parse() {
                Ok(port) if port != 0 => Ok(port),
                _ => {
                    let problem = format!("{:?} is no port", value.trim());
                    Err(refused(io::Error::new(io::ErrorKind::InvalidData, problem)))
                }
            };
        }
    }
    Ok(QgsAddress::PORT)
}

/// REPORTDATA in the REPORTMACSTRUCT at the start of a TDREPORT.
const TD_REPORT_USER_DATA: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_port_as_intels_library_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tdx-attest.conf");
        assert_eq!(configured_port(&path).unwrap(), 4050, "no file");
        for (text, port) in
            [("port=4051\n", 4051), ("# port=1\n\n  port = 70000 # high\n", 70000), ("other=1\n", 4050), ("", 4050)]
        {
            std::fs::write(&path, text).unwrap();
            assert_eq!(configured_port(&path).unwrap(), port, "{text:?}");
        }
        for text in ["port=", "port=0", "port=-1", "port=4294967296", "port=qgs"] {
            std::fs::write(&path, text).unwrap();
            let error = configured_port(&path).unwrap_err();
            assert!(matches!(&error, AttesterError::Refused { remedy, .. } if remedy.contains("port=4050")), "{text}");
        }
    }
}
