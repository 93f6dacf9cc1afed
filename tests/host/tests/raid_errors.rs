//! raid: members whose data or metadata fails, while requests come and while members are
//! brought up to date.

use dm::kern::disk::Op;
use dm_play::pattern::fill;
use dm_protocol::{Action, Errno};
use dm_tests::outage::Outage;
use dm_tests::raid::{RAID1, Set};
use dm_tests::{Disk, Random, until};

#[test]
fn a_member_that_a_write_fails_on_is_out_of_use_and_the_others_note_it() {
    let set = Set::new(2);
    let device = set.equal(2048, RAID1);
    until("two events", || set.event() == 2);
    set.data[1].break_sectors(300..301, Errno::EIO);
    device.write(300, &fill(9, 300, 8)).expect("on the first");
    assert_eq!(set.status(), "0 2048 raid raid1 2 AD 2048/2048 idle 0 0 -");
    until("an event", || set.event() == 3);
    assert_eq!(set.meta[0].bytes()[24], 2, "before the write is told to be over");
    assert!(device.read(300, 8).expect("a read") == fill(9, 300, 8));
    let writes = set.data[1].count(Op::Write);
    device.write(500, &fill(9, 500, 8)).expect("a write");
    assert_eq!(set.data[1].count(Op::Write), writes, "it is left alone");
    set.data[1].mend();
    set.again();
    set.is("AA 2048/2048 idle");
    until("as many events as Linux has", || set.event() == 4);
    assert!(set.data[0].bytes() == set.data[1].bytes());
    assert_eq!(set.meta[0].bytes()[24], 0);
}

#[test]
fn a_read_that_fails_goes_to_another_member_and_is_mended() {
    for (bad, words) in [(0, "raid1 5 0 write_mostly 1"), (1, "raid1 5 0 write_mostly 0")] {
        let set = Set::new(2);
        let device = set.equal(2048, &format!("{words} region_size 64"));
        device.write(0, &fill(1, 0, 2048)).expect("a write");
        let disk = &set.data[bad];
        disk.set_bytes(100 * 512, &[7; 512]);
        disk.break_reads(100..101, Errno::EIO);
        assert!(device.read(96, 16).expect("from the other") == fill(1, 96, 16));
        until("mended", || disk.bytes()[100 * 512..101 * 512] == fill(1, 100, 1));
        assert_eq!(set.status(), "0 2048 raid raid1 2 AA 2048/2048 idle 0 0 -");
        // A sector that takes no write either takes its member along.
        disk.break_sectors(200..201, Errno::EIO);
        assert!(device.read(200, 1).expect("from the other") == fill(1, 200, 1));
        set.is(["DA 2048/2048 idle", "AD 2048/2048 idle"][bad]);
    }
}

#[test]
fn the_last_copy_is_never_given_up() {
    let set = Set::new(2);
    let device = set.equal(2048, RAID1);
    device.write(0, &fill(1, 0, 2048)).expect("a write");
    set.break_member(0);
    device.write(0, &fill(2, 0, 64)).expect("on the second");
    set.is("DA 2048/2048 idle");
    set.data[1].break_sectors(0..64, Errno::EIO);
    assert_eq!(device.write(0, &fill(3, 0, 64)), Err(Errno::EIO));
    assert_eq!(device.read(0, 64), Err(Errno::EIO));
    assert!(device.flush().is_err());
    set.is("DA 2048/2048 idle");
    set.data[1].mend();
    assert!(device.read(64, 64).expect("a read") == fill(1, 64, 64));
    device.write(0, &fill(4, 0, 64)).expect("a write");
    assert!(device.read(0, 64).expect("a read") == fill(4, 0, 64));
}

#[test]
fn in_a_raid10_each_chunk_keeps_a_copy() {
    let set = Set::new(4);
    let device = set.equal(4096, "raid10 3 64 region_size 64");
    device.write(0, &fill(1, 0, 4096)).expect("a write");
    for member in [0, 3] {
        set.break_member(member);
    }
    device.write(0, &fill(2, 0, 4096)).expect("on the others");
    set.is("DAAD 4096/4096 idle");
    set.data[1].break_sectors(10..11, Errno::EIO);
    assert_eq!(device.write(0, &fill(3, 0, 64)), Err(Errno::EIO), "member 1 is the last of a pair");
    device.write(64, &fill(3, 64, 64)).expect("member 2 is there");
    set.data[1].mend();
    for member in [0, 3] {
        set.mend_member(member);
    }
    device.write(0, &fill(3, 0, 64)).expect("a write");
    set.again();
    set.is("AAAA 4096/4096 idle");
    let mut expected = fill(3, 0, 128);
    expected.extend(fill(2, 128, 4096 - 128));
    assert!(device.read(0, 4096).expect("a read") == expected);
    assert!(set.data[0].bytes() == set.data[1].bytes());
    assert!(set.data[2].bytes() == set.data[3].bytes());
}

