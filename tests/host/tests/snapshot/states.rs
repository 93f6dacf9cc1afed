//! Suspensions, new tables and removals while a copy, its entry, a merge or a request is on its
//! way: each ends, and the origin and its snapshot show what they should.

use crate::pattern::{status, until};
use dm::kern::disk::Op;
use dm_protocol::{Action, Flags};
use dm_tests::pump::Pump;
use dm_tests::{Device, Disk, DiskSpec, Mode, Pending, World};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

const SIZE: u64 = 64;
/// Sectors of a chunk; the first area of entries is the second chunk.
const CHUNK: u64 = 4;

/// What is on its way when something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Still,
    /// A chunk is read from the origin, whose writer waits.
    Copies,
    /// It is written to the COW device.
    Keeps,
    /// Its entry is.
    Notes,
    /// A write of the snapshot's own is.
    Writes,
    /// A read of the snapshot is at the origin.
    Reads,
    /// A flush of the COW device.
    Flushes,
    /// A chunk is read to be merged.
    MergeReads,
    /// It is written to the origin.
    MergeWrites,
    /// Its entry is taken away.
    MergeNotes,
}

const STATES: [State; 10] = [
    State::Still,
    State::Copies,
    State::Keeps,
    State::Notes,
    State::Writes,
    State::Reads,
    State::Flushes,
    State::MergeReads,
    State::MergeWrites,
    State::MergeNotes,
];

impl State {
    const fn merges(self) -> bool {
        matches!(self, Self::MergeReads | Self::MergeWrites | Self::MergeNotes)
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Suspends,
    SuspendsWithoutFlush,
    SuspendsAndGivesUp,
    LoadsTheSame,
    Removes,
}

const DEEDS: [Deed; 5] = [
    Deed::Suspends,
    Deed::SuspendsWithoutFlush,
    Deed::SuspendsAndGivesUp,
    Deed::LoadsTheSame,
    Deed::Removes,
];

/// An origin of 1s with a snapshot that holds 3 in its last chunk, or the two being merged.
struct Setup {
    world: Arc<World>,
    disk: Arc<Disk>,
    cow: Arc<Disk>,
    /// The origin's gate is the first, the COW device's the second.
    pump: Pump,
}

impl Setup {
    fn new(store: &str) -> Self {
        let world = Arc::new(World::new());
        let held = |sectors| world.disk_of(DiskSpec::new(sectors).mode(Mode::Held));
        let (disk, cow) = (held(SIZE), held(256));
        let pump = Pump::new(vec![Arc::clone(&disk), Arc::clone(&cow)]);
        let setup = Self { world, disk, cow, pump };
        setup.disk.set_bytes(0, &[1; SIZE as usize * 512]);
        let base = format!("0 {SIZE} linear {} 0", setup.disk.name());
        setup.world.try_create("base", &base).expect("a base");
        setup.world.try_create("o", &setup.table("o", store)).expect("an origin");
        let snapshot = setup.world.create("s", &setup.table("s", store));
        snapshot.write(SIZE - CHUNK, &[3; CHUNK as usize * 512]).expect("a write");
        setup
    }

    fn table(&self, name: &str, store: &str) -> String {
        let kind = match name {
            "base" => return format!("0 {SIZE} linear {} 0", self.disk.name()),
            "o" => return format!("0 {SIZE} snapshot-origin /dev/mapper/base"),
            "s" => "snapshot",
            _ => "snapshot-merge",
        };
        format!("0 {SIZE} {kind} /dev/mapper/base {} {store} {CHUNK}", self.cow.name())
    }

    /// Waits until a transfer of a disk that is like this is held, behind a closed gate.
    fn held(&self, disk: &Disk, is: impl Fn((Op, u64, u64)) -> bool) {
        let mut found = false;
        until("it is held", || {
            // Those before it are let through.
            while !found && disk.held() != 0 {
                found = is(disk.held_op(0));
                if !found {
                    disk.complete(0);
                }
            }
            found
        });
    }

