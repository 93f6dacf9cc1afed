//! The file system: one folder, one file a device.

use super::answer::system;
use super::file::OpenFile;
use super::file_name;
use crate::front::{Registry, Shown};
use crate::mapped::Mapped;
use dm::driver::Driver;
use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyOpen, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};
use rustix::fs::{FallocateFlags, OFlags};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

/// The kernel asks each time: sizes and names change without its doing.
const ASK_AGAIN: Duration = Duration::ZERO;

/// The largest transfer, in bytes.
const TRANSFER_MAX: u32 = 1 << 20;

/// Asks for a disk's size in bytes (linux/fs.h).
const BLKGETSIZE64: u32 = 0x8008_1272;

/// Who may do what with a device's file.
#[derive(Clone, Copy)]
struct Access {
    mode: u16,
    uid: u32,
    gid: u32,
}

/// The file system.
pub struct Tree {
    driver: Arc<Driver>,
    registry: Arc<Registry>,
    started: SystemTime,
    handles: AtomicU64,
    open: RwLock<HashMap<u64, Arc<OpenFile>>>,
    access: Mutex<HashMap<u32, Access>>,
}

impl Tree {
    /// The devices of a driver.
    pub fn new(driver: Arc<Driver>, registry: Arc<Registry>) -> Self {
        Self {
            driver,
            registry,
            started: SystemTime::now(),
            handles: AtomicU64::new(1),
            open: RwLock::default(),
            access: Mutex::default(),
        }
    }

    fn shown(&self, ino: INodeNo) -> Option<Arc<Shown>> {
        self.registry.by_minor(minor_of(ino)?)
    }

    fn file(&self, handle: FileHandle) -> Option<Arc<OpenFile>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(&handle.0).cloned()
    }

    fn access(&self, minor: u32) -> Access {
        let ours = || Access {
            mode: 0o600,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        held(&self.access).get(&minor).copied().unwrap_or_else(ours)
    }

    /// What stat(2) shows.
    fn attributes(&self, ino: INodeNo) -> Option<FileAttr> {
        if ino == INodeNo::ROOT {
            let access = Access { mode: 0o755, ..self.access(0) };
            return Some(self.attr(ino, FileType::Directory, 0, 512, access));
        }
        let shown = self.shown(ino)?;
        let mut access = self.access(shown.minor);
        if shown.readonly {
            access.mode &= !0o222;
        }
        let size = shown.size.bytes().unwrap_or(u64::MAX);
        Some(self.attr(ino, FileType::RegularFile, size, shown.sector_size.max(4096), access))
    }

    fn attr(
        &self,
        ino: INodeNo,
        kind: FileType,
        size: u64,
        blksize: u32,
        access: Access,
    ) -> FileAttr {
        let time = self.started;
        FileAttr {
            ino,
            size,
            blocks: size / 512,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm: access.mode,
            nlink: 1,
            uid: access.uid,
            gid: access.gid,
            rdev: 0,
            blksize,
            flags: 0,
        }
    }

    fn open_file(&self, ino: INodeNo, write: bool) -> Result<u64, Errno> {
        let minor = minor_of(ino).ok_or(Errno::EISDIR)?;
        let mapped = Mapped::open(&self.driver, minor, write).map_err(system)?;
        let handle = self.handles.fetch_add(1, Ordering::Relaxed);
        let file = Arc::new(OpenFile::new(mapped));
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.insert(handle, file);
        Ok(handle)
    }
}

/// The root is 1, and minor numbers start at 1.
fn inode(minor: u32) -> INodeNo {
    INodeNo(u64::from(minor) + 1)
}

