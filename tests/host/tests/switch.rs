//! switch: regions on paths, messages that move them, refusals.

use dm::kern::disk::Op;
use dm_protocol::{Action, Errno, Flags};
use dm_tests::snapshot::{lines, refuses};
use dm_tests::{Disk, DiskSpec, Mode, World};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Disks, and a table of `regions` regions of four sectors on all of them.
fn paths(world: &World, paths: usize, regions: u64) -> (Vec<Arc<Disk>>, String) {
    let disks: Vec<_> = (0..paths).map(|_| world.disk(regions * 4)).collect();
    let words: Vec<_> = disks.iter().map(|disk| format!("{} 0", disk.name())).collect();
    let length = regions * 4;
    (disks, format!("0 {length} switch {paths} 4 0 {}", words.join(" ")))
}

/// On which path each region is, found by writing there.
fn placed(world: &World, disks: &[Arc<Disk>], regions: u64) -> Vec<usize> {
    let device = world.open("s");
    disks.iter().for_each(|disk| disk.set_bytes(0, &vec![0; disk.bytes().len()]));
    device.write(0, &vec![1; regions as usize * 4 * 512]).expect("a write");
    let of = |region: u64| {
        let range = region as usize * 4 * 512..(region as usize + 1) * 4 * 512;
        let on: Vec<_> = (0..disks.len()).filter(|n| disks[*n].bytes()[range.start] == 1).collect();
        assert_eq!(on.len(), 1, "region {region} is in one place");
        assert!(disks[on[0]].bytes()[range].iter().all(|byte| *byte == 1));
        on[0]
    };
    (0..regions).map(of).collect()
}

#[test]
fn table_and_status_print_what_linux_prints() {
    let world = World::new();
    let (disks, table) = paths(&world, 2, 4);
    world.try_create("s", &table).expect("a table");
    let (a, b) = (disks[0].devno(), disks[1].devno());
    assert_eq!(lines(&world, "s", false), [format!("0 16 switch 2 4 0 {a} 0 {b} 0")]);
    assert_eq!(lines(&world, "s", true), ["0 16 switch "]);
}

#[test]
fn wrong_arguments_are_refused_with_a_reason_and_change_nothing() {
    let world = World::new();
    let disk = world.disk(64);
    let big = world.disk_of(DiskSpec::new(64).big_sectors());
    for (words, why) in [
        ("", "argument 1 (paths) is missing"),
        ("0 4 0", "argument 1 (paths) \"0\": is not from 1"),
        ("1 0 0 @ 0", "argument 2 (region) \"0\": is not from 1"),
        ("1 4 1 x @ 0", "argument 3 (options) \"1\": is not from 0 to 0"),
        ("2 4 0 @ 0", "2 paths need 4 words behind the options, not 2"),
        ("4294967295 4 0 @ 0", "4294967295 paths need 8589934590 words"),
        ("1 4 0 @ 0 0", "1 paths need 2 words"),
        ("1 4 0 @ 1", "64 sectors from 1 on are beyond"),
        ("1 4 0 & 0", "a region of 4 is no multiple of its sectors, which have 8"),
    ] {
        let words = words.replace('@', &disk.name()).replace('&', &big.name());
        refuses(&world, &format!("0 64 switch {words}"), why);
    }
}

#[test]
fn regions_are_on_the_paths_in_turn_until_told() {
    for count in [1, 2, 3, 5, 17] {
        let world = World::new();
        let (disks, table) = paths(&world, count, 40);
        world.try_create("s", &table).expect("a table");
        let expected: Vec<_> = (0..40).map(|region| region % count).collect();
        assert_eq!(placed(&world, &disks, 40), expected);
        // Every region alone, which must leave its neighbours in the word alone.
        let mut expected = expected;
        for (region, expected) in expected.iter_mut().enumerate() {
            let path = (region * 7 + 1) % count;
            *expected = path;
            world.say("s", &format!("set_region_mappings {region:x}:{path:x}")).expect("told");
        }
        assert_eq!(placed(&world, &disks, 40), expected);
    }
}

