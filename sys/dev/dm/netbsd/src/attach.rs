//! Autoconfiguration: a device_t for each mapped device, and the pseudo-device itself.

use crate::dump;
use crate::glue::{self, Glue};
use crate::sys::{self, Kernels, cfattach, cfdata, device, device_t};
use alloc::boxed::Box;
use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};
use dm::command::Caller;
use dm::protocol::{Action, Errno, Failure, Request, Selector};

/// Units that a configuration entry can ask for.
const UNITS: u32 = 32_767;

static ATTACHMENT: Kernels<cfattach> = Kernels::new({
    // SAFETY: functions that are not there, and null pointers.
    let none: cfattach = unsafe { MaybeUninit::zeroed().assume_init() };
    cfattach {
        ca_name: c"dm".as_ptr(),
        // The kernel makes the device_t; without it that would be ours to bring.
        ca_flags: (sys::DVF_PRIV_ALLOC | sys::DVF_DETACH_SHUTDOWN) as c_int,
        ca_match: Some(matches),
        ca_attach: Some(attached),
        ca_detach: Some(detach),
        ..none
    }
});

/// The device that autoconf(9) takes away because the system goes down.
static GOING: AtomicPtr<device> = AtomicPtr::new(ptr::null_mut());

/// # Safety
/// None.
unsafe extern "C" fn matches(_: device_t, _: *mut cfdata, _: *mut c_void) -> c_int {
    1
}

/// # Safety
/// None.
unsafe extern "C" fn attached(_: device_t, _: device_t, _: *mut c_void) {}

/// Devices go by command only, not when drvctl(8) asks; those that nobody has open also when
/// the system goes down, so that the disks below are closed before theirs is.
///
/// # Safety
/// As the kernel detaches devices.
unsafe extern "C" fn detach(device: device_t, flags: c_int) -> c_int {
    let Some(glue) = glue::get() else { return 0 };
    let down = flags & sys::DETACH_SHUTDOWN as c_int != 0;
    match glue.units.minor_of(device) {
        // Hidden already, by command.
        None => 0,
        Some(minor) if down && !dump::wanted(minor) => {
            GOING.store(device, Ordering::Release);
            let removed = remove(glue, minor);
            GOING.store(ptr::null_mut(), Ordering::Release);
            removed.map_or_else(|why| why.errno.number(), |()| 0)
        }
        Some(_) => Errno::EBUSY.number(),
    }
}

fn remove(glue: &Glue, minor: u32) -> Result<(), Failure> {
    let kernel = Caller { privileged: true, client: 0 };
    let device = Selector { minor: Some(minor), ..Selector::default() };
    let request = Request { device, ..Request::new(Action::Remove) };
    glue.driver.run(&kernel, &request).failure.map_or(Ok(()), Err)
}

/// The system is about to stop, and what can be unmounted is.
///
/// # Safety
/// Thread context.
unsafe extern "C" fn shutdown(_: device_t, _: c_int) -> bool {
    if let Some(glue) = glue::get() {
        glue.shutdown();
    }
    true
}

/// Thread context, once. Makes the attachment known.
pub fn start() -> c_int {
    // SAFETY: the kernel's from now on; the driver of this name is known.
    unsafe { sys::config_cfattach_attach(c"dm".as_ptr(), ATTACHMENT.get()) }
}

/// Thread context. There is no device.
#[cfg(feature = "module")]
pub fn stop() -> c_int {
    // SAFETY: made known by `start`.
    unsafe { sys::config_cfattach_detach(c"dm".as_ptr(), ATTACHMENT.get()) }
}

/// Thread context. A device for a minor.
pub fn device(minor: u32) -> Option<NonNull<device>> {
    // SAFETY: plain data and null pointers.
    let none: cfdata = unsafe { MaybeUninit::zeroed().assume_init() };
    let mut entry = Box::new(cfdata { cf_name: c"dm".as_ptr(), cf_atname: c"dm".as_ptr(), ..none });
    // The kernel takes the next free unit from here.
    let unit = if minor < UNITS { minor } else { 0 };
    #[cfg(netbsd10)]
    {
        entry.set_cf_unit(unit);
        entry.cf_fstate = sys::FSTATE_STAR as _;
    }
    #[cfg(not(netbsd10))]
    {
        entry.cf_unit = unit as i16;
        entry.cf_fstate = sys::FSTATE_STAR as i16;
    }
    let entry = Box::into_raw(entry);
    // SAFETY: an entry that stays until the device is forgotten.
    let made = NonNull::new(unsafe { sys::config_attach_pseudo(entry) });
    match made {
        // SAFETY: a new device; it has no power to save, so that the first two are missing.
        Some(device) => unsafe {
            sys::pmf_device_register1(device.as_ptr(), None, None, Some(shutdown));
        },
        // SAFETY: the kernel has no use for it.
        None => drop(unsafe { Box::from_raw(entry) }),
    }
    made
}

/// Thread context. Ends a device of `device` that is hidden.
pub fn forget(device: NonNull<device>) {
    // SAFETY: registered by `device`.
    unsafe { sys::pmf_device_deregister(device.as_ptr()) };
    if GOING.load(Ordering::Acquire) == device.as_ptr() {
        // autoconf(9) does the rest; the entry is left to it, for the system ends.
        return;
    }
    // SAFETY: a device of ours.
    let entry = unsafe { sys::device_cfdata(device.as_ptr()) };
    // SAFETY: a device of ours, and `detach` agrees.
    unsafe { sys::config_detach(device.as_ptr(), sys::DETACH_QUIET as c_int) };
    // SAFETY: made by `device`, and the kernel is done with it.
    drop(unsafe { Box::from_raw(entry) });
}

/// What config(1) calls: the pseudo-device is in the kernel.
///
/// # Safety
/// Called once, in thread context, before the device switches are used.
#[cfg(not(feature = "module"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn dmattach(_: c_int) {
    if start() == 0 {
        glue::start(crate::devsw::majors());
    }
}
