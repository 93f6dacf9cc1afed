//! The driver: all devices, and who may reach them.

use crate::command::Refusals;
use crate::device::{Device, Life, State};
use crate::event::Event;
use crate::kern::child::Piece;
use crate::kern::disk::Op;
use crate::kern::node;
use crate::kern::sync::{Mutex, MutexGuard};
use crate::loader::SharedDisks;
use crate::registry::Registry;
use crate::stack::depth;
use crate::target::TargetType;
use crate::{io, kern};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use dm_protocol::{DevNo, DeviceName, Errno, Failure, Geometry, Sector, Sectors, Selector, Uuid};

/// Devices start here: minor 0 is the control node's.
const FIRST_MINOR: u32 = 1;

/// The driver. Made once by the platform; tests make many.
pub struct Driver {
    me: Weak<Self>,
    pub(crate) types: &'static [&'static TargetType],
    devices: Mutex<Devices>,
    /// Held while it is checked that a table makes no cycle, until it is in its slot.
    pub(crate) topology: Mutex<()>,
    pub(crate) disks: SharedDisks,
    pub(crate) refusals: Mutex<Refusals>,
    pub(crate) registry: Registry,
}

/// All devices, found by number, name and uuid.
#[derive(Default)]
struct Devices {
    by_minor: BTreeMap<u32, Arc<Device>>,
    by_name: BTreeMap<String, u32>,
    by_uuid: BTreeMap<String, u32>,
    /// We choose minors from the first on; none from the next on was ever, the freed are below.
    first_minor: u32,
    next_minor: u32,
    freed: BTreeSet<u32>,
    events: Arc<Event>,
    ended: bool,
}

/// A mapped device that is open. Dropped in thread context, when all its requests are done.
pub struct Opened {
    driver: Weak<Driver>,
    device: Arc<Device>,
    /// The mapped device that has it open for a table.
    holder: Option<u32>,
}

