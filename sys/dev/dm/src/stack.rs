//! Mapped devices on top of one another: no cycles, and not too many.

use crate::device::Device;
use crate::driver::{Driver, Opened};
use crate::lower::Lower;
use crate::table::Table;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use dm_protocol::{Errno, Failure};

/// How many mapped devices may lie on top of one another. Each takes some of the kernel's
/// stack while a request passes through.
pub const STACK_MAX: usize = 8;

impl Driver {
    /// Refuses a table that would put a device on top of itself, or too many on each other.
    /// The caller holds `topology`.
    pub(crate) fn check_stack(&self, device: &Device, table: &Table) -> Result<(), Failure> {
        let below: Vec<&Device> = table.lowers().iter().filter_map(mapped).collect();
        if below.is_empty() {
            return Ok(());
        }
        let mut seen = BTreeSet::new();
        for lower in &below {
            if reaches(lower, device.minor(), &mut seen) {
                // One after the other, since they may be one.
                let lower = lower.state().name.clone();
                let name = device.state().name.clone();
                let message = format!("{lower} is, or lies on, {name} itself");
                return Err(Failure::new(Errno::ELOOP, message));
            }
        }
        let below = below.into_iter().map(depth).max().unwrap_or(0);
        let levels = below.saturating_add(1).saturating_add(self.height(device, STACK_MAX));
        if levels > STACK_MAX {
            let message = format!("{levels} devices on each other, at most {STACK_MAX} may be");
            return Err(Failure::new(Errno::ELOOP, message));
        }
        Ok(())
    }

    /// How many mapped devices lie above one, one on the other; at most `most`, since tables
    /// that are being loaded at the same time may hold each other's devices for a moment.
    fn height(&self, device: &Device, most: usize) -> usize {
        let Some(most) = most.checked_sub(1) else { return 0 };
        let holders: Vec<u32> = device.state().holders.keys().copied().collect();
        let above = holders.into_iter().filter_map(|minor| self.device(minor));
        above.map(|above| self.height(&above, most).saturating_add(1)).max().unwrap_or(0)
    }
}

impl Opened {
    /// Thread context. True if requests flow: neither it nor a mapped device below is suspended
    /// now.
    #[must_use]
    pub fn flows(&self) -> bool {
        flows(self.device())
    }

    /// Thread context. True if tables of other devices have it open.
    #[must_use]
    pub fn carries(&self) -> bool {
        !self.device().state().holders.is_empty()
    }
}

fn flows(device: &Device) -> bool {
    let table = device.table();
    let below = table.as_ref().map(|table| table.lowers()).unwrap_or_default();
    !device.gate.is_closed() && below.iter().filter_map(mapped).all(flows)
}

/// How many mapped devices lie one on the other down from this one, itself included.
pub(crate) fn depth(device: &Device) -> usize {
    let below = tables(device);
    let below = below.iter().flat_map(|table| table.lowers()).filter_map(mapped);
    below.map(depth).max().unwrap_or(0).saturating_add(1)
}

fn mapped(lower: &Lower) -> Option<&Device> {
    match lower {
        Lower::Disk(_) => None,
        Lower::Mapped(open) => Some(open.device()),
    }
}

fn tables(device: &Device) -> Vec<Arc<Table>> {
    let state = device.state();
    [&state.live, &state.inactive].into_iter().flatten().cloned().collect()
}

/// True if the device is `minor`, or lies on it. `seen` holds those that do not.
fn reaches(device: &Device, minor: u32, seen: &mut BTreeSet<u32>) -> bool {
    if device.minor() == minor {
        return true;
    }
    if !seen.insert(device.minor()) {
        return false;
    }
    let tables = tables(device);
    let mut below = tables.iter().flat_map(|table| table.lowers()).filter_map(mapped);
    below.any(|below| reaches(below, minor, seen))
}
