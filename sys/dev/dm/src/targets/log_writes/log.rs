//! The log: what was written and waits for a flush, and what is on the log's device.

use crate::kern::disk::Op;
use crate::kern::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::lower::Lower;
use crate::services::{self, Buffer};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use dm_protocol::write_log::{ENTRY_SIZE, Entry, EntryFlags, Header};
use dm_protocol::{Errno, SECTOR_SIZE, Sector, Sectors};

/// What is gathered before it is written to the log's device.
const GATHERED: Sectors = Sectors(1024);

/// What is noted of one write or discard.
pub(super) struct Record {
    pub(super) at: Sector,
    pub(super) count: Sectors,
    pub(super) flags: EntryFlags,
    /// What was written; zeroes if none.
    pub(super) data: Option<Buffer>,
}

impl Record {
    fn overlaps(&self, other: &Self) -> bool {
        let end = |record: &Self| record.at.0.saturating_add(record.count.0);
        self.at.0 < end(other) && other.at.0 < end(self)
    }
}

/// What `status` tells, which must not wait for the log.
pub(super) struct State {
    entries: AtomicU64,
    /// Where the next entry goes, in sectors of 512 bytes.
    next: AtomicU64,
    enabled: AtomicBool,
}

impl State {
    pub(super) fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    pub(super) fn last_sector(&self) -> u64 {
        self.next.load(Ordering::Relaxed).saturating_sub(1)
    }

    pub(super) fn enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// Nothing is noted any more.
    pub(super) fn disable(&self, why: &str) {
        if self.enabled.swap(false, Ordering::Relaxed) {
            services::log(&format!("dm: log-writes: {why}; nothing is logged any more"));
        }
    }
}

/// The log of one table.
pub(super) struct Log {
    device: Lower,
    state: Arc<State>,
    /// Sectors of 512 bytes in one of the logged device's.
    unit: u64,
    /// Written since the last flush, in the order of completion.
    unflushed: Vec<Record>,
    /// What was unflushed when a flush began that is not over, by its number.
    batches: Vec<(u64, Vec<Record>)>,
    flushes: u64,
    gathered: Buffer,
    /// Bytes gathered, and where they go.
    filled: usize,
    at: Sector,
}

impl Log {
    /// An empty log, with what can be told of it.
    pub(super) fn new(device: &Lower, sector_size: u32) -> Result<(Self, Arc<State>), Errno> {
        let unit = u64::from(sector_size) / SECTOR_SIZE;
        let state = Arc::new(State {
            entries: AtomicU64::new(0),
            next: AtomicU64::new(unit),
            enabled: AtomicBool::new(true),
        });
        let log = Self {
            device: device.clone(),
            state: Arc::clone(&state),
            unit,
            unflushed: Vec::new(),
            batches: Vec::new(),
            flushes: 0,
            gathered: Buffer::new(GATHERED)?,
            filled: 0,
            at: Sector(unit),
        };
        Ok((log, state))
    }

    /// Something was written or discarded.
    pub(super) fn written(&mut self, record: Record) {
        if record.flags.contains(EntryFlags::FUA) {
            self.append_what_waits_below(&record);
            self.append(record, "");
            self.write_out();
            self.write_header();
        } else if self.state.enabled() {
            match self.unflushed.try_reserve(1) {
                Ok(()) => self.unflushed.push(record),
                Err(_) => self.state.disable("no memory to remember a write"),
            }
        }
    }

    /// A durable write comes before what is not flushed, but not before what it overwrites: who
    /// replays the log would see that last.
    fn append_what_waits_below(&mut self, durable: &Record) {
        let last = |records: &[Record]| records.iter().rposition(|old| old.overlaps(durable));
        let mut batches = core::mem::take(&mut self.batches);
        let mut unflushed = core::mem::take(&mut self.unflushed);
        let (in_batch, of_unflushed) =
            (batches.iter().rposition(|(_, batch)| last(batch).is_some()), last(&unflushed));
        // All before the last one that is overwritten, so that their order stays.
        for (nr, (_, batch)) in batches.iter_mut().enumerate() {
            let count = match (of_unflushed, in_batch) {
                (Some(_), _) => batch.len(),
                (None, Some(with)) if nr < with => batch.len(),
                (None, Some(with)) if nr == with => last(batch).map_or(0, |last| last + 1),
                _ => 0,
            };
            batch.drain(..count).for_each(|record| self.append(record, ""));
        }
        let count = of_unflushed.map_or(0, |last| last + 1);
        unflushed.drain(..count).for_each(|record| self.append(record, ""));
        (self.batches, self.unflushed) = (batches, unflushed);
    }

    /// A flush begins: what was written before belongs to it. Gives its number.
    pub(super) fn flush_begins(&mut self) -> u64 {
        self.flushes = self.flushes.wrapping_add(1);
        let batch = core::mem::take(&mut self.unflushed);
        match self.batches.try_reserve(1) {
            Ok(()) => self.batches.push((self.flushes, batch)),
            Err(_) => self.state.disable("no memory to remember a flush"),
        }
        self.flushes
    }

