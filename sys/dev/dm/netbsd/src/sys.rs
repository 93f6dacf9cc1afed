//! The kernel as this crate sees it.

/// What the headers of the NetBSD built for declare; each layout is asserted within.
#[allow(
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    dead_code,
    unused_qualifications,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
mod bindings {
    include!(env!("DM_BINDINGS"));
}
mod undeclared;

pub use bindings::*;
pub use undeclared::*;

use core::cell::UnsafeCell;
use core::ffi::c_int;
use core::sync::atomic::Ordering;
use dm::protocol::Errno;

/// Something that the kernel reads, with pointers in it that never change.
#[repr(transparent)]
pub struct Constant<T>(pub T);

// SAFETY: nobody writes to it, and what it points to is constant too.
unsafe impl<T> Sync for Constant<T> {}

/// Something that the kernel links into its lists, under its own locks.
#[repr(transparent)]
pub struct Kernels<T>(UnsafeCell<T>);

// SAFETY: after its making only the kernel touches it.
unsafe impl<T> Sync for Kernels<T> {}

impl<T> Kernels<T> {
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// For the kernel.
    pub const fn get(&self) -> *mut T {
        self.0.get()
    }
}

/// A kernel function's result.
pub fn check(error: c_int) -> Result<(), Errno> {
    match error {
        0 => Ok(()),
        _ => Err(Errno::from_number(error).unwrap_or(Errno::EIO)),
    }
}

/// A result for the kernel.
pub fn errno(result: Result<(), Errno>) -> c_int {
    result.map_or_else(Errno::number, |()| 0)
}

/// True once the kernel has panicked.
pub fn crashed() -> bool {
    !panicstr.load(Ordering::Relaxed).is_null()
}

/// The minor of a device number.
pub fn minor(dev: dev_t) -> u32 {
    dm::protocol::DevNo::from_wire(dev).minor
}

// The layouts that more than a field of ours depends on.
const _: () = assert!(size_of::<kmutex_t>() == 8, "a lock is one word on amd64");
const _: () = assert!(size_of::<modinfo>() == 32, "the loader reads 32 bytes");
const _: () = assert!(DM_CONTROL_IOCTL == 0xc010_fd00, "the number that clients use");
