//! The way of requests: which copies a part goes to, and what it waits for.

use super::mend::Mend;
use super::scribe::bit;
use super::state::{Phase, State};
use super::{Core, Fault, Member, Standing};
use crate::kern::disk::Op;
use crate::services::LegSet;
use crate::target::{Mapping, Part, Range};
use dm_protocol::{Errno, Sector, Sectors};

/// What a write comes to.
enum Step {
    /// It goes to these copies, by bit.
    Goes(Part, LegSet, u64),
    /// It waits for another table.
    Holds(Part),
    /// It waits for the thread.
    Wakes,
    /// It waits for a window to close.
    Waits,
}

/// How far copies of a range can be trusted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// All are equal.
    None,
    /// Those of members in use are.
    Absent,
    /// The first counts.
    Stale,
}

/// The cookie of a read: which copy was tried first, and how many were tried since.
struct Tried;

impl Tried {
    const BITS: u32 = 8;

    fn encode(first: usize, more: usize) -> u64 {
        (more as u64) << Self::BITS | first as u64
    }

    fn decode(cookie: u64) -> (usize, usize) {
        ((cookie & ((1 << Self::BITS) - 1)) as usize, (cookie >> Self::BITS) as usize)
    }
}

impl State {
    /// A write asks to go. Memory that it does not need is given back: not under the lock.
    fn admit(&mut self, core: &Core, part: Part, set: Option<LegSet>) -> (Step, Option<LegSet>) {
        let (at, count) = (part.at().0, part.count().0);
        let region = self.regions.of(at);
        let doubted = self.regions.is_stale(region) || self.regions.is_absent(region);
        if core.rules.holds && (self.degraded || (self.faulty && doubted)) {
            return (Step::Holds(part), set);
        }
        if self.windows.blocks(region, at, count) {
            self.blocked.push(part);
            return (Step::Waits, set);
        }
        if !self.regions.is_open(region) {
            if self.phase == (Phase::Suspending { noflush: true }) {
                return (Step::Holds(part), set);
            }
            self.unmarked.push(part);
            return (Step::Wakes, set);
        }
        match set {
            Some(set) if self.regions.enter(region) => {
                if self.degraded {
                    self.regions.set_absent(region, true);
                }
                // Chosen here: who goes out of use under this lock is written, and fails, or not.
                (Step::Goes(part, set, core.targets(at)), None)
            }
            set => {
                self.starved.push(part);
                (Step::Wakes, set)
            }
        }
    }
}

