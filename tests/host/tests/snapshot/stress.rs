//! Random requests to an origin and its snapshots at the same time, against a model, while
//! tables are swapped, devices suspended, snapshots removed and made again; also when memory
//! is short and devices lie on one another.

use crate::pattern::{status, until};
use dm::kern::disk::Op;
use dm_protocol::{Action, Flags};
use dm_tests::context::Thing;
use dm_tests::model::Model;
use dm_tests::random::seeds;
use dm_tests::toys::types;
use dm_tests::{Device, DiskSpec, Mode, Random, World};
use std::sync::Arc;

const SIZE: u64 = 400;

fn steps(full: u64) -> u64 {
    if cfg!(miri) { full / 20 } else { full }
}

/// A device and what it should hold.
struct Modelled {
    device: Device,
    model: Model,
}

impl Modelled {
    fn new(device: Device, model: &Model) -> Self {
        Self { device, model: model.clone() }
    }

    fn write(&mut self, random: &mut Random) {
        let at = random.below(SIZE);
        let most = if random.one_in(5) { SIZE } else { 24 };
        let count = random.within(1, (SIZE - at).min(most));
        let mut data = vec![0; count as usize * 512];
        random.fill(&mut data);
        self.device.write(at, &data).expect("a write");
        self.model.write(at, &data);
    }

    fn read(&self, random: &mut Random) {
        let at = random.below(SIZE);
        let count = random.within(1, SIZE - at);
        self.model.check(at, &self.device.read(at, count).expect("a read"));
    }

    fn all(&self) {
        self.model.check(0, &self.device.read(0, SIZE).expect("a read"));
    }
}

/// What the devices lie on.
#[derive(Clone, Copy, PartialEq)]
enum Under {
    Disks,
    /// A toy mirror below the origin, stripes below the COW devices, and no memory at times.
    Devices,
}

fn base(world: &World, seed: u64, under: Under) -> Device {
    let disk = |nr| world.disk_of(DiskSpec::new(SIZE + 9).mode(Mode::Thread(seed + nr))).name();
    match under {
        Under::Disks => world.create("base", &format!("0 {SIZE} linear {} 0", disk(1))),
        Under::Devices => {
            world.create("base", &format!("0 {SIZE} pair {} 0 {} 9", disk(1), disk(2)))
        }
    }
}

fn cow(world: &World, nr: u64, seed: u64, under: Under) -> String {
    let disk = |n| world.disk_of(DiskSpec::new(800).mode(Mode::Thread(seed * 9 + n + nr))).name();
    match under {
        Under::Disks => disk(1),
        Under::Devices => {
            let table = format!("0 1600 striped 2 16 {} 0 {} 0", disk(1), disk(2));
            world.try_create(&format!("cow{nr}"), &table).expect("stripes");
            format!("/dev/mapper/cow{nr}")
        }
    }
}

const HOW: [&str; 4] = ["P 1", "PO 8", "N 4", "P 16"];

fn line(nr: u64, cow: &str) -> String {
    format!("0 {SIZE} snapshot /dev/mapper/base {cow} {}", HOW[nr as usize % HOW.len()])
}

/// The next snapshot on this device is new: nobody asks for the old one.
fn wipe(world: &World, nr: u64, cow: &str) {
    if HOW[nr as usize].starts_with('P') {
        let wiper = world.create("wipe", &format!("0 8 linear {cow} 0"));
        wiper.write(0, &[0; 8 * 512]).expect("a write");
        drop(wiper);
        world.on("wipe", Action::Remove).expect("removed");
    }
}

