//! Merging a snapshot into its origin: the thread's side.
//!
//! Step by step from the last entry back: other snapshots save what the origin loses, writes
//! to the chunks end and new ones wait, the chunks are copied, the origin is made durable,
//! the entries are taken away, and the chunks are the origin's.

use super::hub::Cx;
use super::store::{LastBlock, Store};
use super::ticket::{Does, Tag};
use super::view::State;
use super::work::Work;
use crate::kern::disk::Op;
use crate::services::{Errand, log};
use crate::target::{Part, PartQueue};
use alloc::format;
use dm_protocol::{Errno, Sector, Sectors};

/// The most that one step covers, in sectors, unless a chunk is larger.
const STEP: u64 = 2048;

/// How far merging is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Step {
    /// Between two steps.
    #[default]
    Idle,
    /// A block of entries is read.
    Loading,
    /// Other snapshots save what the origin loses.
    Others,
    /// Writes to the chunks end.
    Draining,
    /// The chunks are copied.
    Copying,
    /// The origin is made durable.
    Flushing,
    /// The entries are taken away.
    Clearing,
    /// All is merged.
    Over,
}

/// The merging of one snapshot.
#[derive(Default)]
pub(super) struct Merge {
    on: bool,
    /// Its target runs.
    wanted: bool,
    failed: bool,
    step: Step,
    /// The block of entries in memory.
    loaded: Option<(u64, u64)>,
    old: u64,
    new: u64,
    count: u64,
    length: u64,
    sent: u64,
    left: u64,
    flying: usize,
    error: Option<Errno>,
    /// It counts as a write to the origin.
    phase: Option<usize>,
    waiting: PartQueue,
}

impl Merge {
    /// True if the snapshot is merged, or was.
    pub(super) const fn is_on(&self) -> bool {
        self.on
    }

    /// True between two steps.
    pub(super) const fn is_idle(&self) -> bool {
        matches!(self.step, Step::Idle | Step::Over)
    }

    /// Merging stops after this step.
    pub(super) const fn stop(&mut self) {
        self.wanted = false;
    }
}

/// Lets other snapshots save what the origin is about to lose; true if all have.
pub(super) type Others<'a> = dyn FnMut(&mut Cx<'_>, u64, u64) -> bool + 'a;

impl Work {
    /// Merging begins, or goes on.
    pub(super) fn start_merge(&mut self) {
        if !self.merge.on {
            self.merge.on = true;
            // The block in memory is where the next entry would go.
            self.merge.loaded = self.store.area().map(|area| (area.nr, area.open_block()));
        }
        self.merge.wanted = true;
    }

    /// Goes on merging as far as it can.
    pub(super) fn merge_on(&mut self, cx: &mut Cx<'_>, others: &mut Others<'_>) {
        loop {
            let before = self.merge.step;
            match before {
                Step::Idle => self.next_step(cx),
                Step::Others => self.wait_for_others(cx, others),
                Step::Draining => self.wait_for_writes(cx),
                Step::Copying => self.send_merge(),
                Step::Flushing if self.blank.is_some() => self.flush_origin(),
                Step::Loading | Step::Flushing | Step::Clearing | Step::Over => {}
            }
            if self.merge.step == before {
                return;
            }
        }
    }

    fn next_step(&mut self, cx: &mut Cx<'_>) {
        let ready = self.merge.on && self.merge.wanted && !self.merge.failed;
        if !ready || self.state != State::Valid || self.meta.is_none() || !self.order.is_empty() {
            return;
        }
        let most = (STEP >> self.layout.shift()).max(1);
        let loaded = self.merge.loaded;
        let Store::Persistent(area) = &mut self.store else { return };
        match area.last_block(loaded) {
            LastBlock::None => {
                self.merge.step = Step::Over;
                self.event.raise();
                log(&format!("dm: snapshot on {}: merged", self.cow));
            }
            LastBlock::At(block) => {
                let (sector, length) = (area.block_sector(block), area.block().len() as u64 / 512);
                let Some(mut errand) = self.meta.take() else { return };
                *errand.tag() = self.tag(Does::MergeLoad, 0, 0);
                self.merge.step = Step::Loading;
                errand.send(Op::Read, false, &self.cow, Sector(sector), Sectors(length));
            }
            LastBlock::Here => match area.last_run(most) {
                Some((first, count)) => {
                    let merge = &mut self.merge;
                    (merge.old, merge.new, merge.count) = (first.old, first.new, count);
                    merge.phase = Some(cx.inner().view.with(|view| view.writers.enter()));
                    merge.step = Step::Others;
                }
                None => self.fail_merge(cx, "the metadata is corrupt"),
            },
        }
    }

