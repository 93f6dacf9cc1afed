//! A bit for each of a number of things, and how many are set.

use alloc::vec::Vec;
use dm_protocol::Errno;

/// Bits, counted.
pub struct Bits {
    words: Vec<u64>,
    count: u64,
    ones: u64,
}

/// Where a bit is: its word, and its place there.
fn place(bit: u64) -> (usize, u64) {
    (usize::try_from(bit / 64).unwrap_or(usize::MAX), 1 << (bit % 64))
}

impl Bits {
    /// Thread context. So many, none of them set.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn new(count: u64) -> Result<Self, Errno> {
        let length = usize::try_from(count.div_ceil(64)).map_err(|_| Errno::ENOMEM)?;
        let mut words = Vec::new();
        words.try_reserve_exact(length).map_err(|_| Errno::ENOMEM)?;
        words.resize(length, 0);
        Ok(Self { words, count, ones: 0 })
    }

    /// How many are set.
    pub const fn ones(&self) -> u64 {
        self.ones
    }

    /// Is this one set?
    pub fn get(&self, bit: u64) -> bool {
        let (word, mask) = place(bit);
        self.words.get(word).is_some_and(|word| word & mask != 0)
    }

    /// Sets or clears one; true if it was different before.
    pub fn set(&mut self, bit: u64, on: bool) -> bool {
        if bit >= self.count || self.get(bit) == on {
            return false;
        }
        let (word, mask) = place(bit);
        if let Some(word) = self.words.get_mut(word) {
            *word ^= mask;
        }
        self.ones = if on { self.ones.saturating_add(1) } else { self.ones.saturating_sub(1) };
        true
    }

    /// Sets or clears all.
    pub fn fill(&mut self, on: bool) {
        let last = self.words.len().saturating_sub(1);
        let rest = self.count % 64;
        for (number, word) in self.words.iter_mut().enumerate() {
            *word = match on {
                false => 0,
                true if number == last && rest != 0 => (1 << rest) - 1,
                true => u64::MAX,
            };
        }
        self.ones = if on { self.count } else { 0 };
    }

    /// Sets those that are set in others of the same number.
    pub fn add(&mut self, others: &Self) {
        for (word, more) in self.words.iter_mut().zip(&others.words) {
            *word |= more;
        }
        self.ones = self.ones_with(self);
    }

    /// How many are set here or in others of the same number.
    pub fn ones_with(&self, others: &Self) -> u64 {
        let words = self.words.iter().zip(&others.words);
        words.map(|(word, more)| u64::from((word | more).count_ones())).sum()
    }

    /// The first of `from` and those behind it that is set.
    pub fn next(&self, from: u64) -> Option<u64> {
        self.next_of(from, |bits, word| bits.word(word))
    }

    /// The bits of a word.
    pub fn word(&self, word: usize) -> u64 {
        self.words.get(word).copied().unwrap_or(0)
    }

    /// The first of `from` and those behind it that is set in what `make` makes of each word.
    pub fn next_of(&self, from: u64, make: impl Fn(&Self, usize) -> u64) -> Option<u64> {
        if from >= self.count {
            return None;
        }
        let (first, mask) = place(from);
        // Bits before `from` do not count.
        let mut keep = !mask.wrapping_sub(1);
        for word in first..self.words.len() {
            let found = make(self, word) & keep;
            if found != 0 {
                let bit = (word as u64).saturating_mul(64) + u64::from(found.trailing_zeros());
                return Some(bit).filter(|bit| *bit < self.count);
            }
            keep = u64::MAX;
        }
        None
    }
}
