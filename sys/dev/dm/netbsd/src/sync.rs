//! Locks and conditions: mutex(9), condvar(9).

use crate::sys::{self, kcondvar_t, kmutex_t};
use alloc::boxed::Box;
use core::ffi::c_int;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use dm::kern::raw::{Level, Wake};

const MUTEX_DEFAULT: sys::kmutex_type_t = sys::MUTEX_DEFAULT;

#[unsafe(no_mangle)]
fn dm_kern_mutex_new(level: Level) -> NonNull<()> {
    let mutex = Box::leak(Box::new(MaybeUninit::<kmutex_t>::uninit()));
    let ipl = match level {
        Level::Thread => sys::IPL_NONE,
        Level::Interrupt => sys::IPL_VM,
    };
    // SAFETY: memory for a lock that stays in its place.
    unsafe { sys::mutex_init(mutex.as_mut_ptr(), MUTEX_DEFAULT, ipl as c_int) };
    NonNull::from(mutex).cast()
}

#[unsafe(no_mangle)]
unsafe fn dm_kern_mutex_free(mutex: NonNull<()>) {
    // SAFETY: a lock of ours that nobody holds.
    unsafe { sys::mutex_destroy(mutex.as_ptr().cast()) };
    // SAFETY: leaked by `dm_kern_mutex_new`.
    drop(unsafe { Box::from_raw(mutex.as_ptr().cast::<MaybeUninit<kmutex_t>>()) });
}

#[unsafe(no_mangle)]
unsafe fn dm_kern_mutex_enter(mutex: NonNull<()>, level: Level) {
    let mutex = mutex.as_ptr().cast();
    match level {
        // SAFETY: a lock of ours.
        Level::Thread => unsafe { sys::mutex_enter(mutex) },
        // SAFETY: as above.
        Level::Interrupt => unsafe { sys::mutex_spin_enter(mutex) },
    }
}

#[unsafe(no_mangle)]
unsafe fn dm_kern_mutex_exit(mutex: NonNull<()>, level: Level) {
    let mutex = mutex.as_ptr().cast();
    match level {
        // SAFETY: a lock of ours that the caller holds.
        Level::Thread => unsafe { sys::mutex_exit(mutex) },
        // SAFETY: as above.
        Level::Interrupt => unsafe { sys::mutex_spin_exit(mutex) },
    }
}

#[unsafe(no_mangle)]
fn dm_kern_cond_new() -> NonNull<()> {
    let cond = Box::leak(Box::new(MaybeUninit::<kcondvar_t>::uninit()));
    // SAFETY: memory for a condition that stays in its place, and a constant name.
    unsafe { sys::cv_init(cond.as_mut_ptr(), c"dmwait".as_ptr()) };
    NonNull::from(cond).cast()
}

#[unsafe(no_mangle)]
unsafe fn dm_kern_cond_free(cond: NonNull<()>) {
    // SAFETY: a condition of ours that nobody waits for.
    unsafe { sys::cv_destroy(cond.as_ptr().cast()) };
    // SAFETY: leaked by `dm_kern_cond_new`.
    drop(unsafe { Box::from_raw(cond.as_ptr().cast::<MaybeUninit<kcondvar_t>>()) });
}

#[unsafe(no_mangle)]
unsafe fn dm_kern_cond_wait(
    cond: NonNull<()>,
    mutex: NonNull<()>,
    timeout_ms: Option<u64>,
    interruptible: bool,
) -> Wake {
    let cond: *mut kcondvar_t = cond.as_ptr().cast();
    let mutex: *mut kmutex_t = mutex.as_ptr().cast();
    let ended = match (timeout_ms.map(ticks), interruptible) {
        (None, false) => {
            // SAFETY: both are ours, and the caller holds the lock; so in the other arms.
            unsafe { sys::cv_wait(cond, mutex) };
            0
        }
        // SAFETY: as above.
        (None, true) => unsafe { sys::cv_wait_sig(cond, mutex) },
        // SAFETY: as above.
        (Some(ticks), false) => unsafe { sys::cv_timedwait(cond, mutex, ticks) },
        // SAFETY: as above.
        (Some(ticks), true) => unsafe { sys::cv_timedwait_sig(cond, mutex, ticks) },
    };
    match ended {
        0 => Wake::Signalled,
        error if error == sys::EWOULDBLOCK as c_int => Wake::TimedOut,
        _ => Wake::Interrupted,
    }
}

/// Clock ticks of a time, at least one: none would mean for ever.
fn ticks(ms: u64) -> c_int {
    let hz = u64::try_from(sys::hz).unwrap_or(100);
    let ticks = ms.saturating_mul(hz).div_ceil(1000).max(1);
    c_int::try_from(ticks).unwrap_or(c_int::MAX)
}

#[unsafe(no_mangle)]
unsafe fn dm_kern_cond_signal(cond: NonNull<()>) {
    // SAFETY: a condition of ours.
    unsafe { sys::cv_signal(cond.as_ptr().cast()) };
}

#[unsafe(no_mangle)]
unsafe fn dm_kern_cond_broadcast(cond: NonNull<()>) {
    // SAFETY: a condition of ours.
    unsafe { sys::cv_broadcast(cond.as_ptr().cast()) };
}
