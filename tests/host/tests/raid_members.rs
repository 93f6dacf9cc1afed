//! raid: members come, go and come back; copies are made equal and compared.

use dm::kern::disk::Op;
use dm_play::pattern::fill;
use dm_protocol::{Action, Errno, Flags};
use dm_tests::outage::Outage;
use dm_tests::raid::{RAID1, Set};
use dm_tests::{Disk, DiskSpec, Mode, Random, World, until};
use std::sync::Arc;

#[test]
fn a_member_that_comes_back_gets_only_what_it_lacks() {
    let set = Set::new(2);
    let device = set.create(2048, RAID1, &[]);
    set.idle();
    set.remove(device);
    let device = set.create(2048, RAID1, &[1]);
    assert_eq!(set.status(), "0 2048 raid raid1 2 A- 2048/2048 idle 0 0 -");
    device.write(100, &fill(7, 100, 8)).expect("a write");
    set.remove(device);
    assert_eq!(set.meta[0].bytes()[24], 2, "the superblock tells who was missing");
    assert_eq!(set.meta[0].bytes()[4096 + 256], 2, "and the bitmap what it lacks");
    let writes = set.data[1].count(Op::Write);
    let device = set.create(2048, RAID1, &[]);
    set.idle();
    until("two events", || set.event() == 2);
    assert_eq!(set.data[1].count(Op::Write), writes + 1, "one region of 64 sectors");
    assert!(set.data[0].bytes() == set.data[1].bytes());
    set.remove(device);
    assert_eq!(set.meta[0].bytes()[24], 0);
}

#[test]
fn a_member_that_comes_back_is_told_of_all_marks() {
    let set = Set::of(2, DiskSpec::new(32768));
    // More regions than one page of the bitmap has bits for.
    let device = set.create(32768, "raid1 4 0 nosync region_size 1", &[]);
    until("it has superblocks", || set.event() == 1);
    set.break_member(0);
    device.write(32000, &fill(1, 32000, 1)).expect("on the other");
    set.is("DA 32768/32768 idle");
    set.mend_member(0);
    set.meta.iter().for_each(|meta| meta.record());
    set.again();
    set.is("AA 32768/32768 idle");
    assert!(set.data[0].bytes()[32000 * 512..32001 * 512] == fill(1, 32000, 1));
    let mut outage = Outage::of(&set.meta);
    for at in outage.moments.clone() {
        outage.cut(at, &mut Random::new(1));
        let [one, two] = [0, 1].map(|nr: usize| &outage.images[nr]);
        if one[16..24] == two[16..24] {
            let byte = 4096 + 256 + 32000 / 8;
            assert_eq!(one[byte], two[byte], "of those that know as much both know all, at {at}");
        }
    }
    set.remove(device);
}

#[test]
fn a_new_member_needs_rebuild_and_gets_everything() {
    let set = Set::new(2);
    let device = set.create(2048, RAID1, &[]);
    set.idle();
    device.write(0, &fill(1, 0, 2048)).expect("a write");
    set.remove(device);
    set.meta[1].set_bytes(0, &[0; 65536]);
    set.data[1].set_bytes(0, &[9; 2048 * 512]);
    let table = format!("0 2048 raid {RAID1} {}", set.members(&[]));
    let failure = set.world.try_create("r", &table).expect_err("who is that?");
    assert!(failure.message.contains("member 1 has no superblock"), "{}", failure.message);
    let device = set.create(2048, "raid1 5 0 rebuild 1 region_size 64", &[]);
    set.idle();
    until("two events", || set.event() == 2);
    assert_eq!(set.status(), "0 2048 raid raid1 2 AA 2048/2048 idle 0 0 -");
    assert!(set.data[1].bytes() == fill(1, 0, 2048));
    set.remove(device);
    drop(set.create(2048, RAID1, &[]));
    assert_eq!(set.status(), "0 2048 raid raid1 2 AA 2048/2048 idle 0 0 -");
}

