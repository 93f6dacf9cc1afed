//! What snapshot and snapshot-merge have in common: their arguments, and whose turn it is.
//!
//! A store belongs to one target at a time. A target that is loaded for a store in use takes
//! it over when it is resumed, with all that is in memory; the one before must be suspended.

use super::exceptions::Exceptions;
use super::format::{Layout, SHIFT_MAX};
use super::hub::{Hub, Inner, Works};
use super::load::{self, Due, Loaded};
use super::view::{Face, Phases, State};
use super::work::{Start, Work};
use crate::event::Event;
use crate::kern::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::lower::{Identity, Lower};
use crate::params::Params;
use crate::services::Shared;
use crate::target::Setup;
use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use core::fmt;
use core::ops::Range;
use dm_protocol::{Errno, Failure, Sector};

/// In no slot.
const NOWHERE: usize = usize::MAX;

/// A snapshot, as one target has it.
pub(super) struct Member {
    hub: Arc<Hub>,
    /// The target's number.
    pub(super) number: u64,
    slot: AtomicUsize,
    /// The origin and the COW device.
    pub(super) lowers: [Lower; 2],
    /// The sectors of the origin that it shows.
    pub(super) shown: Range<u64>,
    persistent: bool,
    survives_overflow: bool,
    /// Sectors in a chunk: what was asked for, then what the store has.
    chunk: AtomicU64,
    pub(super) discards: Discards,
    merges: bool,
    event: Arc<Event>,
    used: Arc<CowUse>,
}

/// What becomes of discards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Discards {
    /// They are refused.
    No,
    /// They clear copies of whole chunks.
    Cow,
    /// And they go to the origin, too.
    Origin,
}

/// Who uses a COW device: snapshots of one origin.
pub(super) struct CowUse {
    by: Shared<Option<Identity>>,
}

/// What a target does when it is resumed.
enum Turn {
    /// It goes on.
    Mine,
    /// It takes the store over.
    TakeOver,
    /// It begins with what it loaded.
    Begin,
    /// It loads, and begins.
    Load,
    /// Another has taken its store over, for good.
    Lost,
}

impl Member {
    /// Reads the arguments, and the store unless another target has it.
    pub(super) fn new(
        setup: &mut Setup<'_>,
        params: &mut Params<'_>,
        merges: bool,
    ) -> Result<Self, Failure> {
        let passes = params.any(|word| word.eq_ignore_ascii_case("discard_passdown_origin"));
        let writes = merges || (passes && !setup.readonly());
        let origin = match writes {
            true => setup.device_to_write(params)?,
            false => setup.device_to_read(params)?,
        };
        let shown = (setup.start(), setup.length());
        origin.check_range(shown.0, shown.1).map_err(|why| params.blame(&why))?;
        let cow = setup.device_to_write(params)?;
        if cow.identity() == origin.identity() {
            return Err(params.refuse("is the origin itself"));
        }
        let (persistent, survives_overflow) = read_kind(params, merges)?;
        let chunk = read_chunk(params, persistent, &origin, &cow)?;
        let discards = read_features(params)?;
        let hub = setup.shared(&origin, Hub::new)?;
        let used = setup.shared(&cow, || Ok::<_, Errno>(CowUse { by: Shared::new(None) }))?;
        let member = Self {
            number: hub.inner().number(),
            hub,
            slot: AtomicUsize::new(NOWHERE),
            lowers: [origin, cow],
            shown: shown.0.0..shown.0.0.saturating_add(shown.1.0),
            persistent,
            survives_overflow,
            chunk: AtomicU64::new(chunk),
            discards,
            merges,
            event: setup.event(),
            used,
        };
        let in_use = |works: &mut Works| works.all().any(|work| member.is_source(work));
        // A mapped device may get its table later, and its store is read then.
        let later = matches!(member.cow(), Lower::Mapped(_)) && member.cow().size().is_zero();
        if !later && !member.inner().works.with(in_use) {
            member.load()?;
        }
        Ok(member)
    }

    pub(super) fn inner(&self) -> &Inner {
        self.hub.inner()
    }

