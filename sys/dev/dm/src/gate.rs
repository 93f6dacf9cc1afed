//! The gate of a device: who is inside, and may anybody enter.
//!
//! Requests enter before they look at the live table and leave when the last child is done,
//! so a table that nobody new can see and that nobody inside can still see may be freed.
//! Each CPU counts in a cache line of its own.
//!
//! # Invariants
//! A request leaves the slot it entered, so no slot's count is ever below the number of its
//! requests inside: once the gate is closed, a sum of zero means that nobody is inside.

use crate::kern::clock;
use crate::kern::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::kern::sync::{Condition, SpinMutex};
use alloc::boxed::Box;
use dm_protocol::Errno;

/// One CPU's count, alone in its cache lines.
#[repr(align(128))]
#[derive(Default)]
struct Slot {
    inside: AtomicUsize,
}

/// The gate of a device.
pub struct Gate {
    slots: Box<[Slot]>,
    closed: AtomicBool,
    drain: SpinMutex<()>,
    drained: Condition,
}

impl Gate {
    /// An open gate with nobody inside.
    #[must_use]
    pub fn new() -> Self {
        Self {
            slots: (0..clock::slot_count()).map(|_| Slot::default()).collect(),
            closed: AtomicBool::new(false),
            drain: SpinMutex::new(()),
            drained: Condition::new(),
        }
    }

    /// Any context. Enters unless the gate is closed; gives the slot to leave.
    #[inline]
    pub fn enter(&self) -> Option<usize> {
        let slot = self.enter_closed();
        // Either this sees the gate closed, or the closer sees the count.
        if self.closed.load(Ordering::SeqCst) {
            self.leave(slot);
            return None;
        }
        Some(slot)
    }

    /// Any context. Enters in any case: for requests that a suspended device makes itself, or
    /// that its queue gives free.
    #[inline]
    pub fn enter_closed(&self) -> usize {
        let slot = clock::slot(self.slots.len());
        if let Some(count) = self.slots.get(slot) {
            count.inside.fetch_add(1, Ordering::SeqCst);
        }
        slot
    }

    /// Any context. Leaves.
    #[inline]
    pub fn leave(&self, slot: usize) {
        if let Some(count) = self.slots.get(slot) {
            count.inside.fetch_sub(1, Ordering::SeqCst);
        }
        if self.closed.load(Ordering::SeqCst) {
            let _held = self.drain.lock();
            self.drained.broadcast();
        }
    }

    /// Any context. Lets nobody in any more.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Any context. Lets everybody in again.
    pub fn open(&self) {
        self.closed.store(false, Ordering::SeqCst);
    }

    /// True while nobody may enter.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// How many are inside; exact only when nobody comes or goes.
    #[must_use]
    pub fn inside(&self) -> usize {
        self.slots.iter().map(|slot| slot.inside.load(Ordering::SeqCst)).sum()
    }

    /// Thread context. Waits until nobody is inside a closed gate.
    ///
    /// # Errors
    /// EINTR when the caller's client gives up; requests may still be inside then.
    pub fn wait_drained(&self) -> Result<(), Errno> {
        use crate::kern::raw::Wake;
        let mut held = self.drain.lock();
        while self.inside() != 0 {
            if self.drained.wait_interruptible(&mut held, None) == Wake::Interrupted {
                return Err(Errno::EINTR);
            }
        }
        Ok(())
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}
