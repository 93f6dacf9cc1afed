//! multipath: what it prints, refusals, which path is chosen, failures, waiting, messages.
//!
//! The paths are linear devices over one disk, `a`, `b` and `c`; one is broken by giving it
//! another table.

use dm::kern::disk::Op;
use dm_protocol::{Action, Errno, Flags};
use dm_tests::model::Model;
use dm_tests::random::seeds;
use dm_tests::snapshot::{everything, lines};
use dm_tests::{Disk, DiskSpec, Mode, Random, World, until};
use std::sync::Arc;
use std::time::Duration;

const PATHS: [&str; 3] = ["a", "b", "c"];
const SIZE: u64 = 256;

/// Three ways to one disk.
fn ways(world: &World, mode: Mode) -> Arc<Disk> {
    let disk = world.disk_of(DiskSpec::new(SIZE).mode(mode));
    for path in PATHS {
        world.try_create(path, &way(&disk)).expect("a path");
    }
    disk
}

fn way(disk: &Disk) -> String {
    format!("0 {SIZE} linear {} 0", disk.name())
}

fn swap(world: &World, path: &str, table: &str) {
    world.load(path, table).expect("a table");
    world.on_with(path, Action::Resume, Flags::NOFLUSH).expect("a resume");
}

fn break_path(world: &World, path: &str) {
    swap(world, path, &format!("0 {SIZE} error"));
}

/// One group of all paths, with a selector and words for each path.
fn one_group(features: &str, selector: &str, words: &str) -> String {
    let count = words.split_whitespace().count();
    let paths: Vec<_> = PATHS.iter().map(|path| format!("/dev/mapper/{path} {words}")).collect();
    let paths = paths.join(" ");
    format!("0 {SIZE} multipath {features} 0 1 1 {selector} 3 {count} {paths}")
}

/// A group for each of the first two paths.
fn two_groups(features: &str) -> String {
    format!(
        "0 {SIZE} multipath {features} 0 2 1 round-robin 0 1 1 /dev/mapper/a 1000 \
         round-robin 0 1 1 /dev/mapper/b 1000"
    )
}

/// How many transfers each path had so far, by its own count.
fn used(world: &World) -> [u64; 3] {
    PATHS.map(|path| {
        let minor = world.driver().minor_of(path).expect("a path");
        let opened = world.driver().open(minor, false).expect("it opens");
        opened.stats().total().iter().map(|count| count.requests).sum()
    })
}

fn status(world: &World) -> String {
    lines(world, "m", true).remove(0)
}

fn table(world: &World) -> String {
    lines(world, "m", false).remove(0)
}

#[test]
fn table_and_status_print_what_linux_prints() {
    let world = World::new();
    let _disk = ways(&world, Mode::Inline);
    let [a, b] = ["a", "b"].map(|path| {
        let minor = world.driver().minor_of(path).expect("a path");
        format!("{}:{minor}", dm::kern::node::major())
    });
    let device = world.create("m", &two_groups("0"));
    let groups = format!("2 1 round-robin 0 1 1 {a} 1 round-robin 0 1 1 {b} 1 ");
    assert_eq!(table(&world), format!("0 {SIZE} multipath 0 0 {groups}"));
    let fresh = format!("0 {SIZE} multipath 2 1 0 0 2 1 E 0 1 0 {a} A 0 E 0 1 0 {b} A 0 ");
    assert_eq!(status(&world), fresh);
    world.say("m", &format!("fail_path {a}")).expect("a message");
    let failed = format!("0 {SIZE} multipath 2 1 0 0 2 1 E 0 1 0 {a} F 1 E 0 1 0 {b} A 0 ");
    assert_eq!(status(&world), failed);
    assert_eq!(world.on("m", Action::Info).expect("info").event_nr, 1);
    device.read(0, 1).expect("the other path");
    let used = format!("0 {SIZE} multipath 2 0 0 0 2 2 E 0 1 0 {a} F 1 A 0 1 0 {b} A 0 ");
    assert_eq!(status(&world), used);
}

