//! What dm.4 says of the memory of each target that has some is so: a process of its own, whose
//! memory is counted.

use dm::kern::disk::Op;
use dm_protocol::Action;
use dm_tests::memory::{most_used, used};
use dm_tests::{Device, World};

const SIZE: u64 = 32768;
const KIB: usize = 1024;
/// What each table and each device costs, and the test itself.
const SLACK: usize = 16 * KIB;

/// Loads a table, uses the device, and compares with what was said.
fn keeps_to(world: &World, table: &str, said: usize) {
    world.make("d").expect("a device");
    let before = used();
    world.load("d", table).expect(table);
    world.on("d", Action::Resume).expect("resumed");
    let device = world.open("d");
    let loaded = used() - before;
    let _ = most_used();
    hammer(&device);
    let (most, after) = (most_used() - before, used() - before);
    assert!(loaded <= said + SLACK, "{table}: {loaded} when loaded, {said} were said");
    assert!(loaded + SLACK >= said / 2, "{table}: {loaded} when loaded, {said} were said");
    assert!(after <= said + SLACK, "{table}: {after} afterwards, {said} were said");
    assert!(most <= said + SLACK + OWN, "{table}: {most} meanwhile, {said} were said");
    drop(device);
    world.on("d", Action::Remove).expect("removed");
}

/// The test's own while it hammers.
const OWN: usize = 300 * KIB;

/// Many requests at once, some large ones.
fn hammer(device: &Device) {
    for round in 0..4_u64 {
        let begin = |nr: u64| device.begin(Op::Write, nr == 3, nr * 97, 1, vec![round as u8; 512]);
        let many: Vec<_> = (0..300).map(begin).collect();
        many.into_iter().for_each(|pending| drop(pending.wait().expect("a write")));
        device.write(0, &[7; 128 * 512]).expect("a write");
        device.read(0, 128).expect("a read");
        device.flush().expect("a flush");
    }
}

#[test]
#[cfg_attr(miri, ignore = "its memory is another")]
fn targets_take_the_memory_that_the_manual_says() {
    let world = World::new();
    let disks: Vec<_> = (0..9).map(|_| world.disk(SIZE + 4096)).collect();
    let names: Vec<_> = disks.iter().map(|disk| disk.name()).collect();
    let [a, b, c, d, e, f, ..] = &names[..] else { panic!("nine") };
    let copying = 256 * KIB;
    let regions = (SIZE / 16) as usize;
    for (words, said) in [
        (format!("mirror core 2 16 nosync 2 {a} 0 {b} 0"), copying + 2 * 32 * KIB + 3 * regions),
        (format!("mirror disk 2 {e} 16 2 {a} 0 {b} 0"), copying + 2 * 32 * KIB + 3 * regions),
        (
            format!("mirror core 2 16 nosync 4 {a} 0 {b} 0 {c} 0 {d} 0"),
            copying + 4 * 32 * KIB + 3 * regions,
        ),
        (
            format!("raid raid1 3 0 region_size 16 2 {e} {a} {f} {b}"),
            2 * copying + 2 * 40 * KIB + 3 * regions,
        ),
        (
            format!("raid raid10 3 16 region_size 16 4 - {a} - {b} - {c} - {d}"),
            2 * copying + 4 * 40 * KIB + 3 * regions,
        ),
        (format!("raid raid0 1 16 2 - {a} - {b}"), 0),
        (format!("crypt aes-xts-plain64 {} 0 {a} 0", "01".repeat(32)), 1024 * KIB),
        (format!("multipath 0 0 1 1 round-robin 0 2 1 {a} 1 {b} 1"), 2 * KIB),
        (format!("multipath 1 queue_if_no_path 0 1 1 service-time 0 2 1 {a} 1 {b} 1"), 2 * KIB),
    ] {
        keeps_to(&world, &format!("0 {SIZE} {words}"), said);
    }
    snapshots(&world, a, &names[8]);
    a_log_of_writes(&world, a, b);
}

/// So much for each snapshot, and then for each run of chunks.
fn snapshots(world: &World, disk: &str, cow: &str) {
    const SAID: usize = 1_100_000;
    const RUN: usize = 28;
    world.try_create("base", &format!("0 {SIZE} linear {disk} 0")).expect("a base");
    let before = used();
    let origin = world.create("o", &format!("0 {SIZE} snapshot-origin /dev/mapper/base"));
    let own = used() - before;
    world.make("s").expect("a device");
    world.load("s", &format!("0 {SIZE} snapshot /dev/mapper/base {cow} P 1")).expect("loaded");
    world.on("s", Action::Resume).expect("resumed");
    let loaded = used() - before - own;
    // Each of these is a run of its own.
    let runs = 1500;
    for run in 0..runs {
        origin.write(run * 17, &[1; 512]).expect("a write");
    }
    let copied = used() - before - own - loaded;
    // And these are runs of 16 chunks.
    origin.write(26000, &vec![1; 5000 * 512]).expect("a write");
    let more = used() - before - own - loaded - copied;
    // The table grows in pieces, and before it has to.
    let piece = 56 * KIB;
    assert!(own <= SLACK, "{own} for an origin");
    assert!((SAID..SAID + 48 * KIB).contains(&loaded), "{loaded} when loaded");
    assert!(copied <= RUN * runs as usize + piece, "{copied} for {runs} runs");
    assert!(more <= RUN * 2 * 313 + piece, "{more} for 5000 chunks");
}

/// So much, and what is written between two flushes.
fn a_log_of_writes(world: &World, disk: &str, log: &str) {
    let before = used();
    let device = world.create("d", &format!("0 1000 log-writes {disk} {log}"));
    let loaded = used();
    assert!(loaded - before <= 512 * KIB + SLACK, "{} when loaded", loaded - before);
    for _ in 0..3 {
        for at in 0..1000 {
            device.write(at, &[1; 512]).expect("a write");
        }
        let written = used() - loaded;
        assert!(written >= 1000 * 512, "what was written is remembered");
        assert!(written <= 1000 * (512 + 200) + SLACK, "{written} for 1000 sectors");
        device.flush().expect("a flush");
        assert!(used() <= loaded + SLACK, "{} after a flush", used() - loaded);
    }
}
