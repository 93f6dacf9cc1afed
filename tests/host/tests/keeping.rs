//! Targets that keep requests: workers, own memory, two devices, suspension, events, messages.

use dm::kern::disk::Op;
use dm_protocol::{Action, Errno, Flags, ReplyBody};
use dm_tests::model::Model;
use dm_tests::random::seeds;
use dm_tests::snapshot::lines;
use dm_tests::toys::types;
use dm_tests::{DiskSpec, Mode, Random, World, until};
use std::sync::Arc;
use std::time::Duration;

fn say(world: &World, name: &str, text: &str) -> Result<Option<String>, Errno> {
    world.say(name, text).map_err(|failure| failure.errno)
}

#[test]
fn a_cipher_writes_other_bytes_and_reads_the_same() {
    let world = World::with_types(types());
    let disk = world.disk_of(DiskSpec::new(128).mode(Mode::Thread(3)));
    let name = disk.name();
    let device = world.create("x", &format!("0 10 linear {name} 0\n10 100 xor {name} 12 90"));
    let mut data = vec![0; 90 * 512];
    Random::new(1).fill(&mut data);
    let write = device.begin(Op::Write, true, 5, 90, data.clone());
    assert!(write.wait().expect("a write") == data, "the caller's memory is only read");
    let held = disk.bytes();
    assert_eq!(held[5 * 512..10 * 512], data[..5 * 512]);
    let changed: Vec<u8> = data[5 * 512..].iter().map(|byte| byte ^ 90).collect();
    assert!(held[12 * 512..97 * 512] == changed);
    assert!(device.read(5, 90).expect("a read") == data);
    device.flush().expect("a flush");
    assert_eq!(disk.count(Op::Flush), 1, "one disk, one flush");
}

#[test]
fn keys_are_shown_to_the_superuser_only() {
    let world = World::with_types(types());
    let disk = world.disk(128);
    drop(world.create("x", &format!("0 100 xor {} 0 90", disk.name())));
    let table = |privileged| {
        let caller = dm::command::Caller { privileged, client: 1 };
        let mut dict = dm_protocol::Request::new(Action::Table).encode();
        dict.set(dm_protocol::key::NAME, "x");
        let reply = dm_protocol::Reply::decode(&world.ask(&caller, dict)).expect("a reply");
        let ReplyBody::Segments(segments) = reply.body else { panic!("no segments") };
        segments[0].params.to_string()
    };
    assert_eq!(table(true), format!("{} 0 90", disk.devno()));
    assert_eq!(table(false), format!("{} 0 0", disk.devno()));
}

#[test]
fn an_error_below_reaches_the_caller_through_the_target() {
    let world = World::with_types(types());
    let disk = world.disk_of(DiskSpec::new(128).mode(Mode::Thread(3)));
    let device = world.create("x", &format!("0 100 xor {} 0 90", disk.name()));
    disk.break_sectors(60..61, Errno::ENOSPC);
    assert_eq!(device.write(0, &[1; 100 * 512]), Err(Errno::ENOSPC));
    assert_eq!(device.read(60, 1), Err(Errno::ENOSPC));
    device.read(0, 60).expect("the rest");
}

#[test]
fn a_target_without_its_thread_is_not_loaded() {
    let world = World::with_types(types());
    let disk = world.disk(128);
    world.make("x").expect("a device");
    for n in 1.. {
        world.context.faults.fail_nth(n);
        let loaded = world.load("x", &format!("0 100 xor {} 0 90", disk.name()));
        if !world.context.faults.hit() {
            loaded.expect("nothing failed");
            assert!(n >= 3, "a disk and a thread");
            break;
        }
        assert!([Errno::EIO, Errno::EAGAIN].contains(&loaded.expect_err("a fault").errno));
    }
    world.context.faults.fail_nth(0);
}

