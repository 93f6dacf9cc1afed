//! COW devices with something on them: stores of every kind, and what is none.

use crate::pattern::{check, put, status, table};
use crate::store::Store;
use dm_protocol::{Action, Errno, Flags};
use dm_tests::{Disk, DiskSpec, World};
use std::sync::Arc;

/// A store with these entries, in chunks of 2 sectors.
fn image(entries: &[(u64, u64)], valid: bool) -> Vec<u8> {
    let mut bytes = vec![0; 160 * 512];
    bytes[..4].copy_from_slice(b"SnAp");
    bytes[4] = u8::from(valid);
    (bytes[8], bytes[12]) = (1, 2);
    for (at, (old, new)) in entries.iter().enumerate() {
        bytes[1024 + at * 16..][..8].copy_from_slice(&old.to_le_bytes());
        bytes[1032 + at * 16..][..8].copy_from_slice(&new.to_le_bytes());
    }
    bytes
}

struct Setup {
    world: World,
    cow: Arc<Disk>,
}

/// An origin of 128 sectors of stream 1 and a COW device.
fn setup(spec: DiskSpec, bytes: &[u8]) -> Setup {
    let world = World::new();
    let (origin, cow) = (world.disk(128), world.disk_of(spec));
    let base = world.create("base", &format!("0 128 linear {} 0", origin.name()));
    put(&base, 1, 0, 128);
    cow.set_bytes(0, bytes);
    Setup { world, cow }
}

impl Setup {
    fn create(&self, kind: &str, how: &str) -> Result<(), dm_protocol::Failure> {
        let line = format!("0 128 {kind} /dev/mapper/base {} {how}", self.cow.name());
        self.world.try_create("s", &line).map(drop)
    }

    fn refused(&self, how: &str, errno: Errno, why: &str) {
        let failure = self.create("snapshot", how).expect_err(why);
        assert!(failure.errno == errno && failure.message.contains(why), "{how}: {failure:?}");
    }
}

#[test]
fn arguments_are_refused_with_a_reason() {
    let Setup { world, cow } = setup(DiskSpec::new(160), &[]);
    let cow = cow.name();
    for (line, why) in [
        ("snapshot".to_owned(), "argument 1 (device) is missing"),
        ("snapshot /dev/mapper/base".into(), "argument 2 (device) is missing"),
        (format!("snapshot /dev/mapper/base {cow}"), "argument 3 (store) is missing"),
        (format!("snapshot /dev/mapper/base {cow} Q 8"), "\"Q\": is not P, PO or N"),
        (format!("snapshot /dev/mapper/base {cow} P"), "argument 4 (chunk) is missing"),
        (format!("snapshot /dev/mapper/base {cow} P 12"), "\"12\": is not a power of two"),
        (format!("snapshot /dev/mapper/base {cow} N 0"), "\"0\": is not a power of two"),
        (format!("snapshot /dev/mapper/base {cow} P 4194304"), "is not from 0 to 2097152"),
        (format!("snapshot /dev/mapper/base {cow} P 8 1"), "argument 6 (feature) is missing"),
        (format!("snapshot /dev/mapper/base {cow} P 8 1 x"), "\"x\": is no feature"),
        (format!("snapshot /dev/mapper/base {cow} P 8 3"), "is not from 0 to 2"),
        (format!("snapshot /dev/mapper/base {cow} P 8 0 x"), "is one too many"),
        (
            format!("snapshot /dev/mapper/base {cow} P 8 1 discard_passdown_origin"),
            "needs discard_zeroes_cow, too",
        ),
        ("snapshot /dev/mapper/base /dev/mapper/base P 8".into(), "is the origin itself"),
        (format!("snapshot-merge /dev/mapper/base {cow} N 8"), "is no store that can be merged"),
        ("snapshot-origin".into(), "argument 1 (device) is missing"),
        ("snapshot-origin /dev/mapper/base 0".into(), "is one too many"),
        ("snapshot-origin /dev/mapper/none".into(), "/dev/mapper/none"),
    ] {
        let failure = world.try_create("s", &format!("0 128 {line}")).expect_err(why);
        assert!(failure.message.contains(why), "{line}: {failure:?}");
    }
    let long = format!("0 136 snapshot /dev/mapper/base {cow} P 8");
    let failure = world.try_create("s", &long).expect_err("longer than its origin");
    assert!(failure.message.contains("136 sectors from 0 on are beyond"), "{failure:?}");
}

