//! Writing down which copies there are.
//!
//! The copies are made durable before the entries that point to them, and those before
//! anything that depends on them goes on. All copies that are ready are written down at once.

use super::format::{Entry, Header};
use super::hub::Cx;
use super::ticket::Does;
use super::view::State;
use super::work::{JOBS, Job, Work};
use crate::kern::disk::Op;
use crate::services::{Errand, log};
use alloc::format;
use dm_protocol::{Errno, Sector, Sectors};

/// Insertions under one lock.
const AT_ONCE: u64 = 16;

/// How far a commit is.
#[derive(Default)]
pub(super) struct Commit {
    /// Entries of the running one; none runs without.
    batch: u64,
    /// The area that is cleared before, and how much of it, in sectors.
    clearing: Option<(u64, u64)>,
    /// The newest job that the next one waits for.
    last: Option<u64>,
}

impl Work {
    /// Begins a commit, or a burial, if there is cause.
    pub(super) fn commit(&mut self, cx: &mut Cx<'_>) {
        match self.state {
            State::Valid if !self.store.is_persistent() => self.commit_transient(cx),
            State::Valid => self.begin_commit(),
            State::Dying => self.bury(),
            State::Invalid => {}
        }
    }

    fn first_job(&self) -> Option<(usize, &Job)> {
        let place = *self.order.front()?;
        Some((place, self.jobs.get(place)?.as_ref()?))
    }

    fn commit_transient(&mut self, cx: &mut Cx<'_>) {
        while let Some((_, job)) = self.first_job().filter(|(_, job)| job.filled) {
            let count = job.count;
            self.enter_table(cx, count);
        }
    }

    fn begin_commit(&mut self) {
        if self.commit.batch != 0 || self.meta.is_none() || !self.may_commit() {
            return;
        }
        self.commit.last = None;
        let mut batch = 0_u64;
        for place in 0..self.order.len() {
            let place = self.order.get(place).copied().unwrap_or(JOBS);
            let Some(job) = self.jobs.get(place).and_then(Option::as_ref) else { break };
            if !job.filled {
                break;
            }
            let (old, new, done, count) = (job.old, job.new, job.committed, job.count);
            let Some(area) = self.store.area() else { return };
            for nr in done..count {
                if area.is_block_full() {
                    break;
                }
                area.put(Entry { old: old.saturating_add(nr), new: new.saturating_add(nr) });
                batch = batch.saturating_add(1);
            }
            if area.is_block_full() {
                break;
            }
        }
        self.commit.batch = batch;
        if batch == 0 {
            return;
        }
        let clear = self.store.area().and_then(|area| area.to_clear());
        self.commit.clearing = clear.map(|chunk| (chunk << self.layout.shift(), 0));
        self.clear_or_flush();
    }

    /// A commit waits for the jobs that are under way when the first is ready, since each costs
    /// a flush; not for those that begin afterwards.
    fn may_commit(&mut self) -> bool {
        let Some((_, first)) = self.first_job() else { return false };
        if !first.filled {
            return false;
        }
        if self.commit.last.is_none() {
            let jobs = self.jobs.iter().flatten();
            self.commit.last = jobs.map(|job| job.number).max();
        }
        let last = self.commit.last.unwrap_or(0);
        self.jobs.iter().flatten().all(|job| job.filled || job.number > last)
    }

    fn clear_or_flush(&mut self) {
        if let Some((start, at)) = self.commit.clearing {
            let Some(mut errand) = self.blank.take() else { return };
            let count = (errand.bytes().len() as u64 / 512).min(self.layout.chunk() - at);
            *errand.tag() = self.tag(Does::Clear, 0, count);
            let sector = Sector(start.saturating_add(at));
            return errand.send(Op::Write, false, &self.cow, sector, Sectors(count));
        }
        if let Some(mut errand) = self.meta.take() {
            *errand.tag() = self.tag(Does::Flush, 0, 0);
            errand.send(Op::Flush, false, &self.cow, Sector(0), Sectors::ZERO);
        }
    }

