//! What this system offers for files and block devices, each with what to do where it does not.

use rustix::fs::FallocateFlags;
use rustix::io::{Errno, ReadWriteFlags, Result};
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Seek, SeekFrom};

/// Reads; fewer bytes than asked for at the end of the file.
pub fn read(file: &File, data: &mut [u8], offset: u64) -> Result<usize> {
    rustix::io::pread(file, data, offset)
}

/// Reads what is there without waiting for a disk; EAGAIN when nothing is.
pub fn read_now(file: &File, data: &mut [u8], offset: u64) -> Result<usize> {
    rustix::io::preadv2(file, &mut [IoSliceMut::new(data)], offset, ReadWriteFlags::NOWAIT)
}

/// Writes; if `durable`, what is written is when this returns.
pub fn write(file: &File, data: &[u8], offset: u64, durable: bool) -> Result<usize> {
    if !durable {
        return rustix::io::pwrite(file, data, offset);
    }
    match rustix::io::pwritev2(file, &[IoSlice::new(data)], offset, ReadWriteFlags::DSYNC) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            let written = rustix::io::pwrite(file, data, offset)?;
            flush(file).map(|()| written)
        }
        written => written,
    }
}

/// Makes what was written durable.
pub fn flush(file: &File) -> Result<()> {
    rustix::fs::fdatasync(file)
}

/// Gives the space of a range of a file back; it reads as zeroes then.
pub fn punch(file: &File, offset: u64, length: u64) -> Result<()> {
    let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(file, how, offset, length)
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

/// The bytes of a file or block device.
pub fn size(mut file: &File) -> std::io::Result<u64> {
    file.seek(SeekFrom::End(0))
}

/// Is the file's content always in memory, so that nothing in it waits for a disk?
pub fn in_memory(file: &File) -> bool {
    // The numbers of tmpfs and ramfs in linux/magic.h.
    let magic = rustix::fs::fstatfs(file).map(|stat| stat.f_type);
    matches!(magic, Ok(0x0102_1994 | 0x8584_58f6))
}
