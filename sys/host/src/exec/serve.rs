//! Answers the calls that the kernel reports, each in a thread that may wait.

use super::controls::Controls;
use super::filter::{DM_IOCTL, Needs};
use super::lookups;
use super::loops;
use super::mounts::block_device;
use super::notify::{Call, Listener, Verdict};
use super::process::{self, Process};
use super::translate::{Client, Translator};
use super::wire::{Command, HEADER, VERSION};
use crate::front::Registry;
use crate::kern::{cancel, hold};
use dm::kern::node;
use dm_protocol::{DevNo, Zeroizing};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::collections::HashSet;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Requests obeyed at a time; further ones wait in the kernel.
const THREADS_MAX: usize = 256;
/// The largest request.
const REQUEST_MAX: usize = 64 << 20;

/// The one who answers.
pub struct Server {
    /// Where calls come from. Held by the one thread that waits for the next.
    listener: Arc<Listener>,
    turn: Mutex<()>,
    wake: File,
    stopped: AtomicBool,
    idle: AtomicUsize,
    threads: AtomicUsize,
    translator: Translator,
    registry: Arc<Registry>,
    controls: Arc<Controls>,
    needs: Needs,
    /// Nodes that were not made, though the program believes so.
    feigned: Mutex<HashSet<PathBuf>>,
}

impl Server {
    /// Answers what comes to `listener`, until something is to be read from `wake`.
    #[must_use]
    pub fn new(
        listener: Listener,
        wake: File,
        translator: Translator,
        registry: &Arc<Registry>,
        controls: Arc<Controls>,
        needs: Needs,
    ) -> Arc<Self> {
        Arc::new(Self {
            listener: Arc::new(listener),
            turn: Mutex::new(()),
            wake,
            stopped: AtomicBool::new(false),
            idle: AtomicUsize::new(0),
            threads: AtomicUsize::new(0),
            translator,
            registry: Arc::clone(registry),
            controls,
            needs,
            feigned: Mutex::default(),
        })
    }

