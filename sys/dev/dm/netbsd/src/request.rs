//! Requests from above: a buf(9) that reaches our strategy entry.

use crate::cell::Pool;
use crate::devsw::device;
use crate::glue::{self, Glue};
use crate::straight;
use crate::sys::{self, buf};
use crate::unit::Unit;
use core::alloc::Layout;
use core::ffi::c_int;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use dm::driver::Opened;
use dm::kern::cell::{IoCell, IoRequest};
use dm::kern::disk::Op;
use dm::kern::sync::SpinMutex;
use dm::protocol::{Errno, SECTOR_SIZE, Sector, Sectors};

/// True for a write that is durable when it is done.
#[cfg(netbsd10)]
const fn durable(flags: u32) -> bool {
    flags & sys::B_MEDIA_FUA != 0
}
/// Older kernels have no such writes: who wants that asks for a flush.
#[cfg(not(netbsd10))]
const fn durable(_: u32) -> bool {
    false
}

/// What we keep of a buffer under way. The cell comes first: the driver gives back only that.
#[repr(C)]
struct Request {
    cell: IoCell,
    bp: NonNull<buf>,
    unit: &'static Unit,
}

/// Memory for requests, and buffers that wait for it.
pub struct Requests {
    pool: Pool,
    waiting: SpinMutex<Waiting>,
    /// How many wait, so that nobody takes the lock when none does.
    count: AtomicUsize,
    draining: AtomicBool,
}

/// Buffers in a list, linked where a driver may link them.
#[derive(Default)]
struct Waiting {
    first: Option<NonNull<buf>>,
    last: Option<NonNull<buf>>,
}

// SAFETY: buffers that were given to us.
unsafe impl Send for Waiting {}

impl Waiting {
    fn push(&mut self, mut bp: NonNull<buf>) {
        // SAFETY: a buffer that is ours, whose queue link is the driver's.
        unsafe { bp.as_mut() }.b_u.u_actq.tqe_next = ptr::null_mut();
        match self.last.replace(bp) {
            // SAFETY: as above.
            Some(mut last) => unsafe { last.as_mut() }.b_u.u_actq.tqe_next = bp.as_ptr(),
            None => self.first = Some(bp),
        }
    }

    fn pop(&mut self) -> Option<NonNull<buf>> {
        let first = self.first?;
        // SAFETY: a queued buffer is ours.
        let links = unsafe { &first.as_ref().b_u };
        // SAFETY: `push` wrote it.
        self.first = NonNull::new(unsafe { links.u_actq.tqe_next });
        if self.first.is_none() {
            self.last = None;
        }
        Some(first)
    }
}

/// What a buffer asks for, and of whom.
pub struct Asked {
    pub unit: &'static Unit,
    pub opened: &'static Opened,
    pub request: IoRequest,
}

impl Requests {
    pub fn new() -> Self {
        let pool = Pool::new(Layout::new::<Request>(), c"dmreq");
        let waiting = SpinMutex::new(Waiting::default());
        Self { pool, waiting, count: AtomicUsize::new(0), draining: AtomicBool::new(false) }
    }

