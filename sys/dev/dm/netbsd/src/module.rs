//! The loadable module.

use crate::attach;
use crate::devsw::{BLOCK, CHARACTER};
use crate::glue;
use crate::sys::{self, Constant, Kernels, cfdriver, check, errno, modinfo};
use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr;
use dm::protocol::Errno;

static DRIVER: Kernels<cfdriver> = Kernels::new({
    // SAFETY: null pointers and plain data.
    let none: cfdriver = unsafe { MaybeUninit::zeroed().assume_init() };
    cfdriver { cd_name: c"dm".as_ptr(), cd_class: sys::DV_DISK, ..none }
});

static INFO: Constant<modinfo> = Constant(modinfo {
    mi_version: sys::DM_NETBSD_VERSION,
    mi_class: sys::MODULE_CLASS_DRIVER,
    mi_modcmd: Some(command),
    mi_name: c"dm".as_ptr(),
    mi_required: ptr::null(),
});

/// Where the loader looks for the module's description.
#[used]
#[unsafe(no_mangle)]
#[unsafe(link_section = "link_set_modules")]
static __link_set_modules_sym_dm_modinfo: Constant<&Constant<modinfo>> = Constant(&INFO);

/// # Safety
/// As the kernel loads and unloads modules.
unsafe extern "C" fn command(command: sys::modcmd_t, _: *mut c_void) -> c_int {
    match command {
        #[cfg(feature = "drill")]
        sys::MODULE_CMD_INIT => crate::drill::run(),
        #[cfg(not(feature = "drill"))]
        sys::MODULE_CMD_INIT => errno(start()),
        sys::MODULE_CMD_FINI => errno(stop()),
        // Mappings are made to stay, so the module does not go by itself.
        sys::MODULE_CMD_AUTOUNLOAD => Errno::EBUSY.number(),
        _ => Errno::ENOTTY.number(),
    }
}

#[cfg_attr(feature = "drill", expect(dead_code, reason = "it never comes so far"))]
fn start() -> Result<(), Errno> {
    // SAFETY: the kernel's from now on.
    check(unsafe { sys::config_cfdriver_attach(DRIVER.get()) })?;
    if let Err(errno) = check(attach::start()) {
        forget_driver();
        return Err(errno);
    }
    let (mut block, mut character) = (-1, -1);
    // SAFETY: switches that stay, and memory for the majors.
    let attached = check(unsafe {
        sys::devsw_attach(
            c"dm".as_ptr(),
            &raw const BLOCK.0,
            &raw mut block,
            &raw const CHARACTER.0,
            &raw mut character,
        )
    });
    if let (Err(errno), _) = (attached, character) {
        attach::stop();
        forget_driver();
        return Err(errno);
    }
    glue::start(block.cast_unsigned());
    Ok(())
}

fn forget_driver() {
    // SAFETY: made known by `start`, and without devices.
    unsafe { sys::config_cfdriver_detach(DRIVER.get()) };
}

fn stop() -> Result<(), Errno> {
    let Some(glue) = glue::get() else { return Ok(()) };
    {
        let mut gate = glue.gate.lock();
        // Without the control node nobody can make a device.
        if gate.open || glue.driver.count() != 0 {
            return Err(Errno::EBUSY);
        }
        gate.ended = true;
    }
    // SAFETY: attached by `start`; no device is open.
    #[allow(unused_must_use, reason = "on some systems it has a result, always 0")]
    unsafe {
        sys::devsw_detach(&raw const BLOCK.0, &raw const CHARACTER.0);
    };
    // A request may have been given back by code that has not left us yet.
    // SAFETY: a constant name, a short time, no lock.
    unsafe { sys::kpause(c"dmend".as_ptr(), false, sys::hz / 5, ptr::null_mut()) };
    glue::stop();
    attach::stop();
    forget_driver();
    Ok(())
}
