//! A transfer that the driver handed over, as an owned value.

use super::context::NoSleep;
use dm::entry;
use dm::kern::disk::{Op, Transfer};
use dm_protocol::{Errno, SECTOR_SIZE};
use std::fmt;
use std::mem;
use std::ptr::NonNull;
use std::slice;

/// A transfer under way. It ends once: with [`Running::finish`], or with EIO when it is dropped.
///
/// # Invariants
/// `transfer` was handed over by the driver and is not given back yet.
pub struct Running {
    transfer: NonNull<Transfer>,
}

// SAFETY: a transfer may be ended by any thread, and its memory is nobody else's.
unsafe impl Send for Running {}
// SAFETY: a shared one is only looked at.
unsafe impl Sync for Running {}

impl Running {
    /// # Safety
    /// `transfer` was just handed over by the driver.
    pub(super) unsafe fn new(mut transfer: NonNull<Transfer>) -> Self {
        // SAFETY: the caller's contract: it is ours now.
        unsafe { transfer.as_mut() }.scratch = [0; 4];
        Self { transfer }
    }

    fn transfer(&self) -> &Transfer {
        // SAFETY: ours until it ends (type invariant).
        unsafe { self.transfer.as_ref() }
    }

    fn transfer_mut(&mut self) -> &mut Transfer {
        // SAFETY: as above, and borrowed mutably.
        unsafe { self.transfer.as_mut() }
    }

    /// What to do.
    #[must_use]
    pub fn op(&self) -> Op {
        self.transfer().op
    }

    /// A write is durable when it is reported done.
    #[must_use]
    pub fn fua(&self) -> bool {
        self.transfer().fua
    }

    /// The byte on the disk at which what is left of it begins.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.transfer().sector.0.saturating_mul(SECTOR_SIZE).saturating_add(self.progress() as u64)
    }

    /// How many bytes are left.
    #[must_use]
    pub fn length(&self) -> u64 {
        let length = self.transfer().count.0.saturating_mul(SECTOR_SIZE);
        length.saturating_sub(self.progress() as u64)
    }

    /// The memory of what is left; empty without data.
    pub fn data(&mut self) -> &mut [u8] {
        let (start, progress, length) = (self.transfer().data, self.progress(), self.length());
        if start.is_null() || !self.op().has_data() {
            return &mut [];
        }
        let length = usize::try_from(length).unwrap_or(0);
        // SAFETY: the memory has `count` sectors, and `advance` stays within.
        let start = unsafe { start.add(progress) };
        // SAFETY: as above; nobody else touches it until the transfer ends.
        unsafe { slice::from_raw_parts_mut(start, length) }
    }

    /// So many bytes of what is left are done.
    pub fn advance(&mut self, bytes: usize) {
        let left = usize::try_from(self.length()).unwrap_or(usize::MAX);
        self.transfer_mut().scratch[0] += bytes.min(left);
    }

    fn progress(&self) -> usize {
        self.transfer().scratch[0]
    }

    /// It is over.
    pub fn finish(self, result: Result<(), Errno>) {
        let transfer = self.transfer;
        mem::forget(self);
        let _context = NoSleep::enter();
        // SAFETY: not given back before (type invariant), and forgotten above.
        unsafe { entry::transfer_done(transfer, result.err()) };
    }
}

/// For the kernel's queue, which keeps transfers as numbers.
#[cfg(target_os = "linux")]
impl Running {
    /// A word of the disk's own, kept with the transfer.
    pub(super) fn word(&mut self) -> &mut usize {
        &mut self.transfer_mut().scratch[1]
    }

    /// As a pointer, for someone who keeps it.
    pub(super) fn into_raw(self) -> NonNull<Transfer> {
        let transfer = self.transfer;
        mem::forget(self);
        transfer
    }

    /// # Safety
    /// `transfer` came from `into_raw` and is taken back once.
    pub(super) const unsafe fn from_raw(transfer: NonNull<Transfer>) -> Self {
        Self { transfer }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let again = Self { transfer: self.transfer };
        again.finish(Err(Errno::EIO));
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?} of {} bytes at {}", self.op(), self.length(), self.offset())
    }
}
