//! What of the system has no safe form elsewhere.

use rustix::io::Result;
use rustix::ioctl::{Opcode, Setter, ioctl};
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd};

/// `BLKDISCARD` of `linux/fs.h`: the range as two 64-bit numbers.
const BLKDISCARD: Opcode = 0x1277;

/// Discards a range of a block device.
pub fn block_discard(file: &File, offset: u64, length: u64) -> Result<()> {
    // SAFETY: BLKDISCARD reads an array of two u64, which `Setter` points to.
    let discard = unsafe { Setter::<BLKDISCARD, [u64; 2]>::new([offset, length]) };
    // SAFETY: it changes no memory of ours.
    unsafe { ioctl(file, discard) }
}

/// The file descriptor of this number, which whoever started the process opened for it.
///
/// # Errors
/// EBADF when there is none.
pub fn inherited(number: u32) -> io::Result<File> {
    let fd = i32::try_from(number).map_err(|_| rustix::io::Errno::BADF)?;
    // SAFETY: only looked at here, and not closed.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::io::fcntl_getfd(borrowed)?;
    // SAFETY: it is open, and opened for nobody but who asks for it by its number.
    Ok(unsafe { File::from_raw_fd(fd) })
}
