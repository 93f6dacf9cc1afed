//! The memory of one request to a mapped device, and counted references to it.
//!
//! A platform embeds an [`IoCell`] in its own request and hands it over; it gets it back
//! through its `done` function exactly once, when the last reference is gone. Whoever still
//! has to do with the request, the issuing loop or a child, holds an [`IoRef`].

use super::child::{Child, ChildCell};
use super::disk::Op;
use super::raw::{self, CellKind};
use super::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64};
use super::sync::atomic::{AtomicUsize, Ordering};
use crate::device::Device;
use crate::io;
use crate::table::Table;
use alloc::sync::Arc;
use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::mem::{self, MaybeUninit};
use core::ptr::{self, NonNull};
use dm_protocol::{Errno, SECTOR_SIZE, Sector, Sectors};

/// How a platform gets its request back, with the first error. Strategy or completion context.
///
/// # Safety
/// Called by the driver only, once, with the cell that was handed over.
pub type Done = unsafe fn(NonNull<IoCell>, Option<Errno>);

/// What a request asks for; fixed while it runs.
#[derive(Clone, Copy, Debug)]
pub struct IoRequest {
    /// What to do.
    pub op: Op,
    /// A write is durable when it is reported done.
    pub fua: bool,
    /// Where on the device; ignored for a flush.
    pub sector: Sector,
    /// How much; ignored for a flush.
    pub count: Sectors,
    /// The memory for reads and writes: `count` sectors, nobody else's until `done`.
    pub data: *mut u8,
    /// Called when all is over.
    pub done: Done,
    /// The platform's own.
    pub context: *mut (),
}

/// One reference, in `state`.
const ONE: u32 = 1;
/// In `state`: all references.
const REFERENCES: u32 = BUSY - 1;
/// In `state`: the inline child is in use.
const BUSY: u32 = 1 << 30;
/// In `state`: issuing goes on when the inline child is done, which takes over a reference.
const PARKED: u32 = 1 << 31;

/// `slot` of a request that is not counted by its device's gate.
const OUTSIDE: usize = usize::MAX;

/// The memory of one request.
///
/// # Invariants
/// From handing over until `done`: `request` is constant; `device` outlives it, since the
/// caller has it open; `table` is set and live while the gate counts the request. `child`
/// belongs to the setter of [`BUSY`], which only the issuing loop is, and who clears it.
#[repr(C)]
pub struct IoCell {
    request: IoRequest,
    device: AtomicPtr<Device>,
    table: AtomicPtr<Table>,
    slot: AtomicUsize,
    next: AtomicU64,
    number: AtomicU32,
    /// The references, [`BUSY`] and [`PARKED`] in one word: a child comes and goes with one
    /// atomic step each.
    state: AtomicU32,
    error: AtomicI32,
    back: AtomicBool,
    link: AtomicPtr<IoCell>,
    child: UnsafeCell<MaybeUninit<ChildCell>>,
}

/// The table that requests look at once the gate let them in.
///
/// # Invariants
/// The device's state holds the table for as long as it is here or the gate counts a request
/// that saw it here.
pub(crate) struct Live {
    table: AtomicPtr<Table>,
}

