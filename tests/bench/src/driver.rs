//! The driver alone: what a 4 KiB read costs between the caller and a disk that does nothing.

use crate::mapper::Mapper;
use crate::report::{Row, Unit};
use crate::request::{NullDisk, Order, Places, SECTORS, To, read};
use crate::sample::{InTurn, Summary};
use crate::{Effort, floor, instructions};
use dm::driver::Opened;
use dm_protocol::SegmentSpec;
use std::sync::Barrier;
use std::thread;

/// Requests that fit on every device: a million segments of one request each, or fewer longer ones.
const UNITS: u64 = 1_000_000;

/// What is measured against: the disk itself.
const PEER: &str = "no driver, 1 thread";
const MISS: &str = "one cache miss, 50 MB";
const PEER_2: &str = "no driver, 2 threads";

/// One thing to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Segments of the table.
    pub segments: u64,
    /// Devices on one another.
    pub levels: u32,
    /// In which order.
    pub order: Order,
}

impl Case {
    const fn new(segments: u64, levels: u32, order: Order) -> Self {
        Self { segments, levels, order }
    }

    /// All cases of one thread.
    const ALL: [Self; 11] = [
        Self::new(1, 1, Order::Sequential),
        Self::new(1, 1, Order::Random),
        Self::new(10, 1, Order::Sequential),
        Self::new(10, 1, Order::Random),
        Self::new(1000, 1, Order::Sequential),
        Self::new(1000, 1, Order::Random),
        Self::new(1_000_000, 1, Order::Sequential),
        Self::new(1_000_000, 1, Order::Random),
        Self::new(1, 2, Order::Random),
        Self::new(1, 3, Order::Random),
        Self::new(1, 4, Order::Random),
    ];

    fn name(self) -> String {
        let order = match self.order {
            Order::Sequential => "in order",
            Order::Random => "anywhere",
        };
        match self.levels {
            1 => format!("{} linear, {order}", self.segments),
            levels => format!("{levels} levels of linear, {order}"),
        }
    }

    /// Makes the device unless another case did.
    fn open(self, mapper: &Mapper) -> Opened {
        let name = format!("{}-{}", self.segments, self.levels);
        if let Some(minor) = mapper.driver.minor_of(&name) {
            return mapper.open(minor);
        }
        match self.levels {
            1 => mapper.shuffled(&name, UNITS, self.segments, SECTORS),
            levels => mapper.stack(&name, levels, UNITS * SECTORS),
        }
    }

    /// Reads `count` times and nothing else, for a program that counts instructions.
    pub fn read(self, count: u64) {
        let opened = self.open(&Mapper::new());
        read(To::Device(&opened), &mut Places::new(self.order, UNITS, 1), count);
    }
}

/// Reads from the disk itself, for a program that counts instructions.
pub fn read_disk(count: u64) {
    let disk = NullDisk::default();
    read(To::Disk(&disk), &mut Places::new(Order::Random, UNITS, 1), count);
}

/// Measures all cases.
pub fn run(effort: Effort) -> Vec<Row> {
    let count = 5000;
    let mapper = Mapper::new();
    let disk = NullDisk::default();
    let opened: Vec<(Case, Opened)> =
        Case::ALL.into_iter().map(|case| (case, case.open(&mapper))).collect();
    let striped = striped(&mapper);
    let second = mapper.shuffled("second", UNITS, 1, SECTORS);
    let mut in_turn = InTurn::new();
    let mut places = Places::new(Order::Random, UNITS, 1);
    in_turn.add(PEER, move || read(To::Disk(&disk), &mut places, count));
    for (case, opened) in &opened {
        let mut places = Places::new(case.order, UNITS, 2);
        in_turn.add(case.name(), move || read(To::Device(opened), &mut places, count));
    }
    let mut places = Places::new(Order::Random, UNITS, 3);
    let wide = &striped;
    in_turn.add("4 stripes, anywhere", move || read(To::Device(wide), &mut places, count));
    let mut chase = floor::Chase::new(50 << 20);
    in_turn.add(MISS, move || chase.ns_per_load(5000));
    add_threads(&mut in_turn, &opened, &second, count);
    let summaries = in_turn.run(effort.rounds(40, 400));
    let mut rows = rows(&summaries);
    rows.extend(instruction_rows(effort));
    rows
}

fn striped(mapper: &Mapper) -> Opened {
    let legs = "null0 0 null1 0 null2 0 null3 0";
    let length = UNITS / 4 * 4 * SECTORS;
    let table = SegmentSpec::new(0, length, "striped", &format!("4 128 {legs}"));
    mapper.open(mapper.make("striped", vec![table]))
}

/// Two threads on one device, and each on its own.
fn add_threads<'a>(
    in_turn: &mut InTurn<'a>,
    opened: &'a [(Case, Opened)],
    second: &'a Opened,
    count: u64,
) {
    let Some((_, first)) = opened.first() else { return };
    in_turn.add(PEER_2, move || {
        let disks = [NullDisk::default(), NullDisk::default()];
        both([To::Disk(&disks[0]), To::Disk(&disks[1])], count)
    });
    in_turn
        .add("2 threads, one device", move || both([To::Device(first), To::Device(first)], count));
    in_turn.add("2 threads, two devices", move || {
        both([To::Device(first), To::Device(second)], count)
    });
}

/// The mean time of a request when two threads read at the same time.
fn both(to: [To<'_>; 2], count: u64) -> f64 {
    let barrier = Barrier::new(to.len());
    let one = |to, seed| {
        let mut places = Places::new(Order::Random, UNITS, seed);
        barrier.wait();
        read(to, &mut places, count)
    };
    let times = thread::scope(|scope| {
        let threads = [(to[0], 4), (to[1], 5)].map(|(to, seed)| scope.spawn(move || one(to, seed)));
        threads.map(|thread| thread.join().expect("a reading thread"))
    });
    f64::midpoint(times[0], times[1])
}

fn rows(summaries: &[(String, Summary)]) -> Vec<Row> {
    let find = |wanted: &str| {
        summaries.iter().find(|(name, _)| name == wanted).map(|(_, summary)| summary.median)
    };
    let row = |(name, summary): &(String, Summary)| {
        let peer = if name.contains("threads") { PEER_2 } else { PEER };
        let row = Row::new("driver", name, Unit::Ns, *summary);
        if name == MISS { row } else { row.against(peer, find(peer)) }
    };
    summaries.iter().map(row).collect()
}

/// Instructions of a request, counted exactly by valgrind where there is one.
fn instruction_rows(effort: Effort) -> Vec<Row> {
    let mut rows = Vec::new();
    let Some(peer) = instructions::per_request(None) else { return rows };
    let name = "no driver";
    rows.push(Row::new("driver-instructions", name, Unit::Instructions, Summary::exact(peer)));
    for case in Case::ALL.into_iter().filter(|case| case.order == Order::Random) {
        // Loading a million segments takes minutes under valgrind.
        if case.segments > 1000 && effort.is_quick() {
            continue;
        }
        if let Some(count) = instructions::per_request(Some(case)) {
            let summary = Summary::exact(count);
            let row = Row::new("driver-instructions", &case.name(), Unit::Instructions, summary);
            rows.push(row.against(name, Some(peer)));
        }
    }
    rows
}
