//! The functions of the seam.
//!
//! They check the contract from the other side: a lock for threads is not taken below
//! strategy or under a lock of any context, nothing sleeps there, memory goes back as the kind
//! it was taken.

use crate::context::{Call, Context, Node, Thing, cell};
use crate::memory::exempt;
use crate::sync::{self, Condvar, Local, Mutex, MutexGuard, local, local_add, thread};
use crate::{disk, memory};
use dm::kern::aes::Lender;
use dm::kern::disk::{DiskInfo, Transfer};
use dm::kern::node::NodeState;
use dm::kern::raw::{CellKind, Level, Wake};
use dm::kern::{cell as dm_cell, disk::Op};
use dm_protocol::{Errno, Failure};
use std::alloc::Layout;
use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The block major number of mapped devices.
pub const MAJOR: u32 = 253;

/// A lock. `held` belongs to its holder.
struct RawLock {
    lock: Mutex<()>,
    held: UnsafeCell<Option<MutexGuard<'static, ()>>>,
    level: Level,
    context: Arc<Context>,
}

// SAFETY: `held` stays with the thread that holds the lock.
unsafe impl Send for RawLock {}
// SAFETY: as above.
unsafe impl Sync for RawLock {}

struct RawCondition {
    condition: Condvar,
    context: Arc<Context>,
}

fn boxed<T>(value: T) -> NonNull<()> {
    NonNull::from(Box::leak(Box::new(value))).cast()
}

/// Sleeping is allowed here.
fn may_sleep(what: &str) {
    let (strategy, spin) = (local(Local::Strategy), local(Local::Spin));
    assert!(strategy == 0, "{what} in strategy or completion context");
    assert!(spin == 0, "{what} while a lock of any context is held");
}

/// # Safety
/// As the seam says.
unsafe fn raw_lock<'a>(mutex: NonNull<()>) -> &'a RawLock {
    // SAFETY: made by `dm_kern_mutex_new` and not freed yet (the caller's contract).
    unsafe { mutex.cast().as_ref() }
}

impl RawLock {
    fn hold(&self, guard: MutexGuard<'_, ()>) {
        // SAFETY: the guard goes before the lock: freeing takes a lock that is not held.
        let guard =
            unsafe { std::mem::transmute::<MutexGuard<'_, ()>, MutexGuard<'static, ()>>(guard) };
        // SAFETY: this thread holds the lock, which guards `held`.
        let held = unsafe { &mut *self.held.get() };
        *held = Some(guard);
    }

    fn take(&self) -> MutexGuard<'static, ()> {
        // SAFETY: this thread holds the lock, which guards `held`.
        let held = unsafe { &mut *self.held.get() };
        held.take().expect("the lock is held")
    }
}

#[unsafe(no_mangle)]
fn dm_kern_mutex_new(level: Level) -> NonNull<()> {
    may_sleep("making a lock");
    let context = Context::current();
    context.took(Thing::Mutex);
    let lock = RawLock { lock: Mutex::new(()), held: UnsafeCell::new(None), level, context };
    // Whoever leaves it last may still be on the way out when another thread frees it.
    NonNull::new(Arc::into_raw(Arc::new(lock)).cast_mut()).expect("an address").cast()
}

/// # Safety
/// As the seam says.
#[unsafe(no_mangle)]
unsafe fn dm_kern_mutex_free(mutex: NonNull<()>) {
    may_sleep("freeing a lock");
    // SAFETY: made by `dm_kern_mutex_new`, and nobody else's any more.
    let lock = unsafe { Arc::from_raw(mutex.cast::<RawLock>().as_ptr()) };
    lock.context.gave(Thing::Mutex);
}

/// # Safety
/// As the seam says.
#[unsafe(no_mangle)]
unsafe fn dm_kern_mutex_enter(mutex: NonNull<()>, _: Level) {
    // SAFETY: the caller's contract.
    let lock = unsafe { raw_lock(mutex) };
    if lock.level == Level::Thread {
        may_sleep("taking a lock for threads");
    }
    let guard = sync::lock(&lock.lock);
    lock.hold(guard);
    if lock.level == Level::Interrupt {
        local_add(Local::Spin, 1);
    }
}

/// # Safety
/// As the seam says.
#[unsafe(no_mangle)]
unsafe fn dm_kern_mutex_exit(mutex: NonNull<()>, _: Level) {
    let lock = mutex.cast::<RawLock>().as_ptr();
    // SAFETY: made by `dm_kern_mutex_new`; it is freed by nobody who has not taken it since.
    unsafe { Arc::increment_strong_count(lock) };
    // SAFETY: the count is ours.
    let lock = unsafe { Arc::from_raw(lock) };
    if lock.level == Level::Interrupt {
        local_add(Local::Spin, -1);
    }
    let guard = lock.take();
    drop(guard);
    exempt(|| drop(lock));
}

#[unsafe(no_mangle)]
fn dm_kern_cond_new() -> NonNull<()> {
    may_sleep("making a condition");
    let context = Context::current();
    context.took(Thing::Condition);
    boxed(RawCondition { condition: Condvar::new(), context })
}

