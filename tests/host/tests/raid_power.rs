//! raid: the power goes at every moment of a workload in which members are lost and come back,
//! and in many orders of what was still in caches. What was flushed is there, what superblocks
//! and bitmaps call equal is equal, and after copying the rest everything is.

use dm::kern::disk::Op;
use dm_protocol::{Action, Errno};
use dm_tests::outage::{Outage, Promise, cuts, recovers, sectors_of, version_of};
use dm_tests::random::seeds;
use dm_tests::snapshot::lines;
use dm_tests::{Device, Disk, DiskSpec, Mode, Random, World, until};
use std::sync::Arc;
use std::time::Duration;

const SIZE: u64 = 240;
const REGION: u64 = 16;
const REGIONS: u64 = SIZE / REGION;
const CHUNK: u64 = 8;
const META: u64 = 9;

/// A set: its table, and where its sectors lie.
struct Kind {
    level: &'static str,
    words: &'static str,
    members: u64,
    /// Sectors of a member.
    each: u64,
    /// The members and the sectors there of each copy.
    places: fn(u64) -> Vec<(usize, u64)>,
}

const KINDS: [Kind; 4] = [
    Kind {
        level: "raid1",
        words: "0 region_size 16 daemon_sleep 2000",
        members: 2,
        each: SIZE,
        places: |at| vec![(0, at), (1, at)],
    },
    Kind {
        level: "raid10",
        words: "8 region_size 16 daemon_sleep 2000",
        members: 4,
        each: SIZE / 2,
        places: |at| {
            let (row, member, within) = split(at, 2);
            (0..2).map(|copy| (member * 2 + copy, row * CHUNK + within)).collect()
        },
    },
    Kind {
        level: "raid10",
        words: "8 raid10_format far region_size 16 daemon_sleep 2000",
        members: 2,
        each: SIZE,
        places: |at| {
            let (row, member, within) = split(at, 2);
            let sector = row * CHUNK + within;
            vec![(member, sector), ((member + 1) % 2, SIZE / 2 + sector)]
        },
    },
    Kind {
        level: "raid10",
        words: "8 raid10_format offset region_size 16 daemon_sleep 2000",
        members: 3,
        each: SIZE * 2 / 3,
        places: |at| {
            let (row, member, within) = split(at, 3);
            let sector = row * 2 * CHUNK + within;
            vec![(member, sector), ((member + 1) % 3, sector + CHUNK)]
        },
    },
];

/// A sector's row of chunks, its place in the row, and its place in the chunk.
fn split(at: u64, across: u64) -> (u64, usize, u64) {
    let chunk = at / CHUNK;
    (chunk / across, (chunk % across) as usize, at % CHUNK)
}

impl Kind {
    fn table(&self, disks: &[Arc<Disk>], rebuild: Option<usize>) -> String {
        let (data, metas) = disks.split_at(self.members as usize);
        let pairs = metas.iter().zip(data);
        let pairs: String =
            pairs.map(|(meta, data)| format!(" {} {}", meta.name(), data.name())).collect();
        let rebuild = rebuild.map_or_else(String::new, |member| format!(" rebuild {member}"));
        let words = format!("{}{rebuild}", self.words);
        let count = words.split_whitespace().count();
        format!("0 {SIZE} raid {} {count} {words} {}{pairs}", self.level, self.members)
    }

    /// The members' data, then their metadata.
    fn disks(&self, world: &World, seed: u64) -> Vec<Arc<Disk>> {
        let sizes =
            [self.each, META].into_iter().flat_map(|size| (0..self.members).map(move |_| size));
        let disk =
            |(nr, size)| world.disk_of(DiskSpec::new(size).mode(Mode::Thread(seed * 8 + nr)));
        (0..).zip(sizes).map(disk).collect()
    }

    fn equal(&self) -> String {
        format!(" {} {SIZE}/{SIZE} idle ", "A".repeat(self.members as usize))
    }
}

