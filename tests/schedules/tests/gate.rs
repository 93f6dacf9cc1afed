//! gate.rs under every schedule that its atomics allow.

extern crate alloc;

use std::sync::atomic::Ordering as Plain;

/// The gate asks for these of its surroundings; here loom stands for them.
mod kern {
    pub mod clock {
        pub fn slot(slots: usize) -> usize {
            loom::thread::current().name().map_or(0, str::len) & (slots - 1)
        }
        pub fn slot_count() -> usize {
            2
        }
    }
    pub mod raw {
        #[derive(PartialEq, Eq)]
        pub enum Wake {
            Signalled,
            Interrupted,
        }
    }
    pub mod sync {
        use super::raw::Wake;
        use std::cell::RefCell;
        use std::ops::Deref;

        /// Loom takes SeqCst of an access for AcqRel, but knows it of fences. The gate's
        /// accesses are all SeqCst, so a fence before and behind each says the same.
        pub mod atomic {
            pub use loom::sync::atomic::Ordering;
            use loom::sync::atomic::{AtomicBool as Bool, AtomicUsize as Usize, fence};

            fn ordered<T>(order: Ordering, act: impl FnOnce(Ordering) -> T) -> T {
                assert_eq!(order, Ordering::SeqCst);
                fence(order);
                let result = act(order);
                fence(order);
                result
            }

            pub struct AtomicBool(Bool);

            impl AtomicBool {
                pub fn new(value: bool) -> Self {
                    Self(Bool::new(value))
                }
                pub fn load(&self, order: Ordering) -> bool {
                    ordered(order, |order| self.0.load(order))
                }
                pub fn store(&self, value: bool, order: Ordering) {
                    ordered(order, |order| self.0.store(value, order));
                }
            }

            #[derive(Default)]
            pub struct AtomicUsize(Usize);

            impl AtomicUsize {
                pub fn load(&self, order: Ordering) -> usize {
                    ordered(order, |order| self.0.load(order))
                }
                pub fn fetch_add(&self, by: usize, order: Ordering) -> usize {
                    ordered(order, |order| self.0.fetch_add(by, order))
                }
                pub fn fetch_sub(&self, by: usize, order: Ordering) -> usize {
                    ordered(order, |order| self.0.fetch_sub(by, order))
                }
            }
        }

        pub struct SpinMutex<T>(loom::sync::Mutex<T>);

        pub struct Guard<'a, T>(RefCell<Option<loom::sync::MutexGuard<'a, T>>>);

        impl<T> SpinMutex<T> {
            pub fn new(data: T) -> Self {
                Self(loom::sync::Mutex::new(data))
            }
            pub fn lock(&self) -> Guard<'_, T> {
                Guard(RefCell::new(Some(self.0.lock().expect("not poisoned"))))
            }
        }

        impl<T> Deref for Guard<'_, T> {
            type Target = Self;
            fn deref(&self) -> &Self {
                self
            }
        }

        pub struct Condition(loom::sync::Condvar);

        impl Condition {
            pub fn new() -> Self {
                Self(loom::sync::Condvar::new())
            }
            pub fn wait_interruptible<T>(&self, guard: &mut Guard<'_, T>, ms: Option<u64>) -> Wake {
                assert!(ms.is_none());
                let held = guard.0.get_mut().take().expect("held");
                *guard.0.get_mut() = Some(self.0.wait(held).expect("not poisoned"));
                if false { Wake::Interrupted } else { Wake::Signalled }
            }
            pub fn broadcast(&self) {
                self.0.notify_all();
            }
        }
    }
}

#[path = "../../../sys/dev/dm/src/gate.rs"]
mod gate;

use gate::Gate;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn nobody_is_inside_a_drained_gate() {
    loom::model(|| {
        let gate = Arc::new(Gate::new());
        let table = Arc::new(AtomicUsize::new(1));
        let users: Vec<_> = ["a"]
            .map(|name| {
                let (gate, table) = (Arc::clone(&gate), Arc::clone(&table));
                let user = move || {
                    if let Some(slot) = gate.enter() {
                        assert_ne!(table.load(Ordering::Relaxed), 0, "the table is freed");
                        gate.leave(slot);
                    }
                };
                loom::thread::Builder::new().name(name.into()).spawn(user).expect("a thread")
            })
            .into();
        gate.close();
        assert!(gate.wait_drained().is_ok());
        assert!(gate.is_closed());
        // Frees the old table and shows a new one.
        table.store(0, Ordering::Relaxed);
        table.store(2, Ordering::Relaxed);
        gate.open();
        users.into_iter().for_each(|user| user.join().expect("no surprise"));
        assert_eq!(gate.inside(), 0);
    });
}

#[test]
fn who_leaves_last_wakes_the_one_who_waits() {
    static ROUNDS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    loom::model(|| {
        ROUNDS.fetch_add(1, Plain::Relaxed);
        let gate = Arc::new(Gate::default());
        let first = gate.enter().expect("it is open");
        let second = gate.enter_closed();
        let user = {
            let gate = Arc::clone(&gate);
            loom::thread::spawn(move || {
                gate.leave(first);
                gate.leave(second);
            })
        };
        gate.close();
        assert!(gate.wait_drained().is_ok());
        assert!(gate.enter().is_none());
        user.join().expect("no surprise");
    });
    assert!(ROUNDS.load(Plain::Relaxed) > 1);
}
