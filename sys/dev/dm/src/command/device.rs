//! Commands about a device as a whole.

use super::plain;
use crate::device::Device;
use crate::driver::Driver;
use crate::params::Params;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use dm_protocol::{Change, Errno, Failure, Flags, Geometry, Reply, ReplyBody, Sector, Selector};

impl Driver {
    /// Removes every device that nobody has open, those above before those below.
    pub(super) fn remove_all(&self, flags: Flags) -> Reply {
        let at_close = flags.contains(Flags::DEFERRED_REMOVE);
        loop {
            let before = self.count();
            for device in self.all() {
                // What is open stays, or goes at its close.
                let _ = self.remove(&device, None, at_close);
            }
            if self.count() == before {
                return plain(flags);
            }
        }
    }

    pub(super) fn change(
        &self,
        device: &Arc<Device>,
        wanted: &Selector,
        change: &Change,
    ) -> Result<Reply, Failure> {
        match change {
            Change::Name(name) => self.rename(device, wanted, name.clone())?,
            Change::Uuid(uuid) => self.set_uuid(device, uuid.clone())?,
        }
        device.event.raise();
        device.show();
        Ok(self.describe(device))
    }

    pub(super) fn set_geometry(
        &self,
        device: &Device,
        geometry: Geometry,
    ) -> Result<Reply, Failure> {
        {
            let mut state = device.state();
            let Some(table) = &state.live else {
                return Err(Failure::new(Errno::ENXIO, "there is no live table"));
            };
            let Geometry { cylinders, heads, sectors, start } = geometry;
            let total = u64::from(cylinders)
                .saturating_mul(u64::from(heads))
                .saturating_mul(u64::from(sectors));
            if start.0 > total {
                let message = format!("start {start} is beyond {cylinders}*{heads}*{sectors}");
                return Err(Failure::new(Errno::EINVAL, message));
            }
            debug_assert!(table.size().0 > 0);
            state.geometry = Some(geometry);
        }
        device.show();
        Ok(self.describe(device))
    }

    /// Says something to the target that maps a sector, or to the device itself.
    pub(super) fn message(
        &self,
        device: &Arc<Device>,
        sector: Sector,
        text: &str,
    ) -> Result<Reply, Failure> {
        let mut answer = String::new();
        if text.starts_with('@') {
            self.message_to_device(device, text)?;
        } else {
            let table = device.table();
            let table =
                table.ok_or_else(|| Failure::new(Errno::ENXIO, "there is no live table"))?;
            let segment = table.find(sector).ok_or_else(|| {
                let message = format!("sector {sector} is beyond the table, {}", table.size());
                Failure::new(Errno::EINVAL, message)
            })?;
            segment.target.message(&mut Params::new(text), &mut answer).map_err(|why| {
                let message = format!("{}: {}", segment.kind.name, why.message);
                Failure::new(why.errno, message)
            })?;
        }
        let mut reply = self.describe(device);
        if !answer.is_empty() {
            reply.flags |= Flags::DATA_OUT;
            reply.body = ReplyBody::Answer(answer);
        }
        Ok(reply)
    }

    fn message_to_device(&self, device: &Device, text: &str) -> Result<(), Failure> {
        match text {
            "@cancel_deferred_remove" => {
                device.state().remove_at_close = false;
                Ok(())
            }
            other => {
                let word = other.split_whitespace().next().unwrap_or_default().escape_debug();
                Err(Failure::new(Errno::EINVAL, format!("unknown message \"{word}\"")))
            }
        }
    }
}
