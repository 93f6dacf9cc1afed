//! What a flakey device does while it is bad, as its table says.

use crate::params::Params;
use alloc::format;
use core::fmt;
use dm_protocol::Failure;

/// A random feature strikes with a chance of so many in this.
pub(super) const CHANCES: u64 = 1_000_000_000;

/// What writes meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writes {
    Pass,
    Drop,
    Fail,
}

/// Whose data are damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
}

/// One byte of each request is replaced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Byte {
    /// Counted from 1.
    pub(super) nth: u64,
    direction: Direction,
    pub(super) value: u8,
    /// The flags that a request must have, as Linux numbers them.
    flags: u32,
}

impl Byte {
    /// A request that must be durable.
    const FUA: u32 = 1 << 17;

    pub(super) const fn matches(self, direction: Direction, fua: bool) -> bool {
        let (same, op) = match (self.direction, direction) {
            (Direction::Read, Direction::Read) => (true, 0),
            (Direction::Write, Direction::Write) => (true, 1),
            _ => (false, 0),
        };
        let has = if fua { op | Self::FUA } else { op };
        same && has & self.flags == self.flags
    }
}

/// What a flakey device does while it is bad.
#[derive(Debug)]
pub(super) struct Features {
    pub(super) reads_fail: bool,
    pub(super) writes: Writes,
    pub(super) byte: Option<Byte>,
    random_read: u64,
    random_write: u64,
    pub(super) seed: Option<u64>,
}

impl Features {
    /// Reads `[n feature...]`. Without any, reads and writes fail.
    pub(super) fn read(params: &mut Params<'_>) -> Result<Self, Failure> {
        let mut features = Self {
            reads_fail: false,
            writes: Writes::Pass,
            byte: None,
            random_read: 0,
            random_write: 0,
            seed: None,
        };
        if params.left() > 0 {
            let all = params.left() - 1;
            let count = params.number("features", 0..=all as u64)? as usize;
            while params.left() > all - count {
                features.add(params, all - count)?;
            }
        }
        if matches!(features.byte, Some(byte) if byte.direction == Direction::Write)
            && features.writes != Writes::Pass
        {
            return Err(params.refuse("damages writes that are dropped or refused"));
        }
        let does_nothing = features.writes == Writes::Pass
            && !features.damages(Direction::Read)
            && !features.damages(Direction::Write);
        if does_nothing && !features.reads_fail {
            features.reads_fail = true;
            features.writes = Writes::Fail;
        }
        Ok(features)
    }

    /// Reads one feature; `behind` words do not belong to it.
    fn add(&mut self, params: &mut Params<'_>, behind: usize) -> Result<(), Failure> {
        let name = params.word("feature")?;
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let needed = if is("corrupt_bio_byte") { 4 } else { 1 };
        let short = params.left() < behind + needed;
        if is("error_reads") {
            if self.reads_fail {
                return Err(params.refuse("is there twice"));
            }
            self.reads_fail = true;
        } else if is("drop_writes") || is("error_writes") {
            if self.writes != Writes::Pass {
                return Err(params.refuse("is there twice, or writes are both dropped and refused"));
            }
            self.writes = if is("drop_writes") { Writes::Drop } else { Writes::Fail };
        } else if !["corrupt_bio_byte", "random_read_corrupt", "random_write_corrupt", "seed"]
            .into_iter()
            .any(is)
        {
            return Err(params.refuse("is no feature"));
        } else if short {
            return Err(params.refuse(&format!("needs {needed} more of the features' words")));
        } else if is("corrupt_bio_byte") {
            self.byte = Some(read_byte(params)?);
        } else if is("random_read_corrupt") {
            self.random_read = params.number("chance", 0..=CHANCES)?;
        } else if is("random_write_corrupt") {
            self.random_write = params.number("chance", 0..=CHANCES)?;
        } else {
            self.seed = Some(params.number("seed", 0..=u64::MAX)?);
        }
        Ok(())
    }

    /// True if data in this direction may be damaged.
    pub(super) fn damages(&self, direction: Direction) -> bool {
        self.chance(direction) > 0 || self.byte.is_some_and(|byte| byte.direction == direction)
    }

    /// How many in [`CHANCES`] requests are damaged at random.
    pub(super) const fn chance(&self, direction: Direction) -> u64 {
        match direction {
            Direction::Read => self.random_read,
            Direction::Write => self.random_write,
        }
    }
}

fn read_byte(params: &mut Params<'_>) -> Result<Byte, Failure> {
    let nth = params.number("byte", 1..=u64::from(u32::MAX))?;
    let direction = match params.word("direction")? {
        "r" | "R" => Direction::Read,
        "w" | "W" => Direction::Write,
        _ => return Err(params.refuse("is neither r nor w")),
    };
    let value = params.number("value", 0..=255)? as u8;
    let flags = params.number("flags", 0..=u64::from(u32::MAX))? as u32;
    Ok(Byte { nth, direction, value, flags })
}

/// As a table gives them, with their number, and a blank before.
impl fmt::Display for Features {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = [
            ("random_read_corrupt", Some(self.random_read).filter(|chance| *chance > 0)),
            ("random_write_corrupt", Some(self.random_write).filter(|chance| *chance > 0)),
            ("seed", self.seed),
        ];
        let count = usize::from(self.reads_fail)
            + usize::from(self.writes != Writes::Pass)
            + self.byte.map_or(0, |_| 5)
            + pairs.iter().filter(|(_, value)| value.is_some()).count() * 2;
        write!(out, " {count}")?;
        if self.reads_fail {
            out.write_str(" error_reads")?;
        }
        match self.writes {
            Writes::Pass => {}
            Writes::Drop => out.write_str(" drop_writes")?,
            Writes::Fail => out.write_str(" error_writes")?,
        }
        if let Some(Byte { nth, direction, value, flags }) = self.byte {
            let direction = if direction == Direction::Read { 'r' } else { 'w' };
            write!(out, " corrupt_bio_byte {nth} {direction} {value} {flags}")?;
        }
        for (name, value) in pairs {
            if let Some(value) = value {
                write!(out, " {name} {value}")?;
            }
        }
        Ok(())
    }
}
