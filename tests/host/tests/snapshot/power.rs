//! The power goes, at every moment of a workload and in many orders of what was still in the
//! caches: origin and snapshots hold all that was promised, for Linux's eyes and for ours.

use crate::history::{History, Step, What};
use crate::store::Store;
use dm::kern::disk::Op;
use dm_protocol::{Action, SECTOR_SIZE};
use dm_tests::power::{Log, moment};
use dm_tests::random::seeds;
use dm_tests::{Device, Disk, DiskSpec, Mode, Pending, Random, World};
use std::sync::Arc;

/// Sectors of the origin.
const SIZE: u64 = 96;

/// How many power cuts each test tries, all in all: `DM_TEST_CUTS` or so many.
fn cuts(default: u64) -> u64 {
    let asked = std::env::var("DM_TEST_CUTS").ok().and_then(|cuts| cuts.parse().ok());
    if cfg!(miri) { 10 } else { asked.unwrap_or(default) }
}

/// A snapshot of the workload.
#[derive(Clone, Copy)]
struct Cow {
    chunk: u64,
    /// Sectors of its COW device.
    sectors: u64,
}

/// A run that was recorded.
struct Run {
    origin: Log,
    cows: Vec<Log>,
    /// Of the origin's device, then of each snapshot.
    histories: Vec<History>,
    /// Where a cut may lead: from the first moment to the last.
    moments: Vec<u64>,
}

/// A request under way, and whose it is.
struct Going {
    who: usize,
    what: What,
    begun: u64,
    pending: Pending,
}

fn begin(device: &Device, who: usize, what: What) -> Going {
    let begun = moment();
    let pending = match what {
        What::Flush => device.begin(Op::Flush, false, 0, 0, Vec::new()),
        What::Write { at, count, version, fua } => {
            let data = vec![version; (count * SECTOR_SIZE) as usize];
            device.begin(Op::Write, fua, at, count, data)
        }
    };
    Going { who, what, begun, pending }
}

/// Requests to all devices, some at the same time.
fn work(devices: &[Device], histories: &mut [History], random: &mut Random, may_fail: bool) {
    let mut version = 9;
    for _ in 0..if cfg!(miri) { 2 } else { 14 } {
        let mut going: Vec<Going> = Vec::new();
        let mut taken = vec![[false; SIZE as usize]; devices.len()];
        for _ in 0..random.within(1, 4) {
            // The origin is written more often.
            let who = random.below(devices.len() as u64 * 2) as usize;
            let who = if who < devices.len() { who } else { 0 };
            let at = random.below(SIZE);
            let most = if random.one_in(4) { SIZE } else { 12 };
            let count = random.within(1, (SIZE - at).min(most));
            let sectors = &mut taken[who][at as usize..][..count as usize];
            if random.one_in(5) {
                going.push(begin(&devices[who], who, What::Flush));
            } else if !sectors.contains(&true) {
                sectors.fill(true);
                version += 1;
                let what = What::Write { at, count, version, fua: random.one_in(6) };
                going.push(begin(&devices[who], who, what));
            }
        }
        for Going { who, what, begun, pending } in going {
            let result = pending.wait();
            let ended = moment();
            assert!(may_fail || result.is_ok(), "{what:?}: {result:?}");
            // What failed was promised nothing, and may be there.
            let ended = if result.is_ok() { ended } else { u64::MAX };
            histories[who].steps.push(Step { what, begun, ended });
        }
    }
}