/// # Safety
/// As the seam says.
#[unsafe(no_mangle)]
unsafe fn dm_kern_cond_free(cond: NonNull<()>) {
    may_sleep("freeing a condition");
    // SAFETY: made by `dm_kern_cond_new`, and nobody else's any more.
    let condition = unsafe { Box::from_raw(cond.cast::<RawCondition>().as_ptr()) };
    condition.context.gave(Thing::Condition);
}

/// # Safety
/// As the seam says.
#[unsafe(no_mangle)]
unsafe fn dm_kern_cond_wait(
    cond: NonNull<()>,
    mutex: NonNull<()>,
    timeout_ms: Option<u64>,
    interruptible: bool,
) -> Wake {
    /// How often a wait looks whether it is interrupted.
    const SLICE: Duration = Duration::from_millis(2);
    // SAFETY: the caller's contract.
    let lock = unsafe { raw_lock(mutex) };
    // SAFETY: made by `dm_kern_cond_new` and not freed yet.
    let condition = unsafe { cond.cast::<RawCondition>().as_ref() };
    let spin = u32::from(lock.level == Level::Interrupt && sync::LOCAL_IS_KEPT);
    assert!(local(Local::Strategy) == 0, "waiting in strategy or completion context");
    assert!(local(Local::Spin) == spin, "waiting while a lock of any context is held");
    let context = Context::current();
    let time = timeout_ms.map_or(Duration::from_secs(3600), Duration::from_millis);
    let slice = if interruptible { time.min(SLICE) } else { time };
    local_add(Local::Spin, -(spin as i32));
    let (guard, over) = sync::wait_for(&condition.condition, lock.take(), slice);
    lock.hold(guard);
    local_add(Local::Spin, spin as i32);
    match (interruptible && context.interrupted(), over && timeout_ms.is_some()) {
        (true, _) => Wake::Interrupted,
        (false, true) if time <= slice => Wake::TimedOut,
        _ => Wake::Signalled,
    }
}

/// # Safety
/// As the seam says.
#[unsafe(no_mangle)]
unsafe fn dm_kern_cond_signal(cond: NonNull<()>) {
    // SAFETY: made by `dm_kern_cond_new` and not freed yet.
    unsafe { cond.cast::<RawCondition>().as_ref() }.condition.notify_one();
}

/// # Safety
/// As the seam says.
#[unsafe(no_mangle)]
unsafe fn dm_kern_cond_broadcast(cond: NonNull<()>) {
    // SAFETY: made by `dm_kern_cond_new` and not freed yet.
    unsafe { cond.cast::<RawCondition>().as_ref() }.condition.notify_all();
}

/// A pointer that a thread takes along.
struct Sent(*mut ());
// SAFETY: the driver promises that its context may be used from the new thread.
unsafe impl Send for Sent {}

impl Sent {
    fn take(self) -> *mut () {
        self.0
    }
}

struct RawThread {
    thread: thread::JoinHandle<()>,
    context: Arc<Context>,
}

/// # Safety
/// As the seam says.
#[unsafe(no_mangle)]
unsafe fn dm_kern_thread_start(
    name: &str,
    body: unsafe fn(*mut ()),
    context: *mut (),
) -> Result<NonNull<()>, Errno> {
    may_sleep("starting a thread");
    let current = Context::current();
    if !current.faults.allow(Call::ThreadStart) {
        return Err(Errno::EAGAIN);
    }
    current.took(Thing::Thread);
    let (sent, inner) = (Sent(context), Arc::clone(&current));
    let start = move || {
        inner.enter();
        // SAFETY: the driver gave both for this call.
        unsafe { body(sent.take()) };
    };
    let thread = thread::Builder::new().name(name.into()).spawn(start).expect("a thread starts");
    Ok(boxed(RawThread { thread, context: current }))
}

/// # Safety
/// As the seam says.
#[unsafe(no_mangle)]
unsafe fn dm_kern_thread_join(thread: NonNull<()>) {
    may_sleep("joining a thread");
    // SAFETY: made by `dm_kern_thread_start`, joined once.
    let thread = unsafe { Box::from_raw(thread.cast::<RawThread>().as_ptr()) };
    thread.thread.join().expect("the driver's thread ended well");
    thread.context.gave(Thing::Thread);
}

#[unsafe(no_mangle)]
fn dm_kern_clock_ns() -> u64 {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    let passed = START.get_or_init(Instant::now).elapsed() + Context::current().read_clock();
    u64::try_from(passed.as_nanos()).expect("not 584 years")
}

#[unsafe(no_mangle)]
fn dm_kern_slot() -> usize {
    sync::slot()
}

#[unsafe(no_mangle)]
fn dm_kern_slot_count() -> usize {
    4
}

#[unsafe(no_mangle)]
fn dm_kern_log(line: &str) {
    may_sleep("logging");
    Context::current().log().push(line.into());
}

