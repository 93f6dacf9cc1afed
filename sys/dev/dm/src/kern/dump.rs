//! Where a crashed system writes its memory: found without locks, memory or counting.

use crate::device::Device;
use crate::driver::Driver;
use crate::kern::disk::Op;
use crate::lower::Lower;
use crate::stack::STACK_MAX;
use crate::table::{Place, Table};
use crate::target::{Mapping, Range};
use alloc::sync::Arc;
use dm_protocol::{DevNo, Errno, Sector, Sectors};

/// A mapped device that may be asked after a crash. Made before, and it does not keep the
/// device from being removed.
pub struct Dump {
    device: Arc<Device>,
}

/// A place on a disk of the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DumpPlace {
    /// The disk.
    pub disk: DevNo,
    /// Where on it.
    pub sector: Sector,
    /// How many of the sectors asked for lie there in order, at least 1.
    pub count: Sectors,
}

impl Driver {
    /// Thread context. What a dump to a device needs.
    #[must_use]
    pub fn dump(&self, minor: u32) -> Option<Dump> {
        Some(Dump { device: self.device(minor)? })
    }
}

impl Dump {
    /// Any context. Where `count` sectors from `at` on are to be written.
    ///
    /// # Errors
    /// ENXIO without a table, EINVAL beyond its end, EROFS if it is read-only, ENODEV where
    /// its target takes no dumps.
    ///
    /// # Safety
    /// The system has crashed: nothing else of it runs, now or later.
    pub unsafe fn place(&self, at: Sector, count: Sectors) -> Result<DumpPlace, Errno> {
        let (mut device, mut at, mut count) = (&*self.device, at, count);
        for _ in 0..STACK_MAX {
            // SAFETY: the caller's contract.
            let table = unsafe { device.live.after_crash() }.ok_or(Errno::ENXIO)?;
            if device.readonly() {
                return Err(Errno::EROFS);
            }
            let (lower, sector, left) = below(table, at, count)?;
            count = count.min(left);
            match lower {
                Lower::Disk(open) => {
                    let disk = open.disk.info().devno.ok_or(Errno::ENODEV)?;
                    return Ok(DumpPlace { disk, sector, count });
                }
                Lower::Mapped(open) => (device, at) = (open.device(), sector),
            }
        }
        Err(Errno::ELOOP)
    }
}

/// One level down.
fn below(table: &Table, at: Sector, count: Sectors) -> Result<(&Lower, Sector, Sectors), Errno> {
    let segment = match table.place(at) {
        None => return Err(Errno::EINVAL),
        Some(Place::Straight { lower, sector, left }) => return Ok((lower, sector, left)),
        Some(Place::Asked(segment)) if segment.target.computes() => segment,
        Some(Place::Asked(_)) => return Err(Errno::ENODEV),
    };
    let range = Range {
        op: Op::Write,
        at: Sector(at.0.saturating_sub(segment.start)),
        count: Sectors(count.0.min(segment.end.saturating_sub(at.0))),
        piece: 0,
    };
    match segment.target.map(range) {
        Mapping::To { lower, sector, count } if !count.is_zero() => Ok((lower, sector, count)),
        Mapping::Fail(errno) => Err(errno),
        _ => Err(Errno::ENODEV),
    }
}
