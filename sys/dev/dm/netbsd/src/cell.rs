//! Memory for requests, children and buffers: pools that never wait, with a reserve.

use crate::glue;
use crate::sys;
use core::alloc::Layout;
use core::ffi::{CStr, c_int};
use core::ptr::{self, NonNull};
#[cfg(feature = "scarce")]
use core::sync::atomic::{AtomicUsize, Ordering};
use dm::kern::cell;
use dm::kern::raw::CellKind;

/// How many of each kind are kept in reserve.
const RESERVE: c_int = 64;
/// `POOL_PADDR_INVALID` of sys/pool.h.
const NO_ADDRESS: sys::paddr_t = sys::paddr_t::MAX;

/// A pool_cache(9).
///
/// # Invariants
/// `cache` is a pool of ours for objects of one layout.
pub struct Pool {
    cache: sys::pool_cache_t,
    #[cfg(feature = "scarce")]
    few: Few,
}

/// How many more objects a pool gives away, where that is to be few: so that requests wait for
/// memory, and begin in a completion, as seldom happens otherwise.
#[cfg(feature = "scarce")]
struct Few(AtomicUsize);

#[cfg(feature = "scarce")]
impl Few {
    const fn new() -> Self {
        Self(AtomicUsize::new(4))
    }

    fn take(&self) -> bool {
        self.0
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok()
    }

    fn give(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

impl Pool {
    /// Thread context. A pool for objects of this layout.
    pub fn new(layout: Layout, name: &'static CStr) -> Self {
        let size = layout.pad_to_align().size();
        let align = layout.align() as u32;
        // SAFETY: a constant name, and neither allocator nor constructor.
        let cache = unsafe {
            sys::pool_cache_init(
                size,
                align,
                0,
                0,
                name.as_ptr(),
                ptr::null_mut(),
                sys::IPL_VM as c_int,
                None,
                None,
                ptr::null_mut(),
            )
        };
        // SAFETY: our pool.
        unsafe { sys::pool_cache_setlowat(cache, RESERVE) };
        Self {
            cache,
            #[cfg(feature = "scarce")]
            few: Few::new(),
        }
    }

    /// Any context. Memory, if there is some now.
    pub fn get(&self) -> Option<NonNull<()>> {
        #[cfg(feature = "scarce")]
        if !self.few.take() {
            return None;
        }
        // SAFETY: our pool (type invariant); nobody wants the physical address.
        let memory = unsafe {
            sys::pool_cache_get_paddr(self.cache, sys::PR_NOWAIT as c_int, ptr::null_mut())
        };
        let memory = NonNull::new(memory.cast());
        #[cfg(feature = "scarce")]
        if memory.is_none() {
            self.few.give();
        }
        memory
    }

    /// Any context. Takes memory back.
    ///
    /// # Safety
    /// It came from this pool and is not used any more.
    pub unsafe fn put(&self, memory: NonNull<()>) {
        // SAFETY: the caller's contract.
        unsafe { sys::pool_cache_put_paddr(self.cache, memory.as_ptr().cast(), NO_ADDRESS) };
        #[cfg(feature = "scarce")]
        self.few.give();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: our pool, and all its objects are back.
        unsafe { sys::pool_cache_destroy(self.cache) };
    }
}

/// The pools of the driver's own cells.
pub struct Cells {
    io: Pool,
    child: Pool,
}

impl Cells {
    pub fn new() -> Self {
        Self {
            io: Pool::new(cell::layout(CellKind::Io), c"dmio"),
            child: Pool::new(cell::layout(CellKind::Child), c"dmchild"),
        }
    }

    const fn of(&self, kind: CellKind) -> &Pool {
        match kind {
            CellKind::Io => &self.io,
            CellKind::Child => &self.child,
        }
    }
}

#[unsafe(no_mangle)]
fn dm_kern_cell_alloc(kind: CellKind) -> Option<NonNull<()>> {
    glue::get()?.cells.of(kind).get()
}

#[unsafe(no_mangle)]
unsafe fn dm_kern_cell_free(kind: CellKind, cell: NonNull<()>) {
    if let Some(glue) = glue::get() {
        // SAFETY: from the same pool (contract of the seam).
        unsafe { glue.cells.of(kind).put(cell) };
    }
}
