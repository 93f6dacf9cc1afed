//! Requests that a platform sends to a disk itself: which may go, and that they are counted and
//! waited for like all others.

use dm::kern::disk::Op;
use dm_protocol::{Action, Errno, Sector, Sectors};
use dm_tests::snapshot::lines;
use dm_tests::{DiskSpec, World, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn place(device: &dm_tests::Device, op: Op, at: u64, count: u64) -> Option<u64> {
    device.opened().straight(op, Sector(at), Sectors(count)).map(|(_, _, sector)| sector.0)
}

#[test]
fn what_lies_on_one_disk_is_found_there_and_all_else_is_not() {
    let world = World::new();
    let disk = world.disk(200);
    let name = disk.name();
    let table = format!("0 64 linear {name} 100\n64 64 linear {name} 0\n128 8 zero");
    let device = world.create("d", &table);
    let below = world.create("above", "0 8 linear /dev/mapper/d 0");
    assert_eq!(place(&device, Op::Read, 0, 64), Some(100));
    assert_eq!(place(&device, Op::Write, 63, 1), Some(163));
    assert_eq!(place(&device, Op::Read, 64, 64), Some(0));
    assert_eq!(place(&device, Op::Read, 63, 2), None, "two segments");
    assert_eq!(place(&device, Op::Read, 0, 0), None, "nothing");
    assert_eq!(place(&device, Op::Read, 128, 8), None, "no disk");
    assert_eq!(place(&device, Op::Read, 127, 2), None, "it ends elsewhere");
    assert_eq!(place(&device, Op::Read, 136, 1), None, "behind the end");
    assert_eq!(place(&device, Op::Read, u64::MAX, 1), None, "behind everything");
    assert_eq!(place(&device, Op::Read, 1, u64::MAX), None, "more than there is");
    assert_eq!(place(&below, Op::Read, 0, 8), None, "a mapped device is no disk");
}

#[test]
fn parts_of_sectors_and_writes_to_what_is_read_only_go_the_other_way() {
    let world = World::new();
    let disk = world.disk_of(DiskSpec { sector_size: 4096, ..DiskSpec::new(64) });
    let device = world.create("d", &format!("0 64 linear {} 0", disk.name()));
    assert_eq!(place(&device, Op::Read, 8, 8), Some(8));
    assert_eq!(place(&device, Op::Read, 4, 8), None);
    assert_eq!(place(&device, Op::Read, 8, 4), None);
    drop(device);
    world.on("d", Action::Suspend).expect("suspended");
    let device = world.open("d");
    assert_eq!(place(&device, Op::Read, 8, 8), None, "the gate is closed");
    world.on("d", Action::Resume).expect("resumed");
    assert_eq!(place(&device, Op::Read, 8, 8), Some(8));
}

#[test]
fn a_suspension_waits_for_them_and_they_are_counted() {
    let world = Arc::new(World::new());
    let disk = world.disk(64);
    let device = world.create("d", &format!("0 64 linear {} 0", disk.name()));
    let opened = device.opened();
    let straight = || opened.straight(Op::Read, Sector(0), Sectors(8)).expect("straight").0;
    let (one, other, forgotten) = (straight(), straight(), straight());
    let over = Arc::new(AtomicBool::new(false));
    let command = {
        let over = Arc::clone(&over);
        world.spawn(move |world| {
            world.on("d", Action::Suspend).expect("suspended");
            over.store(true, Ordering::SeqCst);
        })
    };
    until("the gate is closed", || place(&device, Op::Read, 0, 8).is_none());
    one.end(None);
    other.end(Some(Errno::EIO));
    assert!(!over.load(Ordering::SeqCst), "one is still under way");
    drop(forgotten);
    command.join().expect("no surprise");
    let reads = opened.stats().total()[Op::Read.index()];
    assert_eq!((reads.requests, reads.errors, reads.sectors), (2, 1, 8));
    world.on("d", Action::Resume).expect("resumed");
}

#[test]
fn what_lies_in_one_chunk_goes_straight_and_what_crosses_chunks_does_not() {
    let world = World::new();
    let disks = [world.disk(64), world.disk(64)];
    let (a, b) = (disks[0].name(), disks[1].name());
    let striped = format!("0 32 striped 2 8 {a} 16 {b} 0");
    let device = world.create("d", &format!("{striped}\n32 8 unstriped 2 8 1 {b} 0"));
    assert_eq!(place(&device, Op::Read, 0, 8), Some(16));
    assert_eq!(place(&device, Op::Write, 9, 7), Some(1));
    assert_eq!(place(&device, Op::Read, 17, 7), Some(25));
    assert_eq!(place(&device, Op::Read, 31, 1), Some(15));
    assert_eq!(place(&device, Op::Read, 7, 2), None, "two chunks");
    assert_eq!(place(&device, Op::Read, 0, 9), None, "a chunk and more");
    assert_eq!(place(&device, Op::Read, 31, 2), None, "two segments");
    assert_eq!(place(&device, Op::Read, 32, 8), Some(8), "unstriped computes, too");
    assert_eq!(place(&device, Op::Read, 32, u64::MAX), None, "more than there is");
}

#[test]
fn a_target_that_keeps_anything_is_not_asked() {
    let world = World::new();
    let disk = world.disk(64);
    let (a, other) = (disk.name(), world.disk(64));
    let b = other.name();
    let tables = [
        format!("0 8 delay {a} 0 1"),
        format!("0 8 flakey {a} 0 10 10"),
        format!("0 8 mirror core 1 8 2 {a} 0 {b} 0"),
    ];
    for (nr, table) in tables.iter().enumerate() {
        let device = world.create(&format!("d{nr}"), table);
        assert_eq!(place(&device, Op::Read, 0, 8), None, "{table}");
        drop(device);
        world.on(&format!("d{nr}"), Action::Remove).expect("removed");
    }
}

#[test]
fn an_error_is_told_to_the_stripe_it_came_from() {
    let world = World::new();
    let disks = [world.disk(64), world.disk(64)];
    let (a, b) = (disks[0].name(), disks[1].name());
    let device = world.create("d", &format!("0 32 striped 2 8 {a} 0 {b} 0"));
    let straight =
        |at| device.opened().straight(Op::Write, Sector(at), Sectors(8)).expect("straight").0;
    straight(0).end(None);
    straight(8).end(Some(Errno::EOPNOTSUPP));
    let (a, b) = (disks[0].devno(), disks[1].devno());
    let status = || lines(&world, "d", true);
    assert_eq!(status(), [format!("0 32 striped 2 {a} {b} 1 AA")]);
    straight(24).end(Some(Errno::EIO));
    assert_eq!(status(), [format!("0 32 striped 2 {a} {b} 1 AD")]);
    straight(16).end(Some(Errno::EIO));
    assert_eq!(status(), [format!("0 32 striped 2 {a} {b} 1 DD")]);
}
