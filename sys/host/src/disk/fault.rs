//! A disk for tests: it fails when told, holds transfers back, and forgets what was not flushed.
//!
//! What was written and not flushed may be on the disk after a power cut, or not, or in parts:
//! [`FaultDisk::crash`] makes one of the images that a cut may leave.

use super::{Backend, Description, open};
use crate::kern::{Running, hold};
use dm::kern::disk::Op;
use dm_protocol::{Errno, SECTOR_SIZE, Sectors};
use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, sleep};
use std::time::Duration;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done and the error reported.
    Error(Errno),
    /// The first so many sectors of a write are done, the rest is not, and the error reported.
    Torn(Sectors, Errno),
    /// It is done at once and reported so much later, by another thread.
    Delay(Duration),
    /// Nothing is done and success reported.
    Lie,
}

/// When something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// For this operation; for all if not given.
    pub op: Option<Op>,
    /// So many of them go well first.
    pub after: u64,
    /// So many of them go wrong then.
    pub times: u64,
    /// In this way.
    pub fault: Fault,
}

impl Rule {
    /// The operation after the next `after` fails, once.
    #[must_use]
    pub const fn once(op: Op, after: u64, fault: Fault) -> Self {
        Self { op: Some(op), after, times: 1, fault }
    }

    /// From now on all of these fail.
    #[must_use]
    pub const fn always(op: Option<Op>, fault: Fault) -> Self {
        Self { op, after: 0, times: u64::MAX, fault }
    }

    /// What goes wrong with this operation, if anything.
    fn strike(&mut self, op: Op) -> Option<Fault> {
        if self.times == 0 || self.op.is_some_and(|only| only != op) {
            return None;
        }
        if self.after > 0 {
            self.after -= 1;
            return None;
        }
        self.times -= 1;
        Some(self.fault)
    }
}

/// A disk in memory that misbehaves as told.
pub struct FaultDisk {
    name: String,
    size: Sectors,
    sector_size: u32,
    state: Mutex<State>,
}

/// One sector of a write that a power cut may lose.
struct Pending {
    /// Sectors with the same number were written together.
    write: u64,
    offset: usize,
    data: Vec<u8>,
}

#[derive(Default)]
struct State {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
    writes: u64,
    rules: Vec<Rule>,
    counts: [u64; Op::ALL.len()],
    holding: bool,
    held: VecDeque<Running>,
    cut: bool,
}

impl FaultDisk {
    /// A disk of zeroes, reached by its name in tables.
    #[must_use]
    pub fn register(name: &str, size: Sectors) -> Arc<Self> {
        Self::register_image(name, vec![0; bytes(size)], 512)
    }

    /// A disk that holds `image`, whole sectors of `sector_size` bytes.
    #[must_use]
    pub fn register_image(name: &str, image: Vec<u8>, sector_size: u32) -> Arc<Self> {
        let size = Sectors::from_bytes(image.len() as u64);
        let state = State { durable: image.clone(), now: image, ..State::default() };
        let (name, state) = (name.to_owned(), Mutex::new(state));
        let disk = Arc::new(Self { name, size, sector_size, state });
        open::register(&disk.name, Arc::clone(&disk) as _);
        disk
    }

    /// Adds a rule; the first one that strikes counts.
    pub fn fail(&self, rule: Rule) {
        self.state().rules.push(rule);
    }

    /// Forgets all rules.
    pub fn heal(&self) {
        self.state().rules.clear();
    }

    /// How many of these operations were started.
    #[must_use]
    pub fn count(&self, op: Op) -> u64 {
        self.state().counts.get(op.index()).copied().unwrap_or(0)
    }

    /// Holds back all that comes from now on, until it is released.
    pub fn hold(&self) {
        self.state().holding = true;
    }

    /// The operations held back, oldest first.
    #[must_use]
    pub fn held(&self) -> Vec<Op> {
        self.state().held.iter().map(Running::op).collect()
    }

    /// Lets one go, counted from the oldest; false when there is none.
    pub fn release(&self, number: usize) -> bool {
        let held = self.state().held.remove(number);
        held.map(|running| self.work(running)).is_some()
    }

    /// Lets all go, and holds no more back.
    pub fn release_all(&self) {
        self.state().holding = false;
        while self.release(0) {}
    }

