//! delay: how long requests wait and where they go, suspension, jitter that repeats.

use dm::kern::disk::Op;
use dm_protocol::{Action, Errno, Flags};
use dm_tests::snapshot::{everything, lines, refuses};
use dm_tests::{Device, Disk, DiskSpec, Mode, World, until};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SIZE: u64 = 64;

fn disks(world: &World) -> [Arc<Disk>; 3] {
    [0; 3].map(|_| world.disk(SIZE + 8))
}

/// A delay device; `@0` is the name of the first disk.
fn delay(world: &World, disks: &[Arc<Disk>; 3], words: &str) -> Device {
    world.create("d", &table(disks, words))
}

fn table(disks: &[Arc<Disk>; 3], words: &str) -> String {
    let mut words = words.to_owned();
    for (nr, disk) in disks.iter().enumerate() {
        words = words.replace(&format!("@{nr}"), &disk.name());
    }
    format!("0 {SIZE} delay {words}")
}

fn took(act: impl FnOnce()) -> Duration {
    let start = Instant::now();
    act();
    start.elapsed()
}

#[test]
fn table_and_status_print_what_linux_prints() {
    for words in [
        "@0 8 5",
        "@0 0 5 @1 8 7",
        "@0 0 5 @1 8 7 @2 0 4294967295",
        "@0 0 0 jitter 10 7",
        "@0 0 5 @1 0 7 jitter 1 18446744073709551615",
    ] {
        let world = World::new();
        let disks = disks(&world);
        let _device = delay(&world, &disks, words);
        let mut shown = table(&disks, words);
        for disk in &disks {
            shown = shown.replace(&disk.name(), &disk.shown());
        }
        assert_eq!(lines(&world, "d", false), [shown]);
        assert_eq!(lines(&world, "d", true), [format!("0 {SIZE} delay 0 0 0")]);
    }
}

#[test]
fn wrong_arguments_are_refused_with_a_reason_and_change_nothing() {
    let world = World::new();
    let disks = disks(&world);
    for (words, why) in [
        ("@0 0", "argument 3 (delay) is missing"),
        ("@0 0 x", "argument 3 (delay) \"x\": is not a decimal number"),
        ("@0 0 4294967296", "is not from 0 to 4294967295"),
        ("@0 9 1", "64 sectors from 9 on are beyond"),
        ("@0 0 1 @1", "argument 5 (offset) is missing"),
        ("@0 0 1 @1 0", "argument 6 (delay) is missing"),
        ("@0 0 1 @1 0 1 @2 0", "argument 9 (delay) is missing"),
        ("@0 0 1 @1 0 1 @2 0 1 1", "is one too many"),
        ("@0 0 1 jitter", "argument 5 (jitter) is missing"),
        ("@0 0 1 jitter 0 1", "argument 5 (jitter) \"0\": is not from 1"),
        ("@0 0 1 jitter 1 1 1", "is one too many"),
        ("@0 0 1 mem:0 0 1", "there is no disk"),
    ] {
        refuses(&world, &table(&disks, words), why);
    }
}

#[test]
#[cfg_attr(miri, ignore = "an interpreter takes longer than what is waited for")]
fn each_kind_waits_its_own_time_and_goes_its_own_way() {
    let world = World::new();
    let disks = disks(&world);
    let device = delay(&world, &disks, "@0 0 30 @1 8 60 @2 0 90");
    let read = took(|| drop(device.read(0, 8).expect("a read")));
    let write = took(|| device.write(0, &[7; 1024]).expect("a write"));
    let discard = took(|| device.command(Op::Discard, 4, 2).expect("a discard"));
    let flush = took(|| device.flush().expect("a flush"));
    let ms = Duration::from_millis;
    assert!(read >= ms(30) && write >= ms(60) && discard >= ms(60) && flush >= ms(90));
    let sum = read + write + discard + flush;
    assert!(sum < ms(2000), "and not for ever: {sum:?}");
    assert_eq!(disks[1].bytes()[8 * 512..10 * 512], [7; 1024]);
    assert_eq!(disks[1].bytes()[12 * 512..14 * 512], [0xdd; 1024]);
    let counts = |op| disks.each_ref().map(|disk| disk.count(op));
    assert_eq!(counts(Op::Read), [1, 0, 0]);
    assert_eq!(counts(Op::Write), [0, 1, 0]);
    assert_eq!(counts(Op::Flush), [0, 1, 1], "what was written is flushed, too");
}

#[test]
fn without_a_delay_nothing_waits() {
    let world = World::new();
    let disks = disks(&world);
    let device = delay(&world, &disks, "@0 0 0 @1 0 5000");
    let pending = device.begin(Op::Read, false, 0, 1, vec![0; 512]);
    assert!(pending.is_over(), "before submission returned");
    pending.wait().expect("a read");
    assert_eq!(disks[0].count(Op::Read), 1);
}

