//! No memory for what grows: a process of its own, since all of it feels that.

use dm_tests::memory::refuse;
use dm_tests::snapshot::lines;
use dm_tests::{Device, World};

/// Bytes in which a snapshot's table of copies grows: 1024 runs of 24 bytes.
const PIECE: usize = 24 * 1024;

fn write_every_other(origin: &Device, sectors: std::ops::Range<u64>) {
    for at in sectors.step_by(2) {
        origin.write(at, &[at as u8; 512]).expect("the origin goes on");
    }
}

#[test]
#[cfg_attr(miri, ignore = "thousands of copies are too many for an interpreter")]
fn a_snapshot_without_memory_for_its_copies_becomes_invalid_and_its_origin_goes_on() {
    let world = World::new();
    let (disk, cow) = (world.disk(4096), world.disk(8192));
    disk.set_bytes(0, &[1; 4096 * 512]);
    world.try_create("base", &format!("0 4096 linear {} 0", disk.name())).expect("a base");
    let origin = world.create("o", "0 4096 snapshot-origin /dev/mapper/base");
    let table = format!("0 4096 snapshot /dev/mapper/base {} P 1", cow.name());
    let snapshot = world.create("s", &table);
    let status = || lines(&world, "s", true).remove(0);
    write_every_other(&origin, 0..1800);
    refuse(PIECE);
    write_every_other(&origin, 1800..2000);
    assert!(!status().ends_with("Invalid"), "what was set aside is not used up");
    refuse(0);
    write_every_other(&origin, 2000..3600);
    assert!(snapshot.read(0, 3600).expect("a read").iter().all(|byte| *byte == 1));
    refuse(PIECE);
    write_every_other(&origin, 3600..4096);
    write_every_other(&origin, 1..4096);
    refuse(0);
    assert_eq!(status(), "0 4096 snapshot Invalid");
    assert!(world.context.log().iter().any(|line| line.contains("no memory")));
    assert_eq!(origin.read(1990, 1).expect("a read")[0], 1990_u64 as u8);
    drop(snapshot);
    refuse(PIECE);
    let refused = world.load("s", &table.replace(&cow.name(), &world.disk(64).name()));
    refuse(0);
    assert!(refused.is_err(), "nor is a table made without");
}