#[test]
fn metadata_that_fails_takes_its_member_along() {
    let set = Set::new(2);
    let device = set.equal(2048, RAID1);
    device.write(0, &fill(1, 0, 2048)).expect("a write");
    set.again();
    set.meta[0].break_sectors(0..128, Errno::EIO);
    device.write(0, &fill(2, 0, 64)).expect("the region is marked on the second");
    set.is("DA 2048/2048 idle");
    assert_eq!(set.meta[1].bytes()[24], 1);
    assert!(device.read(0, 64).expect("a read") == fill(2, 0, 64));
    set.meta[1].break_sectors(8..16, Errno::EIO);
    assert_eq!(device.write(640, &fill(2, 640, 64)), Err(Errno::EIO), "no mark, no write");
    assert!(device.read(0, 64).expect("reading goes on") == fill(2, 0, 64));
    set.mend_member(0);
    set.mend_member(1);
    device.write(640, &fill(3, 640, 64)).expect("a write");
    assert!(device.read(640, 64).expect("a read") == fill(3, 640, 64));
    set.again();
    set.is("AA 2048/2048 idle");
    assert!(set.data[0].bytes() == set.data[1].bytes());
}

#[test]
fn a_write_is_not_told_to_be_over_when_nobody_can_note_who_lacks_it() {
    let set = Set::new(2);
    let device = set.equal(2048, RAID1);
    device.write(0, &fill(1, 0, 64)).expect("a write");
    set.meta[0].break_sectors(0..128, Errno::EIO);
    set.break_member(1);
    assert_eq!(device.write(0, &fill(2, 0, 64)), Err(Errno::EIO));
    assert_eq!(device.flush(), Err(Errno::EIO));
    assert!(device.read(0, 64).is_ok(), "reading goes on");
    set.meta[0].mend();
    device.write(0, &fill(3, 0, 64)).expect("now it is noted");
    device.flush().expect("a flush");
    assert_eq!(set.meta[0].bytes()[24], 2);
    assert!(device.read(0, 64).expect("a read") == fill(3, 0, 64));
}

#[test]
fn a_member_that_fails_while_it_comes_back_is_out_of_use_again() {
    let set = Set::new(2);
    let device = set.equal(2048, RAID1);
    device.write(0, &fill(1, 0, 2048)).expect("a write");
    set.break_member(1);
    device.write(0, &fill(2, 0, 2048)).expect("on the first");
    set.mend_member(1);
    set.data[1].break_sectors(1000..1001, Errno::EIO);
    set.again();
    set.is("AD 2048/2048 idle");
    set.mend_member(1);
    set.again();
    set.is("AA 2048/2048 idle");
    assert!(set.data[0].bytes() == set.data[1].bytes());
    drop(device);
}

#[test]
fn what_no_copy_can_be_read_of_is_not_called_equal() {
    let set = Set::new(2);
    let device = set.equal(2048, RAID1);
    device.write(0, &fill(1, 0, 2048)).expect("a write");
    set.break_member(1);
    device.write(0, &fill(2, 0, 2048)).expect("on the first");
    set.mend_member(1);
    set.data[0].break_reads(1000..1001, Errno::EIO);
    set.again();
    until("the rest is copied", || set.data[1].bytes()[1100 * 512..] == fill(2, 1100, 948));
    set.is("Aa 2048/2048 idle");
    assert_eq!(device.read(1000, 1), Err(Errno::EIO), "rather than something old");
    device.write(1000, &fill(3, 1000, 1)).expect("a write mends it");
    set.data[0].mend();
    set.world.say("r", "recover").expect("a message");
    set.is("AA 2048/2048 idle");
    assert!(set.data[0].bytes() == set.data[1].bytes());
}

#[test]
fn a_scrub_mends_what_cannot_be_read() {
    let set = Set::new(2);
    let device = set.equal(2048, RAID1);
    device.write(0, &fill(1, 0, 2048)).expect("a write");
    for member in 0..2 {
        let disk = &set.data[member];
        disk.set_bytes(77 * 512, &[7; 512]);
        disk.break_reads(77..78, Errno::EIO);
        set.world.say("r", "check").expect("a message");
        until("mended", || disk.bytes()[77 * 512..78 * 512] == fill(1, 77, 1));
        set.is("AA 2048/2048 idle");
        disk.mend();
    }
}

#[test]
fn recovery_keeps_to_its_rate() {
    for (words, at_least_ms, at_most_ms) in [
        ("raid1 5 0 max_recovery_rate 4096 region_size 64", 200, 4000),
        ("raid1 3 0 region_size 64", 0, 2000),
    ] {
        let set = Set::new(2);
        let begun = std::time::Instant::now();
        let device = set.equal(2048, words);
        // 1 MiB at 4 MiB a second.
        let ms = begun.elapsed().as_millis();
        assert!((at_least_ms..at_most_ms).contains(&ms), "{words}: {ms} ms");
        drop(device);
    }
}