#[test]
fn a_mirror_writes_both_sides_and_reads_what_is_left() {
    let world = World::with_types(types());
    let disks = [1, 2].map(|seed| world.disk_of(DiskSpec::new(64).mode(Mode::Thread(seed))));
    let table = format!("0 60 pair {} 0 {} 4", disks[0].name(), disks[1].name());
    let device = world.create("m", &table);
    let data: Vec<u8> = (0..60 * 512).map(|at| (at / 512) as u8 + 1).collect();
    device.write_fua(0, &data).expect("a write");
    assert!(disks[0].bytes()[..60 * 512] == data && disks[1].bytes()[4 * 512..] == data);
    let event = world.on("m", Action::Info).expect("info").event_nr;
    let waiter = {
        let world = &world;
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                world.context.enter();
                let wait = Action::WaitEvent { event_nr: event, timeout_ms: Some(10_000) };
                world.on("m", wait).map(|reply| reply.event_nr)
            });
            disks[0].break_sectors(3..4, Errno::EIO);
            assert!(device.read(0, 60).expect("from the second") == data);
            waiter.join().expect("no surprise")
        })
    };
    assert_eq!(waiter.expect("an event"), event + 1);
    assert_eq!(lines(&world, "m", true), ["0 60 pair DA 0 0"]);
    disks[0].mend();
    assert_eq!(say(&world, "m", "mend"), Ok(Some("mended".into())));
    assert_eq!(say(&world, "m", "sing"), Err(Errno::EINVAL));
    device.flush().expect("a flush");
    assert_eq!(lines(&world, "m", true), ["0 60 pair AA 1 0"], "the target keeps the flush");
    assert_eq!(disks.each_ref().map(|disk| disk.count(Op::Flush)), [1, 1]);
}

#[test]
fn a_mirror_copies_one_side_to_the_other_with_transfers_of_its_own() {
    let world = World::with_types(types());
    let disks = [1, 2].map(|seed| world.disk_of(DiskSpec::new(64).mode(Mode::Thread(seed))));
    let data: Vec<u8> = (0..60 * 512).map(|at| (at / 512) as u8 + 1).collect();
    disks[0].set_bytes(0, &data);
    let table = format!("0 60 pair {} 0 {} 4", disks[0].name(), disks[1].name());
    drop(world.create("m", &table));
    assert_eq!(say(&world, "m", "copy"), Ok(None));
    until("copied", || lines(&world, "m", true) == ["0 60 pair AA 0 60"]);
    assert!(disks[1].bytes()[4 * 512..] == data);
    disks[1].break_sectors(20..21, Errno::EIO);
    assert_eq!(say(&world, "m", "copy"), Ok(None));
    until("failed", || lines(&world, "m", true) == ["0 60 pair AD 0 16"]);
}

#[test]
fn a_table_goes_when_its_own_transfers_are_back() {
    let world = World::with_types(types());
    let disks = [1, 2].map(|seed| world.disk_of(DiskSpec::new(64).mode(Mode::Thread(seed))));
    let table = format!("0 60 pair {} 0 {} 4", disks[0].name(), disks[1].name());
    for _ in 0..if cfg!(miri) { 2 } else { 50 } {
        drop(world.create("m", &table));
        assert_eq!(say(&world, "m", "copy"), Ok(None));
        world.on("m", Action::Remove).expect("removed while it copies");
    }
}

#[test]
fn a_mirror_whose_memory_is_in_use_writes_later() {
    let world = World::with_types(types());
    let disks = [1, 2].map(|_| world.disk_of(DiskSpec::new(64).mode(Mode::Held)));
    let table = format!("0 60 pair {} 0 {} 4", disks[0].name(), disks[1].name());
    let device = world.create("m", &table);
    let begin = |at| device.begin(Op::Write, false, at, 1, vec![at as u8 + 1; 512]);
    let pending: Vec<_> = (0..5).map(begin).collect();
    for (at, write) in pending.into_iter().enumerate() {
        for disk in &disks {
            until("sent", || disk.held() != 0);
            disk.complete(0);
        }
        write.wait().expect("a write");
        assert_eq!(disks[1].bytes()[(at + 4) * 512], at as u8 + 1);
    }
}

#[test]
fn noflush_suspension_hands_back_and_another_table_serves() {
    let world = World::with_types(types());
    let (disk, other) = (world.disk(64), world.disk(64));
    other.set_bytes(0, &[7; 64 * 512]);
    let device = world.create("h", &format!("0 64 hold {} 0", disk.name()));
    let kept: Vec<_> =
        (0..5).map(|at| device.begin(Op::Read, false, at * 8, 16, vec![0; 16 * 512])).collect();
    world.on_with("h", Action::Suspend, Flags::NOFLUSH).expect("nothing has to be waited for");
    let late = device.begin(Op::Read, false, 60, 4, vec![0; 4 * 512]);
    assert!(!late.is_over() && kept.iter().all(|pending| !pending.is_over()));
    world.load("h", &format!("0 64 linear {} 0", other.name())).expect("another table");
    world.on("h", Action::Resume).expect("a resume");
    for pending in kept.into_iter().chain([late]) {
        let data = pending.wait().expect("a read");
        assert!(data.iter().all(|byte| *byte == 7), "from the new table");
    }
    assert_eq!(disk.count(Op::Read), 0);
}

