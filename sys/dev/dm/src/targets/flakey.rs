//! flakey: a disk that is good for some seconds and bad for some, in turn.
//! `device offset up down [n feature...]`
//!
//! Upstream: Linux's flakey. Differs: `seed`, with which random damage repeats, and damage that
//! is always seen.

mod features;

use self::features::{Byte, Direction, Features, Writes};
use crate::kern::disk::Op;
use crate::lower::Lower;
use crate::params::Params;
use crate::services::{Buffer, Draws, Shared, now_ns};
use crate::target::{Keys, Mapping, Part, PartQueue, Range, Setup, Target, TargetType};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::{fmt, slice};
use dm_protocol::{Errno, Failure, Sector, Sectors};

pub(super) static FLAKEY: TargetType = TargetType { name: "flakey", version: [1, 5, 0], build };

const SECOND_NS: u64 = 1_000_000_000;

/// Damaged writes under way at once, and the most that one of them has.
const COPIES: usize = 2;
const COPY_MAX: Sectors = Sectors(1024);

struct Flakey {
    lower: Lower,
    offset: Sector,
    up: u64,
    down: u64,
    start_ns: u64,
    features: Features,
    draws: Draws,
    copies: Shared<Copies>,
}

/// Writes to be damaged, which is done in a copy.
struct Copies {
    /// Has room for all.
    idle: Vec<Buffer>,
    waiting: PartQueue,
    /// Somebody sends, and will look again.
    sending: bool,
}