#[test]
fn what_is_printed_loads_and_prints_the_same() {
    let world = World::new();
    let _disk = ways(&world, Mode::Inline);
    let features = [
        "0",
        "1 queue_if_no_path",
        "5 queue_if_no_path pg_init_retries 50 pg_init_delay_msecs 0",
        "3 retain_attached_hw_handler queue_mode bio",
        "3 queue_if_no_path queue_if_no_path_timeout_secs 30",
    ];
    let groups = [
        ("round-robin 0", "1"),
        ("queue-length 0", "0"),
        ("service-time 0", "1 100"),
        ("historical-service-time 2 972 0", "0"),
        ("historical-service-time 2 0 7", "0"),
    ];
    world.make("m").expect("a device");
    for features in features {
        for (selector, words) in groups {
            swap(&world, "m", &one_group(features, selector, words));
            let printed = table(&world);
            assert!(printed.contains(&format!("multipath {features} 0 1 1 {selector} 3 ")));
            swap(&world, "m", &printed);
            assert_eq!(table(&world), printed);
        }
    }
}

#[test]
fn status_has_the_words_of_each_selector() {
    let world = World::new();
    let disk = ways(&world, Mode::Held);
    world.make("m").expect("a device");
    let cases = [
        ("round-robin 0", "", "A 0 3 0", "A 0"),
        ("queue-length 0", "1", "A 0 3 1", "A 0 1"),
        ("service-time 0", "1 5", "A 0 3 2", "A 0 4096 5"),
        ("historical-service-time 0", "1", "A 2 972 0 3 3", "A 0 1024 1 0"),
    ];
    for (selector, words, group, path) in cases {
        swap(&world, "m", &one_group("0", selector, words));
        let device = world.open("m");
        let pending = device.begin(Op::Read, false, 0, 8, vec![0; 8 * 512]);
        let now = status(&world);
        assert!(now.contains(&format!("multipath 2 0 0 0 1 1 {group} ")), "{now}");
        assert!(now.contains(&format!(" {path} ")), "{now}");
        disk.complete(0);
        pending.wait().expect("a read");
    }
}

#[test]
fn wrong_parameters_are_refused_with_a_sentence() {
    let world = World::new();
    let disk = ways(&world, Mode::Inline);
    let small = world.disk(8);
    let (n, small) = (disk.name(), small.name());
    let cases = [
        (String::new(), "argument 1 (feature arguments) is missing"),
        ("1".into(), "argument 2 (feature) is missing"),
        ("1 fly".into(), "argument 2 (feature) \"fly\": is no feature known here"),
        ("1 pg_init_retries".into(), "lacks its value"),
        ("2 pg_init_retries 51".into(), "is not from 1 to 50"),
        ("2 queue_mode sq".into(), "is none of bio, rq, mq"),
        ("0 1 alua".into(), "there are no hardware handlers here"),
        ("0 0 0 1".into(), "argument 4 (initial priority group) \"1\": is not from 0 to 0"),
        ("0 0 1 0".into(), "argument 4 (initial priority group) \"0\": is not from 1 to 1"),
        ("0 0 1 2".into(), "is not from 1 to 1"),
        ("0 0 1 1 best 0".into(), "argument 5 (path selector) \"best\": is no path selector"),
        (format!("0 0 1 1 round-robin 0 0 0 {n}"), "argument 7 (paths) \"0\""),
        (format!("0 0 1 1 round-robin 0 1 2 {n} 1 1"), "takes at most 1 arguments a path"),
        (format!("0 0 1 1 round-robin 0 2 0 {n}"), "argument 10 (device) is missing"),
        (format!("0 0 1 1 round-robin 0 1 0 {n} {n}"), "is one too many"),
        (format!("0 0 1 1 round-robin 0 1 0 {small}"), "beyond"),
        (format!("0 0 1 1 service-time 0 1 2 {n} 1 101"), "is not from 0 to 100"),
        (format!("0 0 1 1 historical-service-time 1 1024 1 0 {n}"), "is not from 0 to 1023"),
        (format!("0 0 1 1 historical-service-time 3 1 1 1 1 0 {n}"), "are too many"),
    ];
    let before = everything(&world);
    for (params, why) in cases {
        let table = format!("0 {SIZE} multipath {params}");
        let failure = world.try_create("m", &table).expect_err(&table);
        assert_eq!(failure.errno, Errno::EINVAL, "{table}: {}", failure.message);
        assert!(failure.message.contains(why), "{table}: {}", failure.message);
        assert_eq!(everything(&world), before);
    }
}

#[test]
fn paths_of_a_group_take_turns() {
    let world = World::new();
    let _disk = ways(&world, Mode::Inline);
    let device = world.create("m", &one_group("0", "round-robin 0", "1"));
    for _ in 0..9 {
        device.read(0, 1).expect("a read");
    }
    assert_eq!(used(&world), [3, 3, 3]);
}

