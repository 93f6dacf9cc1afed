//! The least surroundings that the driver runs in: disks that end every transfer at once and
//! keep nothing, so that what is measured is the driver.

use crate::request;
use dm::kern::aes::Lender;
use dm::kern::cell::layout;
use dm::kern::disk::{DiskInfo, Transfer};
use dm::kern::node::NodeState;
use dm::kern::raw::{CellKind, Level, Wake};
use dm_protocol::{Errno, Failure, Sectors};
use std::alloc::{alloc, dealloc};
use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The block major number of mapped devices.
pub const MAJOR: u32 = 253;

/// The size of every disk.
pub const DISK_SECTORS: Sectors = Sectors(1 << 40);

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn give<T>(value: T) -> NonNull<()> {
    NonNull::from(Box::leak(Box::new(value))).cast()
}

/// # Safety
/// `handle` came from `give` for a `T`, and is taken once.
unsafe fn take<T>(handle: NonNull<()>) -> Box<T> {
    // SAFETY: the caller's contract.
    unsafe { Box::from_raw(handle.cast().as_ptr()) }
}

/// A lock that nobody waits for costs no call of the system, as one of a kernel's.
#[derive(Default)]
struct Lock {
    state: Mutex<Held>,
    free: Condvar,
}

#[derive(Default)]
struct Held {
    held: bool,
    waiting: usize,
}

impl Lock {
    fn enter(&self) {
        let mut state = hold(&self.state);
        while state.held {
            state.waiting += 1;
            state = self.free.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        state.held = true;
    }

    fn exit(&self) {
        let mut state = hold(&self.state);
        state.held = false;
        if state.waiting != 0 {
            self.free.notify_one();
        }
    }
}

#[derive(Default)]
struct Condition {
    signals: Mutex<u64>,
    moved: Condvar,
}

#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_mutex_new(_level: Level) -> NonNull<()> {
    give(Lock::default())
}

#[unsafe(no_mangle)]
unsafe extern "Rust" fn dm_kern_mutex_free(mutex: NonNull<()>) {
    // SAFETY: made by `dm_kern_mutex_new` and never used again (contract).
    drop(unsafe { take::<Lock>(mutex) });
}

#[unsafe(no_mangle)]
unsafe extern "Rust" fn dm_kern_mutex_enter(mutex: NonNull<()>, _: Level) {
    // SAFETY: a live lock (contract).
    unsafe { mutex.cast::<Lock>().as_ref() }.enter();
}

#[unsafe(no_mangle)]
unsafe extern "Rust" fn dm_kern_mutex_exit(mutex: NonNull<()>, _: Level) {
    // SAFETY: a live lock (contract).
    unsafe { mutex.cast::<Lock>().as_ref() }.exit();
}

#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_cond_new() -> NonNull<()> {
    give(Condition::default())
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
    _interruptible: bool,
) -> Wake {
    // SAFETY: a live condition (contract).
    let cond = unsafe { cond.cast::<Condition>().as_ref() };
    // SAFETY: a live lock (contract).
    let lock = unsafe { mutex.cast::<Lock>().as_ref() };
    let signals = hold(&cond.signals);
    let seen = *signals;
    lock.exit();
    let time = Duration::from_millis(timeout_ms.unwrap_or(u64::from(u32::MAX)));
    let waited = cond.moved.wait_timeout_while(signals, time, |signals| *signals == seen);
    let (signals, ended) = waited.unwrap_or_else(PoisonError::into_inner);
    drop(signals);
    lock.enter();
    if ended.timed_out() { Wake::TimedOut } else { Wake::Signalled }
}

#[unsafe(no_mangle)]
unsafe extern "Rust" fn dm_kern_cond_signal(cond: NonNull<()>) {
    // SAFETY: a live condition (contract).
    let cond = unsafe { cond.cast::<Condition>().as_ref() };
    *hold(&cond.signals) += 1;
    cond.moved.notify_one();
}

