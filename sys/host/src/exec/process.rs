//! The process that waits for an answer: its memory, its view of the file system, its rights.
//!
//! Its thread's number may be another's as soon as it ends. So everything is opened first, then
//! it is asked whether the call still waits, and only then what was opened is trusted.

use super::notify::{Call, Listener};
use rustix::fs::{CWD, Mode, OFlags, open, openat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Longest path that the kernel takes, with its NUL.
const PATH_MAX: usize = 4096;
/// Memory is mapped in pieces of this size, so a text may end where the next one is missing.
const PAGE: u64 = 4096;

/// A process, while its call waits.
#[derive(Debug)]
pub struct Process {
    folder: PathBuf,
    memory: File,
}

/// CAP_SYS_ADMIN in the sets of /proc/PID/status.
const SYS_ADMIN: u64 = 1 << 21;

/// Who a process is.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Its number.
    pub number: u32,
    /// It may give commands: the superuser may, and who started us.
    pub privileged: bool,
}

impl Process {
    /// Opens what is needed of the process.
    ///
    /// # Errors
    /// ESRCH when it is gone; EPERM when it is not ours to look at.
    pub fn of(listener: &Listener, call: &Call) -> Result<Self, Errno> {
        let folder = PathBuf::from(format!("/proc/{}", call.thread));
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let memory = open(folder.join("mem"), flags, Mode::empty());
        if !listener.valid(call) {
            return Err(Errno::SRCH);
        }
        Ok(Self { folder, memory: memory.map_err(|_| Errno::PERM)?.into() })
    }

    /// Asks who it is; to be trusted while its call still waits.
    ///
    /// # Errors
    /// ESRCH when it is gone.
    pub fn identity(&self, listener: &Listener, call: &Call) -> Result<Identity, Errno> {
        let status = fs::read_to_string(self.folder.join("status"));
        if !listener.valid(call) {
            return Err(Errno::SRCH);
        }
        let status = Status(status.map_err(|_| Errno::SRCH)?);
        let number = status.field("Tgid:").and_then(|n| n.parse().ok()).unwrap_or(call.thread);
        let privileged = status.mask("CapEff:") & SYS_ADMIN != 0 || status.is_ours();
        Ok(Identity { number, privileged })
    }

    /// Reads from its memory.
    ///
    /// # Errors
    /// EFAULT.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Errno> {
        self.memory.read_exact_at(into, address).map_err(|_| Errno::FAULT)
    }

    /// Writes to its memory.
    ///
    /// # Errors
    /// EFAULT.
    pub fn write(&self, address: u64, from: &[u8]) -> Result<(), Errno> {
        self.memory.write_all_at(from, address).map_err(|_| Errno::FAULT)
    }

    /// Reads a path from its memory.
    ///
    /// # Errors
    /// EFAULT, ENAMETOOLONG.
    pub fn path(&self, address: u64) -> Result<PathBuf, Errno> {
        use std::os::unix::ffi::OsStringExt;

        let mut bytes = Vec::new();
        while bytes.len() < PATH_MAX {
            let at = address.checked_add(bytes.len() as u64).ok_or(Errno::FAULT)?;
            let mut piece = vec![0; (PAGE - at % PAGE) as usize];
            self.read(at, &mut piece)?;
            if let Some(end) = piece.iter().position(|&byte| byte == 0) {
                bytes.extend_from_slice(&piece[..end]);
                return Ok(PathBuf::from(std::ffi::OsString::from_vec(bytes)));
            }
            bytes.extend_from_slice(&piece);
        }
        Err(Errno::NAMETOOLONG)
    }

    /// A path of the process, from our point of view. `folder` is the descriptor that a path
    /// without a leading slash starts at.
    #[must_use]
    pub fn seen(&self, folder: i32, path: &Path) -> PathBuf {
        match path.strip_prefix("/") {
            Ok(rest) => self.folder.join("root").join(rest),
            Err(_) if folder == libc::AT_FDCWD => self.folder.join("cwd").join(path),
            Err(_) => self.folder.join(format!("fd/{folder}")).join(path),
        }
    }

    /// One of its descriptors, as a further one of ours.
    ///
    /// # Errors
    /// EBADF, and EPERM when the process is not ours to look at.
    pub fn borrow(&self, who: Identity, number: i32) -> Result<OwnedFd, Errno> {
        let process = i32::try_from(who.number).ok().and_then(Pid::from_raw);
        let process = pidfd_open(process.ok_or(Errno::SRCH)?, PidfdFlags::empty())?;
        pidfd_getfd(process, number, PidfdGetfdFlags::empty())
    }

    /// What one of its descriptors is, in the words of the kernel.
    #[must_use]
    pub fn descriptor(&self, number: i32) -> Option<PathBuf> {
        fs::read_link(self.folder.join(format!("fd/{number}"))).ok()
    }
}

/// Has the thread a signal to deliver? While a call waits for us, only a deadly one gets through.
#[must_use]
pub fn signalled(thread: u32) -> bool {
    let mut text = String::new();
    let status = openat(CWD, format!("/proc/{thread}/status"), OFlags::RDONLY, Mode::empty());
    let read = status.map(|file| File::from(file).read_to_string(&mut text));
    let status = Status(text);
    let pending = status.mask("SigPnd:") | status.mask("ShdPnd:");
    read.is_ok() && pending & !status.mask("SigBlk:") != 0
}

/// The text of /proc/PID/status.
struct Status(String);

impl Status {
    fn field(&self, name: &str) -> Option<&str> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next())
    }

    fn mask(&self, name: &str) -> u64 {
        self.field(name).and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0)
    }

    /// Is its real user the one who started us, who is not the superuser?
    fn is_ours(&self) -> bool {
        let us = rustix::process::getuid();
        let user = self.field("Uid:").and_then(|user| user.parse().ok());
        !us.is_root() && user == Some(us.as_raw())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_tells_of_rights_and_signals() {
        let text = "Name:\tx\nTgid:\t12\nUid:\t0\t0\t0\t0\nSigPnd:\t0000000000000100\n\
                    SigBlk:\t0000000000000100\nCapEff:\t0000000000200000\n";
        let status = Status(text.to_owned());
        assert_eq!(status.field("Tgid:"), Some("12"));
        assert_eq!(status.mask("SigPnd:") & !status.mask("SigBlk:"), 0);
        assert_eq!(status.mask("CapEff:") & SYS_ADMIN, SYS_ADMIN);
        assert_eq!(status.mask("ShdPnd:"), 0);
    }

    #[test]
    fn nobody_signals_this_thread() {
        assert!(!signalled(rustix::thread::gettid().as_raw_nonzero().get() as u32));
    }
}
