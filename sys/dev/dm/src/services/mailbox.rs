//! What the threads of a target receive: parts, errands that are back, time that is over.

use crate::kern::clock;
use crate::kern::errand::{Errand, ErrandQueue};
use crate::kern::sync::{Condition, SpinMutex};
use crate::target::{Part, PartQueue};
use dm_protocol::Errno;

/// What a thread finds in its mailbox.
pub enum Mail {
    /// A part that the target keeps.
    Fresh(Part),
    /// A part that is back from below, and how it ended there.
    Back(Part, Result<(), Errno>),
    /// An errand that is back, and how it ended.
    Errand(Errand, Result<(), Errno>),
    /// Somebody called [`Mailbox::poke`]: look at the state.
    Poke,
    /// The time that was waited for is there.
    Due,
    /// The target ends, all errands are back, and nothing is left to do.
    Over,
}

/// Where requests and completions leave what threads of a target do.
pub struct Mailbox {
    letters: SpinMutex<Letters>,
    more: Condition,
}

struct Letters {
    fresh: PartQueue,
    back: PartQueue,
    errands: ErrandQueue,
    /// Errands on their way.
    out: usize,
    /// Threads that wait.
    waiting: usize,
    poked: bool,
    over: bool,
}

impl Mailbox {
    /// Thread context. An empty one.
    #[must_use]
    pub fn new() -> Self {
        let letters = Letters {
            fresh: PartQueue::new(),
            back: PartQueue::new(),
            errands: ErrandQueue::default(),
            out: 0,
            waiting: 0,
            poked: false,
            over: false,
        };
        Self { letters: SpinMutex::new(letters), more: Condition::new() }
    }

    /// Any context. A part to work on.
    pub fn post(&self, part: Part) {
        self.put(|letters| letters.fresh.push(part));
    }

    /// Any context. A part that is back from below, for what completions may not do.
    pub fn post_back(&self, mut part: Part, result: Result<(), Errno>) {
        part.set_result(result);
        self.put(|letters| letters.back.push(part));
    }

    /// Any context. Makes one thread receive [`Mail::Poke`].
    pub fn poke(&self) {
        self.put(|letters| letters.poked = true);
    }

    /// An errand leaves for a device.
    pub(crate) fn leaves(&self) {
        let mut letters = self.letters.lock();
        letters.out = letters.out.saturating_add(1);
    }

    /// Any context. An errand is back.
    pub(crate) fn returns(&self, errand: Errand) {
        self.put(|letters| {
            letters.out = letters.out.saturating_sub(1);
            letters.errands.push(errand);
        });
    }

    /// Thread context. No request comes any more: threads end once all errands are back.
    pub(crate) fn end(&self) {
        self.put(|letters| letters.over = true);
    }

    fn put(&self, act: impl FnOnce(&mut Letters)) {
        let mut letters = self.letters.lock();
        act(&mut letters);
        if letters.waiting != 0 {
            self.more.signal();
        }
    }

    /// Thread context; sleeps until there is something, or until `due_ns` by the clock. What
    /// is back comes before what is fresh, and each in the order in which it came.
    pub fn receive(&self, due_ns: Option<u64>) -> Mail {
        let mut letters = self.letters.lock();
        loop {
            if let Some((errand, lower, result)) = letters.errands.pop() {
                drop(letters);
                // It may be the last to hold the device open.
                drop(lower);
                return Mail::Errand(errand, result);
            }
            if let Some(mut part) = letters.back.pop() {
                let result = part.take_result();
                return Mail::Back(part, result);
            }
            if core::mem::take(&mut letters.poked) {
                return Mail::Poke;
            }
            let left_ns = due_ns.map(|due| due.saturating_sub(clock::now_ns()));
            if left_ns == Some(0) {
                return Mail::Due;
            }
            if let Some(part) = letters.fresh.pop() {
                return Mail::Fresh(part);
            }
            if letters.over && letters.out == 0 {
                // Another waits for the same end.
                self.more.signal();
                return Mail::Over;
            }
            letters.waiting = letters.waiting.saturating_add(1);
            match left_ns.map(|ns| ns.div_ceil(1_000_000)) {
                Some(ms) => drop(self.more.wait_ms(&mut letters, ms)),
                None => self.more.wait(&mut letters),
            }
            letters.waiting = letters.waiting.saturating_sub(1);
        }
    }
}

impl Default for Mailbox {
    fn default() -> Self {
        Self::new()
    }
}