fn build(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Box<dyn Target>, Failure> {
    let length = setup.length();
    let (lower, offset) = setup.place(params, length)?;
    let up = params.number("up", 0..=u64::from(u32::MAX))?;
    let down = params.number("down", 0..=u64::from(u32::MAX) - up)?;
    if up + down == 0 {
        return Err(params.refuse("leaves no time at all"));
    }
    let features = Features::read(params)?;
    params.end()?;
    let mut idle = Vec::new();
    if features.damages(Direction::Write) {
        for _ in 0..COPIES {
            idle.push(Buffer::new(COPY_MAX)?);
        }
    }
    let copies = Copies { idle, waiting: PartQueue::new(), sending: false };
    let start_ns = now_ns();
    let draws = Draws::new(features.seed.unwrap_or(start_ns));
    let copies = Shared::new(copies);
    Ok(Box::new(Flakey { lower, offset, up, down, start_ns, features, draws, copies }))
}

/// What is done to the data of one request.
#[derive(Clone, Copy)]
struct Damage {
    byte: Option<Byte>,
    /// A number by which one byte is chosen and changed; zero for none.
    random: u64,
}

impl Damage {
    fn is_none(self) -> bool {
        self.byte.is_none() && self.random == 0
    }

    fn apply(self, data: &mut [u8]) {
        let nth = self.byte.and_then(|byte| usize::try_from(byte.nth).ok()?.checked_sub(1));
        if let (Some(byte), Some(place)) = (self.byte, nth.and_then(|nth| data.get_mut(nth))) {
            *place = byte.value;
        }
        let length = data.len() as u64;
        if self.random == 0 || length == 0 {
            return;
        }
        let at = (self.random >> 8) % length;
        if let Some(place) = data.get_mut(at as usize) {
            // Never zero, so that the byte does change.
            *place ^= (self.random % 255) as u8 + 1;
        }
    }
}

impl Flakey {
    fn is_down(&self) -> bool {
        let seconds = now_ns().saturating_sub(self.start_ns) / SECOND_NS;
        seconds % (self.up + self.down) >= self.up
    }

    fn place(&self, at: Sector) -> Sector {
        Sector(self.offset.0.saturating_add(at.0))
    }

    /// What is to be done to a request's data.
    fn damage(&self, direction: Direction, fua: bool) -> Damage {
        let byte = self.features.byte.filter(|byte| byte.matches(direction, fua));
        let chance = self.features.chance(direction);
        let hit = chance > 0 && self.draws.draw() % features::CHANCES < chance;
        Damage { byte, random: if hit { self.draws.draw().max(1) } else { 0 } }
    }

    /// Sends waiting writes while there is memory for a copy. One caller at a time sends, so
    /// that completions within a sending do not pile up on the stack.
    fn send_copies(&self) {
        let next = |first: bool| {
            self.copies.with(|copies| {
                if first && copies.sending {
                    return None;
                }
                copies.sending = !copies.waiting.is_empty() && !copies.idle.is_empty();
                if !copies.sending {
                    return None;
                }
                copies.idle.pop().zip(copies.waiting.pop())
            })
        };
        let mut found = next(true);
        while let Some((mut buffer, mut part)) = found {
            for (to, from) in buffer.bytes_mut().iter_mut().zip(part.data()) {
                *to = *from;
            }
            let length = part.data().len();
            let random = *part.cookie();
            let byte = self.features.byte;
            let byte = byte.filter(|byte| byte.matches(Direction::Write, part.fua()));
            if let Some(data) = buffer.bytes_mut().get_mut(..length) {
                Damage { byte, random }.apply(data);
            }
            *part.buffer() = Some(buffer);
            let sector = self.place(part.at());
            part.forward(&self.lower, sector);
            found = next(false);
        }
    }
}

impl Target for Flakey {
    fn map(&self, range: Range) -> Mapping<'_> {
        let sector = self.place(range.at);
        let through = Mapping::To { lower: &self.lower, sector, count: range.count };
        if !self.is_down() {
            return through;
        }
        match (range.op, self.features.writes) {
            (Op::Read, _) if self.features.reads_fail => Mapping::Fail(Errno::EIO),
            (Op::Read, _) if self.features.damages(Direction::Read) => {
                Mapping::Keep { count: range.count }
            }
            (Op::Read | Op::Flush, _) => through,
            (_, Writes::Fail) => Mapping::Fail(Errno::EIO),
            (_, Writes::Drop) => Mapping::Zeroes { count: range.count },
            (Op::Write, Writes::Pass) if self.features.damages(Direction::Write) => {
                Mapping::Keep { count: Sectors(range.count.0.min(COPY_MAX.0)) }
            }
            (_, Writes::Pass) => through,
        }
    }

    fn params(&self, out: &mut dyn fmt::Write, _keys: Keys) -> fmt::Result {
        write!(out, "{} {} {} {}{}", self.lower, self.offset, self.up, self.down, self.features)
    }

    fn lowers(&self) -> &[Lower] {
        slice::from_ref(&self.lower)
    }

    fn keeps_flushes(&self) -> bool {
        self.features.writes != Writes::Pass
    }

    fn keep(&self, mut part: Part) {
        let sector = self.place(part.at());
        match part.op() {
            Op::Flush => match self.features.writes {
                Writes::Fail if self.is_down() => part.finish(Err(Errno::EIO)),
                Writes::Drop if self.is_down() => part.finish(Ok(())),
                _ => part.redirect(&self.lower, Sector(0)),
            },
            Op::Write => {
                let damage = self.damage(Direction::Write, part.fua());
                if damage.is_none() {
                    return part.redirect(&self.lower, sector);
                }
                *part.cookie() = damage.random;
                self.copies.with(|copies| copies.waiting.push(part));
                self.send_copies();
            }
            _ => part.forward(&self.lower, sector),
        }
    }

    fn done(&self, mut part: Part, result: Result<(), Errno>) {
        if part.op() == Op::Read {
            if result.is_ok() {
                self.damage(Direction::Read, false).apply(part.data_mut());
            }
            return part.finish(result);
        }
        if let Some(buffer) = part.buffer().take() {
            // Room for all was reserved.
            self.copies.with(|copies| copies.idle.push(buffer));
        }
        part.finish(result);
        self.send_copies();
    }

    /// With `noflush`, what still waits for memory goes back; the copies under way end by
    /// themselves.
    fn presuspend(&self, noflush: bool) {
        if !noflush {
            return;
        }
        let next = || self.copies.with(|copies| copies.waiting.pop());
        while let Some(part) = next() {
            part.hand_back();
        }
    }
}
