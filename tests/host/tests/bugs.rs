//! The faults of the stock driver, each with a test of what we do instead.
//!
//! Numbers are those of the list in docs/divergences.md where it has them. Tested elsewhere:
//! replies, refusals and lookups of commands in `commands.rs` (errors that are told, uuids,
//! minors, unprivileged callers, versions); gaps, overlaps and ends in `tables.rs`; the
//! parameters of targets in the files of the targets; statistics, splitting and errors in
//! `faults.rs` and `maps.rs`. Faults of the stock libdm and dmsetup (files in /tmp, memory freed
//! twice, lists cut short, output on stdout) have their tests in lib/libdm and sbin/dmsetup.

use dm::kern::disk::Op;
use dm_protocol::{Action, Errno, Flags, Request, key};
use dm_tests::snapshot::{everything, lines};
use dm_tests::wire::{errno, number, stock, stock_on, text};
use dm_tests::{DiskSpec, Mode, SYS, World};
use std::sync::Arc;

#[test]
fn a_refused_command_tells_its_error_to_who_can_read_it() {
    let world = World::new();
    for command in ["remove", "suspend", "resume", "clear", "status", "deps", "info", "mknodes"] {
        let reply = world.ask(&SYS, stock_on(command, "nosuch"));
        assert_eq!(errno(&reply), Errno::ENOENT.number() as u64, "{command}");
    }
}

#[test]
fn a_request_without_a_minor_never_finds_a_device_by_chance() {
    let world = World::new();
    world.make("d").expect("a device");
    for command in ["remove", "info", "suspend", "resume", "deps", "reload", "status"] {
        let reply = world.ask(&SYS, stock(command));
        assert_ne!(errno(&reply), 0, "{command} named nothing");
    }
    world.on("d", Action::Info).expect("still there");
}

#[test]
fn a_rename_onto_another_device_keeps_both() {
    let world = World::new();
    world.try_create("a", "0 8 zero").expect("a device");
    world.try_create("b", "0 8 zero").expect("a device");
    let before = everything(&world);
    assert_eq!(world.rename("a", "b").expect_err("taken").errno, Errno::EEXIST);
    assert_eq!(everything(&world), before);
}

#[test]
fn a_failed_creation_frees_name_and_minor() {
    let world = World::new();
    world.context.faults.fail_nth(1);
    assert_eq!(world.make("a").expect_err("no node").errno, Errno::ENOSPC);
    world.context.faults.fail_nth(0);
    assert_eq!(world.make("a").expect("a device").minor, 1);
}

#[test]
fn suspend_then_resume_keeps_the_live_table() {
    let world = World::new();
    let device = world.create("d", "0 8 zero");
    world.on("d", Action::Suspend).expect("suspended");
    let reply = world.on("d", Action::Resume).expect("resumed");
    assert!(reply.flags.contains(Flags::ACTIVE_PRESENT));
    world.on("d", Action::Resume).expect("resumed again");
    assert_eq!(lines(&world, "d", false), ["0 8 zero "]);
    device.read(0, 8).expect("a read");
}

#[test]
fn a_suspended_device_holds_requests_back_until_it_is_resumed() {
    let world = World::new();
    let disk = world.disk(8);
    let device = world.create("d", &format!("0 8 linear {} 0", disk.name()));
    world.on("d", Action::Suspend).expect("suspended");
    let flags = world.on("d", Action::Info).expect("info").flags;
    assert!(flags.contains(Flags::SUSPEND));
    let pending: Vec<_> =
        (0..4).map(|at| device.begin(Op::Write, false, at, 1, vec![at as u8 + 1; 512])).collect();
    assert!(pending.iter().all(|pending| !pending.is_over()));
    assert_eq!(disk.count(Op::Write), 0);
    let reply = world.on("d", Action::Resume).expect("resumed");
    assert!(!reply.flags.contains(Flags::SUSPEND));
    pending.into_iter().for_each(|pending| drop(pending.wait().expect("a write")));
    assert_eq!(disk.bytes()[3 * 512], 4);
}

#[test]
fn a_suspension_drains_and_flushes() {
    let world = Arc::new(World::new());
    let disk = world.disk_of(DiskSpec::new(8).mode(Mode::Held));
    let device = world.create("d", &format!("0 8 linear {} 0", disk.name()));
    let pending = device.begin(Op::Write, false, 0, 1, vec![1; 512]);
    let suspend = world.spawn(|world| world.on("d", Action::Suspend).map(drop));
    std::thread::sleep(std::time::Duration::from_millis(10));
    assert!(!suspend.is_finished(), "a write is under way");
    assert_eq!(disk.held_op(0).0, Op::Write);
    disk.complete(0);
    while !suspend.is_finished() {
        disk.complete_all();
        std::thread::yield_now();
    }
    suspend.join().expect("no surprise").expect("suspended");
    pending.wait().expect("a write");
    assert_eq!(disk.count(Op::Flush), 1);
    world.on("d", Action::Resume).expect("resumed");
}

