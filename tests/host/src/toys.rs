//! Targets that keep requests, made to prove that the target interface carries such targets.
//!
//! `xor` forwards with memory of its own from its threads, like a cipher. `pair` writes to two
//! devices at once and copies one to the other, like a mirror. `hold` keeps everything until
//! told, like a path group without path.

use dm::event::Event;
use dm::kern::disk::Op;
use dm::kern::sync::SpinMutex;
use dm::lower::Lower;
use dm::params::Params;
use dm::services::{BufferPool, Crew, Errand, LegSet, Legs, Mail, Mailbox, Shared};
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

/// The most that one part of the cipher has: seven sectors of 4096 bytes.
const XOR_MAX: Sectors = Sectors(56);

struct Xor {
    inner: Arc<XorInner>,
    _crew: Crew,
}

struct XorInner {
    lower: Lower,
    offset: Sector,
    key: u8,
    mailbox: Arc<Mailbox>,
    buffers: BufferPool,
}

fn build_xor(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Box<dyn Target>, Failure> {
    let length = setup.length();
    let (lower, offset) = setup.place(params, length)?;
    let key = params.number("key", 1..=255)? as u8;
    params.end()?;
    let (mailbox, buffers) = (Arc::new(Mailbox::new()), BufferPool::new(2, XOR_MAX)?);
    let inner = Arc::new(XorInner { lower, offset, key, mailbox, buffers });
    let work = Arc::clone(&inner);
    let crew = Crew::start("xor", 2, &inner.mailbox, move || work.run())?;
    Ok(Box::new(Xor { inner, _crew: crew }))
}

impl XorInner {
    fn run(&self) {
        while let Mail::Fresh(part) = self.mailbox.receive(None) {
            self.encrypt(part);
        }
    }

    fn encrypt(&self, mut part: Part) {
        let mut buffer = self.buffers.wait();
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
            // Requests fall into parts.
            _ => Mapping::Keep { count: Sectors(range.count.0.min(XOR_MAX.0)) },
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
            _ => self.inner.mailbox.post(part),
        }
    }

    fn done(&self, mut part: Part, result: Result<(), Errno>) {
        match part.buffer().take() {
            Some(buffer) => self.inner.buffers.give(buffer),
            None => part.data_mut().iter_mut().for_each(|byte| *byte ^= self.inner.key),
        }
        part.finish(result);
    }
}

/// How many writes of the mirror may be under way at once.
const PAIR_WRITES: usize = 2;
/// How much it copies at once.
const PAIR_COPY: Sectors = Sectors(8);

struct Pair {
    inner: Arc<PairInner>,
    _crew: Crew,
}

struct PairInner {
    lowers: [Lower; 2],
    offsets: [Sector; 2],
    length: Sectors,
    dead: [AtomicBool; 2],
    flushes: AtomicU64,
    /// Sectors that were copied from the first side to the second.
    copied: AtomicU64,
    event: Arc<Event>,
    mailbox: Arc<Mailbox>,
    copier: Shared<Option<Errand>>,
    legs: Legs,
}

