//! What the thread of an origin does for one snapshot: copies under way, and who waits for
//! them.
//!
//! A *job* gives a run of chunks its copies: chunks are set aside on the COW device, filled,
//! written down in the order in which they were set aside, and then the table knows them.

use super::commit::Commit;
use super::format::Layout;
use super::hub::Cx;
use super::merge::Merge;
use super::slow::Slow;
use super::store::Store;
use super::ticket::{Does, Kind, Tag, Ticket};
use super::view::{State, shown_chunks};

use super::load::Due;
use crate::event::Event;
use crate::lower::{Identity, Lower};
use crate::services::{Errand, Mailbox, log};
use crate::target::{Part, PartQueue};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use dm_protocol::{Errno, Sector, Sectors};

/// Jobs of a snapshot at a time.
pub(super) const JOBS: usize = 64;
/// Transfers of a snapshot's own at a time.
pub(super) const ERRANDS: usize = 32;
/// What one of them moves at most, in sectors, unless a sector below is larger.
pub(super) const PIECE: u64 = 64;
/// A run of chunks that get their copies.
pub(super) struct Job {
    /// On the origin.
    pub(super) old: u64,
    /// On the COW device.
    pub(super) new: u64,
    pub(super) count: u64,
    /// Which job of the snapshot it is, counted from the first.
    pub(super) number: u64,
    /// Sectors to copy: fewer than the chunks have where the origin ends.
    pub(super) length: u64,
    pub(super) sent: u64,
    pub(super) left: u64,
    pub(super) flying: usize,
    /// The data is on the COW device.
    pub(super) filled: bool,
    /// Chunks whose entries are written.
    pub(super) committed: u64,
    /// The write that fills it.
    pub(super) whole: Option<Part>,
    pub(super) waiters: PartQueue,
}

/// What a part waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// This job.
    Job(usize),
    /// A free job.
    Room,
    /// That the COW device says that the snapshot is invalid.
    Burial,
}

/// Why there is no new job.
pub(super) enum Refused {
    Room,
    Space,
    Memory,
}

/// A snapshot, as its origin's thread works for it.
pub(super) struct Work {
    pub(super) slot: usize,
    pub(super) layout: Layout,
    pub(super) origin: Lower,
    pub(super) cow: Lower,
    pub(super) cow_identity: Identity,
    /// The sectors of the origin that it shows.
    pub(super) shown: Range<u64>,
    /// Its target says `PO`: user space knows what an overflow is.
    pub(super) survives_overflow: bool,
    pub(super) event: Arc<Event>,
    /// As the view says.
    pub(super) state: State,
    pub(super) active: bool,
    /// Its target is not suspended.
    pub(super) running: bool,
    /// Another target has changed the store meanwhile.
    pub(super) stale: bool,
    /// What is to be written before the store is used.
    pub(super) due: Due,
    pub(super) store: Store,
    pub(super) idle: Vec<Errand>,
    pub(super) piece: u64,
    /// For metadata.
    pub(super) meta: Option<Errand>,
    /// For zeroes, and for the header.
    pub(super) blank: Option<Errand>,
    pub(super) jobs: Vec<Option<Job>>,
    pub(super) free_jobs: usize,
    pub(super) numbers: u64,
    /// Jobs whose chunks have no entry yet, in the order of their chunks.
    pub(super) order: VecDeque<usize>,
    /// Jobs of which something is to be read yet.
    pub(super) unread: VecDeque<usize>,
    /// Chunks that will be inserted into the table.
    pub(super) promised: u64,
    pub(super) commit: Commit,
    pub(super) backlog: PartQueue,
    /// Writes to the origin that wait for the burial.
    pub(super) held: PartQueue,
    pub(super) slow: Slow,
    pub(super) merge: Merge,
}

/// What is known when the work for a snapshot begins.
pub(super) struct Start {
    pub(super) layout: Layout,
    pub(super) store: Store,
    pub(super) valid: bool,
    pub(super) due: Due,
    pub(super) origin: Lower,
    pub(super) cow: Lower,
    pub(super) shown: Range<u64>,
    pub(super) survives_overflow: bool,
    pub(super) event: Arc<Event>,
}

