//! The devices below a table: disks of the platform, and mapped devices of our own.

use crate::driver::Opened;
use crate::io;
use crate::kern::buffer::Buffer;
use crate::kern::child::{Child, Piece};
use crate::kern::disk::{Disk, Op};
use crate::kern::{node, wait};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::fmt;
use dm_protocol::{Dependency, DevNo, Errno, Failure, SECTOR_SIZE, Sector, Sectors};

/// A device below, shared by all who use it. Closed in thread context with its last user.
#[derive(Clone)]
pub enum Lower {
    /// A disk of the platform.
    Disk(Arc<OpenDisk>),
    /// A mapped device.
    Mapped(Arc<Opened>),
}

/// What stays the same for a device however it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// A disk, by what the platform knows it by.
    Disk([u64; 2]),
    /// A mapped device, by its minor.
    Mapped(u32),
}

/// A disk opened once for all tables that use it in the same way.
pub struct OpenDisk {
    pub(crate) disk: Disk,
    /// Stands in for the minor of a disk that has no number.
    pub(crate) serial: u32,
}

impl Lower {
    /// Its size.
    #[must_use]
    pub fn size(&self) -> Sectors {
        match self {
            Self::Disk(open) => open.disk.info().size,
            Self::Mapped(open) => open.size(),
        }
    }

    /// Bytes in one of its sectors.
    #[must_use]
    pub fn sector_size(&self) -> u32 {
        match self {
            Self::Disk(open) => open.disk.info().sector_size,
            Self::Mapped(open) => open.sector_size(),
        }
    }

    /// True if it takes discards.
    #[must_use]
    pub fn discards(&self) -> bool {
        match self {
            Self::Disk(open) => open.disk.info().discard,
            Self::Mapped(open) => open.discards(),
        }
    }

    /// Its number. An image file gets major 0 and a number of its own.
    #[must_use]
    pub fn devno(&self) -> DevNo {
        match self {
            Self::Disk(open) => {
                open.disk.info().devno.unwrap_or(DevNo { major: 0, minor: open.serial })
            }
            Self::Mapped(open) => DevNo { major: node::major(), minor: open.minor() },
        }
    }

    /// The device as `deps` tells of it.
    #[must_use]
    pub fn dependency(&self) -> Dependency {
        let name = match self {
            Self::Disk(open) => open.disk.info().name.clone(),
            Self::Mapped(open) => open.name(),
        };
        Dependency { devno: self.devno(), name }
    }

    /// The same for the same open device, and for no other within a table. Numbers would not
    /// do: an image's stand-in may be a real disk's number.
    pub(crate) fn key(&self) -> (bool, usize) {
        match self {
            Self::Disk(open) => (false, Arc::as_ptr(open).addr()),
            Self::Mapped(open) => (true, open.minor() as usize),
        }
    }

    /// What stays the same for the device however it is opened.
    #[must_use]
    pub fn identity(&self) -> Identity {
        match self {
            Self::Disk(open) => Identity::Disk(open.disk.info().identity),
            Self::Mapped(open) => Identity::Mapped(open.minor()),
        }
    }

    /// Checks that a range lies on the device and on its sectors. A mapped device without a live
    /// table gets one later: what lies beyond that fails when it is used.
    ///
    /// # Errors
    /// EINVAL with a sentence.
    pub fn check_range(&self, at: Sector, count: Sectors) -> Result<(), Failure> {
        if matches!(self, Self::Mapped(open) if open.size().is_zero()) {
            return Ok(());
        }
        let refuse = |message: String| Err(Failure::new(Errno::EINVAL, message));
        match at.checked_add(count) {
            Some(end) if end.0 <= self.size().0 => {}
            _ => {
                let size = self.size();
                return refuse(format!(
                    "{count} sectors from {at} on are beyond {self}, which has {size}"
                ));
            }
        }
        let unit = u64::from(self.sector_size()) / SECTOR_SIZE;
        if unit > 1 && (!at.0.is_multiple_of(unit) || !count.0.is_multiple_of(unit)) {
            return refuse(format!(
                "{count} sectors from {at} on are not whole sectors of {self}, which have {unit}"
            ));
        }
        Ok(())
    }

    /// Thread context; sleeps. Transfers a whole buffer, for a target's own data.
    ///
    /// # Errors
    /// EINVAL for an operation without data; else the device's.
    pub fn transfer(&self, op: Op, fua: bool, at: Sector, data: &mut Buffer) -> Result<(), Errno> {
        self.transfer_first(op, fua, at, data, data.length())
    }

    /// As [`Lower::transfer`], with the first `count` sectors of a buffer.
    ///
    /// # Errors
    /// As there; EINVAL if the buffer is shorter.
    pub fn transfer_first(
        &self,
        op: Op,
        fua: bool,
        at: Sector,
        data: &mut Buffer,
        count: Sectors,
    ) -> Result<(), Errno> {
        if !op.has_data() || count > data.length() {
            return Err(Errno::EINVAL);
        }
        let piece = Piece { op, fua, at, count };
        wait::transfer(piece, Some(data.bytes_mut()), |child| self.submit(child, at))
    }

    /// Thread context; sleeps. Discards a range, or makes it read as zeroes.
    ///
    /// # Errors
    /// EINVAL for other operations; else the device's.
    pub fn clear(&self, op: Op, fua: bool, at: Sector, count: Sectors) -> Result<(), Errno> {
        if !matches!(op, Op::Discard | Op::WriteZeroes) {
            return Err(Errno::EINVAL);
        }
        let piece = Piece { op, fua, at, count };
        wait::transfer(piece, None, |child| self.submit(child, at))
    }

    /// Thread context; sleeps. Makes everything durable that was written there.
    ///
    /// # Errors
    /// The device's.
    pub fn flush(&self) -> Result<(), Errno> {
        let piece = Piece { op: Op::Flush, fua: false, at: Sector(0), count: Sectors::ZERO };
        wait::transfer(piece, None, |child| self.submit(child, Sector(0)))
    }

    /// Strategy or completion context. Sends a child there.
    pub(crate) fn submit(&self, child: Child, sector: Sector) {
        match self {
            Self::Disk(open) => open.disk.check_and_submit(child, sector),
            Self::Mapped(open) => io::submit_nested(open.device(), child.aimed(sector)),
        }
    }
}

impl Disk {
    /// True for a range that is there and made of whole sectors, as the seam is promised that
    /// each transfer is, whatever a target computed.
    #[inline]
    pub(crate) fn takes(&self, sector: Sector, count: Sectors) -> bool {
        let inside = |end: Sector| end.0 <= self.info().size.0;
        let in_range = sector.checked_add(count).is_some_and(inside) && !count.is_zero();
        let unit = u64::from(self.info().sector_size) / SECTOR_SIZE;
        in_range && (sector.0 | count.0) & unit.saturating_sub(1) == 0
    }

    fn check_and_submit(&self, child: Child, sector: Sector) {
        if child.op() == Op::Flush {
            child.submit(self, Sector(0));
        } else if self.takes(sector, child.count()) {
            child.submit(self, sector);
        } else {
            io::child_done(child, Some(Errno::EIO));
        }
    }
}

/// As `table` prints it: major:minor, or the path of an image file.
impl fmt::Display for Lower {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(open) => match open.disk.info().devno {
                Some(devno) => devno.fmt(out),
                None => out.write_str(&open.disk.info().name),
            },
            Self::Mapped(_) => self.devno().fmt(out),
        }
    }
}

impl fmt::Debug for Lower {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.to_string())
    }
}
