//! Which calls a thread may make now. Checked with debug assertions, free without them.

use dm::kern::raw::Level;
use std::cell::Cell;
use std::marker::PhantomData;

thread_local! {
    /// How many locks for any context the thread holds.
    static INTERRUPT_LOCKS: Cell<u32> = const { Cell::new(0) };
    /// How deep in strategy or completion the thread is.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// While it lives, its thread is in strategy or completion: it may neither sleep nor allocate.
#[derive(Debug)]
pub struct NoSleep {
    stay: PhantomData<*const ()>,
}

impl NoSleep {
    /// Enters.
    #[must_use]
    pub fn enter() -> Self {
        if cfg!(debug_assertions) {
            DEPTH.set(DEPTH.get() + 1);
        }
        Self { stay: PhantomData }
    }
}

impl Drop for NoSleep {
    fn drop(&mut self) {
        if cfg!(debug_assertions) {
            DEPTH.set(DEPTH.get() - 1);
        }
    }
}

/// True if the thread may sleep and allocate. Without debug assertions it always may.
#[must_use]
pub fn may_sleep() -> bool {
    INTERRUPT_LOCKS.get() == 0 && DEPTH.get() == 0
}

/// The thread is about to take a lock of this level.
pub(super) fn take(level: Level) {
    if !cfg!(debug_assertions) {
        return;
    }
    match level {
        Level::Thread => assert!(
            may_sleep() || std::thread::panicking(),
            "a lock for thread context is taken in strategy, completion or under a lock for any"
        ),
        Level::Interrupt => INTERRUPT_LOCKS.set(INTERRUPT_LOCKS.get() + 1),
    }
}

/// The thread gave up a lock of this level.
pub(super) fn give(level: Level) {
    if cfg!(debug_assertions) && level == Level::Interrupt {
        INTERRUPT_LOCKS.set(INTERRUPT_LOCKS.get() - 1);
    }
}

/// The thread is about to sleep, holding nothing but the lock of this level.
pub(super) fn sleep(level: Level) {
    if cfg!(debug_assertions) && !std::thread::panicking() {
        let own = u32::from(level == Level::Interrupt);
        let free = INTERRUPT_LOCKS.get() == own && DEPTH.get() == 0;
        assert!(free, "a thread sleeps in strategy, completion or under a lock for any context");
    }
}
