//! Suspending, resuming, reloading and removing in every state: who has a store, and when.

use crate::pattern::{check, put, status, until};
use crate::store::Store;
use dm::kern::disk::Op;
use dm_protocol::{Action, Errno, Flags};
use dm_tests::{Device, Disk, DiskSpec, Mode, World};
use std::sync::Arc;

/// An origin of 128 sectors of stream 1, in the first half of a disk of 256, and its device.
fn setup(mode: Mode) -> (Arc<World>, Device) {
    let world = Arc::new(World::new());
    let disk = world.disk_of(DiskSpec::new(256).mode(mode));
    let base = world.create("base", &format!("0 128 linear {} 0", disk.name()));
    put(&base, 1, 0, 128);
    let origin = world.create("o", "0 128 snapshot-origin /dev/mapper/base");
    (world, origin)
}

fn line(kind: &str, cow: &Disk, how: &str) -> String {
    format!("0 128 {kind} /dev/mapper/base {} {how}", cow.name())
}

fn swap(world: &World, name: &str, table: &str) {
    world.load(name, table).expect("a table");
    world.on(name, Action::Resume).expect("a resume");
}

#[test]
fn a_table_for_a_store_in_use_takes_it_over() {
    for how in ["P 8", "N 8"] {
        let (world, origin) = setup(Mode::Inline);
        let cow = world.disk(512);
        let snapshot = world.create("s", &line("snapshot", &cow, how));
        put(&origin, 2, 0, 40);
        put(&snapshot, 3, 64, 3);
        let before = status(&world, "s");
        world.load("s", &line("snapshot", &cow, how)).expect("a table");
        put(&origin, 2, 100, 3);
        world.on("s", Action::Resume).expect("a resume");
        assert_ne!(status(&world, "s"), before);
        put(&origin, 2, 112, 3);
        check(&snapshot, 1, 0, 64);
        check(&snapshot, 3, 64, 3);
        check(&snapshot, 1, 67, 61);
        check(&origin, 2, 0, 40);
    }
}

#[test]
fn a_snapshot_grows_with_its_origin_while_both_are_used() {
    let (world, origin) = setup(Mode::Thread(3));
    let cow = world.disk(512);
    let snapshot = world.create("s", &line("snapshot", &cow, "P 8"));
    put(&origin, 2, 0, 40);
    let disk = dm_tests::snapshot::lines(&world, "base", false)[0].clone();
    let disk = disk.split(' ').nth(3).expect("a device").to_owned();
    swap(&world, "base", &format!("0 256 linear {disk} 0"));
    swap(&world, "o", "0 256 snapshot-origin /dev/mapper/base");
    put(&origin, 4, 128, 128);
    let table = line("snapshot", &cow, "P 8").replace("0 128", "0 256");
    swap(&world, "s", &table);
    put(&origin, 5, 120, 100);
    check(&snapshot, 1, 0, 128);
    check(&snapshot, 4, 128, 128);
}

#[test]
fn a_cow_device_grows_before_it_is_full() {
    let (world, origin) = setup(Mode::Inline);
    let disk = world.disk(512);
    let cow = |sectors| format!("0 {sectors} linear {} 0", disk.name());
    world.try_create("cow", &cow(64)).expect("a COW device");
    let table = "0 128 snapshot /dev/mapper/base /dev/mapper/cow P 8";
    let snapshot = world.create("s", table);
    put(&origin, 2, 0, 48);
    assert_eq!(status(&world, "s"), "0 128 snapshot 64/64 16");
    swap(&world, "cow", &cow(512));
    assert_eq!(status(&world, "s"), "0 128 snapshot 64/512 16");
    put(&origin, 2, 48, 80);
    check(&snapshot, 1, 0, 128);
}

