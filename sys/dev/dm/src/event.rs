//! Event numbers, and waiting for them to move.

use crate::kern::clock;
use crate::kern::raw::Wake;
use crate::kern::sync::atomic::{AtomicU32, Ordering};
use crate::kern::sync::{Condition, SpinMutex};
use alloc::sync::Arc;
use dm_protocol::Errno;

/// A device's event number. Targets hold it too, and move it from any context.
pub struct Event {
    number: AtomicU32,
    gone: SpinMutex<bool>,
    moved: Condition,
    /// Moves with it.
    above: Option<Arc<Self>>,
}

impl Event {
    /// Number 0.
    #[must_use]
    pub fn new() -> Self {
        let (gone, moved) = (SpinMutex::new(false), Condition::new());
        Self { number: AtomicU32::new(0), gone, moved, above: None }
    }

    /// Number 0; another number moves with it.
    #[must_use]
    pub fn below(above: Arc<Self>) -> Self {
        Self { above: Some(above), ..Self::new() }
    }

    /// The number; wraps after 2^32 events.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number.load(Ordering::Acquire)
    }

    /// Any context. Moves the number and wakes who waits for it.
    pub fn raise(&self) {
        {
            let _held = self.gone.lock();
            self.number.fetch_add(1, Ordering::AcqRel);
            self.moved.broadcast();
        }
        if let Some(above) = &self.above {
            above.raise();
        }
    }

    /// Thread context. The device goes: nobody waits any longer. That is an event above.
    pub fn end(&self) {
        *self.gone.lock() = true;
        self.moved.broadcast();
        if let Some(above) = &self.above {
            above.raise();
        }
    }

    /// Thread context. Waits until the number is not `seen`, and gives it.
    ///
    /// # Errors
    /// ETIMEDOUT after `timeout_ms` milliseconds, EINTR when the client gives up, ENOENT when
    /// the device goes.
    pub fn wait(&self, seen: u32, timeout_ms: Option<u64>) -> Result<u32, Errno> {
        let end = timeout_ms.map(|ms| clock::now_ns().saturating_add(ms.saturating_mul(1_000_000)));
        let mut gone = self.gone.lock();
        loop {
            if self.number() != seen {
                return Ok(self.number());
            }
            if *gone {
                return Err(Errno::ENOENT);
            }
            let left_ms = end.map(|end| end.saturating_sub(clock::now_ns()).div_ceil(1_000_000));
            if left_ms == Some(0) {
                return Err(Errno::ETIMEDOUT);
            }
            if self.moved.wait_interruptible(&mut gone, left_ms) == Wake::Interrupted {
                return Err(Errno::EINTR);
            }
        }
    }
}

impl Default for Event {
    fn default() -> Self {
        Self::new()
    }
}
