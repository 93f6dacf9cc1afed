//! What to say where a system has no way.

use super::write_and_flush;
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

/// There is no way to give space back that all file systems have.
pub fn punch(_: &File, _: u64, _: u64) -> Result<()> {
    Err(Errno::OPNOTSUPP)
}

/// Zeroes are written one by one.
pub fn zero(_: &File, _: u64, _: u64) -> Result<()> {
    Err(Errno::OPNOTSUPP)
}

/// Nothing is known of the file.
pub fn in_memory(_: &File) -> bool {
    false
}
