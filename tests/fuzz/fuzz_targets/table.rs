//! Any table is refused or loaded, and one that loads prints as one that loads and prints the
//! same; its first and last sectors are read. `@0` and `@1` in it stand for disks.
#![no_main]

use dm_protocol::{Action, SegmentSpec};
use dm_tests::snapshot::lines;
use dm_tests::toys::types;
use dm_tests::{DiskSpec, World, specs};
use libfuzzer_sys::fuzz_target;

fn read(text: &str) -> Option<Vec<SegmentSpec>> {
    let line = |line: &str| {
        let mut words = line.splitn(4, ' ');
        let (start, length) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let target = words.next()?;
        Some(SegmentSpec::new(start, length, target, words.next().unwrap_or_default()))
    };
    text.lines().map(line).collect()
}

fuzz_target!(|text: &str| {
    let world = World::with_types(types());
    let (one, two) = (world.disk(64), world.disk_of(DiskSpec::new(64).big_sectors()));
    let text = text.replace("@0", &one.name()).replace("@1", &two.name());
    let Some(table) = read(&text) else { return };
    world.make("d").expect("a device");
    let load = Action::Reload { table, dry_run: false };
    if let Err(failure) = world.on("d", load) {
        assert!(!failure.message.is_empty(), "a refusal says why");
        return;
    }
    world.on("d", Action::Resume).expect("resumed");
    let device = world.open("d");
    let size = device.opened().size().0;
    let unit = u64::from(device.opened().sector_size()) / 512;
    let _ = (device.read(0, unit), device.read(size - unit, unit), device.read(size, unit));
    let printed = lines(&world, "d", false);
    let again = Action::Reload { table: specs(&printed.join("\n")), dry_run: false };
    world.on("d", again).expect("what is printed loads");
    world.on("d", Action::Resume).expect("resumed");
    assert_eq!(lines(&world, "d", false), printed);
});