    /// Everything on it, as reads see it.
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        self.state().now.clone()
    }

    /// Everything that is sure to be on it after a power cut.
    #[must_use]
    pub fn durable(&self) -> Vec<u8> {
        self.state().durable.clone()
    }

    /// One of the images that a power cut now may leave: the same for the same seed. Of each
    /// write that was not flushed all, nothing or some sectors are there; writes under way count.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Vec<u8> {
        let mut state = self.state();
        let mut image = state.durable.clone();
        let mut random = Random(seed);
        let mut choice = (u64::MAX, 0);
        for pending in &state.pending {
            if choice.0 != pending.write {
                choice = (pending.write, random.next() % 3);
            }
            if choice.1 == 0 || choice.1 == 1 && random.coin() {
                put(&mut image, pending.offset, &pending.data);
            }
        }
        for running in &mut state.held {
            let offset = running.offset() as usize;
            if running.op() == Op::Write {
                for (number, data) in running.data().chunks(self.sector_size as usize).enumerate() {
                    if random.coin() {
                        put(&mut image, offset + number * self.sector_size as usize, data);
                    }
                }
            }
        }
        image
    }

    /// From now on nothing is done and everything fails; what is held back, too.
    pub fn cut_power(&self) {
        let mut state = self.state();
        state.cut = true;
        state.holding = false;
        let held = mem::take(&mut state.held);
        drop(state);
        held.into_iter().for_each(|running| running.finish(Err(Errno::EIO)));
    }

    /// Power is back, and the disk holds `image`.
    pub fn restart(&self, image: Vec<u8>) {
        let mut state = self.state();
        state.pending.clear();
        state.durable.clone_from(&image);
        state.now = image;
        state.cut = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        hold(&self.state)
    }

    /// Does a transfer and ends it.
    fn work(&self, mut running: Running) {
        let result = if self.state().cut { Err(Errno::EIO) } else { self.act(&mut running) };
        running.finish(result);
    }

    fn act(&self, running: &mut Running) -> Result<(), Errno> {
        let mut state = self.state();
        let (start, length) = (running.offset() as usize, running.length() as usize);
        let end = start.checked_add(length).filter(|&end| end <= state.now.len());
        let end = end.ok_or(Errno::EINVAL)?;
        match running.op() {
            Op::Read => running.data().copy_from_slice(&state.now[start..end]),
            Op::Write => {
                let fua = running.fua();
                state.write(start, running.data(), fua, self.sector_size as usize);
            }
            Op::Discard | Op::WriteZeroes => {
                let (zeroes, fua) = (vec![0; length], running.fua());
                state.write(start, &zeroes, fua, self.sector_size as usize);
            }
            Op::Flush => {
                let State { pending, durable, .. } = &mut *state;
                pending.drain(..).for_each(|p| put(durable, p.offset, &p.data));
            }
        }
        Ok(())
    }

    /// Does the first sectors of a write alone.
    fn tear(&self, running: &mut Running, sectors: Sectors) {
        let start = running.offset() as usize;
        let length = bytes(sectors).min(running.data().len());
        let unit = self.sector_size as usize;
        let mut state = self.state();
        if start + length <= state.now.len() {
            state.write(start, &running.data()[..length], false, unit);
        }
    }
}

impl State {
    fn write(&mut self, start: usize, data: &[u8], fua: bool, unit: usize) {
        put(&mut self.now, start, data);
        if fua {
            let end = start + data.len();
            // What the cache has of these sectors is older.
            self.pending.retain(|pending| !(start..end).contains(&pending.offset));
            return put(&mut self.durable, start, data);
        }
        self.writes += 1;
        for (number, data) in data.chunks(unit).enumerate() {
            let (write, offset) = (self.writes, start + number * unit);
            self.pending.push(Pending { write, offset, data: data.to_vec() });
        }
    }
}

fn put(image: &mut [u8], offset: usize, data: &[u8]) {
    if let Some(place) = image.get_mut(offset..offset + data.len()) {
        place.copy_from_slice(data);
    }
}

fn bytes(sectors: Sectors) -> usize {
    usize::try_from(sectors.0.saturating_mul(SECTOR_SIZE)).unwrap_or(usize::MAX)
}

/// SplitMix64: all that is needed of chance.
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    const fn coin(&mut self) -> bool {
        self.next() & 1 == 0
    }
}

impl Backend for FaultDisk {
    fn describe(&self) -> Description {
        Description::registered(&self.name, self.size, self.sector_size)
    }

    fn submit(&self, mut running: Running) {
        let mut state = self.state();
        let op = running.op();
        if let Some(count) = state.counts.get_mut(op.index()) {
            *count += 1;
        }
        let fault = state.rules.iter_mut().find_map(|rule| rule.strike(op));
        if fault.is_none() && state.holding {
            return state.held.push_back(running);
        }
        drop(state);
        match fault {
            None => self.work(running),
            Some(Fault::Error(errno)) => running.finish(Err(errno)),
            Some(Fault::Torn(sectors, errno)) => {
                if op == Op::Write {
                    self.tear(&mut running, sectors);
                }
                running.finish(Err(errno));
            }
            Some(Fault::Lie) => running.finish(Ok(())),
            Some(Fault::Delay(time)) => {
                if self.state().cut {
                    return running.finish(Err(Errno::EIO));
                }
                let result = self.act(&mut running);
                thread::spawn(move || {
                    sleep(time);
                    running.finish(result);
                });
            }
        }
    }
}

impl fmt::Debug for FaultDisk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(out)
    }
}