#[test]
fn suspension_with_flush_waits_for_what_is_kept() {
    let world = Arc::new(World::with_types(types()));
    let disk = world.disk(64);
    let device = world.create("h", &format!("0 64 hold {} 0", disk.name()));
    let pending = device.begin(Op::Write, false, 8, 1, vec![9; 512]);
    let suspend = world.spawn(|world| world.on("h", Action::Suspend).map(drop));
    std::thread::sleep(Duration::from_millis(20));
    assert!(!suspend.is_finished() && !pending.is_over());
    assert_eq!(say(&world, "h", "go"), Ok(None));
    suspend.join().expect("no surprise").expect("suspended");
    assert!(pending.is_over(), "before the suspension ended");
    pending.wait().expect("a write");
    assert_eq!(disk.count(Op::Flush), 1, "what was written was flushed");
    world.on("h", Action::Resume).expect("a resume");
}

#[test]
fn a_suspension_that_is_given_up_lets_requests_flow() {
    let world = Arc::new(World::with_types(types()));
    let disk = world.disk(64);
    let device = world.create("h", &format!("0 64 hold {} 0", disk.name()));
    let pending = device.begin(Op::Write, false, 8, 1, vec![9; 512]);
    let suspend = world.spawn(|world| world.on("h", Action::Suspend).map(drop));
    std::thread::sleep(Duration::from_millis(10));
    let late = device.begin(Op::Write, false, 9, 1, vec![9; 512]);
    world.context.interrupt(true);
    let given_up = suspend.join().expect("no surprise").expect_err("given up");
    world.context.interrupt(false);
    assert_eq!(given_up.errno, Errno::EINTR);
    let flags = world.on("h", Action::Info).expect("info").flags;
    assert!(!flags.contains(Flags::SUSPEND));
    assert_eq!(say(&world, "h", "go"), Ok(None));
    pending.wait().expect("a write");
    late.wait().expect("a write that had to wait");
}

#[test]
fn a_part_that_is_dropped_ends_with_an_error() {
    let world = World::with_types(types());
    let disk = world.disk(64);
    let device = world.create("h", &format!("0 32 hold {} 0\n32 32 zero", disk.name()));
    for (text, errno) in [("drop", Errno::EIO), ("fail", Errno::ENOSPC)] {
        let pending = device.begin(Op::Read, false, 0, 64, vec![0; 64 * 512]);
        assert!(!pending.is_over());
        assert_eq!(say(&world, "h", text), Ok(None));
        assert_eq!(pending.wait(), Err(errno));
    }
}

#[test]
fn a_target_that_computes_nonsense_gets_an_error_and_the_disk_nothing() {
    let world = World::with_types(types());
    let disk = world.disk_of(DiskSpec::new(64).big_sectors());
    let device = world.create("h", &format!("0 64 hold {} 0", disk.name()));
    for text in ["astray", "beyond"] {
        let pending = device.begin(Op::Read, false, 0, 8, vec![0; 8 * 512]);
        assert_eq!(say(&world, "h", text), Ok(None));
        assert_eq!(pending.wait(), Err(Errno::EIO));
    }
    let flush = device.flush();
    assert_eq!((flush, disk.count(Op::Flush), disk.count(Op::Read)), (Ok(()), 1, 0));
}

#[test]
fn a_mirror_discards_both_sides() {
    let world = World::with_types(types());
    let disks = [world.disk(64), world.disk(64)];
    let table = format!("0 60 pair {} 0 {} 4", disks[0].name(), disks[1].name());
    let device = world.create("m", &table);
    device.command(Op::Discard, 10, 5).expect("a discard");
    assert_eq!(disks[0].bytes()[10 * 512], 0xdd);
    assert_eq!(disks[1].bytes()[14 * 512..19 * 512], [0xdd; 5 * 512]);
    assert_eq!(disks[1].bytes()[19 * 512], 0);
}

