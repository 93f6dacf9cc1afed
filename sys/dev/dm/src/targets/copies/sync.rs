//! Copies and compares, window by window, with transfers of its own. For the set's thread.

use super::job::{Job, Purpose, Slot, Step};
use super::keeper::tell;
use super::mend::Mend;
use super::pace::{Leave, Pace};
use super::pass::{Pass, Piece};
use super::scribe::bit;
use super::state::{Phase, Wish};
use super::window::{WINDOW_SECTORS, WINDOWS};
use super::{Action, Core, Fault, Ledger, Member, Standing};
use crate::kern::disk::Op;
use crate::services::{Errand, Mailbox, now_ns};
use alloc::sync::Arc;
use alloc::vec::Vec;
use dm_protocol::{Errno, Sectors};

/// How often it is noted how far members are that come back.
const NOTE_NS: u64 = 5_000_000_000;

/// What is to be put down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Nothing.
    None,
    /// How far members are that come back.
    Note,
    /// The end of a pass.
    Over {
        /// What it did.
        action: Action,
        /// All of it.
        complete: bool,
    },
}

/// Whoever copies.
pub struct Sync {
    slots: Vec<Slot>,
    pass: Option<Pass>,
    /// There may be something to do that was not tried yet.
    wanted: bool,
    /// Requested by a message, to begin when nothing is under way.
    next: Option<Action>,
    frozen: bool,
    /// Windows closed, or let writes through: those that wait may try again.
    moved: bool,
    pace: Pace,
    /// When the next window may open, if that is all it waits for.
    due_ns: Option<u64>,
    /// When it was last noted how far members are.
    noted_ns: u64,
}

