//! Transfers to disks below: buf(9).
//!
//! A transfer's `scratch` is ours: the disk, what is done, a link, and how far it is.
//!
//! Who gives a buffer to a disk may get it back before the disk's strategy returns, and takes what
//! it says there. Else it comes in a soft interrupt, or from a thread of the disk's own, which a
//! strategy that sleeps would wait for: what else has to be sent is left to our thread.

use crate::cell::Pool;
use crate::disk::OpenDisk;
use crate::glue;
use crate::sys::{self, buf};
use core::alloc::Layout;
use core::ffi::c_int;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering};
use dm::entry;
use dm::kern::buffer::{ZEROES_MAX, zeroes};
use dm::kern::disk::{Op, Transfer};
use dm::kern::sync::SpinMutex;
use dm::protocol::{Errno, SECTOR_SIZE};

/// `scratch` of the disk.
const DISK: usize = 0;
/// `scratch` of the bytes that are done.
const DONE: usize = 1;
/// `scratch` of the next in a queue.
const LINK: usize = 2;
/// `scratch` of one of these, or of the address of a buffer that is back and not taken.
const STEP: usize = 3;
/// No buffer is at the disk.
const IDLE: usize = 0;
/// The disk has a buffer, and who gave it is still in the disk's strategy.
const GIVING: usize = 1;
/// The disk has a buffer.
const GIVEN: usize = 2;

/// The most that a disk takes at once.
const MOST: usize = sys::MAXPHYS as usize;

/// Bytes of zeroes that are written at once.
const ZEROES: usize = (ZEROES_MAX.0 * SECTOR_SIZE) as usize;

const _: () = assert!(ZEROES <= MOST, "a disk takes them");

/// Transfers that wait, first in first out.
#[derive(Default)]
pub struct Queue {
    first: Option<NonNull<Transfer>>,
    last: Option<NonNull<Transfer>>,
}

// SAFETY: it holds transfers that are the platform's.
unsafe impl Send for Queue {}

impl Queue {
    /// Appends.
    pub fn push(&mut self, transfer: NonNull<Transfer>) {
        set(transfer, LINK, 0);
        match self.last.replace(transfer) {
            Some(last) => set(last, LINK, transfer.as_ptr().expose_provenance()),
            None => self.first = Some(transfer),
        }
    }

    /// Takes the first.
    pub fn pop(&mut self) -> Option<NonNull<Transfer>> {
        let first = self.first?;
        self.first = NonNull::new(ptr::with_exposed_provenance_mut(get(first, LINK)));
        if self.first.is_none() {
            self.last = None;
        }
        Some(first)
    }
}

fn get(transfer: NonNull<Transfer>, what: usize) -> usize {
    // SAFETY: a transfer that is ours until it is done.
    unsafe { (*transfer.as_ptr()).scratch[what] }
}

/// What `scratch` has of `STEP`; both who gives a buffer and who has it back change that.
fn step<'a>(transfer: NonNull<Transfer>) -> &'a AtomicUsize {
    // SAFETY: as in `get`.
    let place = unsafe { &raw mut (*transfer.as_ptr()).scratch[STEP] };
    // SAFETY: a word of the transfer, and used in no other way while a disk has a buffer of it.
    unsafe { AtomicUsize::from_ptr(place) }
}

fn set(transfer: NonNull<Transfer>, what: usize, value: usize) {
    // SAFETY: as in `get`.
    unsafe { (*transfer.as_ptr()).scratch[what] = value };
}

/// Memory for buffers, and transfers that wait for it.
pub struct Buffers {
    pool: Pool,
    waiting: SpinMutex<Queue>,
    /// How many wait, so that nobody takes the lock when none does.
    count: AtomicUsize,
}

impl Buffers {
    pub fn new() -> Self {
        let pool = Pool::new(Layout::new::<buf>(), c"dmbuf");
        Self { pool, waiting: SpinMutex::new(Queue::default()), count: AtomicUsize::new(0) }
    }

    /// Strategy or completion context. Sends with the memory there is, or queues.
    fn send(&self, transfer: NonNull<Transfer>) {
        if let Some(memory) = self.pool.get() {
            return send_in(memory.cast(), transfer);
        }
        self.waiting.lock().push(transfer);
        self.count.fetch_add(1, Ordering::SeqCst);
        // All memory may have come back meanwhile.
        self.resume();
    }

    /// Whoever waited for memory goes on, if there is some.
    fn resume(&self) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let Some(memory) = self.pool.get() else { return };
        let next = self.waiting.lock().pop();
        if next.is_some() {
            self.count.fetch_sub(1, Ordering::SeqCst);
        }
        match next {
            Some(transfer) if !sys::cpu_softintr_p() => send_in(memory.cast(), transfer),
            next => {
                // SAFETY: from this pool, unused.
                unsafe { self.pool.put(memory) };
                // The disk's thread asks for memory anew.
                next.inspect(|transfer| disk_of(*transfer).later(*transfer));
            }
        }
    }

    /// Takes a buffer back.
    ///
    /// # Safety
    /// It came from `send` and is not used any more.
    unsafe fn give(&self, bp: NonNull<buf>) {
        // SAFETY: initialised by `send_in`.
        unsafe { sys::buf_destroy(bp.as_ptr()) };
        // SAFETY: the caller's contract.
        unsafe { self.pool.put(bp.cast()) };
        self.resume();
    }
}

fn disk_of(transfer: NonNull<Transfer>) -> &'static OpenDisk {
    // SAFETY: `dm_kern_disk_submit` put an open disk there, and the driver keeps it open while
    // a transfer is under way.
    unsafe { &*ptr::with_exposed_provenance(get(transfer, DISK)) }
}

