//! configfs-tsm, the interface of Linux 6.7 and later to the attestation of a confidential VM.
//!
//! A folder under `tsm/report` is one request: `inblob` takes the user data in one write, `outblob` makes and returns
//! the report, `generation` counts the writes. Source: Linux `Documentation/ABI/testing/configfs-tsm-report`.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::files;
use super::gate::{Backoff, Deadline, Gate};
use super::options::DriverOptions;
use crate::attester::AttesterError;

/// configfs-tsm with the provider that is wanted.
#[derive(Clone, Debug)]
pub(super) struct Tsm {
    attester: &'static str,
    provider: Provider,
    reports: PathBuf,
}

/// Who makes the reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Provider {
    TdxGuest,
    SevGuest,
}

/// What came out of one request.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Report {
    pub(super) outblob: Vec<u8>,
    /// The host's table of certificates; empty if it has none.
    pub(super) auxblob: Vec<u8>,
}

impl Tsm {
    /// Looks whether the interface is there, with that provider: makes a request's folder and removes it.
    pub(super) fn open(
        attester: &'static str,
        provider: Provider,
        options: &DriverOptions,
    ) -> Result<Self, AttesterError> {
        let configfs = &options.roots.configfs;
        let reports = configfs.join("tsm/report");
        let missing =
            |what: &Path, remedy: String| AttesterError::Missing { attester, what: what.display().to_string(), remedy };
        let module = provider.module();
        if !configfs.is_dir() {
            let remedy = format!("mount it: mount -t configfs none {}", configfs.display());
            return Err(missing(configfs, remedy));
        }
        if !reports.is_dir() {
            let remedy = format!(
                "it needs Linux 6.7 or later in a confidential VM, configfs mounted at {}, and the module: \
                 modprobe {module}; a container must be given the folder",
                configfs.display()
            );
            return Err(missing(&reports, remedy));
        }
        let tsm = Self { attester, provider, reports };
        let probing = tsm.clone();
        tsm.gate().run(attester, options.deadline, move |deadline| {
            deadline.doing("asking configfs-tsm for its provider");
            probing.folder().map(drop)
        })?;
        Ok(tsm)
    }

    /// The reports of a machine are made one after the other, for all processes together.
    pub(super) fn gate(&self) -> Gate {
        Gate::of(&self.reports)
    }

    /// One report over `user_data`. A machine that is busy and a request that somebody else wrote into are tried
    /// again until the deadline.
    pub(super) fn report(&self, user_data: &[u8; 64], deadline: &Deadline) -> Result<Report, AttesterError> {
        let mut backoff = Backoff::new();
        loop {
            match self.attempt(user_data, deadline)? {
                Attempt::Done(report) => return Ok(report),
                Attempt::Again(why) => {
                    deadline.doing(why);
                    deadline.pause(&mut backoff)?;
                }
            }
        }
    }

    fn attempt(&self, user_data: &[u8; 64], deadline: &Deadline) -> Result<Attempt, AttesterError> {
        deadline.doing("making a request with configfs-tsm");
        let folder = self.folder()?;
        if self.provider == Provider::SevGuest {
            // It counts as a write: before the generation is read.
            let level = self.privilege_level(&folder)?;
            folder.write("privlevel", level.as_bytes())?;
        }
        let before = folder.generation()?;
        match folder.tried("writing inblob", files::write_once(&folder.path.join("inblob"), user_data))? {
            Tried::Done(()) => {}
            Tried::Busy => return Ok(Attempt::Again(BUSY)),
        }
        deadline.doing("waiting for configfs-tsm to make the report (reading outblob)");
        let outblob = match folder.tried("reading outblob", files::read(&folder.path.join("outblob")))? {
            Tried::Done(outblob) => outblob,
            Tried::Busy => return Ok(Attempt::Again(BUSY)),
        };
        let auxblob = match self.provider {
            Provider::TdxGuest => Vec::new(),
            Provider::SevGuest => folder.read_optional("auxblob")?,
        };
        if folder.generation()? != before.wrapping_add(1) {
            return Ok(Attempt::Again("trying anew: somebody else wrote into the request"));
        }
        Ok(Attempt::Done(Report { outblob, auxblob }))
    }

