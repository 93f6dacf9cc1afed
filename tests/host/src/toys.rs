//! Targets that keep requests, made to prove that the target interface carries such targets.
//!
//! `xor` forwards with memory of its own from a worker, like a cipher. `pair` writes to two
//! devices, like a mirror. `hold` keeps everything until told, like a path group without path.

use dm::event::Event;
use dm::kern::buffer::Buffer;
use dm::kern::disk::Op;
use dm::kern::sync::{Condition, SpinMutex};
use dm::kern::thread::Worker;
use dm::lower::Lower;
use dm::params::Params;
use dm::target::{Keys, Mapping, Part, PartQueue, Range, Setup, Target, TargetType};
use dm::targets;
use dm_protocol::{Errno, Failure, Sector, Sectors};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A toy cipher: `xor device offset key`.
pub static XOR: TargetType = TargetType { name: "xor", version: [1, 0, 0], build: build_xor };
/// A toy mirror: `pair device offset device offset`.
pub static PAIR: TargetType = TargetType { name: "pair", version: [1, 0, 0], build: build_pair };
/// Keeps everything: `hold device offset`.
pub static HOLD: TargetType = TargetType { name: "hold", version: [1, 0, 0], build: build_hold };

/// The driver's targets and the toys.
#[must_use]
pub fn types() -> &'static [&'static TargetType] {
    static TYPES: std::sync::OnceLock<Vec<&'static TargetType>> = std::sync::OnceLock::new();
    TYPES.get_or_init(|| targets::TARGETS.iter().copied().chain([&XOR, &PAIR, &HOLD]).collect())
}

/// Parts on their way to a worker.
struct Inbox {
    jobs: SpinMutex<Jobs>,
    more: Condition,
}

struct Jobs {
    fresh: PartQueue,
    back: PartQueue,
    over: bool,
}

/// What a worker finds in its inbox.
enum Job {
    /// A part that was kept.
    Fresh(Part),
    /// A part that is back from below.
    Back(Part),
}

impl Inbox {
    fn new() -> Self {
        let jobs = Jobs { fresh: PartQueue::new(), back: PartQueue::new(), over: false };
        Self { jobs: SpinMutex::new(jobs), more: Condition::new() }
    }

    fn push(&self, job: Job) {
        let mut jobs = self.jobs.lock();
        match job {
            Job::Fresh(part) => jobs.fresh.push(part),
            Job::Back(part) => jobs.back.push(part),
        }
        self.more.broadcast();
    }

    fn pop(&self) -> Option<Job> {
        let mut jobs = self.jobs.lock();
        loop {
            if let Some(part) = jobs.back.pop() {
                return Some(Job::Back(part));
            }
            if let Some(part) = jobs.fresh.pop() {
                return Some(Job::Fresh(part));
            }
            if jobs.over {
                return None;
            }
            self.more.wait(&mut jobs);
        }
    }

    fn end(&self) {
        self.jobs.lock().over = true;
        self.more.broadcast();
    }
}

struct Xor {
    inner: Arc<XorInner>,
    worker: Option<Worker>,
}

struct XorInner {
    lower: Lower,
    offset: Sector,
    key: u8,
    inbox: Inbox,
}

