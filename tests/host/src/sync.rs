//! Threads and locks: the standard library's, or those of the `shuttle` scheduler.
//!
//! The one place that chooses. Shuttle runs all threads of a test on one, so what is kept for
//! each thread ([`Local`]) is kept only with the standard library's.

#[cfg(not(feature = "shuttle"))]
pub use std::{
    sync::{Condvar, Mutex, MutexGuard},
    thread,
};

#[cfg(feature = "shuttle")]
pub use shuttle::{
    sync::{Condvar, Mutex, MutexGuard},
    thread,
};

use std::cell::Cell;
use std::time::Duration;

/// What is checked for each thread.
#[derive(Clone, Copy, Debug)]
pub enum Local {
    /// Depth of strategy and completion calls.
    Strategy,
    /// Locks of any context that are held.
    Spin,
    /// While not zero, allocations are not counted as the driver's.
    Exempt,
}

thread_local! {
    static LOCAL: [Cell<u32>; 3] = const { [const { Cell::new(0) }; 3] };
}

/// Is there a count for each thread?
pub const LOCAL_IS_KEPT: bool = cfg!(not(feature = "shuttle"));

/// Adds to a thread's count.
pub fn local_add(which: Local, by: i32) {
    if LOCAL_IS_KEPT {
        let _ = LOCAL.try_with(|cells| {
            let cell = &cells[which as usize];
            cell.set(cell.get().wrapping_add_signed(by));
        });
    }
}

/// A thread's count.
#[must_use]
pub fn local(which: Local) -> u32 {
    LOCAL.try_with(|cells| cells[which as usize].get()).unwrap_or(0)
}

/// Takes a lock, poisoned or not.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Waits for a signal.
pub fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condition.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Waits for a signal, at most for some time; says if it is over. Shuttle knows no time: it
/// just lets others run.
pub fn wait_for<'a, T>(
    condition: &Condvar,
    guard: MutexGuard<'a, T>,
    time: Duration,
) -> (MutexGuard<'a, T>, bool) {
    if cfg!(feature = "shuttle") {
        return (wait(condition, guard), false);
    }
    let (guard, result) =
        condition.wait_timeout(guard, time).unwrap_or_else(std::sync::PoisonError::into_inner);
    (guard, result.timed_out())
}

/// Is this test failing already?
#[must_use]
pub fn panicking() -> bool {
    use std::thread::panicking as failing;
    failing()
}

/// A number that differs between the threads that run at the same time.
#[cfg(feature = "shuttle")]
#[must_use]
pub fn slot() -> usize {
    thread::current().id().into()
}

/// A number that differs between the threads that run at the same time.
#[cfg(not(feature = "shuttle"))]
#[must_use]
pub fn slot() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SLOT: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    SLOT.with(|slot| *slot)
}
