//! The power goes: at every point of a recorded workload and in many orders of what was still
//! in the caches, all that was flushed or written through is there.

use dm::kern::disk::Op;
use dm_protocol::{Action, Flags, SECTOR_SIZE};
use dm_tests::outage::cuts;
use dm_tests::power::Log;
use dm_tests::random::seeds;
use dm_tests::toys::types;
use dm_tests::{Device, Disk, DiskSpec, Mode, Random, World};
use std::sync::Arc;

const SIZE: u64 = 60;

/// What one sector may hold after a power cut: a version from the last durable one on.
#[derive(Clone, Default)]
struct Sector {
    versions: Vec<u8>,
    durable: usize,
}

/// What the device promised so far.
#[derive(Clone)]
struct Promise {
    sectors: Vec<Sector>,
}

impl Promise {
    fn new() -> Self {
        let sector = Sector { versions: vec![0], durable: 0 };
        Self { sectors: vec![sector; SIZE as usize] }
    }

    fn write(&mut self, at: u64, count: u64, version: u8, through: bool) {
        for sector in &mut self.sectors[at as usize..][..count as usize] {
            sector.versions.push(version);
            if through {
                sector.durable = sector.versions.len() - 1;
            }
        }
    }

    fn flush(&mut self) {
        self.sectors.iter_mut().for_each(|sector| sector.durable = sector.versions.len() - 1);
    }

    fn check(&self, device: &Device, when: &str) {
        let data = device.read(0, SIZE).expect("a read after the power is back");
        for (at, read) in data.chunks(SECTOR_SIZE as usize).enumerate() {
            let sector = &self.sectors[at];
            assert!(read.iter().all(|byte| *byte == read[0]), "sector {at} is torn, {when}");
            let allowed = &sector.versions[sector.durable..];
            assert!(allowed.contains(&read[0]), "sector {at}: {} of {allowed:?}, {when}", read[0]);
        }
    }
}

/// How far each disk was when a step of the workload ended, and what was promised then.
struct Step {
    done: Vec<usize>,
    promise: Promise,
}

fn workload(device: &Device, disks: &[Arc<Disk>], random: &mut Random, world: &World) -> Vec<Step> {
    let mut promise = Promise::new();
    let mut steps = Vec::new();
    for version in 1..=if cfg!(miri) { 5 } else { 40 } {
        let at = random.below(SIZE);
        let count = random.within(1, (SIZE - at).min(25));
        let before = promise.clone();
        match random.below(8) {
            0 => {
                device.flush().expect("a flush");
                promise.flush();
            }
            1 => {
                world.on_with("d", Action::Suspend, Flags::EXISTS).expect("suspended");
                // A suspension flushes, or what is swapped afterwards would not see all.
                promise.flush();
                world.on("d", Action::Resume).expect("resumed");
            }
            2 | 3 => {
                let data = vec![version; (count * SECTOR_SIZE) as usize];
                device.write_fua(at, &data).expect("a write");
                promise.write(at, count, version, true);
            }
            _ => {
                let data = vec![version; (count * SECTOR_SIZE) as usize];
                device.write(at, &data).expect("a write");
                promise.write(at, count, version, false);
            }
        }
        let done: Vec<usize> = disks.iter().map(|disk| disk.recording()).collect();
        // While the step runs only the old promise holds, but the new bytes may be there.
        let mut during = promise.clone();
        for (sector, old) in during.sectors.iter_mut().zip(&before.sectors) {
            sector.durable = old.durable;
        }
        let last =
            steps.last().map_or_else(|| vec![0; done.len()], |step: &Step| step.done.clone());
        let half = last.iter().zip(&done).map(|(from, to)| random.within(*from as u64, *to as u64));
        let half = half.map(|at| at as usize).collect();
        steps.push(Step { done: half, promise: during });
        steps.push(Step { done, promise: promise.clone() });
    }
    steps
}

