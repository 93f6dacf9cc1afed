//! Children that wait.

use super::{Child, ChildCell};
use core::mem;
use core::ptr::{self, NonNull};

/// Children that wait, first in first out. Dropping it ends them with EIO.
#[derive(Default)]
pub struct ChildQueue {
    first: Option<NonNull<ChildCell>>,
    last: Option<NonNull<ChildCell>>,
}

// SAFETY: it owns children, which are `Send`.
unsafe impl Send for ChildQueue {}

impl ChildQueue {
    /// An empty queue.
    pub(crate) const fn new() -> Self {
        Self { first: None, last: None }
    }

    /// Appends.
    pub(crate) fn push(&mut self, child: Child) {
        let cell = child.cell;
        mem::forget(child);
        match self.last.replace(cell) {
            // SAFETY: a queued child is ours until popped.
            Some(last) => unsafe { (*last.as_ptr()).link = cell.as_ptr() },
            None => self.first = Some(cell),
        }
    }

    /// Takes the first.
    pub(crate) fn pop(&mut self) -> Option<Child> {
        let cell = self.first?;
        // SAFETY: a queued child is ours until popped.
        let link = unsafe { &mut (*cell.as_ptr()).link };
        self.first = NonNull::new(mem::replace(link, ptr::null_mut()));
        if self.first.is_none() {
            self.last = None;
        }
        Some(Child { cell })
    }

    /// True when none waits.
    pub(crate) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

impl Drop for ChildQueue {
    fn drop(&mut self) {
        while let Some(child) = self.pop() {
            drop(child);
        }
    }
}
