//! Wedges: the disks that dk(4) finds in partition tables on mapped devices.
//!
//! dk(4) knows its parent by the name of a disk, `dm` and a unit number, and opens it as the
//! raw partition of that unit. Mapped devices have no partitions, and their minors are not made
//! of units, so each has a second minor, far above the others, that no node has.

use crate::sys;
use alloc::format;
use alloc::string::String;

const PARTITIONS: u32 = sys::MAXPARTITIONS;
const RAW: u32 = sys::RAW_PART;

/// The unit number of minor 0.
const FIRST_UNIT: u32 = 0x8000;

/// Minors from here on are those of units.
pub const FIRST_MINOR: u32 = FIRST_UNIT * PARTITIONS;

const _: () = assert!(2 * FIRST_MINOR - 1 <= dm::protocol::DevNo::MINOR_MAX, "they are minors");

/// The name that dk(4) knows a device by; those with large minors have none.
pub fn parent(minor: u32) -> Option<String> {
    (minor < FIRST_UNIT).then(|| format!("dm{}\0", FIRST_UNIT + minor))
}

/// The device that dk(4) means with a minor, if it is one of dk(4)'s.
pub fn meant(minor: u32) -> Option<u32> {
    let raw = minor.checked_sub(FIRST_MINOR)?;
    (raw % PARTITIONS == RAW).then_some(raw / PARTITIONS)
}
