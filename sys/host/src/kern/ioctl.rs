//! The one request to block devices that has no safe form elsewhere.

use rustix::io::Result;
use rustix::ioctl::{Opcode, Setter, ioctl};
use std::fs::File;

/// `BLKDISCARD` of `linux/fs.h`: the range as two 64-bit numbers.
const BLKDISCARD: Opcode = 0x1277;

/// Discards a range of a block device.
pub fn block_discard(file: &File, offset: u64, length: u64) -> Result<()> {
    // SAFETY: BLKDISCARD reads an array of two u64, which `Setter` points to.
    let discard = unsafe { Setter::<BLKDISCARD, [u64; 2]>::new([offset, length]) };
    // SAFETY: it changes no memory of ours.
    unsafe { ioctl(file, discard) }
}
