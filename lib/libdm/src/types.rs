//! What goes into commands and comes out of them.

use crate::Result;
use dm_protocol::{Dependency, DevNo, DeviceName, Flags, Reply, SegmentStatus, Selector, Uuid};

/// Which device is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// The one of this name.
    Name(String),
    /// The one of this uuid.
    Uuid(String),
    /// The one of this minor number.
    Minor(u32),
}

impl Device {
    pub(crate) fn selector(&self) -> Selector {
        let mut selector = Selector::default();
        match self {
            Self::Name(name) => selector.name = Some(name.clone()),
            Self::Uuid(uuid) => selector.uuid = Some(uuid.clone()),
            Self::Minor(minor) => selector.minor = Some(*minor),
        }
        selector
    }
}

impl From<&str> for Device {
    fn from(name: &str) -> Self {
        Self::Name(name.into())
    }
}

impl From<String> for Device {
    fn from(name: String) -> Self {
        Self::Name(name)
    }
}

/// A device to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDevice {
    /// Its name.
    pub name: DeviceName,
    /// Its uuid.
    pub uuid: Option<Uuid>,
    /// The minor number it must have, 0 to [`DevNo::MINOR_MAX`]; else the driver chooses.
    pub minor: Option<u32>,
    /// True when nobody may ever write to it.
    pub readonly: bool,
}

impl NewDevice {
    /// A device of this name, writable, without uuid.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] when it cannot be a device's name.
    pub fn named(name: &str) -> Result<Self> {
        let name = DeviceName::new(name)?;
        Ok(Self { name, uuid: None, minor: None, readonly: false })
    }
}

/// How to load a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Nobody may write through this table.
    pub readonly: bool,
    /// The table holds a key: the driver wipes every buffer it passed through.
    pub secure: bool,
    /// Check everything and change nothing.
    pub dry_run: bool,
}

/// How to suspend and resume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transition {
    /// Do not flush; I/O that targets keep goes back to the queue.
    pub no_flush: bool,
    /// Do not sync the file system on the device.
    pub skip_lockfs: bool,
}

/// How to remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// If it is open, remove it when it is closed.
    pub deferred: bool,
}

/// How to ask about tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// About the inactive table instead of the live one.
    pub inactive: bool,
    /// Targets report what they know without committing anything first.
    pub no_flush: bool,
    /// The answer may hold a key: the driver wipes every buffer it passed through.
    pub secure: bool,
}

/// The state of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Its name.
    pub name: String,
    /// Its uuid, empty when it has none.
    pub uuid: String,
    /// Its block device number.
    pub devno: DevNo,
    /// It has a live table.
    pub live_table: bool,
    /// It has an inactive table.
    pub inactive_table: bool,
    /// It is suspended.
    pub suspended: bool,
    /// Nobody can write to it.
    pub readonly: bool,
    /// It will be removed when the last opener is gone.
    pub deferred_remove: bool,
    /// How many have it open, mapped devices included.
    pub open_count: u32,
    /// Segments in the live table.
    pub target_count: u32,
    /// Moves with every event.
    pub event_nr: u32,
}

impl Info {
    pub(crate) fn new(reply: &Reply, major: u32) -> Self {
        let has = |flag| reply.flags.contains(flag);
        Self {
            name: reply.name.clone(),
            uuid: reply.uuid.clone(),
            devno: DevNo { major, minor: reply.minor },
            live_table: has(Flags::ACTIVE_PRESENT),
            inactive_table: has(Flags::INACTIVE_PRESENT),
            suspended: has(Flags::SUSPEND),
            readonly: has(Flags::READONLY),
            deferred_remove: has(Flags::DEFERRED_REMOVE),
            open_count: reply.open_count,
            target_count: reply.target_count,
            event_nr: reply.event_nr,
        }
    }
}

/// A device in the list of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its uuid, empty when it has none or the driver does not say.
    pub uuid: String,
    /// Its block device number.
    pub devno: DevNo,
    /// Its event number, 0 when the driver does not say.
    pub event_nr: u32,
}

/// A device and the segments of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segments {
    /// The device.
    pub info: Info,
    /// The segments in order. Their parameters may hold a key.
    pub segments: Vec<SegmentStatus>,
}

/// A device and those below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deps {
    /// The device.
    pub info: Info,
    /// Those that its table maps to, each once.
    pub devices: Vec<Dependency>,
}
