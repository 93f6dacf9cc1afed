//! What both sides of the dm control channel know.
//!
//! A client sends one dictionary, the driver answers with one: on NetBSD as a proplib
//! property list through an ioctl on `/dev/mapper/control`, on other systems over a socket.
//! This crate holds the typed form of both, and the one place that turns types into
//! dictionaries and back. It knows neither proplib nor XML: each side converts [`Dict`]
//! to its own property lists.
//!
//! The keys and flags are those of NetBSD's `netbsd-dm.h` 1.10; what goes beyond it
//! is marked "extension" and ignored by stock clients.
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

extern crate alloc;

mod command;
mod devno;
mod dict;
mod errno;
mod flags;
pub mod line;
mod names;
mod reply;
mod request;
mod units;
pub mod write_log;

pub use command::{Command, Privilege};
pub use devno::DevNo;
pub use dict::{Dict, Key, Value, key};
pub use errno::{Errno, Failure};
pub use flags::Flags;
pub use names::{DeviceName, NAME_MAX, TARGET_NAME_MAX, UUID_MAX, Uuid};
pub use reply::{Dependency, NameEntry, Reply, ReplyBody, SegmentStatus, TargetVersion};
pub use request::{Action, Change, Geometry, Request, SegmentSpec, Selector};
pub use units::{SECTOR_SIZE, Sector, Sectors};
pub use zeroize::{Zeroize, Zeroizing};

/// A protocol or target version: major, minor, patch level.
pub type Version = [u32; 3];

/// The version this driver speaks to clients that know it.
pub const VERSION: Version = [4, 17, 0];

/// The version announced to stock clients: the stock driver's own (netbsd-dm.h).
pub const STOCK_VERSION: Version = [4, 16, 0];

/// True for a client that reads `errno` and `error` from replies (protocol 4.17 or newer).
#[must_use]
pub fn reads_errors(client: Version) -> bool {
    client >= VERSION
}
