//! mirror: a log that lies on another mirror, which holds what is written after an error.

use dm::kern::disk::Op;
use dm_play::pattern::fill as pattern;
use dm_protocol::{Action, Errno, Flags};
use dm_tests::snapshot::lines;
use dm_tests::{Device, Disk, World, until};
use std::sync::Arc;

/// Two legs, and a log on two disks; the second of these fails.
struct Stacked {
    world: World,
    legs: [Arc<Disk>; 2],
    logs: [Arc<Disk>; 2],
}

impl Stacked {
    fn new() -> Self {
        let world = World::new();
        let legs = [world.disk(2048), world.disk(2048)];
        let logs = [world.disk(8), world.disk(8)];
        Self { world, legs, logs }
    }

    fn create(&self) -> Device {
        let [one, two] = [0, 1].map(|nr: usize| self.logs[nr].name());
        let log = format!("0 8 mirror core 2 8 nosync 2 {one} 0 {two} 0 1 handle_errors");
        drop(self.world.create("log", &log));
        let device = self.world.create("m", &self.table());
        until("all equal", || self.status("m").contains(" 32/32 1 AA "));
        self.again("m");
        device
    }

    fn table(&self) -> String {
        let [one, two] = [0, 1].map(|nr: usize| self.legs[nr].name());
        let log = "/dev/mapper/log";
        format!("0 2048 mirror disk 2 {log} 64 2 {one} 0 {two} 0 1 handle_errors")
    }

    fn status(&self, name: &str) -> String {
        lines(&self.world, name, true).remove(0)
    }

    /// Afterwards nothing is marked.
    fn again(&self, name: &str) {
        self.world.on(name, Action::Suspend).expect("suspended");
        self.world.on(name, Action::Resume).expect("resumed");
    }

    /// What LVM2 does when it exchanges a disk of the log: from above to below, and back.
    fn repair(&self) {
        let noflush = |name| self.world.on_with(name, Action::Suspend, Flags::NOFLUSH);
        self.world.load("log", &format!("0 8 linear {} 0", self.logs[0].name())).expect("loaded");
        self.world.load("m", &self.table()).expect("loaded");
        noflush("m").expect("suspended, whatever the log does");
        noflush("log").expect("handed back");
        self.world.on("log", Action::Resume).expect("resumed");
        self.world.on("m", Action::Resume).expect("resumed");
    }

    /// The regions that are marked in the log, of which the first 32 bits tell.
    fn marked(&self) -> u32 {
        let bytes = self.logs[0].bytes();
        !u32::from_le_bytes(bytes[1024..1028].try_into().expect("four bytes"))
    }
}

#[test]
fn a_write_whose_mark_is_held_below_does_not_keep_the_device_from_being_suspended() {
    let set = Stacked::new();
    let device = set.create();
    set.logs[1].break_sectors(0..8, Errno::EIO);
    let begin = |at, stream| device.begin(Op::Write, false, at, 8, pattern(stream, at, 8));
    let first = begin(144, 4);
    until("the log holds", || set.status("log").contains(" AD "));
    let second = begin(1440, 5);
    assert!(!first.is_over() && !second.is_over());
    set.repair();
    first.wait().expect("a write");
    second.wait().expect("a write");
    for leg in &set.legs {
        assert!(leg.bytes()[144 * 512..152 * 512] == pattern(4, 144, 8));
        assert!(leg.bytes()[1440 * 512..1448 * 512] == pattern(5, 1440, 8));
    }
    until("equal", || set.status("m").contains(" 32/32 1 AA "));
}

#[test]
fn a_mark_that_cannot_be_taken_back_now_is_before_the_next_table_reads_the_log() {
    let set = Stacked::new();
    let device = set.create();
    device.write(144, &pattern(4, 144, 8)).expect("a write");
    assert_eq!(set.marked(), 1 << 2);
    set.logs[1].break_sectors(0..8, Errno::EIO);
    set.repair();
    assert!(set.status("m").contains(" 32/32 1 AA "), "nothing is copied");
    assert_eq!(set.marked(), 0);
    drop(device);
    set.world.on("m", Action::Remove).expect("removed");
    set.world.on("log", Action::Remove).expect("removed");
}

#[test]
fn the_same_table_goes_on_after_its_log_was_held() {
    let set = Stacked::new();
    let device = set.create();
    device.write(144, &pattern(4, 144, 8)).expect("a write");
    set.logs[1].break_sectors(0..8, Errno::EIO);
    for name in ["m", "log"] {
        set.world.on_with(name, Action::Suspend, Flags::NOFLUSH).expect("suspended");
    }
    set.logs[1].mend();
    for name in ["log", "m"] {
        set.world.on(name, Action::Resume).expect("resumed");
    }
    device.write(1440, &pattern(5, 1440, 8)).expect("a write");
    until("equal", || set.status("m").contains(" 32/32 1 AA "));
    set.world.on("m", Action::Suspend).expect("suspended");
    assert_eq!(set.marked(), 0);
}
