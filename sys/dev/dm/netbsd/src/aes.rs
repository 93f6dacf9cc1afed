//! The kernel's own AES, for crypt.
//!
//! NetBSD 10 has aes(9), older ones have the cipher under its first name. A kernel may have
//! been made without, so the functions are looked up by name when the driver starts; and the
//! driver compares what they do with its own before it uses them.

mod rijndael;
mod service;

use crate::glue;
use crate::sys;
use alloc::boxed::Box;
use core::ffi::{CStr, c_ulong};
use core::mem;
use core::ptr;
use dm::kern::aes::Lender;

/// Thread context. What this kernel has.
pub fn find() -> Option<Box<dyn Lender>> {
    match service::Functions::find() {
        Some(found) => Some(Box::new(found)),
        None => rijndael::Functions::find().map(|found| Box::new(found) as _),
    }
}

/// Thread context. A function that the kernel itself has, not one of its modules, which go.
///
/// # Safety
/// `F` is a pointer to what any kernel calls a function of this name.
unsafe fn function<F: Copy>(name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<usize>(), "a pointer to a function") };
    let mut value: c_ulong = 0;
    // SAFETY: names, and memory for the answer.
    let error = unsafe {
        sys::ksyms_getval(c"netbsd".as_ptr(), name.as_ptr(), &raw mut value, sys::KSYMS_EXTERN)
    };
    if error != 0 || value == 0 {
        return None;
    }
    let address: *const () = ptr::with_exposed_provenance(value as usize);
    // SAFETY: it has the size of a pointer, and is one to such a function (contract).
    Some(unsafe { mem::transmute_copy::<*const (), F>(&address) })
}

#[unsafe(no_mangle)]
fn dm_kern_aes() -> Option<&'static dyn Lender> {
    glue::get()?.aes.as_deref()
}
