//! What memory costs here: a chain of loads of which each needs the one before.

use crate::sample::busy_ns;
use std::hint::black_box;

/// A ring through an array, in an order that no prefetcher guesses.
pub struct Chase {
    next: Vec<Line>,
    at: u32,
}

/// One cache line.
#[repr(align(64))]
#[derive(Clone, Copy)]
struct Line(u32);

impl Chase {
    /// A ring through so many bytes.
    pub fn new(bytes: usize) -> Self {
        let count = bytes / size_of::<Line>();
        let mut order: Vec<u32> = (0..count as u32).collect();
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for last in (1..count).rev() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            order.swap(last, (state % (last as u64 + 1)) as usize);
        }
        let mut next = vec![Line(0); count];
        for (place, from) in order.iter().enumerate() {
            next[*from as usize] = Line(order[(place + 1) % count]);
        }
        Self { next, at: 0 }
    }

    /// Follows the ring for `count` loads; gives the nanoseconds of one.
    pub fn ns_per_load(&mut self, count: u32) -> f64 {
        let ns = busy_ns(|| {
            for _ in 0..count {
                self.at = black_box(self.next[self.at as usize].0);
            }
        });
        ns / f64::from(count)
    }
}
