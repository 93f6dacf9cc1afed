//! Commands that only tell.

use super::{Caller, plain};
use crate::device::Device;
use crate::driver::Driver;
use crate::table::{Segment, Table};
use crate::target::{Keys, TargetType};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use dm_protocol::{
    Command, Errno, Failure, Flags, NameEntry, Reply, ReplyBody, Request, Sector, SegmentStatus,
    TargetVersion, Zeroizing,
};

impl Driver {
    pub(super) fn report_targets(&self, flags: Flags) -> Reply {
        let targets = self.types.iter().map(|kind| version_of(kind)).collect();
        Reply { body: ReplyBody::Targets(targets), ..plain(flags) }
    }

    pub(super) fn report_target(&self, flags: Flags, name: &str) -> Result<Reply, Failure> {
        let Some(kind) = self.types.iter().find(|kind| kind.name == name) else {
            let message = format!("unknown target type \"{}\"", name.escape_debug());
            return Err(Failure::new(Errno::EINVAL, message));
        };
        Ok(Reply { body: ReplyBody::Targets(vec![version_of(kind)]), ..plain(flags) })
    }

    pub(super) fn report_names(&self, flags: Flags) -> Reply {
        let entry = |device: Arc<Device>| {
            let state = device.state();
            NameEntry {
                name: state.name.to_string(),
                minor: device.minor(),
                event_nr: device.event.number(),
                uuid: state.uuid.as_ref().map(|uuid| uuid.to_string()).unwrap_or_default(),
            }
        };
        let names = self.all().into_iter().map(entry).collect();
        Reply { body: ReplyBody::Names(names), ..plain(flags) }
    }

    /// The devices below a table. As on Linux, the one named last comes first.
    pub(super) fn report_deps(&self, device: &Device, asked: Flags) -> Reply {
        let table = asked_table(device, asked);
        let lowers = table.as_ref().map(|table| table.lowers()).unwrap_or_default();
        let deps = lowers.iter().rev().map(crate::lower::Lower::dependency).collect();
        Reply { body: ReplyBody::Deps(deps), ..self.describe_asked(device, asked) }
    }

    pub(super) fn report_table(
        &self,
        caller: &Caller,
        device: &Device,
        request: &Request,
    ) -> Reply {
        let asked = request.flags;
        let parameters =
            request.action.command() == Command::Table || asked.contains(Flags::STATUS_TABLE);
        let keys = if caller.privileged { Keys::Shown } else { Keys::Hidden };
        let entry = |segment: &Segment| {
            let write = |out: &mut dyn Write| match parameters {
                true => segment.target.params(out, keys),
                false => segment.target.status(out),
            };
            let params = wiped_text(write);
            SegmentStatus {
                start: Sector(segment.start),
                length: segment.length(),
                target: segment.kind.name.to_string(),
                params,
            }
        };
        let table = asked_table(device, asked);
        let segments = table.as_ref().map(|table| table.segments()).unwrap_or_default();
        let segments: Vec<SegmentStatus> = segments.iter().map(entry).collect();
        Reply { body: ReplyBody::Segments(segments), ..self.describe_asked(device, asked) }
    }
}

fn asked_table(device: &Device, asked: Flags) -> Option<Arc<Table>> {
    let state = device.state();
    match asked.contains(Flags::QUERY_INACTIVE_TABLE) {
        true => state.inactive.clone(),
        false => state.live.clone(),
    }
}

/// Text that may hold a key: its place is taken once, so that no copy is left behind while it
/// grows, and is wiped in the end.
fn wiped_text(write: impl Fn(&mut dyn Write) -> fmt::Result) -> Zeroizing<String> {
    struct Length(usize);
    impl Write for Length {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 = self.0.saturating_add(text.len());
            Ok(())
        }
    }
    let mut length = Length(0);
    // Neither of the two can fail. Between them a state may have grown a little.
    let _ = write(&mut length);
    let mut text = Zeroizing::new(String::with_capacity(length.0.saturating_add(64)));
    let _ = write(&mut *text);
    text
}

fn version_of(kind: &TargetType) -> TargetVersion {
    TargetVersion { name: kind.name.to_string(), version: kind.version }
}
