//! What a device did since it was made. Each CPU counts for itself.

use crate::kern::clock;
use crate::kern::disk::Op;
use crate::kern::sync::atomic::{AtomicU64, Ordering};
use alloc::boxed::Box;
use core::array;
use dm_protocol::Sectors;

/// Counters of one kind of request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpCount {
    /// Requests that ended, with or without an error.
    pub requests: u64,
    /// Sectors of those that ended well.
    pub sectors: u64,
    /// Requests that ended with an error.
    pub errors: u64,
}

#[derive(Default)]
struct Counters {
    requests: AtomicU64,
    sectors: AtomicU64,
    errors: AtomicU64,
}

/// One CPU's counters, by [`Op::index`].
#[repr(align(128))]
#[derive(Default)]
struct Slot {
    ops: [Counters; Op::ALL.len()],
}

/// All counters of a device.
pub struct Stats {
    slots: Box<[Slot]>,
}

impl Stats {
    /// All zero.
    #[must_use]
    pub fn new() -> Self {
        Self { slots: (0..clock::slot_count()).map(|_| Slot::default()).collect() }
    }

    /// Any context. Counts the end of a request in a slot of the gate.
    #[inline]
    pub fn count(&self, slot: usize, op: Op, sectors: Sectors, failed: bool) {
        let Some(counters) = self.slots.get(slot).and_then(|s| s.ops.get(op.index())) else {
            return;
        };
        counters.requests.fetch_add(1, Ordering::Relaxed);
        if failed {
            counters.errors.fetch_add(1, Ordering::Relaxed);
        } else {
            counters.sectors.fetch_add(sectors.0, Ordering::Relaxed);
        }
    }

    /// The sum over all CPUs, by [`Op::index`].
    #[must_use]
    pub fn total(&self) -> [OpCount; Op::ALL.len()] {
        array::from_fn(|op| {
            let mut total = OpCount::default();
            for counters in self.slots.iter().filter_map(|slot| slot.ops.get(op)) {
                let add = |sum: &mut u64, one: &AtomicU64| {
                    *sum = sum.wrapping_add(one.load(Ordering::Relaxed));
                };
                add(&mut total.requests, &counters.requests);
                add(&mut total.sectors, &counters.sectors);
                add(&mut total.errors, &counters.errors);
            }
            total
        })
    }
}

impl Default for Stats {
    fn default() -> Self {
        Self::new()
    }
}