impl Driver {
    /// Thread context. A driver without devices that knows these target types.
    #[must_use]
    pub fn attach(types: &'static [&'static TargetType]) -> Arc<Self> {
        Self::attach_from(types, FIRST_MINOR)
    }

    /// The same, where minor numbers below `first_minor` are for clients to choose only.
    #[must_use]
    pub fn attach_from(types: &'static [&'static TargetType], first_minor: u32) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            types,
            devices: Mutex::new(Devices { first_minor, ..Devices::default() }),
            topology: Mutex::new(()),
            disks: SharedDisks::new(),
            refusals: Mutex::new(Refusals::default()),
            registry: Registry::new(),
        })
    }

    /// Moves with the event number of every device, and when devices come, go or are renamed.
    #[must_use]
    pub fn events(&self) -> Arc<Event> {
        Arc::clone(&self.devices().events)
    }

    pub(crate) fn shared(&self) -> Result<Arc<Self>, Errno> {
        self.me.upgrade().ok_or(Errno::ENXIO)
    }

    fn devices(&self) -> MutexGuard<'_, Devices> {
        self.devices.lock()
    }

    /// Thread context. Opens the device of a minor number.
    ///
    /// # Errors
    /// ENXIO when there is none, EROFS when it shall be written to and is read-only.
    pub fn open(&self, minor: u32, write: bool) -> Result<Opened, Errno> {
        let opened = self.open_for(None, minor)?;
        if write && opened.readonly() { Err(Errno::EROFS) } else { Ok(opened) }
    }

    /// As [`Driver::open`], for a table of another device, `holder`, which learns at its writes
    /// that it may not: whether this is read-only may change meanwhile.
    pub(crate) fn open_for(&self, holder: Option<u32>, minor: u32) -> Result<Opened, Errno> {
        let device = self.devices().by_minor.get(&minor).cloned().ok_or(Errno::ENXIO)?;
        let mut state = device.state();
        if state.life != Life::Present {
            return Err(Errno::ENXIO);
        }
        state.opens = state.opens.checked_add(1).ok_or(Errno::ENFILE)?;
        if let Some(holder) = holder {
            let count = state.holders.entry(holder).or_default();
            *count = count.saturating_add(1);
        }
        drop(state);
        Ok(Opened { driver: Weak::clone(&self.me), device, holder })
    }

    /// Thread context. The minor of the device of this name.
    #[must_use]
    pub fn minor_of(&self, name: &str) -> Option<u32> {
        self.devices().by_name.get(name).copied()
    }

    /// The device of a minor number.
    pub(crate) fn device(&self, minor: u32) -> Option<Arc<Device>> {
        self.devices().by_minor.get(&minor).cloned()
    }

    /// Every device that is there, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Device>> {
        let devices = self.devices();
        let found = devices.by_name.values().filter_map(|minor| devices.by_minor.get(minor));
        found.filter(|device| device.state().life == Life::Present).cloned().collect()
    }

    /// The device that a client means.
    pub(crate) fn find(&self, wanted: &Selector) -> Result<Arc<Device>, Failure> {
        self.devices().meant(wanted).cloned()
    }

    /// Thread context. Makes a device and shows it.
    pub(crate) fn create(
        &self,
        name: DeviceName,
        uuid: Option<Uuid>,
        minor: Option<u32>,
        readonly: bool,
    ) -> Result<Arc<Device>, Failure> {
        let device = self.devices().insert(name.clone(), uuid, minor, readonly)?;
        // Attaching may call back, for instance to open the device: no lock is held.
        let shown = node::attach(
            device.minor(),
            &node::NodeState {
                name: &name,
                size: Sectors::ZERO,
                sector_size: 512,
                readonly,
                discard: false,
                geometry: None,
            },
        );
        match shown {
            Ok(()) => {
                device.state().life = Life::Present;
                self.events().raise();
                Ok(device)
            }
            Err(why) => {
                self.devices().forget(&device);
                Err(why)
            }
        }
    }

    /// Thread context. Removes a device that nobody has open; with `at_close`, when its last
    /// opener is gone. It must still be what a client `wanted`, since it may have got another
    /// name meanwhile.
    pub(crate) fn remove(
        &self,
        device: &Arc<Device>,
        wanted: Option<&Selector>,
        at_close: bool,
    ) -> Result<(), Failure> {
        // What is open is refused at once, though a command may hold `control` for long.
        if !may_leave(&mut device.state(), at_close)? {
            return Ok(());
        }
        let control = device.control.lock();
        {
            // The platform hears of no change after it was told to hide the device.
            let _notice = device.notice.lock();
            let devices = self.devices();
            if let Some(wanted) = wanted {
                devices.check_meant(wanted, device)?;
            }
            let mut state = device.state();
            if !may_leave(&mut state, at_close)? {
                return Ok(());
            }
            state.life = Life::Leaving;
        }
        node::detach(device.minor());
        self.devices().forget(device);
        drop(control);
        device.event.end();
        let tables = {
            let mut state = device.state();
            // Nobody has it open, so no request is inside or comes.
            device.live.show(None);
            (state.live.take(), state.inactive.take())
        };
        drop(tables);
        Ok(())
    }

    /// Gives a device that is still what a client `wanted` another name.
    pub(crate) fn rename(
        &self,
        device: &Arc<Device>,
        wanted: &Selector,
        name: DeviceName,
    ) -> Result<(), Failure> {
        let mut devices = self.devices();
        devices.check_meant(wanted, device)?;
        if devices.by_name.contains_key(&*name) {
            return Err(exists("device", &name));
        }
        let mut state = device.state();
        if state.life != Life::Present {
            return Err(Errno::ENOENT.into());
        }
        devices.by_name.remove(&*state.name);
        devices.by_name.insert(name.to_string(), device.minor());
        state.name = name;
        Ok(())
    }

    /// Gives a device that has no uuid one.
    pub(crate) fn set_uuid(&self, device: &Device, uuid: Uuid) -> Result<(), Failure> {
        let mut devices = self.devices();
        if devices.by_uuid.contains_key(&*uuid) {
            return Err(exists("uuid", &uuid));
        }
        let mut state = device.state();
        if state.life != Life::Present {
            return Err(Errno::ENOENT.into());
        }
        if let Some(old) = &state.uuid {
            let message = format!("{} has the uuid {old} already", state.name);
            return Err(Failure::new(Errno::EINVAL, message));
        }
        devices.by_uuid.insert(uuid.to_string(), device.minor());
        state.uuid = Some(uuid);
        Ok(())
    }

    /// Thread context. The platform ends: no device is made any more, requests under way are
    /// drained and flushed, requests that wait fail.
    pub fn shutdown(&self) {
        self.devices().ended = true;
        let mut all: Vec<_> =
            self.all().into_iter().map(|device| (depth(&device), device)).collect();
        // Those above first, since draining them needs those below.
        all.sort_unstable_by_key(|(depth, device)| (usize::MAX - depth, device.minor()));
        for (_, device) in &all {
            device.kill();
        }
        for (_, device) in &all {
            let _control = device.control.lock();
            // A device that cannot be flushed cannot be helped here.
            let _ = device.quiesce(false);
        }
    }

    /// How many devices there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.devices().by_minor.len()
    }
}

