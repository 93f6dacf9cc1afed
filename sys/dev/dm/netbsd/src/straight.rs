//! Requests that go to one disk as they are, which most do: a buffer for the disk is all that
//! they need. What else comes is the business of `request`.

use crate::disk::OpenDisk;
use crate::glue::Glue;
use crate::request::{self, Asked};
use crate::sys::{self, buf};
use crate::unit::Unit;
use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::ffi::c_int;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU64, Ordering};
use dm::kern::clock;
use dm::kern::straight::Straight;
use dm::protocol::{Errno, SECTOR_SIZE};

/// Bits of [`Set::free`].
const COUNT: usize = 64;

/// A request under way. The buffer comes first: the disk gives back only that.
///
/// # Invariants
/// `buf` is initialised. `under` is so from [`send`] to [`back`]. `free` and `bit` tell of the
/// set that it belongs to, which stays.
#[repr(C)]
struct Place {
    buf: MaybeUninit<buf>,
    under: MaybeUninit<Under>,
    set: *const Set,
    bit: u64,
}

/// What is under way.
struct Under {
    above: NonNull<buf>,
    unit: &'static Unit,
    straight: Straight<'static>,
}

/// Places of one CPU, alone in their cache lines.
#[repr(align(128))]
struct Set {
    /// Which are free.
    free: AtomicU64,
    places: [UnsafeCell<MaybeUninit<Place>>; COUNT],
}

// SAFETY: a place is used only by who took its bit out of `free`.
unsafe impl Sync for Set {}
// SAFETY: as above.
unsafe impl Send for Set {}

/// Buffers that are made once and used again and again. When all of a CPU are out, requests go
/// the other way.
pub struct Places(Box<[Box<Set>]>);

impl Places {
    pub fn new() -> Self {
        Self((0..clock::slot_count()).map(|_| Set::new()).collect())
    }

    /// Any context. A place that is free now.
    #[inline]
    fn get(&self) -> Option<NonNull<Place>> {
        let set = self.0.get(clock::slot(self.0.len()))?;
        let free = set.free.load(Ordering::Relaxed);
        let number = free.trailing_zeros();
        let place = set.places.get(number as usize)?;
        let bit = 1 << number;
        // Somebody else on this CPU may have been faster.
        let taken = set.free.fetch_and(!bit, Ordering::Acquire) & bit != 0;
        NonNull::new(place.get().cast()).filter(|_| taken)
    }

    /// Any context. Gives a place back.
    ///
    /// # Safety
    /// From `get`, and not used any more.
    #[inline]
    unsafe fn put(place: NonNull<Place>) {
        // SAFETY: made by `Set::new`.
        let &Place { set, bit, .. } = unsafe { place.as_ref() };
        // SAFETY: the set stays longer than its places are used.
        let set = unsafe { &*set };
        set.free.fetch_or(bit, Ordering::Release);
    }
}

impl Set {
    fn new() -> Box<Self> {
        // In its place from the beginning, for it is larger than a kernel's stack.
        let mut set = Box::<Self>::new_uninit();
        let start = set.as_mut_ptr();
        // SAFETY: within the memory.
        let free = unsafe { &raw mut (*start).free };
        // SAFETY: as above, ours alone.
        unsafe { free.write(AtomicU64::new(u64::MAX)) };
        // SAFETY: the other field may be uninitialised.
        let mut set = unsafe { set.assume_init() };
        let home = &raw const *set;
        for (number, place) in set.places.iter_mut().enumerate() {
            let (buf, under) = (MaybeUninit::uninit(), MaybeUninit::uninit());
            let place = place.get_mut().write(Place { buf, under, set: home, bit: 1 << number });
            // SAFETY: memory for a buffer, ours alone.
            unsafe { sys::buf_init(place.buf.as_mut_ptr()) };
        }
        set
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        for place in &mut self.places {
            // SAFETY: written by `new`.
            let place = unsafe { place.get_mut().assume_init_mut() };
            // SAFETY: initialised by `new`, and nothing is under way.
            unsafe { sys::buf_destroy(place.buf.as_mut_ptr()) };
        }
    }
}

/// Strategy context. False if the request has to go another way.
#[inline(always)]
pub fn send(glue: &'static Glue, bp: NonNull<buf>, asked: &Asked) -> bool {
    let &Asked { unit, opened, request: ref asked } = asked;
    // SAFETY: ours until `biodone`.
    let buffer = unsafe { bp.as_ref() };
    let bytes = asked.count.0 * SECTOR_SIZE;
    if asked.fua || bytes > u64::from(sys::MAXPHYS) || sys::cpu_softintr_p() {
        return false;
    }
    let Some((straight, disk, sector)) = opened.straight(asked.op, asked.sector, asked.count)
    else {
        return false;
    };
    let Some(mut place) = glue.places.get() else { return false };
    // SAFETY: taken just now, so ours alone.
    let place = unsafe { place.as_mut() };
    place.under.write(Under { above: bp, unit, straight });
    let count = bytes as c_int;
    // SAFETY: initialised by `Set::new`. Without a vnode of its own nobody counts its output.
    let below = unsafe { place.buf.assume_init_mut() };
    below.b_vp = ptr::null_mut();
    below.b_cflags = sys::BC_BUSY;
    below.b_oflags = 0;
    below.b_flags = buffer.b_flags & sys::B_READ | sys::B_ASYNC;
    below.b_error = 0;
    below.b_iodone = Some(back);
    below.b_data = asked.data.cast();
    below.b_blkno = sector.0.cast_signed();
    below.b_bcount = count;
    below.b_bufsize = count;
    below.b_resid = count;
    unit.busy();
    // SAFETY: a handle of ours, and the disk stays open while `straight` is there.
    let disk = unsafe { disk.cast::<OpenDisk>().as_ref() };
    // SAFETY: the buffer is ours, and `back` takes it.
    unsafe { disk.vnode.strategy(below) };
    true
}

/// Completion context. A buffer is back.
///
/// # Safety
/// Sent by `send`.
unsafe extern "C" fn back(bp: *mut buf) {
    let Some(mut home) = NonNull::new(bp.cast::<Place>()) else { return };
    // SAFETY: the kernel is done with it, and a place begins with its buffer.
    let place = unsafe { home.as_mut() };
    // SAFETY: initialised by `Set::new`.
    let below = unsafe { place.buf.assume_init_ref() };
    let (count, read) = (below.b_bcount, below.b_flags & sys::B_READ != 0);
    let errno = match (below.b_error, below.b_resid) {
        (0, 0) => None,
        (error, _) => Some(Errno::from_number(error).unwrap_or(Errno::EIO)),
    };
    // SAFETY: written by `send`, and read out once.
    let Under { above, unit, straight } = unsafe { place.under.assume_init_read() };
    // SAFETY: from `get`, and read out.
    unsafe { Places::put(home) };
    let moved = if errno.is_some() { 0 } else { count };
    unit.unbusy(moved, read);
    straight.end(errno);
    request::finish(above, moved, errno);
}