#[test]
fn a_full_snapshot_is_invalid_at_once_and_for_ever_and_its_origin_goes_on() {
    for mode in [Mode::Inline, Mode::Thread(9)] {
        let (world, origin) = setup(mode);
        let cow = world.disk_of(DiskSpec::new(48).mode(mode));
        let snapshot = world.create("s", &line("snapshot", &cow, "P 8"));
        let event = world.on("s", Action::Info).expect("info").event_nr;
        put(&origin, 2, 0, 128);
        check(&origin, 2, 0, 128);
        assert_eq!(status(&world, "s"), "0 128 snapshot Invalid");
        assert_eq!(world.on("s", Action::Info).expect("info").event_nr, event + 1);
        assert_eq!(snapshot.read(0, 1), Err(Errno::EIO));
        assert_eq!(Store::read(&cow.bytes()), Store::Invalid);
        drop(snapshot);
        swap(&world, "s", &line("snapshot", &cow, "P 8"));
        assert_eq!(status(&world, "s"), "0 128 snapshot Invalid");
        world.on("s", Action::Remove).expect("removed");
        world.try_create("s", &line("snapshot", &cow, "P 8")).expect("it is loaded");
        assert_eq!(status(&world, "s"), "0 128 snapshot Invalid");
    }
}

#[test]
fn an_overflow_fails_writes_of_the_snapshot_and_nothing_else() {
    let (world, origin) = setup(Mode::Inline);
    let disk = world.disk(512);
    let cow = |sectors| format!("0 {sectors} linear {} 0", disk.name());
    world.try_create("cow", &cow(48)).expect("a COW device");
    let table = "0 128 snapshot /dev/mapper/base /dev/mapper/cow PO 8";
    let snapshot = world.create("s", table);
    put(&snapshot, 3, 0, 32);
    let event = world.on("s", Action::Info).expect("info").event_nr;
    assert_eq!(snapshot.write(32, &[0; 512]), Err(Errno::EIO));
    assert_eq!(status(&world, "s"), "0 128 snapshot Overflow");
    assert_eq!(world.on("s", Action::Info).expect("info").event_nr, event + 1);
    check(&snapshot, 3, 0, 32);
    check(&snapshot, 1, 32, 96);
    assert_eq!(snapshot.write(0, &[0; 512]), Err(Errno::EIO), "no write is taken any more");
    // With room it goes on.
    swap(&world, "cow", &cow(512));
    world.on("s", Action::Suspend).expect("suspended");
    world.on("s", Action::Resume).expect("resumed");
    put(&snapshot, 3, 32, 8);
    assert_eq!(status(&world, "s"), "0 128 snapshot 56/512 16");
    // The origin makes no difference between P and PO.
    swap(&world, "cow", &cow(64));
    put(&origin, 2, 64, 64);
    assert_eq!(status(&world, "s"), "0 128 snapshot Invalid");
}

#[test]
fn a_store_belongs_to_one_that_runs() {
    let (world, origin) = setup(Mode::Inline);
    let (cow, other) = (world.disk(512), world.disk(256));
    let table = line("snapshot", &cow, "P 8");
    let one = world.create("one", &table);
    world.make("two").expect("a device");
    world.load("two", &table).expect("it may be loaded");
    assert_eq!(world.on("two", Action::Resume).expect_err("in use").errno, Errno::EBUSY);
    world.load("two", &line("snapshot", &cow, "N 8")).expect("it may be loaded");
    world.on("one", Action::Suspend).expect("suspended");
    assert_eq!(world.on("two", Action::Resume).expect_err("another kind").errno, Errno::EINVAL);
    put(&origin, 2, 0, 16);
    swap(&world, "two", &table);
    put(&origin, 2, 16, 16);
    check(&world.open("two"), 1, 0, 128);
    // The one before is nobody's any more.
    world.on("one", Action::Resume).expect("resumed");
    assert_eq!(one.read(0, 1), Err(Errno::EIO));
    assert_eq!(status(&world, "one"), "0 128 snapshot Invalid");
    drop(one);
    world.on("one", Action::Remove).expect("removed");
    check(&world.open("two"), 1, 0, 128);
    // Nor is it a snapshot's of another origin.
    world.try_create("b", &format!("0 128 linear {} 0", other.name())).expect("another");
    let table = format!("0 128 snapshot /dev/mapper/b {} P 8", cow.name());
    let failure = world.try_create("three", &table).expect_err("in use");
    assert!(failure.message.contains("snapshot of another device"), "{failure:?}");
    world.on("two", Action::Remove).expect("removed");
    world.try_create("three", &table).expect("it is free");
}

