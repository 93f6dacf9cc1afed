//! Writes that do not cover whole sectors.
//!
//! Such a write reads the sectors at its edges, changes them, and writes them back. Meanwhile no
//! other write of the same device may run, or what it wrote to those sectors would be lost. So
//! each device has a turnstile: whole-sector writes pass it together, a ragged one alone, in a
//! thread of its own so that nobody else waits for a device that is suspended.

use super::answer::Answer;
use crate::mapped::Mapped;
use dm_protocol::{Errno, SECTOR_SIZE, Sector};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// A write with all that is needed to do it later.
pub struct Write {
    pub mapped: Arc<Mapped>,
    pub offset: u64,
    pub data: Vec<u8>,
    pub fua: bool,
    pub answer: Answer,
}

/// The turnstile of one device.
#[derive(Default)]
pub struct Turnstile {
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Default)]
struct State {
    /// Whole-sector writes under way.
    passing: usize,
    /// Writes that must run alone, or came behind one.
    queue: VecDeque<Write>,
    working: bool,
}

/// A whole-sector write on its way through; dropped when it is done.
pub struct Pass(Arc<Turnstile>);

impl Turnstile {
    /// Lets a whole-sector write through, unless a ragged one is before it.
    pub fn pass(self: &Arc<Self>) -> Option<Pass> {
        let mut state = self.state();
        if state.working {
            return None;
        }
        state.passing += 1;
        Some(Pass(Arc::clone(self)))
    }

    /// Does a write in its turn, alone.
    pub fn queue(self: &Arc<Self>, write: Write) {
        let mut state = self.state();
        state.queue.push_back(write);
        if state.working {
            return;
        }
        state.working = true;
        drop(state);
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
            let mut state = self.state();
            while state.passing > 0 {
                state = self.left.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let Some(write) = state.queue.pop_front() else {
                state.working = false;
                return;
            };
            drop(state);
            let Write { mapped, offset, data, fua, answer } = write;
            let result = rewrite(&mapped, offset, &data, fua);
            answer.send(result, &[]);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.passing -= 1;
        if state.passing == 0 {
            self.0.left.notify_all();
        }
    }
}

/// Reads whole sectors around `data`, puts it in, and writes them.
fn rewrite(mapped: &Mapped, offset: u64, data: &[u8], fua: bool) -> Result<(), Errno> {
    let unit = u64::from(mapped.opened().sector_size());
    let first = offset - offset % unit;
    let end = (offset + data.len() as u64).next_multiple_of(unit);
    let mut whole = vec![0; (end - first) as usize];
    let at = Sector(first / SECTOR_SIZE);
    mapped.read(at, &mut whole)?;
    let from = (offset - first) as usize;
    whole.get_mut(from..from + data.len()).ok_or(Errno::EINVAL)?.copy_from_slice(data);
    mapped.write(at, &whole, fua)
}
