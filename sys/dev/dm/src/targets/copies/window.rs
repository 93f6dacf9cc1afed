//! Windows of sectors that are being copied. Writes to them wait.

/// How many there may be at once.
pub const WINDOWS: usize = 4;
/// The most sectors of one.
pub const WINDOW_SECTORS: u64 = 128;

/// A range within a region.
#[derive(Clone, Copy, Debug)]
struct Window {
    region: u64,
    at: u64,
    end: u64,
    /// No write is under way there. Before that, none to the whole region begins.
    active: bool,
}

/// All of them.
#[derive(Default)]
pub struct Windows {
    slots: [Option<Window>; WINDOWS],
}

impl Windows {
    /// Must a write wait?
    pub fn blocks(&self, region: u64, at: u64, count: u64) -> bool {
        let end = at.saturating_add(count);
        self.slots.iter().flatten().any(|window| {
            let meets = at < window.end && window.at < end;
            window.region == region && (meets || !window.active)
        })
    }

    /// Does one wait until nobody writes to a region?
    pub fn wait_for(&self, region: u64) -> bool {
        self.slots.iter().flatten().any(|window| window.region == region && !window.active)
    }

    /// Opens one: from now on no write to its region begins.
    pub fn open(&mut self, slot: usize, region: u64, at: u64, count: u64) {
        if let Some(slot) = self.slots.get_mut(slot) {
            let end = at.saturating_add(count);
            *slot = Some(Window { region, at, end, active: false });
        }
    }

    /// Nobody writes to its region: writes to the rest of that may begin again.
    pub fn activate(&mut self, slot: usize) {
        if let Some(window) = self.slots.get_mut(slot).and_then(Option::as_mut) {
            window.active = true;
        }
    }

    /// Closes it.
    pub fn close(&mut self, slot: usize) {
        if let Some(slot) = self.slots.get_mut(slot) {
            *slot = None;
        }
    }
}
