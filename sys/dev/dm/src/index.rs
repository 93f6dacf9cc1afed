//! Finding the segment of a sector: an implicit tree with one cache line a node.

use alloc::vec::Vec;

/// Keys in a node: eight of eight bytes fill a cache line.
const FAN: usize = 8;

/// The keys of one node. What is missing is beyond everything.
#[repr(align(64))]
#[derive(Clone, Copy)]
struct Node([u64; FAN]);

/// Ends, and what is noted of each range: two neighbouring cache lines, which processors fetch
/// together. So a lookup among very many waits for memory once.
#[repr(align(128))]
struct Leaf {
    ends: Node,
    notes: Node,
}

/// The ends of consecutive ranges, searchable in O(log n).
pub struct Index {
    /// From the root, one node, down to the one above the leaves.
    levels: Vec<Vec<Node>>,
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
    pub fn new(ranges: &[(u64, u64)]) -> Self {
        let leaf = |ranges: &[(u64, u64)]| Leaf {
            ends: Node::of(ranges.iter().map(|range| range.0)),
            notes: Node::of(ranges.iter().map(|range| range.1)),
        };
        let leaves: Vec<Leaf> = ranges.chunks(FAN).map(leaf).collect();
        let mut levels = Vec::new();
        // A node stands for its largest key one level up.
        let mut keys: Vec<u64> = leaves.iter().map(|leaf| leaf.ends.largest()).collect();
        while keys.len() > 1 {
            let nodes: Vec<Node> =
                keys.chunks(FAN).map(|keys| Node::of(keys.iter().copied())).collect();
            keys = nodes.iter().map(Node::largest).collect();
            levels.push(nodes);
        }
        levels.reverse();
        Self { levels, leaves, count: ranges.len() }
    }

    /// Which range holds `at`: the first whose end is beyond it.
    #[must_use]
    #[inline]
    pub fn find(&self, at: u64) -> Option<Found> {
        let mut place = 0_usize;
        for level in &self.levels {
            let below = level.get(place)?.below(at);
            place = place.checked_mul(FAN)?.checked_add(below)?;
        }
        let leaf = self.leaves.get(place)?;
        // A table of one segment is the usual one.
        let below =
            if self.count == 1 { usize::from(leaf.ends.0[0] <= at) } else { leaf.ends.below(at) };
        let nr = place.checked_mul(FAN)?.checked_add(below)?;
        let (end, note) = (*leaf.ends.0.get(below)?, *leaf.notes.0.get(below)?);
        (nr < self.count).then_some(Found { nr, end, note })
    }
}

impl Node {
    fn of(keys: impl Iterator<Item = u64>) -> Self {
        let mut node = Self([u64::MAX; FAN]);
        for (slot, key) in node.0.iter_mut().zip(keys) {
            *slot = key;
        }
        node
    }

    fn largest(&self) -> u64 {
        self.0.iter().copied().max().unwrap_or(0)
    }

    /// How many keys are not beyond `at`: without branches.
    #[inline]
    fn below(&self, at: u64) -> usize {
        self.0.iter().map(|&key| usize::from(key <= at)).sum()
    }
}