/// Members that are lost and come back, writes that do not meet, flushes, suspensions, and time
/// that goes by.
fn workload(kind: &Kind, world: &World, disks: &[Arc<Disk>], random: &mut Random) -> Promise {
    let device = world.open("r");
    let mut promise = Promise::new(SIZE);
    let mut lost = None;
    for _ in 0..if cfg!(miri) { 6 } else { 40 } {
        match random.below(12) {
            0 => {
                device.flush().expect("a flush");
                promise.flushed();
            }
            1 | 2 => {
                world.on("r", Action::Suspend).expect("suspended");
                promise.flushed();
                if let Some(member) = lost.take() {
                    mend(kind, disks, member);
                }
                world.on("r", Action::Resume).expect("resumed");
                if random.one_in(2) {
                    until("equal", || lines(world, "r", true)[0].contains(&kind.equal()));
                }
            }
            3 | 6 if lost.is_none() => {
                until("equal", || lines(world, "r", true)[0].contains(&kind.equal()));
                let member = random.below(kind.members) as usize;
                let broken = if random.one_in(4) { member + kind.members as usize } else { member };
                let all = 0..disks[broken].spec.sectors;
                disks[broken].break_sectors(all, Errno::EIO);
                lost = Some(member);
                scatter(&device, &mut promise, random);
            }
            // All but one region are left alone, so that marks are taken back.
            4 | 5 => {
                let at = random.below(SIZE);
                for _ in 0..4 {
                    world.context.skip(Duration::from_secs(1));
                    let begun = promise.begin(at, 1);
                    device.write(at, &sectors_of(begun.version, 1)).expect("a write");
                    promise.end(begun, false);
                }
            }
            _ => scatter(&device, &mut promise, random),
        }
    }
    if let Some(member) = lost {
        mend(kind, disks, member);
    }
    promise
}

fn mend(kind: &Kind, disks: &[Arc<Disk>], member: usize) {
    disks[member].mend();
    disks[member + kind.members as usize].mend();
}

fn scatter(device: &Device, promise: &mut Promise, random: &mut Random) {
    let mut pending = Vec::new();
    let mut at = random.below(40);
    while at < SIZE {
        let count = random.within(1, (SIZE - at).min(30));
        let through = random.one_in(4);
        let begun = promise.begin(at, count);
        let data = sectors_of(begun.version, count);
        pending.push((device.begin(Op::Write, through, at, count, data), begun, through));
        at += count + random.below(90);
    }
    for (write, begun, through) in pending {
        write.wait().expect("a write");
        promise.end(begun, through);
    }
}

/// What is read of a member's metadata, in Linux's places.
#[derive(Debug)]
struct Meta<'a> {
    events: u64,
    failed: u64,
    recovered: u64,
    synced: u64,
    cleared: u64,
    bits: &'a [u8],
}

impl<'a> Meta<'a> {
    fn of(image: &'a [u8]) -> Self {
        assert_eq!(image[..4], *b"DmRd");
        let long = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().expect("eight"));
        let bitmap = &image[4096..];
        assert_eq!(bitmap[..8], *b"bitm\x04\0\0\0");
        Self {
            events: long(16),
            failed: long(24),
            recovered: long(32),
            synced: long(40),
            cleared: long(4096 + 32),
            bits: &bitmap[256..258],
        }
    }

    fn is_all_there(&self) -> bool {
        self.failed == 0 && self.recovered == u64::MAX
    }

    fn is_marked(&self, region: u64) -> bool {
        self.bits[region as usize / 8] >> (region % 8) & 1 == 1
    }
}

/// Checks what whoever opens the set next relies on. Gives the regions that are marked.
fn check_images(kind: &Kind, images: &[Vec<u8>], promise: &Promise, at: u64) -> u64 {
    let (data, metas) = images.split_at(kind.members as usize);
    let metas: Vec<Meta<'_>> = metas.iter().map(|image| Meta::of(image)).collect();
    let events = metas.iter().map(|meta| meta.events).max().expect("members");
    let fresh = metas.iter().find(|meta| meta.events == events).expect("it was found");
    let gone = |member: usize| fresh.failed >> member & 1 == 1;
    let live = |member: usize| !gone(member) && metas[member].recovered == u64::MAX;
    for sector in 0..SIZE {
        let region = sector / REGION;
        let places = (kind.places)(sector);
        let bytes = |(member, on): &(usize, u64)| &data[*member][*on as usize * 512..][..512];
        let there: Vec<_> = places.iter().filter(|(member, _)| live(*member)).collect();
        let first = bytes(there.first().expect("each sector has a copy in use"));
        for place in &places {
            let (member, on) = *place;
            let meta = &metas[member];
            let equal = if live(member) {
                promise.check(at, sector as usize, bytes(place), "member");
                let clean =
                    metas.iter().any(|meta| meta.events == events && meta.synced == u64::MAX);
                let mut newest = metas.iter().filter(|meta| meta.events == events);
                clean
                    || there.iter().any(|(member, _)| !metas[*member].is_marked(region))
                    || newest.any(|meta| !meta.is_marked(region))
            } else {
                let told = match gone(member) {
                    true => meta.events >= fresh.cleared,
                    false => on < meta.recovered,
                };
                told && !fresh.is_marked(region)
            };
            assert!(
                !equal || bytes(place) == first,
                "sector {sector} of member {member} differs at {at}: {}, not {}; {metas:x?}",
                version_of(bytes(place), String::new),
                version_of(first, String::new)
            );
        }
    }
    (0..REGIONS).filter(|region| fresh.is_marked(*region)).count() as u64
}