fn churn(seed: u64, under: Under) {
    let mut random = Random::new(seed);
    let world = Arc::new(World::with_types(types()));
    let base = base(&world, seed, under);
    let mut model = Model::new(SIZE);
    let mut data = vec![0; SIZE as usize * 512];
    random.fill(&mut data);
    base.write(0, &data).expect("a write");
    model.write(0, &data);
    let device = world.create("o", &format!("0 {SIZE} snapshot-origin /dev/mapper/base"));
    let mut origin = Modelled::new(device, &model);
    let cows: Vec<String> = (0..4).map(|nr| cow(&world, nr, seed, under)).collect();
    let mut snapshots: Vec<Option<Modelled>> = (0..4).map(|_| None).collect();
    for _ in 0..steps(260) {
        if under == Under::Devices {
            world.context.faults.starve(random.one_in(2));
        }
        let nr = random.below(4);
        let name = format!("s{nr}");
        match (&mut snapshots[nr as usize], random.below(12)) {
            (_, 0..=3) => origin.write(&mut random),
            (_, 4) => origin.read(&mut random),
            (None, 5) => {
                world.context.faults.starve(false);
                let device = world.create(&name, &line(nr, &cows[nr as usize]));
                snapshots[nr as usize] = Some(Modelled::new(device, &origin.model));
            }
            (Some(snapshot), 5 | 6) => snapshot.write(&mut random),
            (Some(snapshot), 7 | 8) => snapshot.read(&mut random),
            (Some(_), 9) => {
                world.context.faults.starve(false);
                let flags = if random.one_in(2) { Flags::NOFLUSH } else { Flags::EXISTS };
                world.on_with(&name, Action::Suspend, flags).expect("suspended");
                if random.one_in(2) {
                    world.load(&name, &line(nr, &cows[nr as usize])).expect("loaded");
                }
                world.on(&name, Action::Resume).expect("resumed");
            }
            (Some(_), 10) => {
                world.context.faults.starve(false);
                let origin = format!("0 {SIZE} snapshot-origin /dev/mapper/base");
                world.load("o", &origin).expect("loaded");
                world.on("o", Action::Resume).expect("resumed");
            }
            (Some(snapshot), _) if random.one_in(3) => {
                world.context.faults.starve(false);
                snapshot.all();
                snapshots[nr as usize] = None;
                world.on(&name, Action::Remove).expect("removed");
                wipe(&world, nr, &cows[nr as usize]);
            }
            _ => {}
        }
    }
    world.context.faults.starve(false);
    origin.all();
    for (nr, snapshot) in snapshots.iter().enumerate() {
        if let Some(snapshot) = snapshot {
            snapshot.all();
            assert!(!status(&world, &format!("s{nr}")).contains("nvalid"));
        }
    }
    drop((origin, snapshots, base));
    until("idle", || world.context.out(Thing::Request) == 0);
}

#[test]
fn an_origin_and_its_snapshots_are_as_their_models() {
    seeds(3, |seed| churn(seed, Under::Disks));
}

#[test]
fn devices_on_one_another_and_short_of_memory_are_as_their_models() {
    seeds(3, |seed| churn(seed, Under::Devices));
}

/// Writes one region, and reads it: another thread's, so its content is known.
fn hammer(device: &Device, seed: u64, from: u64, count: u64, rounds: u64) {
    let mut random = Random::new(seed);
    let mut model = Model::new(SIZE);
    model.write(from, &device.read(from, count).expect("a read"));
    for _ in 0..rounds {
        let at = random.within(from, from + count - 1);
        let some = random.within(1, from + count - at);
        if random.one_in(2) {
            let mut data = vec![0; some as usize * 512];
            random.fill(&mut data);
            device.write(at, &data).expect("a write");
            model.write(at, &data);
        } else {
            model.check(at, &device.read(at, some).expect("a read"));
        }
        if random.one_in(9) {
            device.flush().expect("a flush");
        }
    }
    model.check(from, &device.read(from, count).expect("a read"));
}

