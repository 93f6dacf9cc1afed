//! Tables: what is refused, how large they may be, devices on devices.

use dm_protocol::{Action, Errno, Flags, SegmentSpec};
use dm_tests::random::long;
use dm_tests::snapshot::everything;
use dm_tests::toys::types;
use dm_tests::{DiskSpec, Mode, World, specs, until};
use std::sync::Arc;

#[test]
fn tables_that_are_no_tables_are_refused() {
    let world = World::new();
    let disk = world.disk(100).name();
    let big = world.disk_of(DiskSpec::new(128).big_sectors()).name();
    let cases = [
        ("".to_owned(), Errno::EINVAL, "the table has no segments"),
        ("1 8 zero".into(), Errno::EINVAL, "segment 0 (sector 1, zero): leaves a gap of 1 sectors"),
        ("0 8 zero\n9 8 zero".into(), Errno::EINVAL, "segment 1 (sector 9, zero): leaves a gap"),
        ("0 8 zero\n7 8 zero".into(), Errno::EINVAL, "overlaps the one before it, which ends at 8"),
        ("8 8 zero\n0 8 zero".into(), Errno::EINVAL, "leaves a gap of 8 sectors before it"),
        ("0 8 zero\n0 8 zero".into(), Errno::EINVAL, "overlaps"),
        ("0 0 zero".into(), Errno::EINVAL, "its length is zero"),
        ("0 8 zero\n8 0 zero".into(), Errno::EINVAL, "its length is zero"),
        (format!("0 {} zero", u64::MAX), Errno::EINVAL, "ends beyond 2^64 bytes"),
        (format!("0 {0} zero\n{0} {0} zero", 1_u64 << 54), Errno::EINVAL, "ends beyond 2^64"),
        ("0 8 nonsense".into(), Errno::EINVAL, "segment 0 (sector 0, nonsense): unknown target"),
        ("0 8 Linear x 0".into(), Errno::EINVAL, "unknown target type"),
        (format!("0 101 linear {disk} 0"), Errno::EINVAL, "are beyond"),
        (format!("0 4 linear {big} 0\n4 4 zero"), Errno::EINVAL, "are not whole sectors"),
        (format!("0 4 zero\n4 8 linear {big} 0"), Errno::EINVAL, "does not start and end on whole"),
        (format!("0 8 linear {big} 0\n8 4 linear {disk} 0"), Errno::EINVAL, "segment 1"),
        ("0 8 linear /dev/mapper/none 0".into(), Errno::ENOENT, "there is no disk"),
        ("0 8 linear 253:77 0".into(), Errno::ENXIO, "there is no such mapped device"),
    ];
    world.try_create("d", "0 8 zero").expect("a device");
    world.load("d", "0 16 zero").expect("an inactive table");
    let before = everything(&world);
    for (table, errno, why) in cases {
        let failure = world.load("d", &table).expect_err(&table);
        assert_eq!(failure.errno, errno, "{table}: {failure}");
        assert!(failure.message.contains(why), "{table}: {failure}");
        assert_eq!(everything(&world), before, "{table}");
    }
}

#[test]
fn target_names_are_bounded() {
    let world = World::new();
    world.make("d").expect("a device");
    for length in [0, 16, 5000] {
        let spec = SegmentSpec::new(0, 8, &"t".repeat(length), "");
        let load = Action::Reload { table: vec![spec], dry_run: false };
        assert_eq!(world.on("d", load).expect_err("no name").errno, Errno::EINVAL);
    }
}