fn record(seed: u64, cows: &[Cow], mode: impl Fn(u64) -> Mode) -> Run {
    let mut random = Random::new(seed);
    let world = World::new();
    let origin = world.disk_of(DiskSpec::new(SIZE).mode(mode(seed)));
    let disks: Vec<Arc<Disk>> = (1..)
        .zip(cows)
        .map(|(nr, cow)| world.disk_of(DiskSpec::new(cow.sectors).mode(mode(seed + 77 * nr))))
        .collect();
    let first: Vec<u8> = (0..SIZE).map(|sector| sector as u8 % 8 + 1).collect();
    let bytes: Vec<u8> = first.iter().flat_map(|version| [*version; 512]).collect();
    origin.set_bytes(0, &bytes);
    // What a COW device held before is anything.
    disks.iter().for_each(|disk| disk.set_bytes(512, &vec![0xee; disk.bytes().len() - 512]));
    world.try_create("base", &format!("0 {SIZE} linear {} 0", origin.name())).expect("a base");
    [&origin].into_iter().chain(&disks).for_each(|disk| disk.record());
    let mut moments = vec![moment()];
    let mut devices =
        vec![world.create("origin", &format!("0 {SIZE} snapshot-origin /dev/mapper/base"))];
    for (nr, (cow, disk)) in cows.iter().zip(&disks).enumerate() {
        let (name, chunk) = (disk.name(), cow.chunk);
        let table = format!("0 {SIZE} snapshot /dev/mapper/base {name} P {chunk}");
        devices.push(world.create(&format!("snap{nr}"), &table));
    }
    let mut histories = vec![History::new(first); devices.len()];
    work(&devices, &mut histories, &mut random, cows.iter().any(|cow| cow.sectors < SIZE));
    drop(devices);
    let origin = origin.recorded();
    let cows: Vec<Log> = disks.iter().map(|disk| disk.recorded()).collect();
    for log in [&origin].into_iter().chain(&cows) {
        moments.extend(log.moments().map(|moment| moment + 1));
    }
    moments.sort_unstable();
    Run { origin, cows, histories, moments }
}

/// What is on the disks when the power is back.
struct Images {
    origin: Vec<u8>,
    cows: Vec<Vec<u8>>,
}

impl Run {
    fn images(&self, moment: u64, random: &mut Random) -> Images {
        let origin = self.origin.image_at(moment, random);
        let cows = self.cows.iter().map(|log| log.image_at(moment, random)).collect();
        Images { origin, cows }
    }

    /// Reads the images as Linux would, and compares. Gives what each snapshot shows.
    fn check(&self, moment: u64, images: &Images, seed: u64) -> Vec<Option<Vec<u8>>> {
        let when = || format!("seed {seed}, moment {moment} of {:?}", self.moments.last());
        self.histories[0].allowed(moment).check(&images.origin, &when);
        let mut shown = Vec::new();
        for (cow, history) in images.cows.iter().zip(&self.histories[1..]) {
            let seen = Store::read(cow).shown(&images.origin, cow);
            if let Some(seen) = &seen {
                history.allowed(moment).check(seen, &when);
            }
            shown.push(seen);
        }
        shown
    }
}

/// Opens everything again with the driver, compares, and goes on working: what a cut left
/// behind must not show later.
fn reopen(images: &Images, shown: &[Option<Vec<u8>>], cows: &[Cow], random: &mut Random) {
    let world = World::new();
    let origin = world.disk(SIZE);
    origin.set_bytes(0, &images.origin);
    world.try_create("base", &format!("0 {SIZE} linear {} 0", origin.name())).expect("a base");
    let device = world.create("origin", &format!("0 {SIZE} snapshot-origin /dev/mapper/base"));
    let mut snapshots = Vec::new();
    for (nr, (image, cow)) in images.cows.iter().zip(cows).enumerate() {
        let disk = world.disk(cow.sectors);
        disk.set_bytes(0, image);
        let (name, chunk) = (disk.name(), cow.chunk);
        let table = format!("0 {SIZE} snapshot /dev/mapper/base {name} P {chunk}");
        snapshots.push((world.create(&format!("snap{nr}"), &table), disk));
    }
    let same = |when: &str| {
        for (nr, ((snapshot, _), shown)) in snapshots.iter().zip(shown).enumerate() {
            match shown {
                Some(shown)
                    if crate::pattern::status(&world, &format!("snap{nr}")).contains('/') =>
                {
                    let found = snapshot.read(0, SIZE).expect("a read");
                    assert!(found == *shown, "snapshot {nr} is other than it was, {when}");
                }
                Some(_) => {}
                None => assert!(snapshot.read(0, 1).is_err(), "snapshot {nr} is invalid"),
            }
        }
    };
    same("opened again");
    for _ in 0..6 {
        let at = random.below(SIZE);
        let count = random.within(1, SIZE - at);
        device.write(at, &vec![200; (count * SECTOR_SIZE) as usize]).expect("a write");
    }
    same("after more writes");
    let origin = origin.bytes();
    for ((_, disk), shown) in snapshots.iter().zip(shown) {
        let cow = disk.bytes();
        match Store::read(&cow).shown(&origin, &cow) {
            Some(seen) => assert!(Some(&seen) == shown.as_ref(), "Linux sees the same"),
            None => assert!(shown.is_none() || cow.len() < SIZE as usize * 512, "it was valid"),
        }
    }
}

