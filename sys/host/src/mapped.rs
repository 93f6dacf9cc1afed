//! Requests to a mapped device: sent and completed by a callback, or waited for.
//!
//! What changes a device passes its [`turnstile`], so that front ends may write parts of sectors.

mod turnstile;

use crate::kern::context::NoSleep;
use dm::driver::{Driver, Opened};
use dm::kern::buffer::Buffer;
use dm::kern::cell::{IoCell, IoRequest};
use dm::kern::disk::Op;
use dm_protocol::{Errno, SECTOR_SIZE, Sector, Sectors};
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use turnstile::Turnstile;

/// What is asked of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What to do.
    pub op: Op,
    /// A write is durable when it is reported done.
    pub fua: bool,
    /// Where; ignored for a flush.
    pub sector: Sector,
    /// How much; ignored for a flush.
    pub count: Sectors,
}

impl Ask {
    /// Something to do with a range; not forced to be durable.
    #[must_use]
    pub const fn new(op: Op, sector: Sector, count: Sectors) -> Self {
        Self { op, fua: false, sector, count }
    }

    /// Everything written before becomes durable.
    pub const FLUSH: Self = Self::new(Op::Flush, Sector(0), Sectors::ZERO);
}

/// What belongs to a front end in an [`Io`], and what happens at its end.
pub trait Finish: Sized + Send + 'static {
    /// The request is over. Called once, in any thread, possibly before
    /// [`Mapped::submit`] returns. It must not wait for other requests nor drop a [`Mapped`].
    fn finish(io: Box<Io<Self>>, result: Result<(), Errno>);
}

/// The memory of one request: made once, used again and again.
///
/// # Invariants
/// While the driver has `cell`, the box is given up and only [`done`] makes it again.
pub struct Io<T> {
    cell: MaybeUninit<IoCell>,
    buffer: Option<Buffer>,
    gate: Option<Arc<Gate>>,
    /// It is inside the turnstile.
    passing: bool,
    /// The front end's own.
    pub own: T,
}

// SAFETY: the cell is plain memory while the box is ours; all else is `Send` by itself.
unsafe impl<T: Send> Send for Io<T> {}

impl<T> Io<T> {
    /// A request without a buffer.
    #[must_use]
    pub fn new(own: T) -> Box<Self> {
        let cell = MaybeUninit::uninit();
        Box::new(Self { cell, buffer: None, gate: None, passing: false, own })
    }

    /// Sees to it that the buffer has at least so many sectors; what it held may be lost.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn reserve(&mut self, count: Sectors) -> Result<(), Errno> {
        let there = self.buffer.as_ref().map_or(Sectors::ZERO, Buffer::length);
        if there < count {
            self.buffer = None;
            self.buffer = Some(Buffer::new(count)?);
        }
        Ok(())
    }

    /// Gives the buffer's memory back.
    pub fn release(&mut self) {
        self.buffer = None;
    }

    /// The buffer: page-aligned, at least as long as reserved.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], Buffer::bytes)
    }

    /// The buffer, to change.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.as_mut().map_or(&mut [], Buffer::bytes_mut)
    }
}

/// Counts the requests under way, so that a device is closed behind the last one.
struct Gate {
    under_way: AtomicUsize,
    closer: OnceLock<Thread>,
    turnstile: Arc<Turnstile>,
}

impl Gate {
    fn leave(&self) {
        if self.under_way.fetch_sub(1, Ordering::SeqCst) == 1
            && let Some(closer) = self.closer.get()
        {
            closer.unpark();
        }
    }

    fn close(&self) {
        if self.under_way.load(Ordering::SeqCst) == 0 {
            return;
        }
        let _ = self.closer.set(thread::current());
        while self.under_way.load(Ordering::SeqCst) != 0 {
            thread::park();
        }
    }
}

/// An open mapped device. Dropping it waits for its requests and closes the device.
pub struct Mapped {
    opened: Opened,
    gate: Arc<Gate>,
}