    /// A block of entries was read.
    pub(super) fn merge_loaded(
        &mut self,
        cx: &mut Cx<'_>,
        errand: Errand,
        result: Result<(), Errno>,
    ) {
        if let Some(area) = self.store.area() {
            for (to, from) in area.block_mut().iter_mut().zip(errand.bytes()) {
                *to = *from;
            }
            self.merge.loaded = Some(area.loaded());
        }
        self.meta = Some(errand);
        self.merge.step = Step::Idle;
        if let Err(errno) = result {
            self.merge.loaded = None;
            self.fail_merge(cx, &format!("the metadata cannot be read ({errno})"));
        }
    }

    /// Where the step begins on the origin, and how much there is.
    fn merge_range(&self) -> (u64, u64) {
        let shift = self.layout.shift();
        let start = self.merge.old << shift;
        let unit = u64::from(self.cow.sector_size().max(self.origin.sector_size()) / 512).max(1);
        let there = self.origin.size().0.saturating_sub(start) / unit * unit;
        (start, (self.merge.count << shift).min(there))
    }

    fn wait_for_others(&mut self, cx: &mut Cx<'_>, others: &mut Others<'_>) {
        let (start, length) = self.merge_range();
        if length != 0 && !others(cx, start, length) {
            return;
        }
        let window = self.merge.old..self.merge.old.saturating_add(self.merge.count);
        let turned = cx.face(self.slot, |face| {
            // Those of the phase before ended when the step before waited for them.
            face.window = window;
            face.writes.turn();
        });
        self.merge.step = if turned.is_some() { Step::Draining } else { Step::Idle };
    }

    fn wait_for_writes(&mut self, cx: &mut Cx<'_>) {
        if cx.face(self.slot, |face| face.writes.drained()) == Some(true) {
            let (_, length) = self.merge_range();
            let merge = &mut self.merge;
            (merge.length, merge.sent, merge.left) = (length, 0, length);
            merge.step = Step::Copying;
        }
    }

    fn send_merge(&mut self) {
        while self.merge.sent < self.merge.length && self.merge.error.is_none() {
            let Some(mut errand) = self.idle.pop() else { return };
            let at = self.merge.sent;
            let count = self.piece.min(self.merge.length.saturating_sub(at));
            self.merge.sent = at.saturating_add(count);
            self.merge.flying = self.merge.flying.saturating_add(1);
            let sector = (self.merge.new << self.layout.shift()).saturating_add(at);
            *errand.tag() = self.tag(Does::MergeRead, 0, at);
            errand.send(Op::Read, false, &self.cow, Sector(sector), Sectors(count));
        }
        if self.merge.left == 0 {
            self.merge.step = Step::Flushing;
        }
    }

    /// A piece is back.
    pub(super) fn merged(
        &mut self,
        cx: &mut Cx<'_>,
        tag: Tag,
        mut errand: Errand,
        result: Result<(), Errno>,
    ) {
        let count = self.piece.min(self.merge.length.saturating_sub(tag.at));
        if result.is_ok() && tag.does == Does::MergeRead && self.merge.error.is_none() {
            let sector = (self.merge.old << self.layout.shift()).saturating_add(tag.at);
            *errand.tag() = Tag { does: Does::MergeWrite, ..tag }.bits();
            return errand.send(Op::Write, false, &self.origin, Sector(sector), Sectors(count));
        }
        self.idle.push(errand);
        self.merge.flying = self.merge.flying.saturating_sub(1);
        self.merge.left = self.merge.left.saturating_sub(count);
        self.merge.error = self.merge.error.or(result.err());
        if let Some(errno) = self.merge.error.filter(|_| self.merge.flying == 0) {
            self.fail_merge(cx, &format!("chunks cannot be copied ({errno})"));
        }
    }

