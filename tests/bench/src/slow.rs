//! A disk that takes its time: it ends one transfer after the other, each so long after it began.

use dm::kern::disk::Transfer;
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A disk, and the thread that ends its transfers.
pub struct SlowDisk {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

#[derive(Default)]
struct Waiting {
    transfers: VecDeque<Given>,
    over: bool,
}

/// A transfer, and when it came.
struct Given(NonNull<Transfer>, Instant);

// SAFETY: a transfer belongs to the disk until it is given back, from whichever thread.
unsafe impl Send for Given {}

impl SlowDisk {
    /// A disk that takes so long for each transfer.
    pub fn new(service: Duration) -> Self {
        let queue = Arc::new(Queue::default());
        let work = Arc::clone(&queue);
        let thread = thread::spawn(move || work.serve(service));
        Self { queue, thread: Some(thread) }
    }

    /// Takes a transfer over.
    pub fn submit(&self, transfer: NonNull<Transfer>) {
        self.queue.change(|waiting| waiting.transfers.push_back(Given(transfer, Instant::now())));
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        self.queue.change(|waiting| waiting.over = true);
        // A panic in it was reported by that thread.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Queue {
    fn change(&self, act: impl FnOnce(&mut Waiting)) {
        act(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        self.more.notify_one();
    }

    fn next(&self) -> Option<Given> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match waiting.transfers.pop_front() {
                None if waiting.over => return None,
                None => waiting = self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                given => return given,
            }
        }
    }

    fn serve(&self, service: Duration) {
        let mut free = Instant::now();
        while let Some(Given(transfer, came)) = self.next() {
            free = free.max(came) + service;
            thread::sleep(free.saturating_duration_since(Instant::now()));
            // SAFETY: it was handed over, and is given back once.
            unsafe { dm::entry::transfer_done(transfer, None) };
        }
    }
}
