//! The n-th call of the seam that may fail does fail, for every n: everything ends once, the
//! origin loses nothing, and a snapshot is right or invalid.

use crate::pattern::{status, until};
use crate::store::Store;
use dm_protocol::{Action, Errno, Failure};
use dm_tests::model::Model;
use dm_tests::{Device, Disk, DiskSpec, Mode, World};
use std::sync::Arc;

struct Setup {
    origin: Device,
    disk: Arc<Disk>,
    cow: Arc<Disk>,
    world: World,
}

/// An origin of 64 sectors that hold 1.
fn setup(mode: Mode) -> Setup {
    let world = World::new();
    let (disk, cow) = (world.disk_of(DiskSpec::new(64).mode(mode)), world.disk(256));
    disk.set_bytes(0, &[1; 64 * 512]);
    world.try_create("base", &format!("0 64 linear {} 0", disk.name())).expect("a base");
    let origin = world.create("o", "0 64 snapshot-origin /dev/mapper/base");
    Setup { origin, disk, cow, world }
}

impl Setup {
    fn line(&self, kind: &str) -> String {
        format!("0 64 {kind} /dev/mapper/base {} P 2", self.cow.name())
    }

    /// The n-th call fails; false if there were fewer.
    fn failing(&self, nth: u64, act: impl FnOnce()) -> bool {
        self.world.context.faults.fail_nth(nth);
        act();
        let hit = self.world.context.faults.hit();
        self.world.context.faults.fail_nth(0);
        hit
    }
}

fn versions(bytes: &[u8]) -> Vec<u8> {
    bytes.chunks(512).map(|sector| sector[0]).collect()
}

#[test]
fn making_a_snapshot_fails_and_leaves_nothing() {
    for n in 1.. {
        let setup = setup(Mode::Inline);
        let before = setup.disk.opens.load(std::sync::atomic::Ordering::SeqCst);
        let hit = setup.failing(n, || {
            let made = setup.world.try_create("s", &setup.line("snapshot"));
            if made.is_err() {
                let opens = setup.disk.opens.load(std::sync::atomic::Ordering::SeqCst);
                assert_eq!(opens, before);
                assert_eq!(setup.cow.opens.load(std::sync::atomic::Ordering::SeqCst), 0);
            }
        });
        if !hit {
            assert!(n >= 8, "only {n} calls");
            return;
        }
        let again = setup.world.try_create("s", &setup.line("snapshot"));
        match again {
            Ok(_) => assert_eq!(status(&setup.world, "s"), "0 64 snapshot 4/256 4"),
            // A flush that failed did not keep the first from being made.
            Err(why) => assert_eq!(why.errno, Errno::EEXIST),
        }
    }
}

#[test]
fn an_origin_loses_nothing_and_a_snapshot_is_right_or_invalid() {
    for mode in [Mode::Inline, Mode::Thread(4)] {
        for n in 1.. {
            let setup = setup(mode);
            setup.world.try_create("s", &setup.line("snapshot")).expect("a snapshot");
            let snapshot = setup.world.open("s");
            let mut written = Ok(());
            let mut own = Ok(());
            let hit = setup.failing(n, || {
                own = snapshot.write(40, &[3; 5 * 512]);
                written = setup.origin.write(8, &[2; 12 * 512]);
            });
            // The write itself may have failed, on the origin.
            let expected = |at| if (8..20).contains(&at) { 2 } else { 1 };
            let found = versions(&setup.origin.read(0, 64).expect("a read"));
            for (at, version) in found.iter().enumerate() {
                assert!(*version == expected(at) || (written.is_err() && *version == 1), "{at}");
            }
            let invalid = status(&setup.world, "s").ends_with("Invalid");
            assert!(hit || !invalid);
            match snapshot.read(0, 64) {
                Err(errno) => assert!(invalid && errno == Errno::EIO, "call {n}"),
                Ok(bytes) => {
                    assert!(!invalid, "call {n}");
                    for (at, version) in versions(&bytes).iter().enumerate() {
                        let own_part = (40..45).contains(&at);
                        let right = *version == if own_part { 3 } else { 1 };
                        assert!(right || (own_part && own.is_err()), "{at}: {version}, call {n}");
                    }
                }
            }
            let kept = Store::read(&setup.cow.bytes());
            assert!(invalid || kept != Store::Invalid, "call {n}");
            setup.world.assert_idle();
            if !hit {
                assert!(n > 12, "only {n} calls");
                break;
            }
        }
    }
}