#[test]
fn what_is_no_store_is_refused() {
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = image(&[(5, 2)], true);
        change(&mut bytes);
        setup(DiskSpec::new(160), &bytes)
    };
    with(&|bytes| bytes[0] = b'X').refused("P 2", Errno::ENXIO, "something else");
    with(&|bytes| bytes[8] = 9).refused("P 2", Errno::EINVAL, "version 9");
    with(&|bytes| bytes[12] = 3).refused("P 2", Errno::EINVAL, "chunks of 3 sectors");
    with(&|bytes| bytes[13] = 1).refused("P 2", Errno::EINVAL, "chunks of 258 sectors");
    let entries = |entries: &[(u64, u64)]| setup(DiskSpec::new(160), &image(entries, true));
    entries(&[(5, 80)]).refused("P 2", Errno::EINVAL, "chunk 5, copied to 80, is beyond its end");
    entries(&[(5, 66)]).refused("P 2", Errno::EINVAL, "is where metadata lies");
    entries(&[(5, 2), (5, 3)]).refused("P 2", Errno::EINVAL, "is the second for that chunk");
    entries(&[(u64::MAX, 2)]).refused("P 2", Errno::EINVAL, "is beyond every origin");
    let full: Vec<(u64, u64)> = (0..64).map(|nr| (nr, nr + 2)).collect();
    let setup = setup(DiskSpec::new(132), &image(&full, true)[..132 * 512]);
    setup.refused("P 2", Errno::EINVAL, "goes on beyond its end");
}

#[test]
fn a_device_without_room_for_a_store_is_refused() {
    setup(DiskSpec::new(15), &[]).refused("P 8", Errno::EINVAL, "two chunks of 8 are needed");
    let smallest = setup(DiskSpec::new(16), &[]);
    smallest.create("snapshot", "P 8").expect("a store without room for a copy");
    assert_eq!(status(&smallest.world, "s"), "0 128 snapshot 16/16 16");
    let origin = smallest.world.create("o", "0 128 snapshot-origin /dev/mapper/base");
    put(&origin, 2, 0, 1);
    assert_eq!(status(&smallest.world, "s"), "0 128 snapshot Invalid");
}

#[test]
fn a_table_says_which_chunks_the_device_has() {
    let setup = setup(DiskSpec::new(160), &image(&[(5, 2)], true));
    setup.create("snapshot", "P 8").expect("a snapshot");
    assert!(table(&setup.world, "s").ends_with(" P 2"));
    assert_eq!(status(&setup.world, "s"), "0 128 snapshot 6/160 4");
    let device = setup.world.open("s");
    check(&device, 1, 0, 10);
    assert!(device.read(10, 2).expect("a read") == [0; 1024]);
}

#[test]
fn a_chunk_that_nobody_names_is_that_of_linux() {
    let default = setup(DiskSpec::new(160), &[]);
    default.create("snapshot", "p 0").expect("a snapshot");
    assert!(table(&default.world, "s").ends_with(" P 32"));
    assert_eq!(&default.cow.bytes()[..16], b"SnAp\x01\0\0\0\x01\0\0\0\x20\0\0\0");
}

#[test]
fn a_new_store_is_written_when_it_is_used_not_when_it_is_loaded() {
    let Setup { world, cow } = setup(DiskSpec::new(160), &[0; 4]);
    cow.set_bytes(4, &vec![0xab; 160 * 512 - 4]);
    let before = cow.bytes();
    world.make("s").expect("a device");
    let line = format!("0 128 snapshot /dev/mapper/base {} P 2", cow.name());
    world.load("s", &line).expect("a table");
    assert!(cow.bytes() == before, "a load changes nothing");
    world.on("s", Action::Resume).expect("a resume");
    assert!(matches!(Store::read(&cow.bytes()), Store::Valid { chunk: 2, .. }));
    assert!(cow.bytes()[4 * 512..] == before[4 * 512..], "nor is anything else written");
}

#[test]
fn an_invalid_snapshot_stays_invalid_and_fails_every_request() {
    let setup = setup(DiskSpec::new(160), &image(&[(5, 2)], false));
    setup.create("snapshot", "P 2").expect("it is loaded");
    assert_eq!(status(&setup.world, "s"), "0 128 snapshot Invalid");
    let device = setup.world.open("s");
    assert_eq!(device.read(0, 1), Err(Errno::EIO));
    assert_eq!(device.write(0, &[0; 512]), Err(Errno::EIO));
    device.flush().expect("there is nothing to flush");
    let origin = setup.world.create("o", "0 128 snapshot-origin /dev/mapper/base");
    put(&origin, 2, 0, 128);
    check(&origin, 2, 0, 128);
}