#[test]
fn a_replaced_member_is_rebuilt_by_a_reload_while_in_use() {
    let mut set = Set::new(2);
    let device = set.create(2048, RAID1, &[]);
    set.idle();
    device.write(0, &fill(1, 0, 2048)).expect("a write");
    set.data[1].break_sectors(0..2048, Errno::EIO);
    set.meta[1].break_sectors(0..128, Errno::EIO);
    device.write(64, &fill(2, 64, 64)).expect("on the other");
    assert_eq!(set.status(), "0 2048 raid raid1 2 AD 2048/2048 idle 0 0 -");
    (set.data[1], set.meta[1]) = (set.world.disk(2048), set.world.disk(128));
    let table = format!("0 2048 raid raid1 5 0 rebuild 1 region_size 64 {}", set.members(&[]));
    set.world.load("r", &table).expect("loaded");
    set.world.on("r", Action::Resume).expect("resumed");
    set.idle();
    assert_eq!(set.status(), "0 2048 raid raid1 2 AA 2048/2048 idle 0 0 -");
    assert!(set.data[0].bytes() == set.data[1].bytes());
    assert!(device.read(64, 64).expect("a read") == fill(2, 64, 64));
}

#[test]
fn a_third_copy_is_added_and_taken_away_by_reloads() {
    let mut set = Set::new(2);
    let device = set.create(2048, RAID1, &[]);
    set.idle();
    device.write(0, &fill(1, 0, 2048)).expect("a write");
    set.data.push(set.world.disk(2048));
    set.meta.push(set.world.disk(128));
    let table = format!("0 2048 raid raid1 5 0 rebuild 2 region_size 64 {}", set.members(&[]));
    set.world.load("r", &table).expect("loaded");
    set.world.on("r", Action::Resume).expect("resumed");
    set.idle();
    assert!(set.data[2].bytes() == fill(1, 0, 2048));
    // The first goes; the others change places.
    set.data.remove(0);
    set.meta.remove(0);
    let table = format!("0 2048 raid {RAID1} {}", set.members(&[]));
    set.world.load("r", &table).expect("loaded");
    set.world.on("r", Action::Resume).expect("resumed");
    assert_eq!(set.status(), "0 2048 raid raid1 2 AA 2048/2048 idle 0 0 -");
    device.write(0, &fill(2, 0, 2048)).expect("a write");
    assert!(set.data[0].bytes() == fill(2, 0, 2048) && set.data[0].bytes() == set.data[1].bytes());
    set.remove(device);
    assert_eq!([0, 1].map(|nr: usize| set.meta[nr].bytes()[12]), [0, 1]);
}

#[test]
fn a_set_that_has_grown_makes_equal_what_is_new() {
    let set = Set::new(2);
    let device = set.create(1024, RAID1, &[]);
    set.idle();
    device.write(0, &fill(1, 0, 1024)).expect("a write");
    set.data[0].set_bytes(1024 * 512, &fill(5, 1024, 1024));
    set.data[1].set_bytes(0, &fill(6, 0, 1024));
    let table = format!("0 2048 raid {RAID1} {}", set.members(&[]));
    set.world.load("r", &table).expect("loaded");
    set.world.on("r", Action::Resume).expect("resumed");
    set.idle();
    assert!(set.data[1].bytes()[..1024 * 512] == fill(6, 0, 1024), "the old half was equal");
    assert!(set.data[1].bytes()[1024 * 512..] == fill(5, 1024, 1024));
    set.remove(device);
    assert_eq!(set.meta[0].bytes()[88..92], [0, 8, 0, 0]);
}

#[test]
fn regions_of_another_size_keep_their_marks() {
    let set = Set::new(2);
    let device = set.create(2048, RAID1, &[]);
    set.idle();
    set.remove(device);
    let device = set.create(2048, RAID1, &[1]);
    device.write(640, &fill(7, 640, 8)).expect("a write");
    device.write(2040, &fill(7, 2040, 8)).expect("a write");
    set.remove(device);
    for words in ["raid1 3 0 region_size 256", "raid1 3 0 region_size 32"] {
        let device = set.create(2048, words, &[1]);
        set.remove(device);
    }
    let device = set.create(2048, "raid1 3 0 region_size 32", &[]);
    set.idle();
    assert!(set.data[0].bytes() == set.data[1].bytes());
    set.remove(device);
}

