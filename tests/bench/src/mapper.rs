//! Drivers with devices on disks that do nothing.

use crate::seam::MAJOR;
use dm::command::Caller;
use dm::driver::{Driver, Opened};
use dm::targets::TARGETS;
use dm_protocol::{Action, DeviceName, Dict, Reply, Request, SegmentSpec, Selector};
use std::sync::Arc;

/// A client that may do everything.
pub const CALLER: Caller = Caller { privileged: true, client: 1 };

/// A driver and the ways to give it commands.
pub struct Mapper {
    /// The driver.
    pub driver: Arc<Driver>,
}

impl Mapper {
    /// Without devices.
    pub fn new() -> Self {
        Self { driver: Driver::attach(TARGETS) }
    }

    /// Gives a command as a dictionary, as every client does.
    ///
    /// # Panics
    /// When it is refused.
    pub fn command(&self, action: Action, name: &str) -> Reply {
        let device = Selector { name: Some(name.to_owned()), ..Selector::default() };
        let mut dict: Dict = Request { device, ..Request::new(action) }.encode();
        self.driver.command(&CALLER, &mut dict);
        let reply = Reply::decode(&dict).expect("the driver answers with a reply");
        assert!(reply.failure.is_none(), "{name}: {:?}", reply.failure);
        reply
    }

    /// Makes a device with this table; gives its minor.
    pub fn make(&self, name: &str, table: Vec<SegmentSpec>) -> u32 {
        let checked = DeviceName::new(name).expect("a good name");
        let action = Action::Create { name: checked, uuid: None, minor: None };
        self.command(action, name);
        self.command(Action::Reload { table, dry_run: false }, name);
        self.command(Action::Resume, name).minor
    }

    /// Makes a device of `segments` segments that lie anywhere on the disk, and opens it.
    pub fn shuffled(&self, name: &str, units: u64, segments: u64, unit_sectors: u64) -> Opened {
        let length = units / segments * unit_sectors;
        // An odd factor visits every place once when their number is a power of two.
        let places = segments.next_power_of_two();
        let place = |nr: u64| (nr.wrapping_mul(0x9e37_79b1) & (places - 1)) * length;
        let segment = |nr: u64| {
            SegmentSpec::new(nr * length, length, "linear", &format!("null0 {}", place(nr)))
        };
        self.open(self.make(name, (0..segments).map(segment).collect()))
    }

    /// Makes one device on another, `levels` in all, and opens the uppermost.
    pub fn stack(&self, name: &str, levels: u32, sectors: u64) -> Opened {
        let mut below = "null0".to_owned();
        let mut minor = 0;
        for level in 1..=levels {
            let table = vec![SegmentSpec::new(0, sectors, "linear", &format!("{below} 0"))];
            minor = self.make(&format!("{name}.{level}"), table);
            below = format!("{MAJOR}:{minor}");
        }
        self.open(minor)
    }

    /// Opens a device.
    pub fn open(&self, minor: u32) -> Opened {
        self.driver.open(minor, true).expect("the device is there")
    }
}
