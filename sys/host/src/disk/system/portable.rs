//! Systems of which nothing special is asked.

use super::{end, write_and_flush};
use dm_protocol::DevNo;
use rustix::io::{Errno, Result};
use std::fs::File;

/// There is no way to read without waiting.
pub fn read_now(_: &File, _: &mut [u8], _: u64) -> Result<usize> {
    Err(Errno::OPNOTSUPP)
}

/// Writes; what is written is durable when this returns.
pub fn write_durably(file: &File, data: &[u8], offset: u64) -> Result<usize> {
    write_and_flush(file, data, offset)
}

/// There is no way to give space back.
pub fn punch(_: &File, _: u64, _: u64) -> Result<()> {
    Err(Errno::OPNOTSUPP)
}

/// There is no way to discard.
pub fn discard(_: &File, _: u64, _: u64) -> Result<()> {
    Err(Errno::OPNOTSUPP)
}

/// Zeroes are written one by one.
pub fn zero(_: &File, _: u64, _: u64) -> Result<()> {
    Err(Errno::OPNOTSUPP)
}

/// The bytes in a sector of a block device, as almost all have it.
pub fn sector_size(_: &File) -> Result<u32> {
    Ok(512)
}

/// Nothing is known of the file.
pub fn in_memory(_: &File) -> bool {
    false
}

/// Numbers do not lead to nodes.
pub fn device_path(_: DevNo) -> Option<String> {
    None
}

/// Makes what was written durable.
pub fn flush(file: &File) -> Result<()> {
    rustix::fs::fdatasync(file)
}

/// The bytes of a file or block device.
pub fn size(file: &File) -> std::io::Result<u64> {
    end(file)
}