impl Work {
    /// Thread context. Sets all memory aside.
    pub(super) fn new(start: Start, mailbox: &Arc<Mailbox>) -> Result<Self, Errno> {
        let unit = start.origin.sector_size().max(start.cow.sector_size()) / 512;
        let piece = PIECE.max(u64::from(unit));
        let errand = |sectors: u64| Errand::new(mailbox, Sectors(sectors));
        let mut idle = Vec::new();
        idle.try_reserve_exact(ERRANDS).map_err(|_| Errno::ENOMEM)?;
        for _ in 0..ERRANDS {
            idle.push(errand(piece)?);
        }
        let mut store = start.store;
        let block = store.area().map_or(1, |area| area.block().len() as u64 / 512);
        let mut work = Self {
            slot: 0,
            layout: start.layout,
            origin: start.origin,
            cow_identity: start.cow.identity(),
            cow: start.cow,
            shown: start.shown,
            survives_overflow: start.survives_overflow,
            event: start.event,
            state: if start.valid { State::Valid } else { State::Invalid },
            active: false,
            running: false,
            stale: false,
            due: start.due,
            store,
            idle,
            piece,
            meta: Some(errand(block)?),
            blank: Some(errand(piece)?),
            jobs: Vec::new(),
            free_jobs: JOBS,
            numbers: 0,
            order: VecDeque::new(),
            unread: VecDeque::new(),
            promised: 0,
            commit: Commit::default(),
            backlog: PartQueue::new(),
            held: PartQueue::new(),
            slow: Slow::default(),
            merge: Merge::default(),
        };
        work.jobs.try_reserve_exact(JOBS).map_err(|_| Errno::ENOMEM)?;
        work.jobs.resize_with(JOBS, || None);
        work.order.try_reserve_exact(JOBS).map_err(|_| Errno::ENOMEM)?;
        work.unread.try_reserve_exact(JOBS).map_err(|_| Errno::ENOMEM)?;
        Ok(work)
    }

    /// True if a further job can begin.
    pub(super) const fn has_room(&self) -> bool {
        self.free_jobs != 0
    }

    /// True if nothing is under way and nobody waits.
    pub(super) fn is_idle(&self) -> bool {
        self.free_jobs == JOBS
            && self.idle.len() == ERRANDS
            && self.meta.is_some()
            && self.blank.is_some()
            && self.backlog.is_empty()
            && self.held.is_empty()
            && self.slow.is_idle()
            && self.merge.is_idle()
            && self.state != State::Dying
    }

    /// Bytes in a sector of the COW device.
    pub(super) fn cow_sector(&self) -> u64 {
        u64::from(self.cow.sector_size())
    }

    pub(super) fn tag(&self, does: Does, job: usize, at: u64) -> u64 {
        Tag { does, slot: self.slot, job, at }.bits()
    }

    /// The chunks of a range of sectors of the origin.
    pub(super) fn chunks(&self, at: u64, count: u64) -> Range<u64> {
        shown_chunks(&self.shown, self.layout, at, count)
    }

    pub(super) fn job_of(&self, chunk: u64) -> Option<usize> {
        let has = |job: &Job| (job.old..job.old.saturating_add(job.count)).contains(&chunk);
        self.jobs.iter().position(|job| job.as_ref().is_some_and(has))
    }

    /// The first chunk from `from` on, before `end`, that has a job.
    pub(super) fn next_pending(&self, from: u64, end: u64) -> u64 {
        let starts = self.jobs.iter().flatten().map(|job| job.old);
        starts.filter(|old| *old >= from).fold(end, u64::min)
    }

    /// The origin is to be written there: sees to it that the snapshot has what it loses.
    /// Gives what to wait for, if that is not so yet.
    pub(super) fn preserve(&mut self, cx: &mut Cx<'_>, at: u64, count: u64) -> Option<Wait> {
        if !self.active || self.merge.is_on() {
            return None;
        }
        let chunks = self.chunks(at, count);
        match self.state {
            State::Invalid => None,
            State::Dying => (!chunks.is_empty()).then_some(Wait::Burial),
            State::Valid => match self.copy(cx, chunks) {
                Ok(wait) => wait,
                Err(Refused::Room) => Some(Wait::Room),
                Err(refused) => {
                    self.invalidate(cx, why(&refused));
                    (self.state == State::Dying).then_some(Wait::Burial)
                }
            },
        }
    }

