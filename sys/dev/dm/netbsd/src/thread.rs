//! Threads, time, place and the log.

use crate::sys::{self, lwp, timespec};
use alloc::boxed::Box;
use alloc::string::String;
use core::ffi::c_void;
use core::ptr::{self, NonNull};
use dm::protocol::Errno;

/// What a new thread runs.
struct Start {
    body: unsafe fn(*mut ()),
    context: *mut (),
}

/// # Safety
/// `start` is a leaked [`Start`].
unsafe extern "C" fn run(start: *mut c_void) {
    // SAFETY: the caller's contract.
    let start = unsafe { Box::from_raw(start.cast::<Start>()) };
    let Start { body, context } = *start;
    // SAFETY: whoever started the thread gave both.
    unsafe { body(context) };
    // SAFETY: we are that thread.
    unsafe { sys::kthread_exit(0) }
}

#[unsafe(no_mangle)]
pub unsafe fn dm_kern_thread_start(
    name: &str,
    body: unsafe fn(*mut ()),
    context: *mut (),
) -> Result<NonNull<()>, Errno> {
    let name = c_string(name);
    let start = Box::into_raw(Box::new(Start { body, context }));
    let mut thread: *mut lwp = ptr::null_mut();
    // SAFETY: a format with its string, and what `run` expects; the thread is joined.
    let error = unsafe {
        sys::kthread_create(
            sys::PRI_NONE,
            sys::KTHREAD_MPSAFE | sys::KTHREAD_MUSTJOIN,
            ptr::null_mut(),
            run,
            start.cast(),
            &raw mut thread,
            c"%s".as_ptr(),
            name.as_ptr(),
        )
    };
    match sys::check(error) {
        Ok(()) => NonNull::new(thread.cast()).ok_or(Errno::EAGAIN),
        Err(errno) => {
            // SAFETY: the thread does not exist.
            drop(unsafe { Box::from_raw(start) });
            Err(errno)
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe fn dm_kern_thread_join(thread: NonNull<()>) {
    // SAFETY: made to be joined, and joined once.
    unsafe { sys::kthread_join(thread.as_ptr().cast()) };
}

#[unsafe(no_mangle)]
fn dm_kern_clock_ns() -> u64 {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: memory for the answer.
    unsafe { sys::nanouptime(&raw mut now) };
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    part(now.tv_sec).wrapping_mul(1_000_000_000).wrapping_add(part(now.tv_nsec))
}

/// Each thread has its own kernel stack, of 16 KiB or so.
#[unsafe(no_mangle)]
fn dm_kern_slot() -> usize {
    let here = 0_u8;
    (&raw const here).addr() >> 14
}

#[unsafe(no_mangle)]
fn dm_kern_slot_count() -> usize {
    usize::try_from(sys::ncpu).unwrap_or(1).max(1)
}

#[unsafe(no_mangle)]
fn dm_kern_log(line: &str) {
    let line = c_string(line);
    // SAFETY: a format with its string.
    unsafe { sys::printf(c"%s\n".as_ptr(), line.as_ptr()) };
}

/// Text as C wants it, cut at a zero byte.
pub fn c_string(text: &str) -> String {
    let mut copy = String::with_capacity(text.len() + 1);
    copy.push_str(text.split('\0').next().unwrap_or(""));
    copy.push('\0');
    copy
}