#[unsafe(no_mangle)]
fn dm_kern_aes() -> Option<&'static dyn Lender> {
    Context::current().lender()
}

/// A cell is preceded by the context it was taken in.
struct Header {
    context: Arc<Context>,
    kind: CellKind,
}

fn with_header(kind: CellKind) -> (Layout, usize) {
    let (layout, offset) =
        Layout::new::<Header>().extend(dm_cell::layout(kind)).expect("cells are small");
    (layout.pad_to_align(), offset)
}

#[unsafe(no_mangle)]
fn dm_kern_cell_alloc(kind: CellKind) -> Option<NonNull<()>> {
    let (thing, call) = cell(kind);
    let context = Context::current();
    if !context.faults.allow(call) {
        exempt(|| drop(context));
        return None;
    }
    context.took(thing);
    exempt(|| {
        let (layout, offset) = with_header(kind);
        // SAFETY: the layout is not empty.
        let start = NonNull::new(unsafe { std::alloc::alloc(layout) }).expect("there is memory");
        // SAFETY: new memory for a header and a cell.
        unsafe { start.cast().write(Header { context, kind }) };
        // SAFETY: within the allocation.
        Some(unsafe { start.add(offset) }.cast())
    })
}

/// # Safety
/// As the seam says.
#[unsafe(no_mangle)]
unsafe fn dm_kern_cell_free(kind: CellKind, memory: NonNull<()>) {
    exempt(|| {
        let (layout, offset) = with_header(kind);
        // SAFETY: `dm_kern_cell_alloc` added the offset.
        let start = unsafe { memory.cast::<u8>().sub(offset) };
        // SAFETY: the header is ours, and read out once.
        let header = unsafe { start.cast::<Header>().read() };
        assert_eq!(header.kind, kind, "a cell is returned as what it was");
        header.context.gave(cell(kind).0);
        // SAFETY: allocated with this layout.
        unsafe { std::alloc::dealloc(start.as_ptr(), layout) };
    });
}

#[unsafe(no_mangle)]
fn dm_kern_major() -> u32 {
    MAJOR
}

#[unsafe(no_mangle)]
fn dm_kern_mapped_minor(spec: &str) -> Option<u32> {
    may_sleep("looking for a device");
    Context::current().driver()?.minor_of(spec.strip_prefix("/dev/mapper/")?)
}

#[unsafe(no_mangle)]
fn dm_kern_disk_open(spec: &str, write: bool) -> Result<DiskInfo, Failure> {
    may_sleep("opening a disk");
    let context = Context::current();
    if !context.faults.allow(Call::DiskOpen) {
        return Err(Failure::new(Errno::EIO, "the disk is broken today"));
    }
    disk::open(context, spec, write)
}

/// # Safety
/// As the seam says.
#[unsafe(no_mangle)]
unsafe fn dm_kern_disk_close(handle: NonNull<()>) {
    may_sleep("closing a disk");
    // SAFETY: the caller's contract.
    unsafe { disk::close(handle) };
}

/// # Safety
/// As the seam says.
#[unsafe(no_mangle)]
unsafe fn dm_kern_disk_submit(handle: NonNull<()>, transfer: NonNull<Transfer>) {
    // SAFETY: the caller's contract.
    exempt(|| unsafe { disk::submit(handle, transfer) });
}

/// Gives a transfer back.
pub(crate) fn transfer_done(transfer: NonNull<Transfer>, errno: Option<Errno>) {
    // SAFETY: disks call this once for each transfer.
    memory::strategy(|| unsafe { dm::entry::transfer_done(transfer, errno) });
}

fn node_of(state: &NodeState<'_>) -> Node {
    Node {
        name: state.name.into(),
        size: state.size.0,
        sector_size: state.sector_size,
        readonly: state.readonly,
        discard: state.discard,
        geometry: state.geometry,
    }
}

#[unsafe(no_mangle)]
fn dm_kern_node_attach(minor: u32, state: &NodeState<'_>) -> Result<(), Failure> {
    may_sleep("showing a device");
    let context = Context::current();
    if !context.faults.allow(Call::NodeAttach) {
        return Err(Failure::new(Errno::ENOSPC, "no node today"));
    }
    context.took(Thing::Node);
    assert!(context.nodes().insert(minor, node_of(state)).is_none(), "{minor} is shown already");
    Ok(())
}

#[unsafe(no_mangle)]
fn dm_kern_node_change(minor: u32, state: &NodeState<'_>) {
    may_sleep("changing a node");
    let shown = Context::current().nodes().insert(minor, node_of(state));
    assert!(shown.is_some(), "{minor} is not shown");
}

#[unsafe(no_mangle)]
fn dm_kern_node_detach(minor: u32) {
    may_sleep("hiding a device");
    let context = Context::current();
    assert!(context.nodes().remove(&minor).is_some(), "{minor} is not shown");
    context.gave(Thing::Node);
}

/// All kinds of transfers, for tests that try each.
pub const OPS: [Op; 5] = Op::ALL;
