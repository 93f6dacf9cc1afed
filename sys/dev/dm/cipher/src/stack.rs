//! What ciphers leave on the stack: compilers put parts of keys there when registers run short.

use core::hint::black_box;

/// As deep as a cipher at work goes: software takes fewer blocks at once, and what is compiled
/// for tests takes more of the stack. In a kernel 3576 bytes were seen, and 4304 for the
/// making; the module made for tests fails when there is more.
const WORK: usize = match (cfg!(aes_backend = "soft"), cfg!(debug_assertions)) {
    (true, _) => 4096,
    (_, false) => 9216,
    (_, true) => 32768,
};
/// As deep as the making of a cipher goes.
const MAKING: usize = if cfg!(aes_backend = "soft") { 5120 } else { 8192 };

/// Runs a cipher; what it left on the stack is overwritten.
#[inline(always)]
pub(crate) fn work<R>(act: impl FnOnce() -> R) -> R {
    let result = apart(act);
    wipe::<WORK>();
    result
}

/// Makes a cipher; what that left on the stack is overwritten.
#[inline(always)]
pub(crate) fn making<R>(act: impl FnOnce() -> R) -> R {
    let result = apart(act);
    wipe::<MAKING>();
    result
}

/// In a frame of its own, which begins where that of `wipe` does.
#[inline(never)]
fn apart<R>(act: impl FnOnce() -> R) -> R {
    act()
}

#[inline(never)]
fn wipe<const BYTES: usize>() {
    black_box(&mut [0_u8; BYTES]);
}
