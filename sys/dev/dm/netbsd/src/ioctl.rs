//! What programs ask of a disk.

use crate::glue::Glue;
use crate::label;
use crate::sys::{self, lwp};
use crate::unit::DRIVER;
use core::ffi::{c_int, c_ulong, c_void};
use core::ptr::{self, NonNull};
use dm::driver::Opened;
use dm::kern::cell::{IoCell, IoRequest};
use dm::kern::disk::Op;
use dm::kern::sync::{Condition, SpinMutex};
use dm::protocol::{Errno, Sector, Sectors};

/// Thread context.
///
/// # Safety
/// An open device; `data` is as `command` says.
pub unsafe fn ioctl(
    glue: &Glue,
    minor: u32,
    command: c_ulong,
    data: *mut c_void,
    flags: c_int,
    l: *mut lwp,
) -> c_int {
    // For a device the kernel would look into labels of its own.
    let dev = sys::dev_t::MAX;
    let Some((unit, opened)) = glue.units.find(minor).and_then(|u| Some((u, u.opened()?))) else {
        return Errno::ENXIO.number();
    };
    let (size, sector_size) = (unit.size().0, unit.sector_size());
    match command {
        sys::DM_GWEDGEINFO => {
            let info = label::wedge(&opened.name(), size, sector_size);
            // SAFETY: what the command asks for.
            unsafe { data.cast::<sys::dkwedge_info>().write(info) };
            0
        }
        sys::DM_GDISKINFO => {
            let _description = unit.description.lock();
            // SAFETY: an attached disk whose description we hold, and the caller's contract.
            unsafe { sys::disk_ioctl(unit.disk(), dev, command, data, flags, l) }
        }
        sys::DM_AWEDGE | sys::DM_DWEDGE | sys::DM_LWEDGES | sys::DM_MWEDGES => {
            // SAFETY: the caller's contract.
            unsafe { unit.wedges.ioctl(unit, &DRIVER, command, data, (flags, l)) }
        }
        // There is no label to protect.
        sys::DM_WLABEL => 0,
        sys::DM_GSECTORSIZE => {
            // SAFETY: what the command asks for.
            unsafe { data.cast::<u32>().write(sector_size) };
            0
        }
        sys::DM_GMEDIASIZE => {
            // SAFETY: what the command asks for.
            unsafe { data.cast::<i64>().write((size * 512).cast_signed()) };
            0
        }
        sys::DM_GDINFO | sys::DM_GDEFLABEL => {
            let geometry = unit.description.lock().geometry;
            let label = label::disklabel(&opened.name(), size, sector_size, geometry);
            // SAFETY: what the command asks for.
            unsafe { data.cast::<sys::disklabel>().write(label) };
            0
        }
        sys::DM_CACHESYNC => sys::errno(opened.flush()),
        _ => Errno::ENOTTY.number(),
    }
}

/// A thread that waits for a request of its own.
struct Waiter {
    ended: SpinMutex<Option<Option<Errno>>>,
    over: Condition,
}

/// # Safety
/// The request was made by `discard`.
unsafe fn discarded(cell: NonNull<IoCell>, errno: Option<Errno>) {
    // SAFETY: given back by the driver.
    let context = unsafe { cell.as_ref() }.request().context;
    // SAFETY: the waiter stays until it has seen the end, under the lock.
    let waiter = unsafe { &*context.cast::<Waiter>() };
    let mut ended = waiter.ended.lock();
    *ended = Some(errno);
    waiter.over.broadcast();
}

/// Thread context; sleeps.
pub fn discard(opened: &Opened, sector: Sector, count: Sectors) -> Result<(), Errno> {
    let waiter = Waiter { ended: SpinMutex::new(None), over: Condition::new() };
    let cell = IoCell::new(IoRequest {
        op: Op::Discard,
        fua: false,
        sector,
        count,
        data: ptr::null_mut(),
        done: discarded,
        context: ptr::from_ref(&waiter).cast_mut().cast(),
    });
    // SAFETY: new, and stays on this stack until `discarded`, as does the open device.
    unsafe { opened.strategy(NonNull::from(&cell)) };
    let mut ended = waiter.ended.lock();
    loop {
        match *ended {
            Some(errno) => return errno.map_or(Ok(()), Err),
            None => waiter.over.wait(&mut ended),
        }
    }
}
