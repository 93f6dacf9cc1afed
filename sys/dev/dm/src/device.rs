//! A mapped device: its name, its two tables, and whether requests may enter.

use crate::event::Event;
use crate::gate::Gate;
use crate::io;
use crate::kern::cell::{IoQueue, IoRef, Live, NestedCell};
use crate::kern::child::{Child, ChildQueue};
use crate::kern::node::{self, NodeState};
use crate::kern::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::kern::sync::{Mutex, MutexGuard, SpinMutex};
use crate::stats::Stats;
use crate::table::Table;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use dm_protocol::{DeviceName, Errno, Failure, Geometry, Sectors, Uuid};

/// A mapped device.
///
/// Locks, in this order: `control`, `notice`, the driver's, `state`, `queue`, `nested`.
pub struct Device {
    minor: u32,
    /// Held by a command that changes tables or suspends, for as long as that takes.
    pub(crate) control: Mutex<()>,
    pub(crate) state: Mutex<State>,
    pub(crate) gate: Gate,
    pub(crate) live: Live,
    queue: SpinMutex<IoQueue>,
    nested: SpinMutex<Nested>,
    /// Children that wait for memory, and one more while the reserve is out.
    hungry: AtomicUsize,
    dead: AtomicBool,
    readonly: AtomicBool,
    size: AtomicU64,
    sector_size: AtomicU32,
    /// Held while the platform is told of a change.
    pub(crate) notice: Mutex<()>,
    pub(crate) stats: Stats,
    pub(crate) event: Arc<Event>,
}

/// What commands see and change.
pub(crate) struct State {
    pub(crate) name: DeviceName,
    pub(crate) uuid: Option<Uuid>,
    pub(crate) life: Life,
    pub(crate) suspended: bool,
    pub(crate) live: Option<Arc<Table>>,
    pub(crate) inactive: Option<Arc<Table>>,
    pub(crate) opens: u32,
    /// The mapped devices whose tables have it open, and how often.
    pub(crate) holders: BTreeMap<u32, u32>,
    pub(crate) remove_at_close: bool,
    pub(crate) geometry: Option<Geometry>,
    /// Made read-only, whatever its table says.
    pub(crate) created_readonly: bool,
}

/// The life of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Named, but not shown yet.
    Attaching,
    /// There.
    Present,
    /// Nobody can open it any more.
    Leaving,
}

/// Memory for requests that other mapped devices make to this one, when there is no other.
#[derive(Default)]
struct Nested {
    reserve: Option<NestedCell>,
    /// There is a reserve, here or out.
    reserved: bool,
    /// Somebody gives memory to those who wait.
    feeding: bool,
    waiting: ChildQueue,
}

impl Device {
    pub(crate) fn new(
        minor: u32,
        name: DeviceName,
        uuid: Option<Uuid>,
        readonly: bool,
        events: &Arc<Event>,
    ) -> Self {
        let state = State {
            name,
            uuid,
            life: Life::Attaching,
            suspended: false,
            live: None,
            inactive: None,
            opens: 0,
            holders: BTreeMap::new(),
            remove_at_close: false,
            geometry: None,
            created_readonly: readonly,
        };
        Self {
            minor,
            control: Mutex::new(()),
            state: Mutex::new(state),
            gate: Gate::new(),
            live: Live::new(),
            queue: SpinMutex::new(IoQueue::default()),
            nested: SpinMutex::new(Nested::default()),
            hungry: AtomicUsize::new(0),
            dead: AtomicBool::new(false),
            readonly: AtomicBool::new(readonly),
            size: AtomicU64::new(0),
            sector_size: AtomicU32::new(512),
            notice: Mutex::new(()),
            stats: Stats::new(),
            event: Arc::new(Event::below(Arc::clone(events))),
        }
    }

    /// Its minor number.
    #[must_use]
    pub const fn minor(&self) -> u32 {
        self.minor
    }

    /// True if writes are refused.
    #[must_use]
    pub fn readonly(&self) -> bool {
        self.readonly.load(Ordering::Relaxed)
    }

    /// Its size; zero without a live table.
    #[must_use]
    pub fn size(&self) -> Sectors {
        Sectors(self.size.load(Ordering::Relaxed))
    }