/// Does something, and when it failed does it once more without the fault.
fn do_it<T>(world: &World, mut act: impl FnMut() -> Result<T, Failure>) {
    if act().is_err() {
        assert!(world.context.faults.hit(), "nothing failed, and it did");
        act().unwrap_or_else(|failure| panic!("{}", failure.message));
    }
}

/// A write that fails leaves anything.
fn write(device: &Device, model: &mut Model, at: u64, count: u64, byte: u8) {
    let data = vec![byte; count as usize * 512];
    match device.write(at, &data) {
        Ok(()) => model.write(at, &data),
        Err(_) => model.forget(at, count),
    }
}

/// Shows the snapshot what it should, or is it lost?
fn check_snapshot(setup: &Setup, name: &str, model: &Model, hit: bool) {
    let invalid = status(&setup.world, name).ends_with("Invalid");
    assert!(hit || !invalid, "{name} was lost for nothing");
    match setup.world.open(name).read(0, 64) {
        Ok(bytes) => model.check(0, &bytes),
        Err(errno) => assert!(invalid && errno == Errno::EIO, "{name}: {errno:?}"),
    }
}

/// An origin and two snapshots with tables that come and go, in whose life call `n` fails.
/// False if there were fewer.
fn live(mode: Mode, n: u64) -> bool {
    let setup = setup(mode);
    let world = &setup.world;
    let other = world.disk(256);
    let lines = [
        ("s", setup.line("snapshot")),
        ("t", format!("0 64 snapshot /dev/mapper/base {} N 4", other.name())),
        ("o", "0 64 snapshot-origin /dev/mapper/base".to_owned()),
    ];
    world.context.faults.fail_nth(n);
    let mut models = [Model::new(64), Model::new(64), Model::new(64)];
    models.iter_mut().for_each(|model| model.write(0, &[1; 64 * 512]));
    for (name, line) in &lines[..2] {
        do_it(world, || world.try_create(name, line));
    }
    for round in 2..5_u8 {
        let at = u64::from(round) * 7;
        write(&setup.origin, &mut models[2], at, 12, round);
        for (nr, (name, line)) in lines.iter().enumerate() {
            if nr < 2 {
                write(&world.open(name), &mut models[nr], at + 5, 3, 100 + round);
                let _ = world.open(name).flush();
            }
            if round == 3 {
                do_it(world, || world.load(name, line));
            }
            do_it(world, || world.on(name, Action::Suspend));
            do_it(world, || world.on(name, Action::Resume));
        }
    }
    let hit = world.context.faults.hit();
    world.context.faults.fail_nth(0);
    models[2].check(0, &setup.origin.read(0, 64).expect("a read"));
    check_snapshot(&setup, "s", &models[0], hit);
    check_snapshot(&setup, "t", &models[1], hit);
    write(&setup.origin, &mut models[2], 0, 64, 9);
    check_snapshot(&setup, "s", &models[0], hit);
    check_snapshot(&setup, "t", &models[1], hit);
    ["s", "t"].iter().for_each(|name| drop(world.on(name, Action::Remove).expect("removed")));
    models[2].check(0, &setup.origin.read(0, 64).expect("a read"));
    world.assert_idle();
    hit
}

#[test]
fn an_origin_and_its_snapshots_outlive_every_call_that_fails() {
    for mode in [Mode::Inline, Mode::Thread(4)] {
        let mut n = 1;
        while live(mode, n) {
            n += if cfg!(miri) { 37 } else { 1 };
            assert!(n < 1000, "no end of calls");
        }
        assert!(n > 60, "only {n} calls");
    }
}

