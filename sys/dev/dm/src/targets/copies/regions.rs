//! What is known of each region of a set: whether its copies may differ, and who writes there.

use super::bits::Bits;
use alloc::vec::Vec;
use dm_protocol::Errno;

/// The regions of a set.
///
/// # Invariants
/// Where a write is under way the region is marked, on disk too: whatever is not marked there is
/// equal on all copies.
pub struct Regions {
    shift: u32,
    length: u64,
    count: u64,
    /// The record says that copies may differ, or is about to.
    marked: Bits,
    /// Writes may go: the mark is durable.
    open: Bits,
    /// Written to since somebody last looked.
    young: Bits,
    /// About to lose its mark.
    closing: Bits,
    /// Copies on members in use may differ: the first of them counts.
    stale: Bits,
    /// Members that are out of use, or come back, may lack what was written.
    absent: Bits,
    /// Either of these two.
    unsynced: u64,
    /// Something was written that not all members in use are known to have kept.
    unflushed: bool,
    /// Writes under way.
    pending: Vec<u16>,
}

/// How far a look at the regions came.
pub enum Swept {
    /// To the end.
    All,
    /// To here.
    Upto(u64),
}

/// Words of bits that are looked at under one lock.
const SWEEP_WORDS: u64 = 512;

impl Regions {
    /// Thread context. `length` sectors in regions of `size`, a power of two; all equal.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn new(length: u64, size: u64) -> Result<Self, Errno> {
        let count = length.div_ceil(size);
        let many = usize::try_from(count).map_err(|_| Errno::ENOMEM)?;
        let mut pending = Vec::new();
        pending.try_reserve_exact(many).map_err(|_| Errno::ENOMEM)?;
        pending.resize(many, 0);
        Ok(Self {
            shift: size.trailing_zeros(),
            length,
            count,
            marked: Bits::new(count)?,
            open: Bits::new(count)?,
            young: Bits::new(count)?,
            closing: Bits::new(count)?,
            stale: Bits::new(count)?,
            absent: Bits::new(count)?,
            unsynced: 0,
            unflushed: false,
            pending,
        })
    }

    /// How many there are.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The region of a sector.
    pub const fn of(&self, at: u64) -> u64 {
        at >> self.shift
    }

    /// Its first sector.
    pub const fn start(&self, region: u64) -> u64 {
        region << self.shift
    }

    /// Its first sector, or the end if there is no such region.
    pub const fn start_or_end(&self, region: u64) -> u64 {
        if region < self.count { region << self.shift } else { self.length }
    }

    /// The sector behind its last.
    pub fn end(&self, region: u64) -> u64 {
        match region.checked_add(1) {
            Some(next) if next < self.count => next << self.shift,
            _ => self.length,
        }
    }

    /// How many may differ in some way.
    pub const fn unsynced(&self) -> u64 {
        self.unsynced
    }

    /// How many may differ on members in use.
    pub const fn stale(&self) -> u64 {
        self.stale.ones()
    }

    /// May copies on members in use differ when the power goes?
    pub const fn are_unequal(&self) -> bool {
        self.unflushed || self.stale.ones() != 0
    }

    /// Nobody may write before marks are durable again.
    pub fn close_all(&mut self) {
        self.open.fill(false);
    }

    /// Nobody writes, and all was flushed.
    pub fn rest(&mut self) {
        self.close_all();
        self.unflushed = false;
    }

    /// How many are about to lose their mark.
    pub const fn closing(&self) -> u64 {
        self.closing.ones()
    }

    /// How many are marked.
    pub const fn marked(&self) -> u64 {
        self.marked.ones()
    }

    /// May copies on members in use differ?
    pub fn is_stale(&self, region: u64) -> bool {
        self.stale.get(region)
    }

    /// May members that come back lack something?
    pub fn is_absent(&self, region: u64) -> bool {
        self.absent.get(region)
    }

    /// Is it marked?
    pub fn is_marked(&self, region: u64) -> bool {
        self.marked.get(region)
    }

    /// May writes go?
    pub fn is_open(&self, region: u64) -> bool {
        self.open.get(region)
    }

    /// Does anybody write there?
    pub fn is_busy(&self, region: u64) -> bool {
        usize::try_from(region).ok().and_then(|at| self.pending.get(at)).is_some_and(|n| *n != 0)
    }

    /// Says whether copies on members in use may differ.
    pub fn set_stale(&mut self, region: u64, on: bool) {
        if self.stale.set(region, on) && !self.absent.get(region) {
            self.count_unsynced(on);
        }
        // What was copied is in caches.
        self.unflushed |= !on;
    }

    /// Says whether members that come back may lack something.
    pub fn set_absent(&mut self, region: u64, on: bool) {
        if self.absent.set(region, on) && !self.stale.get(region) {
            self.count_unsynced(on);
        }
    }

    const fn count_unsynced(&mut self, on: bool) {
        self.unsynced =
            if on { self.unsynced.saturating_add(1) } else { self.unsynced.saturating_sub(1) };
    }

    /// All copies on members in use may differ, or none.
    pub fn fill_stale(&mut self, on: bool) {
        self.stale.fill(on);
        self.unsynced = if on { self.count } else { self.absent.ones() };
    }

    /// Members that come back may lack everything, or nothing.
    pub fn fill_absent(&mut self, on: bool) {
        self.absent.fill(on);
        self.unsynced = if on { self.count } else { self.stale.ones() };
    }

    /// All is marked, or nothing is; nothing is open.
    pub fn fill_marked(&mut self, on: bool) {
        self.marked.fill(on);
        self.closing.fill(false);
        self.rest();
    }

    /// A member goes out of use: it may lack what is marked, since nothing of that was flushed.
    pub fn lose(&mut self) {
        // Word by word, since requests wait for the lock and there may be millions.
        self.absent.add(&self.marked);
        self.unsynced = self.absent.ones_with(&self.stale);
    }

    /// The first region from here on whose copies on members in use may differ.
    pub fn next_stale(&self, from: u64) -> Option<u64> {
        self.stale.next(from)
    }

    /// The first region from here on whose copies may differ in some way.
    pub fn next_unsynced(&self, from: u64) -> Option<u64> {
        match (self.stale.next(from), self.absent.next(from)) {
            (Some(stale), Some(absent)) => Some(stale.min(absent)),
            (stale, absent) => stale.or(absent),
        }
    }

    /// The first region from here on that members that come back may lack.
    pub fn next_absent(&self, from: u64) -> Option<u64> {
        self.absent.next(from)
    }

    /// The first region from here on that is marked.
    pub fn next_marked(&self, from: u64) -> Option<u64> {
        self.marked.next(from)
    }

    /// Marks it, in memory.
    pub fn mark(&mut self, region: u64) -> bool {
        self.marked.set(region, true)
    }

    /// Its mark is durable.
    pub fn open(&mut self, region: u64) {
        self.open.set(region, true);
        self.unflushed = true;
        self.young.set(region, true);
        self.closing.set(region, false);
    }

    /// A write begins there; false if too many are under way.
    pub fn enter(&mut self, region: u64) -> bool {
        let slot = usize::try_from(region).ok().and_then(|at| self.pending.get_mut(at));
        match slot.and_then(|slot| Some((slot.checked_add(1)?, slot))) {
            Some((more, slot)) => {
                *slot = more;
                self.young.set(region, true);
                true
            }
            None => false,
        }
    }

    /// A write is over; true if it was the last.
    pub fn leave(&mut self, region: u64) -> bool {
        let slot = usize::try_from(region).ok().and_then(|at| self.pending.get_mut(at));
        slot.is_some_and(|slot| {
            *slot = slot.saturating_sub(1);
            *slot == 0
        })
    }

    /// Looks at regions from here on, and closes those that nobody wrote to since the last look;
    /// with `all`, also those that somebody did.
    pub fn close_idle(&mut self, from: u64, all: bool) -> Swept {
        let end = (from / 64).saturating_add(SWEEP_WORDS).saturating_mul(64);
        let mut at = from;
        loop {
            let marked = |marked: &Bits, word: usize| {
                marked.word(word)
                    & !self.stale.word(word)
                    & !self.absent.word(word)
                    & !self.closing.word(word)
            };
            match self.marked.next_of(at, marked) {
                None => return Swept::All,
                Some(region) if region >= end => return Swept::Upto(region),
                Some(region) => {
                    let young = self.young.set(region, false);
                    if !self.is_busy(region) && (all || !young) {
                        self.open.set(region, false);
                        self.closing.set(region, true);
                    }
                    at = region.saturating_add(1);
                }
            }
        }
    }

    /// Takes the mark of the first closed region from here on whose copies are equal.
    pub fn unmark_closed(&mut self, mut from: u64) -> Option<u64> {
        while let Some(region) = self.closing.next(from) {
            from = region;
            self.closing.set(region, false);
            // Whoever waits to write there marks it again.
            let equal = !self.stale.get(region) && !self.absent.get(region);
            if equal && !self.open.get(region) && self.marked.set(region, false) {
                self.unflushed &= self.marked.ones() != 0;
                return Some(region);
            }
        }
        None
    }

    /// Regions that were closed stay as they are.
    pub fn keep_closed(&mut self) {
        self.closing.fill(false);
    }
}

#[cfg(test)]
mod tests;
