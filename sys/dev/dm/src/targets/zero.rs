//! zero: reads give zeroes, writes are dropped. No arguments.
//!
//! Upstream: dm_target_zero.c. Differs: a write leaves the caller's memory alone.

use crate::params::Params;
use crate::target::{Keys, Mapping, Range, Setup, Target, TargetType};
use alloc::boxed::Box;
use core::fmt;
use dm_protocol::Failure;

pub(super) static ZERO: TargetType = TargetType { name: "zero", version: [1, 2, 0], build };

struct Zero;

fn build(_setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Box<dyn Target>, Failure> {
    params.end()?;
    Ok(Box::new(Zero))
}

impl Target for Zero {
    fn map(&self, range: Range) -> Mapping<'_> {
        Mapping::Zeroes { count: range.count }
    }

    fn params(&self, _out: &mut dyn fmt::Write, _keys: Keys) -> fmt::Result {
        Ok(())
    }
}
