//! What mirror and raid have in common: a set of members that hold the same sectors several
//! times, a record of the regions whose copies may differ, and what makes them equal again.
//!
//! A write marks its region in the record, waits until the mark is durable, and goes to every
//! member in use. Marks are taken back later, when nobody writes there and the members were
//! flushed. A thread of the set keeps the record, judges failures, and copies. While it copies
//! a window of sectors, writes to that window wait. `mirror` and `raid` say what the record
//! looks like and what is told to whom.

mod bits;
mod geometry;
mod io;
mod job;
mod keeper;
mod member;
mod mend;
mod pace;
mod pages;
mod pass;
mod regions;
mod scribe;
mod state;
mod sync;
mod window;

use crate::kern::disk::Op;
use crate::kern::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::services::{Crew, Legs, Mailbox, Shared, ThreadState};
use crate::target::{Mapping, Part, PartQueue, Range, Setup};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use dm_protocol::{Errno, Failure};

pub use geometry::{Geometry, Shape, Spread};
pub use member::{Fault, Member, Standing};
pub use pace::Rates;
pub use pages::{PAGE, PAGE_SECTORS, Pages};
pub use pass::{Action, Progress};
pub use regions::Regions;
pub use scribe::{Scribe, bit};
pub use state::{Core, Wish};

use keeper::Keeper;
use state::{Order, Orders, Phase, State};

/// How many writes may be under way at once. Others wait for their memory.
const WRITES: usize = 128;
/// How long a suspension without flush waits for the record, in milliseconds: it may lie on a
/// device that holds what is written until it is suspended, too.
const PATIENCE_MS: u64 = 1000;
/// How many flushes.
const FLUSHES: usize = 8;
/// The most copies and members: a part's number remembers which one was tried.
pub const MEMBERS_MAX: usize = 64;

/// What a kind of set keeps on disk, and how it decides. Used by the set's thread only.
pub trait Ledger: Send {
    /// Reads what is on disk, and says through `core` what is known of members and regions.
    /// Nothing is written yet. Not for the first time, `again`: no request is inside.
    ///
    /// # Errors
    /// Why the set cannot be used.
    fn load(&mut self, core: &Core, again: bool) -> Result<(), Failure>;

    /// Marks a region, or takes its mark back, in memory.
    fn mark(&mut self, region: u64, on: bool);

    /// Makes durable what was marked, and what else changed.
    ///
    /// # Errors
    /// The record's; then nothing is known to be durable.
    fn commit(&mut self, core: &Core) -> Result<(), Errno>;

    /// Members changed their standing, or copying came to a point worth keeping.
    ///
    /// # Errors
    /// The record's; then it does not tell.
    fn changed(&mut self, core: &Core) -> Result<(), Errno>;

    /// Requests come from now on, and what was found is put down.
    fn resumed(&mut self, _core: &Core) {}

    /// A pass is over.
    fn passed(&mut self, core: &Core, action: Action);

    /// How long a region is left alone before its mark is taken back.
    fn sleep_ns(&self) -> u64;
}

/// What becomes of a write whose region cannot be marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmarked {
    /// It goes on: the record is lost anyway.
    Goes,
    /// It fails.
    Fails,
    /// It waits for another table.
    Waits,
}

/// How a kind of set decides.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// After an error writes wait for another table.
    pub holds: bool,
    /// The first error of each kind of a member is an event.
    pub tells_faults: bool,
    /// While copies differ, only the first member has what counts.
    pub strict: bool,
    /// What could not be read is written again from another copy.
    pub mends: bool,
    /// A member that had an error is read from if there is no other, and brought up to date
    /// where that is possible.
    pub forgiving: bool,
    /// What becomes of a write whose region cannot be marked.
    pub unmarked: Unmarked,
    /// How fast may be copied.
    pub rates: Rates,
}

/// What a set is made of.
pub struct Plan {
    pub geometry: Geometry,
    pub members: Vec<Member>,
    pub rules: Rules,
    pub length: u64,
    pub region_sectors: u64,
}

/// A set at work.
pub struct Copies {
    core: Arc<Core>,
    /// Ends before the set does.
    crew: Option<Crew>,
}

