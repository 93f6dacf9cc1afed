//! Block nodes of mapped devices: a loop device over the file of each.
//!
//! A loop device has the minor number of its mapped device, so that one number means both. It is
//! made with the device, bound with its first live table, and has the device open from then on.

use super::family::Family;
use super::keeping::Keeping;
use super::loops::{self, Shape};
use super::openers;
use super::translate::Nodes;
use crate::front::{Registry, Shown, Watch, failure};
use crate::kern::hold;
use crate::paths;
use dm::command::Caller;
use dm::driver::Driver;
use dm_protocol::{Action, DevNo, Failure, Request, Sectors, Selector};
use rustix::io::Errno;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// How long the kernel may take to close a file of ours behind a loop device.
const CLOSING: Duration = Duration::from_secs(5);

/// What is known of a node.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    bound: bool,
    /// It goes with its last opener.
    leaving: bool,
}

/// The nodes of all devices.
pub struct LoopNodes {
    driver: Weak<Driver>,
    registry: Arc<Registry>,
    keeping: Arc<Keeping>,
    nodes: Mutex<HashMap<u32, Arc<Mutex<Node>>>>,
    family: Arc<Family>,
}

impl LoopNodes {
    /// For the devices of a driver; the registry has to be told to watch. Nobody but the
    /// family sees the nodes.
    #[must_use]
    pub fn new(
        driver: &Arc<Driver>,
        registry: &Arc<Registry>,
        keeping: Arc<Keeping>,
        family: Arc<Family>,
    ) -> Self {
        let (driver, registry) = (Arc::downgrade(driver), Arc::clone(registry));
        Self { driver, registry, keeping, nodes: Mutex::default(), family }
    }

    fn node(&self, minor: u32) -> Option<Arc<Mutex<Node>>> {
        hold(&self.nodes).get(&minor).cloned()
    }

    /// Is it bound now? One that was to go with its last opener may have gone.
    fn is_bound(minor: u32, node: &mut Node) -> bool {
        if node.bound && node.leaving {
            node.bound = loops::bound(minor).is_some();
        }
        node.bound
    }

    /// Binds a node that should be, or has it follow its device.
    fn follow(&self, shown: &Shown) {
        let Some(node) = self.node(shown.minor) else { return };
        let mut node = hold(&node);
        if shown.size.is_zero() || node.leaving {
            return;
        }
        let file = file(shown.minor);
        let Shown { sector_size, readonly, discard, .. } = *shown;
        let shape = Shape { sector_size, readonly, discard };
        let done = match node.bound {
            true => self.keeping.reshape(shown.minor, &file, shape),
            false => self.keeping.bind(shown.minor, &file, shape),
        };
        match done {
            Ok(()) => node.bound = true,
            Err(errno) => log::error!("{}: block device {}: {errno}", shown.name, shown.minor),
        }
    }

    /// How often the driver has a device open.
    fn opens(&self, minor: u32) -> Option<u32> {
        let driver = self.driver.upgrade()?;
        let device = Selector { minor: Some(minor), ..Selector::default() };
        let request = Request { device, ..Request::new(Action::Info) };
        let reply = driver.run(&Caller { privileged: true, client: 0 }, &request);
        reply.failure.is_none().then_some(reply.open_count)
    }

    /// Waits until the kernel has closed the file behind a node that was unbound.
    fn wait_closed(&self, minor: u32, before: u32) {
        let end = Instant::now() + CLOSING;
        let mut pause = Duration::from_micros(50);
        while self.opens(minor).is_some_and(|opens| opens >= before) && Instant::now() < end {
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

/// The file of a device.
fn file(minor: u32) -> PathBuf {
    paths::files_dir_in(&paths::dev_dir()).join(format!("dm-{minor}"))
}

impl Watch for LoopNodes {
    fn attach(&self, shown: &Arc<Shown>) -> Result<(), Failure> {
        let minor = shown.minor;
        let added = self.keeping.add(minor);
        added.map_err(|errno| failure(format!("block device {minor}: {errno}")))?;
        hold(&self.nodes).insert(minor, Arc::default());
        Ok(())
    }

    fn change(&self, _old: &Arc<Shown>, new: &Arc<Shown>) {
        self.follow(new);
    }

    fn detach(&self, shown: &Arc<Shown>) {
        hold(&self.nodes).remove(&shown.minor);
        // One that is open still is taken away at the end.
        let removed = self.keeping.remove(shown.minor);
        removed.unwrap_or_else(|errno| log::debug!("block device {}: {errno}", shown.minor));
    }
}

impl Nodes for LoopNodes {
    fn own_opens(&self, minor: u32) -> u32 {
        let bound = self.node(minor).is_some_and(|node| Self::is_bound(minor, &mut hold(&node)));
        u32::from(bound)
    }

    fn outside_opens(&self, minor: u32) -> u32 {
        let bound = self.own_opens(minor) > 0;
        let devno = DevNo { major: loops::MAJOR, minor };
        if bound { openers::count(devno, &self.family.members()) } else { 0 }
    }

    fn release(&self, minor: u32) -> Result<(), Errno> {
        let Some(node) = self.node(minor) else { return Ok(()) };
        let mut node = hold(&node);
        if !Self::is_bound(minor, &mut node) {
            return Ok(());
        }
        let before = self.opens(minor).unwrap_or(0);
        self.keeping.unbind(minor)?;
        node.bound = false;
        self.wait_closed(minor, before);
        Ok(())
    }

    fn release_at_close(&self, minor: u32) {
        let Some(node) = self.node(minor) else { return };
        let mut node = hold(&node);
        if !Self::is_bound(minor, &mut node) {
            return;
        }
        let before = self.opens(minor).unwrap_or(0);
        node.leaving = true;
        let _ = self.keeping.unbind_at_close(minor);
        if !Self::is_bound(minor, &mut node) {
            self.wait_closed(minor, before);
        }
    }

    fn restore(&self, minor: u32) {
        if let Some(node) = self.node(minor) {
            let mut node = hold(&node);
            if node.leaving && Self::is_bound(minor, &mut node) {
                let _ = self.keeping.stay(minor);
                node.bound = loops::bound(minor).is_some();
            }
            node.leaving = false;
            if node.bound {
                return;
            }
        }
        if let Some(shown) = self.registry.by_minor(minor) {
            self.follow(&shown);
        }
    }

    fn freeze(&self, minor: u32) {
        if self.own_opens(minor) > 0 {
            let frozen = self.keeping.freeze(minor);
            frozen.unwrap_or_else(|errno| log::warn!("block device {minor}: flush: {errno}"));
        }
    }

    fn thaw(&self, minor: u32) {
        if self.own_opens(minor) > 0 {
            let _ = self.keeping.thaw(minor);
        }
    }

    fn foreign(&self, minor: u32) -> Option<Sectors> {
        loops::bound(minor).map(Sectors::from_bytes)
    }
}

/// Devices without nodes, where there are no loop devices or no files for them.
#[derive(Debug, Default)]
pub struct NoNodes;

impl Nodes for NoNodes {
    fn own_opens(&self, _minor: u32) -> u32 {
        0
    }
    fn outside_opens(&self, _minor: u32) -> u32 {
        0
    }
    fn release(&self, _minor: u32) -> Result<(), Errno> {
        Ok(())
    }
    fn release_at_close(&self, _minor: u32) {}
    fn restore(&self, _minor: u32) {}
    fn freeze(&self, _minor: u32) {}
    fn thaw(&self, _minor: u32) {}
    fn foreign(&self, minor: u32) -> Option<Sectors> {
        loops::bound(minor).map(Sectors::from_bytes)
    }
}
