//! Several requests of 4 KiB under way at the same time, by the clock.

use crate::request::{Places, SECTORS};
use dm::driver::Opened;
use dm::kern::cell::{IoCell, IoRequest};
use dm::kern::disk::Op;
use dm_protocol::{Errno, SECTOR_SIZE, Sectors};
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Instant;

/// Room for one request.
struct Slot {
    cell: UnsafeCell<MaybeUninit<IoCell>>,
    data: UnsafeCell<Vec<u8>>,
    /// Nobody uses it.
    free: AtomicBool,
    failed: AtomicBool,
    waiter: Thread,
}

/// Writes `count` times, never more than `depth` at once; gives the nanoseconds of one.
///
/// # Panics
/// When a request fails.
pub fn write(device: &Opened, places: &mut Places, count: u64, depth: usize) -> f64 {
    let slot = || Slot {
        cell: UnsafeCell::new(MaybeUninit::uninit()),
        data: UnsafeCell::new(vec![1; (SECTORS * SECTOR_SIZE) as usize]),
        free: AtomicBool::new(true),
        failed: AtomicBool::new(false),
        waiter: thread::current(),
    };
    let slots: Vec<Slot> = (0..depth).map(|_| slot()).collect();
    let free = |slot: &&Slot| slot.free.load(Ordering::Acquire);
    let begin = Instant::now();
    let mut sent = 0;
    while sent < count {
        match slots.iter().find(free) {
            Some(slot) => {
                send(device, places, slot);
                sent += 1;
            }
            None => thread::park(),
        }
    }
    while !slots.iter().all(|slot| free(&slot)) {
        thread::park();
    }
    let ns = begin.elapsed().as_nanos() as f64;
    assert!(!slots.iter().any(|slot| slot.failed.load(Ordering::Relaxed)), "a write failed");
    ns / count as f64
}

fn send(device: &Opened, places: &mut Places, slot: &Slot) {
    slot.free.store(false, Ordering::Relaxed);
    // SAFETY: the slot is free, so nobody else looks.
    let data = unsafe { (*slot.data.get()).as_mut_ptr() };
    let request = IoRequest {
        op: Op::Write,
        fua: false,
        sector: places.next(),
        count: Sectors(SECTORS),
        data,
        done,
        context: ptr::from_ref(slot).cast_mut().cast(),
    };
    // SAFETY: as above.
    let cell = unsafe { (*slot.cell.get()).write(IoCell::new(request)) };
    // SAFETY: cell, data and device stay until `done`, which `write` waits for.
    unsafe { device.strategy(NonNull::from(cell)) };
}

/// # Safety
/// Called with a cell made by `send`.
unsafe fn done(cell: NonNull<IoCell>, errno: Option<Errno>) {
    // SAFETY: given back, so it is nobody else's.
    let context = unsafe { cell.as_ref() }.request().context;
    // SAFETY: `send` put its slot there, which stays until it is free.
    let slot = unsafe { &*context.cast::<Slot>() };
    if errno.is_some() {
        slot.failed.store(true, Ordering::Relaxed);
    }
    let waiter = slot.waiter.clone();
    slot.free.store(true, Ordering::Release);
    waiter.unpark();
}
