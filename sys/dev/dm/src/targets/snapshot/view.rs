//! What requests see of the snapshots of one origin.
//!
//! One lock for any context guards it; threads change it in short steps.

use super::exceptions::{Exceptions, Run};
use super::format::Layout;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

/// The most sectors that one look decides about, unless a chunk has more.
const LOOK: u64 = 2048;

/// Whether a snapshot can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It can.
    Valid,
    /// It cannot, and its COW device does not say so yet: the origin's writes wait for that.
    Dying,
    /// It cannot.
    Invalid,
}

/// Transfers under way, counted in two phases: when the phase changes, those that began
/// before end by and by, however many begin afterwards.
#[derive(Default)]
pub(super) struct Phases {
    counts: [u64; 2],
    now: usize,
}

impl Phases {
    /// One begins; gives the phase to leave.
    pub(super) fn enter(&mut self) -> usize {
        if let Some(count) = self.counts.get_mut(self.now) {
            *count = count.saturating_add(1);
        }
        self.now
    }

    /// One ends; true if it was the last of a phase that is over.
    pub(super) fn leave(&mut self, phase: usize) -> bool {
        let Some(count) = self.counts.get_mut(phase) else { return false };
        *count = count.saturating_sub(1);
        *count == 0 && phase != self.now
    }

    /// Begins another phase. The one before the current one is drained.
    pub(super) fn turn(&mut self) {
        self.now = 1 - self.now;
    }

    /// True if all have ended that began before the last turn.
    pub(super) fn drained(&self) -> bool {
        self.counts.get(1 - self.now).is_none_or(|count| *count == 0)
    }
}

/// Where sectors of a snapshot live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On the COW device, from this sector on.
    Cow {
        /// The first.
        sector: u64,
        /// How many.
        count: u64,
    },
    /// On the origin, in their place.
    Origin {
        /// How many.
        count: u64,
    },
}

/// What requests see of one snapshot.
pub(super) struct Face {
    /// The number of the target that has it.
    pub(super) owner: u64,
    /// Its target was resumed, so the origin's writes save what they change.
    pub(super) active: bool,
    /// It is being merged, so they do not.
    pub(super) merging: bool,
    pub(super) state: State,
    /// A write found no room; no further one is taken.
    pub(super) overflowed: bool,
    pub(super) merge_failed: bool,
    pub(super) layout: Layout,
    /// The sectors of the origin that it shows.
    pub(super) shown: Range<u64>,
    pub(super) table: Exceptions,
    /// Sectors of the COW device in use, and those of them for metadata.
    pub(super) usage: (u64, u64),
    /// Chunks that are being merged just now.
    pub(super) window: Range<u64>,
    /// Writes of a snapshot that is being merged to its COW device.
    pub(super) writes: Phases,
}

impl Face {
    /// How many sectors are looked at once.
    pub(super) fn look(&self) -> u64 {
        self.layout.chunk().max(LOOK)
    }

    /// Where sectors live, from `at` on, for at most `count` of them.
    pub(super) fn place(&self, at: u64, count: u64) -> Place {
        let shift = self.layout.shift();
        let within = at & (self.layout.chunk() - 1);
        let chunk = at >> shift;
        let last = at.saturating_add(count.max(1)).saturating_sub(1) >> shift;
        let most = last.saturating_sub(chunk).saturating_add(1);
        let sectors = |chunks: u64| (chunks << shift).saturating_sub(within).min(count);
        match self.table.run(chunk, most) {
            Run::Mapped { new, count } => {
                Place::Cow { sector: (new << shift).saturating_add(within), count: sectors(count) }
            }
            Run::Free { count } => Place::Origin { count: sectors(count) },
        }
    }

    /// The chunks of these sectors of the origin, as far as the snapshot shows them.
    pub(super) fn chunks(&self, at: u64, count: u64) -> Range<u64> {
        shown_chunks(&self.shown, self.layout, at, count)
    }