impl Mapped {
    /// Opens the device of a minor number.
    ///
    /// # Errors
    /// ENXIO when there is none, EROFS, EBUSY... as the driver says.
    pub fn open(driver: &Arc<Driver>, minor: u32, write: bool) -> Result<Self, Errno> {
        let opened = driver.open(minor, write)?;
        let turnstile = Turnstile::of(driver, minor);
        let (under_way, closer) = (AtomicUsize::new(0), OnceLock::new());
        Ok(Self { opened, gate: Arc::new(Gate { under_way, closer, turnstile }) })
    }

    /// The device as the driver has it open.
    #[must_use]
    pub const fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Sends a request; its end is [`Finish::finish`]. Reads fill the start of the buffer,
    /// writes take theirs from there.
    pub fn submit<T: Finish>(self: &Arc<Self>, mut io: Box<Io<T>>, ask: Ask) {
        let turnstile = &self.gate.turnstile;
        io.passing = ask.op.writes();
        if !io.passing || turnstile.enter() {
            return self.send(io, ask);
        }
        let this = Arc::clone(self);
        turnstile.together(Box::new(move || this.send(io, ask)));
    }

    /// Sends a request that may be sent now.
    fn send<T: Finish>(&self, mut io: Box<Io<T>>, ask: Ask) {
        let data = match io.buffer.as_mut() {
            _ if !ask.op.has_data() => ptr::null_mut(),
            Some(buffer) if buffer.length() >= ask.count => buffer.bytes_mut().as_mut_ptr(),
            _ => {
                if io.passing {
                    self.gate.turnstile.leave();
                }
                return T::finish(io, Err(Errno::EINVAL));
            }
        };
        self.gate.under_way.fetch_add(1, Ordering::SeqCst);
        io.gate = Some(Arc::clone(&self.gate));
        let io = Box::into_raw(io);
        let request = request(ask, data, done::<T>, io.cast());
        // SAFETY: just given up by the box, so it is valid and ours.
        let cell = unsafe { &mut (*io).cell };
        let cell = NonNull::from(cell.write(IoCell::new(request)));
        // SAFETY: new, and in a box that only `done` frees; the gate keeps the device open; the
        // buffer is in the box, too, and long enough.
        unsafe { self.hand_over(cell) };
    }

    /// # Safety
    /// As `Opened::strategy`; the device stays open until the request is done.
    unsafe fn hand_over(&self, cell: NonNull<IoCell>) {
        let _context = NoSleep::enter();
        // SAFETY: the caller's contract.
        unsafe { self.opened.strategy(cell) };
    }

    /// Reads into `data`, whole sectors. Waits.
    ///
    /// # Errors
    /// What the device says; EINVAL for a part of a sector.
    pub fn read(&self, sector: Sector, data: &mut [u8]) -> Result<(), Errno> {
        let count = whole(data)?;
        self.run(Ask::new(Op::Read, sector, count), data.as_mut_ptr())
    }

    /// Writes `data`, whole sectors; durable at the end if `fua`. Waits.
    ///
    /// # Errors
    /// What the device says; EINVAL for a part of a sector.
    pub fn write(&self, sector: Sector, data: &[u8], fua: bool) -> Result<(), Errno> {
        let _pass = self.gate.turnstile.pass();
        self.write_alone(sector, data, fua)
    }

    /// Writes whole sectors, wherever the turnstile is. Waits.
    fn write_alone(&self, sector: Sector, data: &[u8], fua: bool) -> Result<(), Errno> {
        let count = whole(data)?;
        // The driver only reads the memory of a write.
        self.run(Ask { fua, ..Ask::new(Op::Write, sector, count) }, data.as_ptr().cast_mut())
    }

    /// Does something without data: flushes, discards, writes zeroes. Waits.
    ///
    /// # Errors
    /// What the device says; EINVAL for an operation with data.
    pub fn act(&self, ask: Ask) -> Result<(), Errno> {
        if ask.op.has_data() {
            return Err(Errno::EINVAL);
        }
        let _pass = ask.op.writes().then(|| self.gate.turnstile.pass());
        self.run(ask, ptr::null_mut())
    }

    /// Makes everything written before durable. Waits.
    ///
    /// # Errors
    /// What the device says.
    pub fn flush(&self) -> Result<(), Errno> {
        self.act(Ask::FLUSH)
    }

