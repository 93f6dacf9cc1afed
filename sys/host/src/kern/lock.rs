//! Locks and conditions without guards: taken in one call of the seam, given up in another.

use super::{cancel, context};
use dm::kern::raw::{Level, Wake};
use std::cell::UnsafeCell;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A lock.
///
/// # Invariants
/// `guard` is of `mutex`, and is touched only by the thread that holds it.
pub struct Lock {
    level: Level,
    guard: UnsafeCell<Option<MutexGuard<'static, ()>>>,
    mutex: Mutex<()>,
}

// SAFETY: `guard` stays with the thread that put it there (type invariant).
unsafe impl Send for Lock {}
// SAFETY: as above.
unsafe impl Sync for Lock {}

impl Lock {
    pub const fn new(level: Level) -> Self {
        Self { level, guard: UnsafeCell::new(None), mutex: Mutex::new(()) }
    }

    pub fn enter(&self) {
        context::take(self.level);
        self.put(self.mutex.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// # Safety
    /// The calling thread holds the lock.
    pub unsafe fn exit(&self) {
        // SAFETY: the caller's contract.
        drop(unsafe { self.take() });
        context::give(self.level);
    }

    fn put(&self, guard: MutexGuard<'_, ()>) {
        // SAFETY: only the lifetime changes; `exit` or `wait` drops it, and whoever frees the
        // lock promises that nobody holds it.
        let guard = unsafe { mem::transmute::<MutexGuard<'_, ()>, MutexGuard<'static, ()>>(guard) };
        // SAFETY: this thread holds the mutex, so nobody else touches `guard`.
        unsafe { *self.guard.get() = Some(guard) };
    }

    /// # Safety
    /// The calling thread holds the lock.
    unsafe fn take(&self) -> Option<MutexGuard<'static, ()>> {
        // SAFETY: the holder may touch `guard` (type invariant).
        unsafe { (*self.guard.get()).take() }
    }
}

/// A condition.
pub struct Condition(Condvar);

impl Condition {
    pub const fn new() -> Self {
        Self(Condvar::new())
    }

    pub fn signal(&self) {
        self.0.notify_one();
    }

    pub fn broadcast(&self) {
        self.0.notify_all();
    }

    /// # Safety
    /// The calling thread holds `lock`.
    pub unsafe fn wait(&self, lock: &Lock, timeout_ms: Option<u64>, interruptible: bool) -> Wake {
        context::sleep(lock.level);
        let interruptible = interruptible && cancel::possible();
        let now = Instant::now();
        let end = timeout_ms.and_then(|ms| now.checked_add(Duration::from_millis(ms)));
        if interruptible && cancel::asked() {
            return Wake::Interrupted;
        }
        // SAFETY: the caller's contract.
        let Some(mut guard) = (unsafe { lock.take() }) else { return Wake::Signalled };
        let wake = loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            let slice = match (interruptible, left) {
                (false, None) => {
                    guard = self.0.wait(guard).unwrap_or_else(PoisonError::into_inner);
                    break Wake::Signalled;
                }
                (false, Some(left)) => left,
                (true, left) => left.map_or(cancel::INTERVAL, |left| left.min(cancel::INTERVAL)),
            };
            let waited = self.0.wait_timeout(guard, slice);
            let (back, result) = waited.unwrap_or_else(PoisonError::into_inner);
            guard = back;
            if !result.timed_out() {
                break Wake::Signalled;
            }
            if left.is_some_and(|left| left <= slice) {
                break Wake::TimedOut;
            }
            if cancel::asked() {
                break Wake::Interrupted;
            }
        };
        lock.put(guard);
        wake
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    #[test]
    fn a_wait_ends_with_the_signal_the_time_or_the_client() {
        let lock = Lock::new(Level::Thread);
        let cond = Condition::new();
        lock.enter();
        // SAFETY: entered above.
        assert_eq!(unsafe { cond.wait(&lock, Some(5), false) }, Wake::TimedOut);
        // SAFETY: as above.
        assert_eq!(unsafe { cond.wait(&lock, Some(5), true) }, Wake::TimedOut);
        let gone = Arc::new(AtomicBool::new(false));
        let (tell, gone) = (Arc::clone(&gone), move || gone.load(Ordering::Relaxed));
        let teller = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            tell.store(true, Ordering::Relaxed);
        });
        // SAFETY: as above.
        let wake = cancel::with(gone, || unsafe { cond.wait(&lock, None, true) });
        assert_eq!(wake, Wake::Interrupted);
        teller.join().unwrap();
        // SAFETY: as above.
        unsafe { lock.exit() };
    }

    #[test]
    fn a_signal_wakes_all_waiters() {
        let pair = Arc::new((Lock::new(Level::Interrupt), Condition::new()));
        let woken = |pair: Arc<(Lock, Condition)>| {
            pair.0.enter();
            // SAFETY: entered above.
            let wake = unsafe { pair.1.wait(&pair.0, Some(60_000), false) };
            // SAFETY: as above.
            unsafe { pair.0.exit() };
            wake
        };
        let threads: Vec<_> = (0..3).map(|_| Arc::clone(&pair)).collect();
        let threads: Vec<_> =
            threads.into_iter().map(|pair| thread::spawn(move || woken(pair))).collect();
        while !threads.iter().all(thread::JoinHandle::is_finished) {
            pair.0.enter();
            pair.1.broadcast();
            // SAFETY: entered above.
            unsafe { pair.0.exit() };
            thread::sleep(Duration::from_millis(1));
        }
        assert!(threads.into_iter().all(|thread| thread.join().unwrap() == Wake::Signalled));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "thread context")]
    fn a_sleeping_lock_under_an_interrupt_lock_is_caught() {
        Lock::new(Level::Interrupt).enter();
        Lock::new(Level::Thread).enter();
    }
}