#[test]
fn queue_length_and_service_time_choose_the_path_with_the_least_to_do() {
    let world = World::new();
    let disk = ways(&world, Mode::Held);
    world.make("m").expect("a device");
    swap(&world, "m", &one_group("0", "queue-length 0", "1"));
    let device = world.open("m");
    let read = |count: u64| device.begin(Op::Read, false, 0, count, vec![0; count as usize * 512]);
    let first: Vec<_> = (0..3).map(|_| read(1)).collect();
    // The one of the second path ends, so that path is next.
    disk.complete(1);
    let more = [read(1)];
    assert_eq!(used(&world), [0, 1, 0], "counted when they end");
    let lengths = status(&world);
    assert!(lengths.matches(" A 0 1 ").count() == 3, "{lengths}");
    disk.complete_all();
    first.into_iter().chain(more).for_each(|pending| drop(pending.wait().expect("a read")));
    swap(&world, "m", &one_group("0", "service-time 0", "1 1"));
    let pending = [read(64), read(1), read(1), read(1), read(1)];
    let sizes = status(&world);
    assert!(sizes.contains(" 32768 1 ") && sizes.matches(" A 0 1024 1 ").count() == 2, "{sizes}");
    disk.complete_all();
    pending.into_iter().for_each(|pending| drop(pending.wait().expect("a read")));
}

#[test]
fn a_path_that_was_slow_of_late_gets_less() {
    let world = World::new();
    let disk = ways(&world, Mode::Held);
    let device = world.create("m", &one_group("0", "historical-service-time 0", "1"));
    let mut slow = 0;
    // What an interpreter needs itself is to be little beside it.
    let second = if cfg!(miri) { 1_000_000 } else { 1000 };
    for turn in 0..40 {
        let before = used(&world);
        let pending = device.begin(Op::Read, false, 0, 1, vec![0; 512]);
        // The first path takes a second, the others a millisecond.
        let busy = status(&world);
        let words: Vec<_> = busy.split_whitespace().collect();
        // Each path is: device, letter, failures, average, requests, time.
        let paths: Vec<_> = words[words.len() - 18..].chunks(6).collect();
        let number = paths.iter().position(|path| path[4] == "1");
        let is_slow = number == Some(0);
        slow += u32::from(is_slow && turn >= 10);
        world.context.skip(Duration::from_millis(if is_slow { second } else { 1 }));
        disk.complete_all();
        pending.wait().expect("a read");
        assert_ne!(used(&world), before);
    }
    assert!(slow <= 3, "{slow} of 30 requests went to a path that is a thousand times slower");
}

#[test]
fn a_request_that_fails_on_one_path_goes_another_way() {
    let world = World::new();
    let disk = ways(&world, Mode::Thread(1));
    let device = world.create("m", &two_groups("0"));
    let data = vec![7; 16 * 512];
    break_path(&world, "a");
    device.write(8, &data).expect("over the other path");
    assert!(disk.bytes()[8 * 512..24 * 512] == data);
    assert!(status(&world).contains(" F 1 A 0 1 0 "), "{}", status(&world));
    assert_eq!(world.on("m", Action::Info).expect("info").event_nr, 1);
    for op in [Op::Discard, Op::WriteZeroes] {
        device.command(op, 8, 8).expect("over the other path");
    }
    let before = disk.count(Op::Flush);
    device.flush().expect("a flush");
    assert_eq!(disk.count(Op::Flush), before + 1, "over one path");
    break_path(&world, "b");
    assert_eq!(device.read(0, 1), Err(Errno::EIO), "no path is left");
    assert_eq!(device.flush(), Err(Errno::EIO));
    swap(&world, "a", &way(&disk));
    world.say("m", "reinstate_path /dev/mapper/a").expect("a message");
    assert!(device.read(8, 8).expect("again").iter().all(|byte| *byte == 0));
}

#[test]
fn what_the_disk_itself_refuses_fails_no_path() {
    let world = World::new();
    let disk = ways(&world, Mode::Inline);
    let device = world.create("m", &two_groups("0"));
    for errno in [Errno::ENOSPC, Errno::EOPNOTSUPP, Errno::EILSEQ, Errno::ENODATA] {
        disk.break_sectors(3..4, errno);
        assert_eq!(device.write(3, &[0; 512]), Err(errno));
        assert!(!status(&world).contains(" F "));
        disk.mend();
    }
}

