//! What loading one table needs: each device is opened once, however often it is named.

use crate::driver::Driver;
use crate::kern::disk::Disk;
use crate::kern::node;
use crate::kern::sync::Mutex;
use crate::lower::{Lower, OpenDisk};
use crate::registry::Registry;
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use dm_protocol::{DevNo, Errno, Failure};

/// Opens devices for one table.
pub struct Loader {
    driver: Arc<Driver>,
    holder: u32,
    write: bool,
    /// By what the table calls it, and whether it is written to.
    found: BTreeMap<(String, bool), Lower>,
}

impl Loader {
    /// For a table of the device `holder` that is written to, or a read-only one.
    #[must_use]
    pub(crate) const fn new(driver: Arc<Driver>, holder: u32, write: bool) -> Self {
        Self { driver, holder, write, found: BTreeMap::new() }
    }

    /// What targets of all tables share.
    pub(crate) fn registry(&self) -> &Registry {
        &self.driver.registry
    }

    /// True if the table may be written through.
    pub(crate) const fn writes(&self) -> bool {
        self.write
    }

    /// Opens the device of a path or `major:minor`, for writing too if asked.
    pub(crate) fn device(&mut self, spec: &str, write: bool) -> Result<Lower, Failure> {
        let key = (spec.to_owned(), write);
        if let Some(lower) = self.found.get(&key) {
            return Ok(lower.clone());
        }
        let lower = self.open(spec, write)?;
        self.found.insert(key, lower.clone());
        Ok(lower)
    }

    fn open(&self, spec: &str, write: bool) -> Result<Lower, Failure> {
        let own = |devno: &DevNo| devno.major == node::major();
        let minor = match spec.parse::<DevNo>() {
            Ok(devno) => Some(devno).filter(own).map(|devno| devno.minor),
            Err(_) => node::mapped_minor(spec),
        };
        match minor {
            Some(minor) => self.open_mapped(minor),
            None => self.driver.disks.open(spec, write).map(Lower::Disk),
        }
    }

    fn open_mapped(&self, minor: u32) -> Result<Lower, Failure> {
        let opened = self.driver.open_for(Some(self.holder), minor);
        let opened =
            opened.map_err(|errno| Failure::new(errno, "there is no such mapped device"))?;
        opened.device().reserve_nested()?;
        Ok(Lower::Mapped(Arc::new(opened)))
    }
}

/// The platform's disks that tables hold open: one of each, and of each way to use it.
#[derive(Default)]
pub(crate) struct Disks {
    /// By identity. What was closed is swept out when the number of identities doubled.
    open: BTreeMap<[u64; 2], Vec<Weak<OpenDisk>>>,
    sweep_at: usize,
    serial: u32,
}

/// [`Disks`] behind their lock. Thread context; opening may take long.
pub(crate) struct SharedDisks(Mutex<Disks>);

impl SharedDisks {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Disks::default()))
    }

    fn open(&self, spec: &str, write: bool) -> Result<Arc<OpenDisk>, Failure> {
        // Opened without the lock, since a disk may take its time; shared if it is known.
        let disk = Disk::open(spec, write)?;
        check(&disk)?;
        let mut disks = self.0.lock();
        let identity = disk.info().identity;
        disks.sweep();
        let known = disks.open.entry(identity).or_default();
        known.retain(|open| open.strong_count() != 0);
        let mut serial = None;
        for open in known.iter().filter_map(Weak::upgrade) {
            if open.disk.writable() == write && open.disk.info().size == disk.info().size {
                drop(disks);
                return Ok(open);
            }
            serial = Some(open.serial);
        }
        let serial = serial.unwrap_or_else(|| {
            disks.serial = disks.serial.wrapping_add(1) & DevNo::MINOR_MAX;
            disks.serial
        });
        let open = Arc::new(OpenDisk { disk, serial });
        disks.open.entry(identity).or_default().push(Arc::downgrade(&open));
        Ok(open)
    }
}

impl Disks {
    /// Forgets what was closed, once in a while: opening one of many stays cheap.
    fn sweep(&mut self) {
        if self.open.len() < self.sweep_at {
            return;
        }
        self.open.retain(|_, known| known.iter().any(|open| open.strong_count() != 0));
        self.sweep_at = self.open.len().saturating_mul(2).max(64);
    }
}

/// What the driver takes for granted of a disk.
fn check(disk: &Disk) -> Result<(), Failure> {
    let info = disk.info();
    let unit = info.sector_size;
    if !unit.is_power_of_two() || !(512..=65_536).contains(&unit) {
        let message = format!("{} has sectors of {unit} bytes", info.name);
        return Err(Failure::new(Errno::EINVAL, message));
    }
    Ok(())
}
