//! Disks below the driver: image files, block devices, memory, and disks that fail on purpose.

pub mod fault;
pub(crate) mod file;
pub mod memory;
mod null;
mod open;
mod pool;
mod system;

pub use file::Engine;
pub use open::{forget, open, open_with, register};

use crate::kern::Running;
use dm_protocol::{DevNo, Sectors};
use std::hash::{DefaultHasher, Hash, Hasher};

/// An open disk.
pub trait Backend: Send + Sync {
    /// What the driver is told of it.
    fn describe(&self) -> Description;

    /// Starts a transfer, which ends with [`Running::finish`], now or later, in any thread.
    /// It is within the disk's size. Must not wait for another transfer.
    fn submit(&self, running: Running);
}

/// What the driver is told of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The same for the same disk, however it was named.
    pub identity: [u64; 2],
    /// Its number, if it has one.
    pub devno: Option<DevNo>,
    /// Its path or name.
    pub name: String,
    /// Its size.
    pub size: Sectors,
    /// Bytes in one of its sectors.
    pub sector_size: u32,
    /// It takes discards.
    pub discard: bool,
}

impl Description {
    /// A disk that a name alone makes the same: it has no path and no number.
    pub(crate) fn registered(name: &str, size: Sectors, sector_size: u32) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self {
            identity: [Space::Registered.number(), hasher.finish()],
            devno: None,
            name: name.to_owned(),
            size,
            sector_size,
            discard: true,
        }
    }
}

/// What kind of thing an identity's second number counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Space {
    /// Registered disks, by name.
    Registered,
    /// Block devices, by `st_rdev`.
    Device,
}

impl Space {
    /// The first number of an identity. File systems have numbers of their own, which are small.
    pub(crate) const fn number(self) -> u64 {
        match self {
            Self::Registered => u64::MAX,
            Self::Device => u64::MAX - 1,
        }
    }
}
