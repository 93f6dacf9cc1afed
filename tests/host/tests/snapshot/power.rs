//! The power goes, at every moment of a workload and in many orders of what was still in the
//! caches: origin and snapshots hold all that was promised, for Linux's eyes and for ours.

use crate::history::{History, Step, What};
use crate::store::Store;
use dm::kern::disk::Op;
use dm_protocol::{Action, SECTOR_SIZE};
use dm_tests::outage::cuts;
use dm_tests::power::{Log, moment};
use dm_tests::random::seeds;
use dm_tests::{Device, Disk, DiskSpec, Mode, Pending, Random, World};
use std::sync::Arc;

/// Sectors of the origin.
const SIZE: u64 = 96;

/// How a snapshot of the workload is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    P,
    Po,
    N,
}

/// A snapshot of the workload.
#[derive(Clone, Copy, Debug)]
struct Cow {
    kind: Kind,
    chunk: u64,
    /// Sectors of its COW device.
    sectors: u64,
}

impl Cow {
    const fn new(chunk: u64, sectors: u64) -> Self {
        Self { kind: Kind::P, chunk, sectors }
    }

    /// Any kind, any chunk, with room for all or not.
    fn any(random: &mut Random) -> Self {
        let chunk = 1 << random.below(8);
        let kind = *random.pick(&[Kind::P, Kind::P, Kind::Po, Kind::N]);
        let whole = Self { kind, chunk, sectors: 0 }.whole();
        let least = chunk * if kind == Kind::N { 1 } else { 3 };
        let sectors = if random.one_in(3) { random.within(least, whole) } else { whole };
        Self { kind, chunk, sectors }
    }

    /// Sectors with which it never is full.
    const fn whole(&self) -> u64 {
        let data = SIZE.div_ceil(self.chunk);
        // The header, the areas, and the one that ends the list.
        (data + data / (self.chunk * 32) + 2) * self.chunk
    }

    /// May it run out of chunks?
    const fn may_fill(&self) -> bool {
        self.sectors < self.whole()
    }

    const fn persists(&self) -> bool {
        !matches!(self.kind, Kind::N)
    }

    fn line(&self, target: &str, disk: &Disk) -> String {
        let Self { chunk, kind, .. } = self;
        let kind = format!("{kind:?}").to_uppercase();
        format!("0 {SIZE} {target} /dev/mapper/base {} {kind} {chunk}", disk.name())
    }

