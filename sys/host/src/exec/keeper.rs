//! The keeper: a process of its own that has the loop devices in hand.
//!
//! It outlives a `dmhost` that is killed, and takes its devices away then. It also keeps `dmhost`
//! from ever closing a block device that it serves itself: the kernel would write back there and
//! wait for an answer that only `dmhost` could give.
//!
//! Requests and replies are lines: a number, a word, and what belongs to it.

use super::links;
use super::loops::{self, Loops, Shape};
use super::mounts;
use crate::kern::hold;
use dm_protocol::DevNo;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The numbers of the first process that runs a driver; lower ones are the system's.
const FIRST: u32 = 1 << 16;
/// How many numbers each process has: the first of them marks the rest as taken.
const STRIDE: u32 = 1 << 14;
/// How many processes there may be.
const SLOTS: u32 = (DevNo::MINOR_MAX + 1 - FIRST) / STRIDE;
/// How long what is in use may take to end, each time that we look.
const PAUSE: Duration = Duration::from_millis(100);

/// How many devices are taken away at a time.
const LEAVING_THREADS: usize = 16;

struct Keeper {
    loops: Loops,
    added: Mutex<BTreeSet<u32>>,
    out: Mutex<UnixStream>,
}

/// Keeps loop devices for whoever is at the other end, until that is gone; `folder` is its own,
/// and `nodes` has the nodes of mapped devices.
///
/// # Errors
/// A sentence when there are no loop devices to keep; it was sent, too.
pub fn serve(stream: UnixStream, folder: &Path, nodes: Option<&Path>) -> Result<(), String> {
    // What ends the program ends it through the other end.
    let _ = rustix::process::setsid();
    let parent = rustix::process::getppid();
    rustix::process::umask(Mode::empty());
    let started = Loops::new(folder).map_err(|errno| format!("loop devices: {errno}"));
    let claimed = started.and_then(|loops| claim(loops, folder));
    let told = stream.try_clone().map_err(|error| error.to_string());
    let mut out = told?;
    let (loops, base, marker) = match claimed {
        Ok(claimed) => claimed,
        Err(why) => {
            let _ = writeln!(out, "0 none {why}");
            return Err(why);
        }
    };
    let _ = writeln!(out, "0 base {base}");
    let keeper = Arc::new(Keeper { loops, added: Mutex::default(), out: Mutex::new(out) });
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let keeper = Arc::clone(&keeper);
        // Some wait for disks, and others must not wait for them.
        let spawned = thread::Builder::new().spawn(move || keeper.obey(&line));
        if spawned.is_err() {
            log::error!("no thread for a request");
        }
    }
    keeper.leave();
    drop(marker);
    let _ = keeper.loops.remove(base);
    if rustix::process::getppid() != parent {
        // Nobody else is left to do it.
        let _ = unmount(folder, UnmountFlags::DETACH);
        let _ = fs::remove_dir(folder);
        let _ = nodes.map(fs::remove_dir_all);
    }
    Ok(())
}

/// Finds numbers that no other process has, and takes away what killed ones left.
fn claim(loops: Loops, folder: &Path) -> Result<(Loops, u32, File), String> {
    let path = folder.join("marker");
    let marker = File::create_new(&path).and_then(|file| file.set_len(512).map(|()| file));
    let marker = marker.map_err(|error| format!("{}: {error}", path.display()))?;
    let mut why = Errno::BUSY;
    for base in (0..SLOTS).map(|slot| FIRST + slot * STRIDE) {
        match mark(&loops, base, &marker) {
            Ok(held) => {
                if !clear(&loops, base) {
                    // A device that somebody has open would be in the way.
                    drop(held);
                    continue;
                }
                let others = left().into_iter().map(|index| index - (index - FIRST) % STRIDE);
                for other in others.collect::<BTreeSet<u32>>() {
                    // It stays marked for as long as that takes.
                    let Ok(held) = mark(&loops, other, &marker) else { continue };
                    let clean = clear(&loops, other);
                    drop(held);
                    if clean {
                        let _ = loops.remove(other);
                    }
                }
                return Ok((loops, base, held));
            }
            Err(errno @ (Errno::PERM | Errno::ACCESS)) => {
                return Err(format!("loop device {base}: {errno}"));
            }
            Err(errno) => why = errno,
        }
    }
    Err(format!("no loop device to be had: {why}"))
}

/// Marks the numbers behind one as taken, until what this gives is closed.
fn mark(loops: &Loops, base: u32, marker: &File) -> Result<File, Errno> {
    match loops.add(base) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let shape = Shape { sector_size: 512, readonly: false, discard: false };
    loops.bind(base, marker, shape, true)
}