fn build_pair(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Box<dyn Target>, Failure> {
    let length = setup.length();
    let (one, first) = setup.place(params, length)?;
    let (two, second) = setup.place(params, length)?;
    params.end()?;
    let mailbox = Arc::new(Mailbox::new());
    let inner = Arc::new(PairInner {
        lowers: [one, two],
        offsets: [first, second],
        length,
        dead: Default::default(),
        flushes: AtomicU64::new(0),
        copied: AtomicU64::new(0),
        event: setup.event(),
        copier: Shared::new(Some(Errand::new(&mailbox, PAIR_COPY)?)),
        mailbox,
        legs: Legs::new(2, PAIR_WRITES)?,
    });
    let work = Arc::clone(&inner);
    let crew = Crew::start("pair", 1, &inner.mailbox, move || work.run())?;
    Ok(Box::new(Pair { inner, _crew: crew }))
}

impl PairInner {
    fn run(&self) {
        loop {
            match self.mailbox.receive(None) {
                // What found no memory before.
                Mail::Fresh(part) => self.both(part, self.legs.wait()),
                Mail::Poke => {
                    if let Some(mut errand) = self.copier.with(Option::take) {
                        *errand.tag() = 0;
                        self.copied.store(0, Ordering::SeqCst);
                        self.send(errand, Op::Read);
                    }
                }
                Mail::Errand(errand, result) => self.copy_on(errand, result),
                Mail::Over => return,
                Mail::Back(..) | Mail::Due => unreachable!("not for us"),
            }
        }
    }

    fn place(&self, side: usize, at: Sector) -> (&Lower, Sector) {
        (&self.lowers[side], Sector(self.offsets[side].0 + at.0))
    }

    fn alive(&self, side: usize) -> bool {
        !self.dead[side].load(Ordering::SeqCst)
    }

    fn bury(&self, side: usize) {
        if !self.dead[side].swap(true, Ordering::SeqCst) {
            self.event.raise();
        }
    }

    fn both(&self, part: Part, legs: LegSet) {
        let at = part.at();
        legs.send(part, |side| self.alive(side).then(|| self.place(side, at)));
    }

    fn read(&self, mut part: Part, side: usize) {
        if !self.alive(side) {
            return part.finish(Err(Errno::EIO));
        }
        *part.cookie() = side as u64;
        let (lower, sector) = self.place(side, part.at());
        part.forward(lower, sector);
    }

    /// The errand's tag: twice the sector it is at, and one while it writes.
    fn send(&self, mut errand: Errand, op: Op) {
        let tag = errand.tag();
        let at = Sector(*tag >> 1);
        *tag = at.0 << 1 | u64::from(op == Op::Write);
        let count = Sectors(PAIR_COPY.0.min(self.length.0 - at.0));
        let (lower, sector) = self.place(usize::from(op == Op::Write), at);
        errand.send(op, false, lower, sector, count);
    }

    fn copy_on(&self, mut errand: Errand, result: Result<(), Errno>) {
        let wrote = *errand.tag() & 1 == 1;
        let next = (*errand.tag() >> 1) + PAIR_COPY.0;
        if result.is_err() {
            self.bury(usize::from(wrote));
        } else if !wrote {
            return self.send(errand, Op::Write);
        } else {
            self.copied.store(next.min(self.length.0), Ordering::SeqCst);
            if next < self.length.0 {
                *errand.tag() = next << 1;
                return self.send(errand, Op::Read);
            }
        }
        self.copier.with(|idle| *idle = Some(errand));
        self.event.raise();
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
        let state = |side: usize| if self.inner.alive(side) { 'A' } else { 'D' };
        let copied = self.inner.copied.load(Ordering::SeqCst);
        write!(out, "{}{} {flushes} {copied}", state(0), state(1))
    }

    fn lowers(&self) -> &[Lower] {
        &self.inner.lowers
    }

    fn keeps_flushes(&self) -> bool {
        true
    }

    fn keep(&self, part: Part) {
        let inner = &self.inner;
        match part.op() {
            Op::Read => return inner.read(part, usize::from(!inner.alive(0))),
            Op::Flush => drop(inner.flushes.fetch_add(1, Ordering::SeqCst)),
            _ => {}
        }
        match inner.legs.take() {
            Some(legs) => inner.both(part, legs),
            None => inner.mailbox.post(part),
        }
    }

    fn done(&self, mut part: Part, result: Result<(), Errno>) {
        let cookie = *part.cookie();
        if result.is_ok() {
            return part.finish(result);
        }
        if part.op() == Op::Read {
            self.inner.bury(cookie as usize);
            return self.inner.read(part, usize::from(cookie == 0));
        }
        for side in (0..2).filter(|side| cookie >> side & 1 == 1) {
            self.inner.bury(side);
        }
        // An error counts only when no side is left.
        let left = (0..2).any(|side| self.inner.alive(side));
        part.finish(if left { Ok(()) } else { result });
    }

    fn message(&self, words: &mut Params<'_>, answer: &mut String) -> Result<(), Failure> {
        match words.word("message")? {
            "mend" => {
                words.end()?;
                self.inner.dead.iter().for_each(|dead| dead.store(false, Ordering::SeqCst));
                self.inner.event.raise();
                answer.push_str("mended");
            }
            "copy" => self.inner.mailbox.poke(),
            _ => return Err(words.refuse("is no message")),
        }
        Ok(())
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
