//! mirror: the power goes at every moment of a workload, and in many orders of what was still
//! in caches. What was flushed is there, regions that the log calls clean are equal on all legs,
//! and after copying the rest all are.

use dm::kern::disk::Op;
use dm_protocol::{Action, Flags};
use dm_tests::outage::{Outage, Promise, cuts, recovers, sectors_of, version_of};
use dm_tests::random::seeds;
use dm_tests::snapshot::lines;
use dm_tests::{Device, Disk, DiskSpec, Mode, Random, World, until};
use std::sync::Arc;
use std::time::Duration;

const SIZE: u64 = 240;
const REGION: u64 = 16;
const REGIONS: u64 = SIZE / REGION;

fn table(disks: &[Arc<Disk>]) -> String {
    let [one, two, log] = [0, 1, 2].map(|nr: usize| disks[nr].name());
    format!("0 {SIZE} mirror disk 2 {log} {REGION} 2 {one} 0 {two} 3")
}

fn disks(world: &World, seed: u64) -> Vec<Arc<Disk>> {
    let disk = |nr, size| world.disk_of(DiskSpec::new(size).mode(Mode::Thread(seed * 3 + nr)));
    vec![disk(0, SIZE), disk(1, SIZE + 3), disk(2, 8)]
}

/// Writes in batches that do not meet, flushes, suspensions, and time that goes by.
fn workload(world: &World, device: &Device, random: &mut Random) -> Promise {
    let mut promise = Promise::new(SIZE);
    for _ in 0..if cfg!(miri) { 4 } else { 30 } {
        match random.below(10) {
            0 => {
                device.flush().expect("a flush");
                promise.flushed();
            }
            1 => {
                world.on_with("m", Action::Suspend, Flags::EXISTS).expect("suspended");
                promise.flushed();
                world.on("m", Action::Resume).expect("resumed");
            }
            // All but one region are left alone, so that marks are taken back.
            2 | 3 => {
                let at = random.below(SIZE);
                for _ in 0..4 {
                    world.context.skip(Duration::from_secs(2));
                    let begun = promise.begin(at, 1);
                    device.write(at, &sectors_of(begun.version, 1)).expect("a write");
                    promise.end(begun, false);
                }
            }
            _ => {
                let mut pending = Vec::new();
                let mut at = random.below(40);
                while at < SIZE {
                    let count = random.within(1, (SIZE - at).min(30));
                    let through = random.one_in(4);
                    let begun = promise.begin(at, count);
                    let data = sectors_of(begun.version, count);
                    pending.push((
                        device.begin(Op::Write, through, at, count, data),
                        begun,
                        through,
                    ));
                    at += count + random.below(90);
                }
                for (write, begun, through) in pending {
                    write.wait().expect("a write");
                    promise.end(begun, through);
                }
            }
        }
    }
    promise
}

/// Is a region clean in a log, as Linux reads it?
fn clean(log: &[u8], region: u64) -> bool {
    assert_eq!(log[..12], *b"rRiM\x02\0\0\0\x0f\0\0\0");
    log[1024 + region as usize / 8] >> (region % 8) & 1 == 1
}

fn check_images(outage: &Outage, promise: &Promise, at: u64) -> u64 {
    let [one, two, log] = &outage.images[..] else { panic!("three disks") };
    let mut dirty = 0;
    for region in 0..REGIONS {
        let clean = clean(log, region);
        dirty += u64::from(!clean);
        for sector in (region * REGION) as usize..((region + 1) * REGION) as usize {
            let first = &one[sector * 512..][..512];
            promise.check(at, sector, first, "first leg");
            let second = &two[(sector + 3) * 512..][..512];
            assert!(
                !clean || first == second,
                "sector {sector} of a clean region differs at {at}: {} and {}",
                version_of(first, String::new),
                version_of(second, String::new)
            );
        }
    }
    dirty
}

fn check_device(outage: &Outage, promise: &Promise, at: u64, seed: u64, dirty: u64) {
    let world = World::new();
    let disks = disks(&world, seed);
    outage.put(&disks);
    let device = world.create("m", &table(&disks));
    let all = format!(" {REGIONS}/{REGIONS} 1 AA ");
    until("equal", || lines(&world, "m", true)[0].contains(&all));
    let data = device.read(0, SIZE).expect("a read");
    for (sector, bytes) in data.chunks(512).enumerate() {
        promise.check(at, sector, bytes, "device");
    }
    drop(device);
    world.on("m", Action::Remove).expect("removed");
    let [one, two, log] = [0, 1, 2].map(|nr: usize| disks[nr].bytes());
    assert!(one == two[3 * 512..], "the legs are equal");
    assert!((0..REGIONS).all(|region| clean(&log, region)));
    let copied = disks[0].count(Op::Read);
    assert!(dirty != 0 || copied <= SIZE, "nothing was copied that need not");
}

fn run(seed: u64, usual: u64) {
    let mut random = Random::new(seed);
    let world = World::new();
    let disks = disks(&world, seed);
    let device = world.create("m", &table(&disks));
    let all = format!(" {REGIONS}/{REGIONS} 1 AA ");
    until("equal", || lines(&world, "m", true)[0].contains(&all));
    disks.iter().for_each(|disk| disk.record());
    let promise = workload(&world, &device, &mut random);
    let mut outage = Outage::of(&disks);
    drop(device);
    world.on("m", Action::Remove).expect("removed");
    let moments = outage.moments.clone();
    let (mut tried, mut recovered) = (0, 0);
    let mut check = |at, random: &mut Random, number: u64| {
        outage.cut(at, random);
        tried += 1;
        let dirty = check_images(&outage, &promise, at);
        if recovers(number, 100) {
            recovered += 1;
            check_device(&outage, &promise, at, seed + number, dirty);
        }
    };
    for (number, at) in moments.iter().enumerate() {
        check(*at, &mut random, number as u64 + 1);
    }
    for number in 0..cuts(usual) {
        let at = *random.pick(&moments);
        check(at, &mut random, number);
    }
    println!("mirror, seed {seed}: {tried} power cuts, {recovered} recoveries");
}

#[test]
fn clean_regions_are_equal_and_flushed_data_is_there_whenever_the_power_goes() {
    seeds(3, |seed| run(seed, 1500));
}
