//! Every small table: what reaches the disks covers each range once, in order, in its place.

use dm::kern::disk::Op;
use dm_protocol::SECTOR_SIZE;
use dm_tests::random::long;
use dm_tests::{Device, DiskSpec, World};
use std::fmt::Write as _;

/// Where a sector of the device lies: which disk, and where on it.
type Place = (usize, usize);

const DISK: u64 = 32;

/// A line of a table and the places of its sectors.
#[derive(Clone)]
struct Line {
    length: u64,
    target: String,
    places: Vec<Option<Place>>,
}

fn linear(length: u64, disk: usize, offset: u64) -> Line {
    let places = (0..length).map(|at| Some((disk, (offset + at) as usize))).collect();
    Line { length, target: format!("linear @{disk} {offset}"), places }
}

fn zero(length: u64) -> Line {
    Line { length, target: "zero".into(), places: vec![None; length as usize] }
}

fn striped(stripes: u64, chunk: u64, rows: u64) -> Line {
    let length = stripes * chunk * rows;
    let mut target = format!("striped {stripes} {chunk}");
    for leg in 0..stripes {
        let _ = write!(target, " @{leg} {leg}");
    }
    let place = |at: u64| {
        let (nr, within) = (at / chunk, at % chunk);
        let leg = nr % stripes;
        Some((leg as usize, (leg + nr / stripes * chunk + within) as usize))
    };
    Line { length, target, places: (0..length).map(place).collect() }
}

/// Runs `test` on a device of these lines, stacked `depth` times.
fn with_device(
    lines: &[Line],
    depth: usize,
    test: impl Fn(&World, &Device, &Disks, &[Option<Place>]),
) {
    let world = World::new();
    let disks = Disks((0..4).map(|_| world.disk_of(DiskSpec::new(DISK))).collect());
    let (mut at, mut table) = (0, String::new());
    for line in lines {
        let mut target = line.target.clone();
        for (nr, disk) in disks.0.iter().enumerate() {
            target = target.replace(&format!("@{nr}"), &disk.name());
        }
        let _ = writeln!(table, "{at} {} {target}", line.length);
        at += line.length;
    }
    world.try_create("d0", &table).expect("a good table");
    for level in 1..=depth {
        let half = at / 2;
        let below = format!("/dev/mapper/d{}", level - 1);
        let table = match half {
            0 => format!("0 {at} linear {below} 0"),
            _ => format!("0 {half} linear {below} 0\n{half} {} linear {below} {half}", at - half),
        };
        world.try_create(&format!("d{level}"), &table).expect("a layer");
    }
    let places: Vec<_> = lines.iter().flat_map(|line| line.places.clone()).collect();
    let device = world.open(&format!("d{depth}"));
    test(&world, &device, &disks, &places);
}

struct Disks(Vec<std::sync::Arc<dm_tests::Disk>>);

impl Disks {
    /// Fills each sector with a byte that names it.
    fn fill(&self) {
        for (nr, disk) in self.0.iter().enumerate() {
            let bytes: Vec<u8> =
                (0..DISK as usize * 512).map(|at| (nr * 64 + at / 512) as u8).collect();
            disk.set_bytes(0, &bytes);
        }
    }

    fn all(&self) -> Vec<Vec<u8>> {
        self.0.iter().map(|disk| disk.bytes()).collect()
    }
}

fn name((disk, sector): Place) -> u8 {
    (disk * 64 + sector) as u8
}