impl Live {
    /// No table.
    pub(crate) const fn new() -> Self {
        Self { table: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Shows another table. The gate is closed and drained, and the caller holds the table
    /// until it is so again and another is shown.
    pub(crate) fn show(&self, table: Option<&Arc<Table>>) {
        let table = table.map_or(ptr::null(), Arc::as_ptr);
        self.table.store(table.cast_mut(), Ordering::Release);
    }

    /// Any context. The table, for who is counted by the gate.
    ///
    /// # Safety
    /// The gate of the device counts the caller for as long as the table is used.
    #[inline]
    pub(super) unsafe fn counted(&self) -> Option<&Table> {
        let table = self.table.load(Ordering::Acquire);
        // SAFETY: null, or alive while the gate counts somebody who saw it (type invariant).
        unsafe { table.as_ref() }
    }

    /// Any context. The table, for who is not counted by the gate.
    ///
    /// # Safety
    /// The system has crashed: nothing else of it runs, now or later.
    pub(super) unsafe fn after_crash(&self) -> Option<&Table> {
        let table = self.table.load(Ordering::Acquire);
        // SAFETY: null, or held by the device's state, which nobody is left to change.
        unsafe { table.as_ref() }
    }
}

/// Size and alignment of a cell, for the platform's pools.
#[must_use]
pub const fn layout(kind: CellKind) -> Layout {
    match kind {
        CellKind::Io => Layout::new::<IoCell>(),
        CellKind::Child => Layout::new::<ChildCell>(),
    }
}

impl IoCell {
    /// A request that is not handed over yet.
    #[must_use]
    pub const fn new(request: IoRequest) -> Self {
        Self {
            request,
            device: AtomicPtr::new(ptr::null_mut()),
            table: AtomicPtr::new(ptr::null_mut()),
            slot: AtomicUsize::new(OUTSIDE),
            next: AtomicU64::new(0),
            number: AtomicU32::new(0),
            state: AtomicU32::new(ONE),
            error: AtomicI32::new(0),
            back: AtomicBool::new(false),
            link: AtomicPtr::new(ptr::null_mut()),
            child: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// What was asked for.
    #[must_use]
    pub const fn request(&self) -> &IoRequest {
        &self.request
    }
}

/// A counted reference to a running request. The last one to go completes it.
///
/// # Invariants
/// `cell` is handed over, and its `state` counts this reference.
pub struct IoRef {
    cell: NonNull<IoCell>,
}

// SAFETY: the count is atomic and the rest of the cell is constant, atomic, or owned by one.
unsafe impl Send for IoRef {}

impl IoRef {
    /// Takes a new request over.
    ///
    /// # Safety
    /// The cell is new, stays where it is, and is nobody else's until `done`; its data is as
    /// [`IoRequest::data`] says; `device` outlives it.
    pub(crate) unsafe fn take(cell: NonNull<IoCell>, device: &Device) -> Self {
        // SAFETY: the caller's contract.
        let fresh = unsafe { cell.as_ref() };
        fresh.device.store(ptr::from_ref(device).cast_mut(), Ordering::Relaxed);
        fresh.next.store(fresh.request.sector.0, Ordering::Relaxed);
        Self { cell }
    }

    fn cell(&self) -> &IoCell {
        // SAFETY: the reference is counted, so the cell is still ours.
        unsafe { self.cell.as_ref() }
    }

    /// What was asked for.
    pub(crate) fn request(&self) -> &IoRequest {
        &self.cell().request
    }

    /// The device asked.
    pub(crate) fn device(&self) -> &Device {
        // SAFETY: the device outlives the request (invariant of the cell).
        unsafe { &*self.cell().device.load(Ordering::Relaxed) }
    }

    /// Puts the request, which the device's gate counts, in the care of the live table.
    pub(crate) fn bind(&self, live: &Live) -> Option<&Table> {
        self.cell().table.store(live.table.load(Ordering::Acquire), Ordering::Relaxed);
        self.table()
    }

    /// The table that maps the request.
    pub(crate) fn table(&self) -> Option<&Table> {
        let table = self.cell().table.load(Ordering::Relaxed);
        // SAFETY: null, or alive until the gate is left, which only the last reference does.
        unsafe { table.as_ref() }
    }

    /// Remembers where the gate counted it.
    pub(crate) fn enter(&self, slot: usize) {
        self.cell().slot.store(slot, Ordering::Relaxed);
    }

    /// Where issuing goes on: a sector, or a step of a flush.
    pub(crate) fn next(&self) -> (u64, u32) {
        let cell = self.cell();
        (cell.next.load(Ordering::Relaxed), cell.number.load(Ordering::Relaxed))
    }

    /// Moves on. Only the issuing loop does so.
    pub(crate) fn advance(&self, next: u64, number: u32) {
        self.cell().next.store(next, Ordering::Relaxed);
        self.cell().number.store(number, Ordering::Relaxed);
    }

    /// Records an error; the first one counts.
    pub(crate) fn fail(&self, errno: Errno) {
        let (none, this) = (0, errno.number());
        let _ = self.cell().error.compare_exchange(none, this, Ordering::AcqRel, Ordering::Acquire);
    }

    /// True once an error is recorded.
    pub(crate) fn failed(&self) -> bool {
        self.cell().error.load(Ordering::Relaxed) != 0
    }

    /// Asks that the request be queued again instead of completed.
    pub(crate) fn hand_back(&self) {
        self.cell().back.store(true, Ordering::Release);
    }

    /// Zeroes part of the caller's memory: `count` sectors from `from`, counted from the
    /// request's first. What lies outside is left alone.
    pub(crate) fn zero(&self, from: Sectors, count: Sectors) {
        let request = self.request();
        let inside = Sectors(count.0.min(request.count.less(from).0));
        if request.data.is_null() || inside.is_zero() {
            return;
        }
        let bytes = |sectors: Sectors| (sectors.0 * SECTOR_SIZE) as usize;
        // SAFETY: the range is within the request's memory, as clamped above.
        let start = unsafe { request.data.add(bytes(from)) };
        // SAFETY: as above; the memory is ours until `done`.
        unsafe { ptr::write_bytes(start, 0, bytes(inside)) };
    }

    /// The memory of the sector that lies `from` sectors into the request; null without data.
    pub(super) fn data_at(&self, from: Sectors) -> *mut u8 {
        let data = self.request().data;
        if data.is_null() || from > self.request().count {
            return ptr::null_mut();
        }
        // SAFETY: within the request's memory, or just behind it.
        unsafe { data.add((from.0 * SECTOR_SIZE) as usize) }
    }

    /// True if both refer to one request.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.cell == other.cell
    }

    /// One more reference.
    pub(crate) fn another(&self) -> Self {
        self.cell().state.fetch_add(ONE, Ordering::Relaxed);
        Self { cell: self.cell }
    }

    /// The memory of the inline child if it is free, which is then ours, and a reference for it.
    pub(super) fn take_inline(&self) -> Option<(NonNull<ChildCell>, Self)> {
        let cell = self.cell();
        // Only the issuing loop takes it, so a plain look is enough.
        if cell.state.load(Ordering::Acquire) & BUSY != 0 {
            return None;
        }
        let memory = NonNull::new(cell.child.get().cast::<ChildCell>())?;
        cell.state.fetch_add(BUSY + ONE, Ordering::Relaxed);
        Some((memory, Self { cell: self.cell }))
    }

    /// Lets the inline child's completion go on issuing, in place of this loop.
    ///
    /// Gives the reference back when the child is done already.
    pub(crate) fn park(self) -> Result<(), Self> {
        let park = |state: u32| (state & BUSY != 0).then_some(state | PARKED);
        match self.cell().state.fetch_update(Ordering::AcqRel, Ordering::Acquire, park) {
            Ok(_) => {
                mem::forget(self);
                Ok(())
            }
            Err(_) => Err(self),
        }
    }

    /// The inline child is done with its memory and with its reference, this one. Gives the
    /// parked reference, if there is one.
    pub(super) fn end_inline(self) -> Option<Self> {
        let cell = self.cell;
        let state = &self.cell().state;
        // Nobody else is left who could look at the mark or make another reference.
        if state.load(Ordering::Acquire) == BUSY + ONE {
            return None;
        }
        let was = state.fetch_sub(BUSY + ONE, Ordering::AcqRel);
        mem::forget(self);
        if was & PARKED != 0 {
            // Ours now: the reference that `park` forgot is still counted.
            let parked = Self { cell };
            parked.cell().state.fetch_and(!PARKED, Ordering::Relaxed);
            return Some(parked);
        }
        if was & REFERENCES == ONE {
            complete(cell);
        }
        None
    }

    /// Makes the request as new, to be queued again.
    fn rearm(cell: NonNull<IoCell>) -> Self {
        // SAFETY: the last reference is gone, so the cell is ours alone.
        let old = unsafe { cell.as_ref() };
        old.state.store(ONE, Ordering::Relaxed);
        old.error.store(0, Ordering::Relaxed);
        old.back.store(false, Ordering::Relaxed);
        old.slot.store(OUTSIDE, Ordering::Relaxed);
        old.table.store(ptr::null_mut(), Ordering::Relaxed);
        old.next.store(old.request.sector.0, Ordering::Relaxed);
        old.number.store(0, Ordering::Relaxed);
        Self { cell }
    }
}

impl Drop for IoRef {
    fn drop(&mut self) {
        let state = &self.cell().state;
        let last = |state: u32| state & REFERENCES == ONE;
        // Whoever sees one holds the last reference: nobody is left to make another.
        if last(state.load(Ordering::Acquire)) || last(state.fetch_sub(ONE, Ordering::AcqRel)) {
            complete(self.cell);
        }
    }
}

/// The last reference is gone.
fn complete(cell: NonNull<IoCell>) {
    // SAFETY: handed over and not given back yet.
    let ended = unsafe { cell.as_ref() };
    // SAFETY: the device outlives the request (invariant of the cell).
    let device = unsafe { &*ended.device.load(Ordering::Relaxed) };
    let errno = Errno::from_number(ended.error.load(Ordering::Acquire));
    let back = ended.back.load(Ordering::Acquire);
    let slot = ended.slot.load(Ordering::Relaxed);
    if slot != OUTSIDE {
        io::leave(device, slot, (!back).then_some((&ended.request, errno)));
    }
    if back {
        return io::start(IoRef::rearm(cell));
    }
    let done = ended.request.done;
    // SAFETY: the platform's own function and cell, once.
    unsafe { done(cell, errno) };
}

/// Requests that wait, first in first out. Dropping it fails them.
#[derive(Default)]
pub struct IoQueue {
    first: Option<NonNull<IoCell>>,
    last: Option<NonNull<IoCell>>,
}

// SAFETY: it owns references that are `Send`.
unsafe impl Send for IoQueue {}

impl IoQueue {
    /// Appends.
    pub(crate) fn push(&mut self, io: IoRef) {
        let cell = io.cell;
        mem::forget(io);
        match self.last.replace(cell) {
            // SAFETY: a queued cell is ours until popped.
            Some(last) => unsafe { last.as_ref() }.link.store(cell.as_ptr(), Ordering::Relaxed),
            None => self.first = Some(cell),
        }
    }

    /// Takes the first.
    pub(crate) fn pop(&mut self) -> Option<IoRef> {
        let cell = self.first?;
        // SAFETY: a queued cell is ours until popped.
        let link = unsafe { cell.as_ref() }.link.swap(ptr::null_mut(), Ordering::Relaxed);
        self.first = NonNull::new(link);
        if self.first.is_none() {
            self.last = None;
        }
        // The reference that `push` forgot.
        Some(IoRef { cell })
    }
}

impl Drop for IoQueue {
    fn drop(&mut self) {
        while let Some(io) = self.pop() {
            io.fail(Errno::EIO);
        }
    }
}

/// Memory for a request that one mapped device makes to another.
///
/// # Invariants
/// Came from `dm_kern_cell_alloc(CellKind::Io)`, ours alone, uninitialised.
pub(crate) struct NestedCell {
    memory: NonNull<()>,
}

// SAFETY: it owns plain memory.
unsafe impl Send for NestedCell {}

impl NestedCell {
    /// Any context. Memory, if there is some.
    pub(crate) fn new() -> Option<Self> {
        raw::dm_kern_cell_alloc(CellKind::Io).map(|memory| Self { memory })
    }

    /// Makes it the request that `child` asks `device` for. When that is done, the child is.
    /// The table that the child's request holds has the device open.
    pub(crate) fn start(self, device: &Device, child: Child) {
        let cell = self.memory.cast::<IoCell>();
        mem::forget(self);
        let request = child.into_request(nested_done);
        // SAFETY: memory for an `IoCell`, ours alone (type invariant).
        unsafe { cell.as_ptr().write(IoCell::new(request)) };
        // SAFETY: fresh; freed by `nested_done`; the child owns the data until then.
        io::start(unsafe { IoRef::take(cell, device) });
    }
}

impl Drop for NestedCell {
    fn drop(&mut self) {
        // SAFETY: allocated as this kind, and ours (type invariant).
        unsafe { raw::dm_kern_cell_free(CellKind::Io, self.memory) };
    }
}

/// # Safety
/// `cell` was made by `NestedCell::start`.
unsafe fn nested_done(cell: NonNull<IoCell>, errno: Option<Errno>) {
    // SAFETY: given back by the driver, so it is ours alone.
    let ended = unsafe { cell.as_ref() };
    // SAFETY: `into_request` put the child there.
    let child = unsafe { Child::from_context(ended.request.context) };
    // SAFETY: the device outlives the request, and the child that still has it open.
    let device = unsafe { &*ended.device.load(Ordering::Relaxed) };
    device.feed(NestedCell { memory: cell.cast() });
    io::child_done(child, errno);
}
