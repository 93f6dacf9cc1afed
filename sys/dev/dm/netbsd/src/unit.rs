//! Mapped devices as the kernel sees them: device_t and disk(9).

use crate::attach;
use crate::dump;
use crate::glue::{self, Glue};
use crate::label;
use crate::opens::{Opens, Way};
use crate::request;
use crate::sys::{self, Constant, disk, dkdriver};
use crate::thread::c_string;
use crate::wedge::{self, Wedges};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::ffi::{c_int, c_long};
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use dm::driver::{Driver, Opened};
use dm::kern::dump::Dump;
use dm::kern::node::NodeState;
use dm::kern::sync::{Mutex, SpinMutex};
use dm::protocol::{Errno, Failure, Geometry, Sectors};

/// The most sectors that a `daddr_t` and a size in bytes can tell of.
pub const LARGEST: u64 = i64::MAX as u64 / 512;

/// A mapped device that is shown.
pub struct Unit {
    pub minor: u32,
    disk: UnsafeCell<disk>,
    pub wedges: Wedges,
    /// Held while the disk's counters change.
    counters: SpinMutex<()>,
    /// Held while the disk's description is read or replaced.
    pub description: Mutex<Description>,
    size: AtomicU64,
    sector_size: AtomicU32,
    device: AtomicPtr<sys::device>,
    pub opens: Opens,
    /// Where a crash dump goes.
    pub dump: Option<Dump>,
}

/// What clients are told, besides numbers that requests need too.
#[derive(Default)]
pub struct Description {
    /// What the disk's name points to; a C string.
    name: String,
    pub geometry: Option<Geometry>,
}

// SAFETY: the disk is changed under the locks above, or by the kernel under its own.
unsafe impl Sync for Unit {}

#[allow(unused_variables, clippy::needless_update, reason = "older kernels have no further fields")]
pub static DRIVER: Constant<dkdriver> = Constant({
    // SAFETY: functions that are not there, and null pointers.
    let none: dkdriver = unsafe { MaybeUninit::zeroed().assume_init() };
    dkdriver { d_strategy: Some(request::strategy), d_minphys: Some(sys::minphys), ..none }
});

