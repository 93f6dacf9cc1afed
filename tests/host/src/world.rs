//! One driver with its disks.

use crate::context::{Context, Thing};
use crate::disk::{Disk, DiskSpec};
use crate::io::Device;
use crate::memory;
use crate::sync::{panicking, thread};
use dm::command::Caller;
use dm::driver::Driver;
use dm::target::TargetType;
use dm::targets::TARGETS;
use dm_protocol::{
    Action, Change, DeviceName, Dict, Failure, Flags, Reply, ReplyBody, Request, Sector,
    SegmentSpec, Selector,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The superuser, as one client.
pub const SYS: Caller = Caller { privileged: true, client: 1 };

/// One driver with its disks. Its end checks that everything was given back.
pub struct World {
    /// Counts and faults.
    pub context: Arc<Context>,
    driver: Option<Arc<Driver>>,
    disks: Mutex<Vec<Arc<Disk>>>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

/// Waits a little for what comes by itself.
///
/// # Panics
/// When it never comes.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if done() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("never: {what}");
}

/// A table from text: `start length target parameters` in each line.
#[must_use]
pub fn specs(table: &str) -> Vec<SegmentSpec> {
    let spec = |line: &str| {
        let mut words = line.trim().splitn(4, ' ');
        let number = |word: Option<&str>| word.and_then(|w| w.parse().ok()).expect("a number");
        let (start, length) = (number(words.next()), number(words.next()));
        let target = words.next().expect("a target");
        SegmentSpec::new(start, length, target, words.next().unwrap_or_default())
    };
    table.lines().filter(|line| !line.trim().is_empty()).map(spec).collect()
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// A driver with its own targets.
    #[must_use]
    pub fn new() -> Self {
        Self::with_types(TARGETS)
    }

    /// A driver with these targets.
    #[must_use]
    pub fn with_types(types: &'static [&'static TargetType]) -> Self {
        Self::with_driver(|| Driver::attach(types))
    }

    /// A driver that is made for it.
    #[must_use]
    pub fn with_driver(attach: impl FnOnce() -> Arc<Driver>) -> Self {
        let context = Arc::new(Context::default());
        context.enter();
        let driver = attach();
        context.set_driver(&driver);
        let (disks, threads) = (Mutex::default(), Mutex::default());
        Self { context, driver: Some(driver), disks, threads }
    }

    /// The driver.
    pub fn driver(&self) -> &Arc<Driver> {
        self.context.enter();
        self.driver.as_ref().expect("until drop")
    }

    /// A disk that completes at once.
    pub fn disk(&self, sectors: u64) -> Arc<Disk> {
        self.disk_of(DiskSpec::new(sectors))
    }

    /// A disk.
    pub fn disk_of(&self, spec: DiskSpec) -> Arc<Disk> {
        let disk = Disk::new(spec);
        self.threads.lock().expect("not poisoned").extend(disk.start());
        self.disks.lock().expect("not poisoned").push(Arc::clone(&disk));
        disk
    }

    /// Sends a dictionary.
    pub fn ask(&self, caller: &Caller, mut dict: Dict) -> Dict {
        self.driver().command(caller, &mut dict);
        dict
    }

    /// Sends a request of a client that reads errors, through its dictionary.
    ///
    /// # Errors
    /// The driver's.
    pub fn run(&self, request: &Request) -> Result<Reply, Failure> {
        let reply = self.ask(&SYS, request.encode());
        let reply = Reply::decode(&reply).expect("replies are well formed");
        match reply.failure.clone() {
            None => Ok(reply),
            Some(failure) => Err(failure),
        }
    }

    /// Sends a command about a device.
    ///
    /// # Errors
    /// The driver's.
    pub fn on(&self, name: &str, action: Action) -> Result<Reply, Failure> {
        self.on_with(name, action, Flags::EXISTS)
    }

    /// As [`World::on`], with flags.
    ///
    /// # Errors
    /// The driver's.
    pub fn on_with(&self, name: &str, action: Action, flags: Flags) -> Result<Reply, Failure> {
        let device = Selector { name: Some(name.into()), ..Selector::default() };
        self.run(&Request { flags, device, ..Request::new(action) })
    }

    /// Sends a message to the target of sector 0; gives its answer, if it has one.
    ///
    /// # Errors
    /// The driver's.
    pub fn say(&self, name: &str, text: &str) -> Result<Option<String>, Failure> {
        let action = Action::Message { sector: Sector(0), text: text.to_owned().into() };
        Ok(match self.on(name, action)?.body {
            ReplyBody::Answer(answer) => Some(answer),
            _ => None,
        })
    }

    /// Makes a device without a table.
    ///
    /// # Errors
    /// The driver's.
    pub fn make(&self, name: &str) -> Result<Reply, Failure> {
        let name = DeviceName::new(name)?;
        self.run(&Request::new(Action::Create { name, uuid: None, minor: None }))
    }

    /// Loads a table.
    ///
    /// # Errors
    /// The driver's.
    pub fn load(&self, name: &str, table: &str) -> Result<Reply, Failure> {
        self.on(name, Action::Reload { table: specs(table), dry_run: false })
    }

    /// Makes a device with a live table.
    ///
    /// # Errors
    /// The driver's; then the device is removed again.
    pub fn try_create(&self, name: &str, table: &str) -> Result<Reply, Failure> {
        self.make(name)?;
        let made = self.load(name, table).and_then(|_| self.on(name, Action::Resume));
        if made.is_err() {
            self.on(name, Action::Remove)?;
        }
        made
    }

    /// Makes a device with a live table and opens it.
    pub fn create(&self, name: &str, table: &str) -> Device {
        self.try_create(name, table).expect("the table is good");
        self.open(name)
    }

    /// Opens a device for reading and writing.
    pub fn open(&self, name: &str) -> Device {
        let minor = self.driver().minor_of(name).expect("the device is there");
        let opened = self.driver().open(minor, true).expect("it can be opened");
        Device::new(opened, Arc::clone(&self.context))
    }

    /// Renames a device.
    ///
    /// # Errors
    /// The driver's.
    pub fn rename(&self, from: &str, to: &str) -> Result<Reply, Failure> {
        self.on(from, Action::Rename(Change::Name(DeviceName::new(to)?)))
    }

    /// Runs a thread in this world.
    pub fn spawn<T: Send + 'static>(
        self: &Arc<Self>,
        act: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let world = Arc::clone(self);
        thread::spawn(move || {
            world.context.enter();
            act(&world)
        })
    }

    /// Nothing but the driver itself, its devices and what their tables hold is out.
    pub fn assert_idle(&self) {
        for thing in [Thing::Request, Thing::Transfer, Thing::ChildCell] {
            assert_eq!(self.context.out(thing), 0, "{thing:?} leaked");
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.context.enter();
        if !panicking() {
            self.assert_idle();
        }
        if let Some(driver) = self.driver.take() {
            driver.run(&SYS, &Request::new(Action::RemoveAll));
            let left = driver.count();
            assert!(left == 0 || panicking(), "{left} devices are still open");
        }
        for disk in self.disks.get_mut().expect("not poisoned").iter() {
            disk.stop();
            disk.forget();
        }
        for thread in self.threads.get_mut().expect("not poisoned").drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || panicking(), "a disk's thread panicked");
        }
        if !panicking() {
            assert_eq!(self.context.leaks(), "", "things were not given back");
            assert_eq!(memory::violations(), 0, "allocations where there may be none");
        }
    }
}