    /// What its state says when nothing is in it.
    fn empty(&self) -> String {
        format!(" {}/{} {}", 2 * self.chunk, self.sectors, 2 * self.chunk)
    }
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
        devices.push(world.create(&format!("snap{nr}"), &cow.line("snapshot", disk)));
    }
    let mut histories = vec![History::new(first); devices.len()];
    work(&devices, &mut histories, &mut random, cows.iter().any(Cow::may_fill));
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
    fn check(&self, moment: u64, images: &Images, cows: &[Cow], seed: u64) -> Vec<Option<Vec<u8>>> {
        let when = || format!("seed {seed}, moment {moment} of {:?}", self.moments.last());
        self.histories[0].allowed(moment).check(&images.origin, &when);
        let mut shown = Vec::new();
        for ((cow, spec), history) in images.cows.iter().zip(cows).zip(&self.histories[1..]) {
            if !spec.persists() {
                // It is gone with the power: a new one shows the origin.
                shown.push(Some(images.origin.clone()));
                continue;
            }
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
        snapshots.push((world.create(&format!("snap{nr}"), &cow.line("snapshot", &disk)), disk));
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
    for (((_, disk), shown), spec) in snapshots.iter().zip(shown).zip(cows) {
        if !spec.persists() {
            continue;
        }
        let cow = disk.bytes();
        match Store::read(&cow).shown(&origin, &cow) {
            Some(seen) => assert!(Some(&seen) == shown.as_ref(), "Linux sees the same"),
            None => assert!(shown.is_none() || spec.may_fill(), "it was valid"),
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
            let shown = run.check(*moment, &images, cows, seed);
            if nr == 0 && random.one_in(if cfg!(miri) { 20 } else { 3 }) {
                reopen(&images, &shown, cows, &mut random);
            }
            tried += 1;
        }
    }
    tried
}

/// As many workloads as the number of cuts asks for.
fn try_cuts(name: &str, cows: impl Fn(u64) -> Vec<Cow>, mode: impl Fn(u64) -> Mode) {
    let wanted = cuts(1500);
    seeds(1, |seed| {
        let (mut tried, mut round) = (0, seed * 1000);
        while tried < wanted {
            tried += cut(round, &cows(round), 6, &mode);
            round += 1;
        }
        println!("{name}: {tried} power cuts in {} workloads", round - seed * 1000);
    });
}

#[test]
fn one_snapshot_and_its_origin_keep_what_was_promised() {
    try_cuts("one", |_| vec![Cow::new(2, 160)], |_| Mode::Inline);
}

#[test]
fn two_snapshots_on_slow_disks_keep_what_was_promised() {
    try_cuts("two", |_| vec![Cow::new(4, 160), Cow::new(1, 140)], Mode::Thread);
}

#[test]
fn a_snapshot_that_has_no_room_is_marked_before_its_origin_goes_on() {
    try_cuts("small", |_| vec![Cow::new(2, 40), Cow::new(8, 160)], Mode::Thread);
}

#[test]
fn snapshots_of_every_kind_and_size_keep_what_was_promised() {
    let any = |seed| {
        let mut random = Random::new(seed ^ 0xc0c0);
        (0..random.within(1, 3)).map(|_| Cow::any(&mut random)).collect()
    };
    try_cuts("any", any, Mode::Thread);
}

#[test]
fn what_was_merged_is_on_the_origin_before_its_copy_is_forgotten() {
    try_merge_cuts("merge", |_| [Cow::new(2, 160), Cow::new(2, 160)]);
}

#[test]
fn merging_from_chunks_of_every_size_keeps_what_was_promised() {
    try_merge_cuts("merge any", |seed| {
        let mut random = Random::new(seed ^ 0xc0c0);
        let mut one = |other: bool| {
            let (chunk, kind) = (1 << random.below(8), *random.pick(&[Kind::P, Kind::Po]));
            // The other one may be lost for want of room.
            let few = other && random.one_in(4);
            let whole = Cow { kind, chunk, sectors: 0 }.whole();
            Cow { kind, chunk, sectors: if few { 3 * chunk } else { whole } }
        };
        [one(false), one(true)]
    });
}

/// Merging, with writes meanwhile; another snapshot keeps what the origin was.
fn record_merge(seed: u64, specs: &[Cow; 2], mode: impl Fn(u64) -> Mode) -> Run {
    let mut random = Random::new(seed);
    let world = World::new();
    let disk = |nr: u64, sectors| world.disk_of(DiskSpec::new(sectors).mode(mode(seed + 7 * nr)));
    let [spec, kept] = specs;
    let (origin, cow, other) = (disk(1, SIZE), disk(2, spec.sectors), disk(3, kept.sectors));
    let first: Vec<u8> = (0..SIZE).map(|sector| sector as u8 % 8 + 1).collect();
    let bytes: Vec<u8> = first.iter().flat_map(|version| [*version; 512]).collect();
    origin.set_bytes(0, &bytes);
    world.try_create("base", &format!("0 {SIZE} linear {} 0", origin.name())).expect("a base");
    let snapshot = world.create("snap", &spec.line("snapshot", &cow));
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
    world.try_create("other", &kept.line("snapshot", &other)).expect("another");
    [&origin, &cow, &other].into_iter().for_each(|disk| disk.record());
    let mut moments = vec![moment()];
    let device = world.create("m", &spec.line("snapshot-merge", &cow));
    let mut histories = vec![History::new(merged)];
    work(std::slice::from_ref(&device), &mut histories, &mut random, false);
    merged_in(&world, spec);
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

/// Waits until all is merged.
fn merged_in(world: &World, spec: &Cow) {
    let empty = spec.empty();
    let merged = || crate::pattern::status(world, "m").ends_with(&empty);
    crate::pattern::until(&format!("{spec:?} is merged"), merged);
}

fn try_merge_cuts(name: &str, specs: impl Fn(u64) -> [Cow; 2]) {
    let wanted = cuts(1500);
    seeds(1, |seed| {
        let (mut tried, mut round) = (0, seed * 1000);
        while tried < wanted {
            let specs = specs(round);
            let run = record_merge(round, &specs, Mode::Thread);
            let mut random = Random::new(round);
            for moment in &run.moments {
                for nr in 0..6 {
                    let images = run.images(*moment, &mut random);
                    let shown = run.check_merge(*moment, &images, &specs, round);
                    tried += 1;
                    if nr == 0 && random.one_in(if cfg!(miri) { 20 } else { 4 }) {
                        merge_again(&images, &shown, &specs);
                    }
                }
            }
            round += 1;
        }
        println!("{name}: {tried} power cuts in {} workloads", round - seed * 1000);
    });
}

/// What the device that is merged shows, and the other snapshot, if it is not lost.
type Shown = (Vec<u8>, Option<Vec<u8>>);

impl Run {
    /// As [`Run::check`], of what is merged and of a snapshot that keeps what was before.
    fn check_merge(&self, moment: u64, images: &Images, specs: &[Cow; 2], seed: u64) -> Shown {
        let when = || format!("seed {seed}, moment {moment}");
        let [cow, other] = &images.cows[..] else { unreachable!("two") };
        let seen = Store::read(cow).shown(&images.origin, cow).expect("valid");
        self.histories[0].allowed(moment).check(&seen, &when);
        let kept = Store::read(other).shown(&images.origin, other);
        match &kept {
            Some(kept) => self.histories[1].allowed(moment).check(kept, &when),
            None => assert!(specs[1].may_fill(), "the other snapshot is lost, {}", when()),
        }
        (seen, kept)
    }
}

/// Goes on merging after a cut, to the end.
fn merge_again(images: &Images, (seen, kept): &Shown, specs: &[Cow; 2]) {
    let world = World::new();
    let [spec, other_spec] = specs;
    let disks = [SIZE, spec.sectors, other_spec.sectors].map(|sectors| world.disk(sectors));
    let all = [&images.origin].into_iter().chain(&images.cows);
    disks.iter().zip(all).for_each(|(disk, image)| disk.set_bytes(0, image));
    let [origin, cow, other] = &disks;
    world.try_create("base", &format!("0 {SIZE} linear {} 0", origin.name())).expect("a base");
    let snapshot = world.create("other", &other_spec.line("snapshot", other));
    let device = world.create("m", &spec.line("snapshot-merge", cow));
    assert!(device.read(0, SIZE).expect("a read") == *seen, "while it is merged");
    merged_in(&world, spec);
    assert!(device.read(0, SIZE).expect("a read") == *seen, "when it is merged");
    assert!(origin.bytes() == *seen, "all is on the origin");
    match (kept, snapshot.read(0, SIZE)) {
        (Some(kept), Ok(found)) => assert!(found == *kept, "the other shows what it showed"),
        (Some(_), Err(_)) => assert!(other_spec.may_fill(), "it had room"),
        (None, found) => assert!(found.is_err(), "what is lost stays lost"),
    }
}
