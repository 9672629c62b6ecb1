//! A filesystem whose files are made up by a [`System`].

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, IoctlFlags, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyIoctl, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::io::Errno;
use tempfile::TempDir;

use super::super::gate::lock;
use super::super::{DriverOptions, Roots};

/// What stands behind the files. Paths have no slash at the front; the root is empty.
pub(super) trait System: Send + Sync + 'static {
    fn kind(&self, path: &str) -> Option<Kind>;
    fn list(&self, path: &str) -> Vec<String>;
    fn make_folder(&self, path: &str) -> Result<(), Errno>;
    fn remove_folder(&self, path: &str) -> Result<(), Errno>;
    /// The whole content, asked for once for each opened file.
    fn read(&self, path: &str) -> Result<Vec<u8>, Errno>;
    /// One `write`; `before` is how many the opened file has seen.
    fn write(&self, path: &str, bytes: &[u8], before: usize) -> Result<(), Errno>;
    /// `close` of a file that was written.
    fn close(&self, path: &str, written: &[u8]) -> Result<(), Errno>;
    /// The error comes with what is written back nevertheless.
    fn ioctl(&self, path: &str, request: u32, input: &[u8]) -> Result<Vec<u8>, (Errno, Vec<u8>)>;
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Folder,
    File,
}

/// A mounted [`System`]; dropped, it is unmounted.
pub(super) struct Mounted<S> {
    pub(super) system: Arc<S>,
    pub(super) folder: PathBuf,
    // In this order: unmounted before the folder goes.
    _session: BackgroundSession,
    _temporary: TempDir,
}

impl<S: System> Mounted<S> {
    /// `None` where FUSE cannot be had, and says so. Where CI promised it, that is a failure.
    pub(super) fn new(system: S) -> Option<Self> {
        let system = Arc::new(system);
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("system");
        std::fs::create_dir(&folder).unwrap();
        let mut config = Config::default();
        // One that blocks must not stop the others.
        config.n_threads = Some(6);
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
        let mounted = device.and_then(|_| fuser::spawn_mount(Files::new(Arc::clone(&system)), &folder, &config));
        match mounted {
            Ok(session) => Some(Self { system, folder, _session: session, _temporary: temporary }),
            Err(error) if std::env::var_os("CI").is_some() => {
                panic!("CI must have /dev/fuse and the right to mount (root or fusermount3): {error}")
            }
            Err(error) => {
                eprintln!("SKIPPED: no FUSE here, so no stand-in for the attestation devices: {error}");
                None
            }
        }
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// The drivers' options that make them use this system.
    pub(super) fn options(&self, deadline: Duration) -> DriverOptions {
        DriverOptions { roots: roots(&self.folder), deadline, qgs: None }
    }
}

pub(super) fn roots(folder: &Path) -> Roots {
    Roots { dev: folder.join("dev"), configfs: folder.join("config"), etc: folder.join("etc") }
}

struct Files<S> {
    system: Arc<S>,
    /// The index is the inode's number less one; the first is the root.
    inodes: Mutex<Vec<String>>,
    open: Mutex<HashMap<u64, Open>>,
}

#[derive(Clone, Default)]
struct Open {
    path: String,
    content: Option<Vec<u8>>,
    written: Vec<u8>,
    writes: usize,
}

impl<S: System> Files<S> {
    fn new(system: Arc<S>) -> Self {
        Self { system, inodes: Mutex::new(vec![String::new()]), open: Mutex::default() }
    }

    fn path(&self, inode: INodeNo) -> String {
        lock(&self.inodes)[inode.0 as usize - 1].clone()
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> String {
        let (parent, name) = (self.path(parent), name.to_str().unwrap());
        if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") }
    }

    fn attributes(&self, path: &str) -> Option<FileAttr> {
        let kind = self.system.kind(path)?;
        let mut inodes = lock(&self.inodes);
        let index = inodes.iter().position(|known| known == path).unwrap_or_else(|| {
            inodes.push(path.to_owned());
            inodes.len() - 1
        });
        let (kind, perm) = match kind {
            Kind::Folder => (FileType::Directory, 0o755),
            Kind::File => (FileType::RegularFile, 0o600),
        };
        Some(FileAttr {
            ino: INodeNo(index as u64 + 1),
            size: 0,
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn entry(&self, path: &str, reply: ReplyEntry) {
        match self.attributes(path) {
            Some(attributes) => reply.entry(&NO_CACHE, &attributes, Generation(0)),
            None => reply.error(fuser::Errno::ENOENT),
        }
    }
}

impl<S: System> Filesystem for Files<S> {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entry(&self.child(parent, name), reply);
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(&self.path(inode)) {
            Some(attributes) => reply.attr(&NO_CACHE, &attributes),
            None => reply.error(fuser::Errno::ENOENT),
        }
    }

    /// Truncating has no meaning for these files.
    fn setattr(
        &self,
        _: &Request,
        _: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<std::time::SystemTime>,
        _: Option<FileHandle>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        reply.error(fuser::Errno::EPERM);
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let path = self.child(parent, name);
        match self.system.make_folder(&path) {
            Ok(()) => self.entry(&path, reply),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        match self.system.remove_folder(&self.child(parent, name)) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let mut open = lock(&self.open);
        let handle = open.keys().max().map_or(1, |highest| highest + 1);
        open.insert(handle, Open { path: self.path(inode), ..Open::default() });
        reply.opened(FileHandle(handle), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        // Not held while the system is asked: it may block.
        let Open { path, content, .. } = lock(&self.open)[&handle.0].clone();
        let content = match content.map_or_else(|| self.system.read(&path), Ok) {
            Ok(content) => content,
            Err(error) => return reply.error(errno(error)),
        };
        if let Some(open) = lock(&self.open).get_mut(&handle.0) {
            open.content = Some(content.clone());
        }
        let rest = content.get(offset as usize..).unwrap_or_default();
        reply.data(&rest[..rest.len().min(size as usize)]);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let Open { path, writes, .. } = lock(&self.open)[&handle.0].clone();
        match self.system.write(&path, data, writes) {
            Ok(()) => {
                if let Some(open) = lock(&self.open).get_mut(&handle.0) {
                    open.writes += 1;
                    open.written.extend(data);
                }
                reply.written(data.len() as u32);
            }
            Err(error) => reply.error(errno(error)),
        }
    }

    /// `close` waits for this one, and not for `release`.
    fn flush(&self, _: &Request, _: INodeNo, handle: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        let Open { path, writes, written, .. } = lock(&self.open)[&handle.0].clone();
        if writes > 0
            && let Err(error) = self.system.close(&path, &written)
        {
            return reply.error(errno(error));
        }
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        lock(&self.open).remove(&handle.0);
        reply.ok();
    }

    fn readdir(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let names = self.system.list(&self.path(inode));
        for (n, name) in names.iter().enumerate().skip(offset as usize) {
            // The number is a hint alone; it is looked up again.
            if reply.add(INodeNo(u64::MAX - n as u64), n as u64 + 1, FileType::Directory, name) {
                break;
            }
        }
        reply.ok();
    }

    fn ioctl(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        request: u32,
        input: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        match self.system.ioctl(&self.path(inode), request, input) {
            Ok(output) => reply.ioctl(0, &output),
            Err((error, output)) => reply.ioctl(-error.raw_os_error(), &output),
        }
    }
}

fn errno(error: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(error.raw_os_error())
}

const NO_CACHE: Duration = Duration::ZERO;
