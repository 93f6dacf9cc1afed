//! This system's error numbers as the driver's, which are NetBSD's.

use dm_protocol::Errno;
use std::io;

macro_rules! numbers {
    ($($theirs:ident $ours:ident)*) => {
        /// The driver's number for one of this system; EIO for what the driver does not know.
        #[must_use]
        pub const fn from_system(number: rustix::io::Errno) -> Errno {
            match number {
                $(rustix::io::Errno::$theirs => Errno::$ours,)*
                _ => Errno::EIO,
            }
        }

        /// This system's number for one of the driver's; EIO for what this system does not know.
        #[must_use]
        pub const fn to_system(errno: Errno) -> rustix::io::Errno {
            $(if errno.number() == Errno::$ours.number() {
                return rustix::io::Errno::$theirs;
            })*
            rustix::io::Errno::IO
        }
    };
}

numbers! {
    PERM EPERM
    NOENT ENOENT
    INTR EINTR
    IO EIO
    NXIO ENXIO
    TOOBIG E2BIG
    BADF EBADF
    DEADLK EDEADLK
    NOMEM ENOMEM
    ACCESS EACCES
    FAULT EFAULT
    NOTBLK ENOTBLK
    BUSY EBUSY
    EXIST EEXIST
    NODEV ENODEV
    NOTDIR ENOTDIR
    ISDIR EISDIR
    INVAL EINVAL
    NFILE ENFILE
    MFILE EMFILE
    NOTTY ENOTTY
    FBIG EFBIG
    NOSPC ENOSPC
    ROFS EROFS
    RANGE ERANGE
    AGAIN EAGAIN
    MSGSIZE EMSGSIZE
    OPNOTSUPP EOPNOTSUPP
    TIMEDOUT ETIMEDOUT
    LOOP ELOOP
    NAMETOOLONG ENAMETOOLONG
    NOSYS ENOSYS
    OVERFLOW EOVERFLOW
    ILSEQ EILSEQ
    NODATA ENODATA
}

/// The driver's number for an error of the standard library.
#[must_use]
pub fn from_io(error: &io::Error) -> Errno {
    rustix::io::Errno::from_io_error(error).map_or(Errno::EIO, from_system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_differ_between_systems_are_translated() {
        assert_eq!(from_io(&io::Error::from_raw_os_error(11)), Errno::EAGAIN);
        assert_eq!(from_system(rustix::io::Errno::OPNOTSUPP).number(), 45);
        assert_eq!(from_system(rustix::io::Errno::STALE), Errno::EIO);
        assert_eq!(to_system(Errno::EAGAIN), rustix::io::Errno::AGAIN);
        assert_eq!(to_system(Errno::ENODATA), rustix::io::Errno::NODATA);
    }
}
