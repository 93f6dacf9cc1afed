//! flakey: times, each feature, random damage that repeats, copies and their waiting.

use dm::kern::disk::Op;
use dm_protocol::{Action, Errno, Flags};
use dm_tests::snapshot::{lines, refuses};
use dm_tests::{Device, Disk, DiskSpec, Mode, World};
use std::sync::Arc;
use std::time::Duration;

const SIZE: u64 = 64;

/// A flakey device over a disk of fives, from sector 4 on.
fn flakey_on(world: &World, spec: DiskSpec, words: &str) -> (Arc<Disk>, Device) {
    let disk = world.disk_of(spec);
    disk.set_bytes(0, &vec![5; disk.bytes().len()]);
    let device = world.create("f", &format!("0 {SIZE} flakey {} 4 {words}", disk.name()));
    (disk, device)
}

fn flakey(world: &World, words: &str) -> (Arc<Disk>, Device) {
    flakey_on(world, DiskSpec::new(SIZE + 4), words)
}

/// Places and values of bytes that are not `usual`.
fn odd(bytes: &[u8], usual: u8) -> Vec<(usize, u8)> {
    let places = bytes.iter().copied().enumerate();
    places.filter(|(_, byte)| *byte != usual).collect()
}

#[test]
fn table_and_status_print_what_linux_prints() {
    for (words, shown) in [
        ("60 1", "60 1 2 error_reads error_writes"),
        ("0 1 0", "0 1 2 error_reads error_writes"),
        ("0 1 2 Error_Writes error_reads", "0 1 2 error_reads error_writes"),
        ("0 1 1 drop_writes", "0 1 1 drop_writes"),
        ("0 1 5 corrupt_bio_byte 32 R 1 0", "0 1 5 corrupt_bio_byte 32 r 1 0"),
        ("0 1 2 random_read_corrupt 0", "0 1 2 error_reads error_writes"),
        (
            "7 1 8 seed 9 random_write_corrupt 5 random_read_corrupt 4 error_reads drop_writes",
            "7 1 8 error_reads drop_writes random_read_corrupt 4 random_write_corrupt 5 seed 9",
        ),
    ] {
        let world = World::new();
        let (disk, _device) = flakey(&world, words);
        let shown = format!("0 {SIZE} flakey {} 4 {shown}", disk.devno());
        assert_eq!(lines(&world, "f", false), [shown]);
        assert_eq!(lines(&world, "f", true), [format!("0 {SIZE} flakey ")]);
    }
}

#[test]
fn wrong_arguments_are_refused_with_a_reason_and_change_nothing() {
    let world = World::new();
    let disk = world.disk(SIZE);
    for (words, why) in [
        ("@ 0 1", "argument 4 (down) is missing"),
        ("@ 1 1 1", "64 sectors from 1 on are beyond"),
        ("@ 0 0 0", "argument 4 (down) \"0\": leaves no time at all"),
        ("@ 0 4294967295 1", "argument 4 (down) \"1\": is not from 0 to 0"),
        ("@ 0 1 1 1", "argument 5 (features) \"1\": is not from 0 to 0"),
        ("@ 0 1 1 1 sing", "argument 6 (feature) \"sing\": is no feature"),
        ("@ 0 1 1 0 drop_writes", "is one too many"),
        ("@ 0 1 1 2 drop_writes drop_writes", "is there twice"),
        ("@ 0 1 1 2 drop_writes error_writes", "is there twice, or writes are both"),
        ("@ 0 1 1 2 error_reads error_reads", "is there twice"),
        ("@ 0 1 1 4 corrupt_bio_byte 1 r 1", "needs 4 more of the features' words"),
        ("@ 0 1 1 4 corrupt_bio_byte 1 r 1 0", "needs 4 more of the features' words"),
        ("@ 0 1 1 5 corrupt_bio_byte 0 r 1 0", "(byte) \"0\": is not from 1"),
        ("@ 0 1 1 5 corrupt_bio_byte 1 x 1 0", "(direction) \"x\": is neither r nor w"),
        ("@ 0 1 1 5 corrupt_bio_byte 1 r 256 0", "(value) \"256\": is not from 0 to 255"),
        ("@ 0 1 1 6 drop_writes corrupt_bio_byte 1 w 1 0", "damages writes that are dropped"),
        ("@ 0 1 1 2 random_read_corrupt 1000000001", "is not from 0 to 1000000000"),
        ("@ 0 1 1 1 seed", "needs 1 more of the features' words"),
    ] {
        let words = words.replace('@', &disk.name());
        refuses(&world, &format!("0 64 flakey {words}"), why);
    }
}