/// Takes away the devices behind a marker; true when none is left.
fn clear(loops: &Loops, base: u32) -> bool {
    let behind = |index: &u32| (base + 1..base + STRIDE).contains(index);
    for index in left().into_iter().filter(behind) {
        let _ = loops.unbind_at_close(index).map(drop);
        let _ = loops.remove(index);
    }
    !left().iter().any(behind)
}

/// The devices whose numbers are for processes like us.
fn left() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/sys/block") else { return Vec::new() };
    let index = |name: &str| name.strip_prefix("loop")?.parse::<u32>().ok();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| index(&name)).filter(|index| *index >= FIRST).collect()
}

impl Keeper {
    fn obey(&self, line: &str) {
        let Some((number, request)) = line.split_once(' ') else { return };
        let errno = match self.act(request) {
            Ok(()) => 0,
            Err(errno) => errno.raw_os_error(),
        };
        log::trace!("keeper: {request}: {errno}");
        // Whoever asked may be gone.
        let _ = writeln!(hold(&self.out), "{number} {errno}");
    }

    fn act(&self, request: &str) -> Result<(), Errno> {
        let mut words = request.splitn(6, ' ');
        let mut word = || words.next().unwrap_or_default();
        let (verb, index) = (word(), word().parse().map_err(|_| Errno::INVAL)?);
        match verb {
            "add" => {
                match self.loops.add(index) {
                    Err(Errno::EXIST) if loops::bound(index).is_none() => return Ok(()),
                    added => added?,
                }
                hold(&self.added).insert(index);
                Ok(())
            }
            "remove" => {
                if hold(&self.added).remove(&index) {
                    self.loops.remove(index)?;
                }
                Ok(())
            }
            "bind" | "reshape" => {
                let sector_size = word().parse().map_err(|_| Errno::INVAL)?;
                let (readonly, discard) = (word() == "ro", word() == "discard");
                let shape = Shape { sector_size, readonly, discard };
                let path = Path::new(word());
                match verb {
                    "bind" => self.bind(index, path, shape),
                    _ => self.loops.reshape(index, path, shape),
                }
            }
            "unbind" => self.loops.unbind(index),
            "unbind_at_close" => self.loops.unbind_at_close(index).map(drop),
            "stay" => self.loops.stay(index),
            "freeze" => {
                let synced = self.loops.sync(index);
                for place in mounted(index) {
                    // Not every file system can be stopped, and one may be already.
                    let _ = loops::freeze(&place, true);
                }
                synced
            }
            "thaw" => {
                for place in mounted(index) {
                    let _ = loops::freeze(&place, false);
                }
                Ok(())
            }
            _ => Err(Errno::INVAL),
        }
    }

    fn bind(&self, index: u32, path: &Path, shape: Shape) -> Result<(), Errno> {
        let file = File::options().read(true).write(!shape.readonly).open(path);
        let file = file.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        self.loops.bind(index, &file, shape, false).map(drop)
    }

    /// Takes everything away: file systems first, and what is in use when that ends.
    fn leave(&self) {
        let left: BTreeSet<u32> = std::mem::take(&mut *hold(&self.added));
        links::remove(&links::dev_dir(), &left);
        let left: Vec<u32> = left.into_iter().collect();
        for index in &left {
            for place in mounted(*index) {
                let _ = loops::freeze(&place, false);
                let _ = unmount(&place, UnmountFlags::empty())
                    .or_else(|_| unmount(&place, UnmountFlags::DETACH));
            }
        }
        // Most of the time goes to waiting, so it is waited for many.
        thread::scope(|scope| {
            for part in left.chunks(left.len().div_ceil(LEAVING_THREADS).max(1)) {
                scope.spawn(|| self.take_away(part.to_vec()));
            }
        });
    }

    fn take_away(&self, mut left: Vec<u32>) {
        while !left.is_empty() {
            left.retain(|index| {
                let _ = self.loops.unbind_at_close(*index).map(drop);
                matches!(self.loops.remove(*index), Err(Errno::BUSY))
            });
            if !left.is_empty() {
                thread::sleep(PAUSE);
            }
        }
    }
}

/// Where a loop device is mounted, the innermost place first.
fn mounted(index: u32) -> Vec<PathBuf> {
    let devno = DevNo { major: loops::MAJOR, minor: index };
    let mounts = mounts::of("self").into_iter().rev();
    mounts.filter(|mount| mount.is_on(devno)).map(|mount| mount.place).collect()
}
