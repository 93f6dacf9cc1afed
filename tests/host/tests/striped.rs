//! striped: parameters, what it prints, refusals, I/O, dead legs.

use dm::kern::disk::Op;
use dm_protocol::{Action, Errno, Reply};
use dm_tests::snapshot::{everything, lines};
use dm_tests::{DiskSpec, World};

#[test]
fn table_and_status_print_what_linux_prints() {
    let world = World::new();
    let disks = [world.disk(4096), world.disk(4096), world.disk(4096)];
    let [a, b, c] = [0, 1, 2].map(|nr: usize| disks[nr].name());
    let table = format!("0 3072 striped 3 16 {a} 1024 {b} 0 {c} 512");
    world.try_create("str3", &table).expect("a good table");
    let [a, b, c] = [0, 1, 2].map(|nr: usize| disks[nr].devno());
    let printed = [format!("0 3072 striped 3 16 {a} 1024 {b} 0 {c} 512")];
    assert_eq!(lines(&world, "str3", false), printed);
    assert_eq!(lines(&world, "str3", true), [format!("0 3072 striped 3 {a} {b} {c} 1 AAA")]);
}

#[test]
fn wrong_parameters_are_refused_with_a_sentence() {
    let world = World::new();
    let disk = world.disk(100);
    let n = disk.name();
    let cases = [
        ("0 8 striped".to_owned(), "argument 1 (stripes) is missing"),
        (format!("0 8 striped 0 8 {n} 0"), "argument 1 (stripes) \"0\": is not from 1 to"),
        ("0 8 striped 1".to_owned(), "argument 2 (chunk) is missing"),
        (format!("0 8 striped 1 0 {n} 0"), "argument 2 (chunk) \"0\": is not from 1 to"),
        (format!("0 8 striped x 8 {n} 0"), "argument 1 (stripes) \"x\": is not a decimal"),
        (format!("0 8 striped 3 1 {n} 0 {n} 8 {n} 16"), "cannot be divided into 3 stripes"),
        (format!("0 8 striped 2 3 {n} 0 {n} 8"), "cannot be divided into chunks of 3"),
        (format!("0 8 striped 2 4 {n} 0"), "2 stripes need 4 words behind the chunk, not 2"),
        (format!("0 8 striped 1 8 {n} 0 {n}"), "1 stripes need 2 words behind the chunk, not 3"),
        (format!("0 8 striped 1 8 {n} 93"), "8 sectors from 93 on are beyond"),
        (format!("0 4294967295 striped 4294967295 1 {n} 0"), "need 8589934590 words"),
    ];
    let before = everything(&world);
    for (table, why) in cases {
        let failure = world.try_create("s", &table).expect_err(&table);
        assert_eq!(failure.errno, Errno::EINVAL, "{table}");
        assert!(failure.message.contains(why), "{table}: {}", failure.message);
        assert_eq!(everything(&world), before);
    }
    let failure = world.try_create("s", "0 8 striped 1 8 mem:0 0").expect_err("no disk");
    assert_eq!(failure.errno, Errno::ENOENT);
}

#[test]
fn a_chunk_smaller_than_the_disks_sectors_is_refused() {
    let world = World::new();
    let disk = world.disk_of(DiskSpec::new(128).big_sectors());
    let table = format!("0 16 striped 1 4 {} 0", disk.name());
    let failure = world.try_create("s", &table).expect_err("chunks of half a sector");
    assert_eq!(failure.errno, Errno::EINVAL);
}

#[test]
fn chunks_go_to_the_stripes_in_turn() {
    let world = World::new();
    let disks = [world.disk(64), world.disk(64)];
    let table = format!("0 32 striped 2 4 {} 1 {} 2", disks[0].name(), disks[1].name());
    let device = world.create("s", &table);
    let data: Vec<u8> = (0..32 * 512).map(|n| (n / 512) as u8 + 1).collect();
    device.write(0, &data).expect("a write");
    let held = |disk: usize, at: usize| disks[disk].bytes()[at * 512];
    for sector in 0..32 {
        let (chunk, within) = (sector / 4, sector % 4);
        let at = chunk / 2 * 4 + within + 1 + chunk % 2;
        assert_eq!(held(chunk % 2, at), sector as u8 + 1, "sector {sector}");
    }
    assert_eq!(device.read(0, 32).expect("a read"), data);
    assert_eq!(disks[0].count(Op::Write), 4, "a write a chunk");
}

#[test]
fn a_long_discard_falls_into_one_piece_a_stripe() {
    let world = World::new();
    let disks = [world.disk(64), world.disk(64), world.disk(64)];
    let [a, b, c] = [0, 1, 2].map(|nr: usize| disks[nr].name());
    let device = world.create("s", &format!("0 48 striped 3 2 {a} 0 {b} 0 {c} 0"));
    device.command(Op::WriteZeroes, 3, 40).expect("zeroes");
    device.command(Op::Discard, 0, 1).expect("a discard");
    let counts = |op| disks.each_ref().map(|disk| disk.count(op));
    assert_eq!(counts(Op::WriteZeroes), [1, 1, 1]);
    assert_eq!(counts(Op::Discard), [1, 0, 0]);
}

fn event_nr(world: &World) -> u32 {
    world.on("s", Action::Info).map(|reply: Reply| reply.event_nr).expect("info")
}

#[test]
fn a_leg_with_an_error_shows_as_dead_and_raises_one_event() {
    let world = World::new();
    let disks = [world.disk(64), world.disk(64)];
    let (a, b) = (disks[0].name(), disks[1].name());
    let device = world.create("s", &format!("0 32 striped 2 4 {a} 0 {b} 0"));
    let before = event_nr(&world);
    disks[1].break_sectors(0..64, Errno::EIO);
    for _ in 0..3 {
        assert_eq!(device.read(0, 32), Err(Errno::EIO));
    }
    let (a, b) = (disks[0].devno(), disks[1].devno());
    assert_eq!(lines(&world, "s", true), [format!("0 32 striped 2 {a} {b} 1 AD")]);
    assert_eq!(event_nr(&world), before + 1);
}

#[test]
fn a_failed_discard_is_blamed_on_the_leg_that_failed() {
    let world = World::new();
    let disks = [world.disk(64), world.disk(64)];
    let (a, b) = (disks[0].name(), disks[1].name());
    let device = world.create("s", &format!("0 32 striped 2 4 {a} 0 {b} 0"));
    disks[1].break_sectors(0..64, Errno::EIO);
    assert_eq!(device.command(Op::Discard, 0, 32), Err(Errno::EIO));
    let (a, b) = (disks[0].devno(), disks[1].devno());
    assert_eq!(lines(&world, "s", true), [format!("0 32 striped 2 {a} {b} 1 AD")]);
}

#[test]
fn a_leg_that_cannot_discard_is_not_dead() {
    let world = World::new();
    let disks = [world.disk(64), world.disk(64)];
    let (a, b) = (disks[0].name(), disks[1].name());
    let device = world.create("s", &format!("0 32 striped 2 4 {a} 0 {b} 0"));
    disks[1].break_sectors(0..64, Errno::EOPNOTSUPP);
    assert_eq!(device.command(Op::Discard, 0, 32), Err(Errno::EOPNOTSUPP));
    let (a, b) = (disks[0].devno(), disks[1].devno());
    assert_eq!(lines(&world, "s", true), [format!("0 32 striped 2 {a} {b} 1 AA")]);
}
