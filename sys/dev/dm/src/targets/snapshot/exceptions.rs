//! Which chunks of an origin have a copy on the COW device, in memory.
//!
//! A table of runs, found by hashing groups of chunks. Requests look at it under a lock, so
//! it grows by memory that a thread made beforehand, and never moves more than one bucket.

use alloc::boxed::Box;
use alloc::vec::Vec;
use dm_protocol::Errno;

/// Chunks in a group; a run does not leave its group.
const GROUP: u64 = 16;
/// Things in one piece of memory.
const PIECE: usize = 1024;
/// No node.
const NONE: u32 = u32::MAX;

/// A run of chunks whose copies follow one another, too.
#[derive(Clone, Copy)]
struct Node {
    old: u64,
    new: u64,
    count: u32,
    next: u32,
}

const FREE: Node = Node { old: 0, new: 0, count: 0, next: NONE };

/// What is known of a chunk and of those behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    /// So many have copies that follow one another from `new` on.
    Mapped {
        /// The copy of the first.
        new: u64,
        /// How many.
        count: u64,
    },
    /// So many have none.
    Free {
        /// How many.
        count: u64,
    },
}

/// An array that grows by pieces.
struct Pieces<T> {
    pieces: Vec<Box<[T]>>,
}

impl<T: Copy> Pieces<T> {
    const fn new() -> Self {
        Self { pieces: Vec::new() }
    }

    fn len(&self) -> u64 {
        self.pieces.len() as u64 * PIECE as u64
    }

    fn get(&self, at: u32) -> Option<&T> {
        self.pieces.get(at as usize / PIECE)?.get(at as usize % PIECE)
    }

    fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.pieces.get_mut(at as usize / PIECE)?.get_mut(at as usize % PIECE)
    }

    /// How long a new list has to be, if this one is full.
    fn longer(&self) -> Option<usize> {
        let full = self.pieces.len() == self.pieces.capacity();
        full.then(|| self.pieces.len().saturating_mul(2).max(4))
    }

    /// Takes a piece; allocates nothing. Gives the list that is not needed any more.
    fn grow(&mut self, piece: Box<[T]>, mut list: Vec<Box<[T]>>) -> Vec<Box<[T]>> {
        if list.capacity() > self.pieces.len() {
            list.append(&mut self.pieces);
            core::mem::swap(&mut list, &mut self.pieces);
        }
        if self.pieces.len() < self.pieces.capacity() {
            self.pieces.push(piece);
        }
        list
    }
}

/// The table.
pub(super) struct Exceptions {
    nodes: Pieces<Node>,
    buckets: Pieces<u32>,
    /// Buckets in use.
    width: u32,
    /// Nodes that were never used begin here.
    fresh: u32,
    /// The first of those that were.
    freed: u32,
    /// Nodes in use.
    runs: u64,
    chunks: u64,
}

/// What memory a table needs for more.
#[derive(Clone, Copy)]
pub(super) struct Wants {
    node_list: Option<usize>,
    /// Chains stay short while there are no fewer buckets than nodes.
    buckets: Option<Option<usize>>,
    full: bool,
}

/// Pieces of memory, and a longer list for them, perhaps.
type More<T> = (Box<[T]>, Vec<Box<[T]>>);

/// Memory for more, made by a thread.
pub(super) struct Growth {
    nodes: More<Node>,
    buckets: Option<More<u32>>,
}

impl Growth {
    /// Thread context.
    ///
    /// # Errors
    /// ENOMEM.
    pub(super) fn new(wants: Wants) -> Result<Self, Errno> {
        if wants.full {
            return Err(Errno::ENOMEM);
        }
        let nodes = more(FREE, wants.node_list)?;
        Ok(Self { nodes, buckets: wants.buckets.map(|list| more(NONE, list)).transpose()? })
    }
}

fn more<T: Copy>(fill: T, longer: Option<usize>) -> Result<More<T>, Errno> {
    let mut piece = Vec::new();
    piece.try_reserve_exact(PIECE).map_err(|_| Errno::ENOMEM)?;
    piece.resize(PIECE, fill);
    let mut list = Vec::new();
    list.try_reserve_exact(longer.unwrap_or(0)).map_err(|_| Errno::ENOMEM)?;
    Ok((piece.into_boxed_slice(), list))
}

/// What is left over when memory was taken, to be freed without a lock.
pub(super) struct Leftover {
    _nodes: Vec<Box<[Node]>>,
    _buckets: Option<Vec<Box<[u32]>>>,
}

