//! What the targets on one origin share: what requests see, and the thread that works.
//!
//! Requests look at the [`View`] and go on, or are posted to the thread. The thread changes
//! the state of all snapshots of the origin; so do commands, under the same lock.

use super::exceptions::{Growth, Run};
use super::ticket::{Does, Kind, Tag, Ticket};
use super::view::{Face, Place, State, View};
use super::work::{Wait, Work};
use crate::kern::sync::atomic::{AtomicU64, Ordering};
use crate::services::{Crew, Errand, Mail, Mailbox, Shared, ThreadState};
use crate::target::{Part, PartQueue};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use dm_protocol::Errno;

/// What the targets on one origin share.
pub(super) struct Hub {
    inner: Arc<Inner>,
    _crew: Crew,
}

/// The same, without its thread.
pub(super) struct Inner {
    pub(super) view: Shared<View>,
    pub(super) works: ThreadState<Works>,
    pub(super) mailbox: Arc<Mailbox>,
    targets: AtomicU64,
}

/// What only threads change.
pub(super) struct Works {
    list: Vec<Option<Box<Work>>>,
    /// Where the segments of targets that write to the origin begin.
    starts: Vec<Option<u64>>,
    /// Somebody waits for writes to the origin that began before.
    draining: bool,
    ready: PartQueue,
}

/// What work on a snapshot needs besides its own state.
pub(super) struct Cx<'a> {
    inner: &'a Inner,
    /// Parts that go on.
    pub(super) ready: &'a mut PartQueue,
}

impl Hub {
    /// Thread context.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub(super) fn new() -> Result<Self, Errno> {
        let mailbox = Arc::new(Mailbox::new());
        let works = Works {
            list: Vec::new(),
            starts: Vec::new(),
            draining: false,
            ready: PartQueue::new(),
        };
        let inner = Arc::new(Inner {
            view: Shared::new(View::new()),
            works: ThreadState::new(works),
            mailbox: Arc::clone(&mailbox),
            targets: AtomicU64::new(1),
        });
        let work = Arc::clone(&inner);
        let crew = Crew::start("dmsnap", 1, &mailbox, move || work.run())?;
        Ok(Self { inner, _crew: crew })
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }
}

impl Inner {
    /// A number for a target.
    pub(super) fn number(&self) -> u64 {
        self.targets.fetch_add(1, Ordering::Relaxed)
    }

    fn run(&self) {
        loop {
            match self.mailbox.receive(None) {
                Mail::Over => return,
                mail => self.works.with(|works| works.handle(self, mail)),
            }
        }
    }

    /// Thread context; sleeps until all writes to the origin have ended that began before.
    /// Requests go on, and those that come later see what changed before this.
    pub(super) fn drain_writers(&self) {
        self.works.wait_for(|works| (!works.draining).then(|| works.draining = true));
        // The phase before this one drained when somebody waited for it.
        self.works.wait_for(|_| self.view.with(|view| view.writers.drained()).then_some(()));
        self.view.with(|view| view.writers.turn());
        self.works.wait_for(|_| self.view.with(|view| view.writers.drained()).then_some(()));
        self.works.with(|works| works.draining = false);
    }

    /// Any context. A write to the origin ended.
    pub(super) fn leave_writers(&self, phase: usize) {
        if self.view.with(|view| view.writers.leave(phase)) {
            self.mailbox.poke();
        }
    }
}

impl Works {
    /// The work for the snapshot in a slot.
    pub(super) fn work(&mut self, slot: usize) -> Option<&mut Work> {
        self.list.get_mut(slot)?.as_deref_mut()
    }

    /// All snapshots.
    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut Work> {
        self.list.iter_mut().flatten().map(|work| &mut **work)
    }

    /// A snapshot comes. Gives its slot.
    pub(super) fn add(&mut self, inner: &Inner, mut work: Box<Work>, face: Face) -> usize {
        let free = self.list.iter().position(Option::is_none);
        let slot = free.unwrap_or(self.list.len());
        work.slot = slot;
        if free.is_none() {
            self.list.push(None);
        }
        let list = Vec::with_capacity(self.list.len().next_power_of_two().max(4));
        let face = Box::new(face);
        let old = inner.view.with(|view| view.put(slot, face, list));
        drop(old);
        if let Some(place) = self.list.get_mut(slot) {
            *place = Some(work);
        }
        slot
    }

    /// A snapshot goes. What it had is dropped without the lock of requests.
    pub(super) fn take(&mut self, inner: &Inner, slot: usize) -> Option<(Box<Work>, Box<Face>)> {
        let work = self.list.get_mut(slot)?.take()?;
        let face = inner.view.with(|view| view.take(slot))?;
        Some((work, face))
    }