fn build_xor(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Box<dyn Target>, Failure> {
    let length = setup.length();
    let (lower, offset) = setup.place(params, length)?;
    let key = params.number("key", 1..=255)? as u8;
    params.end()?;
    let inner = Arc::new(XorInner { lower, offset, key, inbox: Inbox::new() });
    let work = Arc::clone(&inner);
    let worker = Worker::start("xor", move || work.run())?;
    Ok(Box::new(Xor { inner, worker: Some(worker) }))
}

impl XorInner {
    fn run(&self) {
        while let Some(job) = self.inbox.pop() {
            match job {
                Job::Fresh(part) => self.encrypt(part),
                Job::Back(mut part) => {
                    drop(part.buffer().take());
                    let errno = i32::try_from(*part.cookie()).ok().and_then(Errno::from_number);
                    part.finish(errno.map_or(Ok(()), Err));
                }
            }
        }
    }

    fn encrypt(&self, mut part: Part) {
        let Ok(mut buffer) = Buffer::new(part.count()) else {
            return part.finish(Err(Errno::ENOMEM));
        };
        for (to, from) in buffer.bytes_mut().iter_mut().zip(part.data().iter()) {
            *to = *from ^ self.key;
        }
        *part.buffer() = Some(buffer);
        self.send(part);
    }

    fn send(&self, part: Part) {
        let sector = Sector(self.offset.0 + part.at().0);
        part.forward(&self.lower, sector);
    }
}

impl Target for Xor {
    fn map(&self, range: Range) -> Mapping<'_> {
        match range.op {
            Op::Discard => {
                let sector = Sector(self.inner.offset.0 + range.at.0);
                Mapping::To { lower: &self.inner.lower, sector, count: range.count }
            }
            Op::WriteZeroes => Mapping::Fail(Errno::EOPNOTSUPP),
            // Not more than seven at once, so that requests fall into parts.
            _ => Mapping::Keep { count: Sectors(range.count.0.min(56)) },
        }
    }

    fn params(&self, out: &mut dyn fmt::Write, keys: Keys) -> fmt::Result {
        let key = if keys == Keys::Shown { self.inner.key } else { 0 };
        write!(out, "{} {} {key}", self.inner.lower, self.inner.offset)
    }

    fn lowers(&self) -> &[Lower] {
        std::slice::from_ref(&self.inner.lower)
    }

    fn keep(&self, part: Part) {
        match part.op() {
            Op::Read => self.inner.send(part),
            _ => self.inner.inbox.push(Job::Fresh(part)),
        }
    }

    fn done(&self, mut part: Part, result: Result<(), Errno>) {
        if part.op() == Op::Read {
            part.data_mut().iter_mut().for_each(|byte| *byte ^= self.inner.key);
            return part.finish(result);
        }
        // The buffer is freed by the worker.
        *part.cookie() = result.err().map_or(0, |errno| errno.number() as u64);
        self.inner.inbox.push(Job::Back(part));
    }
}

impl Drop for Xor {
    fn drop(&mut self) {
        self.inner.inbox.end();
        drop(self.worker.take());
    }
}

struct Pair {
    inner: Arc<PairInner>,
    worker: Option<Worker>,
}

struct PairInner {
    lowers: [Lower; 2],
    offsets: [Sector; 2],
    dead: [AtomicBool; 2],
    flushes: AtomicU64,
    event: Arc<Event>,
    inbox: Inbox,
}

fn build_pair(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Box<dyn Target>, Failure> {
    let length = setup.length();
    let (one, first) = setup.place(params, length)?;
    let (two, second) = setup.place(params, length)?;
    params.end()?;
    let inner = Arc::new(PairInner {
        lowers: [one, two],
        offsets: [first, second],
        dead: Default::default(),
        flushes: AtomicU64::new(0),
        event: setup.event(),
        inbox: Inbox::new(),
    });
    let work = Arc::clone(&inner);
    let worker = Worker::start("pair", move || work.run())?;
    Ok(Box::new(Pair { inner, worker: Some(worker) }))
}

impl PairInner {
    fn run(&self) {
        while let Some(Job::Fresh(mut part)) = self.inbox.pop() {
            let result = match part.op() {
                Op::Flush => self.flush(),
                Op::Write => self.write(&mut part),
                Op::Discard => self.both(|side| {
                    let sector = Sector(self.offsets[side].0 + part.at().0);
                    self.lowers[side].clear(Op::Discard, false, sector, part.count())
                }),
                _ => self.read(&mut part),
            };
            part.finish(result);
        }
    }

    /// Both or one: an error counts only when no side is left.
    fn both(&self, act: impl Fn(usize) -> Result<(), Errno>) -> Result<(), Errno> {
        let mut result = Err(Errno::EIO);
        for (side, dead) in self.dead.iter().enumerate() {
            if dead.load(Ordering::SeqCst) {
                continue;
            }
            match act(side) {
                Ok(()) => result = Ok(()),
                Err(_) => {
                    dead.store(true, Ordering::SeqCst);
                    self.event.raise();
                }
            }
        }
        result
    }

    fn flush(&self) -> Result<(), Errno> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        self.both(|side| self.lowers[side].flush())
    }

    fn write(&self, part: &mut Part) -> Result<(), Errno> {
        let (fua, at) = (part.fua(), part.at());
        let mut buffer = Buffer::new(part.count())?;
        buffer.bytes_mut().copy_from_slice(part.data());
        let buffer = std::cell::RefCell::new(buffer);
        self.both(|side| {
            let sector = Sector(self.offsets[side].0 + at.0);
            self.lowers[side].transfer(Op::Write, fua, sector, &mut buffer.borrow_mut())
        })
    }

    fn read(&self, part: &mut Part) -> Result<(), Errno> {
        let at = part.at();
        let mut buffer = Buffer::new(part.count())?;
        for side in 0..2 {
            if self.dead[side].load(Ordering::SeqCst) {
                continue;
            }
            let sector = Sector(self.offsets[side].0 + at.0);
            match self.lowers[side].transfer(Op::Read, false, sector, &mut buffer) {
                Ok(()) => {
                    part.data_mut().copy_from_slice(buffer.bytes());
                    return Ok(());
                }
                Err(_) => {
                    self.dead[side].store(true, Ordering::SeqCst);
                    self.event.raise();
                }
            }
        }
        Err(Errno::EIO)
    }
}

