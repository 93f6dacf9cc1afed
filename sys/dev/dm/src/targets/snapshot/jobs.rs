//! Copies of chunks: set aside, filled, and given up.

use super::hub::Cx;
use super::load;
use super::ticket::{Does, Kind, Tag, Ticket};
use super::view::State;
use super::work::{JOBS, Job, Refused, Wait, Work};
use crate::kern::disk::Op;
use crate::services::{Errand, log};
use crate::target::{Part, PartQueue};
use alloc::format;
use core::ops::Range;
use dm_protocol::{Errno, Sector, Sectors};

/// The most that one job covers, in sectors, unless a chunk is larger.
const JOB: u64 = 2048;
/// Below so many insertions that surely find memory, more is made.
const ROOM: u64 = 256;

impl Work {
    /// Gives each of these chunks its copy. Gives the last job to wait for.
    pub(super) fn copy(
        &mut self,
        cx: &mut Cx<'_>,
        chunks: Range<u64>,
    ) -> Result<Option<Wait>, Refused> {
        let mut wait = None;
        let mut chunk = chunks.start;
        while chunk < chunks.end {
            if let Some(job) = self.job_of(chunk) {
                wait = Some(Wait::Job(job));
                let job = self.jobs.get(job).and_then(Option::as_ref);
                let end = job.map_or(chunk, |job| job.old.saturating_add(job.count));
                chunk = end.max(chunk.saturating_add(1));
                continue;
            }
            let end = self.next_pending(chunk, chunks.end);
            let (mapped, count) = cx.run(self.slot, chunk, end.saturating_sub(chunk));
            if mapped {
                chunk = chunk.saturating_add(count);
                continue;
            }
            let job = self.begin_job(cx, chunk, count)?;
            if let Some(begun) = self.jobs.get(job).and_then(Option::as_ref) {
                chunk = chunk.saturating_add(begun.count);
            }
            self.unread.push_back(job);
            wait = Some(Wait::Job(job));
        }
        Ok(wait)
    }

    /// Sets chunks aside for copies of at most `want` chunks from `old` on.
    pub(super) fn begin_job(
        &mut self,
        cx: &mut Cx<'_>,
        old: u64,
        want: u64,
    ) -> Result<usize, Refused> {
        let place = self.jobs.iter().position(Option::is_none).ok_or(Refused::Room)?;
        let want = want.min((JOB >> self.layout.shift()).max(1));
        let room = self.promised.saturating_add(want);
        cx.make_room(self.slot, room, ROOM).map_err(|_| Refused::Memory)?;
        let chunks = load::chunks(&self.cow, self.layout);
        let taken = self.store.take(want, chunks).ok_or(Refused::Space)?;
        let count = taken.end.saturating_sub(taken.start);
        cx.show_usage(self.slot, self.store.usage(self.layout));
        self.promised = self.promised.saturating_add(count);
        let number = self.numbers;
        self.numbers = self.numbers.saturating_add(1);
        let start = old << self.layout.shift();
        // The origin may end within its last chunk.
        let unit = u64::from(self.cow.sector_size().max(self.origin.sector_size()) / 512).max(1);
        let there = self.origin.size().0.saturating_sub(start) / unit * unit;
        let length = (count << self.layout.shift()).min(there);
        let job = Job {
            old,
            new: taken.start,
            count,
            number,
            length,
            sent: 0,
            left: length,
            flying: 0,
            filled: length == 0,
            committed: 0,
            whole: None,
            waiters: PartQueue::new(),
        };
        if let Some(free) = self.jobs.get_mut(place) {
            *free = Some(job);
            self.free_jobs = self.free_jobs.saturating_sub(1);
            self.order.push_back(place);
        }
        Ok(place)
    }

    /// Sends pieces of jobs while there are errands for them.
    pub(super) fn send_copies(&mut self) {
        while let Some(place) = self.unread.front().copied() {
            let Some(mut errand) = self.idle.pop() else { return };
            let Some(job) = self.jobs.get_mut(place).and_then(Option::as_mut) else {
                self.unread.pop_front();
                self.idle.push(errand);
                continue;
            };
            let (at, count) = (job.sent, self.piece.min(job.length.saturating_sub(job.sent)));
            if count == 0 {
                self.unread.pop_front();
                self.idle.push(errand);
                continue;
            }
            job.sent = job.sent.saturating_add(count);
            job.flying = job.flying.saturating_add(1);
            let sector = (job.old << self.layout.shift()).saturating_add(at);
            *errand.tag() = self.tag(Does::CopyRead, place, at);
            errand.send(Op::Read, false, &self.origin, Sector(sector), Sectors(count));
        }
    }