    /// A write of the snapshot whose sectors have no copy, or had none a moment ago.
    pub(super) fn write(&mut self, cx: &mut Cx<'_>, mut part: Part) {
        let (at, count) = (self.shown.start.saturating_add(part.at().0), part.count().0);
        if self.state != State::Valid || cx.overflowed(self.slot) {
            return part.finish(Err(Errno::EIO));
        }
        if let Some(sector) = cx.mapped(self.slot, at, count) {
            *part.cookie() = Ticket::new(Kind::Last, self.slot).bits();
            return part.redirect(&self.cow, Sector(sector));
        }
        let mask = self.layout.chunk().saturating_sub(1);
        let whole = (at | count) & mask == 0;
        let chunks = self.chunks(at, count);
        let done = match whole && self.is_free(cx, &chunks) {
            true => self.write_whole(cx, part, &chunks),
            false => Err((part, None)),
        };
        let Err((part, refused)) = done else { return };
        let wait = match refused {
            Some(refused) => Err(refused),
            None => self.copy(cx, chunks),
        };
        self.wait_or_go_on(cx, part, wait);
    }

    fn wait_or_go_on(
        &mut self,
        cx: &mut Cx<'_>,
        mut part: Part,
        wait: Result<Option<Wait>, Refused>,
    ) {
        match wait {
            Ok(Some(wait)) => self.wait(part, wait),
            // All is mapped, in several places.
            Ok(None) => {
                *part.cookie() = Ticket::new(Kind::Slow, self.slot).bits();
                self.slow.push(part);
            }
            Err(Refused::Room) => self.backlog.push(part),
            Err(Refused::Space) if self.survives_overflow => {
                if cx.overflow(self.slot) {
                    log(&format!("dm: snapshot on {}: full, takes no more writes", self.cow));
                    self.event.raise();
                }
                part.finish(Err(Errno::EIO));
            }
            Err(refused) => {
                self.invalidate(cx, why(&refused));
                part.finish(Err(Errno::EIO));
            }
        }
    }

    fn is_free(&self, cx: &Cx<'_>, chunks: &Range<u64>) -> bool {
        let count = chunks.end.saturating_sub(chunks.start);
        let pending = self.job_of(chunks.start).is_some()
            || self.next_pending(chunks.start, chunks.end) != chunks.end;
        !pending && cx.run(self.slot, chunks.start, count) == (false, count)
    }

    /// Sends whole chunks to their new places, if those follow one another.
    fn write_whole(
        &mut self,
        cx: &mut Cx<'_>,
        mut part: Part,
        chunks: &Range<u64>,
    ) -> Result<(), (Part, Option<Refused>)> {
        let count = chunks.end.saturating_sub(chunks.start);
        let place = match self.begin_job(cx, chunks.start, count) {
            Ok(place) => place,
            Err(refused) => return Err((part, Some(refused))),
        };
        let Some(job) = self.jobs.get_mut(place).and_then(Option::as_mut) else {
            return Err((part, None));
        };
        if job.count != count {
            // The rest is elsewhere: copies are made, and written over later.
            self.unread.push_back(place);
            return Err((part, None));
        }
        job.flying = 1;
        let sector = job.new << self.layout.shift();
        let ticket = Ticket { job: place, ..Ticket::new(Kind::Whole, self.slot) };
        *part.cookie() = ticket.bits();
        part.forward(&self.cow, Sector(sector));
        Ok(())
    }

    /// A write of whole chunks is back from below.
    pub(super) fn whole_back(
        &mut self,
        cx: &mut Cx<'_>,
        place: usize,
        part: Part,
        result: Result<(), Errno>,
    ) {
        if let Some(job) = self.jobs.get_mut(place).and_then(Option::as_mut) {
            job.flying = 0;
            if result.is_ok() && self.state == State::Valid {
                job.filled = true;
                job.whole = Some(part);
                return;
            }
        }
        if result.is_err() {
            self.invalidate(cx, "the COW device cannot be written");
        }
        self.forget_dead(place);
        part.finish(Err(result.err().unwrap_or(Errno::EIO)));
    }

    /// Makes a part wait.
    pub(super) fn wait(&mut self, part: Part, wait: Wait) {
        match wait {
            Wait::Job(place) => match self.jobs.get_mut(place).and_then(Option::as_mut) {
                Some(job) => job.waiters.push(part),
                None => self.backlog.push(part),
            },
            Wait::Room => self.backlog.push(part),
            Wait::Burial => self.held.push(part),
        }
    }

    /// Chunks of a job got into the table.
    pub(super) fn inserted(&mut self, count: u64) {
        self.promised = self.promised.saturating_sub(count);
    }
}

pub(super) const fn why(refused: &Refused) -> &'static str {
    match refused {
        Refused::Room | Refused::Space => "the COW device is full",
        Refused::Memory => "there is no memory for another exception",
    }
}