/// Tries every range of the device.
fn every_range(device: &Device, disks: &Disks, places: &[Option<Place>]) {
    let size = places.len();
    for at in 0..size {
        // The first sector alone, and all to the end: what is cut, and what is not.
        let step = if cfg!(miri) { size.saturating_sub(at + 1).max(1) } else { 1 };
        for count in (1..=size - at).step_by(step) {
            let range = &places[at..at + count];
            disks.fill();
            let read = device.read(at as u64, count as u64).expect("a read");
            for (sector, place) in read.chunks(512).zip(range) {
                let expected = place.map_or(0, name);
                assert!(sector.iter().all(|byte| *byte == expected), "{at}+{count}: {place:?}");
            }
            let mut expected = disks.all();
            let data: Vec<u8> = (0..count * 512).map(|at| 0x80 ^ (at / 512 + at) as u8).collect();
            for (nr, place) in range.iter().enumerate() {
                if let Some((disk, sector)) = place {
                    expected[*disk][sector * 512..][..512]
                        .copy_from_slice(&data[nr * 512..][..512]);
                }
            }
            device.write(at as u64, &data).expect("a write");
            assert!(disks.all() == expected, "a write of {at}+{count}");
            for (op, byte) in [(Op::WriteZeroes, 0), (Op::Discard, 0xdd)] {
                for (disk, sector) in range.iter().flatten() {
                    expected[*disk][sector * 512..][..512].fill(byte);
                }
                device.command(op, at as u64, count as u64).expect("no data");
                assert!(disks.all() == expected, "{op:?} of {at}+{count}");
            }
        }
    }
    let bytes = SECTOR_SIZE as usize;
    assert!(device.read(size as u64, 1).is_err(), "nothing lies behind the end");
    assert!(device.begin(Op::Write, false, 1, size as u64, vec![0; size * bytes]).wait().is_err());
}

fn lengths() -> std::ops::RangeInclusive<u64> {
    if cfg!(miri) { 2..=2 } else { 1..=3 }
}

#[test]
fn every_small_table_of_linear_and_zero_segments_maps_every_range() {
    let kinds: [fn(u64, u64) -> Line; 3] = [
        |length, nr| linear(length, 0, 1 + nr * 7),
        |length, nr| linear(length, 1, nr * 5),
        |length, _| zero(length),
    ];
    let one = |nr| lengths().flat_map(move |length| kinds.map(|kind| kind(length, nr)));
    for first in one(0) {
        with_device(std::slice::from_ref(&first), 0, |_, d, k, p| every_range(d, k, p));
        for second in one(1) {
            with_device(&[first.clone(), second.clone()], 0, |_, d, k, p| every_range(d, k, p));
            if cfg!(miri) {
                return;
            }
            for third in one(2).filter(|line| line.length < 2 || long()) {
                let lines = [first.clone(), second.clone(), third];
                with_device(&lines, 0, |_, d, k, p| every_range(d, k, p));
            }
        }
    }
}

#[test]
fn every_small_striped_table_maps_every_range() {
    let most = if cfg!(miri) { 2 } else { 4 };
    for stripes in 1..=most {
        for chunk in 1..=most {
            for rows in 1..=2 {
                if stripes * chunk * rows > 24 {
                    continue;
                }
                let line = striped(stripes, chunk, rows);
                with_device(&[line], 0, |_, d, k, p| every_range(d, k, p));
            }
        }
    }
}

#[test]
fn a_striped_segment_between_others_maps_every_range() {
    for chunk in 1..=3 {
        let lines = [linear(2, 3, 20), striped(3, chunk, 2), zero(1), striped(2, chunk, 1)];
        // The second striped segment would write where the first does.
        let lines = if cfg!(miri) { &lines[1..2] } else { &lines[..3] };
        with_device(lines, 0, |_, d, k, p| every_range(d, k, p));
    }
}

#[test]
fn stacked_devices_map_every_range() {
    for depth in 1..=3 {
        let lines = [linear(3, 3, 20), striped(2, 2, 2), zero(2)];
        let lines = if cfg!(miri) { &lines[1..2] } else { &lines[..] };
        with_device(lines, depth, |_, d, k, p| every_range(d, k, p));
    }
}

#[test]
fn a_discard_is_one_piece_a_stripe_however_long() {
    let line = striped(4, 2, 5);
    with_device(&[line], 1, |_, device, disks, places| {
        device.command(Op::Discard, 1, places.len() as u64 / 2 - 1).expect("in the lower half");
        let counts: Vec<u64> = disks.0.iter().map(|disk| disk.count(Op::Discard)).collect();
        assert_eq!(counts, [1, 1, 1, 1]);
    });
}
