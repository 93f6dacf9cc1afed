//! Wedges: the disks that dk(4) finds in partition tables on mapped devices.
//!
//! dk(4) knows a parent by the name of a disk, `dm` and a unit number, and opens it as the raw
//! partition of that unit. Mapped devices have no partitions, their minors are not made of units,
//! and their disks have names of their own. So a device has a second minor, far above the
//! others, that no node has, and while there are wedges on it a second disk(9) by its name.

use crate::label;
use crate::sys::{self, Constant, disk, dkdriver, lwp};
use crate::unit::Unit;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::cell::UnsafeCell;
use core::ffi::{c_int, c_ulong, c_void};
use core::mem::MaybeUninit;
use dm::kern::sync::Mutex;
use dm::protocol::Errno;

const PARTITIONS: u32 = sys::MAXPARTITIONS;
const RAW: u32 = sys::RAW_PART;

/// The unit number of minor 0.
const FIRST_UNIT: u32 = 0x8000;

/// Minors from here on are those of units.
pub const FIRST_MINOR: u32 = FIRST_UNIT * PARTITIONS;

const _: () = assert!(2 * FIRST_MINOR - 1 <= dm::protocol::DevNo::MINOR_MAX, "they are minors");

/// The device that dk(4) means with a minor, if it is one of dk(4)'s.
pub fn meant(minor: u32) -> Option<u32> {
    let raw = minor.checked_sub(FIRST_MINOR)?;
    (raw % PARTITIONS == RAW).then_some(raw / PARTITIONS)
}

/// The disk that wedges lie on.
///
/// # Invariants
/// It is attached, in its place.
struct Parent {
    disk: Box<UnsafeCell<disk>>,
    /// What the disk's name points to.
    _name: String,
}

// SAFETY: changed only by who has the lock of `Wedges`, and by the kernel under its own.
unsafe impl Send for Parent {}

impl Parent {
    fn attach(unit: &Unit, driver: &Constant<dkdriver>) -> Self {
        // SAFETY: plain data and pointers, which `disk_init` fills in.
        let disk: disk = unsafe { MaybeUninit::zeroed().assume_init() };
        let disk = Box::new(UnsafeCell::new(disk));
        let name = format!("dm{}\0", FIRST_UNIT + unit.minor);
        // SAFETY: ours, in its place; name and driver outlive it.
        unsafe { sys::disk_init(disk.get(), name.as_ptr().cast(), &raw const driver.0) };
        // SAFETY: initialised.
        unsafe { sys::disk_attach(disk.get()) };
        let parent = Self { disk, _name: name };
        parent.measure(unit);
        parent
    }

    fn measure(&self, unit: &Unit) {
        // SAFETY: attached (type invariant), and we hold the lock.
        unsafe { label::measure(self.disk.get(), unit.size().0, unit.sector_size(), None) };
    }

    fn is_empty(&self) -> bool {
        // SAFETY: attached (type invariant); a word.
        unsafe { (*self.disk.get()).dk_nwedges == 0 }
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let disk = self.disk.get();
        // SAFETY: attached; nobody has a wedge open, for that would have the device open.
        unsafe { sys::dkwedge_delall(disk) };
        // SAFETY: attached.
        unsafe { sys::disk_detach(disk) };
        // SAFETY: detached.
        unsafe { sys::disk_destroy(disk) };
    }
}

/// The wedges on a device.
pub struct Wedges(Mutex<Option<Parent>>);

impl Wedges {
    pub fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Thread context. The device has another size.
    pub fn measure(&self, unit: &Unit) {
        if let Some(parent) = &*self.0.lock() {
            parent.measure(unit);
        }
    }

    /// Thread context; the device is open. Passes an ioctl about wedges on.
    ///
    /// # Safety
    /// `data` is as `command` says; `l` is the caller.
    pub unsafe fn ioctl(
        &self,
        unit: &Unit,
        driver: &Constant<dkdriver>,
        command: c_ulong,
        data: *mut c_void,
        (flags, l): (c_int, *mut lwp),
    ) -> c_int {
        if unit.minor >= FIRST_UNIT {
            return Errno::ENODEV.number();
        }
        let mut parent = self.0.lock();
        let disk = parent.get_or_insert_with(|| Parent::attach(unit, driver)).disk.get();
        // SAFETY: attached, and the caller's contract; any number is a device here.
        let error = unsafe { sys::disk_ioctl(disk, 0, command, data, flags, l) };
        parent.take_if(|parent| parent.is_empty());
        error
    }

    /// Thread context; the device is open. Makes the wedges of its partition table.
    pub fn discover(&self, unit: &Unit, driver: &Constant<dkdriver>) {
        if unit.minor >= FIRST_UNIT {
            return;
        }
        let mut parent = self.0.lock();
        let disk = parent.get_or_insert_with(|| Parent::attach(unit, driver)).disk.get();
        // SAFETY: attached.
        unsafe { sys::dkwedge_discover(disk) };
        parent.take_if(|parent| parent.is_empty());
    }

    /// Thread context. The device goes.
    pub fn forget(&self) {
        let parent = self.0.lock().take();
        drop(parent);
    }
}