#[test]
fn a_table_that_waited_too_long_reads_the_store_again() {
    let (world, origin) = setup(Mode::Inline);
    let cow = world.disk(512);
    let table = line("snapshot", &cow, "P 8");
    for name in ["one", "two", "three"] {
        world.make(name).expect("a device");
        world.load(name, &table).expect("a table");
    }
    world.on("one", Action::Resume).expect("resumed");
    world.load("three", &table).expect("a table that hopes to take over");
    put(&origin, 2, 0, 16);
    world.on("one", Action::Remove).expect("removed");
    put(&origin, 2, 64, 8);
    world.on("two", Action::Resume).expect("resumed");
    assert_eq!(status(&world, "two"), "0 128 snapshot 32/512 16");
    check(&world.open("two"), 1, 0, 16);
    world.on("two", Action::Remove).expect("removed");
    world.on("three", Action::Resume).expect("resumed");
    assert_eq!(status(&world, "three"), "0 128 snapshot 32/512 16");
    check(&world.open("three"), 1, 0, 16);
}

#[test]
fn a_snapshot_is_merged_as_lvm_does_it_while_its_origin_is_used() {
    for mode in [Mode::Inline, Mode::Thread(5)] {
        let (world, origin) = setup(mode);
        let (cow, other) = (world.disk_of(DiskSpec::new(512).mode(mode)), world.disk(512));
        let snapshot = world.create("s", &line("snapshot", &cow, "P 8"));
        let second = world.create("t", &line("snapshot", &other, "P 4"));
        put(&snapshot, 3, 8, 60);
        put(&origin, 2, 64, 32);
        world.load("o", &line("snapshot-merge", &cow, "P 8")).expect("a table");
        world.on("o", Action::Suspend).expect("suspended");
        assert_eq!(world.on("o", Action::Resume).expect_err("in use").errno, Errno::EBUSY);
        world.on("s", Action::Suspend).expect("suspended");
        world.on("o", Action::Resume).expect("resumed");
        put(&origin, 4, 30, 10);
        check(&origin, 3, 8, 22);
        check(&origin, 4, 30, 10);
        check(&origin, 3, 40, 28);
        until("merged", || status(&world, "o") == "0 128 snapshot-merge 16/512 16");
        world.on("s", Action::Resume).expect("resumed");
        assert_eq!(snapshot.read(0, 1), Err(Errno::EIO));
        check(&origin, 3, 8, 22);
        check(&origin, 4, 30, 10);
        check(&origin, 3, 40, 28);
        check(&origin, 1, 68, 60);
        check(&second, 1, 0, 128);
        swap(&world, "o", "0 128 snapshot-origin /dev/mapper/base");
        put(&origin, 5, 0, 128);
        check(&second, 1, 0, 128);
        assert!(
            matches!(Store::read(&cow.bytes()), Store::Valid { copies, .. } if copies.is_empty())
        );
    }
}

