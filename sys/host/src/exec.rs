//! `dmhost exec`: runs Linux programs as if the kernel had a device mapper.
//!
//! The kernel reports a few system calls of the program and its children (`filter`, `notify`),
//! and we answer them (`serve`, `translate`) with a driver in this process. Every mapped device
//! is a real block device: a loop device over its FUSE file (`nodes`), which a process of its own
//! has in hand (`keeper`), since it must be cleared away whatever becomes of us.

mod controls;
pub mod family;
mod filter;
pub mod keeper;
pub mod keeping;
mod links;
mod lookups;
#[expect(unsafe_code, reason = "ioctls of loop devices")]
mod loops;
mod mounts;
pub mod nodes;
#[expect(unsafe_code, reason = "system calls that have no safe form elsewhere")]
mod notify;
mod openers;
#[expect(unsafe_code, reason = "leaves the mounts of others")]
mod place;
mod process;
pub mod records;
mod serve;
#[expect(unsafe_code, reason = "the filter is put in place between fork and exec")]
mod start;
pub mod translate;
pub mod wire;

use crate::front::{Registry, Watch};
use crate::fuse::Fuse;
use crate::{front, paths};
use controls::Controls;
use dm::driver::Driver;
use dm::targets::TARGETS;
use family::Family;
use keeping::Keeping;
use nodes::{LoopNodes, NoNodes};
use place::Place;
use rustix::process::WaitStatus;
use serve::Server;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use std::ffi::OsString;
use std::process::Child;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use translate::{Nodes, Translator};

/// How long block devices may take to go.
const LEAVING: Duration = Duration::from_secs(5);

/// Runs a command to its end; its exit status, as a shell tells it.
///
/// To be called while the process has one thread.
///
/// # Errors
/// A sentence, when the command cannot be started.
pub fn run(command: &[OsString]) -> Result<u8, String> {
    let place = Place::make()?;
    let status = run_at(&place, command);
    place.leave();
    status
}

/// What serves the devices, in the order in which it ends.
struct Serving {
    driver: Arc<Driver>,
    registry: Arc<Registry>,
    nodes: Arc<dyn Nodes>,
    family: Arc<Family>,
    keeping: Option<Arc<Keeping>>,
    fuse: Option<Fuse>,
}

fn run_at(place: &Place, command: &[OsString]) -> Result<u8, String> {
    let serving = Serving::start(place)?;
    let result = serving.run(place, command);
    serving.stop();
    result
}

impl Serving {
    /// Starts all that can be had, and says what cannot.
    fn start(place: &Place) -> Result<Self, String> {
        paths::set_dev_dir(place.folder.clone());
        front::set_major(loops::MAJOR);
        // The keeper first, so that it has nothing of ours.
        let keeping = match place.needs.nodes {
            true => Err("device nodes cannot be made here".to_owned()),
            false => Keeping::start(place),
        };
        let family = Arc::new(Family::adopt());
        let registry = Registry::current();
        let first = keeping.as_ref().map_or(1, Keeping::first);
        let driver = Driver::attach_from(TARGETS, first);
        let fuse = Fuse::start(&place.folder, &driver, &registry);
        let mut serving = Self {
            driver: Arc::clone(&driver),
            registry: Arc::clone(&registry),
            nodes: Arc::new(NoNodes),
            family: Arc::clone(&family),
            keeping: None,
            fuse: None,
        };
        match (keeping, fuse) {
            (Ok(keeping), Ok(fuse)) => {
                let keeping = Arc::new(keeping);
                let nodes = LoopNodes::new(&driver, &registry, Arc::clone(&keeping), family);
                let nodes = Arc::new(nodes);
                registry
                    .subscribe(Arc::clone(&nodes) as Arc<dyn Watch>)
                    .map_err(|w| w.to_string())?;
                serving.nodes = nodes;
                serving.keeping = Some(keeping);
                serving.fuse = Some(fuse);
            }
            (keeping, fuse) => {
                let why = keeping.err().or_else(|| fuse.as_ref().err().cloned());
                let why = why.unwrap_or_default();
                log::warn!("no block devices ({why}): devices can be managed, not read");
                serving.fuse = fuse.ok();
            }
        }
        Ok(serving)
    }

    /// Runs the command and answers its calls.
    fn run(&self, place: &Place, command: &[OsString]) -> Result<u8, String> {
        let wrong = |error: std::io::Error| error.to_string();
        let signals = Signals::new([SIGINT, SIGQUIT, SIGTERM, SIGHUP]).map_err(wrong)?;
        let (child, listener) = start::start(command, place)?;
        let (wake, waker) = rustix::pipe::pipe().map_err(|errno| errno.to_string())?;
        let controls = Arc::new(Controls::default());
        controls.watch(&self.driver).map_err(wrong)?;
        let translator = Translator::new(Arc::clone(&self.driver), Arc::clone(&self.nodes));
        let registry = &self.registry;
        let wake = wake.into();
        let server =
            Server::new(listener, wake, translator, registry, Arc::clone(&controls), place.needs);
        server.start().map_err(wrong)?;
        pass_on(signals, &child);
        let status = self.family.wait(child.id()).map_err(|errno| errno.to_string())?;
        self.family.end();
        server.stop();
        drop(waker);
        Ok(code(status))
    }

    /// Takes the devices away: block devices first, while what they write is still taken.
    fn stop(self) {
        let stop = |within| self.keeping.as_ref().is_none_or(|keeping| keeping.stop(within));
        let gone = stop(LEAVING);
        // Requests that wait for a suspended device fail now.
        self.driver.shutdown();
        drop(self.fuse);
        if !gone && !stop(LEAVING) {
            log::warn!("block devices are in use, and go when that ends");
        }
    }
}

/// A terminal's signals reach the command without us; others are for us to pass on.
fn pass_on(mut signals: Signals, child: &Child) {
    let process = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    let pass = move || {
        for signal in signals.forever() {
            let signal = match signal {
                SIGTERM => rustix::process::Signal::TERM,
                SIGHUP => rustix::process::Signal::HUP,
                _ => continue,
            };
            if let Some(process) = process {
                let _ = rustix::process::kill_process(process, signal);
            }
        }
    };
    // Without a thread signals are lost, and the command ends by itself.
    let _ = thread::Builder::new().name("signals".into()).spawn(pass);
}

fn code(status: WaitStatus) -> u8 {
    let signalled = status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or(signalled).and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
