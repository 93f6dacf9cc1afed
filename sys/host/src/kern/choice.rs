//! The locks, threads and atomics that the host's side of the seam is made of.
//!
//! With the feature `shuttle` they are those of the schedule checker of that name.

#[cfg(not(feature = "shuttle"))]
pub use std::{
    sync::{Condvar, Mutex, MutexGuard, atomic},
    thread,
};

#[cfg(feature = "shuttle")]
pub use shuttle::{
    sync::{Condvar, Mutex, MutexGuard, atomic},
    thread,
};

use std::sync::PoisonError;

/// Takes a lock. Data behind these locks is whole between any two statements, so that a thread
/// that panicked with one held leaves nothing half done.
pub fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
