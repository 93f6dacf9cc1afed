//! Where a crashed system writes its memory.

use dm::kern::dump::{Dump, DumpPlace};
use dm_protocol::{Action, Errno, Flags, Sector, Sectors};
use dm_tests::World;
use dm_tests::toys::types;

fn dump(world: &World, name: &str) -> Dump {
    let minor = world.driver().minor_of(name).expect("the device is there");
    world.driver().dump(minor).expect("the device is there")
}

fn place(dump: &Dump, at: u64, count: u64) -> Result<DumpPlace, Errno> {
    // SAFETY: nothing else of this world runs meanwhile.
    unsafe { dump.place(Sector(at), Sectors(count)) }
}

#[test]
fn a_dump_goes_where_a_write_would_go() {
    let world = World::new();
    let disks = [world.disk(64), world.disk(64), world.disk(64)];
    let [a, b, c] = disks.each_ref().map(|disk| disk.name());
    world.try_create("low", &format!("0 32 striped 2 4 {a} 8 {b} 16")).expect("made");
    let table = format!("0 10 linear {c} 5\n10 20 linear /dev/mapper/low 3\n30 3 linear {a} 0");
    let device = world.create("top", &table);
    let dump = dump(&world, "top");
    let mut at = 0;
    while at < 33 {
        let found = place(&dump, at, 33 - at).expect("a place");
        let disk = disks.iter().find(|disk| disk.devno() == found.disk).expect("a disk of ours");
        let data: Vec<u8> = (0..found.count.0 * 512).map(|nr| (nr / 512 + at) as u8 + 1).collect();
        device.write(at, &data).expect("a write");
        let from = found.sector.0 as usize * 512;
        assert!(disk.bytes()[from..from + data.len()] == data, "sectors from {at} on");
        at += found.count.0;
    }
    assert_eq!(place(&dump, 4, 2).expect("a place").count, Sectors(2), "no more than was asked");
    assert_eq!(place(&dump, 33, 1), Err(Errno::EINVAL));
    assert_eq!(place(&dump, u64::MAX, 1), Err(Errno::EINVAL));
}

#[test]
fn a_dump_goes_to_no_device_that_would_lose_it() {
    let world = World::with_types(types());
    let disk = world.disk(64).name();
    world.make("none").expect("made");
    assert_eq!(place(&dump(&world, "none"), 0, 1), Err(Errno::ENXIO), "there is no table");
    world.try_create("mixed", &format!("0 8 zero\n8 8 error\n16 8 hold {disk} 0")).expect("made");
    for at in [0, 8, 16] {
        assert_eq!(place(&dump(&world, "mixed"), at, 8), Err(Errno::ENODEV));
    }
    world.make("ro").expect("made");
    let table = dm_tests::world::specs(&format!("0 8 linear {disk} 0"));
    let load = Action::Reload { table, dry_run: false };
    world.on_with("ro", load, Flags::READONLY).expect("loaded");
    world.on("ro", Action::Resume).expect("resumed");
    assert_eq!(place(&dump(&world, "ro"), 0, 8), Err(Errno::EROFS));
}

#[test]
fn what_a_dump_needs_does_not_keep_the_device() {
    let world = World::new();
    let disk = world.disk(64).name();
    world.try_create("d", &format!("0 8 linear {disk} 0")).expect("made");
    let dump = dump(&world, "d");
    world.on("d", Action::Remove).expect("removed");
    assert_eq!(place(&dump, 0, 8), Err(Errno::ENXIO));
}
