//! The part of a request that goes to one place, from its making to its end.

mod queue;

use super::buffer::{self, Buffer, ZEROES_MAX};
use super::cell::{Done, IoRef, IoRequest};
use super::disk::{Disk, Op, Transfer};
use super::errand::{self, ErrandCell};
use super::legs::{self, Set};
use super::raw::{self, CellKind};
use super::wait::Waiter;
use crate::table::Segment;
use crate::target::{Range, Target};
use core::mem;
use core::ptr::{self, NonNull};
use core::slice;
use dm_protocol::{Errno, Sector, Sectors};

pub use queue::ChildQueue;

/// The memory of one child. The transfer comes first: the platform knows only that.
#[repr(C)]
pub struct ChildCell {
    transfer: Transfer,
    owner: Owner,
    home: Home,
    target: Option<NonNull<dyn Target>>,
    kept: bool,
    at: Sector,
    piece: u32,
    cookie: u64,
    data: *mut u8,
    buffer: Option<Buffer>,
    /// How it ended below, while it waits for a thread of its target.
    errno: Option<Errno>,
    link: *mut Self,
}

impl ChildCell {
    pub(super) const fn new(owner: Owner, home: Home, piece: Piece, data: *mut u8) -> Self {
        let transfer = Transfer {
            op: piece.op,
            fua: piece.fua,
            sector: piece.at,
            count: piece.count,
            data,
            scratch: [0; 4],
        };
        Self {
            transfer,
            owner,
            home,
            target: None,
            kept: false,
            at: piece.at,
            piece: 0,
            cookie: 0,
            data,
            buffer: None,
            errno: None,
            link: ptr::null_mut(),
        }
    }

    /// Makes a cell that is not under way another piece of the same owner.
    pub(super) const fn prepare(&mut self, piece: Piece, data: *mut u8) {
        self.transfer.op = piece.op;
        self.transfer.fua = piece.fua;
        self.transfer.sector = piece.at;
        self.transfer.count = piece.count;
        self.data = data;
    }

    /// The target's own memory.
    pub(super) const fn buffer(&self) -> &Option<Buffer> {
        &self.buffer
    }

    /// The target's own memory, to change.
    pub(super) const fn buffer_mut(&mut self) -> &mut Option<Buffer> {
        &mut self.buffer
    }

    /// The target's own number.
    pub(super) const fn cookie_mut(&mut self) -> &mut u64 {
        &mut self.cookie
    }

    /// Says who is told, before it is under way.
    pub(super) fn set_owner(&mut self, owner: Owner) {
        self.owner = owner;
    }
}

/// Who is told when the child is done.
pub(super) enum Owner {
    /// A request.
    Io(IoRef),
    /// A thread that waits.
    Waiter(NonNull<Waiter>),
    /// A target, through its mailbox: the child is its own.
    Errand(NonNull<ErrandCell>),
    /// A part that goes to several places: the legs, and which one this is.
    Leg(NonNull<Set>, u32),
}

/// Where the memory goes afterwards.
#[derive(Clone, Copy)]
pub(super) enum Home {
    /// Back into its request.
    Inline,
    /// To the platform.
    Pool,
    /// Nowhere: its owner keeps it.
    Owner,
}

/// What a child is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) op: Op,
    pub(crate) fua: bool,
    /// Where on the device above; fixes which memory belongs to the child.
    pub(crate) at: Sector,
    pub(crate) count: Sectors,
}

/// Memory for a child of some request, and the child's reference to that.
///
/// # Invariants
/// `memory` is for a `ChildCell`, ours alone, uninitialised.
pub(crate) struct Room {
    memory: NonNull<ChildCell>,
    home: Home,
    io: IoRef,
}

impl Room {
    /// Strategy or completion context. The request's own, else the platform's, else none.
    pub(crate) fn find(io: &IoRef) -> Option<Self> {
        if let Some((memory, io)) = io.take_inline() {
            return Some(Self { memory, home: Home::Inline, io });
        }
        let memory = raw::dm_kern_cell_alloc(CellKind::Child)?.cast();
        Some(Self { memory, home: Home::Pool, io: io.another() })
    }
}

/// A child, owned. It ends once: with [`Child::end`], or with EIO when it is dropped.
///
/// # Invariants
/// `cell` is initialised and ours alone.
pub struct Child {
    cell: NonNull<ChildCell>,
}

// SAFETY: a child is moved between threads as a whole, and what it points to may be.
unsafe impl Send for Child {}

impl Child {
    /// A child for a piece of the request that the room is for.
    pub(crate) fn new(room: Room, mut piece: Piece) -> Self {
        let Room { memory, home, io } = room;
        let from = piece.at.since(io.request().sector);
        let data = match (piece.op.has_data(), io.request().op) {
            (true, Op::WriteZeroes) => {
                debug_assert!(piece.count <= ZEROES_MAX, "more zeroes than there are");
                piece.count = piece.count.min(ZEROES_MAX);
                buffer::zeroes()
            }
            (true, _) => io.data_at(from),
            (false, _) => ptr::null_mut(),
        };
        let cell = ChildCell::new(Owner::Io(io), home, piece, data);
        // SAFETY: memory for a `ChildCell`, ours alone (invariant of `Room`).
        unsafe { memory.as_ptr().write(cell) };
        Self { cell: memory }
    }

