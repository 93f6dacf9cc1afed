//! The devices of a set.

use crate::kern::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use crate::lower::Lower;

/// What a member is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The table has no device for it.
    Missing,
    /// Out of use after an error.
    Dead,
    /// Written to, and brought up to date.
    Returning,
    /// In use.
    Live,
}

/// What went wrong on a member, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A flush.
    Flush = 1,
    /// A write.
    Write = 2,
    /// Bringing it, or others from it, up to date.
    Sync = 4,
    /// A read.
    Read = 8,
}

/// A device of a set.
pub struct Member {
    lower: Option<Lower>,
    standing: AtomicU8,
    /// Kinds of faults that it had, by bit.
    faults: AtomicU8,
    /// Read from only when there is no other.
    reluctant: bool,
    /// Reads under way.
    reads: AtomicU32,
    /// Behind the last sector read.
    head: AtomicU64,
}

/// How well a member serves a read, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score {
    avoided: bool,
    reads: u32,
    distance: u64,
}

impl Member {
    /// A member in use; without a device a missing one.
    pub fn new(lower: Option<Lower>, reluctant: bool) -> Self {
        let standing = if lower.is_some() { Standing::Live } else { Standing::Missing };
        Self {
            lower,
            standing: AtomicU8::new(standing as u8),
            faults: AtomicU8::new(0),
            reluctant,
            reads: AtomicU32::new(0),
            head: AtomicU64::new(0),
        }
    }

    /// Its device.
    pub const fn lower(&self) -> Option<&Lower> {
        self.lower.as_ref()
    }

    /// What it is good for.
    pub fn standing(&self) -> Standing {
        const LIVE: u8 = Standing::Live as u8;
        const RETURNING: u8 = Standing::Returning as u8;
        const DEAD: u8 = Standing::Dead as u8;
        match self.standing.load(Ordering::SeqCst) {
            LIVE => Standing::Live,
            RETURNING => Standing::Returning,
            DEAD => Standing::Dead,
            _ => Standing::Missing,
        }
    }

    /// Says what it is good for. A missing one stays so.
    pub fn set_standing(&self, standing: Standing) {
        if self.lower.is_some() {
            self.standing.store(standing as u8, Ordering::SeqCst);
        }
    }

    /// True while it holds what it should.
    pub fn is_live(&self) -> bool {
        self.standing() == Standing::Live
    }

    /// True while it is written to.
    pub fn is_written(&self) -> bool {
        matches!(self.standing(), Standing::Live | Standing::Returning)
    }

    /// Notes a fault; true if it is the first of its kind.
    pub fn note(&self, fault: Fault) -> bool {
        self.faults.fetch_or(fault as u8, Ordering::SeqCst) & fault as u8 == 0
    }

    /// Had it such a fault?
    pub fn had(&self, fault: Fault) -> bool {
        self.faults.load(Ordering::SeqCst) & fault as u8 != 0
    }

    /// Had it any fault?
    pub fn is_faulty(&self) -> bool {
        self.faults.load(Ordering::SeqCst) != 0
    }

    /// How well it would serve a read there.
    pub fn score(&self, sector: u64) -> Score {
        Score {
            avoided: self.reluctant || self.is_faulty(),
            reads: self.reads.load(Ordering::Relaxed),
            distance: self.head.load(Ordering::Relaxed).abs_diff(sector),
        }
    }

    /// A read of it begins.
    pub fn read_starts(&self, sector: u64, count: u64) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.head.store(sector.saturating_add(count), Ordering::Relaxed);
    }

    /// A read of it is over.
    pub fn read_ends(&self) {
        self.reads.fetch_sub(1, Ordering::Relaxed);
    }
}
