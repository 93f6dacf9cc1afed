//! What requests and the thread of a set share.

use super::keeper::Keeper;
use super::mend::Mends;
use super::pass::next_needed;
use super::window::Windows;
use super::{Action, Fault, Geometry, Member, Progress, Regions, Rules, Standing};
use crate::event::Event;
use crate::kern::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::lower::Lower;
use crate::services::{Legs, Mailbox, Shared, ThreadState};
use crate::target::PartQueue;
use alloc::sync::Arc;
use alloc::vec::Vec;
use dm_protocol::Failure;

/// Whether requests come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Never loaded.
    New,
    /// They come.
    Running,
    /// They end.
    Suspending { noflush: bool },
    /// None is inside.
    Resting,
}

/// What requests and the thread change.
pub(super) struct State {
    pub(super) regions: Regions,
    pub(super) windows: Windows,
    pub(super) phase: Phase,
    /// Some member is out of use: writes are noted for it.
    pub(super) degraded: bool,
    /// That is not noted durably: nobody may be told that a write or a flush is over.
    pub(super) untold: bool,
    /// Some member had an error.
    pub(super) faulty: bool,
    /// Writes whose window is being copied.
    pub(super) blocked: PartQueue,
    /// Writes whose region is not open.
    pub(super) unmarked: PartQueue,
    /// Writes whose region the thread is marking.
    pub(super) marking: PartQueue,
    /// Writes without memory for their legs.
    pub(super) starved: PartQueue,
    /// Flushes without.
    pub(super) starved_flushes: PartQueue,
    /// Writes that wait for another table.
    pub(super) held: PartQueue,
    pub(super) mends: Mends,
}

impl State {
    /// Nobody is inside, and nothing is known.
    pub(super) fn new(regions: Regions) -> Self {
        Self {
            regions,
            windows: Windows::default(),
            phase: Phase::New,
            degraded: false,
            untold: false,
            faulty: false,
            blocked: PartQueue::new(),
            unmarked: PartQueue::new(),
            marking: PartQueue::new(),
            starved: PartQueue::new(),
            starved_flushes: PartQueue::new(),
            held: PartQueue::new(),
            mends: Mends::default(),
        }
    }
}

/// What a command or a message wants of the thread, and how it ended.
#[derive(Default)]
pub(super) struct Orders {
    pub(super) order: Option<Order>,
    pub(super) answer: Option<Result<(), Failure>>,
    given: Given,
}

/// Is an order under way? There is one at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Given {
    #[default]
    None,
    /// Somebody waits for its answer.
    Awaited,
    /// Nobody does.
    Left,
}

impl Orders {
    /// Gives an order, unless another is under way.
    fn give(&mut self, order: Order, given: Given) -> Option<()> {
        self.close()?;
        if self.given != Given::None {
            return None;
        }
        self.order = Some(order);
        self.given = given;
        Some(())
    }

    /// The answer to the order that was given.
    fn take(&mut self) -> Option<Result<(), Failure>> {
        let answer = self.answer.take()?;
        self.given = Given::None;
        Some(answer)
    }

    /// What nobody waited for is not under way any more.
    fn close(&mut self) -> Option<()> {
        if self.given == Given::Left {
            drop(self.take()?);
        }
        Some(())
    }
}

/// What commands want of the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Read the record.
    Load,
    /// Requests come: put down what was found, and begin to copy.
    Start,
    /// Stop copying, and take back the marks that can be.
    Rest,
    /// Do what a message asks for.
    Obey(Wish),
}

/// What a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Do this.
    Begin(Action),
    /// End what is done now; what is needed begins again.
    Idle,
    /// End what is done now, and begin nothing.
    Freeze,
}

/// What all who work on a set share.
pub struct Core {
    pub geometry: Geometry,
    pub members: Vec<Member>,
    pub rules: Rules,
    pub event: Arc<Event>,
    /// For reading only: nothing is copied and nothing recorded.
    pub readonly: bool,
    pub(super) region_shift: u32,
    pub(super) state: Shared<State>,
    /// Regions whose copies may differ in some way; zero saves readers the lock.
    pub(super) unsynced: AtomicU64,
    /// Requests so far, to see whether somebody else uses the members.
    pub(super) requests: AtomicU64,
    pub(super) progress: Shared<Progress>,
    pub(super) legs: Legs,
    pub(super) flushes: Legs,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) orders: ThreadState<Orders>,
    pub(super) keeper: Shared<Option<Keeper>>,
    pub(super) rested: AtomicBool,
}

impl Core {
    /// Thread context; sleeps. Has the thread do something, after what others ask for.
    pub(super) fn ask(&self, order: Order) -> Result<(), Failure> {
        self.give(order, Given::Awaited);
        self.orders.wait_for(Orders::take)
    }

    /// Thread context; sleeps until the thread is free. Has it do something that cannot fail, or
    /// nothing that the record would not show.
    pub(super) fn begin(&self, order: Order) {
        self.give(order, Given::Left);
    }