    /// A piece of a job is back.
    pub(super) fn copied(
        &mut self,
        cx: &mut Cx<'_>,
        tag: Tag,
        mut errand: Errand,
        result: Result<(), Errno>,
    ) {
        let shift = self.layout.shift();
        let Some(job) = self.jobs.get_mut(tag.job).and_then(Option::as_mut) else {
            return self.idle.push(errand);
        };
        let count = self.piece.min(job.length.saturating_sub(tag.at));
        let valid = self.state == State::Valid;
        if result.is_ok() && valid && tag.does == Does::CopyRead {
            let sector = (job.new << shift).saturating_add(tag.at);
            *errand.tag() = Tag { does: Does::CopyWrite, ..tag }.bits();
            return errand.send(Op::Write, false, &self.cow, Sector(sector), Sectors(count));
        }
        self.idle.push(errand);
        job.flying = job.flying.saturating_sub(1);
        job.left = job.left.saturating_sub(count);
        job.filled = job.left == 0;
        if let Err(errno) = result {
            let what = match tag.does {
                Does::CopyRead => format!("the origin cannot be read ({errno})"),
                _ => format!("the COW device cannot be written ({errno})"),
            };
            self.invalidate(cx, &what);
        }
        self.forget_dead(tag.job);
    }

    /// Frees a job of an invalid snapshot when nothing of it is under way.
    pub(super) fn forget_dead(&mut self, place: usize) {
        if self.state == State::Valid {
            return;
        }
        if let Some(job) = self.jobs.get_mut(place)
            && job.as_ref().is_some_and(|job| job.flying == 0)
        {
            *job = None;
            self.free_jobs = self.free_jobs.saturating_add(1);
        }
    }

    /// The first job that is written down completely ends: those who wait go on.
    pub(super) fn end_job(&mut self, cx: &mut Cx<'_>, place: usize) {
        let Some(mut job) = self.jobs.get_mut(place).and_then(Option::take) else { return };
        self.free_jobs = self.free_jobs.saturating_add(1);
        if let Some(part) = job.whole.take() {
            part.finish(Ok(()));
        }
        while let Some(part) = job.waiters.pop() {
            cx.ready.push(part);
        }
    }

    /// The snapshot lost something for good. Its origin goes on.
    pub(super) fn invalidate(&mut self, cx: &mut Cx<'_>, why: &str) {
        if self.state != State::Valid {
            return;
        }
        log(&format!("dm: snapshot on {}: invalid: {why}", self.cow));
        let persistent = self.store.is_persistent();
        self.state = if persistent { State::Dying } else { State::Invalid };
        cx.show_state(self.slot, self.state);
        self.event.raise();
        self.order.clear();
        self.unread.clear();
        self.promised = 0;
        let mut waiting = PartQueue::new();
        for job in self.jobs.iter_mut().flatten() {
            while let Some(part) = job.waiters.pop() {
                waiting.push(part);
            }
            waiting_whole(job);
        }
        while let Some(part) = self.backlog.pop() {
            waiting.push(part);
        }
        for place in 0..JOBS {
            self.forget_dead(place);
        }
        while let Some(part) = waiting.pop() {
            self.give_up(cx, part);
        }
    }

    /// A part that waited for a snapshot which is invalid now.
    fn give_up(&mut self, cx: &mut Cx<'_>, mut part: Part) {
        let kind = Ticket::from_bits(*part.cookie()).kind;
        match (kind, self.state) {
            (Kind::Origin, State::Dying) => self.held.push(part),
            (Kind::Origin, _) => cx.ready.push(part),
            _ => part.finish(Err(Errno::EIO)),
        }
    }

    /// The burial is over: the origin goes on.
    pub(super) fn buried(&mut self, cx: &mut Cx<'_>) {
        self.state = State::Invalid;
        cx.show_state(self.slot, self.state);
        while let Some(part) = self.held.pop() {
            cx.ready.push(part);
        }
    }
}

/// A write that filled its chunks, but whose entries will never be written.
fn waiting_whole(job: &mut Job) {
    if let Some(part) = job.whole.take() {
        part.finish(Err(Errno::EIO));
    }
}