#[unsafe(no_mangle)]
unsafe fn dm_kern_disk_submit(disk: NonNull<()>, mut transfer: NonNull<Transfer>) {
    let disk: NonNull<OpenDisk> = disk.cast();
    // SAFETY: ours until it is done (contract of the seam).
    let op = unsafe {
        let transfer = transfer.as_mut();
        transfer.scratch = [disk.as_ptr().expose_provenance(), 0, 0, 0];
        transfer.op
    };
    match op {
        Op::Flush | Op::Discard => disk_of(transfer).later(transfer),
        // A disk's strategy may sleep, vnd(4)'s does: not in a soft interrupt, where completions
        // are.
        _ if sys::cpu_softintr_p() => disk_of(transfer).later(transfer),
        Op::Read | Op::Write | Op::WriteZeroes => send(transfer),
    }
}

/// The worker's part: what has to sleep, or would nest too deeply.
pub fn work(transfer: NonNull<Transfer>) {
    // SAFETY: ours until it is done.
    let what = unsafe { transfer.as_ref() };
    if get(transfer, STEP) != IDLE {
        return take(transfer);
    }
    if what.op == Op::Discard {
        let discarded = disk_of(transfer).vnode.discard(what.sector, what.count);
        end(transfer, discarded.err());
    } else if what.op == Op::Flush || get(transfer, DONE) >= bytes(what) {
        let flushed = disk_of(transfer).vnode.flush();
        end(transfer, flushed.err());
    } else {
        send(transfer);
    }
}

/// Strategy or completion context.
fn send(transfer: NonNull<Transfer>) {
    match glue::get() {
        Some(glue) => glue.buffers.send(transfer),
        None => end(transfer, Some(Errno::ENXIO)),
    }
}

/// Sends as much of a transfer as a disk takes at once.
fn send_in(memory: NonNull<buf>, transfer: NonNull<Transfer>) {
    let bp = memory.as_ptr();
    // SAFETY: ours until it is done.
    let what = unsafe { transfer.as_ref() };
    let done = what.scratch[DONE];
    let left = bytes(what).saturating_sub(done);
    let (data, most) = match what.op {
        Op::WriteZeroes => (zeroes(), ZEROES),
        _ => (what.data.wrapping_add(done), MOST),
    };
    let count = left.min(most) as c_int;
    let sector = what.sector.0 + done as u64 / SECTOR_SIZE;
    let direction = if what.op == Op::Read { sys::B_READ } else { sys::B_WRITE };
    // SAFETY: memory for a buffer, ours alone.
    unsafe { sys::buf_init(bp) };
    // SAFETY: just initialised. Without a vnode of its own nobody counts its output.
    let buffer = unsafe { &mut *bp };
    buffer.b_vp = ptr::null_mut();
    buffer.b_cflags = sys::BC_BUSY;
    buffer.b_flags = direction | sys::B_ASYNC;
    buffer.b_iodone = Some(sent);
    buffer.b_private = transfer.as_ptr().cast();
    buffer.b_data = data.cast();
    buffer.b_blkno = sector.cast_signed();
    buffer.b_bcount = count;
    buffer.b_bufsize = count;
    buffer.b_resid = count;
    let disk = disk_of(transfer);
    set(transfer, STEP, GIVING);
    // SAFETY: the buffer is ours, and `sent` takes it back.
    unsafe { disk.vnode.strategy(bp) };
    if step(transfer).compare_exchange(GIVING, GIVEN, Ordering::AcqRel, Ordering::Acquire).is_err()
    {
        take(transfer);
    }
}

/// Completion context. A buffer is back.
///
/// # Safety
/// Made by `send_in`.
unsafe extern "C" fn sent(bp: *mut buf) {
    // SAFETY: the kernel is done with it.
    let Some(transfer) = NonNull::new(unsafe { (*bp).b_private }.cast::<Transfer>()) else {
        return;
    };
    let before = step(transfer).swap(bp.expose_provenance(), Ordering::AcqRel);
    if before == GIVING {
        // Who gave it takes it back.
    } else if sys::cpu_softintr_p() {
        take(transfer);
    } else {
        disk_of(transfer).later(transfer);
    }
}

/// What a buffer that is back says.
fn take(transfer: NonNull<Transfer>) {
    let bp: *mut buf = ptr::with_exposed_provenance_mut(get(transfer, STEP));
    set(transfer, STEP, IDLE);
    // SAFETY: put there by `sent`, and the kernel is done with it.
    let buffer = unsafe { &*bp };
    let (error, resid, count) = (buffer.b_error, buffer.b_resid, buffer.b_bcount);
    if let (Some(glue), Some(bp)) = (glue::get(), NonNull::new(bp)) {
        // SAFETY: from the pool, and not used any more.
        unsafe { glue.buffers.give(bp) };
    }
    if error != 0 || resid != 0 {
        let errno = Errno::from_number(error).unwrap_or(Errno::EIO);
        return end(transfer, Some(errno));
    }
    let done = get(transfer, DONE) + count as usize;
    set(transfer, DONE, done);
    // SAFETY: ours until it is done.
    let what = unsafe { transfer.as_ref() };
    if done < bytes(what) || what.fua && what.op.writes() {
        disk_of(transfer).later(transfer);
    } else {
        end(transfer, None);
    }
}

fn bytes(transfer: &Transfer) -> usize {
    (transfer.count.0 * SECTOR_SIZE) as usize
}

fn end(transfer: NonNull<Transfer>, errno: Option<Errno>) {
    // SAFETY: submitted by the driver, and told of once.
    unsafe { entry::transfer_done(transfer, errno) };
}
