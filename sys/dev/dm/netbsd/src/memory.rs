//! The allocator, over kmem(9). Thread context only.

use crate::sys;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr;

/// What kmem(9) aligns to.
const ALIGNED: usize = 8;
/// More than this at once would rather wait for ever than fail.
const LARGEST: usize = 16 << 20;

struct Kmem;

#[global_allocator]
static KMEM: Kmem = Kmem;

/// What is asked of kmem(9) for `layout`: room to align, and for where the memory began.
fn padded(layout: Layout) -> usize {
    match layout.align() {
        ..=ALIGNED => layout.size(),
        align => layout.size() + align + size_of::<usize>(),
    }
}

// SAFETY: memory from kmem(9) is ours until freed with its size, which `padded` repeats.
unsafe impl GlobalAlloc for Kmem {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LARGEST {
            return ptr::null_mut();
        }
        // SAFETY: a size that is not zero (contract of the trait); we may sleep.
        let raw = unsafe { sys::kmem_alloc(padded(layout), sys::KM_SLEEP) }.cast::<u8>();
        if raw.is_null() || layout.align() <= ALIGNED {
            return raw;
        }
        let behind = raw.wrapping_add(size_of::<usize>());
        let start = behind.wrapping_add(behind.align_offset(layout.align()));
        // SAFETY: the word before the aligned start lies within the padding.
        unsafe { start.cast::<*mut u8>().wrapping_sub(1).write(raw) };
        start
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        let raw = match layout.align() {
            ..=ALIGNED => memory,
            // SAFETY: `alloc` wrote it there.
            _ => unsafe { memory.cast::<*mut u8>().wrapping_sub(1).read() },
        };
        // SAFETY: from kmem(9), of this size.
        unsafe { sys::kmem_free(raw.cast(), padded(layout)) };
    }
}