#[test]
fn a_reload_that_fails_at_its_last_segment_keeps_the_inactive_table() {
    let world = World::new();
    world.make("d").expect("a device");
    world.load("d", "0 8 zero").expect("loaded");
    let before = everything(&world);
    assert!(world.load("d", "0 8 error\n8 8 nonsense").is_err());
    assert_eq!(everything(&world), before);
}

#[test]
fn info_counts_openers_and_tells_of_read_only_tables_and_events() {
    let world = World::new();
    let device = world.create("d", "0 8 zero\n8 8 error");
    let second = world.open("d");
    let reply = world.on("d", Action::Info).expect("info");
    assert_eq!((reply.open_count, reply.target_count), (2, 2));
    drop((device, second));
    assert_eq!(world.on("d", Action::Info).expect("info").open_count, 0);
    world.try_create("on", "0 8 linear /dev/mapper/d 0").expect("a device on it");
    assert_eq!(world.on("d", Action::Info).expect("info").open_count, 1, "a table is an opener");
}

#[test]
fn status_and_table_are_two_things() {
    let world = World::new();
    let disk = world.disk(64);
    let table = format!("0 8 striped 1 8 {} 0", disk.name());
    world.try_create("d", &table).expect("a device");
    let devno = disk.devno();
    assert_eq!(lines(&world, "d", true), [format!("0 8 striped 1 {devno} 1 A")]);
    assert_eq!(lines(&world, "d", false), [format!("0 8 striped 1 8 {devno} 0")]);
    let mut dict = stock_on("status", "d");
    dict.set(key::FLAGS, 0x14_u32);
    let reply = dm_protocol::Reply::decode(&world.ask(&SYS, dict)).expect("a reply");
    let dm_protocol::ReplyBody::Segments(segments) = reply.body else { panic!("no segments") };
    assert_eq!(*segments[0].params, format!("1 8 {devno} 0"), "as stock clients ask for tables");
}

#[test]
fn a_device_that_is_open_is_not_removed() {
    let world = World::new();
    let device = world.create("d", "0 8 zero");
    let reply = world.ask(&SYS, stock_on("remove", "d"));
    assert_eq!(errno(&reply), Errno::EBUSY.number() as u64);
    assert_eq!(number(&reply, key::OPEN_COUNT), 1);
    assert_eq!(text(&reply, key::ERROR), "d is in use, open count 1");
    device.read(0, 8).expect("still there");
}

#[test]
fn a_removal_spares_a_device_that_has_another_name_by_then() {
    let world = Arc::new(World::new());
    let disk = world.disk_of(DiskSpec::new(8).mode(Mode::Held));
    world.try_create("a", &format!("0 8 linear {} 0", disk.name())).expect("a device");
    // As long as its flush takes, no other command changes the device.
    let suspend = world.spawn(|world| world.on("a", Action::Suspend).map(drop));
    while disk.held() == 0 {
        std::thread::yield_now();
    }
    let remove = world.spawn(|world| world.on("a", Action::Remove).map(drop));
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(!remove.is_finished(), "it waits for the suspension");
    world.rename("a", "b").expect("renamed");
    disk.complete_all();
    suspend.join().expect("no surprise").expect("suspended");
    let refusal = remove.join().expect("no surprise").expect_err("there is no a");
    assert_eq!(refusal.errno, Errno::ENOENT);
    world.on("b", Action::Resume).expect("b is there");
}

#[test]
fn an_error_of_any_disk_fails_a_flush() {
    let world = World::new();
    let disks = [world.disk(8), world.disk(8)];
    let table = format!("0 8 linear {} 0\n8 8 linear {} 0", disks[0].name(), disks[1].name());
    let device = world.create("d", &table);
    for broken in &disks {
        broken.break_sectors(0..1, Errno::EIO);
        assert_eq!(device.flush(), Err(Errno::EIO));
        broken.mend();
    }
    device.flush().expect("a flush");
}

#[test]
fn the_size_is_where_the_last_segment_ends_whatever_the_targets() {
    let world = World::new();
    let minor = world.try_create("d", "0 8 zero\n8 100 error").expect("a device").minor;
    assert_eq!(world.context.nodes()[&minor].size, 108);
    let big = world.disk_of(DiskSpec::new(64).big_sectors());
    let table = format!("0 16 zero\n16 8 linear {} 8", big.name());
    world.load("d", &table).expect("loaded");
    world.on("d", Action::Resume).expect("resumed");
    let node = world.context.nodes()[&minor].clone();
    assert_eq!((node.size, node.sector_size), (24, 4096), "and the platform is told");
}