    /// True if the origin may not write there yet.
    fn holds(&self, at: u64, count: u64) -> bool {
        if !self.active || self.merging || self.state == State::Invalid {
            return false;
        }
        let chunks = self.chunks(at, count);
        let mut chunk = chunks.start;
        while chunk < chunks.end {
            if self.state == State::Dying {
                return true;
            }
            match self.table.run(chunk, chunks.end.saturating_sub(chunk)) {
                Run::Mapped { count, .. } => chunk = chunk.saturating_add(count),
                Run::Free { .. } => return true,
            }
        }
        false
    }
}

/// The chunks of sectors that a snapshot shows.
pub(super) fn shown_chunks(shown: &Range<u64>, layout: Layout, at: u64, count: u64) -> Range<u64> {
    let first = at.max(shown.start);
    let end = at.saturating_add(count).min(shown.end);
    if first >= end {
        return 0..0;
    }
    let shift = layout.shift();
    (first >> shift)..(end.saturating_sub(1) >> shift).saturating_add(1)
}

/// What requests see of all snapshots of an origin.
pub(super) struct View {
    faces: Vec<Option<Box<Face>>>,
    /// Writes to the origin.
    pub(super) writers: Phases,
}

impl View {
    pub(super) fn new() -> Self {
        Self { faces: Vec::new(), writers: Phases::default() }
    }

    /// The snapshot in a slot.
    pub(super) fn face(&self, slot: usize) -> Option<&Face> {
        self.faces.get(slot)?.as_deref()
    }

    /// The snapshot in a slot, to change.
    pub(super) fn face_mut(&mut self, slot: usize) -> Option<&mut Face> {
        self.faces.get_mut(slot)?.as_deref_mut()
    }

    /// The snapshot in a slot, if this target has it.
    pub(super) fn of(&self, slot: usize, owner: u64) -> Option<&Face> {
        self.face(slot).filter(|face| face.owner == owner)
    }

    /// The same, to change.
    pub(super) fn of_mut(&mut self, slot: usize, owner: u64) -> Option<&mut Face> {
        self.face_mut(slot).filter(|face| face.owner == owner)
    }

    /// True if a write to the origin has to wait for snapshots.
    pub(super) fn holds(&self, at: u64, count: u64) -> bool {
        self.faces.iter().flatten().any(|face| face.holds(at, count))
    }

    /// Puts a snapshot into a slot, in a list that has room for it. Gives the old list.
    pub(super) fn put(
        &mut self,
        slot: usize,
        face: Box<Face>,
        mut list: Vec<Option<Box<Face>>>,
    ) -> Vec<Option<Box<Face>>> {
        if list.capacity() > self.faces.len() {
            list.append(&mut self.faces);
            core::mem::swap(&mut list, &mut self.faces);
        }
        if slot == self.faces.len() && slot < self.faces.capacity() {
            self.faces.push(Some(face));
        } else if let Some(place) = self.faces.get_mut(slot) {
            *place = Some(face);
        }
        list
    }

    /// Takes a snapshot away, to be freed without the lock.
    pub(super) fn take(&mut self, slot: usize) -> Option<Box<Face>> {
        self.faces.get_mut(slot)?.take()
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test says what it expects")]
mod tests {
    use super::*;

    #[test]
    fn a_phase_drains_while_others_come_and_go() {
        let mut phases = Phases::default();
        let (first, second) = (phases.enter(), phases.enter());
        phases.turn();
        let late = phases.enter();
        assert!(!phases.drained() && !phases.leave(first) && !phases.leave(late));
        assert!(phases.leave(second), "the last of those before");
        assert!(phases.drained());
        phases.turn();
        assert!(phases.drained(), "nobody is left of the other phase");
    }

    #[test]
    fn only_what_a_snapshot_shows_counts() {
        let layout = Layout::new(8).expect("a power of two");
        let chunks = |at, count| shown_chunks(&(12..30), layout, at, count);
        assert_eq!(chunks(0, 12), 0..0);
        assert_eq!(chunks(0, 13), 1..2);
        assert_eq!(chunks(15, 2), 1..3);
        assert_eq!(chunks(29, 9), 3..4);
        assert_eq!(chunks(30, 9), 0..0);
        assert_eq!(chunks(0, u64::MAX), 1..4);
    }
}
