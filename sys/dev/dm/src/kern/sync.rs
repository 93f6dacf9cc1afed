//! Locks and conditions.

pub use super::atomic;
use super::raw::{self, Level, Wake};
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// A lock for thread context; its holder may sleep.
pub type Mutex<T> = Lock<T, Thread>;
/// A guard of [`Mutex`].
pub type MutexGuard<'a, T> = Guard<'a, T, Thread>;
/// A lock for any context; its holder neither sleeps nor allocates.
pub type SpinMutex<T> = Lock<T, Interrupt>;

/// Marks [`Mutex`].
#[derive(Debug)]
pub struct Thread;
/// Marks [`SpinMutex`].
#[derive(Debug)]
pub struct Interrupt;

/// The level that a marker stands for.
pub trait Marker {
    /// The level.
    const LEVEL: Level;
}
impl Marker for Thread {
    const LEVEL: Level = Level::Thread;
}
impl Marker for Interrupt {
    const LEVEL: Level = Level::Interrupt;
}

/// Data behind a lock.
///
/// # Invariants
/// `raw` is a lock of the platform, ours alone; `data` is touched only by its holder.
pub struct Lock<T, L: Marker> {
    raw: NonNull<()>,
    level: PhantomData<L>,
    data: UnsafeCell<T>,
}

// SAFETY: the platform's locks may be used from every thread, and move the data between them.
unsafe impl<T: Send, L: Marker> Send for Lock<T, L> {}
// SAFETY: the lock lets one thread at a time reach the data.
unsafe impl<T: Send, L: Marker> Sync for Lock<T, L> {}

/// Holding a lock. Not `Send`: the taker gives it up.
#[must_use]
pub struct Guard<'a, T, L: Marker> {
    lock: &'a Lock<T, L>,
    stay: PhantomData<*const ()>,
}

impl<T, L: Marker> Lock<T, L> {
    /// A free lock.
    pub fn new(data: T) -> Self {
        let raw = raw::dm_kern_mutex_new(L::LEVEL);
        Self { raw, level: PhantomData, data: UnsafeCell::new(data) }
    }

    /// Takes the lock.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T, L> {
        // SAFETY: `raw` is a live lock (type invariant).
        unsafe { raw::dm_kern_mutex_enter(self.raw, L::LEVEL) };
        Guard { lock: self, stay: PhantomData }
    }

    /// The data of a lock that nobody else can reach.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }
}

impl<T, L: Marker> Drop for Lock<T, L> {
    fn drop(&mut self) {
        // SAFETY: nobody holds a lock that is dropped, since a guard borrows it.
        unsafe { raw::dm_kern_mutex_free(self.raw) };
    }
}

impl<T, L: Marker> Deref for Guard<'_, T, L> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T, L: Marker> DerefMut for Guard<'_, T, L> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock, and is borrowed mutably.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T, L: Marker> Drop for Guard<'_, T, L> {
    fn drop(&mut self) {
        // SAFETY: the guard holds the lock and ends here.
        unsafe { raw::dm_kern_mutex_exit(self.lock.raw, L::LEVEL) };
    }
}

/// Something to wait for while a lock is given up.
///
/// # Invariants
/// `raw` is a condition of the platform, ours alone.
pub struct Condition {
    raw: NonNull<()>,
}

// SAFETY: the platform's conditions may be used from every thread.
unsafe impl Send for Condition {}
// SAFETY: as above; they take no data with them.
unsafe impl Sync for Condition {}

impl Condition {
    /// A condition that nobody waits for.
    #[must_use]
    pub fn new() -> Self {
        Self { raw: raw::dm_kern_cond_new() }
    }

    /// Thread context. Waits for a signal; look at what is waited for before and after.
    pub fn wait<T, L: Marker>(&self, guard: &mut Guard<'_, T, L>) {
        // SAFETY: both are live, and the guard holds the lock.
        unsafe { raw::dm_kern_cond_wait(self.raw, guard.lock.raw, None, false) };
    }

    /// Thread context. As [`Condition::wait`], for at most so many milliseconds.
    pub fn wait_ms<T, L: Marker>(&self, guard: &mut Guard<'_, T, L>, timeout_ms: u64) -> Wake {
        // SAFETY: both are live, and the guard holds the lock.
        unsafe { raw::dm_kern_cond_wait(self.raw, guard.lock.raw, Some(timeout_ms), false) }
    }

    /// Thread context. As [`Condition::wait`], ends also when the caller's client gives up.
    pub fn wait_interruptible<T, L: Marker>(
        &self,
        guard: &mut Guard<'_, T, L>,
        timeout_ms: Option<u64>,
    ) -> Wake {
        // SAFETY: both are live, and the guard holds the lock.
        unsafe { raw::dm_kern_cond_wait(self.raw, guard.lock.raw, timeout_ms, true) }
    }

    /// Wakes one waiter at least, for what any of them can do. The caller holds their lock.
    pub fn signal(&self) {
        // SAFETY: `raw` is a live condition (type invariant).
        unsafe { raw::dm_kern_cond_signal(self.raw) };
    }

    /// Wakes all waiters. The caller holds their lock, or nobody waits.
    pub fn broadcast(&self) {
        // SAFETY: `raw` is a live condition (type invariant).
        unsafe { raw::dm_kern_cond_broadcast(self.raw) };
    }
}

impl Default for Condition {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Condition {
    fn drop(&mut self) {
        // SAFETY: waiters borrow the condition, so there is none.
        unsafe { raw::dm_kern_cond_free(self.raw) };
    }
}
