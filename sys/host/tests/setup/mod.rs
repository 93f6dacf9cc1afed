//! A driver with devices, in this process.
#![allow(dead_code, reason = "no test uses all of it")]

use dm::command::Caller;
use dm::driver::Driver;
use dm::targets::TARGETS;
use dm_host::front::Registry;
use dm_host::mapped::Mapped;
use dm_protocol::{Action, DeviceName, Failure, Reply, Request, SegmentSpec};
use std::sync::Arc;

/// A driver and its registry, entered.
pub struct Setup {
    pub driver: Arc<Driver>,
    _entered: dm_host::front::Entered,
}

impl Setup {
    pub fn new() -> Self {
        let _entered = Registry::new().enter();
        Self { driver: Driver::attach(TARGETS), _entered }
    }

    pub fn run(&self, name: &str, action: Action) -> Result<Reply, Failure> {
        let mut request = Request::new(action);
        request.device.name = Some(name.to_owned());
        let mut dict = request.encode();
        self.driver.command(&Caller { privileged: true, client: 0 }, &mut dict);
        let reply = Reply::decode(&dict).expect("a reply");
        match reply.failure {
            Some(failure) => Err(failure),
            None => Ok(reply),
        }
    }

    /// Makes a device with a live table; its minor.
    pub fn device(&self, name: &str, table: Vec<SegmentSpec>) -> u32 {
        let valid = DeviceName::new(name).expect("a name");
        let create = Action::Create { name: valid, uuid: None, minor: None };
        let minor = self.run(name, create).expect("it is made").minor;
        self.run(name, Action::Reload { table, dry_run: false }).expect("it is loaded");
        self.run(name, Action::Resume).expect("it is resumed");
        minor
    }

    /// An open device that maps the whole of one disk.
    pub fn linear(&self, name: &str, disk: &str, sectors: u64) -> Arc<Mapped> {
        let table = vec![SegmentSpec::new(0, sectors, "linear", &format!("{disk} 0"))];
        let minor = self.device(name, table);
        Arc::new(Mapped::open(&self.driver, minor, true).expect("it opens"))
    }
}
