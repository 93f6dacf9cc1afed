//! Transfers that a target makes for itself: to copy, to keep a journal, to mend.
//!
//! An [`Errand`] is made when the table is loaded, so sending it needs no memory. It comes back
//! through the mailbox it was made for, to a thread of the target.

use super::buffer::Buffer;
use super::child::{Child, ChildCell, Home, Owner, Piece};
use super::disk::Op;
use crate::io;
use crate::lower::Lower;
use crate::services::mailbox::Mailbox;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::mem;
use core::ptr::{self, NonNull};
use dm_protocol::{Errno, Sector, Sectors};

/// The memory of an errand.
pub(super) struct ErrandCell {
    child: ChildCell,
    /// The device it is on its way to, held open.
    lower: Option<Lower>,
    errno: Option<Errno>,
    next: Option<NonNull<Self>>,
    mailbox: Arc<Mailbox>,
}

/// A transfer of a target's own, at home. Freed in thread context.
///
/// # Invariants
/// `cell` is a leaked box, ours alone; the owner of its child is the cell itself.
pub struct Errand {
    cell: NonNull<ErrandCell>,
}

// SAFETY: it owns its memory, and what that points to may move between threads.
unsafe impl Send for Errand {}
// SAFETY: a shared errand is only read.
unsafe impl Sync for Errand {}

impl Errand {
    /// Thread context. An errand with memory of so many sectors, or none, that comes back to
    /// `mailbox`.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn new(mailbox: &Arc<Mailbox>, length: Sectors) -> Result<Self, Errno> {
        let nothing = Piece { op: Op::Flush, fua: false, at: Sector(0), count: Sectors::ZERO };
        let buffer = (!length.is_zero()).then(|| Buffer::new(length)).transpose()?;
        let owner = Owner::Errand(NonNull::dangling());
        let mut child = ChildCell::new(owner, Home::Owner, nothing, ptr::null_mut());
        *child.buffer_mut() = buffer;
        let mailbox = Arc::clone(mailbox);
        let cell = ErrandCell { child, lower: None, errno: None, next: None, mailbox };
        let cell = NonNull::from(Box::leak(Box::new(cell)));
        let mut errand = Self { cell };
        errand.cell_mut().child.set_owner(Owner::Errand(cell));
        Ok(errand)
    }

    fn cell(&self) -> &ErrandCell {
        // SAFETY: initialised and ours (type invariant).
        unsafe { self.cell.as_ref() }
    }

    fn cell_mut(&mut self) -> &mut ErrandCell {
        // SAFETY: initialised and ours, borrowed mutably.
        unsafe { self.cell.as_mut() }
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.cell().child.buffer().as_ref().map_or(&[], Buffer::bytes)
    }

    /// Its bytes, to change.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.cell_mut().child.buffer_mut().as_mut().map_or(&mut [], Buffer::bytes_mut)
    }

    /// Its memory, to take out or exchange.
    pub fn buffer(&mut self) -> &mut Option<Buffer> {
        self.cell_mut().child.buffer_mut()
    }

    /// A number for the target to remember.
    pub fn tag(&mut self) -> &mut u64 {
        self.cell_mut().child.cookie_mut()
    }

    /// Any context. Reads or writes `count` sectors of a device with the first of its own
    /// memory, or does there what needs none. It comes back as mail; with EIO if its memory is
    /// too short.
    pub fn send(mut self, op: Op, fua: bool, lower: &Lower, sector: Sector, count: Sectors) {
        let cell = self.cell_mut();
        cell.child.prepare(Piece { op, fua, at: sector, count }, ptr::null_mut());
        // The device stays open until a thread has the errand back, whoever else closes it.
        cell.lower = Some(lower.clone());
        cell.mailbox.leaves();
        // SAFETY: the cell is ours; its address is taken without a reference.
        let child = unsafe { &raw mut (*self.cell.as_ptr()).child };
        mem::forget(self);
        let Some(child) = NonNull::new(child) else { return };
        // SAFETY: of a leaked box that is forgotten here, so the child's until it is over.
        let child = unsafe { Child::kept_by_owner(child) };
        match !op.has_data() || (child.has_buffer() && child.fits()) {
            true => lower.submit(child, sector),
            false => io::end_child(child, Some(Errno::EIO)),
        }
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        // SAFETY: leaked by `new`, ours alone (type invariant).
        drop(unsafe { Box::from_raw(self.cell.as_ptr()) });
    }
}

/// Any context. An errand is over: into its mailbox.
///
/// # Safety
/// `errand` was sent, and this is called once for that.
pub(super) unsafe fn returned(mut errand: NonNull<ErrandCell>, errno: Option<Errno>) {
    // SAFETY: sent, and over: ours alone until it is in the mailbox.
    let cell = unsafe { errand.as_mut() };
    cell.errno = errno;
    let mailbox = Arc::as_ptr(&cell.mailbox);
    // SAFETY: the mailbox lives until a thread of its target has received all errands, which
    // is not before the lock under which this one is put there.
    unsafe { &*mailbox }.returns(Errand { cell: errand });
}

/// Errands that wait to be received, first in first out.
#[derive(Default)]
pub(crate) struct ErrandQueue {
    first: Option<NonNull<ErrandCell>>,
    last: Option<NonNull<ErrandCell>>,
}

// SAFETY: it owns errands, which are `Send`.
unsafe impl Send for ErrandQueue {}

impl ErrandQueue {
    /// Any context. Appends.
    pub(crate) fn push(&mut self, errand: Errand) {
        let cell = errand.cell;
        mem::forget(errand);
        match self.last.replace(cell) {
            // SAFETY: a queued errand is ours until popped.
            Some(last) => unsafe { (*last.as_ptr()).next = Some(cell) },
            None => self.first = Some(cell),
        }
    }

    /// Takes the first, with the device that it may be the last to hold open, and how it ended.
    pub(crate) fn pop(&mut self) -> Option<(Errand, Option<Lower>, Result<(), Errno>)> {
        let mut errand = Errand { cell: self.first? };
        let cell = errand.cell_mut();
        self.first = cell.next.take();
        if self.first.is_none() {
            self.last = None;
        }
        let lower = cell.lower.take();
        let result = cell.errno.take().map_or(Ok(()), Err);
        Some((errand, lower, result))
    }
}

impl Drop for ErrandQueue {
    fn drop(&mut self) {
        while let Some(errand) = self.pop() {
            drop(errand);
        }
    }
}