#[test]
fn a_huge_table_loads_and_finds_every_sector() {
    let world = World::new();
    let disk = world.disk(1 << 12);
    let count: u64 = if cfg!(miri) { 600 } else { 100_000 * if long() { 10 } else { 1 } };
    let name = disk.name();
    for sector in 0..1_usize << 12 {
        disk.set_bytes(sector * 512, &(sector as u64).to_le_bytes());
    }
    // Segment n has one sector, except that every tenth has two.
    let (mut at, mut table, mut starts) = (0, Vec::new(), Vec::new());
    for nr in 0..count {
        let length = if nr % 10 == 0 { 2 } else { 1 };
        let place = nr * 7 % 4090;
        table.push(SegmentSpec::new(at, length, "linear", &format!("{name} {place}")));
        starts.push((at, place));
        at += length;
    }
    world.make("d").expect("a device");
    let load = Action::Reload { table, dry_run: false };
    world.on("d", load).expect("a good table");
    let reply = world.on("d", Action::Resume).expect("resumed");
    assert_eq!(u64::from(reply.target_count), count);
    assert_eq!(disk.opens.load(std::sync::atomic::Ordering::SeqCst), 1, "opened once");
    let device = world.open("d");
    let step = (count / 5000).max(1) as usize;
    let last = starts.len() - 1;
    for nr in (0..starts.len()).step_by(step).chain([1, 7, 8, 9, 63, 64, 65, last]) {
        let (at, place) = starts[nr];
        let read = device.read(at, 1).expect("a read");
        assert_eq!(read[..8], place.to_le_bytes(), "segment {nr}");
    }
    assert_eq!(device.read(at, 1), Err(Errno::EINVAL));
}

#[test]
fn devices_make_no_cycles_whatever_the_order() {
    let world = World::new();
    for name in ["a", "b", "c"] {
        world.try_create(name, "0 8 zero").expect("a device");
    }
    let on =
        |name: &str, below: &str| world.load(name, &format!("0 8 linear /dev/mapper/{below} 0"));
    assert_eq!(on("a", "a").expect_err("itself").errno, Errno::ELOOP);
    on("a", "b").expect("a on b");
    let before = everything(&world);
    assert_eq!(on("b", "a").expect_err("inactive tables count").errno, Errno::ELOOP);
    on("b", "c").expect("b on c");
    assert_eq!(on("c", "a").expect_err("by two steps").errno, Errno::ELOOP);
    world.on("b", Action::Clear).expect("cleared");
    assert_eq!(everything(&world), before);
    on("c", "a").expect("there is no way back any more");
    assert_eq!(on("b", "c").expect_err("now there would be").errno, Errno::ELOOP);
    for name in ["c", "a"] {
        world.on(name, Action::Clear).expect("cleared");
    }
}

#[test]
fn a_tall_neighbour_does_not_count() {
    let world = World::new();
    world.try_create("t1", "0 8 zero").expect("a device");
    for nr in 2..=7 {
        let table = format!("0 8 linear /dev/mapper/t{} 0", nr - 1);
        world.try_create(&format!("t{nr}"), &table).expect("a layer");
    }
    world.try_create("m", "0 8 zero").expect("a device");
    world.try_create("d", "0 8 zero").expect("a device");
    let both = "0 8 linear /dev/mapper/d 0\n8 8 linear /dev/mapper/t7 0";
    world.try_create("o", both).expect("a device on a low and a high one");
    world.load("d", "0 8 linear /dev/mapper/m 0").expect("three on each other");
    world.on("d", Action::Clear).expect("cleared");
    let failure = world.load("t1", "0 8 linear /dev/mapper/m 0").expect_err("nine");
    assert_eq!(failure.errno, Errno::ELOOP);
}

#[test]
fn a_disk_of_a_table_is_closed_by_whoever_swaps_the_table_out() {
    let world = World::new();
    let (one, two) = (world.disk(8), world.disk(8));
    let opens = |disk: &dm_tests::Disk| disk.opens.load(std::sync::atomic::Ordering::SeqCst);
    world.try_create("d", &format!("0 8 linear {} 0", one.name())).expect("a device");
    world.load("d", &format!("0 8 linear {} 0", two.name())).expect("loaded");
    assert_eq!((opens(&one), opens(&two)), (1, 1));
    world.on("d", Action::Resume).expect("resumed");
    assert_eq!((opens(&one), opens(&two)), (0, 1));
    world.load("d", "0 8 zero").expect("loaded");
    world.load("d", "0 8 error").expect("loaded");
    world.on("d", Action::Resume).expect("resumed");
    assert_eq!(opens(&two), 0);
}

