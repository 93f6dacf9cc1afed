//! Suspensions, new tables, removals and messages in every state that requests and copying can
//! be in: requests end, once, and in the order that the command asks for.

use crate::kinds::{KINDS, Kind, LENGTH, Set};
use dm::kern::disk::Op;
use dm_protocol::{Action, Errno, Flags};
use dm_tests::pump::Pump;
use dm_tests::{Device, Mode, Pending, World, until};

/// A state to be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is under way.
    Still,
    /// A write is on its way to a member.
    Writes,
    /// A write waits for its mark.
    Marks,
    /// A read is on its way.
    Reads,
    /// A flush is.
    Flushes,
    /// A copy is being read, and a write waits for that.
    CopyReads,
    /// A copy is being written, and a write waits for that.
    CopyWrites,
    /// Copies are being compared, and a write waits for that.
    Compares,
}

const STATES: [State; 8] = [
    State::Still,
    State::Writes,
    State::Marks,
    State::Reads,
    State::Flushes,
    State::CopyReads,
    State::CopyWrites,
    State::Compares,
];

/// What is done then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Suspends,
    SuspendsWithoutFlush,
    LoadsTheSame,
    LoadsAnother,
    Removes,
    SuspendsAndGivesUp,
    Says(&'static str),
}

const DEEDS: [Deed; 12] = [
    Deed::Suspends,
    Deed::SuspendsWithoutFlush,
    Deed::LoadsTheSame,
    Deed::LoadsAnother,
    Deed::Removes,
    Deed::SuspendsAndGivesUp,
    Deed::Says("check"),
    Deed::Says("repair"),
    Deed::Says("resync"),
    Deed::Says("recover"),
    Deed::Says("idle"),
    Deed::Says("frozen"),
];

/// Can this be done to such a set in this state?
fn can_be(set: &Set, state: State, deed: Deed) -> bool {
    // A device with requests is open.
    let alone = [State::Still, State::CopyReads, State::CopyWrites, State::Compares];
    // Only a raid takes messages.
    let asked = state == State::Compares || matches!(deed, Deed::Says(_));
    (deed != Deed::Removes || alone.contains(&state))
        && (!asked || set.kind.words.starts_with("raid"))
}

/// Brings a set into a state. False if this kind cannot be.
fn enter(
    set: &Set,
    pump: &Pump,
    device: &Device,
    (state, deed): (State, Deed),
    out: &mut Vec<Pending>,
) -> bool {
    if !can_be(set, state, deed) {
        return false;
    }
    let write = |at| device.begin(Op::Write, false, at, 4, vec![7; 2048]);
    let held = |disk: usize, op: Op| {
        let disk = &set.data[disk];
        until("a transfer is held", || (0..disk.held()).any(|nr| disk.held_op(nr).0 == op));
    };
    match state {
        State::Still => {}
        State::Writes => {
            pump.open(1, false);
            out.push(write(0));
            held(1, Op::Write);
        }
        State::Marks if set.metas.is_empty() => return false,
        State::Marks => {
            // Nothing is marked any more.
            set.again();
            pump.open(set.data.len(), false);
            out.push(write(0));
            until("the mark is on its way", || set.metas[0].held() != 0);
        }
        State::Reads => {
            pump.open(0, false);
            pump.open(1, false);
            out.push(device.begin(Op::Read, false, 0, 4, vec![0; 2048]));
            until("held", || set.data[0].held() + set.data[1].held() != 0);
        }
        State::Flushes => {
            pump.open(1, false);
            out.push(device.begin(Op::Flush, false, 0, 0, Vec::new()));
            held(1, Op::Flush);
        }
        State::CopyReads | State::CopyWrites => {
            // The second member misses a write, and comes back.
            set.data[1].break_sectors(0..LENGTH, Errno::EIO);
            write(0).wait().expect("on the others");
            set.data[1].mend();
            set.world.on("c", Action::Suspend).expect("suspended");
            let (disk, op) = if state == State::CopyReads { (0, Op::Read) } else { (1, Op::Write) };
            pump.open(disk, false);
            set.world.on("c", Action::Resume).expect("resumed");
            held(disk, op);
            if deed != Deed::Removes {
                out.push(write(0));
            }
        }
        State::Compares => {
            pump.open(1, false);
            set.world.say("c", "check").expect("a message");
            held(1, Op::Read);
            if deed != Deed::Removes {
                out.push(write(0));
            }
        }
    }
    true
}

/// A set whose transfers are held, and its pump, which it needs to its end.
fn held(kind: &'static Kind) -> (Pump, Set) {
    let set = Set::new(kind, |_| Mode::Held);
    (Pump::new(set.data.iter().chain(&set.metas).cloned().collect()), set)
}

