//! The functions that the driver is linked with. Their contracts are in `dm::kern::raw`.

use super::lock::{Condition, Lock};
use super::{Running, cell};
use crate::disk::{self, Backend};
use crate::front::{self, Registry};
use crate::paths;
use dm::kern::aes::Lender;
use dm::kern::disk::{DiskInfo, Transfer};
use dm::kern::node::NodeState;
use dm::kern::raw::{CellKind, Level, Wake};
use dm_protocol::{Errno, Failure};
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, available_parallelism};
use std::time::Instant;

/// A handle of a value that [`take`] frees.
fn give<T>(value: T) -> NonNull<()> {
    NonNull::from(Box::leak(Box::new(value))).cast()
}

/// # Safety
/// `handle` came from `give` for a `T`, and is taken once.
unsafe fn take<T>(handle: NonNull<()>) -> Box<T> {
    // SAFETY: the caller's contract.
    unsafe { Box::from_raw(handle.cast().as_ptr()) }
}

#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_mutex_new(level: Level) -> NonNull<()> {
    give(Lock::new(level))
}

#[unsafe(no_mangle)]
unsafe extern "Rust" fn dm_kern_mutex_free(mutex: NonNull<()>) {
    // SAFETY: made by `dm_kern_mutex_new` and never used again (contract).
    drop(unsafe { take::<Lock>(mutex) });
}

#[unsafe(no_mangle)]
unsafe extern "Rust" fn dm_kern_mutex_enter(mutex: NonNull<()>, _: Level) {
    // SAFETY: a live lock (contract).
    let lock = unsafe { mutex.cast::<Lock>().as_ref() };
    lock.enter();
}

#[unsafe(no_mangle)]
unsafe extern "Rust" fn dm_kern_mutex_exit(mutex: NonNull<()>, _: Level) {
    // SAFETY: a live lock (contract).
    let lock = unsafe { mutex.cast::<Lock>().as_ref() };
    // SAFETY: the caller holds it (contract).
    unsafe { lock.exit() };
}

#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_cond_new() -> NonNull<()> {
    give(Condition::new())
}

#[unsafe(no_mangle)]
unsafe extern "Rust" fn dm_kern_cond_free(cond: NonNull<()>) {
    // SAFETY: made by `dm_kern_cond_new`, and nobody waits (contract).
    drop(unsafe { take::<Condition>(cond) });
}

#[unsafe(no_mangle)]
unsafe extern "Rust" fn dm_kern_cond_wait(
    cond: NonNull<()>,
    mutex: NonNull<()>,
    timeout_ms: Option<u64>,
    interruptible: bool,
) -> Wake {
    // SAFETY: a live condition (contract).
    let cond = unsafe { cond.cast::<Condition>().as_ref() };
    // SAFETY: a live lock (contract).
    let lock = unsafe { mutex.cast::<Lock>().as_ref() };
    // SAFETY: the caller holds the lock (contract).
    unsafe { cond.wait(lock, timeout_ms, interruptible) }
}

#[unsafe(no_mangle)]
unsafe extern "Rust" fn dm_kern_cond_signal(cond: NonNull<()>) {
    // SAFETY: a live condition (contract).
    let cond = unsafe { cond.cast::<Condition>().as_ref() };
    cond.signal();
}

#[unsafe(no_mangle)]
unsafe extern "Rust" fn dm_kern_cond_broadcast(cond: NonNull<()>) {
    // SAFETY: a live condition (contract).
    let cond = unsafe { cond.cast::<Condition>().as_ref() };
    cond.broadcast();
}

/// What a new thread runs.
struct Body {
    body: unsafe fn(*mut ()),
    context: *mut (),
}

// SAFETY: the driver gives the context to the new thread.
unsafe impl Send for Body {}

impl Body {
    fn run(self) {
        // SAFETY: called once, in the new thread, as the driver asked.
        unsafe { (self.body)(self.context) };
    }
}