#[test]
fn requests_wait_for_a_path_if_asked_to() {
    let world = World::new();
    let disk = ways(&world, Mode::Inline);
    let device = world.create("m", &two_groups("1 queue_if_no_path"));
    for path in ["a", "b"] {
        break_path(&world, path);
    }
    let pending: Vec<_> =
        (0..5).map(|at| device.begin(Op::Write, false, at, 1, vec![at as u8; 512])).collect();
    until("failed", || status(&world).matches(" F 1 ").count() == 2);
    assert!(pending.iter().all(|pending| !pending.is_over()));
    swap(&world, "b", &way(&disk));
    world.say("m", "reinstate_path /dev/mapper/b").expect("a message");
    for pending in pending {
        pending.wait().expect("a write");
    }
    assert_eq!(disk.count(Op::Write), 5);
    break_path(&world, "b");
    let pending = device.begin(Op::Read, false, 0, 1, vec![0; 512]);
    assert!(!pending.is_over());
    world.say("m", "fail_if_no_path").expect("a message");
    assert_eq!(pending.wait(), Err(Errno::EIO));
    assert!(table(&world).contains("multipath 0 0 2 "));
    world.say("m", "queue_if_no_path").expect("a message");
    assert!(table(&world).contains("multipath 1 queue_if_no_path 0 2 "));
}

#[test]
fn waiting_ends_after_the_time_that_was_said() {
    let world = World::new();
    let _disk = ways(&world, Mode::Inline);
    let features = "3 queue_if_no_path queue_if_no_path_timeout_secs 1";
    let device = world.create("m", &two_groups(features));
    for path in ["a", "b"] {
        world.say("m", &format!("fail_path /dev/mapper/{path}")).expect("a message");
    }
    let pending = device.begin(Op::Read, false, 0, 1, vec![0; 512]);
    assert!(!pending.is_over());
    world.context.skip(Duration::from_millis(900));
    assert!(!pending.is_over());
    assert_eq!(pending.wait(), Err(Errno::EIO));
    assert_eq!(device.read(0, 1), Err(Errno::EIO), "and later ones do not wait");
}

#[test]
fn groups_are_switched_avoided_and_used_again() {
    let world = World::new();
    let _disk = ways(&world, Mode::Inline);
    let device = world.create("m", &two_groups("0"));
    let read_by = |path: usize, why: &str| {
        let before = used(&world);
        device.read(0, 1).expect("a read");
        let after = used(&world);
        assert_eq!(after[path], before[path] + 1, "{why}");
    };
    read_by(0, "the first group is first");
    world.say("m", "switch_group 2").expect("a message");
    read_by(1, "as told");
    read_by(1, "and it stays");
    world.say("m", "disable_group 2").expect("a message");
    assert!(status(&world).contains(" D "));
    read_by(0, "the second is avoided");
    world.say("m", "fail_path /dev/mapper/a").expect("a message");
    read_by(1, "unless there is no other");
    world.say("m", "enable_group 2").expect("a message");
    world.say("m", "reinstate_path /dev/mapper/a").expect("a message");
    assert!(!status(&world).contains(" D ") && !status(&world).contains(" F "));
    assert_eq!(world.on("m", Action::Info).expect("info").event_nr, 5, "each is an event");
}

#[test]
fn wrong_messages_are_refused_with_a_sentence() {
    let world = World::new();
    let _disk = ways(&world, Mode::Inline);
    drop(world.create("m", &two_groups("0")));
    let cases = [
        ("sing", Errno::EINVAL, "is no message of multipath"),
        ("switch_group", Errno::EINVAL, "(priority group) is missing"),
        ("switch_group 3", Errno::EINVAL, "is not from 1 to 2"),
        ("disable_group 0", Errno::EINVAL, "is not from 1 to 2"),
        ("fail_path /dev/mapper/c", Errno::EINVAL, "is no path of this device"),
        ("fail_path /dev/mapper/a now", Errno::EINVAL, "is one too many"),
        ("queue_if_no_path 5", Errno::EINVAL, "is one too many"),
    ];
    let before = status(&world);
    for (text, errno, why) in cases {
        let failure = world.say("m", text).expect_err(text);
        assert_eq!(failure.errno, errno, "{text}");
        assert!(failure.message.contains(why), "{text}: {}", failure.message);
        assert_eq!(status(&world), before);
    }
    world.on("m", Action::Suspend).expect("suspended");
    let failure = world.say("m", "fail_path /dev/mapper/a").expect_err("suspended");
    assert_eq!(failure.errno, Errno::EBUSY);
}

