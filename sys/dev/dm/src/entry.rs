//! What platforms call besides commands: requests from above, ended transfers from below.

use crate::driver::Opened;
use crate::io;
use crate::kern::cell::{IoCell, IoRef};
use crate::kern::child::Child;
use crate::kern::disk::{Op, Transfer};
use crate::kern::straight::Straight;
use core::ptr::NonNull;
use dm_protocol::{Errno, Sector, Sectors};

impl Opened {
    /// Strategy context. Hands a request over; its `done` is called once, in strategy or
    /// completion context, possibly before this returns.
    ///
    /// # Safety
    /// The cell is new, stays in its place and is not touched until `done`; likewise the data
    /// it points to, which is as long as it says. `self` is not dropped before `done`.
    pub unsafe fn strategy(&self, cell: NonNull<IoCell>) {
        // SAFETY: the caller's contract, and the device lives while it is open.
        io::start(unsafe { IoRef::take(cell, self.device()) });
    }

    /// Strategy context. For a read or a write that lies on one disk in order, and is not
    /// asked to be durable: the disk's handle and the sector there. The platform sends it
    /// itself, and says when it is over, and how. None if it has to be handed over with
    /// [`Opened::strategy`].
    #[inline(always)]
    #[must_use]
    pub fn straight(
        &self,
        op: Op,
        at: Sector,
        count: Sectors,
    ) -> Option<(Straight<'_>, NonNull<()>, Sector)> {
        Straight::find(self.device(), op, at, count)
    }
}

/// Strategy or completion context. The platform finished a transfer.
///
/// # Safety
/// `transfer` was given to `dm_kern_disk_submit`, and this is called once for it.
pub unsafe fn transfer_done(transfer: NonNull<Transfer>, errno: Option<Errno>) {
    // SAFETY: the caller's contract.
    io::child_done(unsafe { Child::from_transfer(transfer) }, errno);
}