    /// That flush is over. If it failed, what belonged to it waits for the next.
    pub(super) fn flush_ends(&mut self, number: u64, success: bool) {
        let found = self.batches.iter().position(|(known, _)| *known == number);
        let Some((_, mut batch)) = found.map(|nr| self.batches.remove(nr)) else { return };
        if !success {
            batch.append(&mut self.unflushed);
            self.unflushed = batch;
            return;
        }
        batch.into_iter().for_each(|record| self.append(record, ""));
        let (at, count) = (Sector(0), Sectors::ZERO);
        self.append(Record { at, count, flags: EntryFlags::FLUSH, data: None }, "");
        self.write_out();
    }

    /// Somebody sets a mark. Like a durable write it comes before what is not flushed.
    pub(super) fn mark(&mut self, text: &str) {
        let (at, count) = (Sector(0), Sectors::ZERO);
        self.append(Record { at, count, flags: EntryFlags::MARK, data: None }, text);
        self.write_out();
        self.write_header();
    }

    /// The end: what was not flushed, and a mark.
    pub(super) fn close(&mut self, mark: &str) {
        let unflushed = core::mem::take(&mut self.unflushed);
        unflushed.into_iter().for_each(|record| self.append(record, ""));
        self.mark(mark);
        if let Err(errno) = self.device.flush() {
            self.state.disable(&format!("flushing the log: {errno}"));
        }
    }

    /// Adds an entry, unless there is no room for it.
    fn append(&mut self, record: Record, text: &str) {
        if !self.state.enabled() {
            return;
        }
        let unit_bytes = (self.unit * SECTOR_SIZE) as usize;
        let most = unit_bytes.saturating_sub(ENTRY_SIZE + 1);
        let text = text.as_bytes().get(..most).unwrap_or(text.as_bytes());
        let entry = Entry {
            sector: record.at.0 / self.unit,
            sectors: record.count.0 / self.unit,
            flags: record.flags,
            text_length: text.len() as u64,
        };
        let data_bytes = entry.data_sectors().saturating_mul(self.unit * SECTOR_SIZE);
        let next = self.state.next.load(Ordering::Relaxed);
        let end = next.saturating_add(self.unit).saturating_add(data_bytes / SECTOR_SIZE);
        self.state.next.store(end, Ordering::Relaxed);
        if end >= self.device.size().0 {
            self.write_out();
            return self.state.disable("the log is full");
        }
        self.state.entries.fetch_add(1, Ordering::Relaxed);
        let mut head = [0; ENTRY_SIZE];
        entry.encode(&mut head);
        self.gather(&head);
        self.gather(text);
        self.gather_zeroes(unit_bytes - ENTRY_SIZE - text.len());
        match &record.data {
            Some(data) => self.gather(data.bytes()),
            None => self.gather_zeroes(data_bytes as usize),
        }
    }

    fn gather(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.room();
            let count = room.len().min(bytes.len());
            let (now, later) = bytes.split_at(count);
            room.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
            bytes = later;
            self.filled += count;
        }
    }

    fn gather_zeroes(&mut self, mut count: usize) {
        while count > 0 {
            let room = self.room();
            let now = room.len().min(count);
            room.iter_mut().take(now).for_each(|byte| *byte = 0);
            count -= now;
            self.filled += now;
        }
    }

    /// The memory behind what is gathered; writes that out if there is none.
    fn room(&mut self) -> &mut [u8] {
        if self.filled >= self.gathered.bytes().len() {
            self.write_out();
        }
        let filled = self.filled;
        self.gathered.bytes_mut().get_mut(filled..).unwrap_or_default()
    }

    /// Writes what is gathered, which is whole sectors, to the log's device.
    fn write_out(&mut self) {
        let count = Sectors::from_bytes(self.filled as u64);
        let at = self.at;
        self.at = Sector(at.0.saturating_add(count.0));
        self.filled = 0;
        if count.is_zero() || !self.state.enabled() {
            return;
        }
        self.transfer(at, count);
    }

    fn write_header(&mut self) {
        if !self.state.enabled() {
            return;
        }
        let sector_size = (self.unit * SECTOR_SIZE) as u32;
        let header = Header { entries: self.state.entries(), sector_size };
        let bytes = self.gathered.bytes_mut();
        bytes.iter_mut().take(sector_size as usize).for_each(|byte| *byte = 0);
        header.encode(bytes);
        self.transfer(Sector(0), Sectors(self.unit));
    }

    fn transfer(&mut self, at: Sector, count: Sectors) {
        let written = self.device.transfer_first(Op::Write, false, at, &mut self.gathered, count);
        if let Err(errno) = written {
            self.state.disable(&format!("writing to the log: {errno}"));
        }
    }
}
