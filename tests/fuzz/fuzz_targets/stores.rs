//! Whatever lies on a disk: a target that keeps a store, a log or superblocks there refuses it or
//! works with it, and its threads end. The first byte chooses the table, the rest patches the
//! disks.
#![no_main]

use dm::kern::disk::Op;
use dm_protocol::{Action, Flags};
use dm_tests::snapshot::lines;
use dm_tests::{DiskSpec, World};
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

const SECTORS: u64 = 256;

/// What is loaded over what was patched. `@0` to `@3` are the disks.
const TABLES: [&str; 8] = [
    "0 128 snapshot @0 @1 P 8",
    "0 128 snapshot @0 @1 PO 16",
    "0 128 snapshot-merge @0 @1 P 8",
    "0 128 mirror disk 2 @1 16 2 @0 0 @2 0",
    "0 128 mirror disk 3 @1 8 nosync 3 @0 0 @2 0 @3 0 1 handle_errors",
    "0 128 raid raid1 3 0 region_size 32 2 @1 @0 @3 @2",
    "0 128 raid raid10 5 8 raid10_copies 2 region_size 32 2 @1 @0 @3 @2",
    "0 128 raid raid0 1 8 2 @1 @0 @3 @2",
];

/// One patch: which disk and where, in units of 8 bytes, then how many bytes.
fn patch(disks: &[Arc<dm_tests::Disk>], mut rest: &[u8]) {
    while let [disk, low, high, count, after @ ..] = rest {
        let size = SECTORS as usize * 512;
        let at = usize::from(u16::from_le_bytes([*low, *high])) * 8 % size;
        let bytes = &after[..after.len().min(usize::from(*count))];
        let bytes = &bytes[..bytes.len().min(size - at)];
        disks[usize::from(*disk) % disks.len()].set_bytes(at, bytes);
        rest = &after[after.len().min(usize::from(*count))..];
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, patches)) = input.split_first() else { return };
    let world = World::new();
    let disks = [(); 4].map(|()| world.disk_of(DiskSpec::new(SECTORS)));
    patch(&disks, patches);
    let mut table = TABLES[usize::from(*choice) % TABLES.len()].to_owned();
    for (number, disk) in disks.iter().enumerate() {
        table = table.replace(&format!("@{number}"), &disk.name());
    }
    world.make("d").expect("a device");
    for turn in 0..2 {
        if let Err(failure) = world.load("d", &table) {
            assert!(!failure.message.is_empty(), "a refusal says why");
            return;
        }
        if world.on_with("d", Action::Resume, Flags::NOFLUSH).is_err() {
            return;
        }
        let device = world.open("d");
        let size = device.opened().size().0;
        let unit = u64::from(device.opened().sector_size()) / 512;
        for at in [0, size / 2, size - unit] {
            // Whatever comes of it: each ends.
            let _ = device.read(at, unit);
            let _ = device.write(at, &vec![turn; unit as usize * 512]);
        }
        let _ = device.command(Op::Discard, 0, size);
        let _ = device.flush();
        let (_, _) = (lines(&world, "d", true), lines(&world, "d", false));
        world.on_with("d", Action::Suspend, Flags::NOFLUSH).expect("suspended");
    }
});
