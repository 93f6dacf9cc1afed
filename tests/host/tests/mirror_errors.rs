//! mirror: legs and logs that fail, with and without `handle_errors`, as Linux was seen to do it.

use dm::kern::disk::Op;
use dm_play::pattern::fill as pattern;
use dm_protocol::{Action, Errno, Flags};
use dm_tests::snapshot::lines;
use dm_tests::{Device, Disk, DiskSpec, Mode, World, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Two legs of 2048 sectors in regions of 64, the second of which fails from sector 1024 on.
struct Pair {
    world: World,
    good: Arc<Disk>,
    bad: Arc<Disk>,
    /// The good one is named first.
    good_first: bool,
}

impl Pair {
    fn new(good_first: bool) -> Self {
        let world = World::new();
        let (good, bad) = (world.disk(2048), world.disk(2048));
        for disk in [&good, &bad] {
            disk.set_bytes(0, &pattern(1, 0, 2048));
        }
        bad.break_sectors(1024..2048, Errno::EIO);
        Self { world, good, bad, good_first }
    }

    fn create(&self, log: &str, features: &str) -> Device {
        let (mut one, mut two) = (self.good.name(), self.bad.name());
        if !self.good_first {
            std::mem::swap(&mut one, &mut two);
        }
        let table = format!("0 2048 mirror {log} 2 {one} 0 {two} 0 {features}");
        self.world.create("m", &table)
    }

    /// In-sync ratio, letters, event number.
    fn told(&self) -> (String, String, u32) {
        let status = lines(&self.world, "m", true).remove(0);
        let words: Vec<&str> = status.split(' ').collect();
        let event = self.world.on("m", Action::Info).expect("info").event_nr;
        (words[6].to_owned(), words[8].to_owned(), event)
    }

    fn is(&self, ratio: &str, letters: &str, event: u32) {
        let expected = (ratio.to_owned(), letters.to_owned(), event);
        for _ in 0..2000 {
            if self.told() == expected {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(self.told(), expected);
    }
}

#[test]
fn without_handle_errors_a_write_succeeds_on_the_good_leg() {
    let pair = Pair::new(true);
    let device = pair.create("core 2 64 nosync", "");
    pair.is("32/32", "AA", 0);
    device.write(1440, &pattern(4, 1440, 8)).expect("a write");
    pair.is("31/32", "AD", 0);
    for _ in 0..4 {
        assert!(device.read(1440, 8).expect("a read") == pattern(4, 1440, 8));
    }
    device.write(1440, &pattern(5, 1440, 8)).expect("a write");
    device.write(0, &pattern(5, 0, 8)).expect("another");
    pair.is("30/32", "AD", 0);
    assert!(device.read(0, 8).expect("a read") == pattern(5, 0, 8));
}

#[test]
fn without_handle_errors_the_good_leg_takes_over() {
    let pair = Pair::new(false);
    let device = pair.create("core 2 64 nosync", "");
    for at in [1440, 1500, 2040] {
        assert!(device.read(at, 8).expect("from the other") == pattern(1, at, 8));
    }
    pair.is("32/32", "RA", 0);
    device.write(1440, &pattern(4, 1440, 8)).expect("a write");
    pair.is("31/32", "DA", 0);
    assert!(device.read(1440, 8).expect("a read") == pattern(4, 1440, 8));
}

#[test]
fn with_handle_errors_a_write_waits_for_another_table() {
    for good_first in [true, false] {
        let pair = Pair::new(good_first);
        let letters = |bad: char| if good_first { format!("A{bad}") } else { format!("{bad}A") };
        let device = pair.create("core 2 64 nosync", "1 handle_errors");
        pair.is("32/32", &letters('A'), 0);
        let begin = |at, stream| device.begin(Op::Write, false, at, 8, pattern(stream, at, 8));
        let waits = begin(1440, 4);
        pair.is("31/32", &letters('D'), 1);
        let late = begin(1500, 5);
        assert!(device.read(1440, 8).is_ok(), "reads go on");
        assert!(!waits.is_over() && !late.is_over());
        pair.world.on_with("m", Action::Suspend, Flags::NOFLUSH).expect("handed back");
        assert!(!waits.is_over() && !late.is_over());
        // Linux tells as much without another table.
        pair.world.on("m", Action::Resume).expect("resumed");
        until("it fails again", || pair.told().2 == 2);
        assert!(!waits.is_over() && !late.is_over());
        pair.world.load("m", &format!("0 2048 linear {} 0", pair.good.name())).expect("loaded");
        pair.world.on_with("m", Action::Suspend, Flags::NOFLUSH).expect("handed back");
        pair.world.on("m", Action::Resume).expect("resumed");
        waits.wait().expect("a write");
        late.wait().expect("a write");
        assert!(pair.good.bytes()[1440 * 512..1448 * 512] == pattern(4, 1440, 8));
        assert!(pair.good.bytes()[1500 * 512..1508 * 512] == pattern(5, 1500, 8));
    }
}

#[test]
fn a_write_that_waits_fails_when_the_suspension_flushes() {
    let pair = Pair::new(true);
    let device = pair.create("core 2 64 nosync", "1 handle_errors");
    let waits = device.begin(Op::Write, false, 1440, 8, pattern(4, 1440, 8));
    pair.is("31/32", "AD", 1);
    pair.world.on("m", Action::Suspend).expect("suspended");
    assert_eq!(waits.wait(), Err(Errno::EIO));
    pair.world.on("m", Action::Resume).expect("resumed");
}

#[test]
fn with_keep_log_a_write_succeeds_and_the_log_remembers() {
    let pair = Pair::new(true);
    let log = pair.world.disk(8);
    let device =
        pair.create(&format!("disk 3 {} 64 nosync", log.name()), "2 handle_errors keep_log");
    device.write(1440, &pattern(4, 1440, 8)).expect("a write");
    pair.is("31/32", "AD", 1);
    device.flush().expect("of the good leg");
    assert!(device.read(1440, 8).expect("a read") == pattern(4, 1440, 8));
    drop(device);
    pair.world.on("m", Action::Remove).expect("removed");
    assert_eq!(log.bytes()[1024..1028], [0xff, 0xff, 0xbf, 0xff], "region 22 is not clean");
    pair.bad.mend();
    drop(pair.create(&format!("disk 2 {} 64", log.name()), "2 handle_errors keep_log"));
    pair.is("32/32", "AA", 1);
    assert!(pair.bad.bytes()[1440 * 512..1448 * 512] == pattern(4, 1440, 8), "it was copied");
}

#[test]
fn what_cannot_be_copied_is_not_said_to_be_equal() {
    for features in ["", "1 handle_errors", "2 handle_errors keep_log"] {
        for good_first in [true, false] {
            let pair = Pair::new(good_first);
            let told = u32::from(!features.is_empty());
            drop(pair.create("core 1 64", features));
            pair.is("16/32", if good_first { "AS" } else { "SA" }, told);
        }
    }
}

#[test]
fn a_leg_that_comes_back_is_brought_up_to_date_by_a_resume() {
    let pair = Pair::new(true);
    let device = pair.create("core 2 64 nosync", "");
    device.write(1440, &pattern(4, 1440, 8)).expect("a write");
    device.write(100, &pattern(4, 100, 8)).expect("a write");
    pair.is("30/32", "AD", 0);
    pair.bad.mend();
    device.write(2000, &pattern(4, 2000, 8)).expect("a write");
    assert_eq!(pair.told().0, "29/32", "it is not written before somebody says so");
    pair.world.on("m", Action::Suspend).expect("suspended");
    pair.world.on("m", Action::Resume).expect("resumed");
    pair.is("32/32", "AD", 1);
    assert!(pair.good.bytes() == pair.bad.bytes());
    device.write(1440, &pattern(6, 1440, 8)).expect("a write");
    assert!(pair.good.bytes() == pair.bad.bytes(), "it is written again");
}

#[test]
fn a_dead_first_leg_takes_no_data_along_while_copies_differ() {
    let world = World::new();
    let disks = [world.disk(2048), world.disk_of(DiskSpec::new(2048).mode(Mode::Held))];
    disks[0].set_bytes(0, &pattern(1, 0, 2048));
    let (one, two) = (disks[0].name(), disks[1].name());
    let device = world.create("m", &format!("0 2048 mirror core 1 64 2 {one} 0 {two} 0"));
    until("copying", || disks[1].held() != 0);
    disks[0].break_sectors(1440..1448, Errno::EIO);
    let write = device.begin(Op::Write, false, 1440, 8, pattern(4, 1440, 8));
    until("both", || (0..disks[1].held()).any(|nr| disks[1].held_op(nr) == (Op::Write, 1440, 8)));
    let pump = pump(&disks[1]);
    assert_eq!(write.wait(), Err(Errno::EIO), "only the first leg counts yet");
    until("the rest is copied", || lines(&world, "m", true)[0].contains(" 31/32 1 DA "));
    assert!(device.read(0, 1408).expect("equal by now") == pattern(1, 0, 1408));
    assert_eq!(device.read(1440, 8), Err(Errno::EIO), "rather than something old");
    drop((device, world));
    pump();
}

/// Completes what is held, until it is called.
fn pump(disk: &Arc<Disk>) -> impl FnOnce() + use<> {
    let (disk, over) = (Arc::clone(disk), Arc::new(AtomicBool::new(false)));
    let seen = Arc::clone(&over);
    let pump = std::thread::spawn(move || {
        while !seen.load(Ordering::SeqCst) {
            disk.complete_all();
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    move || {
        over.store(true, Ordering::SeqCst);
        pump.join().expect("no surprise");
    }
}

#[test]
fn all_legs_dead_is_an_error() {
    let pair = Pair::new(true);
    let device = pair.create("core 2 64 nosync", "");
    pair.good.break_sectors(0..2048, Errno::ENOSPC);
    pair.bad.break_sectors(0..1024, Errno::EIO);
    assert!(device.write(0, &[1; 512]).is_err());
    assert!(device.read(0, 1).is_err());
    assert!(device.flush().is_err());
    pair.good.mend();
    pair.bad.mend();
    device.write(0, &pattern(3, 0, 1)).expect("the last one is never given up");
    assert!(device.read(0, 1).expect("a read") == pattern(3, 0, 1));
}

#[test]
fn a_flush_that_fails_on_a_leg_leaves_what_was_not_flushed_in_doubt() {
    let pair = Pair::new(true);
    pair.bad.mend();
    let device = pair.create("core 2 64 nosync", "");
    device.write(0, &pattern(3, 0, 64)).expect("a write");
    device.write(640, &pattern(3, 640, 64)).expect("a write");
    pair.bad.break_sectors(0..1, Errno::EIO);
    device.flush().expect("of the good leg");
    pair.is("30/32", "AF", 0);
    assert!(device.read(0, 64).expect("a read") == pattern(3, 0, 64));
}

#[test]
fn a_dead_log_is_told_and_writes_do_what_the_features_say() {
    for (features, ends) in [
        ("", Some(Ok(()))),
        ("1 handle_errors", None),
        ("2 handle_errors keep_log", Some(Err(Errno::EIO))),
    ] {
        let world = World::new();
        let disks = [world.disk(2048), world.disk(2048), world.disk(8)];
        let [one, two, log] = [0, 1, 2].map(|nr: usize| disks[nr].name());
        let table = format!("0 2048 mirror disk 2 {log} 64 2 {one} 0 {two} 0 {features}");
        let device = world.create("m", &table);
        let status = || lines(&world, "m", true).remove(0);
        until("all equal", || status().contains(" 32/32 1 AA "));
        // Until then all regions are marked, and need no log.
        world.on("m", Action::Suspend).expect("suspended");
        world.on("m", Action::Resume).expect("resumed");
        let event = world.on("m", Action::Info).expect("info").event_nr;
        disks[2].break_sectors(0..8, Errno::EIO);
        let write = device.begin(Op::Write, false, 144, 8, pattern(4, 144, 8));
        until("told", || status().ends_with(" D"));
        assert_eq!(world.on("m", Action::Info).expect("info").event_nr, event + 1);
        match ends {
            Some(result) => assert_eq!(write.wait().map(drop), result, "{features}"),
            None => {
                assert!(!write.is_over());
                world.load("m", &format!("0 2048 linear {one} 0")).expect("loaded");
                world.on_with("m", Action::Suspend, Flags::NOFLUSH).expect("handed back");
                world.on("m", Action::Resume).expect("resumed");
                write.wait().expect("a write");
            }
        }
    }
}

#[test]
fn a_log_that_cannot_be_read_means_that_nothing_is_known() {
    let world = World::new();
    let disks = [world.disk(2048), world.disk(2048), world.disk(8)];
    disks[0].set_bytes(0, &pattern(1, 0, 2048));
    let [one, two, log] = [0, 1, 2].map(|nr: usize| disks[nr].name());
    disks[2].break_sectors(0..8, Errno::EIO);
    drop(world.create("m", &format!("0 2048 mirror disk 2 {log} 64 2 {one} 0 {two} 0")));
    until("all equal", || lines(&world, "m", true)[0].contains(" 32/32 1 AA "));
    assert!(lines(&world, "m", true)[0].ends_with(" D"));
    assert!(disks[0].bytes() == disks[1].bytes());
    disks[2].mend();
    let mut header = vec![0; 1024];
    header[..12].copy_from_slice(b"rRiM\x03\0\0\0\x20\0\0\0");
    disks[2].set_bytes(0, &header);
    world.make("n").expect("a device");
    world.load("n", &format!("0 2048 mirror disk 2 {log} 64 2 {one} 0 {two} 0")).expect("loaded");
    let failure = world.on("n", Action::Resume).expect_err("an unknown log");
    assert!(failure.message.contains("version 3 of the log"), "{}", failure.message);
    assert_eq!(disks[2].bytes()[..1024], header, "nothing was written");
}
