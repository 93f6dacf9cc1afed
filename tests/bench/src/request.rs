//! Requests of 4 KiB, to a mapped device or straight to the disk below.

use crate::heap;
use crate::sample::busy_ns;
use crate::slow::SlowDisk;
use dm::driver::Opened;
use dm::kern::cell::{IoCell, IoRequest};
use dm::kern::disk::{Op, Transfer};
use dm_protocol::{Errno, SECTOR_SIZE, Sector, Sectors};
use std::cell::{Cell, UnsafeCell};
use std::hint::black_box;
use std::ptr::{self, NonNull};
use std::time::Duration;

/// Sectors in a request.
pub const SECTORS: u64 = 8;

/// Reads before those that are measured.
const WARM: u64 = 20_000;

/// A disk that ends every transfer at once, unless it is a slow one.
#[derive(Default)]
pub struct NullDisk {
    _number: u64,
    /// What it keeps; none if it keeps nothing.
    memory: Box<[Page]>,
    slow: Option<SlowDisk>,
}

/// Where bytes stand in a page decides how fast they are copied, so all stand at its beginning.
#[repr(align(4096))]
struct Page(UnsafeCell<[u8; 4096]>);

// SAFETY: whoever asks for one place at the same time from two threads gets any bytes, which
// no measurement looks at.
unsafe impl Sync for NullDisk {}

impl NullDisk {
    /// A disk in so many bytes of memory.
    pub fn in_memory(bytes: usize) -> Self {
        let pages = bytes.div_ceil(size_of::<Page>());
        let memory = (0..pages).map(|_| Page(UnsafeCell::new([0; 4096]))).collect();
        Self { memory, ..Self::default() }
    }

    /// A disk that takes so long for each transfer, and keeps nothing.
    pub fn slow(service: Duration) -> Self {
        Self { slow: Some(SlowDisk::new(service)), ..Self::default() }
    }

    /// What ends the transfers of a slow disk.
    pub const fn slowly(&self) -> Option<&SlowDisk> {
        self.slow.as_ref()
    }

    /// What the disk does in a transfer.
    #[inline]
    pub fn copy(&self, transfer: &Transfer) {
        let page = (transfer.sector.0 / SECTORS) as usize;
        let bytes = (transfer.count.0 * SECTOR_SIZE) as usize;
        let Some(Page(page)) = self.memory.get(page) else { return };
        assert!(bytes <= 4096 && transfer.sector.0.is_multiple_of(SECTORS));
        let place: *mut u8 = page.get().cast();
        match transfer.op {
            // SAFETY: memory of the transfer, and a place of ours of the same length.
            Op::Read => unsafe { ptr::copy_nonoverlapping(place, transfer.data, bytes) },
            // SAFETY: as above.
            _ => unsafe { ptr::copy_nonoverlapping(transfer.data, place, bytes) },
        }
    }
}

/// In which order a device is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One request behind the other.
    Sequential,
    /// Anywhere.
    Random,
}

