//! Time and place.

use super::raw;

/// Nanoseconds since some start.
#[must_use]
pub fn now_ns() -> u64 {
    raw::dm_kern_clock_ns()
}

/// Where to count, among `slots`, so that CPUs do not share a cache line. `slots` is a power of
/// two.
#[must_use]
#[inline]
pub fn slot(slots: usize) -> usize {
    raw::dm_kern_slot() & slots.wrapping_sub(1)
}

/// How many CPUs there are, at least 1.
#[must_use]
pub fn cpu_count() -> usize {
    raw::dm_kern_slot_count().max(1)
}

/// How many slots a counter needs: a power of two, at most 64.
#[must_use]
pub fn slot_count() -> usize {
    raw::dm_kern_slot_count().clamp(1, 64).next_power_of_two()
}
