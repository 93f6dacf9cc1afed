//! Autoconfiguration: a device_t for each mapped device, and the pseudo-device itself.

use crate::sys::{self, Kernels, cfattach, cfdata, device, device_t};
use alloc::boxed::Box;
use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};

/// Units that a configuration entry can ask for.
const UNITS: u32 = 32_767;

static ATTACHMENT: Kernels<cfattach> = Kernels::new({
    // SAFETY: functions that are not there, and null pointers.
    let none: cfattach = unsafe { MaybeUninit::zeroed().assume_init() };
    cfattach {
        ca_name: c"dm".as_ptr(),
        // The kernel makes the device_t; without it that would be ours to bring.
        ca_flags: sys::DVF_PRIV_ALLOC as c_int,
        ca_match: Some(matches),
        ca_attach: Some(attached),
        ca_detach: Some(detach),
        ..none
    }
});

/// The device that is being forgotten.
static LEAVING: AtomicPtr<device> = AtomicPtr::new(ptr::null_mut());

/// # Safety
/// None.
unsafe extern "C" fn matches(_: device_t, _: *mut cfdata, _: *mut c_void) -> c_int {
    1
}

/// # Safety
/// None.
unsafe extern "C" fn attached(_: device_t, _: device_t, _: *mut c_void) {}

/// Devices go by command only, not when drvctl(8) asks.
///
/// # Safety
/// None.
unsafe extern "C" fn detach(device: device_t, _: c_int) -> c_int {
    match LEAVING.load(Ordering::Acquire) == device {
        true => 0,
        false => dm::protocol::Errno::EBUSY.number(),
    }
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
    if made.is_none() {
        // SAFETY: the kernel has no use for it.
        drop(unsafe { Box::from_raw(entry) });
    }
    made
}

/// Thread context; one at a time. Ends a device of `device`.
pub fn forget(device: NonNull<device>) {
    // SAFETY: a device of ours.
    let entry = unsafe { sys::device_cfdata(device.as_ptr()) };
    LEAVING.store(device.as_ptr(), Ordering::Release);
    // SAFETY: a device of ours, and `detach` agrees.
    unsafe { sys::config_detach(device.as_ptr(), sys::DETACH_QUIET as c_int) };
    LEAVING.store(ptr::null_mut(), Ordering::Release);
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
        crate::glue::start(crate::devsw::majors());
    }
}
