//! Finding the segment of a sector: an implicit tree with one cache line a node.

use alloc::vec::Vec;

/// Keys in a node: eight of eight bytes fill a cache line.
const FAN: usize = 8;

/// One node, aligned to a cache line.
#[repr(align(64))]
#[derive(Clone, Copy)]
struct Node([u64; FAN]);

/// The ends of consecutive ranges, searchable in O(log n).
pub struct Index {
    /// From the root, one node, down to the ends themselves.
    levels: Vec<Vec<Node>>,
    count: usize,
}

impl Index {
    /// An index of ends in rising order.
    #[must_use]
    pub fn new(ends: &[u64]) -> Self {
        let mut levels = Vec::new();
        let mut keys = ends.to_vec();
        loop {
            let nodes: Vec<Node> = keys.chunks(FAN).map(node).collect();
            // A node stands for its largest key one level up.
            keys = nodes.iter().map(|node| node.0.iter().copied().max().unwrap_or(0)).collect();
            let root = nodes.len() <= 1;
            levels.push(nodes);
            if root {
                break;
            }
        }
        levels.reverse();
        Self { levels, count: ends.len() }
    }

    /// Which range holds `at`: the number of the first end beyond it.
    #[must_use]
    #[inline]
    pub fn find(&self, at: u64) -> Option<usize> {
        let mut place = 0_usize;
        for level in &self.levels {
            let node = level.get(place)?;
            // Without branches: keys that are not beyond come first.
            let below: usize = node.0.iter().map(|&end| usize::from(end <= at)).sum();
            place = place.checked_mul(FAN)?.checked_add(below)?;
        }
        (place < self.count).then_some(place)
    }
}

/// A node of up to [`FAN`] keys; what is missing is beyond everything.
fn node(keys: &[u64]) -> Node {
    let mut node = Node([u64::MAX; FAN]);
    for (slot, key) in node.0.iter_mut().zip(keys) {
        *slot = *key;
    }
    node
}