#[test]
fn suspension_hands_back_what_waits_or_fails_it() {
    let world = World::new();
    let disk = ways(&world, Mode::Inline);
    let device = world.create("m", &two_groups("1 queue_if_no_path"));
    for path in ["a", "b"] {
        world.say("m", &format!("fail_path /dev/mapper/{path}")).expect("a message");
    }
    let handed = device.begin(Op::Write, false, 0, 1, vec![5; 512]);
    world.on_with("m", Action::Suspend, Flags::NOFLUSH).expect("suspended");
    assert!(!handed.is_over());
    world.load("m", &way(&disk)).expect("another table");
    world.on("m", Action::Resume).expect("resumed");
    handed.wait().expect("through the other table");
    assert_eq!(disk.bytes()[0], 5);
    swap(&world, "m", &two_groups("1 queue_if_no_path"));
    for path in ["a", "b"] {
        world.say("m", &format!("fail_path /dev/mapper/{path}")).expect("a message");
    }
    let failed = device.begin(Op::Write, false, 0, 1, vec![6; 512]);
    world.on("m", Action::Suspend).expect("suspended");
    assert_eq!(failed.wait(), Err(Errno::EIO), "it cannot be drained");
    world.on("m", Action::Resume).expect("resumed");
    assert!(table(&world).contains("1 queue_if_no_path"), "as before the suspension");
}

#[test]
fn a_device_without_paths_queues_until_it_gets_a_table_that_has_some() {
    let world = World::new();
    let disk = ways(&world, Mode::Inline);
    let device = world.create("m", &format!("0 {SIZE} multipath 1 queue_if_no_path 0 0 0"));
    assert_eq!(table(&world), format!("0 {SIZE} multipath 1 queue_if_no_path 0 0 0 "));
    let pending = device.begin(Op::Write, true, 9, 1, vec![1; 512]);
    world.load("m", &one_group("0", "queue-length 0", "1")).expect("a table");
    world.on_with("m", Action::Resume, Flags::NOFLUSH).expect("resumed");
    pending.wait().expect("a write");
    assert_eq!(disk.bytes()[9 * 512], 1);
}

#[test]
fn a_target_without_its_thread_or_paths_is_not_loaded() {
    let world = World::new();
    let _disk = ways(&world, Mode::Inline);
    world.make("m").expect("a device");
    let before = everything(&world);
    for n in 1.. {
        world.context.faults.fail_nth(n);
        let loaded = world.load("m", &two_groups("0"));
        if !world.context.faults.hit() {
            loaded.expect("nothing failed");
            assert!(n >= 2, "a thread at least");
            break;
        }
        loaded.expect_err("a fault");
        world.context.faults.fail_nth(0);
        assert_eq!(everything(&world), before);
    }
}

/// Paths fail and come back while requests run. As long as one lives, no caller sees an error.
fn churn(seed: u64) {
    let world = Arc::new(World::new());
    let disk = ways(&world, Mode::Thread(seed));
    let mut random = Random::new(seed);
    let selectors = [
        ("round-robin 0", "1"),
        ("queue-length 0", "1"),
        ("service-time 0", "1 1"),
        ("historical-service-time 0", "1"),
    ];
    let (selector, words) = *random.pick(&selectors);
    let features = *random.pick(&["0", "1 queue_if_no_path"]);
    let device = world.create("m", &one_group(features, selector, words));
    let meddler = world.spawn(move |world| {
        let mut random = Random::new(seed ^ 0x5eed);
        for _ in 0..if cfg!(miri) { 2 } else { 60 } {
            // One path at a time, so that two live.
            let path = *random.pick(&PATHS);
            break_path(world, path);
            std::thread::sleep(Duration::from_millis(random.below(3)));
            swap(world, path, &way(&disk));
            world.say("m", &format!("reinstate_path /dev/mapper/{path}")).expect("a message");
            if random.one_in(4) {
                let flags = if random.one_in(2) { Flags::NOFLUSH } else { Flags::EXISTS };
                world.on_with("m", Action::Suspend, flags).expect("suspended");
                world.on("m", Action::Resume).expect("resumed");
            }
        }
    });
    let mut model = Model::new(SIZE);
    device.write(0, &vec![0; SIZE as usize * 512]).expect("a write");
    for _ in 0..if cfg!(miri) { 5 } else { 300 } {
        let at = random.below(SIZE);
        let count = random.within(1, (SIZE - at).min(40));
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
    model.check(0, &device.read(0, SIZE).expect("a read"));
}

#[test]
fn no_error_reaches_the_caller_while_one_path_lives() {
    seeds(4, churn);
}
