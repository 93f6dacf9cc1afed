//! NetBSD. Block devices go through its cache: only raw devices do not, and they are other nodes.

pub use super::lacking::{in_memory, punch, read_now, write_durably, zero};

use super::end;
use crate::kern::{block_discard, block_flush, block_sector_size, block_size, file_flush};
use dm_protocol::DevNo;
use rustix::io::{Errno, Result};
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// Discards a range of a block device.
pub fn discard(file: &File, offset: u64, length: u64) -> Result<()> {
    match block_discard(file, offset, length) {
        // As drivers answer that do not know how.
        Err(Errno::NODEV | Errno::NOTTY | Errno::NOSYS) => Err(Errno::OPNOTSUPP),
        done => done,
    }
}

/// The bytes in a sector of a block device.
pub fn sector_size(file: &File) -> Result<u32> {
    block_sector_size(file)
}

/// The path of a block device's node.
pub fn device_path(devno: DevNo) -> Option<String> {
    let node = fs::read_dir("/dev").ok()?.flatten().find(|entry| {
        entry.metadata().is_ok_and(|meta| {
            meta.file_type().is_block_device()
                && rustix::fs::major(meta.rdev()) == devno.major
                && rustix::fs::minor(meta.rdev()) == devno.minor
        })
    })?;
    node.path().to_str().map(str::to_owned)
}

/// Makes what was written durable: also what the disk itself keeps in memory.
pub fn flush(file: &File) -> Result<()> {
    match file_flush(file) {
        // It is open for reading only: nothing was written.
        Err(Errno::BADF) => return Ok(()),
        flushed => flushed?,
    }
    match block_flush(file) {
        // A file, or a disk that keeps nothing.
        Err(Errno::NOTTY | Errno::NODEV | Errno::OPNOTSUPP) => Ok(()),
        flushed => flushed,
    }
}

/// The bytes of a file or block device.
pub fn size(file: &File) -> std::io::Result<u64> {
    match block_size(file) {
        Err(Errno::NOTTY) => end(file),
        size => Ok(size?),
    }
}
