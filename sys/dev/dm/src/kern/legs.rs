//! One part that goes to several places at the same time, as a mirror's writes do.
//!
//! [`Legs`] hold the memory for a number of such parts, set aside when the table is loaded.
//! All legs of a part transfer the part's own memory. When the last leg is over, its memory
//! goes back, and then the part comes back to its target.

use super::child::{Child, ChildCell, Home, Owner, Piece};
use super::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use super::sync::{Condition, Guard, Interrupt, SpinMutex};
use crate::io;
use crate::lower::Lower;
use crate::target::Part;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::mem::{self, MaybeUninit};
use core::ptr::NonNull;
use dm_protocol::{Errno, Sector};

/// The most legs that a part can have: each is a bit of a word.
pub const LEGS_MAX: usize = 64;

/// The memory for one part: a child for each leg.
///
/// # Invariants
/// `part` is set from the sending until the last leg is over. A cell belongs to its leg while
/// that is under way.
pub(super) struct Set {
    part: UnsafeCell<Option<Child>>,
    /// Legs under way, and one while they are being sent.
    left: AtomicU32,
    /// The legs that failed, by bit.
    failed: AtomicU64,
    errno: AtomicI32,
    cells: Box<[UnsafeCell<MaybeUninit<ChildCell>>]>,
    home: NonNull<Stable>,
}

/// Where sets are at home.
struct Stable {
    idle: SpinMutex<Idle>,
    more: Condition,
    all: usize,
}

struct Idle {
    /// Has room for all.
    sets: Vec<NonNull<Set>>,
    /// Threads that wait for one, or for all.
    waiting: usize,
}

// SAFETY: an idle set belongs to who takes it, whichever thread that is.
unsafe impl Send for Idle {}

/// Memory for a number of parts with several legs each.
///
/// # Invariants
/// `stable` is a leaked box, freed by our drop once all sets are back.
pub struct Legs {
    stable: NonNull<Stable>,
}

// SAFETY: it owns the stable, which is `Send`.
unsafe impl Send for Legs {}
// SAFETY: the stable is `Sync`.
unsafe impl Sync for Legs {}

/// Memory for the legs of one part.
///
/// # Invariants
/// `set` is idle, and ours until it is used or given back.
pub struct LegSet {
    set: NonNull<Set>,
}

// SAFETY: an idle set may be used by any thread.
unsafe impl Send for LegSet {}

impl Legs {
    /// Thread context. For `parts` parts at a time of `width` legs each, at most [`LEGS_MAX`].
    ///
    /// # Errors
    /// ENOMEM; EINVAL for more legs.
    pub fn new(width: usize, parts: usize) -> Result<Self, Errno> {
        if width > LEGS_MAX {
            return Err(Errno::EINVAL);
        }
        let mut sets = Vec::new();
        sets.try_reserve_exact(parts).map_err(|_| Errno::ENOMEM)?;
        let idle = SpinMutex::new(Idle { sets, waiting: 0 });
        let more = Condition::new();
        let home = NonNull::from(Box::leak(Box::new(Stable { idle, more, all: parts })));
        let legs = Self { stable: home };
        for _ in 0..parts {
            let set = Box::leak(Box::new(Set::new(width, home)));
            legs.stable().idle.lock().sets.push(NonNull::from(set));
        }
        Ok(legs)
    }

    fn stable(&self) -> &Stable {
        // SAFETY: leaked, and freed by our drop only (type invariant).
        unsafe { self.stable.as_ref() }
    }

    /// Any context. Memory for a part, if there is some now.
    #[must_use]
    pub fn take(&self) -> Option<LegSet> {
        self.stable().idle.lock().sets.pop().map(|set| LegSet { set })
    }

    /// Thread context; sleeps. Memory for a part.
    #[must_use]
    pub fn wait(&self) -> LegSet {
        let mut idle = self.stable().idle.lock();
        loop {
            if let Some(set) = idle.sets.pop() {
                return LegSet { set };
            }
            self.sleep(&mut idle);
        }
    }

    fn sleep(&self, idle: &mut Guard<'_, Idle, Interrupt>) {
        idle.waiting = idle.waiting.saturating_add(1);
        self.stable().more.wait(idle);
        idle.waiting = idle.waiting.saturating_sub(1);
    }
}

