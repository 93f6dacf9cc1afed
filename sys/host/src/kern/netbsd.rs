//! NetBSD's calls for files and block devices that have no safe form elsewhere.

use libc::{c_int, c_uint, off_t};
use rustix::io::{Errno, Result};
use rustix::ioctl::{Getter, Setter, ioctl};
use std::fs::File;
use std::os::fd::AsRawFd;

// What libc does not declare.
unsafe extern "C" {
    /// fsync_range(2).
    fn fsync_range(fd: c_int, how: c_int, at: off_t, length: off_t) -> c_int;
    /// fdiscard(2).
    fn fdiscard(fd: c_int, at: off_t, length: off_t) -> c_int;
}

/// The ioctls of `sys/dkio.h`.
mod dkio {
    use libc::{c_int, c_uint, off_t};
    use rustix::ioctl::{Opcode, opcode};

    /// Bytes of a disk.
    pub const DIOCGMEDIASIZE: Opcode = opcode::read::<off_t>(b'd', 132);
    /// Bytes of a sector.
    pub const DIOCGSECTORSIZE: Opcode = opcode::read::<c_uint>(b'd', 133);
    /// Writes the disk's own cache.
    pub const DIOCCACHESYNC: Opcode = opcode::write::<c_int>(b'd', 118);
}

/// What a call of libc that returns 0 or -1 says.
fn done(returned: c_int) -> Result<()> {
    let error = std::io::Error::last_os_error();
    let errno = || Errno::from_io_error(&error).unwrap_or(Errno::IO);
    if returned == 0 { Ok(()) } else { Err(errno()) }
}

/// Discards a range of a block device.
pub fn block_discard(file: &File, offset: u64, length: u64) -> Result<()> {
    // SAFETY: it takes numbers only.
    done(unsafe { fdiscard(file.as_raw_fd(), offset.cast_signed(), length.cast_signed()) })
}

/// Makes what was written durable, on the disk, not only in its memory.
pub fn file_flush(file: &File) -> Result<()> {
    /// `FDATASYNC | FDISKSYNC` of `sys/unistd.h`.
    const HOW: c_int = 0x10 | 0x40;
    // SAFETY: it takes numbers only; no length is the whole file.
    done(unsafe { fsync_range(file.as_raw_fd(), HOW, 0, 0) })
}

/// Writes a block device's own cache.
pub fn block_flush(file: &File) -> Result<()> {
    // SAFETY: DIOCCACHESYNC reads an int; not forced.
    let sync = unsafe { Setter::<{ dkio::DIOCCACHESYNC }, c_int>::new(0) };
    // SAFETY: it changes no memory of ours.
    unsafe { ioctl(file, sync) }
}

/// The bytes of a block device; ENOTTY for a file.
pub fn block_size(file: &File) -> Result<u64> {
    // SAFETY: DIOCGMEDIASIZE writes an off_t.
    let get = unsafe { Getter::<{ dkio::DIOCGMEDIASIZE }, off_t>::new() };
    // SAFETY: it writes where `Getter` lets it.
    let size = unsafe { ioctl(file, get) }?;
    u64::try_from(size).map_err(|_| Errno::OVERFLOW)
}

/// The bytes in a sector of a block device.
pub fn block_sector_size(file: &File) -> Result<u32> {
    // SAFETY: DIOCGSECTORSIZE writes an unsigned int.
    let get = unsafe { Getter::<{ dkio::DIOCGSECTORSIZE }, c_uint>::new() };
    // SAFETY: it writes where `Getter` lets it.
    unsafe { ioctl(file, get) }
}
