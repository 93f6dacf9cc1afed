//! Threads, for targets that work in the background.

use super::raw;
use alloc::boxed::Box;
use core::ptr::NonNull;
use dm_protocol::Errno;

/// A running thread; dropping it waits for its end, so tell it to end first.
///
/// # Invariants
/// `raw` is a thread of the platform that is not joined yet.
pub struct Worker {
    raw: NonNull<()>,
}

// SAFETY: the platform lets any thread join another.
unsafe impl Send for Worker {}
// SAFETY: a shared worker offers nothing.
unsafe impl Sync for Worker {}

type Body = Box<dyn FnOnce() + Send>;

impl Worker {
    /// Thread context. Starts a thread that runs `body`.
    ///
    /// # Errors
    /// EAGAIN or ENOMEM when there can be no further thread.
    pub fn start(name: &str, body: impl FnOnce() + Send + 'static) -> Result<Self, Errno> {
        let body: Box<Body> = Box::new(Box::new(body));
        let context = Box::into_raw(body);
        // SAFETY: `run` takes back the box that `context` came from, once.
        match unsafe { raw::dm_kern_thread_start(name, run, context.cast()) } {
            Ok(raw) => Ok(Self { raw }),
            Err(errno) => {
                // SAFETY: the thread never ran (contract), so the box is still ours.
                drop(unsafe { Box::from_raw(context) });
                Err(errno)
            }
        }
    }
}

/// # Safety
/// `context` is a `Box<Body>` given up by the caller.
unsafe fn run(context: *mut ()) {
    // SAFETY: the caller's contract.
    let body = unsafe { Box::from_raw(context.cast::<Body>()) };
    body();
}

impl Drop for Worker {
    fn drop(&mut self) {
        // SAFETY: joined once, here (type invariant).
        unsafe { raw::dm_kern_thread_join(self.raw) };
    }
}
