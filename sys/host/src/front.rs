//! Which mapped devices there are to show, and who is told when that changes.
//!
//! The driver feeds a registry through the seam; front ends look devices up in it, or subscribe.
//! A process has one registry. A test that runs several drivers gives each its own with
//! [`Registry::enter`], and with it their commands and front ends.

use crate::kern::hold;
use dm::kern::node::NodeState;
use dm_protocol::{Errno, Failure, Sectors};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// The block major number of mapped devices: at first Linux's usual one.
static MAJOR: AtomicU32 = AtomicU32::new(253);

/// The block major number of mapped devices.
#[must_use]
pub fn major() -> u32 {
    MAJOR.load(Ordering::Relaxed)
}

/// Sets it, before there are devices: for who shows them as devices of another driver.
pub fn set_major(major: u32) {
    MAJOR.store(major, Ordering::Relaxed);
}

/// A device to show, as it is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its minor number: it stays while the rest may change.
    pub minor: u32,
    /// Its name.
    pub name: String,
    /// Its size; zero without a live table.
    pub size: Sectors,
    /// Bytes in one of its sectors, 512 to 65536.
    pub sector_size: u32,
    /// Writes are refused.
    pub readonly: bool,
    /// Discards reach a disk.
    pub discard: bool,
}

/// Who wants to be told. Called in the thread that gives the command, one change after the other.
pub trait Watch: Send + Sync {
    /// A device is about to be shown.
    ///
    /// # Errors
    /// Whatever prevents that; the device is not made then.
    fn attach(&self, shown: &Arc<Shown>) -> Result<(), Failure> {
        let _ = shown;
        Ok(())
    }

    /// Something of a device changed; names may have, too.
    fn change(&self, old: &Arc<Shown>, new: &Arc<Shown>) {
        let _ = (old, new);
    }

    /// A device went, also one whose attachment another watcher prevented.
    fn detach(&self, shown: &Arc<Shown>) {
        let _ = shown;
    }
}

/// The devices to show.
#[derive(Default)]
pub struct Registry {
    /// Held while watchers are told, so that they see changes in order. Taken before `devices`.
    order: Mutex<Vec<Arc<dyn Watch>>>,
    devices: Mutex<BTreeMap<u32, Arc<Shown>>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Registry>>> = const { RefCell::new(None) };
}

/// While it lives, its thread uses another registry than the process's.
pub struct Entered {
    before: Option<Arc<Registry>>,
    stay: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.before.take());
    }
}

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The one of the calling thread: entered, or else the process's.
    #[must_use]
    pub fn current() -> Arc<Self> {
        static PROCESS: OnceLock<Arc<Registry>> = OnceLock::new();
        let entered = CURRENT.with_borrow(Clone::clone);
        entered.unwrap_or_else(|| Arc::clone(PROCESS.get_or_init(Self::new)))
    }

    /// Makes it the registry of the calling thread, and of threads of the driver started there.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Entered {
        let before = CURRENT.replace(Some(Arc::clone(self)));
        Entered { before, stay: PhantomData }
    }

    /// All devices, by minor.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Shown>> {
        self.devices().values().cloned().collect()
    }

    /// The device of this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<Arc<Shown>> {
        self.devices().values().find(|shown| shown.name == name).cloned()
    }

    /// The device of this minor number.
    #[must_use]
    pub fn by_minor(&self, minor: u32) -> Option<Arc<Shown>> {
        self.devices().get(&minor).cloned()
    }

    /// Tells `watch` of every change from now on, and first of the devices that are there.
    ///
    /// # Errors
    /// The first device that it cannot show.
    pub fn subscribe(&self, watch: Arc<dyn Watch>) -> Result<(), Failure> {
        let mut watchers = self.watchers();
        for shown in self.list() {
            watch.attach(&shown)?;
        }
        watchers.push(watch);
        Ok(())
    }

    /// Tells `watch` nothing any more.
    pub fn unsubscribe(&self, watch: &Arc<dyn Watch>) {
        self.watchers().retain(|other| !Arc::ptr_eq(other, watch));
    }

    /// A device was made.
    ///
    /// # Errors
    /// That of the watcher that cannot show it; the others have forgotten it then.
    pub(crate) fn attach(&self, minor: u32, node: &NodeState<'_>) -> Result<(), Failure> {
        let watchers = self.watchers();
        let (shown, _) = self.update(minor, node);
        for (told, watch) in watchers.iter().enumerate() {
            if let Err(why) = watch.attach(&shown) {
                watchers.iter().take(told).for_each(|watch| watch.detach(&shown));
                self.forget(minor);
                return Err(why);
            }
        }
        Ok(())
    }

    /// Something of a device changed.
    pub(crate) fn change(&self, minor: u32, node: &NodeState<'_>) {
        let watchers = self.watchers();
        let (new, old) = self.update(minor, node);
        let Some(old) = old else { return };
        watchers.iter().for_each(|watch| watch.change(&old, &new));
    }

    /// A device goes.
    pub(crate) fn detach(&self, minor: u32) {
        let watchers = self.watchers();
        let Some(shown) = self.forget(minor) else { return };
        watchers.iter().for_each(|watch| watch.detach(&shown));
    }

    fn update(&self, minor: u32, node: &NodeState<'_>) -> (Arc<Shown>, Option<Arc<Shown>>) {
        let shown = Arc::new(Shown {
            minor,
            name: node.name.to_owned(),
            size: node.size,
            sector_size: node.sector_size,
            readonly: node.readonly,
            discard: node.discard,
        });
        let old = self.devices().insert(minor, Arc::clone(&shown));
        (shown, old)
    }

    fn forget(&self, minor: u32) -> Option<Arc<Shown>> {
        self.devices().remove(&minor)
    }

    fn devices(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<Shown>>> {
        hold(&self.devices)
    }

    fn watchers(&self) -> MutexGuard<'_, Vec<Arc<dyn Watch>>> {
        hold(&self.order)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.list()).finish()
    }
}

