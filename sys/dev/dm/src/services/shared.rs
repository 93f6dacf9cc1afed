//! State of a target that requests and threads change.

use crate::kern::sync::SpinMutex;

/// State behind a lock for any context. What is done with it is short: it neither sleeps nor
/// allocates nor frees, sends nothing and finishes nothing.
pub struct Shared<T> {
    state: SpinMutex<T>,
}

impl<T> Shared<T> {
    /// Thread context.
    #[must_use]
    pub fn new(state: T) -> Self {
        Self { state: SpinMutex::new(state) }
    }

    /// Any context. Looks at the state or changes it.
    pub fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
        act(&mut self.state.lock())
    }
}