    /// A piece of the next area is cleared.
    pub(super) fn cleared(
        &mut self,
        cx: &mut Cx<'_>,
        errand: Errand,
        result: Result<(), Errno>,
        count: u64,
    ) {
        self.blank = Some(errand);
        if let Err(errno) = result {
            self.commit = Commit::default();
            return self.invalidate(cx, &format!("an area cannot be cleared ({errno})"));
        }
        if self.state != State::Valid {
            self.commit = Commit::default();
            return;
        }
        if let Some((_, at)) = &mut self.commit.clearing {
            *at = at.saturating_add(count);
            if *at >= self.layout.chunk() {
                self.commit.clearing = None;
            }
        }
        self.clear_or_flush();
    }

    /// The copies are durable: now their entries.
    pub(super) fn flushed(
        &mut self,
        cx: &mut Cx<'_>,
        mut errand: Errand,
        result: Result<(), Errno>,
    ) {
        let sector_bytes = self.cow_sector();
        let tag = self.tag(Does::Commit, 0, 0);
        let area = self.store.area().filter(|_| self.state == State::Valid && result.is_ok());
        let Some(area) = area else { return self.committed(cx, errand, result) };
        let update = area.update(sector_bytes);
        let bytes = area.block().get(update.bytes).unwrap_or_default();
        for (to, from) in errand.bytes_mut().iter_mut().zip(bytes) {
            *to = *from;
        }
        *errand.tag() = tag;
        let count = Sectors(bytes.len() as u64 / 512);
        errand.send(Op::Write, true, &self.cow, Sector(update.sector), count);
    }

    /// The entries are durable: the copies count, and who waited for them goes on.
    pub(super) fn committed(&mut self, cx: &mut Cx<'_>, errand: Errand, result: Result<(), Errno>) {
        self.meta = Some(errand);
        let batch = core::mem::take(&mut self.commit.batch);
        if let Err(errno) = result {
            self.invalidate(cx, &format!("the metadata cannot be written ({errno})"));
        }
        if self.state != State::Valid {
            return;
        }
        if let Some(area) = self.store.area() {
            area.written();
        }
        self.enter_table(cx, batch);
        cx.show_usage(self.slot, self.store.usage(self.layout));
    }

    /// The next `count` chunks get into the table.
    fn enter_table(&mut self, cx: &mut Cx<'_>, mut count: u64) {
        while count != 0 {
            let Some(place) = self.order.front().copied() else { return };
            let Some(job) = self.jobs.get_mut(place).and_then(Option::as_mut) else { return };
            let some = job.count.saturating_sub(job.committed).min(count).min(AT_ONCE);
            let (old, new) =
                (job.old.saturating_add(job.committed), job.new.saturating_add(job.committed));
            job.committed = job.committed.saturating_add(some);
            let over = job.committed == job.count;
            count = count.saturating_sub(some);
            self.inserted(some);
            if !cx.insert(self.slot, old, new, some) {
                return self.invalidate(cx, "a chunk has two copies");
            }
            if over {
                self.order.pop_front();
                self.end_job(cx, place);
            }
        }
    }

    /// Marks the store as invalid, once.
    fn bury(&mut self) {
        let Some(mut errand) = self.blank.take() else { return };
        let unit = self.cow_sector();
        Header { valid: false, chunk: self.layout.chunk() as u32 }.encode(errand.bytes_mut());
        *errand.tag() = self.tag(Does::Bury, 0, 0);
        errand.send(Op::Write, true, &self.cow, Sector(0), Sectors(unit / 512));
    }

    /// The store is marked, or cannot be: the origin does not wait any longer.
    pub(super) fn bury_back(
        &mut self,
        cx: &mut Cx<'_>,
        mut errand: Errand,
        result: Result<(), Errno>,
    ) {
        if let Some(header) = errand.bytes_mut().get_mut(..Header::bytes()) {
            header.fill(0);
        }
        self.blank = Some(errand);
        if let Err(errno) = result {
            let cow = &self.cow;
            log(&format!("dm: snapshot on {cow}: it cannot be marked as invalid: {errno}"));
        }
        self.buried(cx);
    }
}
