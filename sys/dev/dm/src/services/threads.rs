//! State of a target that only its threads and commands change.

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
        let mut held = self.state.lock();
        loop {
            if let Some(result) = act(&mut held.state) {
                if held.waiting != 0 {
                    self.changed.broadcast();
                }
                return result;
            }
            held.waiting = held.waiting.saturating_add(1);
            self.changed.wait(&mut held);
            held.waiting = held.waiting.saturating_sub(1);
        }
    }
}