    pub(super) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub(super) const fn origin(&self) -> &Lower {
        let [origin, _] = &self.lowers;
        origin
    }

    pub(super) const fn cow(&self) -> &Lower {
        let [_, cow] = &self.lowers;
        cow
    }

    /// The slot, if it is in one.
    pub(super) fn slot(&self) -> usize {
        self.slot.load(Ordering::Relaxed)
    }

    /// True if this work has the store in use.
    fn is_source(&self, work: &Work) -> bool {
        work.active && work.cow_identity == self.cow().identity()
    }

    fn is_mine(&self, slot: usize) -> bool {
        self.inner().view.with(|view| view.of(slot, self.number).is_some())
    }

    /// Reads the store and puts it into a slot of our own.
    fn load(&self) -> Result<(), Failure> {
        let asked = self.chunk.load(Ordering::Relaxed);
        let unit = unit(self.origin(), self.cow());
        let loaded = match self.persistent {
            true => load::persistent(self.cow(), asked, unit)?,
            false => load::transient(self.cow(), asked, unit)?,
        };
        self.chunk.store(loaded.layout.chunk(), Ordering::Relaxed);
        let Loaded { layout, store, table, valid, due } = loaded;
        let usage = store.usage(layout);
        let start = Start {
            layout,
            store,
            valid,
            due,
            origin: self.origin().clone(),
            cow: self.cow().clone(),
            shown: self.shown.clone(),
            survives_overflow: self.survives_overflow,
            event: Arc::clone(&self.event),
        };
        let work = Box::new(Work::new(start, &self.inner().mailbox)?);
        let face = self.face(layout, table, usage, work.state);
        self.enter(work, face);
        Ok(())
    }

    fn face(&self, layout: Layout, table: Exceptions, usage: (u64, u64), state: State) -> Face {
        Face {
            owner: self.number,
            active: false,
            merging: false,
            state,
            overflowed: false,
            merge_failed: false,
            layout,
            shown: self.shown.clone(),
            table,
            usage,
            window: 0..0,
            writes: Phases::default(),
        }
    }

    fn enter(&self, work: Box<Work>, face: Face) {
        let inner = self.inner();
        let slot = inner.works.with(|works| works.add(inner, work, face));
        self.slot.store(slot, Ordering::Relaxed);
    }

    /// Whose turn it is.
    fn turn(&self) -> Result<Turn, Failure> {
        let busy = |why: &str| Failure::new(Errno::EBUSY, format!("{}: {why}", self.cow()));
        let wrong = |why: &str| Failure::new(Errno::EINVAL, format!("{}: {why}", self.cow()));
        let slot = self.slot();
        let mine = self.is_mine(slot);
        if slot != NOWHERE && !mine {
            return Ok(Turn::Lost);
        }
        self.inner().works.with(|works| {
            let other = |work: &Work| {
                work.active && work.merge.is_on() && work.cow_identity != self.cow().identity()
            };
            if self.merges && works.all().any(|work| other(work)) {
                return Err(busy("another snapshot is being merged into the origin"));
            }
            let Some(source) = works.all().find(|work| self.is_source(work)) else {
                let fresh = works.work(slot).is_some_and(|work| !work.stale);
                return Ok(if mine && fresh { Turn::Begin } else { Turn::Load });
            };
            if mine && source.slot == slot {
                return Ok(Turn::Mine);
            }
            if source.running {
                return Err(busy("the snapshot that has it is not suspended"));
            }
            if source.store.is_persistent() != self.persistent {
                return Err(wrong("the snapshot that has it keeps it in another way"));
            }
            if source.merge.is_on() && !self.merges {
                return Err(wrong("it is being merged, which cannot be undone"));
            }
            Ok(Turn::TakeOver)
        })
    }

    /// Sees to it that the store can be used.
    pub(super) fn preresume(&self) -> Result<(), Failure> {
        match self.turn()? {
            Turn::Mine | Turn::TakeOver | Turn::Lost => return Ok(()),
            Turn::Begin => {}
            Turn::Load => {
                self.leave();
                self.load()?;
            }
        }
        let origin = self.origin().identity();
        let taken = self.used.by.with(|by| by.replace(origin).filter(|by| *by != origin));
        if let Some(other) = taken {
            self.used.by.with(|by| *by = Some(other));
            let message = format!("{} is used by a snapshot of another device", self.cow());
            return Err(Failure::new(Errno::EBUSY, message));
        }
        self.write_due()
    }

