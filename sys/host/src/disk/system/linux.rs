//! Linux.

use super::write_and_flush;
use crate::kern::block_discard;
use dm_protocol::DevNo;
use rustix::fs::FallocateFlags;
use rustix::io::{Errno, ReadWriteFlags, Result};
use std::fs::{self, File};
use std::io::{IoSlice, IoSliceMut};

/// Reads what is there without waiting for a disk; EAGAIN when nothing is.
pub fn read_now(file: &File, data: &mut [u8], offset: u64) -> Result<usize> {
    rustix::io::preadv2(file, &mut [IoSliceMut::new(data)], offset, ReadWriteFlags::NOWAIT)
}

/// Writes; what is written is durable when this returns.
pub fn write_durably(file: &File, data: &[u8], offset: u64) -> Result<usize> {
    match rustix::io::pwritev2(file, &[IoSlice::new(data)], offset, ReadWriteFlags::DSYNC) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => write_and_flush(file, data, offset),
        written => written,
    }
}

/// Gives the space of a range of a file back; it reads as zeroes then.
pub fn punch(file: &File, offset: u64, length: u64) -> Result<()> {
    let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(file, how, offset, length)
}

/// Discards a range of a block device.
pub fn discard(file: &File, offset: u64, length: u64) -> Result<()> {
    block_discard(file, offset, length)
}

/// Makes a range read as zeroes without writing them one by one.
pub fn zero(file: &File, offset: u64, length: u64) -> Result<()> {
    let how = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(file, how, offset, length) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => punch(file, offset, length),
        done => done,
    }
}

/// The bytes in a sector of a block device.
pub fn sector_size(file: &File) -> Result<u32> {
    rustix::fs::ioctl_blksszget(file)
}

/// Is the file's content always in memory, so that nothing in it waits for a disk?
pub fn in_memory(file: &File) -> bool {
    // The numbers of tmpfs and ramfs in linux/magic.h.
    let magic = rustix::fs::fstatfs(file).map(|stat| stat.f_type);
    matches!(magic, Ok(0x0102_1994 | 0x8584_58f6))
}

/// The path of a block device's node.
pub fn device_path(devno: DevNo) -> Option<String> {
    let link = fs::read_link(format!("/sys/dev/block/{devno}")).ok()?;
    let name = link.file_name()?.to_str()?;
    Some(format!("/dev/{}", name.replace('!', "/")))
}
