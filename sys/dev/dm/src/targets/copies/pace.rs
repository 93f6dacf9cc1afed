//! How fast is copied.

use super::Core;
use super::pass::Pass;
use crate::kern::sync::atomic::Ordering;

/// How fast may be copied, in KiB a second and member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Below this it does not give way to requests.
    pub least: u64,
    /// Never above this.
    pub most: u64,
}

impl Rates {
    /// As fast as it goes.
    pub const FULL: Self = Self { least: u64::MAX, most: u64::MAX };
}

/// After a request copying gives way for so long.
const YIELD_NS: u64 = 100_000_000;

/// Whether a window may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Now.
    Now,
    /// Not before this, by the clock.
    At(u64),
}

/// How fast a set is copied now.
#[derive(Default)]
pub struct Pace {
    /// Before this no window opens.
    next_ns: u64,
    /// Requests, when somebody last looked.
    seen: u64,
    /// Until then requests go first.
    yields_ns: u64,
}

impl Pace {
    /// A pass begins.
    pub fn begin(&mut self) {
        self.next_ns = 0;
    }

    /// When may a window open, if so many are?
    pub fn leave(&mut self, pass: &Pass, core: &Core, open: usize, now: u64) -> Leave {
        let requests = core.requests.load(Ordering::Relaxed);
        if core::mem::replace(&mut self.seen, requests) != requests {
            self.yields_ns = now.saturating_add(YIELD_NS);
        }
        let elapsed_ns = now.saturating_sub(pass.begun_ns).max(1);
        let kib = pass.opened / 2;
        let slow = u128::from(kib) * 1_000_000_000
            < u128::from(core.rules.rates.least) * u128::from(elapsed_ns);
        if now < self.next_ns {
            return Leave::At(self.next_ns);
        }
        match open != 0 && now < self.yields_ns && !slow {
            true => Leave::At(self.yields_ns),
            false => Leave::Now,
        }
    }

    /// A window of so many sectors was opened.
    pub fn opened(&mut self, sectors: u64, rates: Rates, now: u64) {
        // Half a KiB a sector.
        let cost_ns = sectors.saturating_mul(500_000_000) / rates.most.max(1);
        self.next_ns = self.next_ns.max(now).saturating_add(cost_ns);
    }
}