#[unsafe(no_mangle)]
unsafe extern "Rust" fn dm_kern_cond_broadcast(cond: NonNull<()>) {
    // SAFETY: a live condition (contract).
    let cond = unsafe { cond.cast::<Condition>().as_ref() };
    *hold(&cond.signals) += 1;
    cond.moved.notify_all();
}

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
    let started = thread::Builder::new().name(name.to_owned()).spawn(move || body.run());
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
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SLOT: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    match SLOT.get() {
        usize::MAX => {
            let slot = NEXT.fetch_add(1, Ordering::Relaxed);
            SLOT.set(slot);
            slot
        }
        slot => slot,
    }
}

#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_slot_count() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| thread::available_parallelism().map_or(1, Into::into))
}

#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_log(line: &str) {
    eprintln!("{line}");
}

#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_aes() -> Option<&'static dyn Lender> {
    None
}

thread_local! {
    static CELLS: RefCell<[Vec<NonNull<()>>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// How many free cells of a kind a thread keeps.
const KEEP: usize = 64;

#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_cell_alloc(kind: CellKind) -> Option<NonNull<()>> {
    let kept = CELLS.with_borrow_mut(|cells| cells[kind as usize].pop());
    // SAFETY: a cell's size is not zero.
    kept.or_else(|| NonNull::new(unsafe { alloc(layout(kind)) }).map(NonNull::cast))
}

#[unsafe(no_mangle)]
unsafe extern "Rust" fn dm_kern_cell_free(kind: CellKind, cell: NonNull<()>) {
    let kept = CELLS.with_borrow_mut(|cells| {
        let cells = &mut cells[kind as usize];
        cells.reserve(KEEP.saturating_sub(cells.len()));
        let room = cells.len() < KEEP;
        if room {
            cells.push(cell);
        }
        room
    });
    if !kept {
        // SAFETY: allocated with this layout by `dm_kern_cell_alloc` (contract).
        unsafe { dealloc(cell.as_ptr().cast(), layout(kind)) };
    }
}

#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_major() -> u32 {
    MAJOR
}

#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_mapped_minor(_spec: &str) -> Option<u32> {
    None
}

/// A disk named `null` and a number, `ram` and how many bytes it keeps, or `slow` and how many
/// microseconds it takes; the same number is the same disk.
#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_disk_open(spec: &str, _write: bool) -> Result<DiskInfo, Failure> {
    let number = |prefix| spec.strip_prefix(prefix).and_then(|number| number.parse().ok());
    let bytes: usize = number("ram").unwrap_or(0);
    let slow: Option<usize> = number("slow");
    let number = number("null").or_else(|| number("ram")).or(slow);
    let number = number.ok_or_else(|| Failure::new(Errno::ENOENT, "there is no such disk"))?;
    Ok(DiskInfo {
        handle: give(match slow {
            Some(us) => request::NullDisk::slow(Duration::from_micros(us as u64)),
            None => request::NullDisk::in_memory(bytes),
        }),
        identity: [number as u64, bytes as u64 + u64::from(slow.is_some())],
        devno: None,
        name: spec.to_owned(),
        size: DISK_SECTORS,
        sector_size: 512,
        discard: true,
    })
}

#[unsafe(no_mangle)]
unsafe extern "Rust" fn dm_kern_disk_close(disk: NonNull<()>) {
    // SAFETY: made by `dm_kern_disk_open`, and no transfer is under way (contract).
    drop(unsafe { take::<request::NullDisk>(disk) });
}

#[unsafe(no_mangle)]
unsafe extern "Rust" fn dm_kern_disk_submit(disk: NonNull<()>, transfer: NonNull<Transfer>) {
    // SAFETY: an open disk (contract).
    let disk = unsafe { disk.cast::<request::NullDisk>().as_ref() };
    if let Some(slow) = disk.slowly() {
        return slow.submit(transfer);
    }
    // SAFETY: handed over just now, so ours.
    black_box(disk).copy(unsafe { transfer.as_ref() });
    // SAFETY: handed over just now, and given back once.
    unsafe { dm::entry::transfer_done(transfer, None) };
}

#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_node_attach(_minor: u32, _state: &NodeState<'_>) -> Result<(), Failure> {
    Ok(())
}

#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_node_change(_minor: u32, _state: &NodeState<'_>) {}

#[unsafe(no_mangle)]
extern "Rust" fn dm_kern_node_detach(_minor: u32) {}
