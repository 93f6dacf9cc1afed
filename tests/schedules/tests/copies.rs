//! Mirrors and raids under schedules that shuttle chooses: copying, requests, members that fail
//! and commands come in any order, and every write is on all members in the end.

mod shuttled;

use dm_protocol::{Action, Errno, Flags};
use dm_schedules::snapshot::lines;
use dm_schedules::{Device, Disk, DiskSpec, Mode, World};
use shuttle::MaxSteps;
use std::sync::Arc;

const SEED: u64 = 0xc0_91e5;
const SIZE: u64 = 16;

fn explore(count: usize, test: fn()) {
    shuttled::explore(SEED, Some(MaxSteps::None), count, test);
}

/// A mirror or a raid1 of two disks that end transfers late, and hold different things.
struct Set {
    world: Arc<World>,
    disks: [Arc<Disk>; 2],
    table: String,
}

fn set(raid: bool) -> Set {
    let world = Arc::new(World::new());
    let disks = [1, 2].map(|nr| world.disk_of(DiskSpec::new(SIZE).mode(Mode::Thread(nr))));
    disks[1].set_bytes(0, &[2; SIZE as usize * 512]);
    let small = [world.disk(9).name(), world.disk(9).name()];
    let [one, two] = [0, 1].map(|nr: usize| disks[nr].name());
    let table = match raid {
        true => format!("raid raid1 3 0 region_size 8 2 {} {one} {} {two}", small[0], small[1]),
        false => format!("mirror disk 2 {} 8 2 {one} 0 {two} 0", small[0]),
    };
    Set { world, disks, table: format!("0 {SIZE} {table}") }
}

impl Set {
    fn create(&self) -> Device {
        self.world.create("c", &self.table)
    }

    /// Waits until the copies are equal, removes the device, and compares them.
    fn finish(&self, device: Device) {
        let equal = |status: &str| status.contains(" 2/2 1 ") || status.contains(" 16/16 idle ");
        while !equal(&lines(&self.world, "c", true)[0]) {
            shuttle::thread::yield_now();
        }
        drop(device);
        self.world.on("c", Action::Remove).expect("removed");
        assert!(self.disks[0].bytes() == self.disks[1].bytes(), "the copies are equal");
    }
}

fn again(world: &World, flags: Flags) {
    world.on_with("c", Action::Suspend, flags).expect("suspended");
    world.on("c", Action::Resume).expect("resumed");
}

fn write_and_read(device: &Device, at: u64) {
    let data = vec![at as u8 + 10; 1024];
    device.write(at, &data).expect("a write");
    assert!(device.read(at, 2).expect("a read") == data);
}

/// Suspensions against copying and requests.
fn suspensions(raid: bool) {
    let set = set(raid);
    let device = set.create();
    let meddler = set.world.spawn(|world| {
        again(world, Flags::NOFLUSH);
        again(world, Flags::EXISTS);
    });
    let other = {
        let device = device.clone();
        set.world.spawn(move |_| write_and_read(&device, 1))
    };
    write_and_read(&device, 7);
    device.flush().expect("a flush");
    meddler.join().expect("no surprise");
    other.join().expect("no surprise");
    set.finish(device);
}

/// A new table, which takes over what is known, against copying and requests.
fn new_tables(raid: bool) {
    let set = set(raid);
    let device = set.create();
    let table = set.table.clone();
    let meddler = set.world.spawn(move |world| {
        world.load("c", &table).expect("loaded");
        world.on_with("c", Action::Resume, Flags::NOFLUSH).expect("resumed");
    });
    write_and_read(&device, 2);
    write_and_read(&device, 9);
    meddler.join().expect("no surprise");
    set.finish(device);
}

/// A member that fails and comes back, against requests.
fn losses(raid: bool) {
    let set = set(raid);
    let device = set.create();
    let broken = Arc::clone(&set.disks[1]);
    let meddler = set.world.spawn(move |world| {
        broken.break_sectors(0..SIZE, Errno::EIO);
        shuttle::thread::yield_now();
        world.on("c", Action::Suspend).expect("suspended");
        broken.mend();
        world.on("c", Action::Resume).expect("resumed");
    });
    write_and_read(&device, 3);
    device.flush().expect("a flush");
    write_and_read(&device, 12);
    meddler.join().expect("no surprise");
    // It may have failed after the last resume looked.
    again(&set.world, Flags::EXISTS);
    set.finish(device);
}

#[test]
fn a_mirror_is_suspended_against_copying_and_writes() {
    explore(60, || suspensions(false));
}

#[test]
fn a_raid_is_suspended_against_copying_and_writes() {
    explore(60, || suspensions(true));
}

#[test]
fn a_mirror_gets_a_new_table_against_copying_and_writes() {
    explore(60, || new_tables(false));
}

#[test]
fn a_raid_gets_a_new_table_against_copying_and_writes() {
    explore(60, || new_tables(true));
}

#[test]
fn a_mirror_loses_a_leg_against_writes() {
    explore(60, || losses(false));
}

#[test]
fn a_raid_loses_a_member_against_writes() {
    explore(60, || losses(true));
}

#[test]
fn copying_ends_when_the_device_is_removed() {
    explore(60, || {
        for raid in [false, true] {
            let set = set(raid);
            drop(set.create());
            set.world.on("c", Action::Remove).expect("removed");
        }
    });
}

#[test]
fn messages_against_writes_and_a_suspension() {
    explore(40, || {
        let set = set(true);
        let device = set.create();
        // One may be refused while another is done, or while the device is suspended.
        let speak = |words: [&'static str; 3]| {
            set.world.spawn(move |world| words.iter().for_each(|word| drop(world.say("c", word))))
        };
        let speakers = [speak(["idle", "check", "frozen"]), speak(["repair", "frozen", "idle"])];
        let meddler = set.world.spawn(|world| again(world, Flags::EXISTS));
        write_and_read(&device, 6);
        speakers.into_iter().for_each(|speaker| speaker.join().expect("no surprise"));
        meddler.join().expect("no surprise");
        set.world.say("c", "idle").expect("a message");
        set.finish(device);
    });
}
