//! Aligned memory for transfers whose own is not.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::slice;

/// Aligned, zeroed bytes.
///
/// # Invariants
/// `start` is an allocation of `layout`, ours alone.
#[derive(Debug)]
pub struct Bounce {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: it owns plain bytes.
unsafe impl Send for Bounce {}
// SAFETY: a shared one is only read.
unsafe impl Sync for Bounce {}

impl Bounce {
    /// So many bytes, at an address that is a multiple of `align`; `None` for no bytes, or when
    /// there is no memory.
    #[must_use]
    pub fn new(length: usize, align: usize) -> Option<Self> {
        let layout = Layout::from_size_align(length, align).ok().filter(|l| l.size() != 0)?;
        // SAFETY: the size is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Self { start, layout })
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        // SAFETY: the allocation is initialised and ours (type invariant).
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) }
    }

    /// The bytes, to change.
    pub const fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) }
    }
}

impl Drop for Bounce {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout (type invariant).
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}
