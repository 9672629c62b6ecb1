//! A machine with attestation interfaces, each with the rules of its kernel driver or library OS, and with what can go
//! wrong in it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use rustix::io::Errno;

use super::super::gate::lock;
use super::fuse::{Kind, System};
use super::{Pen, memory};

/// What a machine has. Empty by default.
#[derive(Default)]
pub(super) struct Machine {
    pub(super) gramine: Option<Gramine>,
    pub(super) occlum: Option<Occlum>,
    pub(super) tsm: Option<TsmKernel>,
    pub(super) tdx_guest: Option<TdxGuest>,
    pub(super) sev_guest: Option<SevGuest>,
}

/// Gramine's pseudo-files: one buffer for the whole process.
pub(super) struct Gramine {
    pub(super) kind: &'static str,
    pub(super) pen: Pen,
    pub(super) user_report_data: Mutex<Vec<u8>>,
    /// How often something else in the process writes between our write and our read.
    pub(super) meddling: AtomicUsize,
}

/// Occlum's `/dev/sgx`.
pub(super) struct Occlum {
    pub(super) pen: Pen,
    pub(super) fault: Option<Errno>,
}

/// Linux `drivers/virt/coco/guest/report.c` with one provider.
pub(super) struct TsmKernel {
    /// `None`: no provider is registered.
    pub(super) provider: Mutex<Option<&'static str>>,
    pub(super) pen: Pen,
    pub(super) auxblob: Vec<u8>,
    pub(super) privlevel_floor: Option<u8>,
    pub(super) requests: Mutex<BTreeMap<String, TsmRequest>>,
    /// What the next reads of `outblob` fail with.
    pub(super) faults: Mutex<VecDeque<Errno>>,
    /// How often somebody else writes between our write and our read.
    pub(super) meddling: AtomicUsize,
    /// Whether the host answers.
    pub(super) host: Host,
    pub(super) made: AtomicUsize,
    making: AtomicUsize,
    /// How many reports were asked for at once.
    pub(super) most_at_once: AtomicUsize,
    pub(super) removed: AtomicUsize,
}

#[derive(Clone, Default)]
pub(super) struct TsmRequest {
    inblob: Vec<u8>,
    privlevel: Option<u8>,
    write_generation: u64,
    /// Of the write generation that it belongs to.
    outblob: Option<(u64, Vec<u8>)>,
}

/// A host that can be told to stop answering.
#[derive(Default)]
pub(super) struct Host {
    silent: Mutex<bool>,
    changed: Condvar,
}

/// `/dev/tdx_guest`.
#[derive(Default)]
pub(super) struct TdxGuest {
    pub(super) fault: Option<Errno>,
    pub(super) other_user_data: bool,
}

/// `/dev/sev-guest`.
pub(super) struct SevGuest {
    pub(super) pen: Pen,
    /// MSG_REPORT_RSP's status.
    pub(super) status: u32,
    /// The error, and `exitinfo2`.
    pub(super) fault: Option<(Errno, u64)>,
}

impl Gramine {
    pub(super) fn new(pen: Pen) -> Self {
        Self { kind: "dcap", pen, user_report_data: Mutex::default(), meddling: AtomicUsize::default() }
    }
}

impl TsmKernel {
    pub(super) fn new(provider: &'static str, pen: Pen) -> Self {
        Self {
            provider: Mutex::new(Some(provider)),
            pen,
            auxblob: Vec::new(),
            privlevel_floor: None,
            requests: Mutex::default(),
            faults: Mutex::default(),
            meddling: AtomicUsize::default(),
            host: Host::default(),
            made: AtomicUsize::default(),
            making: AtomicUsize::default(),
            most_at_once: AtomicUsize::default(),
            removed: AtomicUsize::default(),
        }
    }

