//! Sets of disks for a raid.

use crate::snapshot::lines;
use crate::world::until;
use crate::{Device, Disk, DiskSpec, World};
use dm_protocol::{Action, Errno};
use std::sync::Arc;

/// Data and metadata of some members.
pub struct Set {
    /// Where the raid is, as `r`.
    pub world: World,
    /// Each member's data.
    pub data: Vec<Arc<Disk>>,
    /// Each member's metadata.
    pub meta: Vec<Arc<Disk>>,
}

/// A raid1 with regions of 64 sectors.
pub const RAID1: &str = "raid1 3 0 region_size 64";

impl Set {
    /// So many members of 2048 sectors, with 128 for metadata.
    #[must_use]
    pub fn new(members: usize) -> Self {
        Self::of(members, DiskSpec::new(2048))
    }

    /// So many members like this.
    #[must_use]
    pub fn of(members: usize, spec: DiskSpec) -> Self {
        let world = World::new();
        let data = (0..members).map(|_| world.disk_of(spec)).collect();
        let meta = DiskSpec { sectors: 128, ..spec };
        let meta = (0..members).map(|_| world.disk_of(meta)).collect();
        Self { world, data, meta }
    }

    /// The members of a table line, without those in `missing`.
    #[must_use]
    pub fn members(&self, missing: &[usize]) -> String {
        let mut words = format!("{}", self.data.len());
        for (number, (meta, data)) in self.meta.iter().zip(&self.data).enumerate() {
            words += &match missing.contains(&number) {
                true => " - -".into(),
                false => format!(" {} {}", meta.name(), data.name()),
            };
        }
        words
    }

    /// A table with all members.
    #[must_use]
    pub fn table(&self, length: u64, words: &str) -> String {
        format!("0 {length} raid {words} {}", self.members(&[]))
    }

    /// A raid without the members in `missing`.
    pub fn create(&self, length: u64, words: &str, missing: &[usize]) -> Device {
        self.world.create("r", &format!("0 {length} raid {words} {}", self.members(missing)))
    }

    /// A raid with its copies equal.
    pub fn equal(&self, length: u64, words: &str) -> Device {
        let device = self.create(length, words, &[]);
        self.is(&format!("{} {length}/{length} idle", "A".repeat(self.data.len())));
        device
    }

    /// Closes and removes it.
    pub fn remove(&self, device: Device) {
        drop(device);
        self.world.on("r", Action::Remove).expect("removed");
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> String {
        lines(&self.world, "r", true).remove(0)
    }

    /// How many events it told of.
    #[must_use]
    pub fn event(&self) -> u32 {
        self.world.on("r", Action::Info).expect("info").event_nr
    }

    /// Waits until it has nothing to do, and all members in use are equal.
    pub fn idle(&self) {
        until("idle", || {
            let status = self.status();
            let position = status.split(' ').nth(6).and_then(|word| word.split_once('/'));
            status.contains(" idle ") && position.is_some_and(|(done, all)| done == all)
        });
    }

    /// Waits until its status says this.
    pub fn is(&self, what: &str) {
        let mut status = String::new();
        let what = format!(" {what} ");
        for _ in 0..5000 {
            status = self.status();
            if status.contains(&what) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        panic!("never{what}: {status}");
    }

    /// Sends a message.
    pub fn say(&self, message: &str) {
        self.world.say("r", message).expect("a message");
    }

    /// Suspends and resumes it.
    pub fn again(&self) {
        self.world.on("r", Action::Suspend).expect("suspended");
        self.world.on("r", Action::Resume).expect("resumed");
    }

    /// All that is done to a member fails.
    pub fn break_member(&self, member: usize) {
        for disk in [&self.data[member], &self.meta[member]] {
            disk.break_sectors(0..disk.spec.sectors, Errno::EIO);
        }
    }

    /// A member is well again.
    pub fn mend_member(&self, member: usize) {
        self.data[member].mend();
        self.meta[member].mend();
    }
}