#[test]
fn merging_stops_and_goes_on_with_its_device() {
    let (world, origin) = setup(Mode::Inline);
    let cow = world.disk_of(DiskSpec::new(512).mode(Mode::Thread(1)));
    drop(origin);
    world.on("o", Action::Remove).expect("removed");
    let snapshot = world.create("s", &line("snapshot", &cow, "P 1"));
    for at in (0..128).step_by(2) {
        put(&snapshot, 3, at, 1);
    }
    drop(snapshot);
    world.on("s", Action::Remove).expect("removed");
    let device = world.create("m", &line("snapshot-merge", &cow, "P 1"));
    let mut seen = Vec::new();
    for turn in 0..40 {
        let flags = if turn % 2 == 0 { Flags::NOFLUSH } else { Flags::EXISTS };
        world.on_with("m", Action::Suspend, flags).expect("suspended");
        let now = status(&world, "m");
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert_eq!(status(&world, "m"), now, "nothing is merged meanwhile");
        seen.push(now);
        if turn % 3 == 0 {
            world.load("m", &line("snapshot-merge", &cow, "P 1")).expect("a table");
        }
        world.on("m", Action::Resume).expect("resumed");
        (0..128).step_by(2).for_each(|at| check(&device, 3, at, 1));
    }
    until("merged", || status(&world, "m").ends_with(" 2/512 2"));
    // How far it got each time is up to the scheduler, but never back.
    let used = |status: &String| -> u64 {
        let words = status.split([' ', '/']).nth(3).expect("a number");
        words.parse().expect("a number")
    };
    assert!(seen.is_sorted_by_key(|status| u64::MAX - used(status)), "{seen:?}");
    (0..128).step_by(2).for_each(|at| check(&device, 3, at, 1));
    (1..128).step_by(2).for_each(|at| check(&device, 1, at, 1));
}

#[test]
fn only_one_snapshot_is_merged_at_a_time_and_none_comes_back() {
    let (world, origin) = setup(Mode::Inline);
    drop(origin);
    world.on("o", Action::Remove).expect("removed");
    let cows = [world.disk(512), world.disk(512)];
    world.try_create("m", &line("snapshot-merge", &cows[0], "P 8")).expect("merging");
    let second = world.try_create("n", &line("snapshot-merge", &cows[1], "P 8"));
    assert_eq!(second.expect_err("another").errno, Errno::EBUSY);
    world.load("m", &line("snapshot", &cows[0], "P 8")).expect("a table");
    assert_eq!(world.on("m", Action::Resume).expect_err("merged").errno, Errno::EINVAL);
}

#[test]
fn removing_waits_for_what_is_under_way() {
    let (world, origin) = setup(Mode::Inline);
    let cow = world.disk_of(DiskSpec::new(512).mode(Mode::Held));
    world.make("s").expect("a device");
    let all = || {
        while cow.held() != 0 {
            cow.complete_all()
        }
    };
    let made = {
        let table = line("snapshot", &cow, "N 8");
        world.spawn(move |world| {
            world.load("s", &table).expect("a table");
            world.on("s", Action::Resume).map(drop)
        })
    };
    while !made.is_finished() {
        all();
    }
    made.join().expect("no surprise").expect("resumed");
    let write = origin.begin(Op::Write, false, 0, 1, vec![7; 512]);
    until("copying", || cow.held() != 0);
    let removed = world.spawn(|world| world.on("s", Action::Remove).map(drop));
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert!(!removed.is_finished() && !write.is_over());
    let later = origin.begin(Op::Write, false, 64, 1, vec![8; 512]);
    until("nobody asks it any more", || later.is_over());
    while !removed.is_finished() {
        all();
    }
    removed.join().expect("no surprise").expect("removed");
    write.wait().expect("a write");
    later.wait().expect("a write");
    assert_eq!(origin.read(0, 1).expect("a read")[0], 7);
}

#[test]
fn a_snapshot_begins_when_the_writes_before_it_have_ended() {
    let world = Arc::new(World::new());
    let disk = world.disk_of(DiskSpec::new(128).mode(Mode::Held));
    let cow = world.disk(512);
    world.try_create("base", &format!("0 128 linear {} 0", disk.name())).expect("a base");
    let origin = world.create("o", "0 128 snapshot-origin /dev/mapper/base");
    let before = origin.begin(Op::Write, false, 0, 1, vec![1; 512]);
    assert_eq!(disk.held(), 1);
    let table = line("snapshot", &cow, "P 8");
    let made = world.spawn(move |world| world.try_create("s", &table).map(drop));
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert!(!made.is_finished(), "a write is under way that it must see");
    disk.complete(0);
    before.wait().expect("a write");
    made.join().expect("no surprise").expect("made");
    let after = origin.begin(Op::Write, false, 0, 1, vec![2; 512]);
    while !after.is_over() {
        disk.complete_all();
    }
    after.wait().expect("a write");
    let snapshot = world.open("s");
    let read = snapshot.begin(Op::Read, false, 0, 1, vec![0; 512]);
    until("it is a copy", || read.is_over());
    assert!(read.wait().expect("a read") == [1; 512]);
}