impl Exceptions {
    /// Thread context. An empty table with room for some.
    pub(super) fn new() -> Result<Self, Errno> {
        let mut table = Self {
            nodes: Pieces::new(),
            buckets: Pieces::new(),
            width: 0,
            fresh: 0,
            freed: NONE,
            runs: 0,
            chunks: 0,
        };
        table.reserve(1)?;
        table.width = PIECE as u32;
        Ok(table)
    }

    /// How many chunks have copies.
    #[cfg(test)]
    pub(super) const fn chunks(&self) -> u64 {
        self.chunks
    }

    /// How many insertions surely find memory.
    pub(super) fn room(&self) -> u64 {
        self.nodes.len().min(u64::from(NONE)).saturating_sub(self.runs)
    }

    /// Any context. What memory it needs for more.
    pub(super) fn wants(&self) -> Wants {
        let scarce = self.buckets.len() <= self.nodes.len();
        Wants {
            node_list: self.nodes.longer(),
            buckets: scarce.then(|| self.buckets.longer()),
            full: self.nodes.len().saturating_add(PIECE as u64) >= u64::from(NONE),
        }
    }

    /// Any context. Takes memory; allocates and frees nothing.
    pub(super) fn grow(&mut self, growth: Growth) -> Leftover {
        Leftover {
            _nodes: self.nodes.grow(growth.nodes.0, growth.nodes.1),
            _buckets: growth.buckets.map(|(piece, list)| self.buckets.grow(piece, list)),
        }
    }

    /// Thread context, for a table that nobody else sees yet. Room for so many insertions.
    pub(super) fn reserve(&mut self, count: u64) -> Result<(), Errno> {
        while self.room() < count {
            drop(self.grow(Growth::new(self.wants())?));
        }
        Ok(())
    }

    fn bucket(&self, chunk: u64) -> u32 {
        // The golden ratio spreads neighbours.
        let hash = (chunk / GROUP).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let low = 1 << self.width.max(1).ilog2();
        let wide = hash as u32 & (low * 2 - 1);
        if wide < self.width { wide } else { wide & (low - 1) }
    }

    fn first(&self, chunk: u64) -> u32 {
        self.buckets.get(self.bucket(chunk)).copied().unwrap_or(NONE)
    }

    /// The nodes of a chunk's bucket, each with its number.
    fn chain(&self, chunk: u64) -> impl Iterator<Item = (u32, &Node)> {
        let mut at = self.first(chunk);
        core::iter::from_fn(move || {
            let node = self.nodes.get(at)?;
            let here = at;
            at = node.next;
            Some((here, node))
        })
    }

    fn find(&self, chunk: u64) -> Option<&Node> {
        let inside = |node: &Node| chunk.wrapping_sub(node.old) < u64::from(node.count);
        self.chain(chunk).map(|(_, node)| node).find(|node| inside(node))
    }

    /// The copy of one chunk.
    #[cfg(test)]
    pub(super) fn copy_of(&self, chunk: u64) -> Option<u64> {
        let node = self.find(chunk)?;
        Some(node.new.saturating_add(chunk.saturating_sub(node.old)))
    }

    /// What there is from `chunk` on, for at most `most` chunks, at least 1.
    pub(super) fn run(&self, chunk: u64, most: u64) -> Run {
        let end = chunk.saturating_add(most.max(1));
        match self.find(chunk) {
            Some(node) => {
                let within = chunk.saturating_sub(node.old);
                let new = node.new.saturating_add(within);
                let mut at = node.old.saturating_add(u64::from(node.count));
                while at < end {
                    // Runs of neighbouring groups may follow one another.
                    let follows = new.saturating_add(at.saturating_sub(chunk));
                    match self.find(at) {
                        Some(next) if next.old == at && next.new == follows => {
                            at = at.saturating_add(u64::from(next.count));
                        }
                        _ => break,
                    }
                }
                Run::Mapped { new, count: at.min(end).saturating_sub(chunk) }
            }
            None => {
                let mut at = chunk;
                while at < end {
                    let group_end = (at / GROUP).saturating_add(1).saturating_mul(GROUP);
                    let inside = |old: &u64| (at..group_end).contains(old);
                    let next = self.chain(at).map(|(_, node)| node.old).filter(inside).min();
                    at = next.unwrap_or(group_end);
                    if next.is_some() {
                        break;
                    }
                }
                Run::Free { count: at.min(end).saturating_sub(chunk) }
            }
        }
    }

