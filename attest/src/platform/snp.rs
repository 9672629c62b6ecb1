//! `sev_snp`: attestation reports of the SEV-SNP guest that this process runs in.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::io::Errno;

use super::gate::{Deadline, Gate, lock};
use super::options::DriverOptions;
use super::tsm::{Provider, Tsm};
use super::{answer, snp_certificates, sys};
use crate::attester::{Attester, AttesterError};
use crate::evidence::{Endorsements, UserData};
use crate::tee::{EvidenceTag, Tee};

/// The attester of an SEV-SNP guest. Its endorsements are the certificates that the host handed to the kernel with the
/// last report; only configfs-tsm has them, and only if the host's operator put them there.
#[derive(Debug)]
pub struct SevSnp {
    interface: Interface,
    endorsements: Arc<Mutex<Option<Endorsements>>>,
    gate: Gate,
    deadline: Duration,
}

#[derive(Clone, Debug)]
enum Interface {
    Tsm(Tsm),
    Device { path: PathBuf },
}

impl SevSnp {
    pub const NAME: &'static str = "sev_snp";

    /// Looks for configfs-tsm, then for the device. The error lists both.
    pub fn open(options: &DriverOptions) -> Result<Self, AttesterError> {
        let path = options.roots.dev.join("sev-guest");
        let (interface, gate) = match Tsm::open(Self::NAME, Provider::SevGuest, options) {
            Ok(tsm) => {
                let gate = tsm.gate();
                (Interface::Tsm(tsm), gate)
            }
            Err(first) => match open(&path) {
                Ok(_) => (Interface::Device { path: path.clone() }, Gate::of(&path)),
                Err(second) => {
                    return Err(AttesterError::Interfaces { attester: Self::NAME, tried: vec![first, second] });
                }
            },
        };
        Ok(Self { interface, endorsements: Arc::default(), gate, deadline: options.deadline })
    }

    /// What was found.
    pub fn interface(&self) -> String {
        match &self.interface {
            Interface::Tsm(tsm) => tsm.to_string(),
            Interface::Device { path } => format!("{} makes reports", path.display()),
        }
    }
}

impl Attester for SevSnp {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn tag(&self) -> EvidenceTag {
        EvidenceTag::SevSnp
    }

    fn quote(&self, user_data: &UserData) -> Result<Vec<u8>, AttesterError> {
        let (interface, endorsements) = (self.interface.clone(), Arc::clone(&self.endorsements));
        let user_data = *user_data.as_bytes();
        self.gate.run(Self::NAME, self.deadline, move |deadline| {
            let (answer, certificates) = match &interface {
                Interface::Tsm(tsm) => {
                    let report = tsm.report(&user_data, deadline)?;
                    (report.outblob, report.auxblob)
                }
                Interface::Device { path } => (device_report(path, &user_data, deadline)?, Vec::new()),
            };
            let report = answer::check(EvidenceTag::SevSnp, Tee::SevSnp, answer, &user_data)
                .map_err(|unfit| unfit.told(Self::NAME))?;
            *lock(&endorsements) = snp_certificates::endorsements(&report, &certificates);
            Ok(report)
        })
    }

    fn endorsements(&self) -> Option<Endorsements> {
        lock(&self.endorsements).clone()
    }
}

fn open(path: &Path) -> Result<File, AttesterError> {
    OpenOptions::new().read(true).write(true).open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => AttesterError::Missing {
            attester: SevSnp::NAME,
            what: path.display().to_string(),
            remedy: "it needs Linux 5.19 or later in an SEV-SNP guest: modprobe sev-guest; a container must be given \
                     the device"
                .into(),
        },
        _ => AttesterError::Refused {
            attester: SevSnp::NAME,
            doing: format!("opening {}", path.display()),
            remedy: "the process must be let read and write it: run as root, or change its group".into(),
            source,
        },
    })
}

fn device_report(path: &Path, user_data: &[u8; 64], deadline: &Deadline) -> Result<Vec<u8>, AttesterError> {
    let device = open(path)?;
    deadline.doing(format!("waiting for {} to make a report", path.display()));
    // The most privileged level, which a guest without a service module (SVSM) runs at. With one, the kernel is
    // recent enough for configfs-tsm.
    let response = sys::snp_report(&device, user_data, 0).map_err(|error| AttesterError::Refused {
        attester: SevSnp::NAME,
        doing: format!(
            "making a report with {} (firmware {:#x}, host {:#x})",
            path.display(),
            error.exit_info as u32,
            error.exit_info >> 32
        ),
        remedy: match Errno::from_io_error(&error.source) {
            Some(Errno::NOTTY) => "the guest's key to the firmware was given up after an error: start the guest anew",
            Some(Errno::TIMEDOUT | Errno::BUSY | Errno::AGAIN) => "the host limits how often reports are made: wait",
            _ => "the firmware refused: see dmesg",
        }
        .into(),
        source: error.source,
    })?;
    report_in(response.as_slice()).map_err(|what| AttesterError::Answer { attester: SevSnp::NAME, what })
}

/// MSG_REPORT_RSP: status u32, size u32, 24 reserved bytes, the report.
fn report_in(response: &[u8]) -> Result<Vec<u8>, String> {
    let u32_at = |offset: usize| {
        let bytes = response.get(offset..offset + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_le_bytes).unwrap_or_default()
    };
    let (status, size) = (u32_at(0), u32_at(4) as usize);
    if status != 0 {
        return Err(format!("the firmware states status {status:#x} instead of a report"));
    }
    let report = response.get(RESPONSE_HEADER..).and_then(|rest| rest.get(..size));
    report.map(<[u8]>::to_vec).ok_or_else(|| format!("the firmware announces a report of {size} bytes"))
}

const RESPONSE_HEADER: usize = 0x20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_firmwares_answer() {
        let mut response = vec![0; sys::SNP_RESPONSE_LEN];
        response[4..8].copy_from_slice(&1184u32.to_le_bytes());
        response[0x20..0x20 + 1184].fill(7);
        assert_eq!(report_in(&response).unwrap(), [7; 1184]);
        response[0] = 0x16;
        assert_eq!(report_in(&response).unwrap_err(), "the firmware states status 0x16 instead of a report");
        response[0] = 0;
        response[6] = 1;
        assert_eq!(report_in(&response).unwrap_err(), "the firmware announces a report of 66720 bytes");
        assert_eq!(report_in(&[]).unwrap_err(), "the firmware announces a report of 0 bytes");
    }
}
