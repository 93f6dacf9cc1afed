//! delay: requests wait before they go on. `device offset ms [device offset ms [device offset ms]]`
//! for all; for reads, and for writes; with flushes apart.
//!
//! Upstream: Linux's delay. Differs: `jitter`, which changes the order of requests in a way that
//! repeats; a flush reaches the device of the writes whichever its own is.

use crate::kern::disk::Op;
use crate::kern::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use crate::lower::Lower;
use crate::params::Params;
use crate::services::{Crew, Draws, Legs, Mail, Mailbox, now_ns};
use crate::target::{Keys, Mapping, Part, PartQueue, Range, Setup, Target, TargetType};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use dm_protocol::{Errno, Failure, Sector, Sectors};

pub(super) static DELAY: TargetType = TargetType { name: "delay", version: [1, 4, 0], build };

const MS_NS: u64 = 1_000_000;

struct Delay {
    inner: Arc<Inner>,
    _crew: Crew,
}

struct Inner {
    /// As the table names them; the last one is also that of what it does not name.
    ways: Vec<Way>,
    lowers: Vec<Lower>,
    jitter: Option<Jitter>,
    /// Requests that wait: reads, writes, flushes.
    waiting: [AtomicU32; 3],
    mode: AtomicU8,
    mailbox: Arc<Mailbox>,
    /// For flushes, if their device is not that of the writes.
    legs: Option<Legs>,
}

struct Way {
    offset: Sector,
    delay_ms: u64,
}

/// Every request waits up to so much longer.
struct Jitter {
    most_ms: u64,
    seed: u64,
    draws: Draws,
}

/// What the thread does with requests.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Mode {
    Delay,
    SendAtOnce,
    HandBack,
}

impl Mode {
    const fn of(number: u8) -> Self {
        match number {
            0 => Self::Delay,
            1 => Self::SendAtOnce,
            _ => Self::HandBack,
        }
    }
}

const READS: usize = 0;
const WRITES: usize = 1;
const FLUSHES: usize = 2;

const fn kind(op: Op) -> usize {
    match op {
        Op::Read => READS,
        Op::Write | Op::Discard | Op::WriteZeroes => WRITES,
        Op::Flush => FLUSHES,
    }
}

