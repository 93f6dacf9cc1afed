//! error: all I/O fails with EIO. No arguments.
//!
//! Upstream: dm_target_error.c. Differs: arguments, which Linux takes for zoned disks and
//! ignores otherwise, are refused.

use crate::params::Params;
use crate::target::{Keys, Mapping, Range, Setup, Target, TargetType};
use alloc::boxed::Box;
use core::fmt;
use dm_protocol::{Errno, Failure};

pub(super) static ERROR: TargetType = TargetType { name: "error", version: [1, 7, 0], build };

struct ErrorTarget;

fn build(_setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Box<dyn Target>, Failure> {
    params.end()?;
    Ok(Box::new(ErrorTarget))
}

impl Target for ErrorTarget {
    fn map(&self, _range: Range) -> Mapping<'_> {
        Mapping::Fail(Errno::EIO)
    }

    fn params(&self, _out: &mut dyn fmt::Write, _keys: Keys) -> fmt::Result {
        Ok(())
    }
}
