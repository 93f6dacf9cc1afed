//! Memory for the driver's requests and children: kept by each thread, shared by all.
//!
//! A thread takes from its own store, then from the common one, then from the heap. Tests limit
//! what there is, and see what was not given back.

use super::hold;
use dm::kern::cell::layout;
use dm::kern::raw::CellKind;
use std::alloc::{alloc, dealloc};
use std::cell::RefCell;
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

/// How many cells of a kind a thread keeps.
const KEEP: usize = 128;

/// Free cells of each kind.
///
/// # Invariants
/// Each is an allocation of its kind's layout, ours alone.
#[derive(Default)]
struct Store {
    io: Vec<NonNull<()>>,
    child: Vec<NonNull<()>>,
}

// SAFETY: it owns plain memory.
unsafe impl Send for Store {}

impl Store {
    const fn new() -> Self {
        Self { io: Vec::new(), child: Vec::new() }
    }

    const fn of(&mut self, kind: CellKind) -> &mut Vec<NonNull<()>> {
        match kind {
            CellKind::Io => &mut self.io,
            CellKind::Child => &mut self.child,
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let mut shared = hold(&SHARED);
        shared.io.append(&mut self.io);
        shared.child.append(&mut self.child);
    }
}

static SHARED: Mutex<Store> = Mutex::new(Store::new());

thread_local! {
    static OWN: RefCell<Store> = const { RefCell::new(Store::new()) };
}

static OUTSTANDING: [AtomicIsize; 2] = [AtomicIsize::new(0), AtomicIsize::new(0)];
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);
static FROM_HEAP: AtomicUsize = AtomicUsize::new(0);

/// For tests: how many cells of a kind the driver has, in the whole process. Zero without debug
/// assertions.
#[must_use]
pub fn outstanding(kind: CellKind) -> isize {
    OUTSTANDING[kind as usize].load(Ordering::Relaxed)
}

/// For tests: how many cells were taken from the heap because none was free.
#[must_use]
pub fn from_heap() -> usize {
    FROM_HEAP.load(Ordering::Relaxed)
}

/// For tests: in the whole process, only so many more cells are given; `usize::MAX` means no limit.
pub fn limit(cells: usize) {
    LIMIT.store(cells, Ordering::Relaxed);
}

pub(super) fn take(kind: CellKind) -> Option<NonNull<()>> {
    if LIMIT.load(Ordering::Relaxed) != usize::MAX {
        let less = |limit: usize| limit.checked_sub(1);
        LIMIT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok()?;
    }
    let own = OWN.try_with(|own| own.borrow_mut().of(kind).pop()).ok().flatten();
    let cell = own.or_else(|| refill(kind)).or_else(|| fresh(kind))?;
    if cfg!(debug_assertions) {
        OUTSTANDING[kind as usize].fetch_add(1, Ordering::Relaxed);
    }
    Some(cell)
}

/// # Safety
/// `cell` came from `take` of the same kind and is given back once.
pub(super) unsafe fn give(kind: CellKind, cell: NonNull<()>) {
    if cfg!(debug_assertions) {
        OUTSTANDING[kind as usize].fetch_sub(1, Ordering::Relaxed);
    }
    let kept = OWN.try_with(|own| {
        let mut own = own.borrow_mut();
        let cells = own.of(kind);
        if cells.capacity() == 0 {
            cells.reserve_exact(KEEP);
        }
        cells.push(cell);
        if cells.len() == KEEP {
            hold(&SHARED).of(kind).extend(cells.drain(KEEP / 2..));
        }
    });
    if kept.is_err() {
        // SAFETY: allocated with this layout by `fresh` (the caller's contract).
        unsafe { dealloc(cell.as_ptr().cast(), layout(kind)) };
    }
}

/// Moves some cells from the common store to the thread's own; returns one of them.
fn refill(kind: CellKind) -> Option<NonNull<()>> {
    let mut shared = hold(&SHARED);
    let cells = shared.of(kind);
    let cell = cells.pop()?;
    let rest = cells.len() - cells.len().min(KEEP / 4);
    let _ = OWN.try_with(|own| own.borrow_mut().of(kind).extend(cells.drain(rest..)));
    Some(cell)
}

fn fresh(kind: CellKind) -> Option<NonNull<()>> {
    FROM_HEAP.fetch_add(1, Ordering::Relaxed);
    let layout = layout(kind);
    debug_assert_ne!(layout.size(), 0);
    // SAFETY: a cell's size is not zero.
    NonNull::new(unsafe { alloc(layout) }).map(NonNull::cast)
}

/// Puts cells into the calling thread's store, so that the next ones need no heap.
pub fn warm(kind: CellKind, count: usize) {
    let cells: Vec<_> = (0..count.min(KEEP / 2)).filter_map(|_| fresh(kind)).collect();
    let _ = OWN.try_with(|own| {
        let mut own = own.borrow_mut();
        let store = own.of(kind);
        store.reserve_exact(KEEP);
        store.extend(cells);
        let over = store.len().saturating_sub(KEEP - 1);
        let over: Vec<_> = store.drain(..over).collect();
        drop(own);
        hold(&SHARED).of(kind).extend(over);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_given_back_is_taken_again() {
        let cell = take(CellKind::Child).unwrap();
        // SAFETY: taken above.
        unsafe { give(CellKind::Child, cell) };
        assert_eq!(take(CellKind::Child), Some(cell));
        // SAFETY: taken above.
        unsafe { give(CellKind::Child, cell) };
    }

    #[test]
    fn many_cells_go_round_between_threads() {
        for _ in 0..3 {
            let cells: Vec<_> =
                (0..1000).map(|_| take(CellKind::Io).unwrap().as_ptr() as usize).collect();
            let giver = std::thread::spawn(move || {
                for cell in cells {
                    let cell = NonNull::new(cell as *mut ()).unwrap();
                    // SAFETY: taken by the other thread, which gave them up.
                    unsafe { give(CellKind::Io, cell) };
                }
            });
            giver.join().unwrap();
        }
    }
}
