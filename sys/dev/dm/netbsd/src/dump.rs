//! Crash dumps: the kernel's memory, written through a mapped device to the disks below.

use crate::glue;
use crate::sys::{self, dev_t};
use alloc::format;
use core::ffi::{c_int, c_void};
use core::sync::atomic::Ordering;
use dm::kern::log;
use dm::protocol::{DevNo, Errno, SECTOR_SIZE, Sector, Sectors};

/// # Safety
/// The system has crashed: this is the only thread of the only CPU that runs. `memory` has
/// `size` bytes.
pub unsafe extern "C" fn dump(
    dev: dev_t,
    block: sys::daddr_t,
    memory: *mut c_void,
    size: usize,
) -> c_int {
    let Ok(sector) = u64::try_from(block) else { return Errno::EINVAL.number() };
    // SAFETY: the caller's contract.
    unsafe { write(sys::minor(dev), sector, memory, size) }
}

/// # Safety
/// As `dump`.
unsafe fn write(minor: u32, sector: u64, memory: *mut c_void, size: usize) -> c_int {
    let unit = glue::get().and_then(|glue| glue.units.find(minor));
    let Some(dump) = unit.and_then(|unit| unit.dump.as_ref()) else {
        return Errno::ENXIO.number();
    };
    let sectors = size as u64 / SECTOR_SIZE;
    let mut done = 0;
    while done < sectors {
        // SAFETY: the caller's contract.
        let found = unsafe { dump.place(Sector(sector + done), Sectors(sectors - done)) };
        let place = match found {
            Ok(place) => place,
            Err(errno) => return errno.number(),
        };
        let from = memory.wrapping_byte_add((done * SECTOR_SIZE) as usize);
        let bytes = (place.count.0 * SECTOR_SIZE) as usize;
        let at = place.sector.0.cast_signed();
        // SAFETY: within the caller's memory, since no more is placed than was asked.
        let error = unsafe { sys::bdev_dump(place.disk.to_wire(), at, from, bytes) };
        if error != 0 {
            return error;
        }
        done += place.count.0;
    }
    0
}

fn device(minor: u32) -> dev_t {
    let major = glue::get().map_or(0, |glue| glue.major);
    DevNo { major, minor }.to_wire()
}

/// True if the kernel will dump to this device.
pub fn wanted(minor: u32) -> bool {
    sys::dumpdev.load(Ordering::Relaxed) == device(minor)
}

/// Thread context. The device goes: another that gets its minor must not be dumped to.
pub fn forget(minor: u32, name: &str) {
    if wanted(minor) {
        sys::dumpdev.store(dev_t::MAX, Ordering::Relaxed);
        log::line(&format!("dm: {name} was the dump device; there is none now"));
    }
}