    /// Starts answering.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(self: &Arc<Self>) -> std::io::Result<()> {
        let server = Arc::clone(self);
        self.threads.fetch_add(1, Ordering::SeqCst);
        thread::Builder::new().name("exec".into()).spawn(move || server.run()).map(drop)
    }

    /// Has the waits under way end, and takes no more calls.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    fn run(self: Arc<Self>) {
        let _registry = self.registry.enter();
        loop {
            self.idle.fetch_add(1, Ordering::SeqCst);
            let call = self.next();
            let idle = self.idle.fetch_sub(1, Ordering::SeqCst) - 1;
            let Some(call) = call else { break };
            if idle == 0 && self.threads.load(Ordering::SeqCst) < THREADS_MAX {
                // Without one more, who comes next waits for us.
                let _ = self.start();
            }
            let verdict = self.obey(&call).unwrap_or_else(Verdict::Fail);
            self.listener.answer(&call, verdict);
        }
        self.threads.fetch_sub(1, Ordering::SeqCst);
    }

    /// Waits for the next call; none when it is time to end.
    fn next(&self) -> Option<Call> {
        let _turn = hold(&self.turn);
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(self.listener.as_fd(), PollFlags::IN),
                PollFd::new(&self.wake, PollFlags::IN),
            ];
            let polled = poll(&mut fds, None);
            if self.stopped.load(Ordering::SeqCst) || !fds[1].revents().is_empty() {
                return None;
            }
            if polled == Err(Errno::INTR) {
                continue;
            }
            let calls = fds[0].revents();
            if calls.contains(PollFlags::IN) {
                // One that was given up meanwhile is no call.
                match self.listener.receive() {
                    Ok(call) => return Some(call),
                    Err(_) => continue,
                }
            }
            if calls.intersects(PollFlags::HUP | PollFlags::ERR) {
                return None;
            }
        }
    }

    fn obey(&self, call: &Call) -> Result<Verdict, Errno> {
        let [first, second, third, ..] = call.args;
        match call.number {
            libc::SYS_ioctl => self.ioctl(call),
            libc::SYS_openat => self.open(call, first as i32, second, third as i32),
            libc::SYS_openat2 => {
                let mut flags = [0; 8];
                Process::of(&self.listener, call)?.read(third, &mut flags)?;
                self.open(call, first as i32, second, u64::from_ne_bytes(flags) as i32)
            }
            libc::SYS_request_key => Ok(self.find_key(call, first)),
            libc::SYS_mknodat => Ok(self.make_node(call, first as i32, second)),
            libc::SYS_fchownat => Ok(self.change_owner(call, first as i32, second)),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_open => self.open(call, libc::AT_FDCWD, first, second as i32),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_mknod => Ok(self.make_node(call, libc::AT_FDCWD, first)),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_chown | libc::SYS_lchown => {
                Ok(self.change_owner(call, libc::AT_FDCWD, first))
            }
            _ => Ok(Verdict::Proceed),
        }
    }

    /// The path that the program gives, and where that leads from here.
    fn path(&self, call: &Call, folder: i32, address: u64) -> Option<(PathBuf, PathBuf)> {
        // Who may not be looked at, or gives no path, gets what the kernel gives.
        let process = Process::of(&self.listener, call).ok()?;
        let path = process.path(address).ok()?;
        let seen = process.seen(folder, &path);
        Some((path, seen))
    }

    /// Opens the control node, and files that the kernel lacks; the rest is the kernel's.
    fn open(&self, call: &Call, folder: i32, path: u64, flags: i32) -> Result<Verdict, Errno> {
        let Some((path, seen)) = self.path(call, folder, path) else {
            return Ok(Verdict::Proceed);
        };
        let cloexec = flags & libc::O_CLOEXEC != 0;
        let give = |file: &dyn AsFd| {
            self.listener.give(call, file.as_fd(), cloexec).map(|()| Verdict::Answered)
        };
        if flags & libc::O_ACCMODE == libc::O_RDWR {
            let feigned = || hold(&self.feigned).contains(&seen);
            return match lookups::is_control(&seen) || feigned() {
                true => give(&self.controls.open()?),
                false => Ok(Verdict::Proceed),
            };
        }
        let listed = || self.needs.lookups.then(|| lookups::list(&path, &seen)).flatten().map(Ok);
        match lookups::in_sys(&path, &self.translator).or_else(listed) {
            Some(text) => give(&lookups::text_file(&text?)?),
            None => Ok(Verdict::Proceed),
        }
    }

    /// Keys that only a kernel can read are of no use to a driver in a process: programs that
    /// ask whether there are any keep keys themselves then.
    fn find_key(&self, call: &Call, kind: u64) -> Verdict {
        let process = Process::of(&self.listener, call);
        let kind = process.and_then(|process| process.path(kind));
        match kind.is_ok_and(|kind| kind == Path::new("logon")) {
            true => Verdict::Fail(Errno::NOSYS),
            false => Verdict::Proceed,
        }
    }

    /// Pretends to have made a node of ours.
    fn make_node(&self, call: &Call, folder: i32, path: u64) -> Verdict {
        let Some((_, seen)) = self.path(call, folder, path) else { return Verdict::Proceed };
        hold(&self.feigned).insert(seen);
        Verdict::Return(0)
    }

    /// Pretends to have changed the owner of such a node.
    fn change_owner(&self, call: &Call, folder: i32, path: u64) -> Verdict {
        let path = self.path(call, folder, path);
        let feigned = path.is_some_and(|(_, seen)| hold(&self.feigned).contains(&seen));
        if feigned { Verdict::Return(0) } else { Verdict::Proceed }
    }

    fn ioctl(&self, call: &Call) -> Result<Verdict, Errno> {
        let [descriptor, request, address, ..] = call.args;
        let process = match Process::of(&self.listener, call) {
            Err(Errno::PERM) => return Ok(Verdict::Proceed),
            process => process?,
        };
        let descriptor = descriptor as i32;
        if !self.controls.has(&process, descriptor) {
            return Ok(Verdict::Proceed);
        }
        debug_assert_eq!((request >> 8) as u32 & 0xff, DM_IOCTL);
        let who = process.identity(&self.listener, call)?;
        if !who.privileged {
            return Err(Errno::ACCESS);
        }
        let version = self.agree_on_version(&process, address);
        let command = Command::from_number(request as u8);
        if command == Some(Command::Version) {
            return version.map(|()| Verdict::Return(0));
        }
        version?;
        let command = command.ok_or(Errno::NOTTY)?;
        let buffer = read_request(&process, address)?;
        if command == Command::DevArmPoll {
            self.controls.arm(&process, who, descriptor)?;
        }
        let (listener, waiting) = (Arc::clone(&self.listener), *call);
        let gone = move || !listener.valid(&waiting) || process::signalled(waiting.thread);
        let resolve = |word: &str| self.device(&process, word);
        let client = Client { number: who.number.into(), resolve: &resolve };
        let answer = cancel::with(gone, || self.translator.answer(client, command, &buffer))
            .map(Zeroizing::new)?;
        process.write(address, &answer)?;
        Ok(Verdict::Return(0))
    }

    /// Tells our version, and refuses a program that was made for one we do not speak.
    fn agree_on_version(&self, process: &Process, address: u64) -> Result<(), Errno> {
        let mut theirs = [0; 12];
        process.read(address, &mut theirs)?;
        let ours = VERSION.map(u32::to_ne_bytes).concat();
        process.write(address, &ours)?;
        let [major, minor] = [0, 4].map(|at| {
            theirs
                .get(at..)
                .and_then(<[u8]>::first_chunk)
                .map_or(0, |word| u32::from_ne_bytes(*word))
        });
        if major != VERSION[0] || minor > VERSION[1] {
            return Err(Errno::INVAL);
        }
        Ok(())
    }

    /// The device that a word of a table means to a process: the number of a block device.
    fn device(&self, process: &Process, word: &str) -> Option<String> {
        let devno = match word.parse::<DevNo>() {
            Ok(devno) if devno.major == node::major() => devno,
            Ok(_) => return None,
            Err(_) if word.starts_with('/') => {
                block_device(&process.seen(libc::AT_FDCWD, Path::new(word)))?
            }
            Err(_) => return None,
        };
        let ours = self.registry.by_minor(devno.minor).is_some();
        match devno.major == node::major() && !ours {
            // A loop device that is not ours has the same major number.
            true if loops::bound(devno.minor).is_some() => {
                Some(format!("/dev/loop{}", devno.minor))
            }
            _ => Some(devno.to_string()),
        }
    }
}

/// All that a request says it has.
fn read_request(process: &Process, address: u64) -> Result<Zeroizing<Vec<u8>>, Errno> {
    let mut head = Zeroizing::new(vec![0; HEADER]);
    process.read(address, &mut head)?;
    let size = head.get(12..).and_then(<[u8]>::first_chunk).ok_or(Errno::INVAL)?;
    let size = u32::from_ne_bytes(*size) as usize;
    if size < HEADER {
        return Err(Errno::INVAL);
    }
    if size > REQUEST_MAX {
        return Err(Errno::NOMEM);
    }
    // What was read first stays: the program may be changing it.
    head.resize(size, 0);
    let rest = address.checked_add(HEADER as u64).ok_or(Errno::FAULT)?;
    process.read(rest, head.get_mut(HEADER..).unwrap_or_default())?;
    Ok(head)
}