    /// Any context; allocates nothing. Remembers a copy; false without memory or if there is
    /// one already.
    pub(super) fn insert(&mut self, old: u64, new: u64) -> bool {
        if self.find(old).is_some() {
            return false;
        }
        let same_group = |node: &Node| node.old / GROUP == old / GROUP;
        let behind = |node: &Node| {
            let count = u64::from(node.count);
            node.old.saturating_add(count) == old && node.new.saturating_add(count) == new
        };
        let before =
            |node: &Node| node.old == old.saturating_add(1) && node.new == new.saturating_add(1);
        let joins = |node: &Node| same_group(node) && (behind(node) || before(node));
        let neighbour = self.chain(old).find(|(_, node)| joins(node)).map(|(at, _)| at);
        self.chunks = self.chunks.saturating_add(1);
        if let Some(node) = neighbour.and_then(|at| self.nodes.get_mut(at)) {
            if node.old > old {
                (node.old, node.new) = (old, new);
            }
            node.count = node.count.saturating_add(1);
            return true;
        }
        let added = self.add(Node { old, new, count: 1, next: NONE });
        if added {
            self.widen();
        } else {
            self.chunks = self.chunks.saturating_sub(1);
        }
        added
    }

    /// Any context; allocates nothing. Forgets a copy. Takes a node when it was in the middle
    /// of a run; false without memory for that.
    pub(super) fn remove(&mut self, old: u64) -> bool {
        let inside = |node: &Node| old.wrapping_sub(node.old) < u64::from(node.count);
        let Some((at, node)) = self.chain(old).find(|(_, node)| inside(node)) else { return true };
        let node = *node;
        let within = old.saturating_sub(node.old) as u32;
        let behind = node.count.saturating_sub(within).saturating_sub(1);
        if behind != 0 && within != 0 {
            let next = u64::from(within).saturating_add(1);
            let (rest_old, rest_new) =
                (node.old.saturating_add(next), node.new.saturating_add(next));
            if !self.add(Node { old: rest_old, new: rest_new, count: behind, next: NONE }) {
                return false;
            }
        }
        self.chunks = self.chunks.saturating_sub(1);
        if within == 0 && behind == 0 {
            self.unlink(old, at);
        } else if let Some(node) = self.nodes.get_mut(at) {
            if within == 0 {
                node.old = node.old.saturating_add(1);
                node.new = node.new.saturating_add(1);
                node.count = behind;
            } else {
                node.count = within;
            }
        }
        true
    }

    /// Puts a node first into its bucket.
    fn add(&mut self, mut node: Node) -> bool {
        let bucket = self.bucket(node.old);
        let at = match self.nodes.get(self.freed) {
            Some(free) => core::mem::replace(&mut self.freed, free.next),
            None if u64::from(self.fresh) < self.nodes.len() => {
                self.fresh = self.fresh.saturating_add(1);
                self.fresh.saturating_sub(1)
            }
            None => return false,
        };
        let (Some(first), Some(place)) = (self.buckets.get_mut(bucket), self.nodes.get_mut(at))
        else {
            return false;
        };
        node.next = core::mem::replace(first, at);
        *place = node;
        self.runs = self.runs.saturating_add(1);
        true
    }

    /// Takes a node out of the bucket of `chunk`, and frees it.
    fn unlink(&mut self, chunk: u64, at: u32) {
        let Some(node) = self.nodes.get(at) else { return };
        let next = node.next;
        let before = self.chain(chunk).find(|(_, node)| node.next == at).map(|(before, _)| before);
        let bucket = self.bucket(chunk);
        match before {
            Some(before) => {
                if let Some(node) = self.nodes.get_mut(before) {
                    node.next = next;
                }
            }
            None => {
                if let Some(first) = self.buckets.get_mut(bucket) {
                    *first = next;
                }
            }
        }
        if let Some(node) = self.nodes.get_mut(at) {
            *node = Node { next: self.freed, ..FREE };
            self.freed = at;
            self.runs = self.runs.saturating_sub(1);
        }
    }

    /// Splits one bucket when there are more nodes than buckets.
    fn widen(&mut self) {
        if self.runs <= u64::from(self.width) || u64::from(self.width) >= self.buckets.len() {
            return;
        }
        let low = self.width - (1 << self.width.ilog2());
        let mut at =
            self.buckets.get_mut(low).map_or(NONE, |first| core::mem::replace(first, NONE));
        self.width = self.width.saturating_add(1);
        while let Some(node) = self.nodes.get(at).copied() {
            let bucket = self.bucket(node.old);
            let Some(first) = self.buckets.get_mut(bucket) else { return };
            let next = core::mem::replace(first, at);
            if let Some(node) = self.nodes.get_mut(at) {
                node.next = next;
            }
            at = node.next;
        }
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test says what it expects")]
mod tests;
