//! striped: chunks in turn on several devices. `stripes chunk (device offset)...`
//!
//! Upstream: dm_target_stripe.c. Differs: any number of stripes that Linux takes, and the
//! length must be a multiple of stripes and chunk as there.

use crate::event::Event;
use crate::kern::disk::Op;
use crate::kern::sync::atomic::{AtomicU32, Ordering};
use crate::lower::Lower;
use crate::params::Params;
use crate::target::{Keys, Mapping, Range, Setup, Target, TargetType};
use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use dm_protocol::{Errno, Failure, Sector, Sectors};

pub(super) static STRIPED: TargetType = TargetType { name: "striped", version: [1, 6, 0], build };

/// Linux reads the number of stripes and the chunk into 32 bits.
const STRIPES_MAX: u64 = u32::MAX as u64;
const CHUNK_MAX: u64 = u32::MAX as u64;

struct Striped {
    chunk: u64,
    lowers: Vec<Lower>,
    legs: Vec<Leg>,
    event: Arc<Event>,
}

struct Leg {
    offset: Sector,
    errors: AtomicU32,
}

/// A place on the stripes.
#[derive(Clone, Copy)]
struct Place {
    leg: u64,
    at: u64,
}

fn build(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Box<dyn Target>, Failure> {
    let length = setup.length().0;
    let stripes = params.number("stripes", 1..=STRIPES_MAX)?;
    let chunk = params.number("chunk", 1..=CHUNK_MAX)?;
    let width = length / stripes;
    if !length.is_multiple_of(stripes) {
        let message = format!("{length} sectors cannot be divided into {stripes} stripes");
        return Err(Failure::new(Errno::EINVAL, message));
    }
    if !width.is_multiple_of(chunk) {
        let message = format!("{width} sectors a stripe cannot be divided into chunks of {chunk}");
        return Err(Failure::new(Errno::EINVAL, message));
    }
    // Words bound the stripes before memory is set aside for them.
    let needed = stripes.saturating_mul(2);
    if params.left() as u64 != needed {
        let message = format!(
            "{stripes} stripes need {needed} words behind the chunk, not {}",
            params.left()
        );
        return Err(Failure::new(Errno::EINVAL, message));
    }
    let event = setup.event();
    let mut striped = Striped { chunk, lowers: Vec::new(), legs: Vec::new(), event };
    for _ in 0..stripes {
        let (lower, offset) = setup.place(params, Sectors(width))?;
        let unit = u64::from(lower.sector_size() / 512).max(1);
        if !chunk.is_multiple_of(unit) {
            let why =
                format!("a chunk of {chunk} is no multiple of its sectors, which have {unit}");
            return Err(params.refuse(&why));
        }
        striped.lowers.push(lower);
        striped.legs.push(Leg { offset, errors: AtomicU32::new(0) });
    }
    params.end()?;
    Ok(Box::new(striped))
}

impl Striped {
    fn stripes(&self) -> u64 {
        self.legs.len() as u64
    }

    /// Where a sector of the segment lies. `chunk` and the stripes are not zero.
    fn place(&self, sector: u64) -> Place {
        let (chunk_nr, within) = if self.chunk.is_power_of_two() {
            (sector >> self.chunk.trailing_zeros(), sector & (self.chunk - 1))
        } else {
            (sector / self.chunk, sector % self.chunk)
        };
        let stripes = self.stripes();
        Place { leg: chunk_nr % stripes, at: (chunk_nr / stripes) * self.chunk + within }
    }

    fn to(&self, leg: u64, at: u64, count: u64) -> Mapping<'_> {
        let leg = leg as usize;
        let (Some(lower), Some(leg)) = (self.lowers.get(leg), self.legs.get(leg)) else {
            return Mapping::Fail(Errno::EIO);
        };
        match leg.offset.checked_add(Sectors(at)) {
            Some(sector) => Mapping::To { lower, sector, count: Sectors(count) },
            None => Mapping::Fail(Errno::EIO),
        }
    }

    /// The first sector on stripe `leg` at or behind sector `at` of the segment.
    fn edge(&self, leg: u64, at: u64) -> u64 {
        let place = self.place(at);
        let row = place.at - place.at % self.chunk;
        match place.leg.cmp(&leg) {
            core::cmp::Ordering::Less => row,
            core::cmp::Ordering::Equal => place.at,
            core::cmp::Ordering::Greater => row + self.chunk,
        }
    }
}

impl Target for Striped {
    fn map(&self, range: Range) -> Mapping<'_> {
        if self.spread(range.op) > 1 {
            let leg = u64::from(range.piece);
            let first = self.edge(leg, range.at.0);
            let end = self.edge(leg, range.at.0.saturating_add(range.count.0));
            return if end > first { self.to(leg, first, end - first) } else { Mapping::Nothing };
        }
        let place = self.place(range.at.0);
        let to_chunk_end = self.chunk - place.at % self.chunk;
        self.to(place.leg, place.at, range.count.0.min(to_chunk_end))
    }

    fn params(&self, out: &mut dyn fmt::Write, _keys: Keys) -> fmt::Result {
        write!(out, "{} {}", self.stripes(), self.chunk)?;
        for (lower, leg) in self.lowers.iter().zip(&self.legs) {
            write!(out, " {lower} {}", leg.offset)?;
        }
        Ok(())
    }

    fn status(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{}", self.stripes())?;
        for lower in &self.lowers {
            write!(out, " {lower}")?;
        }
        out.write_str(" 1 ")?;
        for leg in &self.legs {
            out.write_char(if leg.errors.load(Ordering::Relaxed) == 0 { 'A' } else { 'D' })?;
        }
        Ok(())
    }

    fn lowers(&self) -> &[Lower] {
        &self.lowers
    }

    fn watches(&self) -> bool {
        true
    }

    fn computes(&self) -> bool {
        true
    }

    /// A leg with an error shows as dead; the first one is an event.
    fn failed(&self, range: Range, errno: Errno) {
        // A device that cannot do this is not broken.
        if errno == Errno::EOPNOTSUPP {
            return;
        }
        let leg = match self.spread(range.op) {
            1 => self.place(range.at.0).leg as usize,
            _ => range.piece as usize,
        };
        if self.legs.get(leg).is_some_and(|leg| leg.errors.fetch_add(1, Ordering::Relaxed) == 0) {
            self.event.raise();
        }
    }

    fn spread(&self, op: Op) -> u32 {
        match op {
            Op::Discard | Op::WriteZeroes => self.legs.len() as u32,
            Op::Read | Op::Write | Op::Flush => 1,
        }
    }
}