    /// Writes what is due, without the lock of the thread: that may be needed for it.
    fn write_due(&self) -> Result<(), Failure> {
        let inner = self.inner();
        let take = |works: &mut Works| {
            let work = works.work(self.slot())?;
            (work.due != Due::Nothing).then(|| works.take(inner, self.slot()))?
        };
        let Some((mut work, face)) = inner.works.with(take) else { return Ok(()) };
        self.slot.store(NOWHERE, Ordering::Relaxed);
        load::write_due(self.cow(), work.layout, &work.store, work.due)?;
        work.due = Due::Nothing;
        self.enter(work, *face);
        Ok(())
    }

    /// Goes on, begins, or takes over. Then writes to the origin see the snapshot.
    pub(super) fn resume(&self) {
        let inner = self.inner();
        let slot = self.slot();
        let mine = self.is_mine(slot);
        let source = inner
            .works
            .with(|works| works.all().find(|work| self.is_source(work)).map(|work| work.slot));
        match source {
            _ if slot != NOWHERE && !mine => return,
            Some(source) if source != slot => {
                // The target that had it finds another number there.
                self.leave();
                self.slot.store(source, Ordering::Relaxed);
            }
            _ => {}
        }
        inner.works.with(|works| {
            let (slot, cow) = (self.slot(), self.cow().identity());
            let Some(work) = works.work(slot) else { return };
            self.take_up(work);
            for other in works.all().filter(|work| work.slot != slot) {
                other.stale |= other.cow_identity == cow && !other.active;
            }
            works.settle(inner);
        });
        if source != Some(slot) && !self.merges {
            inner.drain_writers();
        }
    }

    /// Makes the snapshot this target's.
    fn take_up(&self, work: &mut Work) {
        let chunks = load::chunks(self.cow(), work.layout);
        work.origin = self.origin().clone();
        work.cow = self.cow().clone();
        work.shown = self.shown.clone();
        work.survives_overflow = self.survives_overflow;
        work.event = Arc::clone(&self.event);
        (work.active, work.running) = (true, true);
        self.chunk.store(work.layout.chunk(), Ordering::Relaxed);
        let room = work.store.has_room(chunks);
        self.inner().view.with(|view| {
            let Some(face) = view.face_mut(work.slot) else { return };
            face.owner = self.number;
            face.shown.start = self.shown.start;
            face.shown.end = self.shown.end;
            face.merging = self.merges;
            face.active = true;
            // There may be room again.
            face.overflowed &= !room;
        });
        if self.merges {
            work.start_merge();
        }
    }

    /// Requests have ended: another target may take over.
    pub(super) fn postsuspend(&self) {
        let slot = self.slot();
        let mine = self.is_mine(slot);
        self.inner().works.with(|works| {
            if let Some(work) = works.work(slot).filter(|_| mine) {
                work.running = false;
            }
        });
    }

    /// Merging stops, once the step under way is over.
    pub(super) fn stop_merge(&self) {
        let slot = self.slot();
        if !self.is_mine(slot) {
            return;
        }
        self.inner().works.wait_for(|works| {
            let Some(work) = works.work(slot) else { return Some(()) };
            work.merge.stop();
            work.merge.is_idle().then_some(())
        });
    }

    /// Takes the snapshot out, once nothing of it is under way.
    fn leave(&self) {
        let inner = self.inner();
        let slot = self.slot.swap(NOWHERE, Ordering::Relaxed);
        if !self.is_mine(slot) {
            return;
        }
        let was_active = inner.works.with(|works| {
            let active = works.work(slot).is_some_and(|work| {
                work.merge.stop();
                core::mem::take(&mut work.active)
            });
            let hide = |face: &mut Face| face.active = false;
            inner.view.with(|view| view.face_mut(slot).map(hide));
            works.settle(inner);
            active
        });
        let gone = inner.works.wait_for(|works| {
            let idle = works.work(slot).is_none_or(|work| work.is_idle());
            idle.then(|| works.take(inner, slot))
        });
        // What they hold is freed here, without a lock.
        drop(gone);
        if was_active {
            self.used.by.with(|by| *by = None);
        }
    }

