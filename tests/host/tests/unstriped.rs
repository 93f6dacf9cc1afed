//! unstriped: one stripe of a striped device, for every small shape of it.

use dm::kern::disk::Op;
use dm_protocol::Errno;
use dm_tests::World;
use dm_tests::snapshot::{lines, refuses};

#[test]
fn table_and_status_print_what_linux_prints() {
    let world = World::new();
    let disk = world.disk(256);
    world.try_create("u", &format!("0 64 unstriped 3 16 1 {} 5", disk.name())).expect("a table");
    assert_eq!(lines(&world, "u", false), [format!("0 64 unstriped 3 16 1 {} 5", disk.devno())]);
    assert_eq!(lines(&world, "u", true), ["0 64 unstriped "]);
}

#[test]
fn wrong_arguments_are_refused_with_a_reason_and_change_nothing() {
    let world = World::new();
    let disk = world.disk(96);
    let big = world.disk_of(dm_tests::DiskSpec::new(96).big_sectors());
    for (words, why) in [
        ("2 16", "argument 3 (stripe) is missing"),
        ("0 16 0 @ 0", "argument 1 (stripes) \"0\": is not from 1"),
        ("2 0 0 @ 0", "argument 2 (chunk) \"0\": is not from 1"),
        ("2 16 2 @ 0", "argument 3 (stripe) \"2\": is not from 0 to 1"),
        ("2 24 0 @ 0", "32 sectors cannot be divided into chunks of 24"),
        ("4294967295 1 4294967294 @ 0", "are beyond"),
        ("2 16 1 @ 33", "64 sectors from 33 on are beyond"),
        ("2 16 1 @", "argument 5 (offset) is missing"),
        ("2 16 1 @ 0 9", "is one too many"),
        ("2 4 1 & 0", "a chunk of 4 is no multiple of its sectors, which have 8"),
        ("2 16 1 mem:0 0", "there is no disk"),
    ] {
        let words = words.replace('@', &disk.name()).replace('&', &big.name());
        refuses(&world, &format!("0 32 unstriped {words}"), why);
    }
}

#[test]
fn a_stripe_that_ends_with_the_device_is_taken_and_one_sector_more_is_not() {
    let world = World::new();
    let disk = world.disk(96);
    // Rows 0 and 1 of stripe 1 end at the last sector.
    world.try_create("u", &format!("0 32 unstriped 3 16 1 {} 16", disk.name())).expect("it fits");
    let failure = world.try_create("v", &format!("0 32 unstriped 3 16 1 {} 17", disk.name()));
    assert_eq!(failure.expect_err("it does not").errno, Errno::EINVAL);
}

#[test]
fn every_small_stripe_holds_what_its_disk_holds() {
    let sizes = if cfg!(miri) { 2..4 } else { 1..5 };
    let chunks = |stripes| sizes.clone().map(move |chunk| (stripes, chunk));
    for (stripes, chunk) in sizes.clone().flat_map(chunks) {
        let world = World::new();
        let rows = 3;
        let disks: Vec<_> = (0..stripes).map(|_| world.disk(chunk * rows)).collect();
        for (nr, disk) in disks.iter().enumerate() {
            let bytes = (0..chunk * rows).flat_map(|at| [(nr * 50) as u8 + at as u8 + 1; 512]);
            disk.set_bytes(0, &bytes.collect::<Vec<u8>>());
        }
        let legs: Vec<_> = disks.iter().map(|disk| format!("{} 0", disk.name())).collect();
        let length = stripes * chunk * rows;
        let striped = format!("0 {length} striped {stripes} {chunk} {}", legs.join(" "));
        world.try_create("s", &striped).expect("a striped device");
        for (nr, disk) in disks.iter().enumerate() {
            let name = format!("u{nr}");
            let table = format!("unstriped {stripes} {chunk} {nr} /dev/mapper/s 0");
            let device = world.create(&name, &format!("0 {} {table}", chunk * rows));
            assert!(device.read(0, chunk * rows).expect("a read") == disk.bytes());
            for at in 0..chunk * rows {
                let one = device.read(at, 1).expect("a sector");
                assert!(one == disk.bytes()[at as usize * 512..][..512], "{name} sector {at}");
            }
            device.write(1, &[0xee; 1024]).expect("a write");
            assert_eq!(disk.bytes()[512..1536], [0xee; 1024]);
            device.command(Op::Discard, 0, chunk * rows).expect("a discard");
            assert!(disk.bytes().iter().all(|byte| *byte == 0xdd), "{name} is discarded");
        }
    }
}
