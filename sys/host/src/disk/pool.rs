//! Threads that run transfers one at a time, each waiting for its own.

use super::file::FileDisk;
use crate::kern::{Running, hold};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

/// How many transfers run at the same time.
const THREADS: usize = 8;
/// So many transfers wait without further memory.
const QUEUE: usize = 1024;

type Job = (Arc<FileDisk>, Running);

struct Shared {
    jobs: Mutex<VecDeque<Job>>,
    more: Condvar,
}

/// The threads; they live as long as the process.
pub struct Pool(Arc<Shared>);

impl Pool {
    /// Starts them.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub fn start() -> io::Result<Self> {
        let jobs = Mutex::new(VecDeque::with_capacity(QUEUE));
        let shared = Arc::new(Shared { jobs, more: Condvar::new() });
        for number in 0..THREADS {
            let shared = Arc::clone(&shared);
            let name = format!("disk{number}");
            thread::Builder::new().name(name).spawn(move || shared.run())?;
        }
        Ok(Self(shared))
    }

    /// Runs a transfer soon.
    pub fn submit(&self, disk: Arc<FileDisk>, running: Running) {
        hold(&self.0.jobs).push_back((disk, running));
        self.0.more.notify_one();
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let (disk, mut running) = self.next();
            let result = disk.transfer(&mut running);
            // The end of the last transfer may be the end of the disk, which is closed then.
            drop(disk);
            running.finish(result);
        }
    }

    fn next(&self) -> Job {
        let mut jobs = hold(&self.jobs);
        loop {
            if let Some(job) = jobs.pop_front() {
                return job;
            }
            jobs = self.more.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