impl Core {
    /// All is kept, cut where copies cease to lie in order; writes also where regions end.
    pub(super) fn map(&self, range: Range) -> Mapping<'_> {
        let run = range.count.0.min(self.geometry.run(range.at.0));
        match range.op {
            Op::WriteZeroes => Mapping::Fail(Errno::EOPNOTSUPP),
            Op::Flush => Mapping::Keep { count: range.count },
            Op::Read => Mapping::Keep { count: Sectors(run) },
            Op::Write | Op::Discard => {
                let within = range.at.0 & ((1 << self.region_shift) - 1);
                Mapping::Keep { count: Sectors(run.min((1 << self.region_shift) - within)) }
            }
        }
    }

    /// Any context. A write goes to its copies, or waits for what it needs.
    pub(super) fn admit(&self, part: Part) {
        let set = self.legs.take();
        let (step, set) = self.change(|state| state.admit(self, part, set));
        drop(set);
        match step {
            Step::Goes(part, set, copies) => {
                let at = part.at().0;
                set.send(part, |copy| match copies & bit(copy) {
                    0 => None,
                    _ => {
                        let (on, sector) = self.geometry.place(at, copy)?;
                        Some((self.members.get(on)?.lower()?, sector))
                    }
                });
            }
            Step::Holds(part) => self.hold(part),
            Step::Wakes => self.mailbox.poke(),
            Step::Waits => {}
        }
    }

    /// The copies whose members are written, by bit.
    fn targets(&self, at: u64) -> u64 {
        let written = |copy: &usize| {
            let place = self.geometry.place(at, *copy);
            place.is_some_and(|(on, _)| self.written(on).is_some())
        };
        (0..self.geometry.copies()).filter(written).fold(0, |all, copy| all | bit(copy))
    }

    /// Any context. A flush goes to all members that are written.
    pub(super) fn send_flush(&self, part: Part) {
        let set = self.flushes.take();
        let (sent, idle) = self.state.with(|state| match set {
            Some(set) if !state.untold => {
                let written = |member: &usize| self.written(*member).is_some();
                let members = (0..self.members.len()).filter(written);
                (Some((part, set, members.fold(0, |all, member| all | bit(member)))), None)
            }
            set => {
                state.starved_flushes.push(part);
                (None, set)
            }
        });
        drop(idle);
        match sent {
            Some((part, set, members)) => set.send(part, |member| match members & bit(member) {
                0 => None,
                _ => Some((self.members.get(member)?.lower()?, Sector(0))),
            }),
            None => self.mailbox.poke(),
        }
    }

    /// Thread context. Parts that found no memory try again, as long as there is some: the next
    /// to end wakes the thread for the rest.
    pub(super) fn feed(&self) {
        while let Some(set) = self.legs.take() {
            drop(set);
            let Some(part) = self.state.with(|state| state.starved.pop()) else { break };
            self.admit(part);
        }
        while let Some(set) = self.flushes.take().filter(|_| !self.is_untold()) {
            drop(set);
            let Some(part) = self.state.with(|state| state.starved_flushes.pop()) else { break };
            self.send_flush(part);
        }
    }

    /// Any context. A write waits for another table; while the device is being suspended it
    /// goes back, or fails.
    pub(super) fn hold(&self, part: Part) {
        let phase = self.state.with(|state| match state.phase {
            Phase::Running | Phase::New => {
                state.held.push(part);
                None
            }
            phase => Some((phase, part)),
        });
        match phase {
            None => {}
            Some((Phase::Suspending { noflush: true }, part)) => part.hand_back(),
            Some((_, part)) => part.finish(Err(Errno::EIO)),
        }
    }

    /// Thread context. A write waits until its mark is durable. While the device is being
    /// suspended without flush it goes back: the record may be held below.
    pub(super) fn await_mark(&self, part: Part) {
        let back = self.state.with(|state| match state.phase {
            Phase::Suspending { noflush: true } => Some(part),
            _ => {
                state.marking.push(part);
                None
            }
        });
        if let Some(part) = back {
            self.hold(part);
        }
    }

    /// Any context. A write or a flush is back.
    pub(super) fn write_done(&self, part: Part, result: Result<(), Errno>) {
        match (part.op(), result) {
            // What cannot be discarded is not broken.
            (Op::Discard, _) | (_, Ok(())) => {
                self.leave(&part);
                part.finish(result);
            }
            (_, Err(_)) => self.mailbox.post_back(part, result),
        }
    }

    /// Any context. A write is not under way any more. Wakes the thread if it waits for that.
    pub(super) fn leave(&self, part: &Part) {
        let (op, at) = (part.op(), part.at().0);
        let wake = self.state.with(|state| {
            let region = state.regions.of(at);
            let last = op != Op::Flush && state.regions.leave(region);
            (last && state.windows.wait_for(region))
                || !state.starved.is_empty()
                || !state.starved_flushes.is_empty()
        });
        if wake {
            self.mailbox.poke();
        }
    }

    /// Any context. A read goes to the copy that serves it best.
    pub(super) fn read(&self, part: Part) {
        let (at, count) = (part.at().0, part.count().0);
        let first = match self.doubt(at, count) {
            Doubt::Stale => self.source(at, 0),
            doubt => self.best(at, doubt).or_else(|| self.source(at, 0)),
        };
        self.read_copy(part, first.unwrap_or(0), 0);
    }

    /// Thread context. A read failed, and goes to the next copy.
    pub(super) fn read_again(&self, mut part: Part) {
        let (first, more) = Tried::decode(*part.cookie());
        self.read_copy(part, first, more);
    }

    /// Sends a read to the first copy that will do, of those not tried yet.
    fn read_copy(&self, mut part: Part, first: usize, tried: usize) {
        let (at, count) = (part.at().0, part.count().0);
        let doubt = self.doubt(at, count);
        let copies = self.geometry.copies();
        for more in tried..copies {
            let copy = first.saturating_add(more) % copies.max(1);
            let Some((member, sector)) = self.readable(at, copy, doubt) else { continue };
            let Some(lower) = member.lower() else { continue };
            *part.cookie() = Tried::encode(first, more);
            member.read_starts(sector.0, count);
            return part.forward(lower, sector);
        }
        part.finish(Err(Errno::EIO));
    }

    /// Any context. A read is back.
    pub(super) fn read_done(&self, mut part: Part, result: Result<(), Errno>) {
        let (first, more) = Tried::decode(*part.cookie());
        let at = part.at().0;
        let copies = self.geometry.copies().max(1);
        let on = self.geometry.place(at, first.saturating_add(more) % copies);
        if let Some(member) = on.and_then(|(on, _)| self.members.get(on)) {
            member.read_ends();
        }
        if result.is_ok() {
            if more != 0 && self.rules.mends && !self.readonly {
                self.ask_to_mend(&part, first, more);
            }
            return part.finish(result);
        }
        if let Some((on, _)) = on.filter(|_| self.rules.forgiving) {
            self.note_fault(on, Fault::Read);
        }
        *part.cookie() = Tried::encode(first, more.saturating_add(1));
        // By the thread, since as many copies may fail as the stack would not hold.
        self.mailbox.post(part);
    }

    /// What could not be read of the copies tried before the last is to be written again.
    fn ask_to_mend(&self, part: &Part, first: usize, more: usize) {
        let (at, count) = (part.at().0, part.count().0);
        let copies = self.geometry.copies().max(1);
        self.state.with(|state| {
            for number in 0..more {
                let copy = first.saturating_add(number) % copies;
                state.mends.push(Mend { at, count, copy });
            }
        });
        self.mailbox.poke();
    }

    /// How far the copies of a range can be trusted.
    fn doubt(&self, at: u64, count: u64) -> Doubt {
        if self.unsynced.load(core::sync::atomic::Ordering::SeqCst) == 0 {
            return Doubt::None;
        }
        self.state.with(|state| {
            let regions = &state.regions;
            let last = regions.of(at.saturating_add(count.saturating_sub(1)));
            let mut doubt = Doubt::None;
            for region in regions.of(at)..=last {
                if regions.is_stale(region) {
                    return Doubt::Stale;
                }
                if regions.is_absent(region) {
                    doubt = Doubt::Absent;
                }
            }
            doubt
        })
    }

    /// The copy that serves a read best.
    fn best(&self, at: u64, doubt: Doubt) -> Option<usize> {
        let scored = (0..self.geometry.copies()).filter_map(|copy| {
            let (member, sector) = self.readable(at, copy, doubt)?;
            let in_use = member.standing() != Standing::Dead;
            in_use.then(|| (member.score(sector.0), copy))
        });
        scored.min().map(|(_, copy)| copy)
    }

    /// The member and the place of a copy, if it may be read.
    fn readable(&self, at: u64, copy: usize, doubt: Doubt) -> Option<(&Member, Sector)> {
        let (on, sector) = self.geometry.place(at, copy)?;
        let member = self.members.get(on)?;
        let good = match (member.standing(), doubt) {
            (Standing::Missing, _) => false,
            (Standing::Live, Doubt::None | Doubt::Absent) => true,
            (Standing::Live, Doubt::Stale) => {
                !self.rules.strict || self.source(at, 0) == Some(copy)
            }
            (Standing::Returning, doubt) => doubt == Doubt::None,
            (Standing::Dead, doubt) => self.rules.forgiving && doubt == Doubt::None,
        };
        good.then_some((member, sector))
    }
}