#[unsafe(no_mangle)]
unsafe extern "Rust" fn dm_kern_thread_start(
    name: &str,
    body: unsafe fn(*mut ()),
    context: *mut (),
) -> Result<NonNull<()>, Errno> {
    let body = Body { body, context };
    let registry = Registry::current();
    let run = move || {
        let _entered = registry.enter();
        body.run();
    };
    let started = thread::Builder::new().name(name.to_owned()).spawn(run);
    started.map(give::<JoinHandle<()>>).map_err(|_| Errno::EAGAIN)
}

#[unsafe(no_mangle)]
unsafe extern "Rust" fn dm_kern_thread_join(thread: NonNull<()>) {
    // SAFETY: made by `dm_kern_thread_start`, and joined once (contract).
    let thread = unsafe { take::<JoinHandle<()>>(thread) };
    // A panic in it was reported by that thread.
    let _ = thread.join();
}

#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_clock_ns() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_slot() -> usize {
    const UNSET: usize = usize::MAX;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SLOT: Cell<usize> = const { Cell::new(UNSET) };
    }
    let slot = SLOT.get();
    if slot != UNSET {
        return slot;
    }
    let slot = NEXT.fetch_add(1, Ordering::Relaxed) & (UNSET >> 1);
    SLOT.set(slot);
    slot
}

#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_slot_count() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| available_parallelism().map_or(1, Into::into))
}

#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_log(line: &str) {
    log::info!(target: "dm", "{line}");
}

/// None: the ciphers use the processor's instructions themselves.
#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_aes() -> Option<&'static dyn Lender> {
    None
}

#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_cell_alloc(kind: CellKind) -> Option<NonNull<()>> {
    cell::take(kind)
}

#[unsafe(no_mangle)]
unsafe extern "Rust" fn dm_kern_cell_free(kind: CellKind, cell: NonNull<()>) {
    // SAFETY: given by `dm_kern_cell_alloc` for the same kind (contract).
    unsafe { cell::give(kind, cell) };
}

#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_major() -> u32 {
    front::major()
}

#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_mapped_minor(spec: &str) -> Option<u32> {
    let registry = Registry::current();
    let by_name = |name: String| registry.by_name(&name);
    let by_file = |minor| registry.by_minor(minor);
    let shown = paths::mapped_name(spec).and_then(by_name);
    shown.or_else(|| paths::mapped_file(spec).and_then(by_file)).map(|shown| shown.minor)
}

/// What a disk's handle points to.
type Handle = Arc<dyn Backend>;

#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_disk_open(spec: &str, write: bool) -> Result<DiskInfo, Failure> {
    let backend = disk::open(spec, write)?;
    let disk::Description { identity, devno, name, size, sector_size, discard } =
        backend.describe();
    let handle = give::<Handle>(backend);
    Ok(DiskInfo { handle, identity, devno, name, size, sector_size, discard })
}

#[unsafe(no_mangle)]
unsafe extern "Rust" fn dm_kern_disk_close(disk: NonNull<()>) {
    // SAFETY: made by `dm_kern_disk_open`, and no transfer is under way (contract).
    drop(unsafe { take::<Handle>(disk) });
}

#[unsafe(no_mangle)]
unsafe extern "Rust" fn dm_kern_disk_submit(disk: NonNull<()>, transfer: NonNull<Transfer>) {
    // SAFETY: an open disk (contract).
    let backend = unsafe { disk.cast::<Handle>().as_ref() };
    // SAFETY: just handed over by the driver.
    let running = unsafe { Running::new(transfer) };
    backend.submit(running);
}

#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_node_attach(minor: u32, state: &NodeState<'_>) -> Result<(), Failure> {
    Registry::current().attach(minor, state)
}

#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_node_change(minor: u32, state: &NodeState<'_>) {
    Registry::current().change(minor, state);
}

#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_node_detach(minor: u32) {
    Registry::current().detach(minor);
}