#[test]
fn a_message_continues_and_repeats() {
    let world = World::new();
    let (disks, table) = paths(&world, 3, 16);
    world.try_create("s", &table).expect("a table");
    world.say("s", "set_region_mappings 1:2 :2 :0 R3,a").expect("told");
    assert_eq!(placed(&world, &disks, 16), [0, 2, 2, 0, 2, 2, 0, 2, 2, 0, 2, 2, 0, 2, 2, 0]);
    world.say("s", "SET_REGION_MAPPINGS E:1 r1,1 0:1").expect("told");
    assert_eq!(placed(&world, &disks, 16)[13..], [2, 1, 1]);
    assert_eq!(placed(&world, &disks, 16)[..2], [1, 2]);
    world.say("s", "set_region_mappings").expect("nothing is told");
}

#[test]
fn a_refused_message_changes_nothing() {
    let world = World::new();
    let (disks, table) = paths(&world, 2, 16);
    world.try_create("s", &table).expect("a table");
    let before = placed(&world, &disks, 16);
    for (text, why) in [
        ("sing", "argument 1 (message) \"sing\": is no message"),
        ("set_region_mappings 0:1 10:1", "(mapping) \"10:1\": goes beyond the last region"),
        ("set_region_mappings 0:1 2:2", "\"2:2\": names a path that is not there"),
        ("set_region_mappings 0:1 2", "\"2\": is not n:m"),
        ("set_region_mappings 0:1 :", "is not made of hexadecimal numbers"),
        ("set_region_mappings 0:1 +2:0", "is not made of hexadecimal numbers"),
        ("set_region_mappings 0:1 10000000000000000:0", "is not made of hexadecimal numbers"),
        ("set_region_mappings 0:1 R2", "is not Rn,m"),
        ("set_region_mappings 0:1 R0,1", "repeats regions that are not there"),
        ("set_region_mappings 0:1 R2,1", "repeats regions that are not there"),
        ("set_region_mappings 0:1 R1,10", "goes beyond the last region"),
        ("set_region_mappings 0:1 R1,ffffffffffffffff", "goes beyond the last region"),
        ("set_region_mappings 0:1 f:0 :0", "goes beyond the last region"),
    ] {
        let failure = world.say("s", text).expect_err(text);
        assert_eq!(failure.errno, Errno::EINVAL, "{text}");
        assert!(failure.message.contains(why), "{text}: {}", failure.message);
        assert_eq!(placed(&world, &disks, 16), before, "{text}");
    }
}

#[test]
fn regions_move_under_running_requests() {
    let world = Arc::new(World::new());
    let spec = DiskSpec::new(64).mode(Mode::Thread(3));
    let disks = [world.disk_of(spec), world.disk_of(spec)];
    let (a, b) = (disks[0].name(), disks[1].name());
    let device = world.create("s", &format!("0 64 switch 2 4 0 {a} 0 {b} 0"));
    let over = Arc::new(AtomicBool::new(false));
    let mover = {
        let over = Arc::clone(&over);
        world.spawn(move |world| {
            while !over.load(Ordering::SeqCst) {
                world.say("s", "set_region_mappings 0:0 R1,f").expect("told");
                world.say("s", "set_region_mappings 0:1 R1,f").expect("told");
            }
        })
    };
    for round in 0..if cfg!(miri) { 5 } else { 200 } {
        device.write(0, &[round as u8; 64 * 512]).expect("a write");
        device.flush().expect("a flush");
    }
    over.store(true, Ordering::SeqCst);
    mover.join().expect("no surprise");
}

#[test]
fn suspension_and_a_new_table_end_what_is_under_way() {
    let world = World::new();
    let disk = world.disk_of(DiskSpec::new(64).mode(Mode::Held));
    let table = format!("0 64 switch 1 4 0 {} 0", disk.name());
    let device = world.create("s", &table);
    let pending = device.begin(Op::Write, false, 2, 4, vec![7; 4 * 512]);
    assert_eq!(disk.held(), 2, "a piece for each region");
    disk.complete_all();
    pending.wait().expect("a write");
    world.on_with("s", Action::Suspend, Flags::NOFLUSH).expect("suspended");
    let late = device.begin(Op::Read, false, 2, 4, vec![0; 4 * 512]);
    world.load("s", &table).expect("a table");
    world.on("s", Action::Resume).expect("a resume");
    disk.complete_all();
    assert_eq!(late.wait().expect("a read"), [7; 4 * 512]);
}