fn build(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Box<dyn Target>, Failure> {
    let length = setup.length();
    let (mut ways, mut lowers) = (Vec::new(), Vec::new());
    while ways.is_empty() || (ways.len() < 3 && params.left() > 0 && !params.next_is("jitter")) {
        let (lower, offset) = setup.place(params, length)?;
        let delay_ms = params.number("delay", 0..=u64::from(u32::MAX))?;
        lowers.push(lower);
        ways.push(Way { offset, delay_ms });
    }
    let jitter = if params.next_is("jitter") { Some(Jitter::read(params)?) } else { None };
    params.end()?;
    let mut inner = Inner {
        ways,
        lowers,
        jitter,
        waiting: [const { AtomicU32::new(0) }; 3],
        mode: AtomicU8::new(Mode::Delay as u8),
        mailbox: Arc::new(Mailbox::new()),
        legs: None,
    };
    if inner.flushes_apart() {
        inner.legs = Some(Legs::new(2, 1)?);
    }
    let inner = Arc::new(inner);
    let work = Arc::clone(&inner);
    let crew = Crew::start("delay", 1, &inner.mailbox, move || work.run())?;
    Ok(Box::new(Delay { inner, _crew: crew }))
}

impl Jitter {
    fn read(params: &mut Params<'_>) -> Result<Self, Failure> {
        params.word("jitter")?;
        let most_ms = params.number("jitter", 1..=u64::from(u32::MAX))?;
        let seed = params.number("seed", 0..=u64::MAX)?;
        Ok(Self { most_ms, seed, draws: Draws::new(seed) })
    }
}

impl Inner {
    /// The way of a kind of request.
    fn way(&self, kind: usize) -> Option<(&Way, &Lower)> {
        let last = self.ways.len().saturating_sub(1);
        let nr = kind.min(last);
        self.ways.get(nr).zip(self.lowers.get(nr))
    }

    fn flushes_apart(&self) -> bool {
        let key = |kind| self.way(kind).map(|(_, lower)| lower.key());
        key(FLUSHES) != key(WRITES)
    }

    fn delays(&self, kind: usize) -> bool {
        self.jitter.is_some() || self.way(kind).is_some_and(|(way, _)| way.delay_ms > 0)
    }

    fn place(&self, op: Op, at: Sector) -> Option<(&Lower, Sector)> {
        let (way, lower) = self.way(kind(op))?;
        Some((lower, way.offset.checked_add(Sectors(at.0))?))
    }

    /// When a request that comes now goes on.
    fn due_ns(&self, kind: usize) -> u64 {
        let delay_ms = self.way(kind).map_or(0, |(way, _)| way.delay_ms);
        let more_ms = self.jitter.as_ref().map_or(0, |jitter| {
            let most = jitter.most_ms.saturating_add(1);
            jitter.draws.draw().checked_rem(most).unwrap_or(0)
        });
        now_ns().saturating_add(delay_ms.saturating_add(more_ms).saturating_mul(MS_NS))
    }

    fn mode(&self) -> Mode {
        Mode::of(self.mode.load(Ordering::Acquire))
    }

    fn set_mode(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::Release);
        self.mailbox.poke();
    }

    /// The thread. A request's cookie says when it is due.
    fn run(&self) {
        let mut queue = PartQueue::new();
        let mut due_ns: Option<u64> = None;
        loop {
            match self.mailbox.receive(due_ns) {
                Mail::Fresh(mut part) => {
                    let its = *part.cookie();
                    due_ns = Some(due_ns.map_or(its, |due| due.min(its)));
                    queue.push(part);
                    // Nothing else would wake the thread for it.
                    if self.mode() != Mode::Delay {
                        due_ns = self.sweep(&mut queue);
                    }
                }
                Mail::Due | Mail::Poke => due_ns = self.sweep(&mut queue),
                Mail::Back(part, result) => part.finish(result),
                Mail::Errand(..) => {}
                Mail::Over => return,
            }
        }
    }

    /// Lets go of every request that is due; gives when the next is.
    fn sweep(&self, queue: &mut PartQueue) -> Option<u64> {
        let (mode, now) = (self.mode(), now_ns());
        let (mut later, mut next) = (PartQueue::new(), None);
        while let Some(mut part) = queue.pop() {
            let due = *part.cookie();
            if mode == Mode::Delay && due > now {
                next = Some(next.map_or(due, |next: u64| next.min(due)));
                later.push(part);
                continue;
            }
            if let Some(waiting) = self.waiting.get(kind(part.op())) {
                waiting.fetch_sub(1, Ordering::Relaxed);
            }
            match mode {
                Mode::HandBack => part.hand_back(),
                Mode::Delay | Mode::SendAtOnce => self.send(part),
            }
        }
        *queue = later;
        next
    }

    fn send(&self, part: Part) {
        if let (Op::Flush, Some(legs)) = (part.op(), &self.legs) {
            let to = [FLUSHES, WRITES].map(|kind| self.way(kind).map(|(_, lower)| lower));
            let place = |nr: usize| Some((to.get(nr).copied().flatten()?, Sector(0)));
            return legs.wait().send(part, place);
        }
        match self.place(part.op(), part.at()) {
            Some((lower, _)) if part.op() == Op::Flush => part.redirect(lower, Sector(0)),
            Some((lower, sector)) => part.redirect(lower, sector),
            None => part.finish(Err(Errno::EIO)),
        }
    }
}

impl Target for Delay {
    fn map(&self, range: Range) -> Mapping<'_> {
        if self.inner.delays(kind(range.op)) {
            return Mapping::Keep { count: range.count };
        }
        match self.inner.place(range.op, range.at) {
            Some((lower, sector)) => Mapping::To { lower, sector, count: range.count },
            None => Mapping::Fail(Errno::EIO),
        }
    }

    fn params(&self, out: &mut dyn fmt::Write, _keys: Keys) -> fmt::Result {
        let mut gap = "";
        for (way, lower) in self.inner.ways.iter().zip(&self.inner.lowers) {
            write!(out, "{gap}{lower} {} {}", way.offset, way.delay_ms)?;
            gap = " ";
        }
        match &self.inner.jitter {
            Some(jitter) => write!(out, " jitter {} {}", jitter.most_ms, jitter.seed),
            None => Ok(()),
        }
    }

    fn status(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let [reads, writes, flushes] =
            self.inner.waiting.each_ref().map(|count| count.load(Ordering::Relaxed));
        write!(out, "{reads} {writes} {flushes}")
    }

    fn lowers(&self) -> &[Lower] {
        &self.inner.lowers
    }

    fn keeps_flushes(&self) -> bool {
        self.inner.delays(FLUSHES) || self.inner.legs.is_some()
    }

    fn keep(&self, mut part: Part) {
        let kind = kind(part.op());
        *part.cookie() = self.inner.due_ns(kind);
        if let Some(waiting) = self.inner.waiting.get(kind) {
            waiting.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.mailbox.post(part);
    }

    fn presuspend(&self, noflush: bool) {
        self.inner.set_mode(if noflush { Mode::HandBack } else { Mode::SendAtOnce });
    }

    fn resume(&self) {
        self.inner.set_mode(Mode::Delay);
    }
}
