//! multipath: every call of the seam that may fail does, and every command comes in every state.
//! One path is left each time, so no caller sees an error.

use dm::kern::disk::Op;
use dm_protocol::{Action, Errno, Failure, Flags};
use dm_tests::model::Model;
use dm_tests::pump::Pump;
use dm_tests::snapshot::lines;
use dm_tests::{Disk, DiskSpec, Mode, World, until};
use std::sync::Arc;

const SIZE: u64 = 64;
const SELECTORS: [&str; 4] =
    ["round-robin 0", "queue-length 0", "service-time 0", "historical-service-time 0"];

fn way(disk: &Disk) -> String {
    format!("0 {SIZE} linear {} 0", disk.name())
}

fn make_paths(world: &World, disk: &Disk) {
    for path in ["a", "b"] {
        world.try_create(path, &way(disk)).expect("a path");
    }
}

fn fail_both(world: &World) {
    for path in ["a", "b"] {
        world.say("m", &format!("fail_path /dev/mapper/{path}")).expect("a message");
    }
}

/// Two ways to a disk, in one group or in two.
fn table(selector: &str, groups: usize) -> String {
    let [a, b] = ["/dev/mapper/a 1", "/dev/mapper/b 1"];
    let of = match groups {
        1 => format!("{selector} 2 1 {a} {b}"),
        _ => format!("{selector} 1 1 {a} {selector} 1 1 {b}"),
    };
    format!("0 {SIZE} multipath 1 queue_if_no_path 0 {groups} 1 {of}")
}

/// Does something, and when it failed does it once more without the fault.
fn do_it<T>(world: &World, mut act: impl FnMut() -> Result<T, Failure>) {
    if act().is_err() {
        assert!(world.context.faults.hit(), "nothing failed, and it did");
        act().unwrap_or_else(|failure| panic!("{}", failure.message));
    }
}

/// A life in which call number `n` fails. False if there were fewer.
fn live(mode: Mode, table: &str, n: u64) -> bool {
    let world = World::new();
    let disk = world.disk_of(DiskSpec::new(SIZE).mode(mode));
    make_paths(&world, &disk);
    world.context.faults.fail_nth(n);
    do_it(&world, || world.try_create("m", table));
    let device = world.open("m");
    let mut model = Model::new(SIZE);
    for round in 1..4_u8 {
        for at in [0, 20, 40] {
            let data = [round; 15 * 512];
            device.write(at, &data).expect("over one of two paths");
            model.write(at, &data);
        }
        device.flush().expect("over one of two paths");
        device.command(Op::WriteZeroes, 60, 2).expect("over one of two paths");
        model.check(0, &device.read(0, SIZE).expect("over one of two paths"));
        match round {
            1 => do_it(&world, || world.on("m", Action::Suspend)),
            2 => {
                do_it(&world, || world.load("m", table));
                do_it(&world, || world.on_with("m", Action::Suspend, Flags::NOFLUSH));
            }
            _ => {
                fail_both(&world);
                let waits = device.begin(Op::Write, true, 30, 2, vec![9; 1024]);
                world.say("m", "reinstate_path /dev/mapper/b").expect("a message");
                // When that fails, too, it waits again.
                until("it is sent", || {
                    waits.is_over() || lines(&world, "m", true)[0].contains(" F 2")
                });
                world.say("m", "reinstate_path /dev/mapper/b").expect("a message");
                waits.wait().expect("it waited");
                model.write(30, &[9; 1024]);
            }
        }
        do_it(&world, || world.on("m", Action::Resume));
    }
    let hit = world.context.faults.hit();
    world.context.faults.fail_nth(0);
    model.check(0, &device.read(0, SIZE).expect("a read"));
    hit
}

#[test]
fn no_call_that_fails_is_seen_while_one_path_is_left() {
    for mode in [Mode::Inline, Mode::Thread(3)] {
        for selector in SELECTORS {
            for groups in [1, 2] {
                let mut n = 1;
                while live(mode, &table(selector, groups), n) {
                    n += if cfg!(miri) { 29 } else { 1 };
                    assert!(n < 1000, "no end of calls");
                }
                assert!(n > 30, "only {n} calls");
            }
        }
    }
}

/// What is under way when something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Still,
    Reads,
    Writes,
    Flushes,
    /// A write whose path fails, so that it goes the other way.
    Fails,
    /// No path is left.
    Waits,
}

const STATES: [State; 6] =
    [State::Still, State::Reads, State::Writes, State::Flushes, State::Fails, State::Waits];

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Suspends,
    SuspendsWithoutFlush,
    SuspendsAndGivesUp,
    LoadsTheSame,
    LoadsAnother,
    Says(&'static str),
    Removes,
}

const DEEDS: [Deed; 13] = [
    Deed::Suspends,
    Deed::SuspendsWithoutFlush,
    Deed::SuspendsAndGivesUp,
    Deed::LoadsTheSame,
    Deed::LoadsAnother,
    Deed::Says("fail_path /dev/mapper/a"),
    Deed::Says("fail_path /dev/mapper/b"),
    Deed::Says("reinstate_path /dev/mapper/a"),
    Deed::Says("switch_group 2"),
    Deed::Says("disable_group 1"),
    Deed::Says("enable_group 1"),
    Deed::Says("fail_if_no_path"),
    Deed::Removes,
];

