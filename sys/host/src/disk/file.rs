//! Image files and block devices.
//!
//! Block devices are opened past the system's cache, image files through it. What the cache does
//! at once is done in the caller's thread: that takes 2 microseconds, handing it to another one
//! 20 or more. The rest goes to the engine: io_uring for what it does without threads of its own,
//! our threads otherwise.

use super::pool::Pool;
use super::{Backend, Description, Space, system};
use crate::errno;
use crate::kern::{Bounce, Running, Uring};
use dm::kern::disk::Op;
use dm_protocol::{DevNo, Errno, Failure, SECTOR_SIZE, Sectors};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno as System;
use std::env;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// Longest piece that is copied through aligned memory, or written as zeroes.
const PIECE: usize = 1 << 20;
/// Longest write that the caller's thread copies to the cache.
const SHORT: u64 = 256 << 10;
/// Alignment of memory for every disk.
const ALIGN: usize = 4096;

/// Who runs the transfers that may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Threads that wait.
    Threads,
    /// The kernel's queue, and threads for what it does not do.
    Uring,
}

impl Engine {
    /// The best one, unless `$DM_HOST_ENGINE` is `threads`.
    pub(super) fn preferred() -> Self {
        match env::var("DM_HOST_ENGINE").as_deref() {
            Ok("threads") => Self::Threads,
            _ if Uring::process().is_some() => Self::Uring,
            _ => Self::Threads,
        }
    }
}

/// A file, open.
pub struct FileDisk {
    file: File,
    name: String,
    identity: [u64; 2],
    devno: Option<DevNo>,
    size: Sectors,
    sector_size: u32,
    /// Past the cache: offsets, lengths and memory must be aligned.
    direct: bool,
    in_memory: bool,
    /// What is in the cache can be read without waiting.
    read_now: AtomicBool,
    discard: AtomicBool,
    zero: AtomicBool,
    engine: Engine,
    pool: &'static Pool,
    own: Weak<Self>,
}

/// A failure of a path, as a sentence.
pub fn failure(path: &str, error: &io::Error) -> Failure {
    let errno = errno::from_io(error);
    Failure::new(errno, format!("{path}: {errno}"))
}

/// Opens a file; for writing, nobody else may have it for that.
fn open_file(path: &str, write: bool, device: bool) -> Result<File, Failure> {
    let mut flags = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    if device {
        flags |= OFlags::DIRECT;
    }
    if device && write {
        // This also keeps others from mounting it.
        flags |= OFlags::EXCL;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(write).custom_flags(flags.bits().cast_signed());
    let file = options.open(path).map_err(|error| failure(path, &error))?;
    if write && !device {
        // File systems without locks leave it to the user.
        if flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(System::WOULDBLOCK) {
            let message = format!("{path}: another process has locked it");
            return Err(Failure::new(Errno::EBUSY, message));
        }
    }
    Ok(file)
}

fn pool() -> Result<&'static Pool, Failure> {
    static POOL: OnceLock<Option<Pool>> = OnceLock::new();
    let pool = POOL.get_or_init(|| Pool::start().ok()).as_ref();
    pool.ok_or_else(|| Failure::new(Errno::EAGAIN, "no threads for disks"))
}

impl FileDisk {
    /// Opens a file that was looked at already.
    pub fn open(
        path: &str,
        write: bool,
        identity: [u64; 2],
        engine: Engine,
    ) -> Result<Arc<Self>, Failure> {
        let device = identity[0] == Space::Device.number();
        Self::of(open_file(path, write, device)?, path, write, identity, engine)
    }

    /// The same file as it is now. It is not opened again, for it is open for us alone.
    pub fn renewed(&self, write: bool) -> Result<Arc<Self>, Failure> {
        let file = self.file.try_clone().map_err(|error| failure(&self.name, &error))?;
        Self::of(file, &self.name, write, self.identity, self.engine)
    }