/// Opens what is left, sometimes with a new disk for a member; the power may go once more.
fn check_device(kind: &Kind, images: &[Vec<u8>], promise: &Promise, at: u64, random: &mut Random) {
    let world = World::new();
    let disks = kind.disks(&world, random.below(1 << 40));
    let members = kind.members as usize;
    let all = images[members..].iter().all(|image| Meta::of(image).is_all_there());
    let rebuild = (all && random.one_in(2)).then(|| random.below(kind.members) as usize);
    for (disk, image) in disks.iter().zip(images) {
        disk.set_bytes(0, image);
    }
    if let Some(member) = rebuild {
        disks[member].set_bytes(0, &vec![0xee; kind.each as usize * 512]);
    }
    disks.iter().for_each(|disk| disk.record());
    let device = world.create("r", &kind.table(&disks, rebuild));
    until("equal", || lines(&world, "r", true)[0].contains(&kind.equal()));
    let data = device.read(0, SIZE).expect("a read");
    for (sector, bytes) in data.chunks(512).enumerate() {
        promise.check(at, sector, bytes, "device");
    }
    drop(device);
    world.on("r", Action::Remove).expect("removed");
    let now: Vec<_> = disks.iter().map(|disk| disk.bytes()).collect();
    assert_eq!(check_images(kind, &now, promise, at), 0);
    for meta in &now[members..] {
        assert_eq!(Meta::of(meta).synced, u64::MAX);
    }
    let mut again = Outage::of(&disks);
    for moment in again.moments.clone() {
        again.cut(moment, random);
        // Until a superblock is written nobody knows of the new disk.
        let mut blocks = images[members..].iter().zip(&again.images[members..]);
        if rebuild.is_none() || blocks.any(|(before, now)| before[..512] != now[..512]) {
            check_images(kind, &again.images, promise, at);
        }
    }
}

fn run(kind: &Kind, seed: u64, usual: u64) {
    let mut random = Random::new(seed);
    let world = World::new();
    let disks = kind.disks(&world, seed);
    drop(world.create("r", &kind.table(&disks, None)));
    until("equal", || lines(&world, "r", true)[0].contains(&kind.equal()));
    disks.iter().for_each(|disk| disk.record());
    let promise = workload(kind, &world, &disks, &mut random);
    let mut outage = Outage::of(&disks);
    world.on("r", Action::Remove).expect("removed");
    let moments = outage.moments.clone();
    let (mut tried, mut recovered) = (0, 0);
    let mut check = |at, random: &mut Random, number: u64| {
        outage.cut(at, random);
        tried += 1;
        check_images(kind, &outage.images, &promise, at);
        if recovers(number, 200) {
            recovered += 1;
            check_device(kind, &outage.images, &promise, at, random);
        }
    };
    for (number, at) in moments.iter().enumerate() {
        check(*at, &mut random, number as u64 + 1);
    }
    for number in 0..cuts(usual) {
        let at = *random.pick(&moments);
        check(at, &mut random, number);
    }
    println!("{}, seed {seed}: {tried} power cuts, {recovered} recoveries", kind.words);
}

#[test]
fn a_raid1_keeps_what_it_promised_whenever_the_power_goes() {
    seeds(3, |seed| run(&KINDS[0], seed, 1000));
}

#[test]
fn a_raid10_keeps_what_it_promised_whenever_the_power_goes() {
    seeds(2, |seed| run(&KINDS[1], seed, 500));
}

#[test]
fn a_raid10_with_far_copies_keeps_what_it_promised_whenever_the_power_goes() {
    seeds(2, |seed| run(&KINDS[2], seed, 500));
}

#[test]
fn a_raid10_with_copies_at_an_offset_keeps_what_it_promised_whenever_the_power_goes() {
    seeds(2, |seed| run(&KINDS[3], seed, 500));
}