#[test]
fn a_busy_device_is_refused_at_once_though_it_is_being_suspended() {
    let world = Arc::new(World::with_types(types()));
    let disk = world.disk_of(DiskSpec::new(64).mode(Mode::Held));
    let device = world.create("d", &format!("0 64 linear {} 0", disk.name()));
    let pending = device.begin(dm::kern::disk::Op::Read, false, 0, 1, vec![0; 512]);
    let suspend =
        world.spawn(|world| world.on_with("d", Action::Suspend, Flags::NOFLUSH).map(drop));
    std::thread::sleep(std::time::Duration::from_millis(10));
    assert_eq!(world.on("d", Action::Remove).expect_err("open").errno, Errno::EBUSY);
    disk.complete_all();
    pending.wait().expect("a read");
    suspend.join().expect("no surprise").expect("suspended");
    world.on("d", Action::Resume).expect("resumed");
}

#[test]
fn renaming_and_removing_at_once_never_shows_a_hidden_device() {
    let world = Arc::new(World::new());
    let rounds = if cfg!(miri) { 2 } else { 300 };
    for _ in 0..rounds {
        world.make("d").expect("a device");
        let table = Action::Reload { table: specs("0 8 zero"), dry_run: false };
        world.on("d", table).expect("loaded");
        let rename = world.spawn(|world| world.rename("d", "e").map(drop));
        let resume = world.spawn(|world| world.on("d", Action::Resume).map(drop));
        let removed = world.on("d", Action::Remove).is_ok();
        let _ = (rename.join().expect("no surprise"), resume.join().expect("no surprise"));
        if !removed {
            world.on("e", Action::Remove).expect("it was renamed");
        }
    }
}

#[test]
fn a_table_that_waits_to_be_live_counts_for_cycles() {
    let world = Arc::new(World::new());
    let disk = world.disk_of(DiskSpec::new(8).mode(Mode::Held));
    world.try_create("b", "0 8 zero").expect("a device");
    let device = world.create("a", &format!("0 8 linear {} 0", disk.name()));
    world.load("a", "0 8 linear /dev/mapper/b 0").expect("a on b");
    let mut pending = vec![device.begin(dm::kern::disk::Op::Read, false, 0, 1, vec![0; 512])];
    let resume = world.spawn(|world| world.on_with("a", Action::Resume, Flags::NOFLUSH).map(drop));
    // Requests that come once it is being resumed do not get to the disk.
    until("resume waits", || {
        let held = disk.held();
        pending.push(device.begin(dm::kern::disk::Op::Read, false, 0, 1, vec![0; 512]));
        disk.held() == held
    });
    world.load("a", "0 8 error").expect("another table, for later");
    let failure = world.load("b", "0 8 linear /dev/mapper/a 0").expect_err("a is about to be on b");
    assert_eq!(failure.errno, Errno::ELOOP);
    disk.complete_all();
    resume.join().expect("no surprise").expect("resumed");
    for read in pending {
        read.wait().expect("a read");
    }
    let flags = world.on("a", Action::Info).expect("info").flags;
    assert!(flags.contains(Flags::INACTIVE_PRESENT), "the later table is still there");
}

#[test]
fn a_disk_that_is_open_for_reading_is_opened_again_for_writing() {
    let world = World::new();
    let disk = world.disk(8);
    let table = format!("0 8 linear {} 0", disk.name());
    world.make("ro").expect("a device");
    let load = Action::Reload { table: specs(&table), dry_run: false };
    world.on_with("ro", load, Flags::READONLY | Flags::EXISTS).expect("loaded");
    world.on("ro", Action::Resume).expect("resumed");
    let device = world.create("rw", &table);
    device.write(0, &[1; 512]).expect("a write");
    assert_eq!(disk.opens.load(std::sync::atomic::Ordering::SeqCst), 2);
    world.try_create("more", &table).expect("one more writer");
    assert_eq!(disk.opens.load(std::sync::atomic::Ordering::SeqCst), 2, "which shares");
}