/// A merge in which call `n` fails, with a new table under way if asked. False if there were fewer.
fn merge(n: u64, again: bool) -> bool {
    let setup = setup(Mode::Inline);
    let world = &setup.world;
    let snapshot = world.create("s", &setup.line("snapshot"));
    snapshot.write(3, &[3; 40 * 512]).expect("a write");
    drop(snapshot);
    world.on("s", Action::Remove).expect("removed");
    world.make("m").expect("a device");
    world.load("m", &setup.line("snapshot-merge")).expect("a table");
    let over = || {
        let status = status(world, "m");
        status.ends_with(" 4/256 4") || status.ends_with("failed")
    };
    let hit = setup.failing(n, || {
        do_it(world, || world.on("m", Action::Resume));
        if again {
            do_it(world, || world.load("m", &setup.line("snapshot-merge")));
            do_it(world, || world.on("m", Action::Suspend));
            do_it(world, || world.on("m", Action::Resume));
        }
        until("over", over);
    });
    let device = world.open("m");
    let expected = |at| if (3..43).contains(&at) { 3 } else { 1 };
    let check = |device: &Device| {
        let found = versions(&device.read(0, 64).expect("a read"));
        assert!((0..64).all(|at| found[at] == expected(at)), "call {n}: {found:?}");
    };
    check(&device);
    if status(world, "m").ends_with("failed") {
        device.write(10, &[3; 512]).expect("it can still be written");
        // A new table tries again.
        world.load("m", &setup.line("snapshot-merge")).expect("a table");
        drop(device);
        world.on("m", Action::Remove).expect("removed");
        world.try_create("m", &setup.line("snapshot-merge")).expect("merging");
        until("merged", || status(world, "m").ends_with(" 4/256 4"));
        check(&world.open("m"));
    }
    let found = versions(&setup.disk.bytes());
    assert!((0..64).all(|at| found[at] == expected(at)), "call {n}");
    hit
}

#[test]
fn a_merge_that_fails_says_so_and_loses_nothing() {
    for again in [false, true] {
        let mut n = 1;
        while merge(n, again) {
            n += 1;
        }
        assert!(n >= 7, "only {n} calls");
    }
}

#[test]
fn errors_of_either_disk_end_in_one_rule() {
    let setup = setup(Mode::Inline);
    setup.world.try_create("s", &setup.line("snapshot")).expect("a snapshot");
    let snapshot = setup.world.open("s");
    setup.disk.break_sectors(10..11, Errno::EIO);
    assert_eq!(snapshot.read(10, 1), Err(Errno::EIO), "an error is just an error");
    assert_eq!(status(&setup.world, "s"), "0 64 snapshot 4/256 4");
    setup.origin.write(11, &[2; 512]).expect("the origin goes on");
    assert_eq!(status(&setup.world, "s"), "0 64 snapshot Invalid", "its chunk is lost");
    assert_eq!(Store::read(&setup.cow.bytes()), Store::Invalid);
    assert!(setup.world.context.log().iter().any(|line| line.contains("cannot be read")));
}

#[test]
fn a_dead_cow_device_does_not_stop_its_origin() {
    for mode in [Mode::Inline, Mode::Thread(4)] {
        let setup = setup(mode);
        setup.world.try_create("s", &setup.line("snapshot")).expect("a snapshot");
        setup.cow.break_sectors(0..256, Errno::EIO);
        setup.origin.write(0, &[2; 64 * 512]).expect("the origin goes on");
        assert_eq!(status(&setup.world, "s"), "0 64 snapshot Invalid");
        let log = setup.world.context.log();
        assert!(log.iter().any(|line| line.contains("cannot be marked as invalid")), "{log:?}");
    }
}

/// Another snapshot that has no room for what a merge takes from the origin, or keeps it in
/// memory only, does not hold the merge up: whichever of the two was there first.
#[test]
fn a_merge_goes_on_whatever_becomes_of_another_snapshot() {
    for (how, sectors) in [("P 16", 48), ("PO 16", 48), ("N 16", 16), ("N 16", 64)] {
        for first in [true, false] {
            let setup = setup(Mode::Thread(3));
            let snapshot = setup.world.create("s", &setup.line("snapshot"));
            snapshot.write(3, &[3; 40 * 512]).expect("a write");
            drop(snapshot);
            setup.world.on("s", Action::Remove).expect("removed");
            let other = setup.world.disk(sectors);
            let line = format!("0 64 snapshot /dev/mapper/base {} {how}", other.name());
            if first {
                setup.world.try_create("other", &line).expect("another");
            }
            setup.world.make("m").expect("a device");
            setup.world.load("m", &setup.line("snapshot-merge")).expect("a table");
            if !first {
                setup.world.try_create("other", &line).expect("another");
            }
            setup.world.on("m", Action::Resume).expect("resumed");
            until(how, || status(&setup.world, "m").ends_with(" 4/256 4"));
            match setup.world.open("other").read(0, 64) {
                Ok(bytes) => assert!(sectors == 64 && bytes == [1; 64 * 512], "{how}"),
                Err(errno) => assert!(sectors < 64 && errno == Errno::EIO, "{how}"),
            }
        }
    }
}
