//! Finding the segment of a sector, and the device of a segment, among many.

use dm::index::{Found, Index};
use dm_tests::World;
use dm_tests::random::Random;
use std::fmt::Write as _;

/// Finds the first and the last sector of each range, and nothing behind the last one.
fn all_are_found(ranges: &[(u64, u64)]) {
    let index = Index::new(ranges);
    let count = ranges.len();
    let mut start = 0;
    for (nr, (end, note)) in ranges.iter().copied().enumerate() {
        for at in [start, end - 1] {
            assert_eq!(index.find(at), Some(Found { nr, end, note }), "{at} of {count}");
        }
        start = end;
    }
    for beyond in [start, start + 1, u64::MAX - 1] {
        assert_eq!(index.find(beyond), None, "{beyond} of {count}");
    }
}

#[test]
fn every_end_of_every_small_number_of_ranges_is_found() {
    let mut random = Random::new(7);
    // Keys of one kind up to 2^32, of another beyond.
    for unit in [1, 1 << 33] {
        let (few, many): (_, &[u64]) = match cfg!(miri) {
            true => (0..20, &[257]),
            false => (0..300, &[511, 512, 513, 4095, 4096, 4097]),
        };
        for count in few.chain(many.iter().copied()) {
            let mut end = 0;
            let mut range = |nr: u64| {
                end += random.within(1, 5) * unit;
                (end, nr * 3)
            };
            all_are_found(&(0..count).map(&mut range).collect::<Vec<_>>());
        }
    }
}

#[test]
fn devices_around_the_largest_short_end_are_searched_to_their_end() {
    for last in [u32::MAX - 1, u32::MAX].map(u64::from).into_iter().chain([1 << 32, 1 << 55]) {
        let counts: &[u64] = if cfg!(miri) { &[1, 2, 17] } else { &[1, 2, 16, 17, 256, 257] };
        for count in counts.iter().copied() {
            let range = |nr| (last - (count - 1 - nr), nr);
            all_are_found(&(0..count).map(range).collect::<Vec<_>>());
        }
    }
}

/// More devices than the index has numbers for; each sector is found on its own one.
#[test]
fn sectors_of_many_devices_are_read_where_they_are() {
    const DISKS: usize = if cfg!(miri) { 20 } else { 600 };
    let world = World::new();
    let disks: Vec<_> = (0..DISKS).map(|_| world.disk(16)).collect();
    let mut table = String::new();
    let mut start = 0;
    for (nr, disk) in disks.iter().enumerate() {
        let (length, offset) = (1 + nr % 7, nr % 5);
        writeln!(table, "{start} {length} linear {} {offset}", disk.name()).unwrap();
        for sector in 0..16 {
            let mark = [(nr % 256) as u8, (nr / 256) as u8, sector as u8];
            disk.set_bytes(sector * 512, &mark);
        }
        start += length;
    }
    let device = world.create("many", &table);
    let mut at = 0;
    for nr in 0..DISKS {
        for within in 0..1 + nr % 7 {
            let data = device.read(at, 1).unwrap();
            let mark = [(nr % 256) as u8, (nr / 256) as u8, (within + nr % 5) as u8];
            assert_eq!(data[..3], mark, "sector {at}, disk {nr}");
            at += 1;
        }
    }
    // A read over all of them.
    let all = device.read(0, at).unwrap();
    assert_eq!(all.len() as u64, at * 512);
    assert_eq!(all[all.len() - 512], ((DISKS - 1) % 256) as u8);
}
