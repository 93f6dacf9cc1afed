//! Finding the segment of a sector: a search tree in arrays, made for few waits for memory.
//!
//! A leaf is four cache lines of four ranges each, which are all asked for at once: a lookup
//! among very many ranges waits for memory as if it were one. What is above the leaves takes a
//! sixty-fourth of their room, so that the caches next to a processor keep it.

use alloc::vec::Vec;

/// What is looked at in one step: first the last of each part, then one part.
const PART: usize = 4;

/// Ranges in a leaf.
const LEAF: usize = PART * 4;

/// A range's end, and what is noted of it. Two numbers, four of which fill a cache line.
type Range = (u64, u64);

/// What stands where a leaf has no range any more: beyond everything.
const NOWHERE: Range = (u64::MAX, 0);

/// The ranges of a leaf, in parts of one cache line.
#[repr(align(256))]
struct Leaf([[Range; PART]; LEAF / PART]);

/// Keys that fill a cache line. What is missing is beyond everything.
#[repr(align(64))]
struct Node<K, const PARTS: usize>([[K; PART]; PARTS]);

/// The levels above the leaves, from the root, one node, down.
struct Levels<K, const PARTS: usize>(Vec<Vec<Node<K, PARTS>>>);

enum Above {
    /// All ends are below 2^32 - 1: sixteen in a node.
    Short(Levels<u32, 4>),
    /// Others: eight in a node.
    Long(Levels<u64, 2>),
}

/// The ends of consecutive ranges, searchable in O(log n).
pub struct Index {
    above: Above,
    leaves: Vec<Leaf>,
    count: usize,
}

/// A range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub nr: usize,
    /// Where it ends.
    pub end: u64,
    /// What was noted of it.
    pub note: u64,
}

impl Index {
    /// An index of ends in rising order, each with its note.
    #[must_use]
    pub fn new(ranges: &[Range]) -> Self {
        let leaves = ranges.chunks(LEAF).map(|ranges| Leaf(parts(ranges, NOWHERE))).collect();
        // A leaf stands for its last end one level up, and so does a node.
        let ends = || ranges.chunks(LEAF).filter_map(<[Range]>::last).map(|range| range.0);
        let short = |end: u64| u32::try_from(end).ok().filter(|end| *end != u32::MAX);
        let above = match ends().map(short).collect() {
            Some(ends) => Above::Short(Levels::new(ends, u32::MAX)),
            None => Above::Long(Levels::new(ends().collect(), u64::MAX)),
        };
        Self { above, leaves, count: ranges.len() }
    }

    /// Which range holds `at`: the first whose end is beyond it.
    #[must_use]
    #[inline(always)]
    pub fn find(&self, at: u64) -> Option<Found> {
        if self.count == 1 {
            // A table of one segment is the usual one.
            let Leaf([[(end, note), ..], ..]) = *self.leaves.first()?;
            return (at < end).then_some(Found { nr: 0, end, note });
        }
        self.search(at)
    }

    /// As `find`, among several.
    #[inline(never)]
    fn search(&self, at: u64) -> Option<Found> {
        let place = match &self.above {
            Above::Short(levels) => levels.find(u32::try_from(at).ok()?)?,
            Above::Long(levels) => levels.find(at)?,
        };
        let Leaf(parts) = self.leaves.get(place)?;
        let part = below(parts.iter().map(|[.., (end, _)]| *end), at);
        let ranges = parts.get(part)?;
        let within = below(ranges.iter().map(|(end, _)| *end), at);
        let (end, note) = *ranges.get(within)?;
        let nr = place.checked_mul(LEAF)?.checked_add(part.checked_mul(PART)?)?;
        let nr = nr.checked_add(within)?;
        (nr < self.count).then_some(Found { nr, end, note })
    }
}

impl<K: Copy + Ord, const PARTS: usize> Levels<K, PARTS> {
    /// Levels above so many keys.
    fn new(mut keys: Vec<K>, beyond: K) -> Self {
        let fan = PARTS.saturating_mul(PART);
        let mut levels = Vec::new();
        while keys.len() > 1 {
            levels.push(keys.chunks(fan).map(|keys| Node(parts(keys, beyond))).collect());
            keys = keys.chunks(fan).filter_map(<[K]>::last).copied().collect();
        }
        levels.reverse();
        Self(levels)
    }

    /// Which leaf holds `at`.
    #[inline]
    fn find(&self, at: K) -> Option<usize> {
        let mut place = 0_usize;
        for level in &self.0 {
            let Node(parts) = level.get(place)?;
            let part = below(parts.iter().map(|[.., last]| *last), at);
            let within = below(parts.get(part)?.iter().copied(), at);
            place = place.checked_mul(PARTS)?.checked_add(part)?.checked_mul(PART)?;
            place = place.checked_add(within)?;
        }
        Some(place)
    }
}

/// Cuts into parts and fills them up.
fn parts<T: Copy, const PARTS: usize>(all: &[T], beyond: T) -> [[T; PART]; PARTS] {
    let mut parts = [[beyond; PART]; PARTS];
    for (slot, value) in parts.as_flattened_mut().iter_mut().zip(all) {
        *slot = *value;
    }
    parts
}

/// How many keys are not beyond `at`: without branches, so that none is guessed wrong.
#[inline]
fn below<K: Copy + Ord>(keys: impl Iterator<Item = K>, at: K) -> usize {
    keys.map(|key| usize::from(key <= at)).sum()
}