fn act(world: &World, deed: Deed, table: &str, other: &str) {
    match deed {
        Deed::Suspends => drop(world.on("c", Action::Suspend).expect("suspended")),
        Deed::SuspendsWithoutFlush => {
            world.on_with("c", Action::Suspend, Flags::NOFLUSH).expect("suspended");
        }
        Deed::LoadsTheSame | Deed::LoadsAnother => {
            let table = if deed == Deed::LoadsAnother { other } else { table };
            world.load("c", table).expect("loaded");
            world.on_with("c", Action::Resume, Flags::NOFLUSH).expect("resumed");
        }
        Deed::Removes => until("removed", || world.on("c", Action::Remove).is_ok()),
        Deed::SuspendsAndGivesUp => {
            // It may be over before.
            let given_up = world.on("c", Action::Suspend).is_err();
            assert_eq!(is_suspended(world), !given_up);
        }
        Deed::Says(word) => {
            if let Err(failure) = world.say("c", word) {
                let begins = !["idle", "frozen"].contains(&word);
                assert!(begins && failure.errno == Errno::EBUSY, "{}", failure.message);
            }
        }
    }
}

fn is_suspended(world: &World) -> bool {
    world.on("c", Action::Info).expect("info").flags.contains(Flags::SUSPEND)
}

/// One deed in one state.
fn try_one(kind: &'static Kind, state: State, deed: Deed) {
    let (pump, set) = held(kind);
    let _opens = pump.opens_at_end();
    let device = set.world.create("c", &set.table());
    set.wait_until_equal();
    let other = set.world.disk(LENGTH);
    let other_table = format!("0 {LENGTH} linear {} 0", other.name());
    let mut pending = Vec::new();
    if !enter(&set, &pump, &device, (state, deed), &mut pending) {
        return;
    }
    let device = if deed == Deed::Removes {
        drop(device);
        None
    } else {
        Some(device)
    };
    let acting = {
        let table = set.table();
        set.world.spawn(move |world| act(world, deed, &table, &other_table))
    };
    std::thread::sleep(std::time::Duration::from_millis(2));
    if deed == Deed::SuspendsAndGivesUp {
        set.world.context.interrupt(true);
    }
    let late = device.as_ref().map(|device| device.begin(Op::Write, false, 100, 4, vec![9; 2048]));
    pump.open_all();
    acting.join().expect("no surprise");
    set.world.context.interrupt(false);
    if deed != Deed::Removes && is_suspended(&set.world) {
        set.world.on("c", Action::Resume).expect("resumed");
    }
    for request in pending.into_iter().chain(late) {
        request
            .wait()
            .unwrap_or_else(|errno| panic!("{}: {state:?} {deed:?}: {errno:?}", kind.name));
    }
    let Some(device) = device else { return };
    device.write(0, &[5; 512 * LENGTH as usize]).expect("a write");
    assert!(device.read(0, LENGTH).expect("a read").iter().all(|byte| *byte == 5));
    if deed == Deed::LoadsAnother {
        assert!(other.bytes().iter().all(|byte| *byte == 5));
        return;
    }
    if deed == Deed::Says("frozen") {
        assert!(set.status().contains(" frozen "), "{}", set.status());
        set.world.say("c", "idle").expect("a message");
    }
    set.wait_until_equal();
    set.remove(device);
}

#[test]
fn the_thread_sleeps_while_copies_are_under_way() {
    for kind in &KINDS {
        let (pump, set) = held(kind);
        let _opens = pump.opens_at_end();
        let device = set.world.create("c", &set.table());
        set.wait_until_equal();
        let mut pending = Vec::new();
        assert!(enter(&set, &pump, &device, (State::CopyWrites, Deed::Suspends), &mut pending));
        let before = set.world.context.clock_reads();
        std::thread::sleep(std::time::Duration::from_millis(50));
        let reads = set.world.context.clock_reads() - before;
        pump.open_all();
        pending.into_iter().for_each(|write| drop(write.wait().expect("a write")));
        assert!(reads < 100, "{}: it looked at the clock {reads} times", kind.name);
        set.wait_until_equal();
        set.remove(device);
    }
}

#[test]
fn every_command_ends_in_every_state() {
    // For an interpreter each state once, with another command and kind.
    let mine = |kind: usize, state: usize, deed: usize| {
        !cfg!(miri) || (kind == state % KINDS.len() && deed == state % DEEDS.len())
    };
    for (k, kind) in KINDS.iter().enumerate() {
        for (s, state) in STATES.into_iter().enumerate() {
            let deeds = DEEDS.into_iter().enumerate().filter(|(d, _)| mine(k, s, *d));
            deeds.for_each(|(_, deed)| try_one(kind, state, deed));
        }
    }
}