    /// As a table gives it.
    pub(super) fn write_params(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let [origin, cow] = &self.lowers;
        let kind = match (self.persistent, self.survives_overflow) {
            (true, false) => "P",
            (true, true) => "PO",
            (false, _) => "N",
        };
        write!(out, "{origin} {cow} {kind} {}", self.chunk.load(Ordering::Relaxed))?;
        match self.discards {
            Discards::No => Ok(()),
            Discards::Cow => out.write_str(" 1 discard_zeroes_cow"),
            Discards::Origin => out.write_str(" 2 discard_zeroes_cow discard_passdown_origin"),
        }
    }

    /// How full the COW device is, or why nobody counts any more.
    pub(super) fn write_status(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let slot = self.slot();
        let seen = self.inner().view.with(|view| {
            let face = view.of(slot, self.number)?;
            Some((face.state, face.merge_failed, face.overflowed, face.usage))
        });
        match seen {
            Some((State::Valid, false, false, (used, metadata))) => {
                write!(out, "{used}/{} {metadata}", self.cow().size())
            }
            Some((State::Valid, true, ..)) => out.write_str("Merge failed"),
            Some((State::Valid, ..)) => out.write_str("Overflow"),
            // It waits for what another has.
            None if slot == NOWHERE => write!(out, "0/{} 0", self.cow().size()),
            Some(_) | None => out.write_str("Invalid"),
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Sectors in the larger of two devices' sectors.
fn unit(origin: &Lower, cow: &Lower) -> u64 {
    u64::from(origin.sector_size().max(cow.sector_size()) / 512).max(1)
}

/// `P`, `PO` or `N`.
fn read_kind(params: &mut Params<'_>, merges: bool) -> Result<(bool, bool), Failure> {
    let word = params.word("store")?;
    let is = |kind: &str| word.eq_ignore_ascii_case(kind);
    match (is("P"), is("PO"), is("N")) {
        (true, ..) => Ok((true, false)),
        (_, true, _) => Ok((true, true)),
        (.., true) if merges => Err(params.refuse("is no store that can be merged")),
        (.., true) => Ok((false, false)),
        _ => Err(params.refuse("is not P, PO or N")),
    }
}

fn read_chunk(
    params: &mut Params<'_>,
    persistent: bool,
    origin: &Lower,
    cow: &Lower,
) -> Result<u64, Failure> {
    let chunk = params.number("chunk", 0..=1 << SHIFT_MAX)?;
    if chunk == 0 && persistent {
        return Ok(0);
    }
    if !chunk.is_power_of_two() {
        return Err(params.refuse("is not a power of two"));
    }
    let unit = unit(origin, cow);
    if !chunk.is_multiple_of(unit) {
        let why = format!("is no multiple of {unit}, the sectors of the devices");
        return Err(params.refuse(&why));
    }
    Ok(chunk)
}

fn read_features(params: &mut Params<'_>) -> Result<Discards, Failure> {
    let (mut zeroes, mut passes) = (false, false);
    let count = match params.left() {
        0 => 0,
        _ => params.number("number of features", 0..=2)?,
    };
    for _ in 0..count {
        let word = params.word("feature")?;
        let is = |feature: &str| word.eq_ignore_ascii_case(feature);
        match (is("discard_zeroes_cow"), is("discard_passdown_origin")) {
            (true, _) => zeroes = true,
            (_, true) => passes = true,
            _ => return Err(params.refuse("is no feature")),
        }
    }
    params.end()?;
    match (zeroes, passes) {
        (false, true) => Err(params.refuse("needs discard_zeroes_cow, too")),
        (true, true) => Ok(Discards::Origin),
        (true, false) => Ok(Discards::Cow),
        (false, false) => Ok(Discards::No),
    }
}

/// A sector of the origin.
pub(super) const fn sector(at: u64) -> Sector {
    Sector(at)
}