impl Unit {
    /// Thread context. Shows a device.
    fn attach(glue: &Glue, minor: u32, state: &NodeState<'_>) -> Result<&'static Self, Failure> {
        // SAFETY: plain data and pointers, which `disk_init` fills in.
        let disk: disk = unsafe { MaybeUninit::zeroed().assume_init() };
        let unit: &'static Self = Box::leak(Box::new(Self {
            minor,
            disk: UnsafeCell::new(disk),
            wedges: Wedges::new(),
            counters: SpinMutex::new(()),
            description: Mutex::new(Description::default()),
            size: AtomicU64::new(0),
            sector_size: AtomicU32::new(512),
            device: AtomicPtr::new(ptr::null_mut()),
            opens: Opens::new(minor),
            dump: glue.driver.dump(minor),
        }));
        let device = attach::device(minor);
        let Some(device) = device else {
            // SAFETY: leaked above, and nobody else has it.
            drop(unsafe { Box::from_raw(ptr::from_ref(unit).cast_mut()) });
            return Err(Failure::new(Errno::ENXIO, "autoconf(9) makes no device"));
        };
        unit.device.store(device.as_ptr(), Ordering::Release);
        unit.attach_disk(state.name);
        unit.change(state);
        Ok(unit)
    }

    /// The disk is listed, and its counters shown, under the device's name.
    fn attach_disk(&self, name: &str) {
        let mut description = self.description.lock();
        description.name = c_string(name);
        // SAFETY: ours, in its place; the driver outlives it, as does the name, or another.
        unsafe {
            sys::disk_init(self.disk(), description.name.as_ptr().cast(), &raw const DRIVER.0)
        };
        // SAFETY: initialised.
        unsafe { sys::disk_attach(self.disk()) };
    }

    /// Thread context. Hides a device that nobody has open, and forgets it.
    ///
    /// # Safety
    /// From `attach`, and nobody can reach it any more.
    unsafe fn detach(unit: NonNull<Self>) {
        // SAFETY: the caller's contract.
        let shown = unsafe { unit.as_ref() };
        dump::forget(shown.minor, shown.description.lock().name.trim_end_matches('\0'));
        shown.wedges.forget();
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

    /// The open device, for those who have it open.
    pub fn opened(&self) -> Option<&Opened> {
        self.opens.opened()
    }

    /// Any context. A request begins.
    #[inline(always)]
    pub fn busy(&self) {
        let _counters = self.counters.lock();
        // SAFETY: attached, and the counters are ours.
        unsafe { sys::disk_busy(self.disk()) };
    }

    /// Any context. A request has ended.
    #[inline(always)]
    pub fn unbusy(&self, bytes: c_int, read: bool) {
        let _counters = self.counters.lock();
        // SAFETY: attached, and the counters are ours.
        unsafe { sys::disk_unbusy(self.disk(), c_long::from(bytes), c_int::from(read)) };
    }

    /// Thread context. Something that is shown changed. True if there are other sectors than
    /// before.
    fn change(&self, state: &NodeState<'_>) -> bool {
        let size = state.size.0.min(LARGEST);
        self.sector_size.store(state.sector_size, Ordering::Relaxed);
        let before = self.size.swap(size, Ordering::Relaxed);
        let mut description = self.description.lock();
        description.geometry = state.geometry;
        let name = c_string(state.name);
        if name != description.name {
            // SAFETY: attached; the name stays until the next.
            unsafe { label::rename(self.disk(), &name) };
            description.name = name;
        }
        let device = self.device.load(Ordering::Acquire);
        // SAFETY: attached, and we hold the description.
        unsafe { label::describe(self.disk(), device, size, state.sector_size, state.geometry) };
        drop(description);
        self.wedges.measure(self);
        size != before && size != 0
    }

    /// Thread context; the caller has the device open. Looks for wedges, unless what the device
    /// holds is another device's business, or a read would have to wait.
    fn discover(&self) {
        let readable = self.opened().is_some_and(|opened| opened.flows() && !opened.carries());
        if readable {
            self.wedges.discover(self, &DRIVER);
        }
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
    /// Those that may have wedges that nobody looked for.
    fresh: Mutex<Vec<u32>>,
}

impl Units {
    pub fn new() -> Self {
        let pages = (0..PAGE).map(|_| AtomicPtr::new(ptr::null_mut())).collect();
        Self { lock: Mutex::new(()), pages, fresh: Mutex::new(Vec::new()) }
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
        self.find(minor).ok_or(Errno::ENXIO)?.opens.open(driver, way, write)
    }

    /// Thread context. All requests of this way are done.
    pub fn close(&self, minor: u32, way: Way) {
        let opened = {
            let _lock = self.lock.lock();
            self.find(minor).and_then(|unit| unit.opens.close(way))
        };
        drop(opened);
    }

    /// Thread context, without any lock. Looks for wedges on devices that have other sectors
    /// than before.
    pub fn discover(&self, driver: &Driver) {
        let fresh = core::mem::take(&mut *self.fresh.lock());
        for minor in fresh {
            // So that it does not go meanwhile.
            if self.open(driver, minor, Way::Wedge, false).is_ok() {
                if let Some(unit) = self.find(minor) {
                    unit.discover();
                }
                self.close(minor, Way::Wedge);
            }
        }
    }

    /// Thread context. Sectors of a device that the caller need not have open.
    pub fn size(&self, minor: u32) -> Option<Sectors> {
        // A crashed system waits for nobody, and nobody is left to hide the device.
        let _lock = (!sys::crashed()).then(|| self.lock.lock());
        self.find(minor).map(Unit::size)
    }

    /// Thread context. The minor of a device that is shown.
    pub fn minor_of(&self, device: *mut sys::device) -> Option<u32> {
        let _lock = self.lock.lock();
        let pages = self.pages.iter().filter_map(|page| {
            // SAFETY: null, or a page that stays until the table goes.
            unsafe { page.load(Ordering::Acquire).as_ref() }
        });
        // SAFETY: null, or shown while the lock is held.
        let mut shown =
            pages.flatten().filter_map(|unit| unsafe { unit.load(Ordering::Acquire).as_ref() });
        shown.find(|unit| unit.device.load(Ordering::Acquire) == device).map(|unit| unit.minor)
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
    if minor >= wedge::FIRST_MINOR {
        let message = alloc::format!("minors from {} on are those of wedges", wedge::FIRST_MINOR);
        return Err(Failure::new(Errno::EINVAL, message));
    }
    let _lock = glue.units.lock.lock();
    let unit = Unit::attach(glue, minor, state)?;
    glue.units.insert(minor, ptr::from_ref(unit).cast_mut());
    Ok(())
}

#[unsafe(no_mangle)]
fn dm_kern_node_change(minor: u32, state: &NodeState<'_>) {
    let Some(glue) = glue::get() else { return };
    if glue.units.find(minor).is_some_and(|unit| unit.change(state)) {
        glue.units.fresh.lock().push(minor);
    }
}

#[unsafe(no_mangle)]
fn dm_kern_node_detach(minor: u32) {
    let Some(glue) = glue::get() else { return };
    let Some(unit) = glue.units.find(minor) else { return };
    {
        let _lock = glue.units.lock.lock();
        glue.units.insert(minor, ptr::null_mut());
    }
    // Without the lock, for which dk(4) may wait to open a wedge that goes now.
    // SAFETY: nobody has it open (contract of the seam), and nobody finds it any more.
    unsafe { Unit::detach(NonNull::from(unit)) };
}
