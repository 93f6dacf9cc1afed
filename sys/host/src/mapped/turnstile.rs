//! Who may change a device at a time: whole sectors together, parts of sectors alone.
//!
//! A ragged write, one of parts of sectors, reads the sectors at its edges, changes them, and
//! writes them back. Meanwhile nobody else may change the device, or what was written to those
//! sectors would be lost. So each device has a turnstile that all who have it open share,
//! whichever front end they are. Requests for whole sectors pass it together; a ragged write
//! passes alone, in a thread that waits for it.

use crate::kern::hold;
use dm::driver::Driver;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread;

/// In `inside`: somebody wants to be alone, or is.
const SHUT: usize = 1 << (usize::BITS - 1);

/// What is done in its turn.
pub type Work = Box<dyn FnOnce() + Send>;

enum Turn {
    Alone(Work),
    /// Came behind one who wants to be alone.
    Together(Work),
}

/// The turnstile of one device.
#[derive(Default)]
pub struct Turnstile {
    /// How many are inside, and [`SHUT`], which is set and taken away with `queue` held.
    inside: AtomicUsize,
    queue: Mutex<VecDeque<Turn>>,
    /// Who was inside left, and somebody waits to be alone.
    moved: Condvar,
}

/// Inside, until it is dropped.
pub struct Pass<'a>(&'a Turnstile);

impl Turnstile {
    /// That of a device, the same for all who have it open.
    pub fn of(driver: &Arc<Driver>, minor: u32) -> Arc<Self> {
        static ALL: Mutex<BTreeMap<(usize, u32), Weak<Turnstile>>> = Mutex::new(BTreeMap::new());
        let key = (Arc::as_ptr(driver).addr(), minor);
        let mut all = hold(&ALL);
        if let Some(there) = all.get(&key).and_then(Weak::upgrade) {
            return there;
        }
        all.retain(|_, turnstile| turnstile.strong_count() != 0);
        let new = Arc::<Self>::default();
        all.insert(key, Arc::downgrade(&new));
        new
    }

    /// Enters, unless somebody wants to be alone. Whoever entered leaves.
    pub fn enter(&self) -> bool {
        if self.inside.fetch_add(1, Ordering::SeqCst) & SHUT == 0 {
            return true;
        }
        self.leave();
        false
    }

    /// Leaves.
    pub fn leave(&self) {
        if self.inside.fetch_sub(1, Ordering::SeqCst) == SHUT | 1 {
            let _queue = hold(&self.queue);
            self.moved.notify_one();
        }
    }

    /// Enters, and waits for its turn.
    pub fn pass(&self) -> Pass<'_> {
        if !self.enter() {
            let (tell, told) = sync_channel(1);
            // The receiver stays until it is told.
            self.together(Box::new(move || {
                let _ = tell.send(());
            }));
            let _ = told.recv();
        }
        Pass(self)
    }

    /// Enters and does something, now or behind those who want to be alone. It leaves itself.
    pub fn together(&self, work: Work) {
        let mut queue = hold(&self.queue);
        if self.inside.load(Ordering::SeqCst) & SHUT != 0 {
            queue.push_back(Turn::Together(work));
            return;
        }
        self.inside.fetch_add(1, Ordering::SeqCst);
        drop(queue);
        work();
    }

    /// Does something alone when its turn comes.
    pub fn alone(self: &Arc<Self>, work: Work) {
        let mut queue = hold(&self.queue);
        queue.push_back(Turn::Alone(work));
        if self.inside.fetch_or(SHUT, Ordering::SeqCst) & SHUT != 0 {
            return;
        }
        drop(queue);
        let worker = Arc::clone(self);
        let started = thread::Builder::new().name("ragged".into()).spawn(move || worker.work());
        if started.is_err() {
            // No thread to be had: better slowly here than not at all.
            self.work();
        }
    }

    /// Runs until the queue is empty.
    fn work(&self) {
        loop {
            let mut queue = hold(&self.queue);
            if matches!(queue.front(), Some(Turn::Alone(_))) {
                let others = |_: &mut VecDeque<Turn>| self.inside.load(Ordering::SeqCst) != SHUT;
                let waited = self.moved.wait_while(queue, others);
                queue = waited.unwrap_or_else(PoisonError::into_inner);
            }
            match queue.pop_front() {
                Some(Turn::Alone(work)) => {
                    drop(queue);
                    work();
                }
                Some(Turn::Together(work)) => {
                    self.inside.fetch_add(1, Ordering::SeqCst);
                    drop(queue);
                    work();
                }
                None => {
                    self.inside.fetch_and(!SHUT, Ordering::SeqCst);
                    return;
                }
            }
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}