#[test]
fn a_read_that_the_origin_overtook_sees_the_copies() {
    let world = Arc::new(World::new());
    let disk = world.disk_of(DiskSpec::new(128).mode(Mode::Held));
    let cow = world.disk(512);
    disk.set_bytes(0, &[1; 128 * 512]);
    world.try_create("base", &format!("0 128 linear {} 0", disk.name())).expect("a base");
    let origin = world.create("o", "0 128 snapshot-origin /dev/mapper/base");
    let snapshot = world.create("s", &line("snapshot", &cow, "P 8"));
    for (at, count) in [(0, 8), (16, 40)] {
        // A read of several chunks is slow; meanwhile one of them is copied and changes.
        let read = snapshot.begin(Op::Read, false, at, count, vec![0; count as usize * 512]);
        until("it is on its way", || disk.held() == 1);
        let write = origin.begin(Op::Write, false, at, 3, vec![2; 3 * 512]);
        until("the copy begins", || disk.held() == 2);
        disk.complete(1);
        until("the write goes on", || disk.held() == 2);
        disk.complete(1);
        write.wait().expect("a write");
        while !read.is_over() {
            disk.complete_all();
        }
        assert!(read.wait().expect("a read").iter().all(|byte| *byte == 1), "{at}");
    }
}

#[test]
fn discards_clear_what_the_features_say() {
    let (world, origin) = setup(Mode::Inline);
    let cow = world.disk(512);
    let plain = world.create("s", &line("snapshot", &cow, "P 8"));
    assert_eq!(plain.command(Op::Discard, 0, 128), Err(Errno::EOPNOTSUPP));
    plain.command(Op::WriteZeroes, 0, 8).expect("zeroes are written");
    assert!(plain.read(0, 8).expect("a read").iter().all(|byte| *byte == 0));
    assert_eq!(origin.command(Op::Discard, 0, 128), Err(Errno::EOPNOTSUPP));
    put(&plain, 3, 0, 30);
    swap(&world, "s", &line("snapshot", &cow, "P 8 1 discard_zeroes_cow"));
    let table = dm_tests::snapshot::lines(&world, "s", false).remove(0);
    assert!(table.ends_with("P 8 1 discard_zeroes_cow"), "{table}");
    plain.command(Op::Discard, 4, 124).expect("a discard");
    check(&plain, 3, 0, 8);
    assert!(plain.read(8, 24).expect("a read").iter().all(|byte| *byte == 0), "whole chunks");
    check(&plain, 1, 32, 96);
    let features = "P 8 2 discard_zeroes_cow discard_passdown_origin";
    swap(&world, "s", &line("snapshot", &cow, features));
    assert!(dm_tests::snapshot::lines(&world, "s", false).remove(0).ends_with(features));
    plain.command(Op::Discard, 0, 64).expect("a discard");
    assert!(plain.read(0, 32).expect("a read").iter().all(|byte| *byte == 0));
    assert!(origin.read(0, 64).expect("a read").iter().all(|byte| *byte == 0xdd), "passed down");
    check(&origin, 1, 64, 64);
    let event = world.on("s", Action::Info).expect("info").event_nr;
    origin.command(Op::WriteZeroes, 60, 30).expect("zeroes");
    check(&plain, 1, 64, 64);
    assert_eq!(world.on("s", Action::Info).expect("info").event_nr, event);
}

