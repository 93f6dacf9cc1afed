//! Origins, snapshots and merging under schedules that shuttle chooses: what one thread does
//! between two steps of another is never seen where it must not be.

mod shuttled;

use dm_protocol::{Action, Flags};
use dm_schedules::{Device, DiskSpec, Mode, World};
use shuttle::MaxSteps;
use std::sync::Arc;

const SEED: u64 = 0x5a9_5407;

fn explore(count: usize, test: fn()) {
    shuttled::explore(SEED, Some(MaxSteps::None), count, test);
}

/// An origin of 16 sectors, which ends its transfers late, and two COW devices.
fn setup() -> (Arc<World>, Device, [String; 2]) {
    let world = Arc::new(World::new());
    let disk = world.disk_of(DiskSpec::new(16).mode(Mode::Thread(1)));
    disk.set_bytes(0, &[1; 16 * 512]);
    world.try_create("base", &format!("0 16 linear {} 0", disk.name())).expect("a base");
    let origin = world.create("o", "0 16 snapshot-origin /dev/mapper/base");
    let cows = [64, 64].map(|sectors| world.disk(sectors).name());
    (world, origin, cows)
}

fn line(kind: &str, cow: &str, how: &str) -> String {
    format!("0 16 {kind} /dev/mapper/base {cow} {how}")
}

fn all(device: &Device, version: u8) -> bool {
    device.read(0, 16).expect("a read").iter().all(|byte| *byte == version)
}

#[test]
fn reads_of_a_snapshot_against_writes_of_its_origin() {
    explore(60, || {
        let (world, origin, [cow, _]) = setup();
        let snapshot = world.create("s", &line("snapshot", &cow, "N 2"));
        let writer = {
            let origin = origin.clone();
            world.spawn(move |_| {
                origin.write(3, &[2; 3 * 512]).expect("a write");
                origin.write(8, &[3; 512]).expect("a write");
            })
        };
        assert!(all(&snapshot, 1));
        assert!(all(&snapshot, 1));
        writer.join().expect("no surprise");
        assert!(all(&snapshot, 1));
    });
}

#[test]
fn a_snapshot_that_begins_against_writes_of_its_origin() {
    explore(60, || {
        let (world, origin, [cow, _]) = setup();
        let writer = {
            let origin = origin.clone();
            world.spawn(move |_| {
                for version in 2..5 {
                    origin.write(2, &[version; 4 * 512]).expect("a write");
                }
            })
        };
        let snapshot = world.create("s", &line("snapshot", &cow, "P 2"));
        let first = snapshot.read(0, 16).expect("a read");
        writer.join().expect("no surprise");
        assert!(snapshot.read(0, 16).expect("a read") == first, "it does not change any more");
    });
}

#[test]
fn a_snapshot_that_goes_and_comes_back_against_writes() {
    explore(40, || {
        let (world, origin, [cow, other]) = setup();
        world.try_create("t", &line("snapshot", &other, "N 4")).expect("another");
        let table = line("snapshot", &cow, "P 1");
        world.try_create("s", &table).expect("a snapshot");
        let writer = {
            let origin = origin.clone();
            world.spawn(move |_| origin.write(5, &[2; 6 * 512]).expect("a write"))
        };
        world.on("s", Action::Remove).expect("removed");
        writer.join().expect("no surprise");
        assert!(all(&world.open("t"), 1));
        world.try_create("s", &table).expect("again");
        origin.write(0, &[3; 16 * 512]).expect("a write");
        assert!(all(&world.open("t"), 1));
    });
}

#[test]
fn a_store_that_is_taken_over_against_writes_of_its_origin() {
    explore(40, || {
        let (world, origin, [cow, _]) = setup();
        let table = line("snapshot", &cow, "P 2");
        let snapshot = world.create("s", &table);
        let swap = world.spawn(move |world| {
            world.load("s", &table).expect("loaded");
            world.on_with("s", Action::Resume, Flags::NOFLUSH).expect("resumed");
        });
        origin.write(4, &[2; 5 * 512]).expect("a write");
        assert!(all(&snapshot, 1));
        swap.join().expect("no surprise");
        assert!(all(&snapshot, 1));
    });
}

#[test]
fn merging_against_writes_reads_and_a_suspension() {
    explore(40, || {
        let (world, origin, [cow, other]) = setup();
        drop(origin);
        world.on("o", Action::Remove).expect("removed");
        let snapshot = world.create("s", &line("snapshot", &cow, "P 1"));
        snapshot.write(2, &[2; 6 * 512]).expect("a write");
        drop(snapshot);
        world.on("s", Action::Remove).expect("removed");
        let kept = world.create("t", &line("snapshot", &other, "N 2"));
        let device = world.create("m", &line("snapshot-merge", &cow, "P 1"));
        let meddler = world.spawn(|world| {
            world.on("m", Action::Suspend).expect("suspended");
            world.on("m", Action::Resume).expect("resumed");
        });
        let reader = world.spawn(move |_| assert!(all(&kept, 1), "the other never changes"));
        device.write(4, &[3; 2 * 512]).expect("a write");
        let read = device.read(0, 16).expect("a read");
        let versions: Vec<u8> = read.chunks(512).map(|sector| sector[0]).collect();
        assert_eq!(versions, [1, 1, 2, 2, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1]);
        meddler.join().expect("no surprise");
        reader.join().expect("no surprise");
    });
}
