//! mirror: parameters, what it prints, the log, copying, errors, suspension.

use dm_play::pattern::fill as pattern;
use dm_protocol::{Action, Errno, Flags};
use dm_tests::snapshot::{everything, lines};
use dm_tests::{Disk, DiskSpec, Mode, World, until};
use std::sync::Arc;

/// A world with two legs and a log, as the one where Linux was watched.
fn setup() -> (World, [Arc<Disk>; 3]) {
    let world = World::new();
    let disks = [world.disk(2048), world.disk(2048), world.disk(128)];
    (world, disks)
}

fn status(world: &World) -> String {
    lines(world, "m", true).remove(0)
}

fn event(world: &World) -> u32 {
    world.on("m", Action::Info).expect("info").event_nr
}

fn synced(world: &World) {
    until("all regions equal", || {
        let status = status(world);
        let ratio = status.split(' ').find(|word| word.contains('/')).expect("a ratio").to_owned();
        let (done, all) = ratio.split_once('/').expect("a ratio");
        done == all
    });
}

#[test]
fn table_and_status_print_what_linux_prints() {
    let (world, [b, c, d]) = setup();
    b.set_bytes(0, &pattern(1, 0, 2048));
    c.set_bytes(0, &pattern(2, 0, 2048));
    let table = format!(
        "0 2048 mirror disk 2 {} 64 2 {} 0 {} 0 1 handle_errors",
        d.name(),
        b.name(),
        c.name()
    );
    let device = world.create("m", &table);
    synced(&world);
    until("an event", || event(&world) == 1);
    let (vb, vc, vd) = (b.devno(), c.devno(), d.devno());
    let table = format!("0 2048 mirror disk 2 {vd} 64 2 {vb} 0 {vc} 0 1 handle_errors");
    assert_eq!(lines(&world, "m", false), [table]);
    assert_eq!(status(&world), format!("0 2048 mirror 2 {vb} {vc} 32/32 1 AA 3 disk {vd} A"));
    device.write(512, &pattern(3, 512, 64)).expect("a write");
    assert!(b.bytes()[512 * 512..576 * 512] == pattern(3, 512, 64));
    assert!(b.bytes() == c.bytes());
    drop(device);
    world.on("m", Action::Remove).expect("removed");
    let mut log = vec![0; 65536];
    log[..12].copy_from_slice(b"rRiM\x02\0\0\0\x20\0\0\0");
    log[1024..1028].fill(0xff);
    assert!(d.bytes() == log, "the log is Linux's, byte for byte");
    world.try_create("m", &table_of(&[&b, &c], "core 2 64 nosync", "")).expect("a mirror");
    assert_eq!(
        lines(&world, "m", false),
        [format!("0 2048 mirror core 2 64 nosync 2 {vb} 0 {vc} 0")]
    );
    assert_eq!(status(&world), format!("0 2048 mirror 2 {vb} {vc} 32/32 1 AA 1 core"));
    assert_eq!(event(&world), 0);
}

fn table_of(legs: &[&Arc<Disk>], log: &str, features: &str) -> String {
    let places: String = legs.iter().map(|leg| format!(" {} 0", leg.name())).collect();
    let size = legs[0].spec.sectors;
    format!("0 {size} mirror {log} {}{places} {features}", legs.len())
}

#[test]
fn wrong_parameters_are_refused_with_a_sentence() {
    let (world, [b, c, d]) = setup();
    let (b, c, d) = (b.name(), c.name(), d.name());
    let legs = format!("2 {b} 0 {c} 0");
    let cases = [
        ("".to_owned(), "argument 1 (log) is missing"),
        (format!("userspace 1 64 {legs}"), "is no log known here"),
        (format!("core 0 {legs}"), "argument 2 (log words) \"0\": is not from 1 to 2"),
        (format!("core 3 64 sync x {legs}"), "is not from 1 to 2"),
        (format!("disk 1 64 {legs}"), "is not from 2 to 3"),
        (format!("core 1 63 {legs}"), "argument 3 (region size) \"63\": is no power of two"),
        (format!("core 1 1 {legs}"), "is not from 2 to"),
        (format!("core 1 4096 {legs}"), "is more than the segment's 2048 sectors"),
        (format!("core 1 64x {legs}"), "is not a decimal number"),
        (format!("core 2 64 block_on_error {legs}"), "is neither sync nor nosync"),
        (format!("disk 3 {d} 64 block_on_error {legs}"), "is neither sync nor nosync"),
        (format!("core 1 64 1 {b} 0"), "argument 4 (legs) \"1\": is not from 2 to 64"),
        (format!("core 1 64 2 {b} 0 {c} 1"), "2048 sectors from 1 on are beyond"),
        (format!("core 1 64 {legs} 1 keep_log"), "needs handle_errors"),
        (format!("core 1 64 {legs} 1 sing"), "is no feature of mirror"),
        (format!("core 1 64 {legs} 1 handle_errors 1"), "is one too many"),
        (format!("core 1 64 {legs} 2 handle_errors"), "argument 11 (feature) is missing"),
    ];
    let before = everything(&world);
    for (words, why) in cases {
        let table = format!("0 2048 mirror {words}");
        let failure = world.try_create("m", &table).expect_err(&table);
        assert_eq!(failure.errno, Errno::EINVAL, "{table}");
        assert!(failure.message.contains(why), "{table}: {}", failure.message);
        assert_eq!(everything(&world), before);
    }
    world.make("long").expect("a device without a table may be of any size");
    let table = format!("0 {} mirror core 1 2 2 /dev/mapper/long 0 {b} 0", (1 << 24) + 1);
    let failure = world.try_create("m", &table).expect_err("too many regions");
    assert!(failure.message.contains("\"2\": makes 8388609 regions"), "{}", failure.message);
    let small = world.disk(2);
    let table = format!("0 2048 mirror disk 2 {} 64 {legs}", small.name());
    let failure = world.try_create("m", &table).expect_err("no room for a bit");
    assert!(failure.message.contains("a log of 3 sectors does not fit"), "{}", failure.message);
    let big = world.disk_of(DiskSpec::new(2048).big_sectors());
    let table = format!("0 2048 mirror core 1 4 2 {} 0 {} 0", big.name(), big.name());
    let failure = world.try_create("m", &table).expect_err("regions of half a sector");
    assert!(failure.message.contains("no multiple of its sectors"), "{}", failure.message);
}