    /// A new request, of the right provider.
    fn folder(&self) -> Result<Folder<'_>, AttesterError> {
        let mut random = [0; 8];
        crate::crypto::fill(&mut random).map_err(|_| AttesterError::Answer {
            attester: self.attester,
            what: "the system has no random bytes to give".into(),
        })?;
        let path = self.reports.join(format!("inclavared-{}-{}", std::process::id(), hex::encode(random)));
        fs::create_dir(&path).map_err(|error| self.explain("making a request's folder in configfs-tsm", error))?;
        let folder = Folder { tsm: self, path };
        let found = folder.text("provider")?;
        if found != self.provider.name() {
            return Err(AttesterError::Missing {
                attester: self.attester,
                what: format!("configfs-tsm's provider {} (it is {found})", self.provider),
                remedy: format!("this machine is of another kind; choose the attester for {found}, or `auto`"),
            });
        }
        Ok(folder)
    }

    /// The most privileged level that this guest may ask for: 0, unless it runs under a service module (SVSM).
    fn privilege_level(&self, folder: &Folder<'_>) -> Result<String, AttesterError> {
        let floor = folder.read_optional("privlevel_floor")?;
        let floor = String::from_utf8_lossy(&floor);
        match floor.trim() {
            "" => Ok("0".into()),
            level if level.parse::<u8>().is_ok() => Ok(level.into()),
            other => Err(AttesterError::Answer {
                attester: self.attester,
                what: format!("configfs-tsm's privlevel_floor is {other:?}, no number"),
            }),
        }
    }

    fn explain(&self, doing: &str, source: io::Error) -> AttesterError {
        let module = self.provider.module();
        let remedy = match Errno::from_io_error(&source) {
            Some(Errno::NXIO) => format!("the kernel has no provider of reports: modprobe {module}"),
            Some(Errno::INVAL) => {
                "the provider takes no request of 64 bytes of user data at this privilege level (EINVAL)".into()
            }
            Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => format!(
                "{} must be writable: run as root or with CAP_DAC_OVERRIDE, and give a container the folder",
                self.reports.display()
            ),
            Some(Errno::TIMEDOUT) => "the host did not answer: its quoting service (QGS) is down or overloaded".into(),
            Some(Errno::IO | Errno::NODEV | Errno::OPNOTSUPP) => {
                "the host or the firmware refused: see dmesg here, and the quoting service on the host".into()
            }
            Some(Errno::NOENT) => "somebody else removed the request, or the interface is not whole".into(),
            _ => "see dmesg for what the kernel says of it".into(),
        };
        AttesterError::Refused { attester: self.attester, doing: doing.into(), remedy, source }
    }
}

impl fmt::Display for Tsm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configfs-tsm at {} has provider {}", self.reports.display(), self.provider)
    }
}

impl Provider {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::TdxGuest => "tdx_guest",
            Self::SevGuest => "sev_guest",
        }
    }

    fn module(self) -> &'static str {
        match self {
            Self::TdxGuest => "tdx_guest",
            Self::SevGuest => "sev-guest",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

enum Attempt {
    Done(Report),
    Again(&'static str),
}

enum Tried<T> {
    Done(T),
    Busy,
}

const BUSY: &str = "trying anew: configfs-tsm is busy (EBUSY); a report that the host has not answered blocks the next";

/// One request. Its folder goes with it: the kernel keeps what nobody removes.
struct Folder<'a> {
    tsm: &'a Tsm,
    path: PathBuf,
}

impl Folder<'_> {
    fn text(&self, attribute: &str) -> Result<String, AttesterError> {
        files::read_text(&self.path.join(attribute)).map_err(|error| self.error("reading", attribute, error))
    }

    fn generation(&self) -> Result<u64, AttesterError> {
        let text = self.text("generation")?;
        text.parse().map_err(|_| AttesterError::Answer {
            attester: self.tsm.attester,
            what: format!("configfs-tsm's generation is {text:?}, no number"),
        })
    }

    fn write(&self, attribute: &str, content: &[u8]) -> Result<(), AttesterError> {
        files::write_once(&self.path.join(attribute), content).map_err(|error| self.error("writing", attribute, error))
    }

    /// Empty if there is no such attribute: what a provider lacks is not shown.
    fn read_optional(&self, attribute: &str) -> Result<Vec<u8>, AttesterError> {
        match files::read(&self.path.join(attribute)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(|error| self.error("reading", attribute, error)),
        }
    }

    fn tried<T>(&self, doing: &str, result: io::Result<T>) -> Result<Tried<T>, AttesterError> {
        match result {
            Ok(value) => Ok(Tried::Done(value)),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::BUSY | Errno::AGAIN | Errno::INTR) => Ok(Tried::Busy),
                _ => Err(self.tsm.explain(&format!("{doing} of configfs-tsm"), error)),
            },
        }
    }

    fn error(&self, doing: &str, attribute: &str, error: io::Error) -> AttesterError {
        self.tsm.explain(&format!("{doing} {attribute} of configfs-tsm"), error)
    }
}

impl Drop for Folder<'_> {
    fn drop(&mut self) {
        // Nothing else can be done about a folder that the kernel will not give back; its name says whose it is.
        let _ = fs::remove_dir(&self.path);
    }
}