impl Drop for Legs {
    fn drop(&mut self) {
        let stable = self.stable();
        let mut idle = stable.idle.lock();
        while idle.sets.len() < stable.all {
            self.sleep(&mut idle);
        }
        let sets = mem::take(&mut idle.sets);
        drop(idle);
        for set in sets {
            // SAFETY: leaked by `new`, and idle.
            drop(unsafe { Box::from_raw(set.as_ptr()) });
        }
        // SAFETY: leaked by `new`; all sets are back, so nobody refers to it.
        drop(unsafe { Box::from_raw(self.stable.as_ptr()) });
    }
}

impl Set {
    fn new(width: usize, home: NonNull<Stable>) -> Self {
        Self {
            part: UnsafeCell::new(None),
            left: AtomicU32::new(0),
            failed: AtomicU64::new(0),
            errno: AtomicI32::new(0),
            cells: (0..width).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
            home,
        }
    }

    /// Any context. Counts one leg, or the sending, as over; the last gives the part back.
    fn step(set: NonNull<Self>) {
        // SAFETY: not over yet, since our own step is still to come.
        let this = unsafe { set.as_ref() };
        if this.left.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let errno = Errno::from_number(this.errno.load(Ordering::Relaxed));
        let failed = this.failed.load(Ordering::Relaxed);
        // SAFETY: nobody else is left (invariant of the set).
        let part = unsafe { (*this.part.get()).take() };
        drop(LegSet { set });
        if let Some(mut part) = part {
            *part.cookie() = failed;
            io::child_done(part, errno);
        }
    }
}

impl LegSet {
    /// How many legs it has memory for.
    #[must_use]
    pub fn width(&self) -> usize {
        self.set().cells.len()
    }

    fn set(&self) -> &Set {
        // SAFETY: idle and ours (type invariant).
        unsafe { self.set.as_ref() }
    }

    /// Any context. Sends `part` to every place that `place` gives for a leg, and then, when
    /// all are over, to [`Target::done`](crate::target::Target::done), with the first error.
    /// The part's cookie then tells which legs failed: bit `n` for leg `n`. A part that goes
    /// nowhere comes back with EIO and no bit set.
    pub fn send<'a>(self, part: Part, mut place: impl FnMut(usize) -> Option<(&'a Lower, Sector)>) {
        let pointer = self.set;
        let set = self.set();
        let child = part.into_child();
        let (op, fua, count) = (child.op(), child.fua(), child.count());
        let (data, fits) = (child.outgoing_data(), child.fits());
        set.failed.store(0, Ordering::Relaxed);
        set.errno.store(Errno::EIO.number(), Ordering::Relaxed);
        set.left.store(1, Ordering::Relaxed);
        // SAFETY: the set is idle, so nobody else looks.
        unsafe { *set.part.get() = Some(child) };
        let mut sent = false;
        for (number, cell) in (0..).zip(&set.cells) {
            let Some((lower, sector)) = place(number as usize).filter(|_| fits) else { continue };
            if !sent {
                sent = true;
                set.errno.store(0, Ordering::Relaxed);
            }
            let piece = Piece { op, fua, at: sector, count };
            let leg = ChildCell::new(Owner::Leg(pointer, number), Home::Owner, piece, data);
            // SAFETY: no leg uses the cell now (invariant of the set).
            let cell = unsafe { (*cell.get()).write(leg) };
            set.left.fetch_add(1, Ordering::Relaxed);
            // SAFETY: the cell stays until the leg is over, and the part's memory with it.
            let leg = unsafe { Child::kept_by_owner(NonNull::from(cell)) };
            lower.submit(leg, sector);
        }
        mem::forget(self);
        Set::step(pointer);
    }
}

impl Drop for LegSet {
    fn drop(&mut self) {
        let home = self.set().home;
        // SAFETY: the stable stays until all sets are back, which this one is not yet.
        let stable = unsafe { home.as_ref() };
        let mut idle = stable.idle.lock();
        // Room for all was reserved.
        idle.sets.push(self.set);
        if idle.waiting != 0 {
            stable.more.signal();
        }
    }
}

/// Any context. A leg is over.
///
/// # Safety
/// It was sent with this set, and this is called once for it.
pub(super) unsafe fn returned(set: NonNull<Set>, number: u32, errno: Option<Errno>) {
    // SAFETY: the set is not idle before this leg's step.
    let this = unsafe { set.as_ref() };
    if let Some(errno) = errno {
        this.failed.fetch_or(1_u64.checked_shl(number).unwrap_or(0), Ordering::Relaxed);
        let (none, this_one) = (0, errno.number());
        let order = Ordering::Relaxed;
        let _ = this.errno.compare_exchange(none, this_one, order, order);
    }
    Set::step(set);
}