    fn queue(&self, bp: NonNull<buf>) {
        self.waiting.lock().push(bp);
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    /// Strategy or completion context; memory was given back. Starts what waited.
    fn drain(&self, glue: &'static Glue) {
        // One at a time, so that requests that end at once do not nest.
        while self.count.load(Ordering::SeqCst) != 0 && !self.draining.swap(true, Ordering::SeqCst)
        {
            let stuck = !self.start_waiting(glue);
            self.draining.store(false, Ordering::SeqCst);
            if stuck {
                // Whoever has the memory comes here when it is given back.
                return;
            }
        }
    }

    /// False when there is no memory.
    fn start_waiting(&self, glue: &'static Glue) -> bool {
        while let Some(memory) = self.pool.get() {
            let next = self.waiting.lock().pop();
            let Some(bp) = next else {
                // SAFETY: from this pool, unused.
                unsafe { self.pool.put(memory) };
                return true;
            };
            self.count.fetch_sub(1, Ordering::SeqCst);
            // SAFETY: ours until `biodone`.
            match asked(glue, unsafe { bp.as_ref() }) {
                Ok(asked) => begin(memory.cast(), bp, asked),
                Err(over) => {
                    // SAFETY: from this pool, unused.
                    unsafe { self.pool.put(memory) };
                    finish(bp, 0, over);
                }
            }
        }
        false
    }
}

/// The strategy entry.
///
/// # Safety
/// The kernel hands a buffer over, until `biodone`.
pub unsafe extern "C" fn strategy(bp: *mut buf) {
    let Some(mut bp) = NonNull::new(bp) else { return };
    // SAFETY: ours until `biodone`.
    let buffer = unsafe { bp.as_mut() };
    buffer.b_resid = buffer.b_bcount;
    let Some(glue) = glue::get() else { return finish(bp, 0, Some(Errno::ENXIO)) };
    let asked = match asked(glue, buffer) {
        Ok(asked) => asked,
        Err(over) => return finish(bp, 0, over),
    };
    if straight::send(glue, bp, &asked) {
        return;
    }
    match glue.requests.pool.get() {
        Some(memory) => begin(memory.cast(), bp, asked),
        None => {
            glue.requests.queue(bp);
            // All memory may have come back meanwhile.
            glue.requests.drain(glue);
        }
    }
}

/// Strategy or completion context.
#[inline(never)]
fn begin(memory: NonNull<Request>, bp: NonNull<buf>, asked: Asked) {
    let Asked { unit, opened, request } = asked;
    let cell = IoCell::new(IoRequest { context: memory.as_ptr().cast(), ..request });
    // SAFETY: memory for a request, ours alone.
    unsafe { memory.as_ptr().write(Request { cell, bp, unit }) };
    unit.busy();
    // SAFETY: fresh memory that `done` takes back; the data is the buffer's, as long as asked;
    // whoever sent the buffer has the device open until it is done.
    unsafe { opened.strategy(memory.cast()) };
}

/// Any context. What a buffer asks for, cut at the end of the device, where nothing more is
/// there to read; or how it ends at once.
#[inline(always)]
fn asked(glue: &'static Glue, buffer: &buf) -> Result<Asked, Option<Errno>> {
    let unit = glue.units.find(device(buffer.b_dev).0).ok_or(Some(Errno::ENXIO))?;
    let opened = unit.opened().ok_or(Some(Errno::ENXIO))?;
    let size = unit.size();
    let (Ok(sector), Ok(bytes)) = (u64::try_from(buffer.b_blkno), u64::try_from(buffer.b_bcount))
    else {
        return Err(Some(Errno::EINVAL));
    };
    let left = size.0.saturating_sub(sector);
    if bytes == 0 || sector == size.0 {
        return Err(None);
    }
    if bytes % SECTOR_SIZE != 0 || sector > size.0 {
        return Err(Some(Errno::EINVAL));
    }
    let request = IoRequest {
        op: if buffer.b_flags & sys::B_READ == 0 { Op::Write } else { Op::Read },
        fua: durable(buffer.b_flags),
        sector: Sector(sector),
        count: Sectors((bytes / SECTOR_SIZE).min(left)),
        data: buffer.b_data.cast(),
        done,
        context: ptr::null_mut(),
    };
    Ok(Asked { unit, opened, request })
}

/// Strategy or completion context. A request is over.
///
/// # Safety
/// `cell` was handed over by `begin`.
unsafe fn done(cell: NonNull<IoCell>, errno: Option<Errno>) {
    let memory = cell.cast::<Request>();
    // SAFETY: written by `begin`, and ours again.
    let request = unsafe { memory.as_ref() };
    let (bp, unit) = (request.bp, request.unit);
    let asked = request.cell.request();
    let bytes = (asked.count.0 * SECTOR_SIZE) as c_int;
    let moved = if errno.is_some() { 0 } else { bytes };
    unit.unbusy(moved, asked.op == Op::Read);
    let glue = glue::get();
    if let Some(glue) = glue {
        // SAFETY: from this pool, not used any more.
        unsafe { glue.requests.pool.put(memory.cast()) };
    }
    finish(bp, moved, errno);
    if let Some(glue) = glue {
        glue.requests.drain(glue);
    }
}

/// Gives a buffer back.
pub fn finish(mut bp: NonNull<buf>, moved: c_int, errno: Option<Errno>) {
    // SAFETY: ours until `biodone`.
    let buffer = unsafe { bp.as_mut() };
    buffer.b_error = errno.map_or(0, Errno::number);
    buffer.b_resid = buffer.b_bcount - moved;
    // SAFETY: handed over to us, and given back once.
    unsafe { sys::biodone(bp.as_ptr()) };
}
