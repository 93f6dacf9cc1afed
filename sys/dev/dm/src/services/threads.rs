//! State of a target that only its threads and commands change.

use crate::kern::clock;
use crate::kern::sync::{Condition, Mutex};

/// State behind a lock for threads. Whoever holds it may sleep, allocate, send and finish,
/// which holders of [`Shared`](super::Shared) state may not.
pub struct ThreadState<T> {
    state: Mutex<Waited<T>>,
    changed: Condition,
}

struct Waited<T> {
    state: T,
    waiting: usize,
}

impl<T> ThreadState<T> {
    /// Thread context.
    #[must_use]
    pub fn new(state: T) -> Self {
        Self { state: Mutex::new(Waited { state, waiting: 0 }), changed: Condition::new() }
    }

    /// Thread context. Looks at the state or changes it; who waits looks again afterwards.
    pub fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
        let mut held = self.state.lock();
        let result = act(&mut held.state);
        if held.waiting != 0 {
            self.changed.broadcast();
        }
        result
    }

    /// Thread context; sleeps until `act` gives something. It is asked at once, and again
    /// after each change by somebody else.
    pub fn wait_for<R>(&self, mut act: impl FnMut(&mut T) -> Option<R>) -> R {
        loop {
            if let Some(result) = self.wait(None, &mut act) {
                return result;
            }
        }
    }

    /// As [`wait_for`](Self::wait_for), for so many milliseconds or little more.
    pub fn wait_at_most<R>(&self, ms: u64, mut act: impl FnMut(&mut T) -> Option<R>) -> Option<R> {
        self.wait(Some(clock::now_ns().saturating_add(ms.saturating_mul(1_000_000))), &mut act)
    }

    /// Sleeps until `act` gives something, or until `due_ns` by the clock.
    fn wait<R>(&self, due_ns: Option<u64>, act: &mut impl FnMut(&mut T) -> Option<R>) -> Option<R> {
        let mut held = self.state.lock();
        loop {
            if let Some(result) = act(&mut held.state) {
                if held.waiting != 0 {
                    self.changed.broadcast();
                }
                return Some(result);
            }
            let left_ns = due_ns.map(|due| due.saturating_sub(clock::now_ns()));
            if left_ns == Some(0) {
                return None;
            }
            held.waiting = held.waiting.saturating_add(1);
            match left_ns.map(|ns| ns.div_ceil(1_000_000)) {
                Some(ms) => drop(self.changed.wait_ms(&mut held, ms)),
                None => self.changed.wait(&mut held),
            }
            held.waiting = held.waiting.saturating_sub(1);
        }
    }
}