#[test]
fn discards_and_resizes_are_told() {
    let world = World::new();
    let plain = world.disk_of(DiskSpec { discard: false, ..DiskSpec::new(64) });
    let minor = world.try_create("d", &format!("0 8 linear {} 0", plain.name())).expect("made");
    let minor = minor.minor;
    assert!(!world.context.nodes()[&minor].discard);
    let able = world.disk(64);
    world.load("d", &format!("0 16 linear {} 0", able.name())).expect("loaded");
    assert_eq!(world.context.nodes()[&minor].size, 8, "not before it is live");
    world.on("d", Action::Resume).expect("resumed");
    assert!(world.context.nodes()[&minor].discard);
    assert_eq!(world.context.nodes()[&minor].size, 16);
}

#[test]
fn requests_are_counted_when_they_end() {
    let world = World::new();
    let disk = world.disk_of(DiskSpec::new(8).mode(Mode::Held));
    let device = world.create("d", &format!("0 8 linear {} 0", disk.name()));
    let total = |op: Op| device.opened().stats().total()[op.index()];
    let pending = device.begin(Op::Read, false, 0, 4, vec![0; 2048]);
    assert_eq!(total(Op::Read).requests, 0);
    disk.complete_all();
    pending.wait().expect("a read");
    assert_eq!((total(Op::Read).requests, total(Op::Read).sectors), (1, 4));
    disk.break_sectors(0..8, Errno::EIO);
    let pending = device.begin(Op::Write, false, 0, 4, vec![0; 2048]);
    disk.complete_all();
    assert_eq!(pending.wait(), Err(Errno::EIO));
    assert_eq!((total(Op::Write).errors, total(Op::Write).sectors), (1, 0));
}

#[test]
fn a_request_beyond_the_end_fails_whole() {
    let world = World::new();
    let disk = world.disk(16);
    let device = world.create("d", &format!("0 10 linear {} 0", disk.name()));
    assert_eq!(device.read(8, 4), Err(Errno::EINVAL));
    assert_eq!(device.write(8, &[1; 2048]), Err(Errno::EINVAL));
    assert!(disk.bytes().iter().all(|byte| *byte == 0), "nothing was written");
    assert_eq!(device.begin(Op::Read, false, u64::MAX, 1, vec![0; 512]).wait(), Err(Errno::EINVAL));
    assert_eq!(device.read(0, 0), Err(Errno::EINVAL));
}

#[test]
fn many_stripes_and_devices_are_printed_whole() {
    let world = World::new();
    let disk = world.disk(1024);
    let name = disk.name();
    let legs: usize = if cfg!(miri) { 9 } else { 300 };
    let mut table = format!("0 {legs} striped {legs} 1");
    (0..legs).for_each(|leg| table += &format!(" {name} {leg}"));
    world.try_create("d", &table).expect("300 stripes, more than a byte counts");
    let printed = lines(&world, "d", false).remove(0);
    assert_eq!(printed.split(' ').count(), 3 + 2 + 2 * legs);
    assert_eq!(lines(&world, "d", true)[0].split(' ').next_back().map(str::len), Some(legs));
    for nr in 0..40 {
        world.make(&format!("{nr:0>127}")).expect("a long name");
    }
    let names = world.run(&Request::new(Action::Names)).expect("names");
    let dm_protocol::ReplyBody::Names(names) = names.body else { panic!("no names") };
    assert_eq!(names.len(), 41);
}

#[test]
fn a_shutdown_drains_flushes_and_fails_what_waits() {
    let world = World::new();
    let disk = world.disk(8);
    world.try_create("low", &format!("0 8 linear {} 0", disk.name())).expect("a device");
    let device = world.create("top", "0 8 linear /dev/mapper/low 0");
    device.write(0, &[1; 512]).expect("a write");
    world.on("top", Action::Suspend).expect("suspended");
    let flushes = disk.count(Op::Flush);
    let pending = device.begin(Op::Write, false, 0, 1, vec![2; 512]);
    world.driver().shutdown();
    assert_eq!(pending.wait(), Err(Errno::EIO));
    assert!(disk.count(Op::Flush) > flushes);
    assert_eq!(device.read(0, 1), Err(Errno::EIO), "nothing flows any more");
    assert_eq!(world.make("more").expect_err("it ends").errno, Errno::ENXIO);
    assert_eq!(disk.bytes()[0], 1);
}