    /// A child that a thread waits for.
    ///
    /// # Safety
    /// `memory` and `waiter` live until the child is over; `data` is null or memory for the
    /// piece that is nobody else's until then.
    pub(super) unsafe fn waited_for(
        memory: &mut mem::MaybeUninit<ChildCell>,
        waiter: NonNull<Waiter>,
        piece: Piece,
        data: *mut u8,
    ) -> Self {
        let (owner, home) = (Owner::Waiter(waiter), Home::Owner);
        memory.write(ChildCell::new(owner, home, piece, data));
        Self { cell: NonNull::from(memory).cast() }
    }

    /// A child in memory that its owner keeps.
    ///
    /// # Safety
    /// `cell` is initialised, stays in its place, and is ours alone until the child is over.
    pub(super) const unsafe fn kept_by_owner(cell: NonNull<ChildCell>) -> Self {
        Self { cell }
    }

    fn cell(&self) -> &ChildCell {
        // SAFETY: initialised and ours (type invariant).
        unsafe { self.cell.as_ref() }
    }

    fn cell_mut(&mut self) -> &mut ChildCell {
        // SAFETY: initialised and ours, borrowed mutably.
        unsafe { self.cell.as_mut() }
    }

    /// What it does.
    pub(crate) fn op(&self) -> Op {
        self.cell().transfer.op
    }

    /// Durable when done.
    pub(crate) fn fua(&self) -> bool {
        self.cell().transfer.fua
    }

    /// Where: on the target's segment until it is sent, then below.
    pub(crate) fn sector(&self) -> Sector {
        self.cell().at
    }

    /// How much.
    pub(crate) fn count(&self) -> Sectors {
        self.cell().transfer.count
    }

    /// The target's own number.
    pub(crate) fn cookie(&mut self) -> &mut u64 {
        &mut self.cell_mut().cookie
    }

    /// The target's own memory, which is transferred in place of the caller's.
    pub(crate) fn buffer(&mut self) -> &mut Option<Buffer> {
        &mut self.cell_mut().buffer
    }

    /// How it ended below, while it waits.
    pub(crate) fn errno(&mut self) -> &mut Option<Errno> {
        &mut self.cell_mut().errno
    }

    /// True unless the target's own memory is too short for the transfer.
    pub(crate) fn fits(&self) -> bool {
        let cell = self.cell();
        let buffer = cell.buffer.as_ref().filter(|_| cell.transfer.op.has_data());
        buffer.is_none_or(|buffer| buffer.length() >= cell.transfer.count)
    }

    /// True if the target gave memory of its own.
    pub(super) fn has_buffer(&self) -> bool {
        self.cell().buffer.is_some()
    }

    /// The memory that is transferred: the target's if it gave some.
    pub(super) fn outgoing_data(&self) -> *mut u8 {
        let cell = self.cell();
        cell.buffer.as_ref().map_or(cell.data, Buffer::start)
    }

    /// The caller's memory.
    pub(crate) fn data(&self) -> &[u8] {
        match NonNull::new(self.cell().data) {
            // SAFETY: the platform promised `count` sectors that nobody changes until `done`,
            // save who borrows this child mutably.
            Some(data) => unsafe { slice::from_raw_parts(data.as_ptr(), self.bytes()) },
            None => &[],
        }
    }

    /// The caller's memory for a read; empty for all else.
    pub(crate) fn data_mut(&mut self) -> &mut [u8] {
        match NonNull::new(self.cell().data) {
            // SAFETY: the memory of a read is ours alone until `done`; the child is borrowed
            // mutably.
            Some(data) if self.op() == Op::Read => unsafe {
                slice::from_raw_parts_mut(data.as_ptr(), self.bytes())
            },
            _ => &mut [],
        }
    }