    fn of(
        file: File,
        path: &str,
        write: bool,
        identity: [u64; 2],
        engine: Engine,
    ) -> Result<Arc<Self>, Failure> {
        let device = identity[0] == Space::Device.number();
        let meta = file.metadata().map_err(|error| failure(path, &error))?;
        let same = match meta.file_type().is_block_device() {
            true => identity == [Space::Device.number(), meta.rdev()],
            false => identity == [meta.dev(), meta.ino()],
        };
        if !same {
            return Err(Failure::new(
                Errno::EAGAIN,
                format!("{path}: changed while it was opened"),
            ));
        }
        let bytes = system::size(&file).map_err(|error| failure(path, &error))?;
        let size = Sectors::from_bytes(bytes);
        if size.is_zero() {
            return Err(Failure::new(Errno::EINVAL, format!("{path}: shorter than a sector")));
        }
        let sector_size = if device { system::sector_size(&file) } else { Ok(512) };
        let sector_size = sector_size.map_err(|error| failure(path, &error.into()))?;
        let devno = device.then(|| DevNo {
            major: rustix::fs::major(meta.rdev()),
            minor: rustix::fs::minor(meta.rdev()),
        });
        // Behind the end it changes nothing, and tells whether the file system knows how.
        let discard = device || write && system::punch(&file, bytes, SECTOR_SIZE).is_ok();
        let in_memory = !device && system::in_memory(&file);
        let pool = pool()?;
        Ok(Arc::new_cyclic(|own| Self {
            file,
            name: path.to_owned(),
            identity,
            devno,
            size,
            sector_size,
            direct: device,
            in_memory,
            read_now: AtomicBool::new(!device),
            discard: AtomicBool::new(discard),
            zero: AtomicBool::new(true),
            engine,
            pool,
            own: Weak::clone(own),
        }))
    }

    /// Did the file's size change since it was opened?
    pub fn resized(&self) -> bool {
        system::size(&self.file).is_ok_and(|bytes| Sectors::from_bytes(bytes) != self.size)
    }

    /// Does what a transfer asks for, waiting for it; it is for the caller to finish.
    pub fn transfer(&self, running: &mut Running) -> Result<(), Errno> {
        self.try_transfer(running).map_err(errno::from_system)
    }

