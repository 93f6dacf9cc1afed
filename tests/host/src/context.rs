//! What belongs to one world: counts of everything the driver took, and faults.

use crate::memory::exempt;
use dm::driver::Driver;
use dm::kern::aes::Lender;
use dm::kern::raw::CellKind;
use dm_protocol::Geometry;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// What the driver takes and has to give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    /// A lock.
    Mutex,
    /// A condition.
    Condition,
    /// A thread.
    Thread,
    /// Memory for a nested request.
    IoCell,
    /// Memory for a child.
    ChildCell,
    /// An open disk.
    Disk,
    /// A node.
    Node,
    /// A request that was handed over.
    Request,
    /// A transfer that was handed to a disk.
    Transfer,
}

const THINGS: [Thing; 9] = [
    Thing::Mutex,
    Thing::Condition,
    Thing::Thread,
    Thing::IoCell,
    Thing::ChildCell,
    Thing::Disk,
    Thing::Node,
    Thing::Request,
    Thing::Transfer,
];

/// Calls of the seam that may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Opening a disk.
    DiskOpen,
    /// Memory for a nested request.
    IoCell,
    /// Memory for a child.
    ChildCell,
    /// Starting a thread.
    ThreadStart,
    /// Showing a device.
    NodeAttach,
    /// A transfer.
    Transfer,
}

/// Which call of the seam fails.
#[derive(Default)]
pub struct Faults {
    seen: AtomicU64,
    fail_at: AtomicU64,
    hit: AtomicBool,
    starved: AtomicBool,
    transfers_only: AtomicBool,
}

impl Faults {
    /// From now on the `n`-th fallible call fails, counted from 1; 0 for none.
    pub fn fail_nth(&self, n: u64) {
        self.seen.store(0, Ordering::SeqCst);
        self.hit.store(false, Ordering::SeqCst);
        self.fail_at.store(n, Ordering::SeqCst);
    }

    /// From now on only transfers count as calls. Their number does not depend on which thread
    /// is faster, as that of cells does.
    pub fn count_transfers_only(&self) {
        self.transfers_only.store(true, Ordering::SeqCst);
    }

    /// Did the call fail that should?
    #[must_use]
    pub fn hit(&self) -> bool {
        self.hit.load(Ordering::SeqCst)
    }

    /// How many fallible calls there were since [`Faults::fail_nth`].
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::SeqCst)
    }

    /// While true there is no memory for cells.
    pub fn starve(&self, starved: bool) {
        self.starved.store(starved, Ordering::SeqCst);
    }

    /// Counts a call; false if it is to fail.
    pub(crate) fn allow(&self, call: Call) -> bool {
        let cell = matches!(call, Call::IoCell | Call::ChildCell);
        if cell && self.starved.load(Ordering::SeqCst) {
            return false;
        }
        if call != Call::Transfer && self.transfers_only.load(Ordering::SeqCst) {
            return true;
        }
        let fail_at = self.fail_at.load(Ordering::SeqCst);
        let nth = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        if fail_at == nth {
            self.hit.store(true, Ordering::SeqCst);
        }
        fail_at != nth
    }
}

/// What a platform shows of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its size in sectors.
    pub size: u64,
    /// Bytes in one of its sectors.
    pub sector_size: u32,
    /// Writes are refused.
    pub readonly: bool,
    /// Discards reach a disk.
    pub discard: bool,
    /// The geometry that was set.
    pub geometry: Option<Geometry>,
}

/// The surroundings of one driver.
#[derive(Default)]
pub struct Context {
    /// Which call fails.
    pub faults: Faults,
    counts: [AtomicI64; THINGS.len()],
    nodes: Mutex<BTreeMap<u32, Node>>,
    driver: Mutex<Weak<Driver>>,
    log: Mutex<Vec<String>>,
    lender: Mutex<Option<&'static dyn Lender>>,
    interrupted: AtomicBool,
    skipped_ms: AtomicU64,
    clock_reads: AtomicU64,
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Context>>> = const { RefCell::new(None) };
}

impl Context {
    /// The context of this thread; one of its own if nobody gave it one.
    pub fn current() -> Arc<Self> {
        exempt(|| CURRENT.with(|current| Arc::clone(current.borrow_mut().get_or_insert_default())))
    }

    /// Makes this the context of the thread.
    pub fn enter(self: &Arc<Self>) {
        CURRENT.with(|current| *current.borrow_mut() = Some(Arc::clone(self)));
    }

    /// Counts what was taken.
    pub fn took(&self, thing: Thing) {
        self.counts[thing as usize].fetch_add(1, Ordering::SeqCst);
    }

    /// Counts what was given back.
    pub fn gave(&self, thing: Thing) {
        let before = self.counts[thing as usize].fetch_sub(1, Ordering::SeqCst);
        assert!(before > 0, "{thing:?} given back too often");
    }

    /// How many are out.
    pub fn out(&self, thing: Thing) -> i64 {
        self.counts[thing as usize].load(Ordering::SeqCst)
    }

    /// What is still out, in words; empty when nothing is.
    pub fn leaks(&self) -> String {
        let mut text = String::new();
        for thing in THINGS {
            let out = self.out(thing);
            if out != 0 {
                let _ = write!(text, "{out} x {thing:?} ");
            }
        }
        text
    }

    /// Sets the driver whose devices the nodes are.
    pub fn set_driver(&self, driver: &Arc<Driver>) {
        *self.driver.lock().expect("not poisoned") = Arc::downgrade(driver);
    }

    /// The driver, while it lives.
    pub fn driver(&self) -> Option<Arc<Driver>> {
        self.driver.lock().expect("not poisoned").upgrade()
    }

    /// The nodes, as last told.
    pub fn nodes(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Node>> {
        self.nodes.lock().expect("not poisoned")
    }

    /// Lines the driver logged.
    pub fn log(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.log.lock().expect("not poisoned")
    }

    /// From now on the platform lends this AES.
    pub fn lend(&self, lender: &'static dyn Lender) {
        *self.lender.lock().expect("not poisoned") = Some(lender);
    }

    /// Who lends an AES.
    pub(crate) fn lender(&self) -> Option<&'static dyn Lender> {
        *self.lender.lock().expect("not poisoned")
    }

    /// The clock goes forward by so much more.
    pub fn skip(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).expect("not so long");
        self.skipped_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// How often the driver looked at the clock.
    #[must_use]
    pub fn clock_reads(&self) -> u64 {
        self.clock_reads.load(Ordering::SeqCst)
    }

    /// The driver looks at the clock. Gives how much it was set forward.
    pub(crate) fn read_clock(&self) -> Duration {
        self.clock_reads.fetch_add(1, Ordering::SeqCst);
        Duration::from_millis(self.skipped_ms.load(Ordering::SeqCst))
    }

    /// Interruptible waits end while this is true.
    pub fn interrupt(&self, interrupted: bool) {
        self.interrupted.store(interrupted, Ordering::SeqCst);
    }

    /// Shall interruptible waits end?
    pub fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }
}

/// The thing and the call of a kind of cell.
#[must_use]
pub const fn cell(kind: CellKind) -> (Thing, Call) {
    match kind {
        CellKind::Io => (Thing::IoCell, Call::IoCell),
        CellKind::Child => (Thing::ChildCell, Call::ChildCell),
    }
}