    fn flush_origin(&mut self) {
        let Some(mut errand) = self.blank.take() else { return };
        *errand.tag() = self.tag(Does::MergeFlush, 0, 0);
        errand.send(Op::Flush, false, &self.origin, Sector(0), Sectors::ZERO);
    }

    /// The merged chunks are durable: their entries go.
    pub(super) fn merge_flushed(
        &mut self,
        cx: &mut Cx<'_>,
        errand: Errand,
        result: Result<(), Errno>,
    ) {
        self.blank = Some(errand);
        if let Err(errno) = result {
            return self.fail_merge(cx, &format!("the origin cannot be flushed ({errno})"));
        }
        // Entries that are gone must leave the table, too, which may cut one run in two.
        if cx.make_room(self.slot, 1, 0).is_err() {
            return self.fail_merge(cx, "there is no memory to cut a run of chunks");
        }
        let sector_bytes = self.cow_sector();
        let count = self.merge.count;
        let (Some(area), Some(mut errand)) = (self.store.area(), self.meta.take()) else { return };
        let update = area.take_back(count, sector_bytes);
        let bytes = area.block().get(update.bytes).unwrap_or_default();
        for (to, from) in errand.bytes_mut().iter_mut().zip(bytes) {
            *to = *from;
        }
        let length = Sectors(bytes.len() as u64 / 512);
        *errand.tag() = self.tag(Does::MergeCommit, 0, 0);
        self.merge.step = Step::Clearing;
        errand.send(Op::Write, true, &self.cow, Sector(update.sector), length);
    }

    /// The entries are gone from the device: the chunks are the origin's.
    pub(super) fn merge_committed(
        &mut self,
        cx: &mut Cx<'_>,
        errand: Errand,
        result: Result<(), Errno>,
    ) {
        self.meta = Some(errand);
        if let Err(errno) = result {
            return self.fail_merge(cx, &format!("the metadata cannot be written ({errno})"));
        }
        let count = self.merge.count;
        if let Some(area) = self.store.area() {
            area.taken_back(count);
        }
        // From the last one on: after the first, all are the last ones of their runs.
        for nr in (0..count).rev() {
            let old = self.merge.old.saturating_add(nr);
            cx.face(self.slot, |face| face.table.remove(old));
        }
        cx.show_usage(self.slot, self.store.usage(self.layout));
        self.end_step(cx);
    }

    /// Writes that waited for the step go on.
    fn end_step(&mut self, cx: &mut Cx<'_>) {
        cx.face(self.slot, |face| face.window = 0..0);
        if let Some(phase) = self.merge.phase.take() {
            cx.inner().leave_writers(phase);
        }
        self.merge.step = Step::Idle;
        while let Some(part) = self.merge.waiting.pop() {
            part.give_back(Ok(()));
        }
    }

    fn fail_merge(&mut self, cx: &mut Cx<'_>, why: &str) {
        log(&format!("dm: snapshot on {}: merging failed: {why}", self.cow));
        self.merge.failed = true;
        cx.face(self.slot, |face| {
            face.merge_failed = true;
            face.window = 0..0;
        });
        self.event.raise();
        if let Some(phase) = self.merge.phase.take() {
            cx.inner().leave_writers(phase);
        }
        self.merge.step = Step::Idle;
        while let Some(part) = self.merge.waiting.pop() {
            part.finish(Err(Errno::EIO));
        }
    }

    /// A write to a chunk that was being merged when it came.
    pub(super) fn merge_wait(&mut self, part: Part) {
        match self.merge.step {
            Step::Draining | Step::Copying | Step::Flushing | Step::Clearing => {
                self.merge.waiting.push(part);
            }
            Step::Idle | Step::Loading | Step::Others | Step::Over => part.give_back(Ok(())),
        }
    }
}
