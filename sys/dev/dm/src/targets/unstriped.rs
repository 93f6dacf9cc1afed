//! unstriped: what one stripe of a striped device holds. `stripes chunk stripe device offset`
//!
//! Upstream: Linux's unstriped. Differs: the stripe is one of those that there are, all of them
//! lie on the device, and discards go through.

use crate::lower::Lower;
use crate::params::Params;
use crate::target::{Keys, Mapping, Range, Setup, Target, TargetType};
use alloc::boxed::Box;
use alloc::format;
use core::{fmt, slice};
use dm_protocol::{Errno, Failure, Sector, Sectors};

pub(super) static UNSTRIPED: TargetType =
    TargetType { name: "unstriped", version: [1, 1, 0], build };

struct Unstriped {
    lower: Lower,
    offset: Sector,
    stripes: u64,
    chunk: u64,
    stripe: u64,
}

fn build(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Box<dyn Target>, Failure> {
    let length = setup.length().0;
    let stripes = params.number("stripes", 1..=u64::from(u32::MAX))?;
    let chunk = params.number("chunk", 1..=u64::from(u32::MAX))?;
    let stripe = params.number("stripe", 0..=stripes - 1)?;
    if !length.is_multiple_of(chunk) {
        let message = format!("{length} sectors cannot be divided into chunks of {chunk}");
        return Err(Failure::new(Errno::EINVAL, message));
    }
    // From the start of the device to the end of our last chunk.
    let rows = length / chunk;
    let behind = (rows - 1).checked_mul(stripes).and_then(|nr| nr.checked_add(stripe + 1));
    let reach = behind.and_then(|chunks| chunks.checked_mul(chunk));
    let reach = reach.ok_or_else(|| params.refuse("so many stripes are beyond every device"))?;
    let (lower, offset) = setup.place(params, Sectors(reach))?;
    params.end()?;
    let unit = u64::from(lower.sector_size() / 512).max(1);
    if !chunk.is_multiple_of(unit) {
        let why = format!("a chunk of {chunk} is no multiple of its sectors, which have {unit}");
        return Err(params.refuse(&why));
    }
    Ok(Box::new(Unstriped { lower, offset, stripes, chunk, stripe }))
}

impl Target for Unstriped {
    fn map(&self, range: Range) -> Mapping<'_> {
        let (row, within) = (range.at.0 / self.chunk, range.at.0 % self.chunk);
        let at = (row * self.stripes + self.stripe) * self.chunk + within;
        let count = Sectors(range.count.0.min(self.chunk - within));
        match self.offset.checked_add(Sectors(at)) {
            Some(sector) => Mapping::To { lower: &self.lower, sector, count },
            None => Mapping::Fail(Errno::EIO),
        }
    }

    fn params(&self, out: &mut dyn fmt::Write, _keys: Keys) -> fmt::Result {
        let Self { lower, offset, stripes, chunk, stripe } = self;
        write!(out, "{stripes} {chunk} {stripe} {lower} {offset}")
    }

    fn lowers(&self) -> &[Lower] {
        slice::from_ref(&self.lower)
    }

    fn computes(&self) -> bool {
        true
    }
}
