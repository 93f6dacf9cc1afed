//! What the driver's locks, conditions and threads are made of, and waiting for a request.
//!
//! With the feature `shuttle` they are those of the schedule checker of that name. The host's own
//! locks stay the standard library's: nothing is waited for while one is held.

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