    fn try_transfer(&self, running: &mut Running) -> rustix::io::Result<()> {
        let (offset, length) = (running.offset(), running.length());
        match running.op() {
            Op::Read | Op::Write => {
                while running.length() != 0 {
                    match self.step(running) {
                        Ok(0) => return Err(System::IO),
                        Ok(bytes) => running.advance(bytes),
                        Err(System::INTR) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            }
            Op::Flush => system::flush(&self.file),
            Op::Discard => self.discard(offset, length),
            Op::WriteZeroes => {
                self.write_zeroes(offset, length)?;
                if running.fua() { system::flush(&self.file) } else { Ok(()) }
            }
        }
    }

    fn step(&self, running: &mut Running) -> rustix::io::Result<usize> {
        let (offset, fua, write) = (running.offset(), running.fua(), running.op() == Op::Write);
        let data = running.data();
        if !self.suits(data) {
            return self.step_aligned(data, offset, write.then_some(fua));
        }
        match write {
            true => system::write(&self.file, data, offset, fua),
            false => system::read(&self.file, data, offset),
        }
    }

    /// Through aligned memory; `write` says whether it is durable, if it is one.
    fn step_aligned(
        &self,
        data: &mut [u8],
        offset: u64,
        write: Option<bool>,
    ) -> rustix::io::Result<usize> {
        let length = data.len().min(PIECE);
        let data = data.get_mut(..length).unwrap_or_default();
        let mut bounce = Bounce::new(length, ALIGN).ok_or(System::NOMEM)?;
        if let Some(durable) = write {
            bounce.bytes_mut().copy_from_slice(data);
            return system::write(&self.file, bounce.bytes(), offset, durable);
        }
        let bytes = system::read(&self.file, bounce.bytes_mut(), offset)?;
        for (to, from) in data.iter_mut().zip(bounce.bytes().iter().take(bytes)) {
            *to = *from;
        }
        Ok(bytes)
    }

    /// May this memory be transferred as it is?
    fn suits(&self, data: &[u8]) -> bool {
        !self.direct || data.as_ptr().addr().is_multiple_of(self.sector_size as usize)
    }

    fn discard(&self, offset: u64, length: u64) -> rustix::io::Result<()> {
        if !self.discard.load(Ordering::Relaxed) {
            return Err(System::OPNOTSUPP);
        }
        let done = match self.devno {
            Some(_) => system::discard(&self.file, offset, length),
            None => system::punch(&self.file, offset, length),
        };
        if done == Err(System::OPNOTSUPP) {
            self.discard.store(false, Ordering::Relaxed);
        }
        done
    }

    fn write_zeroes(&self, offset: u64, length: u64) -> rustix::io::Result<()> {
        if self.zero.load(Ordering::Relaxed) {
            match system::zero(&self.file, offset, length) {
                Err(System::OPNOTSUPP | System::NOSYS) => {
                    self.zero.store(false, Ordering::Relaxed);
                }
                done => return done,
            }
        }
        let piece = usize::try_from(length).unwrap_or(PIECE).min(PIECE);
        let zeroes = Bounce::new(piece, ALIGN).ok_or(System::NOMEM)?;
        let mut done = 0;
        while done < length {
            let left = usize::try_from(length - done).unwrap_or(piece).min(piece);
            let bytes = zeroes.bytes().get(..left).unwrap_or_default();
            match system::write(&self.file, bytes, offset + done, false) {
                Ok(0) => return Err(System::IO),
                Ok(written) => done += written as u64,
                Err(System::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what is in memory. Gives the transfer back when something is missing.
    fn read_cached(&self, mut running: Running) -> Option<Running> {
        while running.length() != 0 {
            let offset = running.offset();
            match system::read_now(&self.file, running.data(), offset) {
                Ok(bytes) if bytes != 0 => running.advance(bytes),
                Err(System::OPNOTSUPP | System::INVAL) => {
                    self.read_now.store(false, Ordering::Relaxed);
                    return Some(running);
                }
                _ => return Some(running),
            }
        }
        running.finish(Ok(()));
        None
    }

    /// Is it only copied to or from memory?
    fn quick(&self, running: &Running) -> bool {
        let cached = || !self.direct && !running.fua() && running.length() <= SHORT;
        // The ring's thread must not wait even for that, since all disks wait for it.
        self.in_memory || running.op() == Op::Write && cached() && !Uring::is_own_thread()
    }

    /// Does the kernel's queue do it without a thread?
    fn queueable(&self, running: &mut Running) -> bool {
        match running.op() {
            Op::Read => self.suits(running.data()),
            Op::Write => self.direct && self.suits(running.data()),
            Op::Flush | Op::Discard | Op::WriteZeroes => false,
        }
    }

    /// Runs a transfer in a thread that may wait.
    pub fn later(own: Arc<Self>, running: Running) {
        own.pool.submit(own, running);
    }
}

impl AsFd for FileDisk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Backend for FileDisk {
    fn describe(&self) -> Description {
        Description {
            identity: self.identity,
            devno: self.devno,
            name: self.name.clone(),
            size: self.size,
            sector_size: self.sector_size,
            discard: self.discard.load(Ordering::Relaxed),
        }
    }

    fn submit(&self, mut running: Running) {
        if self.quick(&running) {
            let result = self.transfer(&mut running);
            return running.finish(result);
        }
        if running.op() == Op::Read && self.read_now.load(Ordering::Relaxed) {
            match self.read_cached(running) {
                Some(rest) => running = rest,
                None => return,
            }
        }
        let Some(own) = self.own.upgrade() else { return running.finish(Err(Errno::EIO)) };
        let ring = Uring::process().filter(|_| self.engine == Engine::Uring);
        match ring.filter(|_| self.queueable(&mut running)) {
            Some(ring) => ring.submit(own, running),
            None => Self::later(own, running),
        }
    }
}