    fn give(&self, order: Order, given: Given) {
        self.orders.wait_for(|orders| orders.give(order, given));
        self.mailbox.poke();
    }

    /// Thread context; sleeps until what was begun is over.
    pub(super) fn settle(&self) {
        self.orders.wait_for(Orders::close);
    }

    /// As [`settle`](Self::settle), for so many milliseconds at most.
    pub(super) fn settle_in(&self, ms: u64) {
        let _ = self.orders.wait_at_most(ms, Orders::close);
    }

    /// The thread has done it.
    pub(super) fn answer(&self, answer: Result<(), Failure>) {
        self.orders.with(|orders| orders.answer = Some(answer));
    }

    /// Any context. Looks at the regions or changes them.
    pub fn regions<R>(&self, act: impl FnOnce(&mut Regions) -> R) -> R {
        self.change(|state| act(&mut state.regions))
    }

    pub(super) fn change<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        self.state.with(|state| {
            let result = act(state);
            self.unsynced.store(state.regions.unsynced(), Ordering::SeqCst);
            result
        })
    }

    /// Any context. What is being copied.
    pub fn progress(&self) -> Progress {
        self.progress.with(|progress| *progress)
    }

    /// Thread context; sleeps until the thread has begun what is asked for, which is when no
    /// window is open any more. EBUSY is the caller's to say.
    pub fn wish(&self, wish: Wish) {
        // Wishes are not refused.
        let _ = self.ask(Order::Obey(wish));
    }

    /// Do requests come, and did they ever?
    pub fn is_used(&self) -> (bool, bool) {
        self.state.with(|state| (state.phase == Phase::Running, state.phase != Phase::New))
    }

    /// True while requests may come.
    pub fn is_running(&self) -> bool {
        self.state.with(|state| state.phase == Phase::Running)
    }

    /// The device of a member that is written to.
    pub fn written(&self, member: usize) -> Option<&Lower> {
        let member = self.members.get(member).filter(|member| member.is_written())?;
        member.lower()
    }

    /// The first copy that counts, of those on members in use, from number `from` on.
    pub(super) fn source(&self, at: u64, from: usize) -> Option<usize> {
        (from..self.geometry.copies()).find(|copy| {
            let member = self.geometry.place(at, *copy).and_then(|(on, _)| self.members.get(on));
            member.is_some_and(Member::is_live)
        })
    }

    /// The pass that makes copies equal, if one is needed and possible.
    pub(super) fn needed(&self) -> Option<Action> {
        self.regions(|regions| next_needed(self, regions, 0))?;
        let back = |member: &Member| member.standing() == Standing::Returning;
        Some(match self.members.iter().any(back) {
            true => Action::Recover,
            false => Action::Resync,
        })
    }

    /// Can this member go out of use, so that nothing is lost?
    fn may_lose(&self, number: usize) -> bool {
        let live = |on: usize| self.members.get(on).is_some_and(Member::is_live);
        if !live(number) {
            return true;
        }
        let counts = self.rules.strict
            && self.regions(|regions| regions.stale() != 0)
            && self.source(0, 0) == Some(number);
        !counts && self.geometry.enough(|on| on != number && live(on))
    }

    /// Thread context. A member goes out of use, if it can. What it may lack is noted.
    pub fn lose(&self, number: usize) -> bool {
        if !self.may_lose(number) {
            return false;
        }
        let Some(member) = self.members.get(number).filter(|member| member.is_written()) else {
            return true;
        };
        self.change(|state| {
            member.set_standing(Standing::Dead);
            state.degraded = true;
            state.untold = true;
            state.regions.lose();
            state.regions.close_all();
        });
        true
    }

    /// True while it is not noted durably who is out of use.
    pub(super) fn is_untold(&self) -> bool {
        self.state.with(|state| state.untold)
    }

    /// Thread context. Who is out of use is noted durably, or could not be.
    pub(super) fn settled(&self, well: bool) {
        self.change(|state| match well {
            true => state.untold = false,
            false => state.regions.close_all(),
        });
    }

    /// Any context. A member has had an error.
    pub fn note_fault(&self, number: usize, fault: Fault) {
        let Some(member) = self.members.get(number) else { return };
        self.state.with(|state| state.faulty = true);
        if member.note(fault) && self.rules.tells_faults {
            self.event.raise();
        }
    }

    /// Thread context. Nothing is known of any region, and nobody is inside.
    pub fn forget(&self) {
        self.regions(|regions| {
            regions.fill_stale(false);
            regions.fill_absent(false);
            regions.fill_marked(false);
        });
    }

    /// Any context. A member could not be read while others were brought up to date.
    pub(super) fn note_sync_fault(&self, number: usize) {
        if self.rules.forgiving {
            self.note_fault(number, Fault::Sync);
        }
    }

    /// Thread context. Members were given their standing.
    pub fn standings_set(&self) {
        let gone = |member: &Member| !member.is_written();
        let degraded = self.members.iter().any(gone);
        self.state.with(|state| state.degraded = degraded);
    }
}
