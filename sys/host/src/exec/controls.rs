//! What programs get for the control node: the reading end of a pipe.
//!
//! Something is to be read there from the first event after it was armed on, which is what
//! poll(2) tells on Linux's control node. When the program has closed it, we learn of that.

use super::process::{Identity, Process};
use crate::kern::hold;
use dm::driver::Driver;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

/// Control nodes that may be open at a time.
const OPEN_MAX: usize = 4096;
/// From so many on, it is looked which are closed.
const SWEEP_FROM: usize = 32;

/// The control nodes that programs have open, by what the kernel calls them.
#[derive(Default)]
pub struct Controls {
    open: Mutex<HashMap<PathBuf, OwnedFd>>,
}

impl Controls {
    /// Opens one: the end for the program.
    ///
    /// # Errors
    /// EMFILE when there are too many.
    pub fn open(&self) -> Result<OwnedFd, Errno> {
        let mut open = hold(&self.open);
        if open.len() >= SWEEP_FROM {
            open.retain(|_, write| is_read(write));
        }
        if open.len() >= OPEN_MAX {
            return Err(Errno::MFILE);
        }
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        open.insert(PathBuf::from(format!("pipe:[{}]", fstat(&read)?.st_ino)), write);
        Ok(read)
    }

    /// Is a descriptor of a process one of ours?
    #[must_use]
    pub fn has(&self, process: &Process, descriptor: i32) -> bool {
        let name = process.descriptor(descriptor);
        name.is_some_and(|name| hold(&self.open).contains_key(&name))
    }

    /// From now on an event makes it readable.
    ///
    /// # Errors
    /// When the process does not let us.
    pub fn arm(&self, process: &Process, who: Identity, descriptor: i32) -> Result<(), Errno> {
        let read = process.borrow(who, descriptor)?;
        // None may be told between the last reading and the next event.
        let _open = hold(&self.open);
        let mut waste = [0; 64];
        while rustix::io::read(&read, &mut waste).is_ok_and(|count| count > 0) {}
        Ok(())
    }

    /// Something happened.
    fn tell(&self) {
        let mut open = hold(&self.open);
        open.retain(|_, write| is_read(write));
        for write in open.values() {
            // One byte is enough; more would fill the pipe.
            if rustix::io::ioctl_fionread(write) == Ok(0) {
                let _ = rustix::io::write(write, &[1]);
            }
        }
    }

    /// Tells of every event of a driver, until the driver is gone.
    ///
    /// # Errors
    /// When there can be no thread for it.
    pub fn watch(self: &Arc<Self>, driver: &Arc<Driver>) -> std::io::Result<()> {
        let (controls, driver) = (Arc::downgrade(self), Arc::downgrade(driver));
        let watch = move || {
            let Some(events) = driver.upgrade().map(|driver| driver.events()) else { return };
            let mut seen = events.number();
            while let Ok(number) = events.wait(seen, None) {
                seen = number;
                let Some(controls) = controls.upgrade() else { return };
                controls.tell();
            }
        };
        thread::Builder::new().name("events".into()).spawn(watch).map(drop)
    }
}

/// Has anybody the reading end?
fn is_read(write: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(write, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let _ = poll(&mut fds, Some(&now));
    !fds.iter().any(|fd| fd.revents().contains(PollFlags::ERR))
}
