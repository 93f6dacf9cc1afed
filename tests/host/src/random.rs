//! Random numbers with a seed that is printed, so that a failure can be repeated.

use crate::sync::panicking;

/// A small generator (splitmix64); not for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `end - 1`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end.max(1)
    }

    /// A number from `low` to `high`, both included.
    pub fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let at = self.below(of.len() as u64) as usize;
        &of[at]
    }

    /// Fills memory.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.draw().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// Runs `test` with several seeds: those of `DM_TEST_SEED` (one number), or the first `count`,
/// ten times as many with `DM_TEST_LONG`. The seed of a failure is printed.
pub fn seeds(count: u64, test: impl Fn(u64)) {
    /// Prints the seed when the test panics.
    struct Seed(u64);
    impl Drop for Seed {
        fn drop(&mut self) {
            if panicking() {
                eprintln!("repeat with DM_TEST_SEED={}", self.0);
            }
        }
    }
    let one = |seed| {
        let _told = Seed(seed);
        test(seed);
    };
    if let Some(seed) = std::env::var("DM_TEST_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return one(seed);
    }
    let count = if cfg!(miri) { 1 } else { count * if long() { 10 } else { 1 } };
    (1..=count).for_each(one);
}

/// True when the tests may take long: `DM_TEST_LONG` is set.
#[must_use]
pub fn long() -> bool {
    std::env::var_os("DM_TEST_LONG").is_some()
}