fn cut(seed: u64, cows: &[Cow], images: u64, mode: impl Fn(u64) -> Mode) -> u64 {
    let run = record(seed, cows, mode);
    let mut random = Random::new(seed ^ 0x5eed);
    let mut tried = 0;
    for moment in &run.moments {
        for nr in 0..images {
            let images = run.images(*moment, &mut random);
            let shown = run.check(*moment, &images, seed);
            if nr == 0 && random.one_in(if cfg!(miri) { 20 } else { 3 }) {
                reopen(&images, &shown, cows, &mut random);
            }
            tried += 1;
        }
    }
    tried
}

/// As many workloads as the number of cuts asks for.
fn try_cuts(name: &str, cows: &[Cow], mode: impl Fn(u64) -> Mode) {
    let wanted = cuts(1500);
    seeds(1, |seed| {
        let (mut tried, mut round) = (0, seed * 1000);
        while tried < wanted {
            tried += cut(round, cows, 6, &mode);
            round += 1;
        }
        println!("{name}: {tried} power cuts in {} workloads", round - seed * 1000);
    });
}

const ONE: &[Cow] = &[Cow { chunk: 2, sectors: 160 }];
const TWO: &[Cow] = &[Cow { chunk: 4, sectors: 160 }, Cow { chunk: 1, sectors: 140 }];
const SMALL: &[Cow] = &[Cow { chunk: 2, sectors: 40 }, Cow { chunk: 8, sectors: 160 }];

#[test]
fn one_snapshot_and_its_origin_keep_what_was_promised() {
    try_cuts("one", ONE, |_| Mode::Inline);
}

#[test]
fn two_snapshots_on_slow_disks_keep_what_was_promised() {
    try_cuts("two", TWO, Mode::Thread);
}

#[test]
fn a_snapshot_that_has_no_room_is_marked_before_its_origin_goes_on() {
    try_cuts("small", SMALL, Mode::Thread);
}

#[test]
fn what_was_merged_is_on_the_origin_before_its_copy_is_forgotten() {
    try_merge_cuts();
}