#[test]
fn zeroes_are_written_where_a_target_has_no_other_way() {
    let world = World::with_types(types());
    let disks = [1, 2].map(|seed| world.disk_of(DiskSpec::new(600).mode(Mode::Thread(seed))));
    let table = format!("0 500 pair {} 0 {} 4\n500 50 zero", disks[0].name(), disks[1].name());
    let device = world.create("m", &table);
    device.write(0, &vec![7; 500 * 512]).expect("a write");
    device.command(Op::WriteZeroes, 3, 540).expect("a command");
    assert_eq!(disks[0].count(Op::WriteZeroes), 0);
    for (disk, offset) in disks.iter().zip([0, 4]) {
        let bytes = disk.bytes();
        let at = |sector: usize| (sector + offset) * 512;
        assert!(bytes[at(0)..at(3)].iter().all(|byte| *byte == 7));
        assert!(bytes[at(3)..at(500)].iter().all(|byte| *byte == 0));
    }
    world.context.faults.starve(true);
    device.command(Op::WriteZeroes, 0, 500).expect("one after the other");
    world.context.faults.starve(false);
    assert!(device.read(0, 3).expect("a read").iter().all(|byte| *byte == 0));
    disks[0].break_sectors(400..401, Errno::EIO);
    disks[1].break_sectors(404..405, Errno::EIO);
    assert_eq!(device.command(Op::WriteZeroes, 0, 500), Err(Errno::EIO));
}

#[test]
fn a_request_beyond_the_reserve_waits_for_its_own_memory() {
    let world = World::with_types(types());
    let disk = world.disk_of(DiskSpec::new(64).mode(Mode::Held));
    let device = world.create("x", &format!("0 32 xor {0} 0 3\n32 32 linear {0} 32", disk.name()));
    world.context.faults.starve(true);
    let pending = device.begin(Op::Read, false, 0, 64, vec![0; 64 * 512]);
    assert_eq!(disk.held(), 1, "one child, in the request's own memory");
    disk.complete(0);
    assert_eq!(disk.held(), 1, "then the next");
    disk.complete(0);
    let data = pending.wait().expect("a read");
    assert_eq!((data[0], data[32 * 512]), (3, 0));
    world.context.faults.starve(false);
}

fn churn(seed: u64) {
    let mut random = Random::new(seed);
    let world = Arc::new(World::with_types(types()));
    let disks = [1, 2].map(|nr| world.disk_of(DiskSpec::new(512).mode(Mode::Thread(seed + nr))));
    let (one, two) = (disks[0].name(), disks[1].name());
    world.try_create("m", &format!("0 200 pair {one} 0 {two} 9")).expect("a mirror");
    let table = "0 50 xor /dev/mapper/m 0 77\n50 150 xor /dev/mapper/m 50 3";
    let device = world.create("x", table);
    let meddler = world.spawn(move |world| {
        for turn in 0..if cfg!(miri) { 1 } else { 30 } {
            let flags = if turn % 2 == 0 { Flags::NOFLUSH } else { Flags::EXISTS };
            let name = if turn % 3 == 0 { "m" } else { "x" };
            world.on_with(name, Action::Suspend, flags).expect("suspended");
            world.on(name, Action::Resume).expect("resumed");
            world.load("x", table).expect("loaded");
            world.on_with("x", Action::Resume, flags).expect("resumed");
        }
    });
    let mut model = Model::new(200);
    device.write(0, &vec![0; 200 * 512]).expect("a write");
    for _ in 0..if cfg!(miri) { 5 } else { 150 } {
        let at = random.below(200);
        let count = random.within(1, (200 - at).min(90));
        if random.one_in(2) {
            let mut data = vec![0; count as usize * 512];
            random.fill(&mut data);
            device.write(at, &data).expect("a write");
            model.write(at, &data);
        } else {
            model.check(at, &device.read(at, count).expect("a read"));
        }
        if random.one_in(9) {
            device.flush().expect("a flush");
        }
    }
    meddler.join().expect("no surprise");
    model.check(0, &device.read(0, 200).expect("a read"));
    let halves = disks.each_ref().map(|disk| disk.bytes());
    assert!(halves[0][..200 * 512] == halves[1][9 * 512..209 * 512], "both sides are equal");
    until("idle", || world.context.out(dm_tests::context::Thing::Request) == 0);
}

#[test]
fn a_cipher_over_a_mirror_survives_suspension_and_new_tables() {
    seeds(2, churn);
}
