//! Where the copies of a sector live.

use alloc::vec::Vec;
use dm_protocol::Sector;

/// How sectors lie on the members of a set.
pub enum Geometry {
    /// Each member holds everything, from its own sector on.
    Whole(Vec<Sector>),
    /// Chunks in turn, each several times.
    Spread(Spread),
}

/// Chunks in turn on several members, with copies near, far or at an offset: md's raid10.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    members: u64,
    /// Copies next to each other.
    near: u64,
    /// Copies that lie a stride further on, on other members.
    far: u64,
    /// A stride is one chunk: far copies lie below their chunk.
    below: bool,
    /// Far copies stay within so many members.
    set: u64,
    /// The chunk is a power of two.
    shift: u32,
    /// How far further on, in sectors.
    stride: u64,
}

/// What raid10 is made of, as tables and superblocks say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The members.
    pub members: u64,
    /// Copies next to each other.
    pub near: u64,
    /// Copies a stride further on.
    pub far: u64,
    /// A stride is one chunk.
    pub below: bool,
    /// Far copies stay within sets of members, not all.
    pub sets: bool,
    /// Sectors in a chunk, a power of two.
    pub chunk: u64,
}

impl Shape {
    /// How many copies there are.
    pub const fn copies(&self) -> u64 {
        self.near.saturating_mul(self.far)
    }

    /// Sectors of a member that are used for `length` sectors, if they come out even.
    pub fn member_sectors(&self, length: u64) -> Option<u64> {
        let all = length.checked_mul(self.copies())?;
        let each = all / self.members;
        // Far copies take an equal share of whole chunks each.
        let share = self.chunk.checked_mul(if self.below { 1 } else { self.far })?;
        (all.is_multiple_of(self.members) && each.is_multiple_of(share)).then_some(each)
    }
}

impl Spread {
    /// For `length` sectors. `None` if they do not come out even, or the shape is impossible.
    pub fn new(shape: &Shape, length: u64) -> Option<Self> {
        let Shape { members, near, far, below, sets, chunk } = *shape;
        let possible = near != 0 && far != 0 && shape.copies() >= 2 && shape.copies() <= members;
        if !possible || !chunk.is_power_of_two() {
            return None;
        }
        let each = shape.member_sectors(length)?;
        let set = if sets { shape.copies() } else { members };
        let stride = if below { chunk } else { each / far };
        Some(Self { members, near, far, below, set, shift: chunk.trailing_zeros(), stride })
    }

    /// Where copy number `copy` of a sector lies: a member and a sector of it.
    fn place(&self, at: u64, copy: u64) -> Option<(u64, u64)> {
        let (chunk, within) = (at >> self.shift, at & ((1 << self.shift) - 1));
        // The copy's own row and member, as if each near copy were a chunk.
        let cell = chunk.checked_mul(self.near)?.checked_add(copy / self.far)?;
        let (row, mut member) = (cell / self.members, cell % self.members);
        let first_row = chunk.checked_mul(self.near)? / self.members;
        let first_row = if self.below { first_row.checked_mul(self.far)? } else { first_row };
        // A near copy that goes round begins the next row.
        let wrapped = row.saturating_sub(chunk.saturating_mul(self.near) / self.members);
        let mut sector = within.checked_add(first_row.checked_add(wrapped)? << self.shift)?;
        for _ in 0..copy % self.far {
            member = self.next(member);
            sector = sector.checked_add(self.stride)?;
        }
        Some((member, sector))
    }

    /// The member of the next far copy: so many further on, in its set of members. What is left
    /// over belongs to the last set.
    fn next(&self, member: u64) -> u64 {
        let last = (self.members / self.set).saturating_sub(1) * self.set;
        let moved = member.saturating_add(self.near);
        if !self.members.is_multiple_of(self.set) && moved > last {
            let last_size = self.set + self.members % self.set;
            return last + (moved - last) % last_size;
        }
        let start = member / self.set * self.set;
        start + moved % self.set
    }
}

impl Geometry {
    /// How many copies there are of each sector.
    pub fn copies(&self) -> usize {
        match self {
            Self::Whole(offsets) => offsets.len(),
            Self::Spread(spread) => (spread.near * spread.far) as usize,
        }
    }

    /// Where copy number `copy` of a sector lies: on which member, and where there.
    pub fn place(&self, at: u64, copy: usize) -> Option<(usize, Sector)> {
        match self {
            Self::Whole(offsets) => Some((copy, Sector(offsets.get(copy)?.0.checked_add(at)?))),
            Self::Spread(spread) => {
                let (member, sector) = spread.place(at, copy as u64)?;
                Some((member as usize, Sector(sector)))
            }
        }
    }

    /// How many sectors from here on lie in order, on every copy.
    pub fn run(&self, at: u64) -> u64 {
        match self {
            Self::Whole(_) => u64::MAX,
            Self::Spread(spread) => (1 << spread.shift) - (at & ((1 << spread.shift) - 1)),
        }
    }

    /// True if every sector has a copy on one of the members that `on` names.
    pub fn enough(&self, on: impl Fn(usize) -> bool) -> bool {
        match self {
            Self::Whole(offsets) => (0..offsets.len()).any(on),
            // What lies together repeats when the chunks have gone round.
            Self::Spread(spread) => (0..spread.members).all(|chunk| {
                let mut copies = 0..self.copies();
                copies.any(|copy| {
                    self.place(chunk << spread.shift, copy).is_some_and(|(member, _)| on(member))
                })
            }),
        }
    }

    /// All that lies before this sector of a member belongs to sectors before `at`.
    pub fn floor(&self, at: u64) -> u64 {
        match self {
            Self::Whole(_) => at,
            Self::Spread(spread) => {
                let row = (at >> spread.shift).saturating_mul(spread.near) / spread.members;
                let rows = if spread.below { row.saturating_mul(spread.far) } else { row };
                rows << spread.shift
            }
        }
    }

    /// True if all that `first` to `last` have on a member lies before `limit` there.
    pub fn lies_before(&self, (first, last): (u64, u64), member: usize, limit: u64) -> bool {
        match self {
            Self::Whole(_) => last < limit,
            Self::Spread(spread) if spread.far > 1 && !spread.below => false,
            Self::Spread(_) => {
                let mut at = first;
                while at <= last {
                    let mut copies = 0..self.copies();
                    let lies = |copy: usize| self.place(at, copy);
                    let end = self.run(at).min(last - at + 1);
                    if copies.any(|copy| {
                        lies(copy).is_some_and(|(on, sector)| {
                            on == member && sector.0.saturating_add(end) > limit
                        })
                    }) {
                        return false;
                    }
                    at = at.saturating_add(end);
                }
                true
            }
        }
    }
}