impl Sync {
    /// Thread context. With memory for all windows; with `compares` twice that.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn new(mailbox: &Arc<Mailbox>, compares: bool) -> Result<Self, Errno> {
        let mut slots = Vec::new();
        slots.try_reserve_exact(WINDOWS).map_err(|_| Errno::ENOMEM)?;
        let errand = || Errand::new(mailbox, Sectors(WINDOW_SECTORS));
        for _ in 0..WINDOWS {
            let two = if compares { Some(errand()?) } else { None };
            slots.push(Slot { one: Some(errand()?), two, job: None });
        }
        Ok(Self {
            slots,
            pass: None,
            wanted: false,
            next: None,
            frozen: false,
            moved: false,
            pace: Pace::default(),
            due_ns: None,
            noted_ns: 0,
        })
    }

    /// True if no window is open.
    pub fn is_idle(&self) -> bool {
        self.slots.iter().all(|slot| slot.job.is_none())
    }

    /// True if there is something to begin as soon as no window is open.
    pub fn is_waiting(&self) -> bool {
        let asked = self.wanted || self.next.is_some();
        asked && self.pass.is_none() && !self.frozen
    }

    /// True once after windows moved.
    pub fn take_moved(&mut self) -> bool {
        core::mem::take(&mut self.moved)
    }

    /// When it wants to be woken.
    pub fn due(&self) -> Option<u64> {
        self.due_ns.filter(|_| self.pass.is_some())
    }

    /// What may differ shall be looked at.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// No window opens any more. What was under way begins again when it is wanted.
    pub fn stop(&mut self, core: &Core) {
        self.next = None;
        // What was only compared is not less equal.
        let stopped = self.pass.take().is_some_and(|pass| !pass.action.compares());
        core.progress.with(|progress| {
            progress.action = None;
            progress.stopped |= stopped;
        });
    }

    /// A write to a region went wrong.
    pub fn spoil(&mut self, region: u64) {
        self.pass.iter_mut().for_each(|pass| pass.spoil(region));
    }

    /// Does what a message asked for.
    pub fn obey(&mut self, core: &Core, wish: Wish) {
        self.frozen = wish == Wish::Freeze;
        match wish {
            Wish::Begin(action) => {
                self.wanted = true;
                self.next = Some(action).filter(|action| action.compares());
            }
            Wish::Idle => {
                self.stop(core);
                self.wanted = true;
            }
            Wish::Freeze => self.stop(core),
        }
        let frozen = self.frozen;
        core.progress.with(|progress| progress.frozen = frozen);
    }

    /// Goes on where it can. Tells what the thread has to put down.
    pub fn turn(&mut self, core: &Core) -> Point {
        for number in 0..self.slots.len() {
            self.drained(core, number);
        }
        if core.state.with(|state| state.phase) != Phase::Running || core.readonly {
            self.stop(core);
            return Point::None;
        }
        self.mend(core);
        if !self.begin(core) {
            return Point::Over { action: Action::Recover, complete: true };
        }
        self.fill(core);
        if self.is_idle() && self.pass.as_ref().is_some_and(|pass| pass.is_over(core)) {
            let over = |pass: Pass| (pass.action, !pass.incomplete);
            let (action, complete) = self.pass.take().map_or((Action::Check, true), over);
            return Point::Over { action, complete };
        }
        let recovers = self.pass.as_ref().is_some_and(|pass| pass.action == Action::Recover);
        let now = now_ns();
        if recovers && now >= self.noted_ns.saturating_add(NOTE_NS) {
            self.noted_ns = now;
            return Point::Note;
        }
        Point::None
    }

    /// Begins a pass, if one is due. False if members that come back need none.
    fn begin(&mut self, core: &Core) -> bool {
        if self.pass.is_some() || self.frozen || !self.is_idle() {
            return true;
        }
        let needed = core::mem::take(&mut self.wanted).then(|| core.needed()).flatten();
        let Some(action) = needed.or_else(|| self.next.take()) else {
            core.progress.with(|progress| progress.action = None);
            let mut standings = core.members.iter().map(Member::standing);
            return core.regions(|regions| regions.unsynced()) != 0
                || standings.all(|standing| standing != Standing::Returning);
        };
        core.progress.with(|progress| {
            progress.action = Some(action);
            progress.last = Some(action);
            progress.position = 0;
            progress.stopped = false;
            progress.mismatches = if action.compares() { 0 } else { progress.mismatches };
        });
        self.pace.begin();
        self.noted_ns = now_ns();
        self.pass = Some(Pass::new(action, self.noted_ns));
        true
    }

    /// Opens windows, as many as may be.
    fn fill(&mut self, core: &Core) {
        let now = now_ns();
        self.due_ns = None;
        while let Some(pass) = &mut self.pass {
            let open = self.slots.iter().filter(|slot| slot.job.is_some()).count();
            let Some(slot) = self.slots.iter().position(|slot| slot.job.is_none()) else { return };
            if let Leave::At(due) = self.pace.leave(pass, core, open, now) {
                self.due_ns = Some(due);
                return;
            }
            let Some(piece) = pass.next(core) else { return };
            pass.opened = pass.opened.saturating_add(piece.count);
            let purpose = match pass.action {
                Action::Resync | Action::Recover => Purpose::Copy,
                Action::Check => Purpose::Compare { repair: false },
                Action::Repair => Purpose::Compare { repair: true },
            };
            let position = pass.position(core);
            core.progress.with(|progress| progress.position = position);
            self.pace.opened(piece.count, core.rules.rates, now);
            self.open(core, slot, piece, purpose);
        }
    }

    /// Opens windows for what could not be read.
    fn mend(&mut self, core: &Core) {
        while let Some(slot) = self.slots.iter().position(|slot| slot.job.is_none()) {
            let Some(mend) = core.state.with(|state| state.mends.pop()) else { return };
            let Mend { at, count, copy } = mend;
            let region = core.regions(|regions| regions.of(at));
            let end = core.regions(|regions| regions.end(region));
            let now = count.min(WINDOW_SECTORS).min(end.saturating_sub(at));
            let rest = Mend { at: at.saturating_add(now), count: count.saturating_sub(now), copy };
            if rest.count != 0 {
                core.state.with(|state| state.mends.push(rest));
            }
            self.open(core, slot, Piece { region, at, count: now }, Purpose::Mend { copy });
        }
    }

    fn open(&mut self, core: &Core, number: usize, piece: Piece, purpose: Purpose) {
        let stale = core.state.with(|state| {
            state.windows.open(number, piece.region, piece.at, piece.count);
            state.regions.is_stale(piece.region)
        });
        let (step, tried) = (Step::Drains, 0);
        let job = Job { piece, purpose, step, stale, source: 0, tried, copy: 0, failed: false };
        if let Some(slot) = self.slots.get_mut(number) {
            slot.job = Some(job);
        }
        self.drained(core, number);
    }

    /// A window opens when nobody writes to its region.
    fn drained(&mut self, core: &Core, number: usize) {
        let Some(job) = self.slots.get(number).and_then(|slot| slot.job) else { return };
        if job.step != Step::Drains {
            return;
        }
        let drained = core.state.with(|state| {
            let drained = !state.regions.is_busy(job.piece.region);
            if drained {
                state.windows.activate(number);
            }
            drained
        });
        if drained {
            self.moved = true;
            self.read_source(core, number, job);
        }
    }

    /// Reads the copy that counts, of those that could be read so far.
    fn read_source(&mut self, core: &Core, number: usize, mut job: Job) {
        let mut from = 0;
        while let Some(copy) = core.source(job.piece.at, from) {
            from = copy.saturating_add(1);
            let mending = job.purpose == Purpose::Mend { copy };
            if mending || job.tried & bit(copy) != 0 {
                // A strict set has no second source.
                match core.rules.strict && job.stale {
                    true => break,
                    false => continue,
                }
            }
            job.source = copy;
            job.step = Step::Reads;
            return self.send(core, number, job, (Op::Read, copy, false));
        }
        job.failed = true;
        self.close(core, number, job);
    }

    /// Sends a transfer of a window: what to do, with which copy, and in which memory.
    fn send(&mut self, core: &Core, number: usize, job: Job, what: (Op, usize, bool)) {
        let (op, copy, second) = what;
        let Some(slot) = self.slots.get_mut(number) else { return };
        slot.job = Some(job);
        let errand = if second { slot.two.take() } else { slot.one.take() };
        let place = core
            .geometry
            .place(job.piece.at, copy)
            .and_then(|(on, sector)| Some((core.members.get(on)?.lower()?, sector)));
        match (errand, place) {
            (Some(mut errand), Some((lower, sector))) => {
                *errand.tag() = (number as u64) << 1 | u64::from(second);
                errand.send(op, false, lower, sector, Sectors(job.piece.count));
            }
            (errand, _) => {
                let home = if second { &mut slot.two } else { &mut slot.one };
                *home = errand;
                self.close(core, number, Job { failed: true, ..job });
            }
        }
    }

    /// A transfer is back.
    pub fn arrived(
        &mut self,
        core: &Core,
        ledger: &mut dyn Ledger,
        mut errand: Errand,
        result: Result<(), Errno>,
    ) {
        let tag = *errand.tag();
        let number = (tag >> 1) as usize;
        let Some(slot) = self.slots.get_mut(number) else { return };
        let home = if tag & 1 == 1 { &mut slot.two } else { &mut slot.one };
        *home = Some(errand);
        let Some(job) = slot.job else { return };
        match job.step {
            Step::Drains => {}
            Step::Reads => self.was_read(core, number, job, result),
            Step::Compares => self.was_compared(core, number, job, result),
            Step::Writes => self.was_written(core, ledger, number, job, result),
        }
    }

    fn was_read(&mut self, core: &Core, number: usize, mut job: Job, result: Result<(), Errno>) {
        if result.is_ok() {
            return self.advance(core, number, job, 0);
        }
        if let Some((on, _)) = core.geometry.place(job.piece.at, job.source) {
            core.note_sync_fault(on);
        }
        job.tried |= bit(job.source);
        self.read_source(core, number, job);
    }

    /// Goes on with the next copy from `from` on that is not the source.
    fn advance(&mut self, core: &Core, number: usize, mut job: Job, from: usize) {
        for copy in from..core.geometry.copies() {
            let place = core.geometry.place(job.piece.at, copy);
            let standing = place.and_then(|(on, _)| core.members.get(on)).map(Member::standing);
            let unread = job.tried & bit(copy) != 0;
            let step = match (job.purpose, standing) {
                _ if copy == job.source => None,
                (Purpose::Mend { copy: only }, _) if only != copy => None,
                (Purpose::Mend { .. }, Some(Standing::Live)) => Some(Step::Writes),
                (Purpose::Mend { .. }, _) => None,
                // What could not be read is written again.
                (_, Some(Standing::Live)) if unread => Some(Step::Writes),
                (Purpose::Copy, Some(Standing::Live)) => job.stale.then_some(Step::Writes),
                (Purpose::Copy, Some(Standing::Returning)) => Some(Step::Writes),
                (Purpose::Compare { .. }, Some(Standing::Live)) => Some(Step::Compares),
                _ => None,
            };
            let Some(step) = step else { continue };
            job.copy = copy;
            job.step = step;
            let what = match step {
                Step::Compares => (Op::Read, copy, true),
                _ => (Op::Write, copy, false),
            };
            return self.send(core, number, job, what);
        }
        self.close(core, number, job);
    }

    fn was_compared(
        &mut self,
        core: &Core,
        number: usize,
        mut job: Job,
        result: Result<(), Errno>,
    ) {
        let next = job.copy.saturating_add(1);
        let bytes = usize::try_from(job.piece.count.saturating_mul(512)).unwrap_or(0);
        let Some(slot) = self.slots.get(number) else { return };
        let equal = match (&slot.one, &slot.two) {
            (Some(one), Some(two)) => one.bytes().get(..bytes) == two.bytes().get(..bytes),
            _ => false,
        };
        if result.is_ok() && equal {
            return self.advance(core, number, job, next);
        }
        if result.is_ok() {
            let count = self.pass.as_mut().map_or(0, |pass| pass.differs(core, job.piece.at));
            core.progress.with(|progress| {
                progress.mismatches = progress.mismatches.saturating_add(count);
            });
        }
        // What cannot be read is written again, whoever asks.
        if result.is_err() || job.purpose == (Purpose::Compare { repair: true }) {
            job.step = Step::Writes;
            let copy = job.copy;
            return self.send(core, number, job, (Op::Write, copy, false));
        }
        self.advance(core, number, job, next);
    }

    fn was_written(
        &mut self,
        core: &Core,
        ledger: &mut dyn Ledger,
        number: usize,
        mut job: Job,
        result: Result<(), Errno>,
    ) {
        let on = core.geometry.place(job.piece.at, job.copy).map(|(on, _)| on);
        if let (Err(_), Some(on)) = (result, on) {
            core.note_fault(on, Fault::Sync);
            let live = core.members.get(on).is_some_and(Member::is_live);
            if (core.rules.forgiving && live) || !core.lose(on) {
                job.failed = true;
            } else {
                tell(core, ledger);
            }
        }
        let next = job.copy.saturating_add(1);
        self.advance(core, number, job, next);
    }

    /// A window is done. A region without open windows is as equal as it gets.
    fn close(&mut self, core: &Core, number: usize, job: Job) {
        if let Some(slot) = self.slots.get_mut(number) {
            slot.job = None;
        }
        core.state.with(|state| state.windows.close(number));
        self.moved = true;
        if matches!(job.purpose, Purpose::Mend { .. }) {
            return;
        }
        let Some(pass) = &mut self.pass else { return };
        let done = pass.closed(job.piece.region, !job.failed);
        let position = pass.position(core);
        core.progress.with(|progress| progress.position = position);
        if let (Some((region, true)), Purpose::Copy) = (done, job.purpose) {
            core.change(|state| {
                state.regions.set_stale(region, false);
                if !state.degraded {
                    state.regions.set_absent(region, false);
                }
            });
        }
    }
}