fn act(world: &World, deed: Deed, table: &str, other: &str) {
    match deed {
        Deed::Suspends => drop(world.on("m", Action::Suspend).expect("suspended")),
        Deed::SuspendsWithoutFlush => {
            world.on_with("m", Action::Suspend, Flags::NOFLUSH).expect("suspended");
        }
        Deed::SuspendsAndGivesUp => {
            // It may be over before.
            let given_up = world.on("m", Action::Suspend).is_err();
            assert_eq!(is_suspended(world), !given_up);
        }
        Deed::LoadsTheSame | Deed::LoadsAnother => {
            world
                .load("m", if deed == Deed::LoadsAnother { other } else { table })
                .expect("loaded");
            world.on_with("m", Action::Resume, Flags::NOFLUSH).expect("resumed");
        }
        Deed::Says(what) => drop(world.say("m", what).expect("a message")),
        Deed::Removes => until("removed", || world.on("m", Action::Remove).is_ok()),
    }
}

fn is_suspended(world: &World) -> bool {
    world.on("m", Action::Info).expect("info").flags.contains(Flags::SUSPEND)
}

/// Each deed in each state, with the paths in two groups.
fn try_one(state: State, deed: Deed) {
    let what = format!("{state:?}: {deed:?}");
    let world = Arc::new(World::new());
    let disk = world.disk_of(DiskSpec::new(SIZE).mode(Mode::Held));
    let pump = Pump::new(vec![Arc::clone(&disk)]);
    let _opens = pump.opens_at_end();
    make_paths(&world, &disk);
    let table = table("round-robin 0", 2);
    let device = world.create("m", &table);
    let mut pending = Vec::new();
    let begin = |op, count: u64| device.begin(op, false, 0, count, vec![7; count as usize * 512]);
    if state == State::Waits {
        fail_both(&world);
    } else if state != State::Still {
        pump.open(0, false);
    }
    match state {
        State::Still => {}
        State::Reads => pending.push(begin(Op::Read, 4)),
        State::Writes | State::Fails | State::Waits => pending.push(begin(Op::Write, 4)),
        State::Flushes => pending.push(begin(Op::Flush, 0)),
    }
    if !matches!(state, State::Still | State::Waits) {
        until("it is held", || disk.held() != 0);
    }
    if state == State::Fails {
        disk.break_sectors(0..SIZE, Errno::EIO);
        disk.complete(0);
        disk.mend();
    }
    let device = (deed != Deed::Removes).then_some(device);
    let acting = {
        let other = way(&disk);
        world.spawn(move |world| act(world, deed, &table, &other))
    };
    std::thread::sleep(std::time::Duration::from_millis(1));
    if deed == Deed::SuspendsAndGivesUp {
        world.context.interrupt(true);
    }
    pump.open_all();
    acting.join().expect("no surprise");
    world.context.interrupt(false);
    let Some(device) = device else { return };
    if is_suspended(&world) {
        world.on("m", Action::Resume).expect("resumed");
    }
    // A table of its own has paths of its own.
    if deed != Deed::LoadsAnother {
        world.say("m", "reinstate_path /dev/mapper/b").expect("a message");
    }
    let fails = state == State::Waits
        && matches!(
            deed,
            Deed::Suspends | Deed::SuspendsAndGivesUp | Deed::Says("fail_if_no_path")
        );
    for request in pending {
        let expected = if fails { Err(Errno::EIO) } else { Ok(()) };
        assert_eq!(request.wait().map(drop), expected, "{what}");
    }
    device.write(0, &[5; 512 * SIZE as usize]).unwrap_or_else(|errno| panic!("{what}: {errno:?}"));
    assert!(device.read(0, SIZE).expect("a read").iter().all(|byte| *byte == 5));
}

#[test]
fn every_command_ends_in_every_state() {
    for state in STATES {
        // What has requests is open.
        let deeds = DEEDS.into_iter();
        deeds
            .filter(|deed| *deed != Deed::Removes || state == State::Still)
            .for_each(|deed| try_one(state, deed));
    }
}

/// What waits is the caller's memory: none of ours, however much waits.
#[test]
fn requests_that_wait_take_no_memory() {
    use dm_tests::context::Thing;
    let world = World::new();
    let disk = world.disk(SIZE);
    make_paths(&world, &disk);
    let device = world.create("m", &table("round-robin 0", 2));
    fail_both(&world);
    world.context.faults.starve(true);
    let many = if cfg!(miri) { 40 } else { 10_000 };
    let write = |nr: u64| device.begin(Op::Write, false, nr % SIZE, 1, vec![1; 512]);
    let pending: Vec<_> = (0..many).map(write).collect();
    assert!(pending.iter().all(|pending| !pending.is_over()));
    let out = [Thing::ChildCell, Thing::IoCell].map(|thing| world.context.out(thing));
    world.say("m", "reinstate_path /dev/mapper/a").expect("a message");
    pending.into_iter().for_each(|pending| drop(pending.wait().expect("a write")));
    world.context.faults.starve(false);
    assert!(out[0] == 0 && out[1] < 100, "{out:?}");
}
