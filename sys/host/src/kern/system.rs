//! What of the system has no safe form elsewhere.

use rustix::process::Uid;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd};
use std::os::unix::net::UnixStream;

/// `BLKDISCARD` of `linux/fs.h`: the range as two 64-bit numbers.
#[cfg(target_os = "linux")]
const BLKDISCARD: rustix::ioctl::Opcode = 0x1277;

/// Discards a range of a block device.
#[cfg(target_os = "linux")]
pub fn block_discard(file: &File, offset: u64, length: u64) -> rustix::io::Result<()> {
    use rustix::ioctl::{Setter, ioctl};

    // SAFETY: BLKDISCARD reads an array of two u64, which `Setter` points to.
    let discard = unsafe { Setter::<BLKDISCARD, [u64; 2]>::new([offset, length]) };
    // SAFETY: it changes no memory of ours.
    unsafe { ioctl(file, discard) }
}

/// The user at the other end of a connection, as it was when that was made.
#[cfg(target_os = "linux")]
pub fn peer_user(stream: &UnixStream) -> io::Result<Uid> {
    Ok(rustix::net::sockopt::socket_peercred(stream)?.uid)
}

/// The user at the other end of a connection, as it was when that was made.
#[cfg(not(target_os = "linux"))]
pub fn peer_user(stream: &UnixStream) -> io::Result<Uid> {
    use std::os::fd::AsRawFd;

    let (mut uid, mut gid) = (libc::uid_t::MAX, libc::gid_t::MAX);
    // SAFETY: it writes to these two numbers alone.
    match unsafe { libc::getpeereid(stream.as_raw_fd(), &raw mut uid, &raw mut gid) } {
        0 => Ok(Uid::from_raw(uid)),
        _ => Err(io::Error::last_os_error()),
    }
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