fn minor_of(ino: INodeNo) -> Option<u32> {
    u32::try_from(ino.0.checked_sub(1)?).ok().filter(|minor| *minor > 0)
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Filesystem for Tree {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // What an older kernel does not know it does without.
        let _ = config.set_max_write(TRANSFER_MAX);
        let _ = config.set_max_background(64);
        let _ = config.add_capabilities(InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let minor = name.to_str().and_then(|name| name.strip_prefix("dm-"));
        let minor = minor.and_then(|minor| minor.parse::<u32>().ok());
        let there = minor.filter(|_| parent == INodeNo::ROOT).map(inode);
        match there.and_then(|ino| self.attributes(ino)) {
            Some(attr) => reply.entry(&ASK_AGAIN, &attr, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        match self.attributes(ino) {
            Some(attr) => reply.attr(&ASK_AGAIN, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    /// Mode and owner are kept; sizes and times are those of a disk, whatever is asked.
    fn setattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        _size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        if let (Some(shown), true) =
            (self.shown(ino), mode.is_some() || uid.is_some() || gid.is_some())
        {
            let mut access = self.access(shown.minor);
            access.mode = mode.map_or(access.mode, |mode| (mode & 0o777) as u16);
            access.uid = uid.unwrap_or(access.uid);
            access.gid = gid.unwrap_or(access.gid);
            let mut all = held(&self.access);
            all.retain(|minor, _| self.registry.by_minor(*minor).is_some());
            all.insert(shown.minor, access);
        }
        match self.attributes(ino) {
            Some(attr) => reply.attr(&ASK_AGAIN, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let write =
            OFlags::from_bits_retain(flags.0 as u32).intersects(OFlags::WRONLY | OFlags::RDWR);
        let how = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
        match self.open_file(ino, write) {
            Ok(handle) => reply.opened(FileHandle(handle), how),
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.file(handle) {
            Some(file) => file.read(offset, size, reply),
            None => reply.error(Errno::EBADF),
        }
    }

    fn write(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let fua = OFlags::from_bits_retain(flags.0 as u32).intersects(OFlags::DSYNC);
        match self.file(handle) {
            Some(file) => file.write(offset, data, fua, reply),
            None => reply.error(Errno::EBADF),
        }
    }

    /// Nothing is kept back, so closing flushes nothing.
    fn flush(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn release(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let file = {
            let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            open.remove(&handle.0)
        };
        drop(file);
        reply.ok();
    }

    fn fsync(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        match self.file(handle) {
            Some(file) => file.sync(reply),
            None => reply.error(Errno::EBADF),
        }
    }

    fn fallocate(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let Some(file) = self.file(handle) else { return reply.error(Errno::EBADF) };
        let mode = FallocateFlags::from_bits_retain(mode as u32);
        let zeroes = FallocateFlags::PUNCH_HOLE | FallocateFlags::ZERO_RANGE;
        if mode.intersects(zeroes) {
            file.zero(offset, length, reply);
        } else if (mode - FallocateFlags::KEEP_SIZE).is_empty() {
            // A disk has its space already.
            reply.ok();
        } else {
            reply.error(Errno::EOPNOTSUPP);
        }
    }

    /// Of a disk's ioctls only those can be answered whose size the kernel knows.
    fn ioctl(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        command: u32,
        _data: &[u8],
        _room: u32,
        reply: ReplyIoctl,
    ) {
        match self.shown(ino) {
            Some(shown) if command == BLKGETSIZE64 => {
                let size = shown.size.bytes().unwrap_or(u64::MAX);
                reply.ioctl(0, &size.to_ne_bytes());
            }
            _ => reply.error(Errno::ENOTTY),
        }
    }

    fn readdir(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        if ino != INodeNo::ROOT {
            return reply.error(Errno::ENOTDIR);
        }
        // An entry's cookie is its inode number, so that devices may come and go meanwhile.
        let folders = [(1, "."), (2, "..")]
            .into_iter()
            .map(|(cookie, name)| (cookie, INodeNo::ROOT, FileType::Directory, name.into()));
        let devices = self.registry.list().into_iter().map(|shown| {
            let ino = inode(shown.minor);
            (ino.0 + 2, ino, FileType::RegularFile, file_name(shown.minor))
        });
        for (cookie, ino, kind, name) in folders.into_iter().chain(devices) {
            if cookie > offset && reply.add(ino, cookie, kind, &name) {
                break;
            }
        }
        reply.ok();
    }

    fn getxattr(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _name: &OsStr,
        _size: u32,
        reply: ReplyXattr,
    ) {
        reply.error(Errno::EOPNOTSUPP);
    }
}
