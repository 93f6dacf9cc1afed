//! Requests that lie on one disk as they are, as most do: their platform sends them there
//! itself, and nothing has to be cut, counted or kept for them but their place at the gate.

use super::disk::Op;
use crate::device::Device;
use dm_protocol::{Errno, Sector, Sectors};

/// A request on its way to one disk.
///
/// # Invariants
/// The gate of `device` counts it in `slot` until it is dropped, so its table stays, and with
/// that the disk stays open.
pub struct Straight<'a> {
    device: &'a Device,
    slot: usize,
    op: Op,
    at: Sector,
    count: Sectors,
}

impl<'a> Straight<'a> {
    /// Strategy context. The disk's handle and where on it the range lies, if it is one range
    /// there and the device does this now.
    #[inline(always)]
    pub(crate) fn find(
        device: &'a Device,
        op: Op,
        at: Sector,
        count: Sectors,
    ) -> Option<(Self, core::ptr::NonNull<()>, Sector)> {
        let slot = device.gate.enter()?;
        let straight = Self { device, slot, op, at, count };
        if op.writes() && device.readonly() {
            return None;
        }
        // SAFETY: the gate counts us (type invariant).
        let table = unsafe { device.live.counted() }?;
        let (disk, sector) = table.straight(op, at, count)?;
        Some((straight, disk.info().handle, sector))
    }

    /// Completion context. The request is over.
    #[inline]
    pub fn end(self, errno: Option<Errno>) {
        if let Some(errno) = errno {
            self.tell(errno);
        }
        self.device.stats.count(self.slot, self.op, self.count, errno.is_some());
    }

    /// Tells the target of an error.
    #[cold]
    fn tell(&self, errno: Errno) {
        // SAFETY: the gate counts us (type invariant), so it is still the table of `find`.
        if let Some(table) = unsafe { self.device.live.counted() } {
            table.failed(self.op, self.at, self.count, errno);
        }
    }
}

impl Drop for Straight<'_> {
    fn drop(&mut self) {
        self.device.gate.leave(self.slot);
    }
}