/// Threads at work on every device at the same time, and one that reads what never changes.
fn crowd(seed: u64) {
    let world = Arc::new(World::new());
    let disk = |nr, sectors| {
        world.disk_of(DiskSpec::new(sectors).mode(Mode::Thread(seed * 31 + nr))).name()
    };
    let mut first = vec![0; SIZE as usize * 512];
    Random::new(seed).fill(&mut first);
    let base = world.create("base", &format!("0 {SIZE} linear {} 0", disk(1, SIZE)));
    base.write(0, &first).expect("a write");
    let origin = world.create("o", &format!("0 {SIZE} snapshot-origin /dev/mapper/base"));
    let cows = [disk(2, 1600), disk(3, 1600), disk(4, 1600)];
    let quiet = world.create("s0", &line(0, &cows[0]));
    let busy = [world.create("s1", &line(1, &cows[1])), world.create("s2", &line(2, &cows[2]))];
    let rounds = steps(120);
    let meddler = {
        let cow = cows[1].clone();
        world.spawn(move |world| {
            for turn in 0..steps(40) {
                let name = ["o", "s1", "s2", "s0"][turn as usize % 4];
                world.on(name, Action::Suspend).expect("suspended");
                if name == "s1" {
                    world.load(name, &line(1, &cow)).expect("loaded");
                }
                world.on(name, Action::Resume).expect("resumed");
            }
        })
    };
    std::thread::scope(|scope| {
        let work = |device: &Device, nr: u64| {
            let (device, context) = (device.clone(), Arc::clone(&world.context));
            move || {
                context.enter();
                // Neighbours share chunks.
                hammer(&device, seed * 7 + nr, nr % 3 * 130, 129, rounds);
            }
        };
        for nr in 0..3 {
            scope.spawn(work(&origin, nr));
        }
        for (snapshot, nr) in busy.iter().zip([3, 7]) {
            scope.spawn(work(snapshot, nr));
        }
        let context = Arc::clone(&world.context);
        let (quiet, first) = (&quiet, &first);
        scope.spawn(move || {
            context.enter();
            let mut random = Random::new(seed);
            for _ in 0..rounds * 2 {
                let at = random.below(SIZE);
                let count = random.within(1, SIZE - at);
                let expected = &first[at as usize * 512..(at + count) as usize * 512];
                assert!(quiet.read(at, count).expect("a read") == expected, "it never changes");
            }
        });
    });
    meddler.join().expect("no surprise");
    assert!(quiet.read(0, SIZE).expect("a read") == first);
}

#[test]
fn many_at_once_never_see_each_others_writes() {
    seeds(3, crowd);
}

