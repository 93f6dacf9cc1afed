//! Disks below the driver: opened by the platform, reached through transfers.

use super::raw;
use alloc::string::String;
use core::fmt;
use core::ptr::NonNull;
use dm_protocol::{DevNo, Failure, Sector, Sectors};

/// What a transfer or a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// From the disk to memory.
    Read,
    /// From memory to the disk.
    Write,
    /// Make everything that was written before durable. No range, no data.
    Flush,
    /// Forget a range; reading it gives anything until it is written. No data.
    Discard,
    /// Make a range read as zeroes, by whatever means. No data.
    WriteZeroes,
}

impl Op {
    /// All of them, in the order of [`Op::index`].
    pub const ALL: [Self; 5] =
        [Self::Read, Self::Write, Self::Flush, Self::Discard, Self::WriteZeroes];

    /// Counts from 0.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// True if it changes what a device holds.
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Discard | Self::WriteZeroes)
    }

    /// True if memory belongs to it.
    #[must_use]
    pub const fn has_data(self) -> bool {
        matches!(self, Self::Read | Self::Write)
    }
}

/// One transfer between memory and a disk, as the platform sees it.
#[repr(C)]
#[derive(Debug)]
pub struct Transfer {
    /// What to do.
    pub op: Op,
    /// A write is durable when it is reported done.
    pub fua: bool,
    /// Where on the disk; 0 for a flush.
    pub sector: Sector,
    /// How much; 0 for a flush.
    pub count: Sectors,
    /// The memory, for reads and writes: `count` sectors that nobody else touches meanwhile.
    pub data: *mut u8,
    /// The platform's own, from submission to completion.
    pub scratch: [usize; 4],
}

/// An open disk as the platform describes it.
#[derive(Debug)]
pub struct DiskInfo {
    /// The open disk; closed with `dm_kern_disk_close`.
    pub handle: NonNull<()>,
    /// The same for the same disk, however it was named.
    pub identity: [u64; 2],
    /// Its number, if it has one; image files have none.
    pub devno: Option<DevNo>,
    /// Its path.
    pub name: String,
    /// Its size.
    pub size: Sectors,
    /// Bytes in one of its sectors: a power of two from 512 to 65536.
    pub sector_size: u32,
    /// It takes discards.
    pub discard: bool,
}

/// An open disk; closed when dropped, in thread context.
///
/// # Invariants
/// `info.handle` is an open disk of the platform, closed only by our drop.
pub struct Disk {
    info: DiskInfo,
    write: bool,
}

// SAFETY: the platform's disks may be used from every thread.
unsafe impl Send for Disk {}
// SAFETY: as above; transfers on one disk may be submitted at the same time.
unsafe impl Sync for Disk {}

impl Disk {
    /// Thread context. Opens the disk that a path or `major:minor` names.
    ///
    /// # Errors
    /// The platform's errno with its reason.
    pub fn open(spec: &str, write: bool) -> Result<Self, Failure> {
        let info = raw::dm_kern_disk_open(spec, write)?;
        Ok(Self { info, write })
    }

    /// What the platform told of it.
    #[must_use]
    pub const fn info(&self) -> &DiskInfo {
        &self.info
    }

    /// True if it is open for writing.
    #[must_use]
    pub const fn writable(&self) -> bool {
        self.write
    }

    /// Strategy or completion context. Hands a transfer over.
    ///
    /// # Safety
    /// `transfer` is valid until the platform calls `entry::transfer_done` with it, and in range.
    pub(super) unsafe fn submit(&self, transfer: NonNull<Transfer>) {
        // SAFETY: the disk is open (type invariant); the rest is the caller's contract.
        unsafe { raw::dm_kern_disk_submit(self.info.handle, transfer) };
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // SAFETY: transfers borrow the disk through the table that holds it, so none is left.
        unsafe { raw::dm_kern_disk_close(self.info.handle) };
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.info.name.fmt(out)
    }
}