    /// Writes bytes anywhere, durable at the end if `fua`. What else is in their sectors stays,
    /// whoever writes to it meanwhile. `done` is told the end, in any thread.
    pub fn write_bytes(
        self: &Arc<Self>,
        offset: u64,
        data: Vec<u8>,
        fua: bool,
        done: impl FnOnce(Result<(), Errno>) + Send + 'static,
    ) {
        let this = Arc::clone(self);
        let work = move || done(this.rewrite(offset, &data, fua));
        self.gate.turnstile.alone(Box::new(work));
    }

    /// Reads whole sectors around `data`, puts it in, and writes them.
    fn rewrite(&self, offset: u64, data: &[u8], fua: bool) -> Result<(), Errno> {
        let unit = u64::from(self.opened.sector_size());
        let first = offset - offset % unit;
        let end = offset.checked_add(data.len() as u64).ok_or(Errno::EINVAL)?;
        let end = end.checked_next_multiple_of(unit).ok_or(Errno::EINVAL)?;
        let mut whole = vec![0; usize::try_from(end - first).map_err(|_| Errno::EINVAL)?];
        let at = Sector(first / SECTOR_SIZE);
        self.read(at, &mut whole)?;
        let from = (offset - first) as usize;
        whole.get_mut(from..from + data.len()).ok_or(Errno::EINVAL)?.copy_from_slice(data);
        self.write_alone(at, &whole, fua)
    }

    fn run(&self, ask: Ask, data: *mut u8) -> Result<(), Errno> {
        let waiter = Waiter { state: AtomicI32::new(PENDING), thread: thread::current() };
        let context = ptr::from_ref(&waiter).cast_mut().cast();
        let mut cell = IoCell::new(request(ask, data, wake, context));
        // SAFETY: new, and stays here until `wake` was called, as do the data; the caller's
        // borrow keeps the device open.
        unsafe { self.hand_over(NonNull::from(&mut cell)) };
        loop {
            match waiter.state.load(Ordering::Acquire) {
                PENDING => thread::park(),
                errno => return Errno::from_number(errno).map_or(Ok(()), Err),
            }
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        self.gate.close();
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Mapped").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Io<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Io").finish_non_exhaustive()
    }
}

/// `state` of a waiter whose request runs; zero or an error number afterwards.
const PENDING: i32 = -1;

struct Waiter {
    state: AtomicI32,
    thread: Thread,
}

fn whole(data: &[u8]) -> Result<Sectors, Errno> {
    let count = Sectors::from_bytes(data.len() as u64);
    if count.bytes() == Some(data.len() as u64) { Ok(count) } else { Err(Errno::EINVAL) }
}

fn request(
    ask: Ask,
    data: *mut u8,
    done: unsafe fn(NonNull<IoCell>, Option<Errno>),
    context: *mut (),
) -> IoRequest {
    let Ask { op, fua, sector, count } = ask;
    IoRequest { op, fua, sector, count, data, done, context }
}

/// # Safety
/// `cell` was handed over by `Mapped::submit` with the same `T`.
unsafe fn done<T: Finish>(cell: NonNull<IoCell>, errno: Option<Errno>) {
    // SAFETY: the driver gives it back, so it is ours alone.
    let context = unsafe { cell.as_ref() }.request().context;
    // SAFETY: `submit` put the box's pointer there.
    let mut io = unsafe { Box::from_raw(context.cast::<Io<T>>()) };
    let gate = io.gate.take();
    if let Some(gate) = gate.as_ref().filter(|_| io.passing) {
        // Whoever waits for this request may come again when it is told its end, not later.
        gate.turnstile.leave();
    }
    T::finish(io, errno.map_or(Ok(()), Err));
    if let Some(gate) = gate {
        gate.leave();
    }
}

/// # Safety
/// `cell` was handed over by `Mapped::run`.
unsafe fn wake(cell: NonNull<IoCell>, errno: Option<Errno>) {
    // SAFETY: the driver gives it back, and the waiting thread keeps it until `state` changes.
    let context = unsafe { cell.as_ref() }.request().context;
    // SAFETY: `run` put its waiter there, which stays until `state` changes.
    let waiter = unsafe { &*context.cast::<Waiter>() };
    let thread = waiter.thread.clone();
    waiter.state.store(errno.map_or(0, Errno::number), Ordering::Release);
    thread.unpark();
}