#[test]
fn a_set_is_not_taken_for_another() {
    let set = Set::new(4);
    let device = set.create(4096, "raid10 3 64 region_size 64", &[]);
    set.idle();
    set.remove(device);
    for (words, why) in [
        ("raid10 5 64 raid10_format offset region_size 64", "layout 0x102"),
        ("raid10 3 128 region_size 128", "chunks of 64"),
        ("raid0 1 64", "the set is of level 10"),
    ] {
        let length = if words.starts_with("raid0") { 8192 } else { 4096 };
        let table = format!("0 {length} raid {words} {}", set.members(&[]));
        let failure = set.world.try_create("r", &table).expect_err(words);
        assert!(failure.message.contains(why), "{}", failure.message);
    }
    let swapped = format!(
        "0 4096 raid raid10 3 64 region_size 64 4 {} {} {} {} {} {} {} {}",
        set.meta[1].name(),
        set.data[1].name(),
        set.meta[0].name(),
        set.data[0].name(),
        set.meta[2].name(),
        set.data[2].name(),
        set.meta[3].name(),
        set.data[3].name()
    );
    let failure = set.world.try_create("r", &swapped).expect_err("members changed places");
    assert!(failure.message.contains("member 0 was member 1"), "{}", failure.message);
    let table = format!("0 4096 raid raid10 3 64 region_size 64 {}", set.members(&[0, 1]));
    let failure = set.world.try_create("r", &table).expect_err("both copies");
    assert!(failure.message.contains("too many members are missing"), "{}", failure.message);
    let mut block = set.meta[0].bytes();
    block[4] = 3;
    set.meta[0].set_bytes(0, &block[..512]);
    let table = format!("0 4096 raid raid10 3 64 region_size 64 {}", set.members(&[]));
    let failure = set.world.try_create("r", &table).expect_err("an unknown feature");
    assert!(failure.message.contains("unknown features (0x2, 0x0)"), "{}", failure.message);
}

#[test]
fn scrubbing_counts_what_differs_and_mends_it_if_asked() {
    let set = Set::new(2);
    let device = set.create(2048, RAID1, &[]);
    set.idle();
    until("two events", || set.event() == 2);
    set.data[1].set_bytes(24 * 512, &[7; 4096]);
    set.data[1].set_bytes(1999 * 512, &[7; 512]);
    set.say("check");
    set.idle();
    until("an event", || set.event() == 3);
    assert_eq!(set.status(), "0 2048 raid raid1 2 AA 2048/2048 idle 256 0 -", "as Linux counts");
    assert_eq!(set.data[1].bytes()[24 * 512], 7, "nothing was changed");
    set.say("repair");
    set.idle();
    until("an event", || set.event() == 4);
    assert_eq!(set.status(), "0 2048 raid raid1 2 AA 2048/2048 idle 0 0 -");
    assert!(set.data[0].bytes() == set.data[1].bytes());
    set.say("check");
    set.idle();
    assert_eq!(set.status(), "0 2048 raid raid1 2 AA 2048/2048 idle 0 0 -");
    drop(device);
}

#[test]
fn messages_begin_end_and_freeze() {
    let world = World::new();
    let data = [world.disk(2048), world.disk_of(DiskSpec::new(2048).mode(Mode::Held))];
    let meta = [world.disk(128), world.disk(128)];
    let set = Set { world, data: data.to_vec(), meta: meta.to_vec() };
    let device = set.create(2048, RAID1, &[]);
    until("copying", || set.data[1].held() != 0);
    assert!(set.status().contains(" aa 0/2048 resync 0 "), "{}", set.status());
    let refused = set.world.say("r", "check").expect_err("one after the other");
    assert_eq!(refused.errno, Errno::EBUSY);
    assert!(refused.message.contains("resync is under way"), "{}", refused.message);
    assert_eq!(set.world.say("r", "sing").expect_err("no message").errno, Errno::EINVAL);
    assert_eq!(set.world.say("r", "check x").expect_err("too much").errno, Errno::EINVAL);
    set.say("frozen");
    let pump = pump(&set.data[1]);
    until("frozen", || set.status().contains(" frozen "));
    std::thread::sleep(std::time::Duration::from_millis(30));
    assert!(!set.status().contains("2048/2048"), "{}", set.status());
    set.say("idle");
    set.idle();
    assert!(set.data[0].bytes() == set.data[1].bytes());
    set.say("check");
    set.idle();
    set.world.on_with("r", Action::Suspend, Flags::EXISTS).expect("suspended");
    assert_eq!(set.world.say("r", "check").expect_err("suspended").errno, Errno::EBUSY);
    set.world.on("r", Action::Resume).expect("resumed");
    drop((device, set));
    pump();
}

