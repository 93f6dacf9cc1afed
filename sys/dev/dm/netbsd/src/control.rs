//! The control node: commands as property lists.

use crate::glue::Glue;
use crate::property;
use crate::sys::{self, lwp, plistref};
use core::ffi::{c_int, c_ulong, c_void};
use core::ptr;
use dm::command::Caller;
use dm::protocol::Errno;

pub fn open(glue: &Glue) -> Result<(), Errno> {
    let mut gate = glue.gate.lock();
    if gate.ended {
        return Err(Errno::ENXIO);
    }
    gate.open = true;
    Ok(())
}

pub fn close(glue: &Glue) {
    glue.gate.lock().open = false;
}

/// Thread context.
///
/// # Safety
/// The control node is open; `data` is as `command` says; `l` is the caller.
pub unsafe fn ioctl(glue: &Glue, command: c_ulong, data: *mut c_void, l: *mut lwp) -> c_int {
    if command != sys::DM_CONTROL_IOCTL {
        return Errno::ENOTTY.number();
    }
    let caller = Caller {
        privileged: privileged(),
        // SAFETY: the caller's thread, alive while it is in here.
        client: unsafe { process(l) },
    };
    // SAFETY: the caller's contract.
    sys::errno(unsafe { obey(glue, &caller, command, data.cast()) })
}

fn privileged() -> bool {
    let (cred, none) = (sys::kauth_cred_get(), ptr::null_mut());
    let action = sys::KAUTH_SYSTEM_DEVMAPPER;
    // SAFETY: the caller's own credentials; the action has no arguments.
    unsafe { sys::kauth_authorize_system(cred, action, 0, none, none, none) == 0 }
}

/// The process of a thread.
///
/// # Safety
/// A live thread.
unsafe fn process(l: *mut lwp) -> u64 {
    // SAFETY: the caller's contract.
    let process = unsafe { (*l).l_proc };
    // SAFETY: a live thread's process lives.
    let pid = unsafe { (*process).p_pid };
    u64::from(pid.cast_unsigned())
}

/// Whatever happens, the reply is copied out: it tells of the error, and the kernel would
/// not copy it for an ioctl that fails.
///
/// # Safety
/// `reference` is the ioctl's argument.
unsafe fn obey(
    glue: &Glue,
    caller: &Caller,
    command: c_ulong,
    reference: *mut plistref,
) -> Result<(), Errno> {
    let mut raw: sys::prop_dictionary_t = ptr::null_mut();
    // SAFETY: the caller's contract, and memory for the answer.
    sys::check(unsafe { sys::prop_dictionary_copyin_ioctl(reference, command, &raw mut raw) })?;
    // SAFETY: a dictionary of ours.
    let request = unsafe { property::Owned::new(raw.cast()) }.ok_or(Errno::ENOMEM)?;
    let mut dict = property::dictionary(&request)?;
    drop(request);
    glue.driver.command(caller, &mut dict);
    glue.units.discover(&glue.driver);
    let reply = property::object(&dict.clone().into());
    // Keys may have been in it.
    dict.wipe();
    let reply = reply?;
    // SAFETY: the caller's contract, and a dictionary.
    sys::check(unsafe {
        sys::prop_dictionary_copyout_ioctl(reference, command, reply.get().cast())
    })
}
