//! Everything there is of the device mapper in a running kernel: one [`Glue`], or none.

use crate::aes;
use crate::cell::Cells;
use crate::disk::Disks;
use crate::request::Requests;
use crate::straight::Places;
use crate::transfer::Buffers;
use crate::unit::Units;
use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use dm::driver::Driver;
use dm::kern::aes::Lender;
use dm::kern::log;
use dm::kern::sync::Mutex;
use dm::targets::TARGETS;

/// See the module.
pub struct Glue {
    pub driver: Arc<Driver>,
    pub cells: Cells,
    pub requests: Requests,
    pub places: Places,
    pub buffers: Buffers,
    pub disks: Disks,
    pub units: Units,
    /// The AES that this kernel has.
    pub aes: Option<Box<dyn Lender>>,
    /// Who may use the control node.
    pub gate: Mutex<Gate>,
    /// The block major number.
    pub major: u32,
    /// The system goes down.
    down: AtomicBool,
}

impl Glue {
    /// Thread context. Everything becomes durable, and nothing flows any more.
    pub fn shutdown(&self) {
        if !self.down.swap(true, Ordering::AcqRel) {
            self.driver.shutdown();
        }
    }
}

/// The state of the control node.
#[derive(Default)]
pub struct Gate {
    /// It is open.
    pub open: bool,
    /// The module is being unloaded.
    pub ended: bool,
}

static GLUE: AtomicPtr<Glue> = AtomicPtr::new(ptr::null_mut());

/// Any context. What there is.
pub fn get() -> Option<&'static Glue> {
    // SAFETY: null, or made by `start`, and alive until `stop`, which is called when no entry
    // of ours is running or can be reached.
    unsafe { GLUE.load(Ordering::Acquire).as_ref() }
}

/// Thread context, once, before any entry can be reached.
pub fn start(major: u32) {
    let aes = aes::find();
    let whose = aes.as_ref().map_or("the driver", |lender| lender.name());
    log::line(&format!("dm: AES of {whose}"));
    let glue = Box::new(Glue {
        driver: Driver::attach(TARGETS),
        cells: Cells::new(),
        requests: Requests::new(),
        places: Places::new(),
        buffers: Buffers::new(),
        disks: Disks::new(),
        units: Units::new(),
        aes,
        gate: Mutex::new(Gate::default()),
        major,
        down: AtomicBool::new(false),
    });
    GLUE.store(Box::into_raw(glue), Ordering::Release);
}

/// Thread context. The driver has no device and nobody has the control node open; the switches
/// are detached.
#[cfg(feature = "module")]
pub fn stop() {
    let Some(glue) = get() else { return };
    glue.driver.shutdown();
    let glue = ptr::from_ref(glue).cast_mut();
    // SAFETY: from `start`; nobody else uses it any more (contract).
    let glue = unsafe { Box::from_raw(glue) };
    let Glue { driver, .. } = *glue;
    drop(driver);
    GLUE.store(ptr::null_mut(), Ordering::Release);
}

#[unsafe(no_mangle)]
fn dm_kern_major() -> u32 {
    get().map_or(0, |glue| glue.major)
}
