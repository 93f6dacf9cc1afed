//! Numbers that look random and follow from a seed, for targets that hurt on purpose.

use crate::kern::sync::atomic::{AtomicU64, Ordering};

/// A series of numbers: a counter, mixed, so that any context may draw.
pub struct Draws {
    counter: AtomicU64,
}

impl Draws {
    /// The series of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { counter: AtomicU64::new(seed) }
    }

    /// Any context. The next number.
    pub fn draw(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut x = self.counter.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}
