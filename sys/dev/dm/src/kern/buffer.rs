//! Memory for transfers: the caller's, and a target's own.

use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use core::ptr::NonNull;
use core::slice;
use dm_protocol::{Errno, SECTOR_SIZE, Sectors};

/// Memory of a target, zeroed, aligned for transfers to every disk.
///
/// # Invariants
/// `start` is an allocation of `layout`, ours alone.
#[derive(Debug)]
pub struct Buffer {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: it owns plain bytes.
unsafe impl Send for Buffer {}
// SAFETY: a shared buffer is only read.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// The alignment, in bytes.
    pub const ALIGN: usize = 4096;

    /// Thread context. A buffer of so many sectors.
    ///
    /// # Errors
    /// ENOMEM; EINVAL for a length of zero.
    pub fn new(length: Sectors) -> Result<Self, Errno> {
        let bytes = length.bytes().and_then(|b| usize::try_from(b).ok()).ok_or(Errno::ENOMEM)?;
        if bytes == 0 {
            return Err(Errno::EINVAL);
        }
        let layout = Layout::from_size_align(bytes, Self::ALIGN).map_err(|_| Errno::ENOMEM)?;
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        let start = NonNull::new(start).ok_or(Errno::ENOMEM)?;
        Ok(Self { start, layout })
    }

    /// Its length.
    #[must_use]
    pub const fn length(&self) -> Sectors {
        Sectors(self.layout.size() as u64 / SECTOR_SIZE)
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        // SAFETY: the allocation is initialised and ours (type invariant).
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) }
    }

    /// Its bytes, to change.
    pub const fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) }
    }

    pub(super) const fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

/// The most sectors that are written from one place that holds zeroes.
pub const ZEROES_MAX: Sectors = Sectors(128);

/// Zeroes, aligned as a [`Buffer`] is.
#[repr(align(4096))]
struct Zeroes([u8; (ZEROES_MAX.0 * SECTOR_SIZE) as usize]);

static ZEROES: Zeroes = Zeroes([0; _]);

/// Where [`ZEROES_MAX`] sectors of zeroes are, only to be read.
#[must_use]
pub const fn zeroes() -> *mut u8 {
    ZEROES.0.as_ptr().cast_mut()
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout (type invariant).
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}