    /// Brings the state about. A resume may wait for what is held.
    fn enter(&self, state: State, pending: &mut Vec<Pending>) -> Option<JoinHandle<()>> {
        let begin = |name: &str, op, at, byte: u8| {
            let device = self.world.open(name);
            let count = if op == Op::Flush { 0 } else { CHUNK };
            device.begin(op, false, at, count, vec![byte; count as usize * 512])
        };
        let entry = |(op, at, _): (Op, u64, u64)| op == Op::Write && at / CHUNK == 1;
        let is = |wanted: Op| move |(op, ..): (Op, u64, u64)| op == wanted;
        let (disk, cow) = (&self.disk, &self.cow);
        let closed = match state {
            State::Still => return None,
            State::Copies | State::Reads | State::MergeWrites => 0,
            _ => 1,
        };
        self.pump.open(closed, false);
        let mut resuming = None;
        match state {
            State::Copies | State::Keeps | State::Notes => {
                pending.push(begin("o", Op::Write, 0, 2));
            }
            State::Writes => pending.push(begin("s", Op::Write, 8, 4)),
            State::Reads => pending.push(begin("s", Op::Read, 16, 0)),
            State::Flushes => pending.push(begin("s", Op::Flush, 0, 0)),
            _ => {
                let resume = |world: &World| drop(world.on("o", Action::Resume).expect("resumed"));
                resuming = Some(self.world.spawn(resume));
            }
        }
        match state {
            State::Copies | State::Reads => self.held(disk, is(Op::Read)),
            State::Keeps | State::Writes => self.held(cow, is(Op::Write)),
            State::Flushes => self.held(cow, is(Op::Flush)),
            State::MergeReads => self.held(cow, is(Op::Read)),
            State::MergeWrites => self.held(disk, is(Op::Write)),
            _ => self.held(cow, entry),
        }
        if state == State::Copies {
            // One more waits behind it, and one of the snapshot's own.
            pending.push(begin("o", Op::Write, 0, 2));
            pending.push(begin("s", Op::Write, 8, 4));
        }
        if state.merges() {
            pending.push(begin("o", Op::Write, SIZE - CHUNK, 5));
        }
        resuming
    }
}

fn act(world: &World, name: &str, deed: Deed, table: &str) {
    match deed {
        Deed::Suspends => drop(world.on(name, Action::Suspend).expect("suspended")),
        Deed::SuspendsWithoutFlush => {
            world.on_with(name, Action::Suspend, Flags::NOFLUSH).expect("suspended");
        }
        Deed::SuspendsAndGivesUp => {
            // It may be over before.
            let given_up = world.on(name, Action::Suspend).is_err();
            assert_eq!(is_suspended(world, name), !given_up);
        }
        Deed::LoadsTheSame => {
            world.load(name, table).expect("loaded");
            world.on_with(name, Action::Resume, Flags::NOFLUSH).expect("resumed");
        }
        Deed::Removes => until("removed", || world.on(name, Action::Remove).is_ok()),
    }
}

fn is_suspended(world: &World, name: &str) -> bool {
    world.on(name, Action::Info).expect("info").flags.contains(Flags::SUSPEND)
}

fn try_one(store: &str, state: State, name: &str, deed: Deed) {
    let what = format!("{store} {state:?}: {name} {deed:?}");
    let setup = Setup::new(store);
    let world = &setup.world;
    let _opens = setup.pump.opens_at_end();
    if state.merges() {
        world.on("s", Action::Remove).expect("removed");
        world.load("o", &setup.table("merge", store)).expect("loaded");
        world.on("o", Action::Suspend).expect("suspended");
    }
    let mut pending = Vec::new();
    let resuming = setup.enter(state, &mut pending);
    let table = setup.table(if state.merges() && name == "o" { "merge" } else { name }, store);
    let acting = {
        let name = name.to_owned();
        world.spawn(move |world| act(world, &name, deed, &table))
    };
    std::thread::sleep(Duration::from_millis(1));
    if deed == Deed::SuspendsAndGivesUp {
        world.context.interrupt(true);
    }
    // The snapshot has copied nothing of this yet.
    let origin = (name, deed) != ("o", Deed::Removes);
    let late = origin.then(|| world.open("o").begin(Op::Write, false, 32, 1, vec![2; 512]));
    setup.pump.open_all();
    [Some(acting), resuming].into_iter().flatten().for_each(|it| it.join().expect("no surprise"));
    world.context.interrupt(false);
    if deed != Deed::Removes && is_suspended(world, name) {
        world.on(name, Action::Resume).expect("resumed");
    }
    for request in pending.into_iter().chain(late) {
        request.wait().unwrap_or_else(|errno| panic!("{what}: {errno:?}"));
    }
    check(&setup, state, origin, &what);
}

/// What is there now.
fn check(setup: &Setup, state: State, origin: bool, what: &str) {
    let world = &setup.world;
    let versions = |device: &Device| -> Vec<u8> {
        let read = device.read(0, SIZE).unwrap_or_else(|errno| panic!("{what}: {errno:?}"));
        read.chunks(512).map(|sector| sector[0]).collect()
    };
    let mut expected = vec![1_u8; SIZE as usize];
    let last = (SIZE - CHUNK) as usize;
    let copies = matches!(state, State::Copies | State::Keeps | State::Notes);
    if world.driver().minor_of("s").is_some() {
        let mut shown = expected.clone();
        shown[last..].fill(3);
        if matches!(state, State::Writes | State::Copies) {
            shown[8..12].fill(4);
        }
        assert_eq!(versions(&world.open("s")), shown, "{what}: the snapshot");
        assert!(!status(world, "s").contains("nvalid"), "{what}");
    }
    if copies {
        expected[..4].fill(2);
    }
    if origin {
        expected[32] = 2;
    }
    if state.merges() {
        if origin {
            until("merged", || status(world, "o").ends_with(" 8/256 8"));
        }
        expected[last..].fill(5);
    }
    let name = if origin { "o" } else { "base" };
    assert_eq!(versions(&world.open(name)), expected, "{what}: the origin");
}

#[test]
fn every_command_ends_whatever_is_on_its_way() {
    for store in ["P", "N"] {
        for state in STATES.into_iter().filter(|state| store == "P" || *state != State::Notes) {
            for name in ["o", "s", "base"] {
                for deed in DEEDS {
                    // A transient store cannot be merged, what was merged has no snapshot, and
                    // what is open, as below another or with requests, is not removed.
                    let merges = state.merges() && (store == "N" || name == "s");
                    let alone = match name {
                        "o" => matches!(
                            state,
                            State::Still | State::Writes | State::Reads | State::Flushes
                        ),
                        "s" => matches!(state, State::Still | State::Keeps | State::Notes),
                        _ => false,
                    };
                    if !merges && (deed != Deed::Removes || alone) {
                        try_one(store, state, name, deed);
                    }
                }
            }
        }
    }
}
