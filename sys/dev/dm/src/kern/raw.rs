//! What a platform defines, and nothing else. `sys/host` and `netbsd` implement these names.
//!
//! Handles are opaque pointers made by the platform. "Any context" includes completion.

use super::aes::Lender;
use super::disk::{DiskInfo, Transfer};
use super::node::NodeState;
use core::ptr::NonNull;
use dm_protocol::{Errno, Failure};

/// How a lock may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Taken in thread context only; the holder may sleep.
    Thread,
    /// Taken in any context; the holder neither sleeps nor allocates.
    Interrupt,
}

/// How a wait on a condition ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Somebody signalled, or nobody did: look at the condition again.
    Signalled,
    /// The time is over.
    TimedOut,
    /// The caller's client went away or got a signal; only for interruptible waits.
    Interrupted,
}

/// Which memory [`dm_kern_cell_alloc`] is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellKind {
    /// An [`IoCell`](super::cell::IoCell).
    Io,
    /// A [`ChildCell`](super::cell::ChildCell).
    Child,
}

unsafe extern "Rust" {
    /// Thread. May sleep. Makes a lock; released by `dm_kern_mutex_free`.
    pub safe fn dm_kern_mutex_new(level: Level) -> NonNull<()>;
    /// Thread. The lock is free and never used again.
    pub fn dm_kern_mutex_free(mutex: NonNull<()>);
    /// The lock's level, which `level` tells again. Waits until the caller holds the lock.
    pub fn dm_kern_mutex_enter(mutex: NonNull<()>, level: Level);
    /// The lock's level, as before. The caller holds the lock and gives it up.
    pub fn dm_kern_mutex_exit(mutex: NonNull<()>, level: Level);

    /// Thread. May sleep. Makes a condition; released by `dm_kern_cond_free`.
    pub safe fn dm_kern_cond_new() -> NonNull<()>;
    /// Thread. Nobody waits and nobody will.
    pub fn dm_kern_cond_free(cond: NonNull<()>);
    /// Thread. Sleeps without the lock, which the caller holds before and after; all waiters
    /// of one condition use the same lock. At most `timeout_ms` milliseconds if given.
    pub fn dm_kern_cond_wait(
        cond: NonNull<()>,
        mutex: NonNull<()>,
        timeout_ms: Option<u64>,
        interruptible: bool,
    ) -> Wake;
    /// Any context that may hold the lock. Wakes all waiters.
    pub fn dm_kern_cond_broadcast(cond: NonNull<()>);
    /// Any context that may hold the lock. Wakes at least one waiter, if there is one.
    pub fn dm_kern_cond_signal(cond: NonNull<()>);

    /// Thread. May sleep. Runs `body(context)` in a new thread; joined by `dm_kern_thread_join`.
    /// Errors: EAGAIN, ENOMEM; then `body` never runs.
    pub fn dm_kern_thread_start(
        name: &str,
        body: unsafe fn(*mut ()),
        context: *mut (),
    ) -> Result<NonNull<()>, Errno>;
    /// Thread. Sleeps until the thread's body returned.
    pub fn dm_kern_thread_join(thread: NonNull<()>);

    /// Any context. Nanoseconds since some start; never goes back.
    pub safe fn dm_kern_clock_ns() -> u64;
    /// Any context. Some number that differs between threads or CPUs that run at the same
    /// time, cheaply found; only the speed depends on it.
    pub safe fn dm_kern_slot() -> usize;
    /// Any context. How many CPUs there are, at least 1; constant.
    pub safe fn dm_kern_slot_count() -> usize;
    /// Thread. One line for the system's log.
    pub safe fn dm_kern_log(line: &str);

    /// Any context; constant. AES that the platform has, better than what can be compiled in:
    /// from its processor, or kept by others. `None` if there is no such thing. The driver
    /// does not trust it: it compares answers.
    pub safe fn dm_kern_aes() -> Option<&'static dyn Lender>;

    /// Any context. Never sleeps. Memory for a cell, aligned and sized as
    /// [`cell::layout`](super::cell::layout) says; `None` when there is none now.
    pub safe fn dm_kern_cell_alloc(kind: CellKind) -> Option<NonNull<()>>;
    /// Any context. Takes back what `dm_kern_cell_alloc` gave for the same kind.
    pub fn dm_kern_cell_free(kind: CellKind, cell: NonNull<()>);

    /// Any context. The block major number of mapped devices; constant.
    pub safe fn dm_kern_major() -> u32;
    /// Thread. May sleep. If `spec` is the path of a mapped device's node: its minor.
    pub safe fn dm_kern_mapped_minor(spec: &str) -> Option<u32>;
    /// Thread. May sleep. Opens the disk that a path or `major:minor` names, for writing too
    /// if asked. Errors: ENOENT, ENOTBLK, EACCES, EROFS, EBUSY, EIO..., with a reason.
    pub safe fn dm_kern_disk_open(spec: &str, write: bool) -> Result<DiskInfo, Failure>;
    /// Thread. May sleep. No transfer is under way and none will come.
    pub fn dm_kern_disk_close(disk: NonNull<()>);
    /// Strategy or completion. Never sleeps. Starts a transfer on an open disk; the platform
    /// owns `transfer` until it calls [`entry::transfer_done`](crate::entry::transfer_done),
    /// exactly once, possibly before this returns. An error is reported there. What is asked
    /// is within the disk's size and aligned to its sectors.
    pub fn dm_kern_disk_submit(disk: NonNull<()>, transfer: NonNull<Transfer>);

    /// Thread. May sleep. A device was made: show it to programs. `minor` is not shown yet.
    /// Errors: whatever prevents that; then the device is not made.
    pub safe fn dm_kern_node_attach(minor: u32, state: &NodeState<'_>) -> Result<(), Failure>;
    /// Thread. May sleep. Name, size or access of a shown device changed.
    pub safe fn dm_kern_node_change(minor: u32, state: &NodeState<'_>);
    /// Thread. May sleep. The device is about to go; nobody has it open or can open it.
    pub safe fn dm_kern_node_detach(minor: u32);
}
