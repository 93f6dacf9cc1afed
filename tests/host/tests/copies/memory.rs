//! Devices on one another without any memory for requests: what was set aside is enough.

use dm::kern::disk::Op;
use dm_protocol::{Action, Errno};
use dm_tests::model::Model;
use dm_tests::snapshot::lines;
use dm_tests::{DiskSpec, Mode, Random, World, until};

const LENGTH: u64 = 512;

/// An origin with a snapshot on a raid10, on mirrors, on stripes; the snapshot's store is on a
/// raid1.
fn stack(world: &World) -> Vec<std::sync::Arc<dm_tests::Disk>> {
    let disk = |nr, sectors| world.disk_of(DiskSpec::new(sectors).mode(Mode::Thread(nr)));
    let disks: Vec<_> = (0..8).map(|nr| disk(nr, LENGTH / 2)).collect();
    let small: Vec<_> = (8..12).map(|nr| disk(nr, 64)).collect();
    let cow: Vec<_> = (12..16).map(|nr| disk(nr, 4 * LENGTH)).collect();
    let create = |name: &str, table: String| drop(world.create(name, &table));
    for nr in 0..4 {
        let (one, two) = (disks[nr * 2].name(), disks[nr * 2 + 1].name());
        create(&format!("s{nr}"), format!("0 {LENGTH} striped 2 16 {one} 0 {two} 0"));
    }
    let [log0, log1, meta0, meta1] = [0, 1, 2, 3].map(|nr: usize| small[nr].name());
    let mirror = |log: &str, one: u64, two: u64| {
        format!("0 {LENGTH} mirror disk 2 {log} 32 2 /dev/mapper/s{one} 0 /dev/mapper/s{two} 0")
    };
    create("m0", mirror(&log0, 0, 1));
    create("m1", mirror(&log1, 2, 3));
    let members = format!("{meta0} /dev/mapper/m0 {meta1} /dev/mapper/m1");
    create("base", format!("0 {LENGTH} raid raid10 3 16 region_size 32 2 {members}"));
    let [a, b, c, d] = [0, 1, 2, 3].map(|nr: usize| cow[nr].name());
    create("cow", format!("0 2048 raid raid1 3 0 region_size 64 2 {c} {a} {d} {b}"));
    create("o", format!("0 {LENGTH} snapshot-origin /dev/mapper/base"));
    create("s", format!("0 {LENGTH} snapshot /dev/mapper/base /dev/mapper/cow P 8"));
    disks
}

fn all_equal(world: &World) -> bool {
    ["m0", "m1"].iter().all(|name| lines(world, name, true)[0].contains(" 16/16 "))
        && lines(world, "base", true)[0].contains(" AA 512/512 idle ")
}

#[test]
#[cfg_attr(miri, ignore = "so many layers are too much for an interpreter")]
fn requests_and_copying_move_on_without_any_memory() {
    let world = World::new();
    let disks = stack(&world);
    until("equal", || all_equal(&world));
    let (origin, snapshot) = (world.open("o"), world.open("s"));
    let mut models = [Model::new(LENGTH), Model::new(LENGTH)];
    let mut random = Random::new(7);
    world.context.faults.starve(true);
    for turn in 0..if cfg!(miri) { 2 } else { 40 } {
        for (device, model) in [&origin, &snapshot].into_iter().zip(&mut models) {
            let mut pending = Vec::new();
            let mut at = random.below(40);
            while at < LENGTH {
                let count = random.within(1, (LENGTH - at).min(50));
                let mut data = vec![0; count as usize * 512];
                random.fill(&mut data);
                model.write(at, &data);
                pending.push(device.begin(Op::Write, random.one_in(4), at, count, data));
                at += count + random.below(60);
            }
            pending.into_iter().for_each(|write| drop(write.wait().expect("a write")));
        }
        match turn % 8 {
            3 => disks[1].break_sectors(0..LENGTH, Errno::EIO),
            5 => {
                disks[1].mend();
                world.on("m0", Action::Suspend).expect("suspended");
                world.on("m0", Action::Resume).expect("resumed");
            }
            6 => origin.flush().expect("a flush"),
            7 => snapshot.flush().expect("a flush"),
            _ => {}
        }
        models[0].check(0, &origin.read(0, LENGTH).expect("a read"));
        models[1].check(0, &snapshot.read(0, LENGTH).expect("a read"));
    }
    until("equal", || all_equal(&world));
    world.context.faults.starve(false);
}