impl Devices {
    /// The device that a client means: by minor if that matches, else by name, else by uuid.
    fn meant(&self, wanted: &Selector) -> Result<&Arc<Device>, Failure> {
        let by_minor = wanted.minor.and_then(|minor| self.by_minor.get(&minor));
        let by = |index: &BTreeMap<String, u32>, text: &Option<String>| {
            let minor = index.get(text.as_ref()?)?;
            self.by_minor.get(minor)
        };
        by_minor
            .or_else(|| by(&self.by_name, &wanted.name))
            .or_else(|| by(&self.by_uuid, &wanted.uuid))
            .filter(|device| device.state().life == Life::Present)
            .ok_or_else(|| Failure::new(Errno::ENOENT, format!("no device {}", described(wanted))))
    }

    /// Refuses if another device is meant now, or none.
    fn check_meant(&self, wanted: &Selector, device: &Arc<Device>) -> Result<(), Failure> {
        match Arc::ptr_eq(self.meant(wanted)?, device) {
            true => Ok(()),
            false => {
                let message = format!("no device {} any more", described(wanted));
                Err(Failure::new(Errno::ENOENT, message))
            }
        }
    }

    fn insert(
        &mut self,
        name: DeviceName,
        uuid: Option<Uuid>,
        minor: Option<u32>,
        readonly: bool,
    ) -> Result<Arc<Device>, Failure> {
        if self.ended {
            return Err(Failure::new(Errno::ENXIO, "the driver is shutting down"));
        }
        if self.by_name.contains_key(&*name) {
            return Err(exists("device", &name));
        }
        if let Some(uuid) = uuid.as_ref().filter(|uuid| self.by_uuid.contains_key(&***uuid)) {
            return Err(exists("uuid", uuid));
        }
        let minor = match minor {
            Some(minor) => self.take_minor(minor)?,
            None => self.free_minor()?,
        };
        self.by_name.insert(name.to_string(), minor);
        if let Some(uuid) = &uuid {
            self.by_uuid.insert(uuid.to_string(), minor);
        }
        let device = Arc::new(Device::new(minor, name, uuid, readonly, &self.events));
        self.by_minor.insert(minor, Arc::clone(&device));
        Ok(device)
    }

    fn take_minor(&mut self, minor: u32) -> Result<u32, Failure> {
        if !(FIRST_MINOR..=DevNo::MINOR_MAX).contains(&minor) {
            let message =
                format!("minor {minor} is not from {FIRST_MINOR} to {}", DevNo::MINOR_MAX);
            return Err(Failure::new(Errno::EINVAL, message));
        }
        if self.by_minor.contains_key(&minor) {
            return Err(Failure::new(Errno::EBUSY, format!("minor {minor} is in use")));
        }
        self.freed.remove(&minor);
        Ok(minor)
    }