/// Merging under load, with another snapshot beside.
fn merge(seed: u64) {
    let world = Arc::new(World::new());
    let disk = |nr, sectors| {
        world.disk_of(DiskSpec::new(sectors).mode(Mode::Thread(seed * 31 + nr))).name()
    };
    let (low, cow, other) = (disk(1, SIZE), disk(2, 1600), disk(3, 1600));
    let mut first = vec![0; SIZE as usize * 512];
    Random::new(seed).fill(&mut first);
    let base = world.create("base", &format!("0 {SIZE} linear {low} 0"));
    base.write(0, &first).expect("a write");
    let mut snapshot = Modelled::new(
        world.create("s", &format!("0 {SIZE} snapshot /dev/mapper/base {cow} P 4")),
        &Model::new(SIZE),
    );
    snapshot.model.write(0, &first);
    let mut random = Random::new(seed);
    (0..30).for_each(|_| snapshot.write(&mut random));
    let Modelled { device, model } = snapshot;
    drop(device);
    world.on("s", Action::Remove).expect("removed");
    let kept = world.create("t", &line(seed, &other));
    let table = format!("0 {SIZE} snapshot-merge /dev/mapper/base {cow} P 4");
    let mut merging = Modelled::new(world.create("m", &table), &model);
    let meddler = world.spawn(move |world| {
        for turn in 0..steps(20) {
            world.on("m", Action::Suspend).expect("suspended");
            if turn % 4 == 0 {
                world.load("m", &table).expect("loaded");
            }
            world.on("m", Action::Resume).expect("resumed");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    });
    for _ in 0..steps(150) {
        if random.one_in(2) {
            merging.write(&mut random);
        } else {
            merging.read(&mut random);
        }
        let at = random.below(SIZE);
        let expected = &first[at as usize * 512..(at as usize + 1) * 512];
        assert!(kept.read(at, 1).expect("a read") == expected, "the other never changes");
    }
    meddler.join().expect("no surprise");
    until("merged", || status(&world, "m").ends_with(" 8/1600 8"));
    merging.all();
    merging.model.check(0, &base.read(0, SIZE).expect("a read"));
    assert!(kept.read(0, SIZE).expect("a read") == first);
}

#[test]
fn a_merge_under_load_is_as_its_model() {
    seeds(4, merge);
}

/// Threads at work on an origin and its snapshot while there is no memory but what was set
/// aside, on devices that each need some: `tables` ends with `base` and `cow`.
fn short_of_memory(
    seed: u64,
    tables: impl Fn(&dyn Fn(u64) -> String) -> Vec<(&'static str, String)>,
) {
    let world = Arc::new(World::new());
    let disk = |nr| world.disk_of(DiskSpec::new(2000).mode(Mode::Thread(seed * 31 + nr))).name();
    for (name, table) in tables(&disk) {
        world.try_create(name, &table).expect("a device");
    }
    world.open("base").write(0, &vec![0; SIZE as usize * 512]).expect("a write");
    world.open("cow").write(0, &[0; 64 * 512]).expect("a write");
    let origin = world.create("o", &format!("0 {SIZE} snapshot-origin /dev/mapper/base"));
    let snapshot = world.create("s", &line(1, "/dev/mapper/cow"));
    world.context.faults.starve(true);
    std::thread::scope(|scope| {
        for nr in 0..6 {
            let device = if nr < 3 { &origin } else { &snapshot };
            let context = Arc::clone(&world.context);
            scope.spawn(move || {
                context.enter();
                hammer(device, seed * 7 + nr, nr % 3 * 130, 129, steps(60));
            });
        }
    });
    world.context.faults.starve(false);
    assert!(!status(&world, "s").contains("nvalid"));
}

#[test]
#[cfg_attr(miri, ignore = "too much to encrypt in an interpreter")]
fn snapshots_of_encrypted_disks_move_on_when_memory_is_short() {
    let key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    seeds(2, |seed| {
        short_of_memory(seed, |disk| {
            let crypt = |size, cipher, below| {
                format!("0 {size} crypt {cipher} {key} 0 /dev/mapper/{below} 7")
            };
            vec![
                ("low", format!("0 1900 linear {} 3", disk(1))),
                ("lowcow", format!("0 1900 linear {} 0", disk(2))),
                ("middle", crypt(1800, "serpent-cbc-essiv:sha256", "low")),
                ("base", crypt(SIZE, "aes-xts-plain64", "middle")),
                ("cow", crypt(1600, "aes-cbc-plain64", "lowcow")),
            ]
        });
    });
}

#[test]
fn snapshots_of_mirrors_of_stripes_move_on_when_memory_is_short() {
    seeds(2, |seed| {
        short_of_memory(seed, |disk| {
            let striped = |one, two| format!("0 1600 striped 2 8 {} 0 {} 0", disk(one), disk(two));
            let legs = "/dev/mapper/left 0 /dev/mapper/right 0";
            vec![
                ("left", striped(1, 2)),
                ("right", striped(3, 4)),
                ("base", format!("0 {SIZE} mirror core 2 16 nosync 2 {legs}")),
                ("cow", format!("0 1600 linear {} 0", disk(5))),
            ]
        });
    });
}

#[test]
fn requests_of_every_kind_move_on_without_any_memory() {
    let world = World::with_types(types());
    let base = base(&world, 5, Under::Devices);
    let cow = cow(&world, 0, 5, Under::Devices);
    let origin = world.create("o", &format!("0 {SIZE} snapshot-origin /dev/mapper/base"));
    let snapshot = world.create("s", &line(1, &cow));
    world.context.faults.starve(true);
    let many: Vec<_> = (0..40)
        .flat_map(|nr| {
            let (at, one) = (nr * 10, vec![nr as u8; 5 * 512]);
            let all = origin.begin(Op::Write, false, at, 5, one.clone());
            [all, snapshot.begin(Op::Write, true, at + 3, 5, one)]
        })
        .collect();
    many.into_iter().for_each(|pending| drop(pending.wait().expect("a write")));
    origin.flush().expect("a flush");
    snapshot.flush().expect("a flush");
    origin.command(Op::WriteZeroes, 0, SIZE).expect("zeroes");
    let read = snapshot.read(0, SIZE).expect("a read");
    world.context.faults.starve(false);
    for (at, sector) in read.chunks(512).enumerate() {
        let within = at % 10;
        let expected = if (3..8).contains(&within) { (at / 10) as u8 } else { 0 };
        assert_eq!(sector[0], expected, "sector {at}");
    }
    drop(base);
}