    fn provider(&self) -> Result<&'static str, Errno> {
        lock(&self.provider).ok_or(Errno::NXIO)
    }

    fn is_snp(&self) -> bool {
        *lock(&self.provider) == Some("sev_guest")
    }

    fn attributes(&self) -> Vec<&'static str> {
        let mut names = vec!["inblob", "outblob", "generation", "provider"];
        if self.is_snp() {
            names.extend(["privlevel", "auxblob"]);
            names.extend(self.privlevel_floor.map(|_| "privlevel_floor"));
        }
        names
    }

    fn with<T>(&self, request: &str, change: impl FnOnce(&mut TsmRequest) -> T) -> Result<T, Errno> {
        lock(&self.requests).get_mut(request).map(change).ok_or(Errno::NOENT)
    }

    fn read(&self, request: &str, attribute: &str) -> Result<Vec<u8>, Errno> {
        match attribute {
            "provider" => Ok(format!("{}\n", self.provider()?).into()),
            "generation" => self.with(request, |request| format!("{}\n", request.write_generation).into()),
            "privlevel_floor" => Ok(format!("{}\n", self.privlevel_floor.ok_or(Errno::NOENT)?).into()),
            "outblob" => self.outblob(request),
            "auxblob" => {
                self.outblob(request)?;
                Ok(self.auxblob.clone())
            }
            _ => Err(Errno::ACCESS),
        }
    }

    fn outblob(&self, name: &str) -> Result<Vec<u8>, Errno> {
        self.provider()?;
        let mut request = self.with(name, |request| request.clone())?;
        // Before the report is made: the same request answers again with what it has.
        if let Some((generation, outblob)) = &request.outblob
            && *generation == request.write_generation
        {
            return Ok(outblob.clone());
        }
        if count_down(&self.meddling) {
            self.with(name, |request| request.write([9; 64].into()))?;
            request = self.with(name, |request| request.clone())?;
        }
        if request.inblob.len() != 64 {
            return Err(Errno::INVAL);
        }
        if self.is_snp() && request.privlevel.unwrap_or(0) < self.privlevel_floor.unwrap_or(0) {
            return Err(Errno::INVAL);
        }
        if let Some(fault) = lock(&self.faults).pop_front() {
            return Err(fault);
        }
        let at_once = self.making.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        self.host.answer();
        let outblob = (self.pen)(&request.inblob.clone().try_into().unwrap());
        self.making.fetch_sub(1, Ordering::SeqCst);
        self.made.fetch_add(1, Ordering::SeqCst);
        self.with(name, |kept| kept.outblob = Some((request.write_generation, outblob.clone())))?;
        Ok(outblob)
    }

    fn write(&self, request: &str, attribute: &str, bytes: &[u8], before: usize) -> Result<(), Errno> {
        self.provider()?;
        match attribute {
            // One write, which takes effect when the file is closed.
            "inblob" if before > 0 => Err(Errno::INVAL),
            "inblob" if bytes.len() > 64 => Err(Errno::FBIG),
            "inblob" => Ok(()),
            "privlevel" => {
                let level = std::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok());
                let level: u8 = level.ok_or(Errno::INVAL)?;
                if level > 3 || level < self.privlevel_floor.unwrap_or(0) {
                    return Err(Errno::INVAL);
                }
                self.with(request, |request| {
                    request.privlevel = Some(level);
                    request.write_generation += 1;
                })
            }
            _ => Err(Errno::ACCESS),
        }
    }
}

impl TsmRequest {
    fn write(&mut self, inblob: Vec<u8>) {
        self.inblob = inblob;
        self.write_generation += 1;
    }
}

impl Host {
    pub(super) fn set_silent(&self, silent: bool) {
        *lock(&self.silent) = silent;
        self.changed.notify_all();
    }

    fn answer(&self) {
        // A quote takes a moment, in which others can come.
        let wait = self.changed.wait_timeout(lock(&self.silent), Duration::from_millis(3)).unwrap().0;
        drop(self.changed.wait_while(wait, |silent| *silent).unwrap());
    }
}