#[test]
fn good_and_bad_times_take_turns() {
    let world = World::new();
    let (disk, device) = flakey(&world, "10 20");
    for round in 0..3 {
        device.write(0, &[round + 1; 512]).expect("good");
        assert_eq!(device.read(0, 1).expect("good"), [round + 1; 512]);
        world.context.skip(Duration::from_secs(10));
        assert_eq!(device.read(0, 1), Err(Errno::EIO));
        assert_eq!(device.write(0, &[9; 512]), Err(Errno::EIO));
        assert_eq!(device.flush(), Err(Errno::EIO));
        assert_eq!(device.command(Op::Discard, 0, 8), Err(Errno::EIO));
        assert_eq!(device.command(Op::WriteZeroes, 0, 8), Err(Errno::EIO));
        world.context.skip(Duration::from_secs(20));
        device.flush().expect("good again");
        assert_eq!(disk.bytes()[4 * 512], round + 1);
    }
}

#[test]
fn dropped_writes_succeed_and_reach_nothing() {
    let world = World::new();
    let (disk, device) = flakey(&world, "0 60 1 drop_writes");
    device.write(0, &[1; 64 * 512]).expect("dropped");
    device.write_fua(0, &[1; 512]).expect("dropped");
    for op in [Op::Discard, Op::WriteZeroes] {
        device.command(op, 0, 64).expect("dropped");
    }
    device.flush().expect("dropped");
    assert_eq!(device.read(0, 64).expect("a read"), vec![5; 64 * 512]);
    let counts = Op::ALL.map(|op| disk.count(op));
    assert_eq!(counts, [1, 0, 0, 0, 0], "one read");
}

#[test]
fn only_writes_or_only_reads_fail() {
    let world = World::new();
    let (_disk, device) = flakey(&world, "0 60 1 error_writes");
    assert_eq!(device.write(0, &[1; 512]), Err(Errno::EIO));
    assert_eq!(device.flush(), Err(Errno::EIO));
    assert_eq!(device.read(0, 1).expect("a read"), [5; 512]);
    let world = World::new();
    let (disk, device) = flakey(&world, "0 60 1 error_reads");
    device.write(0, &[1; 512]).expect("a write");
    device.flush().expect("a flush");
    assert_eq!(device.read(0, 1), Err(Errno::EIO));
    assert_eq!(disk.count(Op::Read), 0);
}

#[test]
fn one_byte_of_each_read_is_replaced() {
    let world = World::new();
    let (_disk, device) = flakey(&world, "0 60 5 corrupt_bio_byte 600 r 77 0");
    assert_eq!(odd(&device.read(0, 64).expect("a read"), 5), [(599, 77)]);
    assert_eq!(odd(&device.read(9, 2).expect("a read"), 5), [(599, 77)]);
    assert_eq!(odd(&device.read(9, 1).expect("a read"), 5), [], "it is too short");
    device.write(0, &[6; 1024]).expect("a write");
    assert_eq!(odd(&device.read(0, 2).expect("a read"), 6), [(599, 77)]);
}

#[test]
fn one_byte_of_each_write_is_replaced_on_the_disk_only() {
    let world = World::new();
    let (disk, device) = flakey(&world, "0 60 5 corrupt_bio_byte 2 w 77 0");
    let write = device.begin(Op::Write, false, 3, 2, vec![6; 1024]);
    assert_eq!(write.wait().expect("a write"), [6; 1024], "the caller's memory is only read");
    assert_eq!(odd(&disk.bytes()[7 * 512..9 * 512], 6), [(1, 77)]);
    device.command(Op::WriteZeroes, 3, 2).expect("zeroes");
    assert_eq!(odd(&disk.bytes()[7 * 512..9 * 512], 0), []);
}

#[test]
fn only_requests_with_all_flags_are_damaged() {
    let world = World::new();
    // A write that must be durable: 2^17, and the write's own 1.
    let (disk, device) = flakey(&world, "0 60 5 corrupt_bio_byte 1 w 77 131073");
    device.write(0, &[6; 512]).expect("a write");
    assert_eq!(disk.bytes()[4 * 512], 6);
    device.write_fua(0, &[6; 512]).expect("a write");
    assert_eq!(disk.bytes()[4 * 512], 77);
}

/// What a device with these words makes of twenty requests, read and written.
fn damage(words: &str) -> Vec<Vec<(usize, u8)>> {
    let world = World::new();
    let (disk, device) = flakey(&world, words);
    let mut seen = Vec::new();
    for _ in 0..20 {
        seen.push(odd(&device.read(8, 8).expect("a read"), 5));
        device.write(0, &[6; 8 * 512]).expect("a write");
        seen.push(odd(&disk.bytes()[4 * 512..12 * 512], 6));
    }
    seen
}

#[test]
fn random_damage_changes_one_byte_and_repeats_with_its_seed() {
    let always = "0 60 6 random_read_corrupt 1000000000 random_write_corrupt 1000000000 seed";
    let first = damage(&format!("{always} 1"));
    assert!(first.iter().all(|odd| odd.len() == 1), "{first:?}");
    assert_eq!(damage(&format!("{always} 1")), first);
    assert_ne!(damage(&format!("{always} 2")), first);
    let half = "0 60 6 random_read_corrupt 500000000 random_write_corrupt 500000000 seed 3";
    let hit = damage(half).iter().filter(|odd| odd.len() == 1).count();
    assert!((10..30).contains(&hit), "{hit} of 40");
    assert_eq!(damage(half), damage(half));
}