/// Where requests go.
#[derive(Clone, Copy)]
pub enum To<'a> {
    /// Through the driver.
    Device(&'a Opened),
    /// To the disk itself: what nobody can undercut who uses this request structure.
    Disk(&'a NullDisk),
}

/// The places of requests, which go on where the last measurement ended.
pub struct Places {
    order: Order,
    /// How many requests fit on the device.
    units: u64,
    state: u64,
}

impl Places {
    /// Places within the first `units` times 4 KiB.
    pub const fn new(order: Order, units: u64, seed: u64) -> Self {
        let state = match order {
            Order::Sequential => 0,
            Order::Random => 0x9e37_79b9_7f4a_7c15 ^ (seed << 17),
        };
        Self { order, units, state }
    }

    /// The next place.
    #[inline]
    pub fn next(&mut self) -> Sector {
        let unit = match self.order {
            Order::Sequential => {
                self.state = if self.state + 1 < self.units { self.state + 1 } else { 0 };
                self.state
            }
            Order::Random => {
                self.state ^= self.state << 13;
                self.state ^= self.state >> 7;
                self.state ^= self.state << 17;
                ((self.state >> 32) * self.units) >> 32
            }
        };
        Sector(unit * SECTORS)
    }
}

/// What came back.
#[derive(Default)]
struct Tally {
    ended: Cell<u64>,
    failed: Cell<u64>,
}

/// Reads `count` times; gives the nanoseconds of one.
///
/// # Panics
/// When a request fails or is lost, or memory was taken for one.
pub fn read(to: To<'_>, places: &mut Places, count: u64) -> f64 {
    act(Op::Read, to, places, count)
}

/// Reads or writes `count` times; gives the nanoseconds of one.
///
/// # Panics
/// When a request fails or is lost, or memory was taken for one.
pub fn act(op: Op, to: To<'_>, places: &mut Places, count: u64) -> f64 {
    let mut page = Box::new(Page(UnsafeCell::new([0; 4096])));
    let data = page.0.get_mut();
    let tally = Tally::default();
    // They fill this thread's store of cells, and the caches, which others used meanwhile.
    send(op, to, places, WARM, data, &tally);
    let taken = heap::taken();
    let ns = busy_ns(|| send(op, to, places, count, data, &tally));
    assert_eq!(heap::taken(), taken, "memory was taken for requests");
    assert_eq!((tally.ended.get(), tally.failed.get()), (count + WARM, 0), "requests went wrong");
    ns / count as f64
}

#[inline(never)]
fn send(op: Op, to: To<'_>, places: &mut Places, count: u64, data: &mut [u8], tally: &Tally) {
    assert!(data.len() as u64 >= SECTORS * SECTOR_SIZE);
    for _ in 0..count {
        let mut cell = IoCell::new(IoRequest {
            op,
            fua: false,
            sector: places.next(),
            count: Sectors(SECTORS),
            data: data.as_mut_ptr(),
            done,
            context: ptr::from_ref(tally).cast_mut().cast(),
        });
        let cell = black_box(NonNull::from(&mut cell));
        match to {
            // SAFETY: the cell is new and stays here until `done`, which the disk calls before
            // this returns; so do data and device.
            To::Device(opened) => unsafe { opened.strategy(cell) },
            // SAFETY: as above.
            To::Disk(disk) => unsafe { straight(disk, cell) },
        }
    }
}

/// # Safety
/// Called with a cell made by `send`.
unsafe fn done(cell: NonNull<IoCell>, errno: Option<Errno>) {
    // SAFETY: given back, so it is nobody else's.
    let context = unsafe { cell.as_ref() }.request().context;
    // SAFETY: `send` put its tally there.
    let tally = unsafe { &*context.cast::<Tally>() };
    tally.ended.set(tally.ended.get() + 1);
    if errno.is_some() {
        tally.failed.set(tally.failed.get() + 1);
    }
}

/// The same request without a driver: it becomes a transfer, the disk ends it, its `done` is
/// called.
///
/// # Safety
/// As `Opened::strategy`.
#[inline(never)]
unsafe fn straight(disk: &NullDisk, cell: NonNull<IoCell>) {
    // SAFETY: the caller's contract.
    let request = unsafe { cell.as_ref() }.request();
    let transfer = Transfer {
        op: request.op,
        fua: request.fua,
        sector: request.sector,
        count: request.count,
        data: request.data,
        scratch: [cell.as_ptr() as usize, 0, 0, 0],
    };
    submit(disk, &transfer);
}

#[inline(never)]
fn submit(disk: &NullDisk, transfer: &Transfer) {
    black_box(disk).copy(transfer);
    ended(black_box(transfer));
}

#[inline(never)]
fn ended(transfer: &Transfer) {
    let Some(cell) = NonNull::new(transfer.scratch[0] as *mut IoCell) else { return };
    // SAFETY: `straight` put its cell there, which nobody else has.
    let done = unsafe { cell.as_ref() }.request().done;
    // SAFETY: once for each cell.
    unsafe { done(cell, None) };
}
