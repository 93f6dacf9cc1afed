//! Counts allocations that the driver makes where it must not: below strategy, in completions,
//! and while it holds a lock of any context; and how much memory is in use.

use crate::sync::{Local, local, local_add, panicking};
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The system's allocator, with an eye on who calls.
struct Watched;

#[global_allocator]
static ALLOCATOR: Watched = Watched;

thread_local! {
    static WRONG: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}
static TOTAL: AtomicU64 = AtomicU64::new(0);
static REFUSED: AtomicUsize = AtomicUsize::new(0);
static USED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// Bytes that the whole process has allocated, the test's own among them.
#[must_use]
pub fn used() -> usize {
    USED.load(Ordering::Relaxed)
}

/// The most that were in use since this was asked last.
#[must_use]
pub fn most_used() -> usize {
    MOST.swap(used(), Ordering::Relaxed)
}

fn took(bytes: usize) {
    let used = USED.fetch_add(bytes, Ordering::Relaxed).wrapping_add(bytes);
    MOST.fetch_max(used, Ordering::Relaxed);
}

fn gave(bytes: usize) {
    USED.fetch_sub(bytes, Ordering::Relaxed);
}

/// From now on there is no memory for so many bytes, in the whole process; 0 ends that.
pub fn refuse(bytes: usize) {
    REFUSED.store(bytes, Ordering::SeqCst);
}

fn refused(layout: Layout) -> bool {
    layout.size() == REFUSED.load(Ordering::Relaxed)
}

fn watch() {
    let forbidden = local(Local::Strategy) > 0 || local(Local::Spin) > 0;
    if forbidden && local(Local::Exempt) == 0 {
        TOTAL.fetch_add(1, Ordering::Relaxed);
        let _ = WRONG.try_with(|wrong| wrong.set(wrong.get() + 1));
    }
}

// SAFETY: everything is the system allocator's.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        watch();
        if refused(layout) {
            return ptr::null_mut();
        }
        took(layout.size());
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        watch();
        took(layout.size());
        // SAFETY: the caller's contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        watch();
        took(size);
        gave(layout.size());
        // SAFETY: the caller's contract.
        unsafe { System.realloc(start, layout, size) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        watch();
        gave(layout.size());
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(start, layout) };
    }
}

/// Runs a part of the test's own, which may allocate anywhere.
pub fn exempt<T>(act: impl FnOnce() -> T) -> T {
    /// Ends the exemption, also when `act` panics.
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            local_add(Local::Exempt, -1);
        }
    }
    local_add(Local::Exempt, 1);
    let _end = End;
    act()
}

/// Runs a part of the driver in strategy or completion context: it may neither sleep, which
/// the seam asserts, nor allocate nor free, which is asserted here.
pub fn strategy<T>(act: impl FnOnce() -> T) -> T {
    /// Leaves the context, also when `act` panics.
    struct End(u32);
    impl Drop for End {
        fn drop(&mut self) {
            local_add(Local::Strategy, -1);
            let wrong = WRONG.with(std::cell::Cell::get) - self.0;
            if wrong != 0 && !panicking() {
                local_add(Local::Exempt, 1);
                panic!("{wrong} allocations or frees below strategy");
            }
        }
    }
    // The test's own exemption ends where the driver begins.
    let exempted = local(Local::Exempt) as i32;
    local_add(Local::Exempt, -exempted);
    let end = End(WRONG.with(std::cell::Cell::get));
    local_add(Local::Strategy, 1);
    let result = act();
    drop(end);
    local_add(Local::Exempt, exempted);
    result
}

/// How often the driver allocated where it must not, in the whole process.
#[must_use]
pub fn violations() -> u64 {
    TOTAL.load(Ordering::Relaxed)
}