#[test]
fn status_tells_how_many_wait() {
    let world = World::new();
    let disks = disks(&world);
    let device = delay(&world, &disks, "@0 0 60000");
    let read = device.begin(Op::Read, false, 0, 1, vec![0; 512]);
    let writes = [1, 2].map(|at| device.begin(Op::Write, false, at, 1, vec![1; 512]));
    let flush = device.begin(Op::Flush, false, 0, 0, Vec::new());
    assert_eq!(lines(&world, "d", true), [format!("0 {SIZE} delay 1 2 1")]);
    // Suspension sends them on at once.
    let suspended = took(|| drop(world.on("d", Action::Suspend).expect("suspended")));
    assert!(suspended < Duration::from_secs(20), "{suspended:?}");
    for pending in [read, flush].into_iter().chain(writes) {
        assert!(pending.is_over());
        pending.wait().expect("an end");
    }
    assert_eq!(disks[0].bytes()[512..1536], [1; 1024]);
    assert_eq!(lines(&world, "d", true), [format!("0 {SIZE} delay 0 0 0")]);
    world.on("d", Action::Resume).expect("a resume");
    let again = device.begin(Op::Read, false, 0, 1, vec![0; 512]);
    until("the delay is back", || lines(&world, "d", true)[0].ends_with("1 0 0"));
    world.on("d", Action::Suspend).expect("suspended");
    again.wait().expect("a read");
    world.on("d", Action::Resume).expect("a resume");
}

#[test]
fn noflush_suspension_hands_back_and_another_table_serves() {
    let world = World::new();
    let disks = disks(&world);
    let device = delay(&world, &disks, "@0 0 60000");
    let mut all: Vec<_> =
        (0..5).map(|at| device.begin(Op::Write, false, at, 1, vec![3; 512])).collect();
    all.push(device.begin(Op::Flush, false, 0, 0, Vec::new()));
    world.on_with("d", Action::Suspend, Flags::NOFLUSH).expect("suspended");
    assert!(all.iter().all(|pending| !pending.is_over()));
    world.load("d", &table(&disks, "@1 0 0")).expect("another table");
    world.on("d", Action::Resume).expect("a resume");
    for pending in all {
        pending.wait().expect("an end");
    }
    assert_eq!([0, 1].map(|nr: usize| disks[nr].count(Op::Write)), [0, 5]);
}

#[test]
fn a_device_with_waiting_requests_is_replaced_and_removed() {
    let world = World::new();
    let disks = disks(&world);
    let device = delay(&world, &disks, "@0 0 60000");
    let pending = device.begin(Op::Write, false, 0, 1, vec![3; 512]);
    world.load("d", &table(&disks, "@1 0 0")).expect("another table");
    world.on("d", Action::Resume).expect("a resume");
    pending.wait().expect("sent on by the swap");
    assert_eq!(disks[0].count(Op::Write), 1);
    drop(device);
    world.on("d", Action::Remove).expect("removed");
}

/// In which order requests of equal delay reach the disk.
fn order(words: &str) -> Vec<u64> {
    let world = World::new();
    let spec = DiskSpec::new(SIZE + 8).mode(Mode::Held);
    let disks = [0; 3].map(|_| world.disk_of(spec));
    let device = delay(&world, &disks, words);
    let all: Vec<_> =
        (0..12).map(|at| device.begin(Op::Write, false, at, 1, vec![1; 512])).collect();
    until("all are on the disk", || disks[0].held() == all.len());
    let order = (0..all.len()).map(|nth| disks[0].held_op(nth).1).collect();
    disks[0].complete_all();
    for pending in all {
        pending.wait().expect("a write");
    }
    order
}

#[test]
#[cfg_attr(miri, ignore = "an interpreter takes longer than what is waited for")]
fn requests_of_one_delay_keep_their_order_and_jitter_changes_it() {
    let in_order: Vec<u64> = (0..12).collect();
    assert_eq!(order("@0 0 20"), in_order);
    let mixed = order("@0 0 0 jitter 300 7");
    assert_ne!(mixed, in_order);
    let mut sorted = mixed;
    sorted.sort_unstable();
    assert_eq!(sorted, in_order, "each came once");
}

#[test]
fn every_failure_below_is_the_requests_and_a_retry_works() {
    let world = World::new();
    let disks = disks(&world);
    let device = delay(&world, &disks, "@0 0 1 @1 0 1 @2 0 1");
    for n in 1.. {
        world.context.faults.fail_nth(n);
        let results = [device.write(0, &[6; 1024]), device.read(0, 2).map(drop), device.flush()];
        let hit = world.context.faults.hit();
        world.context.faults.fail_nth(0);
        let failed = results.iter().filter(|result| **result == Err(Errno::EIO)).count();
        assert_eq!(failed, usize::from(hit), "call {n}: {results:?}");
        world.assert_idle();
        if !hit {
            assert!(n > 4, "a write, a read and two flushes, not {n}");
            break;
        }
    }
    disks[2].break_sectors(0..1, Errno::ENOSPC);
    assert_eq!(device.flush(), Err(Errno::ENOSPC));
    disks[2].mend();
    device.flush().expect("a retry");
}

#[test]
fn a_load_that_fails_changes_nothing() {
    let world = World::new();
    let disks = disks(&world);
    world.make("d").expect("a device");
    let table = table(&disks, "@0 0 1 @1 0 1 @2 0 1");
    for n in 1.. {
        let before = everything(&world);
        world.context.faults.fail_nth(n);
        let loaded = world.load("d", &table);
        let hit = world.context.faults.hit();
        world.context.faults.fail_nth(0);
        if !hit {
            loaded.expect("nothing failed");
            assert!(n > 4, "three disks and a thread, not {n}");
            break;
        }
        loaded.expect_err("a fault");
        assert_eq!(everything(&world), before, "call {n}");
    }
}