impl Target for Pair {
    fn map(&self, range: Range) -> Mapping<'_> {
        match range.op {
            Op::WriteZeroes => Mapping::Fail(Errno::EOPNOTSUPP),
            _ => Mapping::Keep { count: range.count },
        }
    }

    fn params(&self, out: &mut dyn fmt::Write, _keys: Keys) -> fmt::Result {
        let [one, two] = &self.inner.lowers;
        write!(out, "{one} {} {two} {}", self.inner.offsets[0], self.inner.offsets[1])
    }

    fn status(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let flushes = self.inner.flushes.load(Ordering::SeqCst);
        let state =
            |side: usize| if self.inner.dead[side].load(Ordering::SeqCst) { 'D' } else { 'A' };
        write!(out, "{}{} {flushes}", state(0), state(1))
    }

    fn lowers(&self) -> &[Lower] {
        &self.inner.lowers
    }

    fn keeps_flushes(&self) -> bool {
        true
    }

    fn keep(&self, part: Part) {
        self.inner.inbox.push(Job::Fresh(part));
    }

    fn message(&self, words: &mut Params<'_>, answer: &mut String) -> Result<(), Failure> {
        match words.word("message")? {
            "mend" => {
                words.end()?;
                self.inner.dead.iter().for_each(|dead| dead.store(false, Ordering::SeqCst));
                self.inner.event.raise();
                answer.push_str("mended");
                Ok(())
            }
            _ => Err(words.refuse("is no message")),
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.inner.inbox.end();
        drop(self.worker.take());
    }
}

struct Hold {
    lower: Lower,
    offset: Sector,
    kept: SpinMutex<Kept>,
}

struct Kept {
    parts: PartQueue,
    /// Parts go back to the device's queue.
    refuse: bool,
    /// Parts go down.
    open: bool,
}

fn build_hold(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Box<dyn Target>, Failure> {
    let length = setup.length();
    let (lower, offset) = setup.place(params, length)?;
    params.end()?;
    let kept = Kept { parts: PartQueue::new(), refuse: false, open: false };
    Ok(Box::new(Hold { lower, offset, kept: SpinMutex::new(kept) }))
}

impl Hold {
    /// Does something with all that is kept; without the lock, since parts may come back.
    fn empty(&self, act: impl Fn(Part)) {
        loop {
            let part = self.kept.lock().parts.pop();
            match part {
                Some(part) => act(part),
                None => return,
            }
        }
    }

    fn down(&self, part: Part) {
        let sector = Sector(self.offset.0 + part.at().0);
        part.redirect(&self.lower, sector);
    }
}

impl Target for Hold {
    fn map(&self, range: Range) -> Mapping<'_> {
        Mapping::Keep { count: range.count }
    }

    fn params(&self, out: &mut dyn fmt::Write, _keys: Keys) -> fmt::Result {
        write!(out, "{} {}", self.lower, self.offset)
    }

    fn lowers(&self) -> &[Lower] {
        std::slice::from_ref(&self.lower)
    }

    fn keep(&self, part: Part) {
        let mut kept = self.kept.lock();
        match (kept.refuse, kept.open) {
            (true, _) => {
                drop(kept);
                part.hand_back();
            }
            (false, true) => {
                drop(kept);
                self.down(part);
            }
            (false, false) => kept.parts.push(part),
        }
    }

    fn message(&self, words: &mut Params<'_>, _answer: &mut String) -> Result<(), Failure> {
        match words.word("message")? {
            "go" => {
                self.kept.lock().open = true;
                self.empty(|part| self.down(part));
            }
            "drop" => self.empty(drop),
            // What a target must not do: half a sector, and beyond the end.
            "astray" => self.empty(|part| part.redirect(&self.lower, Sector(1))),
            "beyond" => self.empty(|part| part.redirect(&self.lower, Sector(u64::MAX))),
            "fail" => self.empty(|part| part.finish(Err(Errno::ENOSPC))),
            _ => return Err(words.refuse("is no message")),
        }
        Ok(())
    }

    fn presuspend(&self, noflush: bool) {
        if noflush {
            self.kept.lock().refuse = true;
            self.empty(Part::hand_back);
        }
    }

    fn resume(&self) {
        self.kept.lock().refuse = false;
    }
}
