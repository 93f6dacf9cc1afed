//! What parts and errands say of themselves, in the number that a target may give them.

/// What is to be done with a part, or was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nobody said yet.
    Fresh,
    /// A write to the origin that waits until snapshots have saved what it changes.
    Origin,
    /// It went to the origin.
    OriginSent,
    /// A read of a snapshot that went to the origin.
    Read,
    /// A request of a snapshot that its thread does piece by piece.
    Slow,
    /// A write of a snapshot whose chunk has no copy yet.
    Write,
    /// A write of whole chunks that went to their new places.
    Whole,
    /// What happens below is its end.
    Last,
    /// A write of a snapshot that is being merged, which went to its COW device.
    MergeSent,
    /// One that has to wait until a chunk is merged.
    MergeWait,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Fresh,
        Self::Origin,
        Self::OriginSent,
        Self::Read,
        Self::Slow,
        Self::Write,
        Self::Whole,
        Self::Last,
        Self::MergeSent,
        Self::MergeWait,
    ];
}

/// The number of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) kind: Kind,
    /// The phase that counts it.
    pub(super) phase: usize,
    /// The snapshot it is of.
    pub(super) slot: usize,
    /// The job it belongs to.
    pub(super) job: usize,
}

impl Ticket {
    pub(super) const fn new(kind: Kind, slot: usize) -> Self {
        Self { kind, phase: 0, slot, job: 0 }
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        let kind = Kind::ALL.get((bits & 0xff) as usize).copied().unwrap_or(Kind::Fresh);
        let part = |shift: u32, mask: u64| (bits >> shift & mask) as usize;
        Self { kind, phase: part(8, 1), slot: part(16, 0xffff), job: part(32, 0xffff) }
    }

    pub(super) const fn bits(self) -> u64 {
        let (phase, slot, job) = (self.phase as u64, self.slot as u64, self.job as u64);
        self.kind as u64 | phase << 8 | slot << 16 | job << 32
    }
}

/// What an errand does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// Reads a piece of a chunk from the origin.
    CopyRead,
    /// Writes it to the COW device.
    CopyWrite,
    /// A piece of a slow request.
    Slow,
    /// Clears the next metadata area.
    Clear,
    /// Makes the copies durable.
    Flush,
    /// Writes metadata.
    Commit,
    /// Marks the store as invalid.
    Bury,
    /// Reads a block of metadata for merging.
    MergeLoad,
    /// Reads a piece from the COW device.
    MergeRead,
    /// Writes it to the origin.
    MergeWrite,
    /// Makes the origin durable.
    MergeFlush,
    /// Takes merged entries away.
    MergeCommit,
}

impl Does {
    const ALL: [Self; 12] = [
        Self::CopyRead,
        Self::CopyWrite,
        Self::Slow,
        Self::Clear,
        Self::Flush,
        Self::Commit,
        Self::Bury,
        Self::MergeLoad,
        Self::MergeRead,
        Self::MergeWrite,
        Self::MergeFlush,
        Self::MergeCommit,
    ];
}

/// The number of an errand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) does: Does,
    /// The snapshot it is of.
    pub(super) slot: usize,
    /// The job it belongs to.
    pub(super) job: usize,
    /// How far in the job, in sectors.
    pub(super) at: u64,
}

impl Tag {
    pub(super) fn from_bits(bits: u64) -> Option<Self> {
        let does = Does::ALL.get((bits & 0xf) as usize).copied()?;
        let part = |shift: u32, mask: u64| (bits >> shift & mask) as usize;
        Some(Self { does, slot: part(8, 0xffff), job: part(24, 0xff), at: bits >> 32 })
    }

    pub(super) const fn bits(self) -> u64 {
        self.does as u64 | (self.slot as u64) << 8 | (self.job as u64) << 24 | self.at << 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back() {
        for kind in Kind::ALL {
            let ticket = Ticket { kind, phase: 1, slot: 0xffff, job: 63 };
            assert_eq!(Ticket::from_bits(ticket.bits()), ticket);
        }
        assert_eq!(Ticket::from_bits(0).kind, Kind::Fresh);
        for does in Does::ALL {
            let tag = Tag { does, slot: 0xffff, job: 63, at: 1 << 21 };
            assert_eq!(Tag::from_bits(tag.bits()), Some(tag));
        }
    }
}