    /// A target comes that writes to the origin, from this sector on. Gives its number.
    pub(super) fn add_start(&mut self, start: u64) -> usize {
        let free = self.starts.iter().position(Option::is_none);
        let place = free.unwrap_or(self.starts.len());
        if free.is_none() {
            self.starts.push(None);
        }
        if let Some(free) = self.starts.get_mut(place) {
            *free = Some(start);
        }
        place
    }

    /// Such a target goes.
    pub(super) fn remove_start(&mut self, place: usize) {
        if let Some(start) = self.starts.get_mut(place) {
            *start = None;
        }
    }

    /// Something came for the thread.
    fn handle(&mut self, inner: &Inner, mail: Mail) {
        match mail {
            Mail::Fresh(part) => self.dispatch(inner, part),
            Mail::Back(part, result) => self.back(inner, part, result),
            Mail::Errand(errand, result) => self.errand(inner, errand, result),
            Mail::Poke | Mail::Due | Mail::Over => {}
        }
        self.settle(inner);
    }

    /// Does what can be done now.
    pub(super) fn settle(&mut self, inner: &Inner) {
        loop {
            self.go_on(inner);
            // Only then is it known which copies there are; and it may have others begun, or
            // snapshots buried that have no room for theirs.
            if self.merge_on(inner) {
                self.go_on(inner);
            }
            let mut more = false;
            while let Some(part) = self.ready.pop() {
                more = true;
                self.dispatch(inner, part);
            }
            for slot in 0..self.list.len() {
                while let Some(part) = self.next_in_backlog(slot) {
                    more = true;
                    self.dispatch(inner, part);
                }
            }
            if !more {
                return;
            }
        }
    }

    fn next_in_backlog(&mut self, slot: usize) -> Option<Part> {
        let work = self.work(slot).filter(|work| work.has_room())?;
        work.backlog.pop()
    }

    /// Sends and commits what is due for each snapshot.
    fn go_on(&mut self, inner: &Inner) {
        let mut cx = Cx { inner, ready: &mut self.ready };
        for work in self.list.iter_mut().flatten() {
            work.send_copies();
            work.go_slowly(&mut cx);
            work.commit(&mut cx);
        }
    }

    /// Goes on merging; false if nothing is merged.
    fn merge_on(&mut self, inner: &Inner) -> bool {
        let mut any = false;
        for slot in 0..self.list.len() {
            let Some(place) = self.list.get_mut(slot) else { continue };
            // Out of the list meanwhile, since merging looks at the others.
            let Some(mut work) = place.take_if(|work| work.merge.is_on()) else { continue };
            let mut others = |cx: &mut Cx<'_>, at: u64, count: u64| {
                let mut done = true;
                for other in self.list.iter_mut().flatten() {
                    // All begin at once.
                    done &= other.preserve(cx, at, count).is_none();
                }
                done
            };
            work.merge_on(&mut Cx { inner, ready: &mut self.ready }, &mut others);
            if let Some(place) = self.list.get_mut(slot) {
                *place = Some(work);
            }
            any = true;
        }
        any
    }

    /// A part to work on.
    fn dispatch(&mut self, inner: &Inner, mut part: Part) {
        let ticket = Ticket::from_bits(*part.cookie());
        if ticket.kind == Kind::Origin {
            return self.origin_write(inner, part, ticket.slot);
        }
        let mut cx = Cx { inner, ready: &mut self.ready };
        let work = self.list.get_mut(ticket.slot).and_then(Option::as_mut);
        match (ticket.kind, work) {
            (Kind::Write, Some(work)) => work.write(&mut cx, part),
            (Kind::Slow, Some(work)) => work.slow.push(part),
            (Kind::MergeWait, Some(work)) => work.merge_wait(part),
            _ => part.finish(Err(Errno::EIO)),
        }
    }

    /// A write to the origin that a snapshot has to see first.
    fn origin_write(&mut self, inner: &Inner, part: Part, start: usize) {
        let start = self.starts.get(start).copied().flatten().unwrap_or(0);
        let (at, count) = (start.saturating_add(part.at().0), part.count().0);
        let mut wait: Option<(usize, Wait)> = None;
        let mut cx = Cx { inner, ready: &mut self.ready };
        // All begin to copy; the part waits for one of them, and then asks again.
        for work in self.list.iter_mut().flatten() {
            if let Some(what) = work.preserve(&mut cx, at, count) {
                wait = Some((work.slot, what));
            }
        }
        match wait.and_then(|(slot, what)| Some((self.work(slot)?, what))) {
            Some((work, what)) => work.wait(part, what),
            None => part.give_back(Ok(())),
        }
    }

    /// A part is back from below.
    fn back(&mut self, inner: &Inner, mut part: Part, result: Result<(), Errno>) {
        let ticket = Ticket::from_bits(*part.cookie());
        let mut cx = Cx { inner, ready: &mut self.ready };
        match self.list.get_mut(ticket.slot).and_then(Option::as_mut) {
            Some(work) => work.whole_back(&mut cx, ticket.job, part, result),
            None => part.finish(Err(Errno::EIO)),
        }
    }

    /// An errand is back.
    fn errand(&mut self, inner: &Inner, mut errand: Errand, result: Result<(), Errno>) {
        let Some(tag) = Tag::from_bits(*errand.tag()) else { return };
        let mut cx = Cx { inner, ready: &mut self.ready };
        let Some(work) = self.list.get_mut(tag.slot).and_then(Option::as_mut) else { return };
        let cx = &mut cx;
        match tag.does {
            Does::CopyRead | Does::CopyWrite => work.copied(cx, tag, errand, result),
            Does::Slow => work.piece_back(cx, errand, result),
            Does::Clear => work.cleared(cx, errand, result, tag.at),
            Does::Flush => work.flushed(cx, errand, result),
            Does::Commit => work.committed(cx, errand, result),
            Does::Bury => work.bury_back(cx, errand, result),
            Does::MergeLoad => work.merge_loaded(cx, errand, result),
            Does::MergeRead | Does::MergeWrite => work.merged(cx, tag, errand, result),
            Does::MergeFlush => work.merge_flushed(cx, errand, result),
            Does::MergeCommit => work.merge_committed(cx, errand, result),
        }
    }
}