impl Machine {
    /// The files that are there, without those of requests.
    fn files(&self) -> Vec<&'static str> {
        let mut files = Vec::new();
        if self.gramine.is_some() {
            files.extend(["attestation_type", "user_report_data", "quote"].map(|name| match name {
                "attestation_type" => "dev/attestation/attestation_type",
                "quote" => "dev/attestation/quote",
                _ => "dev/attestation/user_report_data",
            }));
        }
        files.extend(self.occlum.as_ref().map(|_| "dev/sgx"));
        files.extend(self.tdx_guest.as_ref().map(|_| "dev/tdx_guest"));
        files.extend(self.sev_guest.as_ref().map(|_| "dev/sev-guest"));
        files
    }
}

impl System for Machine {
    fn kind(&self, path: &str) -> Option<Kind> {
        if let Some((tsm, request)) = self.tsm.as_ref().zip(path.strip_prefix(REPORTS)) {
            return match request.split_once('/') {
                None => lock(&tsm.requests).contains_key(request).then_some(Kind::Folder),
                Some((request, attribute)) => {
                    let there = lock(&tsm.requests).contains_key(request) && tsm.attributes().contains(&attribute);
                    there.then_some(Kind::File)
                }
            };
        }
        match path {
            "" | "dev" | "etc" | "config" => Some(Kind::Folder),
            "dev/attestation" => self.gramine.as_ref().map(|_| Kind::Folder),
            "config/tsm" | "config/tsm/report" => self.tsm.as_ref().map(|_| Kind::Folder),
            file => self.files().contains(&file).then_some(Kind::File),
        }
    }

    fn list(&self, path: &str) -> Vec<String> {
        match (&self.tsm, path) {
            (Some(tsm), "config/tsm/report") => lock(&tsm.requests).keys().cloned().collect(),
            _ => Vec::new(),
        }
    }

    fn make_folder(&self, path: &str) -> Result<(), Errno> {
        let (tsm, request) = self.tsm.as_ref().zip(path.strip_prefix(REPORTS)).ok_or(Errno::PERM)?;
        tsm.provider()?;
        lock(&tsm.requests).insert(request.into(), TsmRequest::default());
        Ok(())
    }

