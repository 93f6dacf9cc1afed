//! The kernel's reports of system calls: putting the filter in place, and answering.
//!
//! See seccomp_unotify(2). A reported call waits until it is answered, or its process ends.

use libc::{c_int, c_long, c_ulong, sock_filter};
use rustix::io::Errno;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` of linux/seccomp.h: answers run on the caller's CPU.
const SYNC_WAKE_UP: c_ulong = 1;

/// One system call that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The number of the report.
    pub id: u64,
    /// The thread that waits.
    pub thread: u32,
    /// The system call.
    pub number: i64,
    /// Its arguments.
    pub args: [u64; 6],
}

/// What a call leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The kernel obeys it, as if nothing had been.
    Proceed,
    /// It returns this.
    Return(i64),
    /// It fails.
    Fail(Errno),
    /// It was answered already.
    Answered,
}

/// Puts the filter on the calling thread, for it and all its children; gives the listener.
///
/// Safe between fork and exec: it allocates nothing and takes no lock.
///
/// # Errors
/// EINVAL or ENOSYS where the kernel knows no such reports; EBUSY below another listener.
pub fn install(program: &[sock_filter]) -> io::Result<OwnedFd> {
    let fprog = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: program.as_ptr().cast_mut(),
    };
    let listener = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // A call that we have begun to obey must not be started again because of a signal.
    let killable = listener | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    for (flags, alone) in [(killable, false), (killable, true), (listener, true)] {
        if alone {
            // SAFETY: it takes numbers only.
            unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1 as c_ulong, 0, 0, 0) };
        }
        let mode = libc::SECCOMP_SET_MODE_FILTER;
        let program: *const libc::sock_fprog = &raw const fprog;
        // SAFETY: the kernel reads the program, which outlives the call.
        let fd = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, program) };
        if let Ok(fd @ 0..) = c_int::try_from(fd) {
            // SAFETY: new, and ours.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
    Err(io::Error::last_os_error())
}

/// Where the kernel reports calls.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Listener {
    /// Listens where a filter was put in place.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        let listener = Self(fd);
        let flags = SYNC_WAKE_UP;
        // SAFETY: it takes a number. Older kernels refuse it, and are slower.
        unsafe { libc::ioctl(listener.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, flags) };
        listener
    }

    /// Waits for a call.
    ///
    /// # Errors
    /// ENOENT when the call was given up, or nobody is left.
    pub fn receive(&self) -> io::Result<Call> {
        // SAFETY: plain numbers.
        let mut notif: libc::seccomp_notif = unsafe { zeroed() };
        let at: *mut libc::seccomp_notif = &raw mut notif;
        // SAFETY: the kernel writes the structure that it is given.
        let done = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, at) };
        if done < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Call {
            id: notif.id,
            thread: notif.pid,
            number: notif.data.nr.into(),
            args: notif.data.args,
        })
    }

    /// Does the call still wait? If so, its thread's number was its own until now.
    #[must_use]
    pub fn valid(&self, call: &Call) -> bool {
        let id: *const u64 = &raw const call.id;
        // SAFETY: the kernel reads one number.
        let asked =
            unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, id) };
        asked == 0
    }

    /// Answers a call. That nobody waits any more is no concern of ours.
    pub fn answer(&self, call: &Call, verdict: Verdict) {
        // SAFETY: plain numbers.
        let mut resp: libc::seccomp_notif_resp = unsafe { zeroed() };
        resp.id = call.id;
        match verdict {
            Verdict::Answered => return,
            Verdict::Proceed => resp.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
            Verdict::Return(value) => resp.val = value,
            Verdict::Fail(errno) => resp.error = -errno.raw_os_error(),
        }
        let at: *mut libc::seccomp_notif_resp = &raw mut resp;
        // SAFETY: the kernel reads the structure that it is given.
        unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, at) };
    }

    /// Gives the caller a file of ours as a new descriptor, and answers with its number.
    ///
    /// # Errors
    /// EMFILE and the like, for the caller.
    pub fn give(&self, call: &Call, file: BorrowedFd<'_>, cloexec: bool) -> Result<(), Errno> {
        // SAFETY: plain numbers.
        let mut addfd: libc::seccomp_notif_addfd = unsafe { zeroed() };
        addfd.id = call.id;
        addfd.flags = libc::SECCOMP_ADDFD_FLAG_SEND as u32;
        addfd.srcfd = file.as_raw_fd() as u32;
        addfd.newfd_flags = if cloexec { libc::O_CLOEXEC as u32 } else { 0 };
        let at: *const libc::seccomp_notif_addfd = &raw const addfd;
        // SAFETY: the kernel reads the structure that it is given.
        let done = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, at) };
        match done {
            0.. => Ok(()),
            _ => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)),
        }
    }
}

/// Are two descriptors, each with its process, of one opened file? Two, if that is not to be known.
#[must_use]
pub fn same_file(one: (u32, u32), other: (u32, u32)) -> bool {
    const KCMP_FILE: c_int = 0;
    let ((one, fd), (other, other_fd)) = (one, other);
    let pids = [one, other].map(c_long::from);
    let fds = [fd, other_fd].map(c_ulong::from);
    // SAFETY: it takes numbers only.
    unsafe { libc::syscall(libc::SYS_kcmp, pids[0], pids[1], KCMP_FILE, fds[0], fds[1]) == 0 }
}
