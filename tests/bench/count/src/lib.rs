//! A plugin of qemu's: counts a machine's instructions by place, for one processor.
//!
//! `-plugin libdm_count.so,counts=PATH`: the counts lie in PATH, to be read while the machine
//! runs. It is an array of entries, three native 64-bit words each: the address of a block of
//! instructions, how many it has, and how many instructions were begun there.

use rustix::fs::{Mode, OFlags};
use rustix::mm::{MapFlags, ProtFlags};
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::{Mutex, OnceLock};

/// The most blocks that are told apart; the last entry takes all others.
const ENTRIES: usize = 1 << 18;

/// Of the plugin interface that this is made for.
const VERSION: c_int = 1;

/// `QEMU_PLUGIN_INLINE_ADD_U64`.
const ADD: c_uint = 0;

/// The version, where qemu looks for it.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "qemu's name")]
pub static qemu_plugin_version: c_int = VERSION;

/// `struct qemu_plugin_tb`: a block of instructions.
#[repr(C)]
pub struct Block {
    _private: [u8; 0],
}

type Translated = unsafe extern "C" fn(u64, *mut Block);

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, callback: Translated);
    fn qemu_plugin_register_vcpu_tb_exec_inline(
        block: *mut Block,
        op: c_uint,
        to: *mut c_void,
        add: u64,
    );
    fn qemu_plugin_tb_vaddr(block: *const Block) -> u64;
    fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
}

/// One block: address, length, count.
type Entry = [u64; 3];

/// Where the counts are.
struct Counts {
    first: *mut Entry,
    known: Mutex<HashMap<(u64, u64), usize>>,
}

// SAFETY: the entries are written by the machine's one processor, and by who holds `known`.
unsafe impl Sync for Counts {}
// SAFETY: as above.
unsafe impl Send for Counts {}

static COUNTS: OnceLock<Counts> = OnceLock::new();

impl Counts {
    /// An entry for a block: always the same one.
    fn entry(&self, address: u64, length: u64) -> *mut Entry {
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let next = known.len().min(ENTRIES - 1);
        let number = *known.entry((address, length)).or_insert(next);
        let entry = self.first.wrapping_add(number);
        // SAFETY: one of `ENTRIES`, and nobody else writes these two words meanwhile.
        unsafe { entry.cast::<[u64; 2]>().write([address, length]) };
        entry
    }
}

/// # Safety
/// As qemu tells of a block that it has translated.
unsafe extern "C" fn translated(_: u64, block: *mut Block) {
    let Some(counts) = COUNTS.get() else { return };
    // SAFETY: the caller's contract.
    let address = unsafe { qemu_plugin_tb_vaddr(block) };
    // SAFETY: the caller's contract.
    let length = unsafe { qemu_plugin_tb_n_insns(block) } as u64;
    let count = counts.entry(address, length).cast::<u64>().wrapping_add(2);
    // SAFETY: as above; the count stays as long as the process.
    unsafe { qemu_plugin_register_vcpu_tb_exec_inline(block, ADD, count.cast(), length) };
}

/// Maps the file of that name, as long as all entries.
fn map(path: &CStr) -> rustix::io::Result<*mut Entry> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC;
    let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))?;
    let bytes = ENTRIES * size_of::<Entry>();
    rustix::fs::ftruncate(&file, bytes as u64)?;
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new place, for a file that is ours.
    let place = unsafe {
        rustix::mm::mmap(std::ptr::null_mut(), bytes, access, MapFlags::SHARED, &file, 0)
    }?;
    Ok(place.cast())
}

/// # Safety
/// As qemu loads plugins: `argc` words at `argv`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _: *const c_void,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    for nr in 0..usize::try_from(argc).unwrap_or(0) {
        // SAFETY: one of `argc` words.
        let word = unsafe { *argv.wrapping_add(nr) };
        // SAFETY: a C string.
        let word = unsafe { CStr::from_ptr(word) };
        let Some(path) = word.to_bytes_with_nul().strip_prefix(b"counts=") else { continue };
        let Ok(path) = CStr::from_bytes_with_nul(path) else { continue };
        match map(path) {
            Ok(first) => {
                let counts = Counts { first, known: Mutex::new(HashMap::new()) };
                if COUNTS.set(counts).is_err() {
                    return 1;
                }
            }
            Err(why) => {
                eprintln!("dm-count: {}: {why}", path.to_string_lossy());
                return 1;
            }
        }
        // SAFETY: our own number and a function that stays.
        unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, translated) };
        return 0;
    }
    eprintln!("dm-count: counts=PATH is missing");
    1
}