/// Merging, with writes meanwhile; another snapshot keeps what the origin was.
fn record_merge(seed: u64, mode: impl Fn(u64) -> Mode) -> Run {
    let mut random = Random::new(seed);
    let world = World::new();
    let disk = |nr: u64, sectors| world.disk_of(DiskSpec::new(sectors).mode(mode(seed + 7 * nr)));
    let (origin, cow, other) = (disk(1, SIZE), disk(2, 160), disk(3, 160));
    let first: Vec<u8> = (0..SIZE).map(|sector| sector as u8 % 8 + 1).collect();
    let bytes: Vec<u8> = first.iter().flat_map(|version| [*version; 512]).collect();
    origin.set_bytes(0, &bytes);
    world.try_create("base", &format!("0 {SIZE} linear {} 0", origin.name())).expect("a base");
    let line = |kind, cow: &Disk| format!("0 {SIZE} {kind} /dev/mapper/base {} P 2", cow.name());
    let snapshot = world.create("snap", &line("snapshot", &cow));
    let mut merged = first.clone();
    for version in 100..112_u8 {
        let at = random.below(SIZE);
        let count = random.within(1, (SIZE - at).min(20));
        snapshot.write(at, &vec![version; (count * 512) as usize]).expect("a write");
        merged[at as usize..(at + count) as usize].fill(version);
    }
    snapshot.flush().expect("a flush");
    drop(snapshot);
    world.on("snap", Action::Remove).expect("removed");
    world.try_create("other", &line("snapshot", &other)).expect("another");
    [&origin, &cow, &other].into_iter().for_each(|disk| disk.record());
    let mut moments = vec![moment()];
    let device = world.create("m", &line("snapshot-merge", &cow));
    let mut histories = vec![History::new(merged)];
    work(std::slice::from_ref(&device), &mut histories, &mut random, false);
    crate::pattern::until("merged", || crate::pattern::status(&world, "m").ends_with(" 4/160 4"));
    drop(device);
    let logs = [&origin, &cow, &other].map(|disk| disk.recorded());
    for log in &logs {
        moments.extend(log.moments().map(|moment| moment + 1));
    }
    moments.sort_unstable();
    histories.push(History::new(first));
    let [origin, cow, other] = logs;
    Run { origin, cows: vec![cow, other], histories, moments }
}

fn try_merge_cuts() {
    let wanted = cuts(1500);
    seeds(1, |seed| {
        let (mut tried, mut round) = (0, seed * 1000);
        while tried < wanted {
            let run = record_merge(round, Mode::Thread);
            let mut random = Random::new(round);
            for moment in &run.moments {
                let when = || format!("seed {round}, moment {moment}");
                for nr in 0..6 {
                    let images = run.images(*moment, &mut random);
                    let [cow, other] = &images.cows[..] else { unreachable!("two") };
                    let seen = Store::read(cow).shown(&images.origin, cow).expect("valid");
                    run.histories[0].allowed(*moment).check(&seen, &when);
                    let kept = Store::read(other).shown(&images.origin, other).expect("valid");
                    run.histories[1].allowed(*moment).check(&kept, &when);
                    tried += 1;
                    if nr == 0 && random.one_in(if cfg!(miri) { 20 } else { 4 }) {
                        merge_again(&images, &seen, &kept);
                    }
                }
            }
            round += 1;
        }
        println!("merge: {tried} power cuts in {} workloads", round - seed * 1000);
    });
}

/// Goes on merging after a cut, to the end.
fn merge_again(images: &Images, seen: &[u8], kept: &[u8]) {
    let world = World::new();
    let disks = [SIZE, 160, 160].map(|sectors| world.disk(sectors));
    let all = [&images.origin].into_iter().chain(&images.cows);
    disks.iter().zip(all).for_each(|(disk, image)| disk.set_bytes(0, image));
    let [origin, cow, other] = &disks;
    world.try_create("base", &format!("0 {SIZE} linear {} 0", origin.name())).expect("a base");
    let line = |kind, cow: &Disk| format!("0 {SIZE} {kind} /dev/mapper/base {} P 2", cow.name());
    let snapshot = world.create("other", &line("snapshot", other));
    let device = world.create("m", &line("snapshot-merge", cow));
    assert!(device.read(0, SIZE).expect("a read") == seen, "while it is merged");
    crate::pattern::until("merged", || crate::pattern::status(&world, "m").ends_with(" 4/160 4"));
    assert!(device.read(0, SIZE).expect("a read") == seen, "when it is merged");
    assert!(origin.bytes() == seen, "all is on the origin");
    assert!(snapshot.read(0, SIZE).expect("a read") == kept, "the other shows what it showed");
}
