//! Systems of which nothing special is asked.

pub use super::lacking::{in_memory, punch, read_now, write_durably, zero};

use dm_protocol::DevNo;
use rustix::io::{Errno, Result};
use std::fs::File;

/// There is no way to discard.
pub fn discard(_: &File, _: u64, _: u64) -> Result<()> {
    Err(Errno::OPNOTSUPP)
}

/// The bytes in a sector of a block device, as almost all have it.
pub fn sector_size(_: &File) -> Result<u32> {
    Ok(512)
}

/// Numbers do not lead to nodes.
pub fn device_path(_: DevNo) -> Option<String> {
    None
}
