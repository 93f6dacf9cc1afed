//! Commands about the inactive table.

use crate::device::{Device, Life};
use crate::driver::{Driver, depth, lower_depth};
use crate::loader::Loader;
use crate::lower::Lower;
use crate::table::Table;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use dm_protocol::{Errno, Failure, Flags, Reply, SegmentSpec};

/// How many mapped devices may lie on top of one another. Each takes some of the kernel's
/// stack while a request passes through.
const STACK_MAX: usize = 8;

impl Driver {
    /// Checks a table, opens its devices, and puts it into the inactive slot. A dry run ends
    /// before the last step.
    pub(super) fn reload(
        &self,
        device: &Arc<Device>,
        flags: Flags,
        specs: &[SegmentSpec],
        dry_run: bool,
    ) -> Result<Reply, Failure> {
        let readonly = flags.contains(Flags::READONLY) || device.state().created_readonly;
        let mut loader = Loader::new(self.shared()?, !readonly);
        let table = Arc::new(Table::load(self.types, specs, readonly, &mut loader, &device.event)?);
        drop(loader);
        let old = {
            let _topology = self.topology.lock();
            self.check_stack(device, &table)?;
            let mut state = device.state();
            if state.life != Life::Present {
                return Err(Errno::ENOENT.into());
            }
            match dry_run {
                true => None,
                false => state.inactive.replace(table),
            }
        };
        // Its devices are closed without a lock.
        drop(old);
        Ok(self.describe(device))
    }

    pub(super) fn clear(&self, device: &Device) -> Reply {
        let old = device.state().inactive.take();
        drop(old);
        self.describe(device)
    }

    /// Refuses a table that would put a device on top of itself, or too many on each other.
    fn check_stack(&self, device: &Device, table: &Table) -> Result<(), Failure> {
        let mapped = || table.lowers().iter().filter(|lower| matches!(lower, Lower::Mapped(_)));
        if mapped().next().is_none() {
            return Ok(());
        }
        let mut seen = BTreeSet::new();
        for lower in mapped() {
            if reaches(lower, device.minor(), &mut seen) {
                let name = device.state().name.clone();
                let message = format!("{lower} is, or lies on, {name} itself");
                return Err(Failure::new(Errno::ELOOP, message));
            }
        }
        let below = mapped().map(lower_depth).max().unwrap_or(0);
        let above = self.above(device);
        let levels = below.saturating_add(above).saturating_add(1);
        if levels > STACK_MAX.saturating_add(1) {
            let message = format!("{levels} devices on each other, at most {STACK_MAX} may be");
            return Err(Failure::new(Errno::ELOOP, message));
        }
        Ok(())
    }

    /// How many mapped devices lie above one, one on the other.
    fn above(&self, device: &Device) -> usize {
        let mut seen = BTreeSet::new();
        let heights: Vec<usize> = self
            .all()
            .iter()
            .filter(|other| {
                seen.clear();
                other.minor() != device.minor() && table_reaches(other, device.minor(), &mut seen)
            })
            .map(|other| depth(other).saturating_sub(depth(device)))
            .collect();
        heights.into_iter().max().unwrap_or(0)
    }
}

/// True if the device is `minor`, or lies on it. `seen` holds those that do not.
fn reaches(lower: &Lower, minor: u32, seen: &mut BTreeSet<u32>) -> bool {
    match lower {
        Lower::Disk(_) => false,
        Lower::Mapped(open) if open.minor() == minor => true,
        Lower::Mapped(open) => table_reaches(open.device(), minor, seen),
    }
}

fn table_reaches(device: &Device, minor: u32, seen: &mut BTreeSet<u32>) -> bool {
    if !seen.insert(device.minor()) {
        return false;
    }
    let tables = {
        let state = device.state();
        [state.live.clone(), state.inactive.clone()]
    };
    let mut lowers = tables.iter().flatten().flat_map(|table| table.lowers());
    lowers.any(|lower| reaches(lower, minor, seen))
}