impl Copies {
    /// Thread context. Sets aside all memory, and starts the thread.
    ///
    /// # Errors
    /// ENOMEM, EAGAIN.
    pub fn new(
        name: &str,
        setup: &Setup<'_>,
        plan: Plan,
        ledger: Box<dyn Ledger>,
    ) -> Result<Self, Errno> {
        let mailbox = Arc::new(Mailbox::new());
        let (copies, members) = (plan.geometry.copies(), plan.members.len());
        let state = State::new(Regions::new(plan.length, plan.region_sectors)?);
        let keeper = Keeper::new(ledger, &mailbox, members, plan.rules.mends)?;
        let core = Arc::new(Core {
            geometry: plan.geometry,
            members: plan.members,
            rules: plan.rules,
            event: setup.event(),
            readonly: setup.readonly(),
            region_shift: plan.region_sectors.trailing_zeros(),
            state: Shared::new(state),
            unsynced: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            progress: Shared::new(Progress::default()),
            legs: Legs::new(copies, WRITES)?,
            flushes: Legs::new(members, FLUSHES)?,
            mailbox,
            orders: ThreadState::new(Orders::default()),
            keeper: Shared::new(Some(keeper)),
            rested: AtomicBool::new(true),
        });
        let work = Arc::clone(&core);
        let crew = Crew::start(name, 1, &core.mailbox, move || keeper::work(&work))?;
        Ok(Self { core, crew: Some(crew) })
    }

    /// What all who work on it share.
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// As a target's.
    pub fn map(&self, range: Range) -> Mapping<'_> {
        self.core.map(range)
    }

    /// Any context. A part that is to be kept.
    pub fn keep(&self, part: Part) {
        self.core.requests.fetch_add(1, Ordering::Relaxed);
        match part.op() {
            Op::Read => self.core.read(part),
            Op::Flush => self.core.send_flush(part),
            _ => self.core.admit(part),
        }
    }

    /// Any context. A part is back.
    pub fn done(&self, part: Part, result: Result<(), Errno>) {
        match part.op() {
            Op::Read => self.core.read_done(part, result),
            _ => self.core.write_done(part, result),
        }
    }

    /// As a target's.
    pub fn presuspend(&self, noflush: bool) {
        let held = self.core.state.with(|state| {
            state.phase = Phase::Suspending { noflush };
            let held = core::mem::take(&mut state.held);
            // The record may be held below until the device there is suspended, too.
            let unmarked = match noflush {
                true => [&mut state.unmarked, &mut state.marking].map(core::mem::take),
                false => [PartQueue::new(), PartQueue::new()],
            };
            [held].into_iter().chain(unmarked)
        });
        // Nobody else ends them.
        for mut parts in held {
            while let Some(part) = parts.pop() {
                self.core.hold(part);
            }
        }
        self.core.mailbox.poke();
    }

    /// As a target's.
    pub fn postsuspend(&self) {
        let noflush = Phase::Suspending { noflush: true };
        self.rest(match self.core.state.with(|state| state.phase == noflush) {
            true => Some(PATIENCE_MS),
            false => None,
        });
    }

    /// As a target's.
    pub fn settle(&self) {
        self.core.settle();
    }

    /// As a target's.
    ///
    /// # Errors
    /// Why the set cannot be used.
    pub fn preresume(&self) -> Result<(), Failure> {
        self.core.ask(Order::Load)
    }

    /// As a target's.
    pub fn resume(&self) {
        self.core.state.with(|state| state.phase = Phase::Running);
        self.core.rested.store(false, Ordering::SeqCst);
        // Whoever looks next, at the state or at the disks, sees a set that has begun. What
        // cannot be put down now is tried again before the first write.
        let _ = self.core.ask(Order::Start);
    }

    /// Copying stops and the record is made clean, once; that is waited for so long.
    fn rest(&self, ms: Option<u64>) {
        if !self.core.rested.swap(true, Ordering::SeqCst) {
            self.core.state.with(|state| state.phase = Phase::Resting);
            self.core.begin(Order::Rest);
            match ms {
                Some(ms) => self.core.settle_in(ms),
                None => self.core.settle(),
            }
        }
    }
}

impl Drop for Copies {
    /// Thread context. A device may be removed without having been suspended.
    fn drop(&mut self) {
        self.rest(None);
        self.core.settle();
        drop(self.crew.take());
    }
}