impl Cx<'_> {
    pub(super) fn inner(&self) -> &Inner {
        self.inner
    }

    /// Looks at what requests see of a snapshot, or changes it.
    pub(super) fn face<R>(&self, slot: usize, act: impl FnOnce(&mut Face) -> R) -> Option<R> {
        self.inner.view.with(|view| view.face_mut(slot).map(act))
    }

    /// Whether a chunk and those behind it have copies, and how many of them are alike.
    pub(super) fn run(&self, slot: usize, chunk: u64, most: u64) -> (bool, u64) {
        match self.face(slot, |face| face.table.run(chunk, most)) {
            Some(Run::Mapped { count, .. }) => (true, count),
            Some(Run::Free { count }) => (false, count),
            None => (false, most),
        }
    }

    /// Where sectors of a snapshot live.
    pub(super) fn place(&self, slot: usize, at: u64, count: u64) -> Place {
        let place = self.face(slot, |face| face.place(at, count));
        place.unwrap_or(Place::Origin { count })
    }

    /// Where all these sectors live, if they are together on the COW device.
    pub(super) fn mapped(&self, slot: usize, at: u64, count: u64) -> Option<u64> {
        match self.place(slot, at, count) {
            Place::Cow { sector, count: all } if all == count => Some(sector),
            _ => None,
        }
    }

    /// True if one of these sectors is not on the origin any more.
    pub(super) fn is_changed(&self, slot: usize, at: u64, count: u64) -> bool {
        self.place(slot, at, count) != Place::Origin { count }
    }

    /// True if the snapshot takes no more writes.
    pub(super) fn overflowed(&self, slot: usize) -> bool {
        self.face(slot, |face| face.overflowed).unwrap_or(false)
    }

    /// The snapshot takes no more writes; true if that is new.
    pub(super) fn overflow(&self, slot: usize) -> bool {
        self.face(slot, |face| !core::mem::replace(&mut face.overflowed, true)).unwrap_or(false)
    }

    pub(super) fn show_state(&self, slot: usize, state: State) {
        self.face(slot, |face| face.state = state);
    }

    pub(super) fn show_usage(&self, slot: usize, usage: (u64, u64)) {
        self.face(slot, |face| face.usage = usage);
    }

    /// Sees to it that so many chunks can be inserted, and makes room for `spare` more if it
    /// can.
    ///
    /// # Errors
    /// ENOMEM.
    pub(super) fn make_room(&self, slot: usize, needed: u64, spare: u64) -> Result<(), Errno> {
        loop {
            let look = self.face(slot, |face| (face.table.room(), face.table.wants()));
            let Some((room, wants)) = look else { return Ok(()) };
            if room >= needed.saturating_add(spare) {
                return Ok(());
            }
            match Growth::new(wants) {
                Ok(growth) => drop(self.face(slot, |face| face.table.grow(growth))),
                Err(_) if room >= needed => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
    }

    /// These chunks have copies now; false if they cannot be remembered.
    pub(super) fn insert(&self, slot: usize, old: u64, new: u64, count: u64) -> bool {
        let insert = |face: &mut Face| {
            let each = |nr: u64| face.table.insert(old.saturating_add(nr), new.saturating_add(nr));
            (0..count).all(each)
        };
        self.face(slot, insert).unwrap_or(false)
    }
}