#[test]
fn damaged_writes_wait_for_copies_and_all_end() {
    let world = World::new();
    let spec = DiskSpec::new(SIZE + 4).mode(Mode::Held);
    let (disk, device) = flakey_on(&world, spec, "0 60 5 corrupt_bio_byte 1 w 77 0");
    let all: Vec<_> =
        (0..SIZE).map(|at| device.begin(Op::Write, false, at, 1, vec![6; 512])).collect();
    assert_eq!(disk.held(), 2, "as many as there are copies");
    disk.complete_all();
    for pending in all {
        pending.wait().expect("a write");
    }
    for sector in disk.bytes()[4 * 512..].chunks(512) {
        assert_eq!(odd(sector, 6), [(0, 77)]);
    }
}

#[test]
fn completions_within_a_sending_do_not_pile_up_on_the_stack() {
    let world = World::new();
    let count = if cfg!(miri) { 40 } else { 20_000 };
    let disk = world.disk_of(DiskSpec::new(8).mode(Mode::Held));
    let low = format!("0 2 linear {} 0\n2 {count} zero", disk.name());
    world.try_create("low", &low).expect("the lower device");
    let size = count + 2;
    let table = format!("0 {size} flakey /dev/mapper/low 0 0 60 5 corrupt_bio_byte 1 w 77 0");
    let device = world.create("f", &table);
    let slow = [0, 1].map(|at| device.begin(Op::Write, false, at, 1, vec![1; 512]));
    let many: Vec<_> =
        (0..count).map(|at| device.begin(Op::Write, false, at + 2, 1, vec![1; 512])).collect();
    assert!(many.iter().all(|pending| !pending.is_over()), "they wait for copies");
    let run = std::thread::Builder::new().stack_size(128 << 10);
    std::thread::scope(|scope| {
        run.spawn_scoped(scope, || disk.complete_all()).expect("a thread");
    });
    for pending in slow.into_iter().chain(many) {
        pending.wait().expect("a write");
    }
}

#[test]
fn noflush_suspension_hands_waiting_writes_to_the_next_table() {
    let world = Arc::new(World::new());
    let spec = DiskSpec::new(SIZE + 4).mode(Mode::Held);
    let (disk, device) = flakey_on(&world, spec, "0 60 5 corrupt_bio_byte 1 w 77 0");
    let other = world.disk(SIZE);
    let all: Vec<_> =
        (0..6).map(|at| device.begin(Op::Write, false, at, 1, vec![6; 512])).collect();
    let suspend =
        world.spawn(|world| world.on_with("f", Action::Suspend, Flags::NOFLUSH).map(drop));
    // Those under way have to come back from the disk, the others do not.
    while !suspend.is_finished() {
        disk.complete(0);
        std::thread::yield_now();
    }
    suspend.join().expect("no surprise").expect("suspended");
    let written = disk.count(Op::Write);
    assert!((2..=6).contains(&written), "{written} writes");
    world.load("f", &format!("0 {SIZE} linear {} 0", other.name())).expect("another table");
    world.on("f", Action::Resume).expect("a resume");
    for pending in all {
        pending.wait().expect("a write");
    }
    assert_eq!(other.count(Op::Write) + written, 6);
}

#[test]
fn every_failure_below_is_the_requests_and_a_retry_works() {
    for mode in [Mode::Inline, Mode::Thread(4)] {
        let world = World::new();
        let words = "0 60 7 corrupt_bio_byte 1 w 77 0 random_read_corrupt 1000000000";
        let (disk, device) = flakey_on(&world, DiskSpec::new(SIZE + 4).mode(mode), words);
        for n in 1.. {
            world.context.faults.fail_nth(n);
            let results = [
                device.write(0, &[6; 1024]),
                device.read(0, 2).map(drop),
                device.flush(),
                device.command(Op::Discard, 0, 2),
            ];
            let hit = world.context.faults.hit();
            world.context.faults.fail_nth(0);
            let failed = results.iter().filter(|result| **result == Err(Errno::EIO)).count();
            assert_eq!(failed, usize::from(hit), "call {n}: {results:?}");
            world.assert_idle();
            if !hit {
                assert!(n > 4, "only {n} calls");
                break;
            }
        }
        disk.break_sectors(4..5, Errno::ENOSPC);
        assert_eq!(device.write(0, &[6; 512]), Err(Errno::ENOSPC));
        disk.mend();
        device.write(0, &[6; 512]).expect("a retry");
    }
}

#[test]
fn without_memory_for_cells_requests_still_end() {
    let world = World::new();
    let spec = DiskSpec::new(SIZE + 4).mode(Mode::Thread(8));
    let (_disk, device) = flakey_on(&world, spec, "0 60 5 corrupt_bio_byte 1 w 77 0");
    world.context.faults.starve(true);
    let all: Vec<_> =
        (0..20).map(|at| device.begin(Op::Write, false, at, 4, vec![6; 4 * 512])).collect();
    for pending in all {
        pending.wait().expect("a write");
    }
    world.context.faults.starve(false);
}
