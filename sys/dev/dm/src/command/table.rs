//! Commands about the inactive table.

use crate::device::{Device, Life};
use crate::driver::Driver;
use crate::loader::Loader;
use crate::table::Table;
use alloc::sync::Arc;
use dm_protocol::{Errno, Failure, Flags, Reply, SegmentSpec};

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
        let mut loader = Loader::new(self.shared()?, device.minor(), !readonly);
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
}