#[test]
fn accepted_words_are_printed_as_linux_prints_them() {
    let (world, [b, c, d]) = setup();
    let (bn, cn, dn) = (b.devno(), c.devno(), d.devno());
    for (log, features, printed) in [
        ("core 1 64".to_owned(), "0", format!("core 1 64 2 {bn} 0 {cn} 0")),
        ("core 2 64 sync".into(), "", format!("core 2 64 sync 2 {bn} 0 {cn} 0")),
        (
            format!("disk 3 {} 128 nosync", d.name()),
            "2 keep_log handle_errors",
            format!("disk 3 {dn} 128 nosync 2 {bn} 0 {cn} 0 2 handle_errors keep_log"),
        ),
    ] {
        world.try_create("m", &table_of(&[&b, &c], &log, features)).expect("a mirror");
        assert_eq!(lines(&world, "m", false), [format!("0 2048 mirror {printed}")]);
        world.on("m", Action::Remove).expect("removed");
    }
}

#[test]
fn a_clean_log_means_no_copying_and_is_told() {
    let (world, [b, c, d]) = setup();
    let log = format!("disk 2 {} 64", d.name());
    let table = table_of(&[&b, &c], &log, "");
    drop(world.create("m", &table));
    synced(&world);
    until("an event", || event(&world) == 1);
    world.on("m", Action::Remove).expect("removed");
    c.set_bytes(700 * 512, &[7; 512]);
    let reads = b.count(dm::kern::disk::Op::Read);
    drop(world.create("m", &table));
    synced(&world);
    until("an event", || event(&world) == 1);
    world.on_with("m", Action::Suspend, Flags::EXISTS).expect("suspended");
    assert_eq!(b.count(dm::kern::disk::Op::Read), reads, "nothing was copied");
    assert_eq!(c.bytes()[700 * 512], 7);
}

#[test]
fn a_dirty_region_is_copied_and_no_other() {
    let (world, [b, c, d]) = setup();
    b.set_bytes(0, &pattern(1, 0, 2048));
    c.set_bytes(0, &pattern(2, 0, 2048));
    let mut log = vec![0; 1024];
    log[..12].copy_from_slice(b"rRiM\x02\0\0\0\x20\0\0\0");
    log.extend([0xff, 0xfb, 0xff, 0x7f]);
    d.set_bytes(0, &log);
    let log = format!("disk 2 {} 64", d.name());
    drop(world.create("m", &table_of(&[&b, &c], &log, "")));
    synced(&world);
    let copied: Vec<u64> = (0..32)
        .filter(|region| {
            c.bytes()[region * 64 * 512..][..512] == pattern(1, *region as u64 * 64, 1)
        })
        .map(|region| region as u64)
        .collect();
    assert_eq!(copied, [10, 31]);
}

#[test]
fn a_mirror_that_has_grown_copies_what_is_new() {
    let (world, [b, c, d]) = setup();
    let log = format!("disk 2 {} 128", d.name());
    let legs = format!("2 {} 0 {} 0", b.name(), c.name());
    drop(world.create("m", &format!("0 1000 mirror {log} {legs}")));
    synced(&world);
    b.set_bytes(0, &pattern(1, 0, 2048));
    world.load("m", &format!("0 2000 mirror {log} {legs}")).expect("loaded");
    world.on("m", Action::Resume).expect("resumed");
    synced(&world);
    let c = c.bytes();
    assert!(c[..1000 * 512].iter().all(|byte| *byte == 0), "the eight old regions were equal");
    assert!(c[1024 * 512..2000 * 512] == pattern(1, 1024, 976));
    assert_eq!(c[2000 * 512], 0);
    world.load("m", &format!("0 1000 mirror {log} {legs}")).expect("loaded");
    world.on("m", Action::Resume).expect("resumed");
    world.on("m", Action::Remove).expect("removed");
    assert_eq!(d.bytes()[8], 8);
    assert_eq!(d.bytes()[1024..1026], [0xff, 0]);
}

#[test]
fn three_legs_with_a_short_last_region() {
    let world = World::new();
    let disks = [1, 2, 3].map(|nr| world.disk_of(DiskSpec::new(300).mode(Mode::Thread(nr))));
    disks[0].set_bytes(0, &pattern(9, 0, 300));
    let table = table_of(&[&disks[0], &disks[1], &disks[2]], "core 1 64", "");
    let device = world.create("m", &table);
    synced(&world);
    assert!(status(&world).contains(" 5/5 1 AAA 1 core"));
    device.write(250, &pattern(8, 250, 50)).expect("a write");
    assert!(disks[0].bytes() == disks[1].bytes() && disks[0].bytes() == disks[2].bytes());
    assert!(device.read(0, 300).expect("a read") == disks[0].bytes());
}