#[test]
fn a_flush_of_a_snapshot_goes_to_its_own_device() {
    let world = World::new();
    let (disk, cow) = (world.disk(128), world.disk(512));
    world.try_create("base", &format!("0 128 linear {} 0", disk.name())).expect("a base");
    let origin = world.create("o", "0 128 snapshot-origin /dev/mapper/base");
    let snapshot = world.create("s", &line("snapshot", &cow, "P 8"));
    let before = [disk.count(Op::Flush), cow.count(Op::Flush)];
    snapshot.flush().expect("a flush");
    origin.flush().expect("a flush");
    let after = [disk.count(Op::Flush), cow.count(Op::Flush)];
    assert_eq!([after[0] - before[0], after[1] - before[1]], [1, 1]);
}

#[test]
fn whole_chunks_are_written_without_a_copy_and_many_at_once() {
    let world = World::new();
    let (disk, cow) = (world.disk(128), world.disk(512));
    world.try_create("base", &format!("0 128 linear {} 0", disk.name())).expect("a base");
    let origin = world.create("o", "0 128 snapshot-origin /dev/mapper/base");
    let snapshot = world.create("s", &line("snapshot", &cow, "P 8"));
    let counts = || [disk.count(Op::Read), cow.count(Op::Write), cow.count(Op::Flush)];
    let before = counts();
    put(&snapshot, 3, 0, 64);
    let after = counts();
    assert_eq!(after[0], before[0], "nothing is read from the origin");
    assert_eq!(after[1] - before[1], 2, "the data and its entries");
    assert_eq!(after[2] - before[2], 2, "one for the entries, one asked for");
    let before = counts();
    put(&origin, 2, 64, 64);
    let after = counts();
    assert_eq!(after[0] - before[0], 1, "eight chunks in one transfer");
    assert_eq!(after[1] - before[1], 2);
    assert_eq!(after[2] - before[2], 1);
}

#[test]
fn segments_need_not_begin_at_the_beginning() {
    let world = World::new();
    let (disk, cow) = (world.disk(128), world.disk(512));
    let base = world.create("base", &format!("0 128 linear {} 0", disk.name()));
    put(&base, 1, 0, 128);
    let snapshot = world
        .create("s", &format!("0 20 zero\n20 100 snapshot /dev/mapper/base {} P 8", cow.name()));
    let origin = world.create("o", "0 10 zero\n10 118 snapshot-origin /dev/mapper/base");
    put(&origin, 2, 0, 128);
    check(&base, 1, 0, 10);
    check(&base, 2, 10, 118);
    check(&snapshot, 1, 20, 100);
    put(&snapshot, 3, 30, 60);
    check(&snapshot, 3, 30, 60);
    check(&origin, 2, 10, 118);
}

#[test]
fn tables_are_loaded_before_those_below_are_live() {
    let world = World::new();
    let (disk, low) = (world.disk(128), world.disk(512));
    disk.set_bytes(0, &crate::pattern::stream(1, 0, 128));
    let below = [("base", 128, &disk), ("cow", 512, &low)];
    for (name, sectors, disk) in below {
        world.make(name).expect("a device");
        world.load(name, &format!("0 {sectors} linear {} 0", disk.name())).expect("a table");
    }
    for (name, how) in [("p", "P 8"), ("n", "N 8")] {
        world.make(name).expect("a device");
        let table = format!("0 128 snapshot /dev/mapper/base /dev/mapper/cow {how}");
        world.load(name, &table).expect("a table");
        let failure = world.on(name, Action::Resume).map(drop);
        assert_eq!(failure.is_err(), name == "p", "{failure:?}");
        if name == "n" {
            world.on(name, Action::Remove).expect("removed");
        }
    }
    world.make("o").expect("a device");
    world.load("o", "0 128 snapshot-origin /dev/mapper/base").expect("a table");
    for name in ["base", "cow", "p", "o"] {
        world.on(name, Action::Resume).expect("resumed");
    }
    assert_eq!(status(&world, "p"), "0 128 snapshot 16/512 16");
    put(&world.open("o"), 2, 0, 50);
    check(&world.open("p"), 1, 0, 128);
}