#[test]
fn merging_what_is_invalid_gives_the_origin() {
    let setup = setup(DiskSpec::new(160), &image(&[(5, 2)], false));
    setup.create("snapshot-merge", "P 2").expect("it is loaded");
    assert_eq!(status(&setup.world, "s"), "0 128 snapshot-merge Invalid");
    let device = setup.world.open("s");
    check(&device, 1, 0, 128);
    put(&device, 2, 0, 64);
    check(&setup.world.open("base"), 2, 0, 64);
}

#[test]
fn entries_behind_the_end_never_come_back() {
    // 31 entries, the end, and what a torn write left in the next sector.
    let mut entries: Vec<(u64, u64)> = (0..31).map(|nr| (nr, nr + 2)).collect();
    entries.extend([(0, 0), (40, 60), (41, 61)]);
    let bytes = image(&entries, true);
    let setup = setup(DiskSpec::new(160), &bytes);
    setup.create("snapshot", "P 2").expect("a snapshot");
    // The entry that fills the first sector.
    let origin = setup.world.create("o", "0 128 snapshot-origin /dev/mapper/base");
    put(&origin, 2, 62, 2);
    let Store::Valid { copies, .. } = Store::read(&setup.cow.bytes()) else { panic!("valid") };
    assert_eq!(copies.len(), 32, "{copies:?}");
    assert_eq!(copies.get(&31), Some(&33));
    check(&setup.world.open("s"), 1, 80, 4);
}

#[test]
fn a_read_only_snapshot_saves_what_its_origin_loses() {
    let Setup { world, cow } = setup(DiskSpec::new(160), &[]);
    world.make("s").expect("a device");
    let line = format!("0 128 snapshot /dev/mapper/base {} P 8", cow.name());
    let table = dm_tests::specs(&line);
    let reload = Action::Reload { table, dry_run: false };
    world.on_with("s", reload, Flags::EXISTS | Flags::READONLY).expect("a table");
    world.on("s", Action::Resume).expect("a resume");
    let origin = world.create("o", "0 128 snapshot-origin /dev/mapper/base");
    put(&origin, 2, 0, 128);
    let minor = world.driver().minor_of("s").expect("it is there");
    let opened = world.driver().open(minor, false).expect("for reading");
    check(&dm_tests::Device::new(opened, Arc::clone(&world.context)), 1, 0, 128);
}

#[test]
fn large_sectors_bound_the_chunks() {
    let Setup { world, cow } = setup(DiskSpec::new(160).big_sectors(), &[]);
    let line = |how: &str| format!("0 128 snapshot /dev/mapper/base {} {how}", cow.name());
    let failure = world.try_create("s", &line("P 4")).expect_err("half a sector");
    assert!(failure.message.contains("is no multiple of 8"), "{failure:?}");
    let device = world.create("s", &line("P 8"));
    let origin = world.create("o", "0 128 snapshot-origin /dev/mapper/base");
    put(&origin, 2, 3, 50);
    put(&device, 3, 64, 8);
    check(&device, 1, 0, 64);
    check(&device, 3, 64, 8);
    assert!(matches!(Store::read(&cow.bytes()), Store::Valid { chunk: 8, .. }));
}

#[test]
#[cfg_attr(miri, ignore = "too much memory for an interpreter")]
fn chunks_of_every_size_of_linux_keep_what_the_origin_loses() {
    for shift in 0..=21 {
        for kind in ["P", "PO", "N"] {
            let chunk = 1_u64 << shift;
            // A new store clears two chunks, which would be gigabytes.
            if kind != "N" && shift > 14 {
                continue;
            }
            let metadata = match (kind, chunk) {
                ("N", _) => 0,
                (_, 1) => 8,
                _ => 3,
            };
            let room = (130_u64.div_ceil(chunk) + metadata) * chunk;
            let Setup { world, cow } = setup(DiskSpec::new(room), &[]);
            let line = format!("0 128 snapshot /dev/mapper/base {} {kind} {chunk}", cow.name());
            let device = world.create("s", &line);
            let origin = world.create("o", "0 128 snapshot-origin /dev/mapper/base");
            put(&origin, 2, 3, 100);
            put(&device, 3, 90, 30);
            check(&origin, 2, 3, 100);
            check(&device, 1, 0, 90);
            check(&device, 3, 90, 30);
            check(&device, 1, 120, 8);
            assert!(table(&world, "s").ends_with(&format!(" {kind} {chunk}")));
            if kind != "N" {
                drop(device);
                world.on("s", Action::Remove).expect("removed");
                let device = world.create("s", &line);
                check(&device, 1, 0, 90);
                check(&device, 3, 90, 30);
                let Store::Valid { chunk: found, .. } = Store::read(&cow.bytes()) else {
                    panic!("no store with chunks of {chunk}");
                };
                assert_eq!(found as u64, chunk);
            }
        }
    }
}