    /// Bytes in one of its sectors.
    #[must_use]
    pub fn sector_size(&self) -> u32 {
        self.sector_size.load(Ordering::Relaxed)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The live table.
    pub(crate) fn table(&self) -> Option<Arc<Table>> {
        self.state().live.clone()
    }

    /// Thread context. Makes a table live; the gate is closed and drained. Gives the old one.
    pub(crate) fn switch(&self, table: Option<Arc<Table>>) -> Option<Arc<Table>> {
        let mut state = self.state();
        let readonly =
            state.created_readonly || table.as_ref().is_some_and(|table| table.readonly());
        self.live.show(table.as_ref());
        self.readonly.store(readonly, Ordering::Relaxed);
        let size = table.as_ref().map_or(Sectors::ZERO, |table| table.size());
        if size != self.size() {
            state.geometry = None;
        }
        self.size.store(size.0, Ordering::Relaxed);
        let sector_size = table.as_ref().map_or(512, |table| table.sector_size());
        self.sector_size.store(sector_size, Ordering::Relaxed);
        core::mem::replace(&mut state.live, table)
    }

    /// Strategy context. Queues a request that the closed gate did not let in.
    pub(crate) fn defer(io: IoRef) {
        // A reference for the lock: what is queued may end before the lock is given up.
        let held = io.another();
        let device = held.device();
        let mut queue = device.queue.lock();
        if device.dead.load(Ordering::Relaxed) {
            drop(queue);
            return io.fail(Errno::EIO);
        }
        match device.gate.enter() {
            Some(slot) => {
                drop(queue);
                io::enter(io, slot);
            }
            None => queue.push(io),
        }
    }

    /// Thread context. Fails what waits and what will come: the driver ends.
    pub(crate) fn kill(&self) {
        let waiting = {
            let mut queue = self.queue.lock();
            self.dead.store(true, Ordering::Relaxed);
            core::mem::take(&mut *queue)
        };
        drop(waiting);
    }

    /// Thread context. Opens the gate for good; what waited goes first, in its order.
    ///
    /// What comes meanwhile is sent with the gate open: else whoever is fast enough could keep
    /// this from ending.
    pub(crate) fn release(&self) {
        let first = core::mem::take(&mut *self.queue.lock());
        self.send(first);
        let rest = {
            let mut queue = self.queue.lock();
            self.gate.open();
            core::mem::take(&mut *queue)
        };
        self.send(rest);
    }

    /// Sends requests that waited; the caller holds `control`, so the gate stays as it is.
    fn send(&self, mut queue: IoQueue) {
        while let Some(io) = queue.pop() {
            let slot = self.gate.enter_closed();
            io::enter(io, slot);
        }
    }

    /// Thread context. Memory for one nested request, whatever happens later.
    pub(crate) fn reserve_nested(&self) -> Result<(), Failure> {
        if self.nested.lock().reserved {
            return Ok(());
        }
        let Some(cell) = NestedCell::new() else {
            return Err(Failure::new(Errno::ENOMEM, "there is no memory for its requests"));
        };
        let mut nested = self.nested.lock();
        if !nested.reserved {
            nested.reserve = Some(cell);
            nested.reserved = true;
        }
        Ok(())
    }

    /// Strategy or completion context. There is no memory for a nested request: use what is
    /// set aside, or wait for what another has.
    pub(crate) fn starve(&self, child: Child) {
        let mut nested = self.nested.lock();
        self.hungry.fetch_add(1, Ordering::SeqCst);
        let reserve = match nested.waiting.is_empty() {
            true => nested.reserve.take(),
            false => None,
        };
        match reserve {
            Some(cell) => {
                drop(nested);
                cell.start(self, child);
            }
            None => nested.waiting.push(child),
        }
    }

    /// Strategy or completion context. Takes memory back, and uses it for children that wait.
    ///
    /// A child waits only while the reserve is out or somebody feeds, and then `hungry` is not
    /// zero: whoever returns memory, the reserve at the latest, looks here. A child that is
    /// fed may be over at once and return its memory below this call: it is left to the one
    /// who feeds, since the stack would not hold all who wait.
    pub(crate) fn feed(&self, cell: NestedCell) {
        if self.hungry.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut nested = self.nested.lock();
        if nested.reserve.is_none() {
            self.hungry.fetch_sub(1, Ordering::SeqCst);
            nested.reserve = Some(cell);
        } else {
            // Freed without the lock.
            drop(nested);
            drop(cell);
            return;
        }
        if nested.feeding {
            return;
        }
        nested.feeding = true;
        while !nested.waiting.is_empty() {
            let Some(cell) = nested.reserve.take() else { break };
            // One waits less, and the reserve is out: `hungry` stays.
            let Some(child) = nested.waiting.pop() else { break };
            drop(nested);
            cell.start(self, child);
            nested = self.nested.lock();
        }
        nested.feeding = false;
    }

    /// Thread context. Tells the platform what to show of the device.
    pub(crate) fn show(&self) {
        // Changes are told one after the other, each as it is then. `state` is free, since the
        // platform may wait for somebody who needs it.
        let _notice = self.notice.lock();
        let (name, geometry) = {
            let state = self.state();
            if state.life != Life::Present {
                return;
            }
            (state.name.clone(), state.geometry)
        };
        let shown = NodeState {
            name: &name,
            size: self.size(),
            sector_size: self.sector_size(),
            readonly: self.readonly(),
            discard: self.table().is_some_and(|table| table.discards()),
            geometry,
        };
        node::change(self.minor, &shown);
    }
}
