//! Mapped devices as the kernel sees them: device_t, disk(9), and who has them open.

use crate::attach;
use crate::glue;
use crate::label;
use crate::request;
use crate::sys::{self, Constant, disk, dkdriver};
use crate::thread::c_string;
use alloc::boxed::Box;
use alloc::string::String;
use core::cell::UnsafeCell;
use core::ffi::{c_int, c_long};
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use dm::driver::{Driver, Opened};
use dm::kern::node::NodeState;
use dm::kern::sync::{Mutex, SpinMutex};
use dm::protocol::{Errno, Failure, Sectors};

/// The most sectors that a `daddr_t` and a size in bytes can tell of.
pub const LARGEST: u64 = i64::MAX as u64 / 512;

/// How a device is opened: as a character or as a block device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Char = 0,
    Block = 1,
}

/// A mapped device that is shown.
pub struct Unit {
    minor: u32,
    disk: UnsafeCell<disk>,
    /// What the disk's name points to.
    name: String,
    /// Held while the disk's counters change.
    counters: SpinMutex<()>,
    /// Held while the disk's description is read or replaced.
    pub description: Mutex<()>,
    size: AtomicU64,
    sector_size: AtomicU32,
    device: AtomicPtr<sys::device>,
    /// The one that requests use; the last to be closed.
    anchor: AtomicPtr<Opened>,
    opens: Mutex<Opens>,
}

// SAFETY: the disk is changed under the locks above, or by the kernel under its own.
unsafe impl Sync for Unit {}

#[derive(Default)]
struct Opens {
    /// The anchor first.
    opened: [Option<Box<Opened>>; 2],
    ways: u8,
}

#[allow(unused_variables, clippy::needless_update, reason = "older kernels have no further fields")]
static DRIVER: Constant<dkdriver> = Constant({
    // SAFETY: functions that are not there, and null pointers.
    let none: dkdriver = unsafe { MaybeUninit::zeroed().assume_init() };
    dkdriver { d_strategy: Some(request::strategy), d_minphys: Some(sys::minphys), ..none }
});

impl Unit {
    /// Thread context. Shows a device.
    fn attach(minor: u32, state: &NodeState<'_>) -> Result<&'static Self, Failure> {
        // SAFETY: plain data and pointers, which `disk_init` fills in.
        let disk: disk = unsafe { MaybeUninit::zeroed().assume_init() };
        let unit: &'static Self = Box::leak(Box::new(Self {
            minor,
            disk: UnsafeCell::new(disk),
            name: c_string(state.name),
            counters: SpinMutex::new(()),
            description: Mutex::new(()),
            size: AtomicU64::new(0),
            sector_size: AtomicU32::new(512),
            device: AtomicPtr::new(ptr::null_mut()),
            anchor: AtomicPtr::new(ptr::null_mut()),
            opens: Mutex::new(Opens::default()),
        }));
        let device = attach::device(minor);
        let Some(device) = device else {
            // SAFETY: leaked above, and nobody else has it.
            drop(unsafe { Box::from_raw(ptr::from_ref(unit).cast_mut()) });
            return Err(Failure::new(Errno::ENXIO, "autoconf(9) makes no device"));
        };
        unit.device.store(device.as_ptr(), Ordering::Release);
        // SAFETY: ours, in its place; name and driver outlive it.
        unsafe { sys::disk_init(unit.disk(), unit.name.as_ptr().cast(), &raw const DRIVER.0) };
        // SAFETY: initialised.
        unsafe { sys::disk_attach(unit.disk()) };
        unit.change(state);
        Ok(unit)
    }

    /// Thread context. Hides a device that nobody has open, and forgets it.
    ///
    /// # Safety
    /// From `attach`, and nobody can reach it any more.
    unsafe fn detach(unit: NonNull<Self>) {
        // SAFETY: the caller's contract.
        let shown = unsafe { unit.as_ref() };
        // SAFETY: attached.
        unsafe { sys::disk_detach(shown.disk()) };
        // SAFETY: detached.
        unsafe { sys::disk_destroy(shown.disk()) };
        if let Some(device) = NonNull::new(shown.device.load(Ordering::Acquire)) {
            attach::forget(device);
        }
        // SAFETY: leaked by `attach`.
        drop(unsafe { Box::from_raw(unit.as_ptr()) });
    }

    /// The disk(9).
    pub const fn disk(&self) -> *mut disk {
        self.disk.get()
    }

    pub fn size(&self) -> Sectors {
        Sectors(self.size.load(Ordering::Relaxed))
    }

    pub fn sector_size(&self) -> u32 {
        self.sector_size.load(Ordering::Relaxed)
    }

    /// Its name when it was made, as the kernel lists it.
    pub fn disk_name(&self) -> &str {
        self.name.trim_end_matches('\0')
    }

    /// The open device; whoever sends requests has it open until they are done.
    pub fn opened(&self) -> Option<&Opened> {
        // SAFETY: null, or alive until the last close, which comes after all requests.
        unsafe { self.anchor.load(Ordering::Acquire).as_ref() }
    }

    /// Any context. A request begins.
    pub fn busy(&self) {
        let _counters = self.counters.lock();
        // SAFETY: attached, and the counters are ours.
        unsafe { sys::disk_busy(self.disk()) };
    }

    /// Any context. A request has ended.
    pub fn unbusy(&self, bytes: c_int, read: bool) {
        let _counters = self.counters.lock();
        // SAFETY: attached, and the counters are ours.
        unsafe { sys::disk_unbusy(self.disk(), c_long::from(bytes), c_int::from(read)) };
    }

    /// Thread context. Size or sector size changed.
    fn change(&self, state: &NodeState<'_>) {
        let size = state.size.0.min(LARGEST);
        self.sector_size.store(state.sector_size, Ordering::Relaxed);
        self.size.store(size, Ordering::Relaxed);
        let _description = self.description.lock();
        let device = self.device.load(Ordering::Acquire);
        // SAFETY: attached, and we hold the description.
        unsafe { label::describe(self.disk(), device, size, state.sector_size) };
    }

    fn open(&self, driver: &Driver, way: Way, write: bool) -> Result<(), Errno> {
        let bit = 1 << way as u8;
        let mut opens = self.opens.lock();
        if opens.ways & bit != 0 {
            let readonly = opens.opened[0].as_ref().is_some_and(|opened| opened.readonly());
            return if write && readonly { Err(Errno::EROFS) } else { Ok(()) };
        }
        let opened = Box::new(driver.open(self.minor, write)?);
        opens.ways |= bit;
        let at = usize::from(opens.opened[0].is_some());
        if at == 0 {
            self.anchor.store(ptr::from_ref(&*opened).cast_mut(), Ordering::Release);
        }
        opens.opened[at] = Some(opened);
        Ok(())
    }

    /// The one to drop, with no lock held: that may remove the device, and this with it.
    fn close(&self, way: Way) -> Option<Box<Opened>> {
        let mut opens = self.opens.lock();
        opens.ways &= !(1 << way as u8);
        if let Some(second) = opens.opened[1].take() {
            return Some(second);
        }
        self.anchor.store(ptr::null_mut(), Ordering::Release);
        opens.opened[0].take()
    }
}