/// A message is over when what it asks for has begun: not before the thread comes to it.
#[test]
fn what_was_asked_for_is_seen_when_the_message_is_over() {
    let world = World::new();
    let data = [world.disk_of(DiskSpec::new(2048).mode(Mode::Held)), world.disk(2048)];
    let meta = [world.disk(128), world.disk_of(DiskSpec::new(128).mode(Mode::Held))];
    let set = Set { world, data: data.to_vec(), meta: meta.to_vec() };
    let (pump_data, pump_meta) = (pump(&set.data[0]), pump(&set.meta[1]));
    let device = set.equal(2048, RAID1);
    set.again();
    pump_data();
    pump_meta();
    // The thread waits until a mark is there.
    let write = device.begin(Op::Write, false, 0, 1, vec![1; 512]);
    until("a mark", || set.meta[1].held() != 0);
    std::thread::scope(|scope| {
        let check = scope.spawn(|| {
            set.world.context.enter();
            set.say("check");
            set.status()
        });
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert!(!check.is_finished(), "the thread is busy");
        assert!(set.status().contains(" AA 2048/2048 idle 0 "), "{}", set.status());
        let pump_meta = pump(&set.meta[1]);
        until("the write is on its way", || set.data[0].held() != 0);
        set.data[0].complete(0);
        let status = check.join().expect("no surprise");
        assert!(status.contains(" AA 0/2048 check 0 "), "{status}");
        pump_meta();
    });
    write.wait().expect("a write");
    let refused = set.world.say("r", "repair").expect_err("one after the other");
    assert!(refused.message.contains("check is under way"), "{}", refused.message);
    set.say("frozen");
    assert!(set.status().contains(" AA 2048/2048 frozen 0 "), "{}", set.status());
    let (pump_data, pump_meta) = (pump(&set.data[0]), pump(&set.meta[1]));
    set.say("check");
    let event = set.event();
    until("checked", || set.event() != event);
    set.is("AA 2048/2048 idle");
    set.remove(device);
    drop(set);
    pump_data();
    pump_meta();
}

/// Completes what is held, until it is called.
fn pump(disk: &Arc<Disk>) -> impl FnOnce() + use<> {
    use std::sync::atomic::{AtomicBool, Ordering};
    let (disk, over) = (Arc::clone(disk), Arc::new(AtomicBool::new(false)));
    let seen = Arc::clone(&over);
    let pump = std::thread::spawn(move || {
        while !seen.load(Ordering::SeqCst) {
            disk.complete_all();
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    });
    move || {
        over.store(true, Ordering::SeqCst);
        pump.join().expect("no surprise");
    }
}

#[test]
fn sync_and_nosync_force_or_forgo_copying() {
    let set = Set::new(2);
    set.data[0].set_bytes(0, &fill(1, 0, 2048));
    let device = set.create(2048, "raid1 2 0 nosync", &[]);
    set.idle();
    until("an event", || set.event() == 1);
    assert_eq!(set.data[1].bytes()[0], 0);
    set.remove(device);
    let device = set.create(2048, "raid1 2 0 sync", &[]);
    set.idle();
    assert!(set.data[1].bytes() == fill(1, 0, 2048));
    set.remove(device);
}

#[test]
fn without_metadata_nothing_is_known_and_nothing_copied() {
    let set = Set::new(2);
    set.data[0].set_bytes(0, &fill(1, 0, 2048));
    let (a, b) = (set.data[0].name(), set.data[1].name());
    let device = set.world.create("r", &format!("0 2048 raid raid1 1 0 2 - {a} - {b}"));
    set.idle();
    assert_eq!((set.event(), set.data[1].bytes()[0]), (0, 0));
    device.write(0, &fill(2, 0, 64)).expect("a write");
    assert!(set.data[1].bytes()[..64 * 512] == fill(2, 0, 64));
    set.say("check");
    set.idle();
    until("an event", || set.event() == 1);
    assert!(set.status().contains(" idle 2048 "), "{}", set.status());
    set.remove(device);
    let device = set.world.create("r", &format!("0 2048 raid raid1 2 0 sync 2 - {a} - {b}"));
    set.idle();
    assert!(set.data[0].bytes() == set.data[1].bytes());
    set.remove(device);
    let device = set.world.create("r", &format!("0 2048 raid raid1 1 0 1 - {a}"));
    assert_eq!(set.status(), "0 2048 raid raid1 1 A 2048/2048 idle 0 0 -");
    set.remove(device);
}