/// A failure of a front end's own making.
#[must_use]
pub fn failure(message: impl Into<String>) -> Failure {
    Failure::new(Errno::EIO, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, size: u64) -> NodeState<'_> {
        let size = Sectors(size);
        NodeState { name, size, sector_size: 512, readonly: false, discard: true, geometry: None }
    }

    #[derive(Default)]
    struct Diary {
        lines: Mutex<Vec<String>>,
        refuse: bool,
    }

    impl Diary {
        fn write(&self, line: String) {
            self.lines.lock().unwrap().push(line);
        }
    }

    impl Watch for Diary {
        fn attach(&self, shown: &Arc<Shown>) -> Result<(), Failure> {
            self.write(format!("+{}", shown.name));
            if self.refuse { Err(failure("no room")) } else { Ok(()) }
        }
        fn change(&self, old: &Arc<Shown>, new: &Arc<Shown>) {
            self.write(format!("{}>{} {}", old.name, new.name, new.size));
        }
        fn detach(&self, shown: &Arc<Shown>) {
            self.write(format!("-{}", shown.name));
        }
    }

    #[test]
    fn a_watcher_learns_of_what_is_there_and_what_changes() {
        let registry = Registry::new();
        registry.attach(3, &node("a", 0)).unwrap();
        let diary = Arc::new(Diary::default());
        let watch: Arc<dyn Watch> = Arc::clone(&diary) as _;
        registry.subscribe(Arc::clone(&watch)).unwrap();
        registry.change(3, &node("b", 8));
        assert_eq!(registry.by_name("b").unwrap().size, Sectors(8));
        registry.detach(3);
        registry.unsubscribe(&watch);
        registry.attach(3, &node("c", 0)).unwrap();
        assert_eq!(*diary.lines.lock().unwrap(), ["+a", "a>b 8", "-b"]);
    }

    #[test]
    fn a_device_that_cannot_be_shown_is_forgotten_by_those_who_could() {
        let registry = Registry::new();
        let good = Arc::new(Diary::default());
        registry.subscribe(Arc::clone(&good) as _).unwrap();
        registry.subscribe(Arc::new(Diary { refuse: true, ..Diary::default() })).unwrap();
        assert_eq!(registry.attach(1, &node("a", 0)).unwrap_err().message, "no room");
        assert_eq!(*good.lines.lock().unwrap(), ["+a", "-a"]);
        assert!(registry.list().is_empty());
    }

    #[test]
    fn an_entered_registry_is_current_until_left() {
        let ours = Registry::new();
        let entered = ours.enter();
        assert!(Arc::ptr_eq(&Registry::current(), &ours));
        drop(entered);
        assert!(!Arc::ptr_eq(&Registry::current(), &ours));
    }
}