    /// The lowest one that is free.
    fn free_minor(&mut self) -> Result<u32, Failure> {
        if let Some(minor) = self.freed.pop_first() {
            return Ok(minor);
        }
        let mut free = self.next_minor.max(self.first_minor);
        // Those that clients chose are passed once.
        while self.by_minor.contains_key(&free) {
            free = free.saturating_add(1);
        }
        if free > DevNo::MINOR_MAX {
            return Err(Failure::new(Errno::ENFILE, "all minor numbers are in use"));
        }
        self.next_minor = free.saturating_add(1);
        Ok(free)
    }

    fn forget(&mut self, device: &Device) {
        let state = device.state();
        self.by_name.remove(&*state.name);
        if let Some(uuid) = &state.uuid {
            self.by_uuid.remove(&**uuid);
        }
        self.by_minor.remove(&device.minor());
        if (self.first_minor..self.next_minor).contains(&device.minor()) {
            self.freed.insert(device.minor());
        }
    }
}

impl Opened {
    /// The device's minor number.
    #[must_use]
    pub fn minor(&self) -> u32 {
        self.device.minor()
    }

    /// Its name now.
    #[must_use]
    pub fn name(&self) -> String {
        self.device.state().name.to_string()
    }

    /// Its size; zero without a live table.
    #[must_use]
    pub fn size(&self) -> Sectors {
        self.device.size()
    }

    /// Bytes in one of its sectors.
    #[must_use]
    pub fn sector_size(&self) -> u32 {
        self.device.sector_size()
    }

    /// True if writes are refused.
    #[must_use]
    pub fn readonly(&self) -> bool {
        self.device.readonly()
    }

    /// True if discards reach something.
    #[must_use]
    pub fn discards(&self) -> bool {
        self.device.table().is_some_and(|table| table.discards())
    }

    /// The geometry that was set.
    #[must_use]
    pub fn geometry(&self) -> Option<Geometry> {
        self.device.state().geometry
    }

    /// The device's counters.
    #[must_use]
    pub fn stats(&self) -> &crate::stats::Stats {
        &self.device.stats
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Thread context; sleeps. Makes everything durable that was written.
    ///
    /// # Errors
    /// The first of the devices below.
    pub fn flush(&self) -> Result<(), Errno> {
        let piece = Piece { op: Op::Flush, fua: false, at: Sector(0), count: Sectors::ZERO };
        kern::wait::flush(&self.device, piece, io::start)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let due = {
            let mut state = self.device.state();
            state.opens = state.opens.saturating_sub(1);
            if let Some(holder) = self.holder {
                let count = state.holders.get(&holder).copied().unwrap_or(0);
                match count {
                    0 | 1 => state.holders.remove(&holder),
                    _ => state.holders.insert(holder, count.saturating_sub(1)),
                };
            }
            state.opens == 0 && state.remove_at_close && state.life == Life::Present
        };
        if let Some(driver) = self.driver.upgrade().filter(|_| due) {
            // EBUSY when somebody opened it meanwhile; then it goes with that one.
            let _ = driver.remove(&self.device, None, true);
        }
    }
}

/// True if nobody has the device open; if somebody has, it goes `at_close` or stays.
fn may_leave(state: &mut State, at_close: bool) -> Result<bool, Failure> {
    match state.life {
        Life::Present => {}
        Life::Attaching | Life::Leaving => return Err(Errno::ENOENT.into()),
    }
    if state.opens > 0 {
        if at_close {
            state.remove_at_close = true;
            return Ok(false);
        }
        let message = format!("{} is in use, open count {}", state.name, state.opens);
        return Err(Failure::new(Errno::EBUSY, message));
    }
    Ok(true)
}

fn exists(what: &str, text: &str) -> Failure {
    Failure::new(Errno::EEXIST, format!("{what} {text} exists"))
}

fn described(wanted: &Selector) -> String {
    match (&wanted.name, &wanted.uuid, wanted.minor) {
        (Some(name), ..) => format!("\"{}\"", name.escape_debug()),
        (None, Some(uuid), _) => format!("with uuid \"{}\"", uuid.escape_debug()),
        (None, None, Some(minor)) => format!("with minor {minor}"),
        (None, None, None) => "is named".to_string(),
    }
}