/// Gives how many cuts were tried.
fn cut(
    seed: u64,
    types_too: bool,
    table: impl Fn(&[Arc<Disk>]) -> Vec<(&'static str, String)>,
) -> u64 {
    let mut random = Random::new(seed);
    let world = if types_too { World::with_types(types()) } else { World::new() };
    let disks: Vec<_> = (0..3)
        .map(|nr| world.disk_of(DiskSpec::new(64).mode(Mode::Thread(seed * 3 + nr))))
        .collect();
    let tables = table(&disks);
    for (name, table) in &tables {
        world.try_create(name, table).expect("a device");
    }
    let device = world.open("d");
    // An encrypted disk of zeroes reads as anything.
    device.write_fua(0, &[0; SIZE as usize * 512]).expect("a write");
    disks.iter().for_each(|disk| disk.record());
    let steps = workload(&device, &disks, &mut random, &world);
    let logs: Vec<Log> = disks.iter().map(|disk| disk.recorded()).collect();
    let orders = if cfg!(miri) { 1 } else { 6 };
    for (nr, step) in steps.iter().enumerate() {
        for order in 0..orders {
            for ((disk, log), done) in disks.iter().zip(&logs).zip(&step.done) {
                disk.set_bytes(0, &log.image(*done, &mut random));
            }
            step.promise.check(&device, &format!("step {nr}, order {order}"));
        }
    }
    steps.len() as u64 * orders
}

#[test]
fn linear_keeps_what_was_flushed() {
    seeds(4, |seed| {
        cut(seed, false, |disks| {
            let [one, two, _] = [0, 1, 2].map(|nr: usize| disks[nr].name());
            vec![("d", format!("0 30 linear {one} 3\n30 30 linear {two} 1"))]
        });
    });
}

#[test]
fn striped_keeps_what_was_flushed() {
    seeds(4, |seed| {
        cut(seed, false, |disks| {
            let [one, two, three] = [0, 1, 2].map(|nr: usize| disks[nr].name());
            vec![("d", format!("0 60 striped 3 4 {one} 0 {two} 1 {three} 2"))]
        });
    });
}

#[test]
fn stacked_devices_keep_what_was_flushed() {
    seeds(4, |seed| {
        cut(seed, false, |disks| {
            let [one, two, three] = [0, 1, 2].map(|nr: usize| disks[nr].name());
            vec![
                ("low", format!("0 40 striped 2 5 {one} 0 {two} 1\n40 20 linear {three} 0")),
                ("mid", "0 50 linear /dev/mapper/low 10\n50 10 linear /dev/mapper/low 0".into()),
                ("d", "0 30 linear /dev/mapper/mid 30\n30 30 linear /dev/mapper/mid 0".into()),
            ]
        });
    });
}

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

#[test]
#[cfg_attr(miri, ignore = "too much to encrypt in an interpreter")]
fn crypt_keeps_what_was_flushed() {
    seeds(2, |seed| {
        let (mut tried, mut round) = (0, seed * 1000);
        while tried < cuts(500) {
            tried += cut(round, false, |disks| {
                let [one, two, three] = [0, 1, 2].map(|nr: usize| disks[nr].name());
                let low = format!("0 40 crypt serpent-cbc-essiv:sha256 {KEY} 0 {one} 3");
                let fast = format!("20 20 crypt aes-xts-plain64 {KEY} 9 {two} 1");
                vec![
                    ("low", low),
                    (
                        "d",
                        format!(
                            "0 20 crypt aes-xts-plain64 {KEY} 0 /dev/mapper/low 20\n{fast}\n\
                         40 20 crypt twofish-xts-plain {KEY} 0 {three} 5 1 no_write_workqueue"
                        ),
                    ),
                ]
            });
            round += 1;
        }
        println!("crypt: {tried} power cuts in {} workloads", round - seed * 1000);
    });
}

#[test]
fn a_target_that_keeps_its_flushes_keeps_what_was_flushed() {
    seeds(2, |seed| {
        cut(seed, true, |disks| {
            let [one, two, _] = [0, 1, 2].map(|nr: usize| disks[nr].name());
            vec![("d", format!("0 60 pair {one} 0 {two} 3"))]
        });
    });
}

#[test]
fn a_lost_flush_would_be_noticed() {
    let world = World::new();
    let disk = world.disk(64);
    let device = world.create("d", &format!("0 60 linear {} 0", disk.name()));
    disk.record();
    device.write(0, &[1; 60 * 512]).expect("a write");
    let unflushed = disk.recorded();
    let mut random = Random::new(1);
    let image = unflushed.image(unflushed.len(), &mut random);
    assert!(image.contains(&0), "what is in the cache only may be lost");
    disk.record();
    device.write(0, &[2; 60 * 512]).expect("a write");
    device.flush().expect("a flush");
    assert_eq!(disk.count(Op::Flush), 1);
    let flushed = disk.recorded();
    let image = flushed.image(flushed.len(), &mut random);
    assert!(image[..60 * 512].iter().all(|byte| *byte == 2));
}
