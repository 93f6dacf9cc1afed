//! Strategy and completion allocate nothing, once a few cells are there.

mod setup;

use dm::kern::disk::Op;
use dm_host::kern::context;
use dm_host::mapped::{Ask, Finish, Io, Mapped};
use dm_protocol::{Errno, Sector, Sectors, SegmentSpec};
use setup::Setup;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Counts what is allocated where nothing may be.
struct Counting;

static FORBIDDEN: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !context::may_sleep() {
            FORBIDDEN.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if !context::may_sleep() {
            FORBIDDEN.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(memory, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type Back = Box<Io<Return>>;

struct Return(SyncSender<Back>);

impl Finish for Return {
    fn finish(io: Back, result: Result<(), Errno>) {
        assert_eq!(result, Ok(()));
        let sender = io.own.0.clone();
        sender.send(io).expect("somebody waits");
    }
}

fn round(mapped: &Arc<Mapped>, ios: &mut Vec<Back>, receiver: &Receiver<Back>) {
    for op in [Op::Write, Op::Read, Op::Flush, Op::WriteZeroes, Op::Discard] {
        let count = ios.len();
        for (number, io) in ios.drain(..).enumerate() {
            // Across two segments, and in several pieces on the striped one.
            mapped.submit(io, Ask::new(op, Sector(number as u64 * 8 + 4), Sectors(64)));
        }
        ios.extend(receiver.iter().take(count));
    }
}

#[test]
fn requests_run_without_the_heap() {
    if !cfg!(debug_assertions) {
        return dm_skip::skip("without debug assertions contexts are not known");
    }
    let setup = Setup::new();
    let table = vec![
        SegmentSpec::new(0, 1000, "linear", "mem:allocations-a:4096 0"),
        SegmentSpec::new(
            1000,
            1024,
            "striped",
            "2 8 mem:allocations-a 1024 mem:allocations-b:512 0",
        ),
    ];
    let below = setup.device("allocations-below", table);
    let table = vec![SegmentSpec::new(0, 2024, "linear", &format!("253:{below} 0"))];
    let minor = setup.device("allocations", table);
    let mapped = Arc::new(Mapped::open(&setup.driver, minor, true).expect("it opens"));
    let (sender, receiver) = sync_channel(256);
    let mut ios: Vec<_> = (0..200).map(|_| Io::new(Return(sender.clone()))).collect();
    for io in &mut ios {
        io.reserve(Sectors(64)).expect("memory");
    }
    for _ in 0..3 {
        round(&mapped, &mut ios, &receiver);
    }
    // The first rounds needed memory: for cells, and for the disks.
    assert_ne!(FORBIDDEN.swap(0, Ordering::Relaxed), 0, "allocations are seen");
    for _ in 0..10 {
        round(&mapped, &mut ios, &receiver);
    }
    assert_eq!(FORBIDDEN.load(Ordering::Relaxed), 0);
}