/// Minors in one page of the table, and pages in the table.
const PAGE: usize = 1024;

type Page = [AtomicPtr<Unit>; PAGE];

/// All shown devices by minor, found without a lock.
pub struct Units {
    /// Held while devices are opened, shown and hidden.
    lock: Mutex<()>,
    pages: Box<[AtomicPtr<Page>]>,
}

impl Units {
    pub fn new() -> Self {
        let pages = (0..PAGE).map(|_| AtomicPtr::new(ptr::null_mut())).collect();
        Self { lock: Mutex::new(()), pages }
    }

    fn place(&self, minor: u32) -> Option<&AtomicPtr<Unit>> {
        let page = self.pages.get(minor as usize / PAGE)?.load(Ordering::Acquire);
        // SAFETY: null, or a page that stays until the table goes.
        let page = unsafe { page.as_ref() }?;
        page.get(minor as usize % PAGE)
    }

    /// Any context. The device of a minor that the caller has open.
    pub fn find(&self, minor: u32) -> Option<&'static Unit> {
        let unit = self.place(minor)?.load(Ordering::Acquire);
        // SAFETY: null, or shown until nobody has it open.
        unsafe { unit.as_ref() }
    }

    fn insert(&self, minor: u32, unit: *mut Unit) {
        if self.place(minor).is_none() {
            let page: Box<Page> = Box::new([const { AtomicPtr::new(ptr::null_mut()) }; PAGE]);
            if let Some(place) = self.pages.get(minor as usize / PAGE) {
                place.store(Box::into_raw(page), Ordering::Release);
            }
        }
        if let Some(place) = self.place(minor) {
            place.store(unit, Ordering::Release);
        }
    }

    /// Thread context.
    pub fn open(&self, driver: &Driver, minor: u32, way: Way, write: bool) -> Result<(), Errno> {
        let _lock = self.lock.lock();
        self.find(minor).ok_or(Errno::ENXIO)?.open(driver, way, write)
    }

    /// Thread context. All requests of this way are done.
    pub fn close(&self, minor: u32, way: Way) {
        let opened = {
            let _lock = self.lock.lock();
            self.find(minor).and_then(|unit| unit.close(way))
        };
        drop(opened);
    }
}

impl Drop for Units {
    fn drop(&mut self) {
        for page in &self.pages {
            if let Some(page) = NonNull::new(page.load(Ordering::Acquire)) {
                // SAFETY: made by `insert`, and all its devices are gone.
                drop(unsafe { Box::from_raw(page.as_ptr()) });
            }
        }
    }
}

#[unsafe(no_mangle)]
fn dm_kern_node_attach(minor: u32, state: &NodeState<'_>) -> Result<(), Failure> {
    let glue = glue::get().ok_or(Errno::ENXIO)?;
    let _lock = glue.units.lock.lock();
    let unit = Unit::attach(minor, state)?;
    glue.units.insert(minor, ptr::from_ref(unit).cast_mut());
    Ok(())
}

#[unsafe(no_mangle)]
fn dm_kern_node_change(minor: u32, state: &NodeState<'_>) {
    if let Some(unit) = glue::get().and_then(|glue| glue.units.find(minor)) {
        unit.change(state);
    }
}

#[unsafe(no_mangle)]
fn dm_kern_node_detach(minor: u32) {
    let Some(glue) = glue::get() else { return };
    let _lock = glue.units.lock.lock();
    let Some(unit) = glue.units.find(minor) else { return };
    glue.units.insert(minor, ptr::null_mut());
    // SAFETY: nobody has it open (contract of the seam), and nobody finds it any more.
    unsafe { Unit::detach(NonNull::from(unit)) };
}