    fn bytes(&self) -> usize {
        self.count().bytes().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0)
    }

    /// Lets the target of a segment see the child when it is back: always if it keeps it, else
    /// on errors. `at` on the segment and `piece` are what its mapping was asked for. A
    /// segment of another table is ignored.
    pub(crate) fn give(&mut self, segment: &Segment, (at, piece): (Sector, u32), kept: bool) {
        let own = self.io().and_then(IoRef::table).map(|table| table.segments().as_ptr_range());
        if !own.is_some_and(|own| own.contains(&ptr::from_ref(segment))) {
            return;
        }
        let target = ptr::from_ref::<dyn Target>(&*segment.target);
        let cell = self.cell_mut();
        // The request's table keeps the target alive until the request leaves the gate.
        cell.target = NonNull::new(target.cast_mut());
        cell.kept = kept;
        cell.at = at;
        cell.piece = piece;
    }

    /// The range of the segment that it is for.
    pub(crate) fn range(&self) -> Range {
        let cell = self.cell();
        let (op, count) = (cell.transfer.op, cell.transfer.count);
        Range { op, at: cell.at, count, piece: cell.piece }
    }

    /// The target that wants to see the child when it comes back from below. `io` is the
    /// child's own request, which keeps the target's table alive.
    pub(crate) fn target<'a>(&self, io: &'a IoRef) -> Option<&'a dyn Target> {
        if !self.io().is_some_and(|own| own.same(io)) {
            return None;
        }
        // SAFETY: of the request's own table (`give`), which stays while the request is
        // referred to.
        self.cell().target.map(|target| unsafe { &*target.as_ptr() })
    }

    /// True if a target wants to see it.
    pub(crate) fn watched(&self) -> bool {
        self.cell().target.is_some()
    }

    /// True if the target keeps it.
    pub(crate) fn kept(&self) -> bool {
        self.cell().kept
    }

    /// Nobody wants to see the child any more: its end is the end.
    pub(crate) fn forget_target(&mut self) {
        self.cell_mut().target = None;
    }

    /// Where below; with the target's memory if it gave some.
    fn aim(&mut self, sector: Sector) {
        self.cell_mut().transfer.sector = sector;
    }

    /// Strategy or completion context. Sends it to a disk; it comes back through
    /// `io::child_done`.
    pub(crate) fn submit(mut self, disk: &Disk, sector: Sector) {
        self.aim(sector);
        let cell = self.cell;
        mem::forget(self);
        let transfer = Self::outgoing(cell);
        // SAFETY: the child is forgotten here and reclaimed by `from_transfer`.
        unsafe { disk.submit(transfer) };
    }

    /// Strategy or completion context. Points it to a place on a mapped device.
    pub(crate) fn aimed(mut self, sector: Sector) -> Self {
        self.aim(sector);
        self
    }

    /// Chooses the memory that is transferred: the target's if it gave some.
    fn outgoing(mut cell: NonNull<ChildCell>) -> NonNull<Transfer> {
        // SAFETY: forgotten by its handle just now, so ours alone.
        let child = unsafe { cell.as_mut() };
        child.transfer.data = child.buffer.as_ref().map_or(child.data, Buffer::start);
        cell.cast()
    }

    /// The child of a transfer that the platform finished.
    ///
    /// # Safety
    /// `transfer` was handed to the platform by `submit` and is given back once.
    pub(crate) unsafe fn from_transfer(transfer: NonNull<Transfer>) -> Self {
        Self { cell: transfer.cast() }
    }

    /// The child as a request to a mapped device; `from_context` gets it back.
    pub(super) fn into_request(self, done: Done) -> IoRequest {
        let cell = self.cell;
        mem::forget(self);
        let transfer = Self::outgoing(cell);
        // SAFETY: forgotten above, so ours alone.
        let transfer = unsafe { transfer.as_ref() };
        IoRequest {
            op: transfer.op,
            fua: transfer.fua,
            sector: transfer.sector,
            count: transfer.count,
            data: transfer.data,
            done,
            context: cell.as_ptr().cast(),
        }
    }

    /// # Safety
    /// `context` is of a request made by `into_request` that is done.
    pub(super) unsafe fn from_context(context: *mut ()) -> Self {
        // SAFETY: `into_request` put a non-null pointer there.
        Self { cell: unsafe { NonNull::new_unchecked(context.cast()) } }
    }

    /// The request it belongs to.
    pub(crate) fn io(&self) -> Option<&IoRef> {
        match &self.cell().owner {
            Owner::Io(io) => Some(io),
            Owner::Waiter(_) | Owner::Errand(_) | Owner::Leg(..) => None,
        }
    }

    /// Any context. The child is over. Returns a request whose issuing goes on, if it waited
    /// for this child's memory.
    #[must_use]
    pub(crate) fn end(self, errno: Option<Errno>) -> Option<IoRef> {
        let cell = self.cell;
        match self.cell().owner {
            Owner::Io(_) => mem::forget(self),
            Owner::Waiter(waiter) => {
                mem::forget(self);
                // SAFETY: put there by `waited_for`, and told once, since the child ends once.
                unsafe { Waiter::wake(waiter, errno) };
                return None;
            }
            Owner::Errand(errand) => {
                mem::forget(self);
                // SAFETY: put there by the errand, which is on its way and ends once.
                unsafe { errand::returned(errand, errno) };
                return None;
            }
            Owner::Leg(set, number) => {
                mem::forget(self);
                // SAFETY: put there by the legs, which are on their way, and each ends once.
                unsafe { legs::returned(set, number, errno) };
                return None;
            }
        }
        // SAFETY: ours alone and initialised; forgotten above, so read out once.
        let ended = unsafe { cell.as_ptr().read() };
        let Owner::Io(io) = ended.owner else { return None };
        if let Some(errno) = errno {
            io.fail(errno);
        }
        match ended.home {
            Home::Inline => io.end_inline(),
            Home::Pool => {
                // SAFETY: allocated as this kind by `Room::find`, and read out above.
                unsafe { raw::dm_kern_cell_free(CellKind::Child, cell.cast()) };
                None
            }
            Home::Owner => None,
        }
        // `io` is dropped here, behind the release of its memory.
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let again = Self { cell: self.cell };
        crate::io::end_child(again, Some(Errno::EIO));
    }
}