/// Members lie on mapped devices, so that another disk can be put there while the set is suspended.
#[test]
fn a_disk_of_another_set_gets_everything() {
    for (position, events) in [(1_u32, 1_u64 << 40), (0, 4)] {
        let set = Set::new(2);
        let line = |disk: &Disk| format!("0 {} linear {} 0", disk.spec.sectors, disk.name());
        let swap = |name: &str, disk: &Disk| {
            set.world.load(name, &line(disk)).expect("a table");
            set.world.on(name, Action::Resume).expect("resumed");
        };
        set.world.try_create("data", &line(&set.data[1])).expect("a device");
        set.world.try_create("meta", &line(&set.meta[1])).expect("a device");
        let (meta, data) = (set.meta[0].name(), set.data[0].name());
        let members = format!("2 {meta} {data} /dev/mapper/meta /dev/mapper/data");
        let device = set.world.create("r", &format!("0 2048 raid {RAID1} {members}"));
        set.is("AA 2048/2048 idle");
        device.write(0, &fill(3, 0, 2048)).expect("a write");
        set.again();
        set.break_member(1);
        device.write(64, &fill(4, 64, 1)).expect("a write");
        set.is("AD 2048/2048 idle");
        let (other, foreign) = (set.world.disk(2048), set.world.disk(128));
        foreign.set_bytes(0, &set.meta[1].bytes());
        foreign.set_bytes(12, &position.to_le_bytes());
        foreign.set_bytes(16, &events.to_le_bytes());
        set.world.on("r", Action::Suspend).expect("suspended");
        swap("data", &other);
        swap("meta", &foreign);
        set.world.on("r", Action::Resume).expect("resumed");
        set.is("AA 2048/2048 idle");
        assert!(other.bytes() == set.data[0].bytes(), "{position}, {events}");
        set.remove(device);
    }
}

/// A raid0 in whose life call `n` fails. False if there were fewer.
fn raid0(n: u64) -> bool {
    let set = Set::new(2);
    let (table, faults) = (set.table(4096, "raid0 1 64"), &set.world.context.faults);
    let twice = |act: &dyn Fn() -> bool| assert!(act() || faults.hit() && act(), "call {n}");
    faults.fail_nth(n);
    twice(&|| set.world.try_create("r", &table).is_ok());
    let device = set.world.open("r");
    let written = device.write(0, &fill(5, 0, 4096));
    assert!(written.is_ok() || faults.hit());
    let _ = (device.read(0, 4096), device.flush());
    twice(&|| set.world.on("r", Action::Suspend).is_ok());
    twice(&|| set.world.load("r", &table).is_ok());
    twice(&|| set.world.on("r", Action::Resume).is_ok());
    let hit = faults.hit();
    faults.fail_nth(0);
    device.write(0, &fill(6, 0, 4096)).expect("it stays in use");
    assert!(device.read(0, 4096).expect("a read") == fill(6, 0, 4096));
    set.remove(device);
    // Without one superblock it would be refused for ever.
    let device = set.create(4096, "raid0 1 64", &[]);
    assert!(device.read(0, 4096).expect("a read") == fill(6, 0, 4096), "call {n}");
    set.remove(device);
    hit
}

#[test]
fn a_raid0_outlives_every_call_that_fails() {
    let mut n = 1;
    while raid0(n) {
        n += 1;
    }
    assert!(n > 20, "only {n} calls");
}

#[test]
fn a_new_set_is_loaded_again_whenever_the_power_went() {
    for words in
        ["raid0 1 64", RAID1, "raid10 3 64 region_size 64", "raid1 4 0 nosync region_size 64"]
    {
        let (set, mut random) = (Set::new(3), Random::new(1));
        let length = if words.starts_with("raid1 ") { 2048 } else { 3072 };
        let disks: Vec<_> = set.meta.iter().chain(&set.data).cloned().collect();
        disks.iter().for_each(|disk| disk.record());
        let device = set.create(length, words, &[]);
        set.idle();
        set.remove(device);
        let mut outage = Outage::of(&disks);
        let moments = outage.moments.clone();
        assert!(moments.len() > 6);
        for at in moments {
            outage.cut(at, &mut random);
            outage.put(&disks);
            let device = set.create(length, words, &[]);
            set.idle();
            set.remove(device);
            // Then a new disk is no member of it, and members have their places.
            let bytes = disks[1].bytes();
            disks[1].set_bytes(0, &[0; 512]);
            let refused = set.world.try_create("r", &set.table(length, words));
            assert!(refused.expect_err("new").message.contains("has no superblock"));
            disks[1].set_bytes(0, &bytes);
        }
    }
}
