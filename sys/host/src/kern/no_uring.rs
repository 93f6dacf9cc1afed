//! Systems without io_uring.

use super::Running;
use crate::disk::file::FileDisk;
use std::convert::Infallible;
use std::sync::Arc;

/// There is none.
pub struct Uring(Infallible);

impl Uring {
    /// The queue, if this kernel has one.
    pub fn process() -> Option<&'static Self> {
        None
    }

    /// Queues a transfer.
    pub fn submit(&self, _: Arc<FileDisk>, _: Running) {
        match self.0 {}
    }

    /// Is the calling thread the one that takes completions?
    pub fn is_own_thread() -> bool {
        false
    }
}
