//! Disks below: each is open once, however often the driver asks for it.

use crate::glue;
use crate::transfer::{self, Queue};
use crate::unit;
use crate::vnode::{self, Vnode};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::ptr::{self, NonNull};
use dm::kern::disk::{DiskInfo, Transfer};
use dm::kern::sync::{Condition, Mutex, SpinMutex};
use dm::kern::thread::Worker;
use dm::protocol::{DevNo, Errno, Failure, SECTOR_SIZE, Sectors};

/// The disks that are open.
pub struct Disks(Mutex<Vec<Entry>>);

struct Entry {
    disk: NonNull<OpenDisk>,
    users: usize,
}

// SAFETY: the entry owns the disk.
unsafe impl Send for Entry {}

/// An open disk and the thread that does for it what sleeps. Each disk has its own, since
/// flushing one may have to wait for another.
pub struct OpenDisk {
    dev: u64,
    /// Tells it from those of the same device that were pulled out and still have users.
    number: u64,
    pub vnode: Vnode,
    later: SpinMutex<Later>,
    news: Condition,
    worker: Mutex<Option<Worker>>,
}

#[derive(Default)]
struct Later {
    queue: Queue,
    ended: bool,
}

impl OpenDisk {
    fn open(dev: u64, number: u64, write: bool) -> Result<NonNull<Self>, Errno> {
        let disk = NonNull::from(Box::leak(Box::new(Self {
            dev,
            number,
            vnode: Vnode::open(dev, write)?,
            later: SpinMutex::new(Later::default()),
            news: Condition::new(),
            worker: Mutex::new(None),
        })));
        let address = disk.as_ptr().expose_provenance();
        let worker = Worker::start("dmdisk", move || {
            // SAFETY: the disk is freed after this thread has ended.
            let disk = unsafe { &*ptr::with_exposed_provenance::<Self>(address) };
            while let Some(transfer) = disk.next() {
                transfer::work(transfer);
            }
        });
        match worker {
            Ok(worker) => {
                // SAFETY: made above.
                *unsafe { disk.as_ref() }.worker.lock() = Some(worker);
                Ok(disk)
            }
            Err(errno) => {
                // SAFETY: made above, and nobody else has it.
                unsafe { Self::close(disk) };
                Err(errno)
            }
        }
    }

    /// Thread context.
    ///
    /// # Safety
    /// From `open`, not used any more.
    unsafe fn close(disk: NonNull<Self>) {
        // SAFETY: the caller's contract.
        let open = unsafe { disk.as_ref() };
        open.later.lock().ended = true;
        open.news.broadcast();
        let worker = open.worker.lock().take();
        drop(worker);
        // SAFETY: the thread has ended, and the caller has no use for it.
        drop(unsafe { Box::from_raw(disk.as_ptr()) });
    }

    /// Any context. Leaves a transfer to the thread.
    pub fn later(&self, transfer: NonNull<Transfer>) {
        let mut later = self.later.lock();
        later.queue.push(transfer);
        self.news.broadcast();
    }

    fn next(&self) -> Option<NonNull<Transfer>> {
        let mut later = self.later.lock();
        loop {
            if let Some(transfer) = later.queue.pop() {
                return Some(transfer);
            }
            if later.ended {
                return None;
            }
            self.news.wait(&mut later);
        }
    }
}

impl Disks {
    pub fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    fn open(&self, dev: u64, write: bool) -> Result<(NonNull<OpenDisk>, u64, u32), Errno> {
        let mut disks = self.0.lock();
        // SAFETY: open while it is in the list.
        let open = |entry: &Entry| unsafe { entry.disk.as_ref() };
        // The kernel takes a vnode away whose disk was pulled out; another may have its number.
        let known = (0..disks.len()).filter(|&at| open(&disks[at]).dev == dev);
        let known = known.max_by_key(|&at| open(&disks[at]).number);
        let there = known.filter(|&at| open(&disks[at]).vnode.size().is_ok());
        let at = match there {
            Some(at) => at,
            None => {
                let number = known.map_or(0, |at| open(&disks[at]).number + 1);
                disks.push(Entry { disk: OpenDisk::open(dev, number, write)?, users: 0 });
                disks.len() - 1
            }
        };
        let disk = disks[at].disk;
        // SAFETY: as above.
        let open = unsafe { disk.as_ref() };
        let fit = match write && !open.vnode.writable() {
            true => Err(Errno::EROFS),
            false => open.vnode.size(),
        };
        if fit.is_ok() {
            disks[at].users += 1;
        } else if disks[at].users == 0 {
            let entry = disks.swap_remove(at);
            // SAFETY: just opened, and nobody has it.
            unsafe { OpenDisk::close(entry.disk) };
        }
        fit.map(|(count, bytes)| (disk, count, bytes))
    }

    /// Thread context. One user less; the last one closes.
    fn close(&self, disk: NonNull<OpenDisk>) {
        let mut disks = self.0.lock();
        let Some(at) = disks.iter().position(|entry| entry.disk == disk) else { return };
        disks[at].users -= 1;
        if disks[at].users == 0 {
            let entry = disks.swap_remove(at);
            // SAFETY: its last user is gone. Still under the lock: opening it anew before it
            // is closed would fail.
            unsafe { OpenDisk::close(entry.disk) };
        }
    }
}

#[unsafe(no_mangle)]
fn dm_kern_mapped_minor(spec: &str) -> Option<u32> {
    let glue = glue::get()?;
    let devno = DevNo::from_wire(vnode::block_device(spec).ok()?);
    (devno.major == glue.major).then_some(devno.minor)
}

#[unsafe(no_mangle)]
fn dm_kern_disk_open(spec: &str, write: bool) -> Result<DiskInfo, Failure> {
    let glue = glue::get().ok_or(Errno::ENXIO)?;
    let refused = |errno: Errno| {
        let why = match errno {
            Errno::ENOENT => "there is no such file",
            Errno::ENOTBLK => "it is not a block device",
            Errno::EBUSY => "it is in use",
            Errno::EROFS => "it is read-only",
            Errno::ENXIO => "there is no such device",
            _ => "it cannot be opened",
        };
        Failure::new(errno, format!("{spec}: {why}"))
    };
    let dev = vnode::device_of(spec).map_err(refused)?;
    let (disk, count, sector_size) = glue.disks.open(dev, write).map_err(refused)?;
    let size = count.saturating_mul(u64::from(sector_size) / SECTOR_SIZE);
    Ok(DiskInfo {
        handle: disk.cast(),
        // SAFETY: open, with a user from now on; so below.
        identity: [dev, unsafe { disk.as_ref() }.number],
        devno: Some(DevNo::from_wire(dev)),
        name: spec.to_string(),
        size: Sectors(size.min(unit::LARGEST)),
        sector_size,
        // SAFETY: as above.
        discard: unsafe { disk.as_ref() }.vnode.discards(),
    })
}

#[unsafe(no_mangle)]
unsafe fn dm_kern_disk_close(disk: NonNull<()>) {
    if let Some(glue) = glue::get() {
        glue.disks.close(disk.cast());
    }
}
