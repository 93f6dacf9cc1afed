//! Looking for input before sleeping until there is some.
//!
//! Where the processor of a sleeping thread sleeps too, as in virtual machines, waking both takes
//! several times as long as a short request. So a client that asks again soon is waited for
//! awake. That must not keep the processor from others, the client among them: each time it was
//! in vain, or another thread ran meanwhile, it is tried half as often.

use std::thread;
use std::time::{Duration, Instant};

/// How long to look: longer than a woken client needs to send its next request.
const LOOK: Duration = Duration::from_micros(100);
/// Between two looks passes less than this, unless another thread ran meanwhile.
const GAP: Duration = Duration::from_micros(20);
/// So many short sleeps at most are between two tries.
const RESERVE_MAX: u32 = 1024;

/// How one client is waited for.
pub struct Eager {
    /// There is more than one processor.
    able: bool,
    /// How many sleeps in a row were short.
    short: u32,
    /// How many must have been.
    reserve: u32,
}

impl Eager {
    /// A client of which nothing is known.
    pub fn new() -> Self {
        let able = thread::available_parallelism().is_ok_and(|processors| processors.get() > 1);
        Self { able, short: 0, reserve: 1 }
    }

    /// Asks `input` again and again if there is hope; what it gave, if it did.
    pub fn look<T>(&mut self, mut input: impl FnMut() -> Option<T>) -> Option<T> {
        if !self.able || self.short < self.reserve {
            return None;
        }
        let start = Instant::now();
        let mut last = start;
        loop {
            let found = input();
            let now = Instant::now();
            let disturbed = now - last > GAP;
            if found.is_some() && !disturbed {
                self.reserve = (self.reserve / 2).max(1);
                return found;
            }
            if disturbed || now - start > LOOK {
                self.reserve = (self.reserve * 2).min(RESERVE_MAX);
                self.short = 0;
                return found;
            }
            last = now;
        }
    }

    /// Learns how long `wait` sleeps.
    pub fn sleep<T>(&mut self, wait: impl FnOnce() -> T) -> T {
        if !self.able {
            return wait();
        }
        let start = Instant::now();
        let waited = wait();
        let short = start.elapsed() < LOOK;
        self.short = if short { self.short.saturating_add(1) } else { 0 };
        waited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eager() -> Eager {
        Eager { able: true, short: 0, reserve: 1 }
    }

    /// How many of so many waits begin awake; `input` is asked then.
    fn looks(eager: &mut Eager, waits: u32, mut input: impl FnMut() -> Option<()>) -> u32 {
        let mut looks = 0;
        for _ in 0..waits {
            let mut looked = false;
            let found = eager.look(|| {
                looked = true;
                input()
            });
            looks += u32::from(looked);
            if found.is_none() {
                eager.sleep(|| ());
            }
        }
        looks
    }

    #[test]
    fn a_client_that_asks_again_soon_is_waited_for_awake() {
        let mut eager = eager();
        // Before the first sleep nothing is known. What disturbs the test makes it look less.
        assert!(looks(&mut eager, 1000, || Some(())) > 500);
        eager.sleep(|| thread::sleep(LOOK * 2));
        assert_eq!(looks(&mut eager, 1, || Some(())), 0);
    }

    #[test]
    fn looking_in_vain_becomes_rare() {
        assert!(looks(&mut eager(), 5000, || None) < 20);
    }

    #[test]
    fn looking_while_others_want_the_processor_becomes_rare() {
        let late = || {
            thread::sleep(GAP * 2);
            Some(())
        };
        assert!(looks(&mut eager(), 5000, late) < 20);
    }

    #[test]
    fn one_processor_is_left_to_the_client() {
        let mut eager = Eager { able: false, ..eager() };
        assert_eq!(looks(&mut eager, 100, || Some(())), 0);
    }
}
