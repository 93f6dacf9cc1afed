//! What no installed header declares, with where the kernel does. The linked object's
//! undefined symbols are checked against a list, so that a name here cannot go wrong unseen.

use super::{dev_t, kauth_cred_t, knote, lwp, timespec};
use core::ffi::{c_char, c_int, c_ulong, c_void};
use core::sync::atomic::{AtomicPtr, AtomicU64};

/// sys/kauth.h: no credentials, allowed everything.
pub const NOCRED: kauth_cred_t = core::ptr::without_provenance_mut(usize::MAX);
/// sys/kauth.h: may change the device mapper.
pub const KAUTH_SYSTEM_DEVMAPPER: u32 = 22;
/// sys/kthread.h
pub const KTHREAD_MPSAFE: c_int = 0x02;
/// sys/kthread.h
pub const KTHREAD_MUSTJOIN: c_int = 0x10;
/// sys/ksyms.h: names that are seen from outside.
pub const KSYMS_EXTERN: c_int = 0;
/// sys/param.h: the default priority.
pub const PRI_NONE: c_int = -1;

unsafe extern "C" {
    // sys/systm.h
    pub safe static panicstr: AtomicPtr<c_char>;
    pub safe static dumpdev: AtomicU64;
    pub fn panic(format: *const c_char, ...) -> !;
    pub fn printf(format: *const c_char, ...);
    pub fn seltrue(dev: dev_t, events: c_int, l: *mut lwp) -> c_int;
    pub safe static ncpu: c_int;

    // sys/proc.h
    #[cfg(feature = "module")]
    pub fn kpause(
        name: *const c_char,
        interruptible: bool,
        ticks: c_int,
        mutex: *mut super::kmutex_t,
    ) -> c_int;

    // sys/cpu.h
    pub safe fn cpu_softintr_p() -> bool;

    // sys/conf.h
    #[cfg(not(netbsd10))]
    pub fn enodev() -> c_int;
    #[cfg(netbsd10)]
    pub fn devenodev(dev: dev_t, ...) -> c_int;
    pub fn seltrue_kqfilter(dev: dev_t, note: *mut knote) -> c_int;

    // sys/kernel.h
    pub safe static hz: c_int;

    // sys/timevar.h
    pub fn nanouptime(now: *mut timespec);

    // sys/kthread.h
    pub fn kthread_create(
        priority: c_int,
        flags: c_int,
        cpu: *mut c_void,
        body: unsafe extern "C" fn(*mut c_void),
        context: *mut c_void,
        thread: *mut *mut lwp,
        name: *const c_char,
        ...
    ) -> c_int;
    pub fn kthread_exit(status: c_int) -> !;
    pub fn kthread_join(thread: *mut lwp) -> c_int;

    // sys/ksyms.h
    pub fn ksyms_getval(
        module: *const c_char,
        name: *const c_char,
        value: *mut c_ulong,
        kind: c_int,
    ) -> c_int;

    // sys/kauth.h
    pub safe fn kauth_cred_get() -> kauth_cred_t;
    pub fn kauth_authorize_system(
        cred: kauth_cred_t,
        action: u32,
        request: c_int,
        arg1: *mut c_void,
        arg2: *mut c_void,
        arg3: *mut c_void,
    ) -> c_int;
}