    fn remove_folder(&self, path: &str) -> Result<(), Errno> {
        let (tsm, request) = self.tsm.as_ref().zip(path.strip_prefix(REPORTS)).ok_or(Errno::PERM)?;
        lock(&tsm.requests).remove(request).ok_or(Errno::NOENT)?;
        tsm.removed.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, Errno> {
        if let Some((tsm, request)) = self.tsm.as_ref().zip(path.strip_prefix(REPORTS)) {
            let (request, attribute) = request.split_once('/').ok_or(Errno::ISDIR)?;
            return tsm.read(request, attribute);
        }
        let gramine = self.gramine.as_ref().ok_or(Errno::INVAL)?;
        match path {
            "dev/attestation/attestation_type" => Ok(gramine.kind.into()),
            "dev/attestation/quote" => {
                if count_down(&gramine.meddling) {
                    *lock(&gramine.user_report_data) = vec![9; 64];
                }
                let user_data = lock(&gramine.user_report_data).clone();
                Ok((gramine.pen)(&user_data.try_into().map_err(|_| Errno::INVAL)?))
            }
            _ => Err(Errno::INVAL),
        }
    }

    fn write(&self, path: &str, bytes: &[u8], before: usize) -> Result<(), Errno> {
        if let Some((tsm, request)) = self.tsm.as_ref().zip(path.strip_prefix(REPORTS)) {
            let (request, attribute) = request.split_once('/').ok_or(Errno::ISDIR)?;
            return tsm.write(request, attribute, bytes, before);
        }
        match (&self.gramine, path) {
            (Some(gramine), "dev/attestation/user_report_data") if before == 0 => {
                *lock(&gramine.user_report_data) = bytes.to_vec();
                Ok(())
            }
            _ => Err(Errno::ACCESS),
        }
    }

    fn close(&self, path: &str, written: &[u8]) -> Result<(), Errno> {
        match self
            .tsm
            .as_ref()
            .zip(path.strip_prefix(REPORTS))
            .and_then(|(tsm, path)| Some((tsm, path.split_once('/')?)))
        {
            Some((tsm, (request, "inblob"))) => tsm.with(request, |request| request.write(written.to_vec())),
            _ => Ok(()),
        }
    }

    /// The numbers and the layouts stand here as bytes, on purpose not by the driver's own names.
    fn ioctl(&self, path: &str, request: u32, input: &[u8]) -> Result<Vec<u8>, (Errno, Vec<u8>)> {
        match (path, request) {
            ("dev/sgx", 0x8004_7307) => {
                assert_eq!(input.len(), 0, "the request reads nothing");
                Ok(8192u32.to_le_bytes().to_vec())
            }
            ("dev/sgx", 0xC018_7308) => {
                self.occlum.as_ref().ok_or(Errno::NODEV).and_then(|occlum| occlum.quote(input)).map_err(plain)
            }
            ("dev/tdx_guest", 0xC440_5401) => {
                self.tdx_guest.as_ref().ok_or(Errno::NODEV).and_then(|device| device.report(input)).map_err(plain)
            }
            ("dev/sev-guest", 0xC020_5300) => match &self.sev_guest {
                Some(device) => device.report(input),
                None => Err(plain(Errno::NODEV)),
            },
            _ => Err(plain(Errno::NOTTY)),
        }
    }
}

impl Occlum {
    /// Three pointers: report data, length in and out, quote.
    fn quote(&self, input: &[u8]) -> Result<Vec<u8>, Errno> {
        assert_eq!(input.len(), 24);
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let (report_data, len, quote) = (u64_at(input, 0), u64_at(input, 8), u64_at(input, 16));
        let room = u32::from_le_bytes(memory::read(len)?);
        assert_eq!(room, 8192, "the length is stated before the call");
        let made = (self.pen)(&memory::read(report_data)?);
        memory::write(quote, &made)?;
        memory::write(len, &(made.len() as u32).to_le_bytes())?;
        Ok(input.to_vec())
    }
}

impl TdxGuest {
    /// REPORTDATA in front, TDREPORT behind it.
    fn report(&self, input: &[u8]) -> Result<Vec<u8>, Errno> {
        assert_eq!(input.len(), 64 + 1024);
        assert_eq!(input[64..], [0; 1024]);
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let mut output = input.to_vec();
        output[64] = 0x81;
        output[64 + 128..][..64].copy_from_slice(&input[..64]);
        if self.other_user_data {
            output[64 + 128] ^= 1;
        }
        output[64 + 1023] = 0xEE;
        Ok(output)
    }
}

impl SevGuest {
    /// Version, seven bytes of nothing, two pointers, `exitinfo2`.
    fn report(&self, input: &[u8]) -> Result<Vec<u8>, (Errno, Vec<u8>)> {
        assert_eq!(input.len(), 32);
        assert_eq!(input[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
        if let Some((errno, exit_info)) = self.fault {
            return Err((errno, [&input[..24], &exit_info.to_le_bytes()].concat()));
        }
        let request: [u8; 96] = memory::read(u64_at(input, 8)).map_err(plain)?;
        assert_eq!(request[64..], [0; 32], "VMPL 0 and reserved bytes");
        let report = (self.pen)(&request[..64].try_into().unwrap());
        let mut response = [0; 4000];
        response[..4].copy_from_slice(&self.status.to_le_bytes());
        response[4..8].copy_from_slice(&(report.len() as u32).to_le_bytes());
        response[0x20..][..report.len()].copy_from_slice(&report);
        memory::write(u64_at(input, 16), &response).map_err(plain)?;
        Ok(input.to_vec())
    }
}

fn plain(error: Errno) -> (Errno, Vec<u8>) {
    (error, Vec::new())
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
}

/// Whether there was something left to count.
fn count_down(counter: &AtomicUsize) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

const REPORTS: &str = "config/tsm/report/";
