//! The seam of crate `dm` on std Rust.
//!
//! `seam` holds the functions that the driver is linked with; the other modules are what they
//! stand on. All but a few `unsafe` of this crate is here, behind safe faces: [`Running`] for
//! transfers, [`cancel`] for waits that a client may end, [`cell`] and [`context`] for tests.

mod bounce;
pub mod cancel;
pub mod cell;
pub mod context;

mod lock;
#[cfg(target_os = "netbsd")]
mod netbsd;
mod running;
mod seam;
mod system;
#[cfg(target_os = "linux")]
mod uring;
#[cfg(not(target_os = "linux"))]
#[path = "kern/no_uring.rs"]
mod uring;

pub use bounce::Bounce;
#[cfg(target_os = "netbsd")]
pub(crate) use netbsd::{block_discard, block_flush, block_sector_size, block_size, file_flush};
pub use running::Running;
use std::sync::{Mutex, MutexGuard, PoisonError};
#[cfg(target_os = "linux")]
pub(crate) use system::block_discard;
pub use system::inherited;
pub(crate) use system::peer_user;
pub(crate) use uring::Uring;

/// Takes a lock of the host's own. What is behind them is whole between any two statements, so
/// that a thread that panicked with one held leaves nothing half done.
pub(crate) fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
