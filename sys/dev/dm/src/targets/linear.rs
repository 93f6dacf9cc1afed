//! linear: a range of one device. `device offset`
//!
//! Upstream: dm_target_linear.c. Differs: the range must lie on the device.

use crate::lower::Lower;
use crate::params::Params;
use crate::target::{Keys, Mapping, Range, Setup, Target, TargetType};
use alloc::boxed::Box;
use core::{fmt, slice};
use dm_protocol::{Errno, Failure, Sector, Sectors};

pub(super) static LINEAR: TargetType = TargetType { name: "linear", version: [1, 4, 0], build };

struct Linear {
    lower: Lower,
    offset: Sector,
}

fn build(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Box<dyn Target>, Failure> {
    let length = setup.length();
    let (lower, offset) = setup.place(params, length)?;
    params.end()?;
    Ok(Box::new(Linear { lower, offset }))
}

impl Target for Linear {
    fn map(&self, range: Range) -> Mapping<'_> {
        match self.offset.checked_add(Sectors(range.at.0)) {
            Some(sector) => Mapping::To { lower: &self.lower, sector, count: range.count },
            None => Mapping::Fail(Errno::EIO),
        }
    }

    fn straight(&self) -> Option<(&Lower, Sector)> {
        Some((&self.lower, self.offset))
    }

    fn params(&self, out: &mut dyn fmt::Write, _keys: Keys) -> fmt::Result {
        write!(out, "{} {}", self.lower, self.offset)
    }

    fn lowers(&self) -> &[Lower] {
        slice::from_ref(&self.lower)
    }
}
