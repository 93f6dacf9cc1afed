//! The device switches.

use crate::control;
use crate::dump::dump;
use crate::glue;
use crate::ioctl;
use crate::opens::Way;
use crate::request::strategy;
use crate::sys::{self, Constant, bdevsw, cdevsw, dev_t, lwp, minor, uio};
use crate::wedge;
use core::ffi::{c_int, c_ulong, c_void};
use core::mem::MaybeUninit;
use core::ptr;
use dm::protocol::{Errno, Sector, Sectors};

/// The minor of the control node.
const CONTROL: u32 = 0;

const FLAGS: c_int = (sys::D_DISK | sys::D_MPSAFE) as c_int;

/// For block devices.
#[cfg_attr(not(feature = "module"), unsafe(export_name = "dm_bdevsw"))]
#[allow(unused_variables, clippy::needless_update, reason = "older kernels have no further fields")]
pub static BLOCK: Constant<bdevsw> = Constant({
    // SAFETY: functions that are not there, and null pointers.
    let none: bdevsw = unsafe { MaybeUninit::zeroed().assume_init() };
    bdevsw {
        d_open: Some(open),
        d_close: Some(close),
        d_strategy: Some(strategy),
        d_ioctl: Some(ioctl),
        d_dump: Some(dump),
        d_psize: Some(size),
        d_discard: Some(discard),
        d_flag: FLAGS,
        ..none
    }
});

/// For character devices.
#[cfg_attr(not(feature = "module"), unsafe(export_name = "dm_cdevsw"))]
pub static CHARACTER: Constant<cdevsw> = Constant({
    // SAFETY: functions that are not there, and null pointers.
    let none: cdevsw = unsafe { MaybeUninit::zeroed().assume_init() };
    cdevsw {
        d_open: Some(open),
        d_close: Some(close),
        d_read: Some(read),
        d_write: Some(write),
        d_ioctl: Some(ioctl),
        d_stop: Some(stop),
        d_poll: Some(sys::seltrue),
        d_mmap: Some(mmap),
        d_kqfilter: Some(sys::seltrue_kqfilter),
        d_discard: Some(discard),
        d_flag: FLAGS,
        ..none
    }
});

/// `conf/majors`: the block major that is reserved for dm; what config(1) uses.
#[cfg(not(feature = "module"))]
pub const fn majors() -> u32 {
    169
}

/// The minor of a mapped device, and whether dk(4) means it.
pub fn device(dev: dev_t) -> (u32, bool) {
    let minor = minor(dev);
    wedge::meant(minor).map_or((minor, false), |meant| (meant, true))
}

fn way(wedge: bool, mode: c_int) -> Way {
    match mode.cast_unsigned() & sys::S_IFBLK {
        _ if wedge => Way::Wedge,
        sys::S_IFBLK => Way::Block,
        _ => Way::Char,
    }
}

/// # Safety
/// As the kernel opens devices.
unsafe extern "C" fn open(dev: dev_t, flags: c_int, mode: c_int, _: *mut lwp) -> c_int {
    let write = flags.cast_unsigned() & sys::FWRITE != 0;
    let (minor, wedge) = device(dev);
    sys::errno(match (glue::get(), minor, way(wedge, mode)) {
        (None, ..) | (_, CONTROL, Way::Block | Way::Wedge) => Err(Errno::ENXIO),
        (Some(glue), CONTROL, Way::Char) => control::open(glue),
        (Some(glue), minor, way) => glue.units.open(&glue.driver, minor, way, write),
    })
}

/// # Safety
/// As the kernel closes devices: the last user of this way is gone.
unsafe extern "C" fn close(dev: dev_t, _: c_int, mode: c_int, _: *mut lwp) -> c_int {
    if let Some(glue) = glue::get() {
        match device(dev) {
            (CONTROL, false) => control::close(glue),
            (minor, wedge) => glue.units.close(minor, way(wedge, mode)),
        }
    }
    0
}

/// # Safety
/// As the kernel reads devices.
unsafe extern "C" fn read(dev: dev_t, uio: *mut uio, _: c_int) -> c_int {
    // SAFETY: the caller's contract.
    unsafe { transfer(dev, uio, sys::B_READ) }
}

/// # Safety
/// As the kernel writes devices.
unsafe extern "C" fn write(dev: dev_t, uio: *mut uio, _: c_int) -> c_int {
    // SAFETY: the caller's contract.
    unsafe { transfer(dev, uio, sys::B_WRITE) }
}

/// # Safety
/// An open device, and what the kernel gave to move.
unsafe fn transfer(dev: dev_t, uio: *mut uio, direction: u32) -> c_int {
    if minor(dev) == CONTROL {
        return Errno::ENODEV.number();
    }
    let (strategy, minphys) = (Some(strategy as _), Some(sys::minphys as _));
    let direction = direction as c_int;
    // SAFETY: the caller's contract; the kernel makes its own buffer.
    unsafe { sys::physio(strategy, ptr::null_mut(), dev, direction, minphys, uio) }
}

/// # Safety
/// As the kernel passes ioctls: `data` is as `command` says.
unsafe extern "C" fn ioctl(
    dev: dev_t,
    command: c_ulong,
    data: *mut c_void,
    flags: c_int,
    l: *mut lwp,
) -> c_int {
    let Some(glue) = glue::get() else { return Errno::ENXIO.number() };
    match device(dev).0 {
        // SAFETY: the caller's contract.
        CONTROL => unsafe { control::ioctl(glue, command, data, l) },
        // SAFETY: the caller's contract.
        minor => unsafe { ioctl::ioctl(glue, minor, command, data, flags, l) },
    }
}

/// Sectors, for swapping and dumping; -1 when there is none.
///
/// # Safety
/// None.
unsafe extern "C" fn size(dev: dev_t) -> c_int {
    let size = glue::get().and_then(|glue| glue.units.size(device(dev).0));
    size.map_or(-1, |size| c_int::try_from(size.0).unwrap_or(c_int::MAX))
}

/// # Safety
/// As the kernel discards: an open device.
unsafe extern "C" fn discard(dev: dev_t, at: sys::off_t, count: sys::off_t) -> c_int {
    let unit = glue::get().and_then(|glue| glue.units.find(device(dev).0));
    let Some(opened) = unit.and_then(|unit| unit.opened()) else {
        return Errno::ENXIO.number();
    };
    let sectors = |bytes: i64| match u64::try_from(bytes) {
        Ok(bytes) if bytes % 512 == 0 => Ok(bytes / 512),
        _ => Err(Errno::EINVAL),
    };
    sys::errno(match (sectors(at), sectors(count)) {
        (Ok(at), Ok(count)) => ioctl::discard(opened, Sector(at), Sectors(count)),
        _ => Err(Errno::EINVAL),
    })
}

/// # Safety
/// None.
unsafe extern "C" fn stop(_: *mut sys::tty, _: c_int) {}

/// # Safety
/// None.
unsafe extern "C" fn mmap(_: dev_t, _: sys::off_t, _: c_int) -> sys::paddr_t {
    sys::paddr_t::MAX
}
