//! Mirrors and raids: a write of 4 KiB beside one to the slower of the disks that it goes to.
//!
//! Disks take 100 and 200 microseconds for a transfer, one after the other; nothing else of a
//! disk counts here. And what the driver adds: processor time on disks that do nothing.

use crate::Effort;
use crate::at_once;
use crate::mapper::Mapper;
use crate::report::{Row, Unit};
use crate::request::{Order, Places};
use crate::sample::{InTurn, busy_ns};
use dm::driver::Opened;
use dm_protocol::SegmentSpec;

const PART: &str = "copies";
/// Requests that fit on a device.
const UNITS: u64 = 1 << 14;

/// Name and table, on two disks and two more: the second of each two is the slower one.
const SETS: [(&str, &str, &str); 5] = [
    ("mirror, core log", "mirror", "core 2 1024 nosync 2 @0 0 @1 0"),
    ("mirror, disk log", "mirror", "disk 3 ram65536 1024 nosync 2 @0 0 @1 0"),
    ("raid1", "raid", "raid1 4 0 nosync region_size 1024 2 ram69632 @0 ram73728 @1"),
    ("raid10, 2 disks", "raid", "raid10 4 8 nosync region_size 1024 2 ram77824 @0 ram81920 @1"),
    (
        "raid10, 4 disks",
        "raid",
        "raid10 4 8 nosync region_size 1024 4 ram86016 @0 ram90112 @1 ram94208 @2 ram98304 @3",
    ),
];

/// Requests under way at once.
const DEPTHS: [usize; 2] = [1, 32];

fn open(mapper: &Mapper, target: &str, line: &str) -> Opened {
    let table = vec![SegmentSpec::new(0, UNITS * 8, target, line)];
    mapper.open(mapper.make(&line.replace(' ', "-"), table))
}

fn line(words: &str, disks: [&str; 4]) -> String {
    let named = |words: String, (nr, disk): (usize, &&str)| words.replace(&format!("@{nr}"), disk);
    disks.iter().enumerate().fold(words.to_owned(), named)
}

/// Measures time by the clock on disks that take some, and processor time on those that do not.
pub fn run(effort: Effort) -> Vec<Row> {
    let mut rows = time(effort);
    rows.extend(work(effort));
    rows
}

fn time(effort: Effort) -> Vec<Row> {
    let mapper = Mapper::new();
    let disks = ["slow100", "slow200", "slow101", "slow201"];
    let leg = open(&mapper, "linear", "slow200 0");
    let sets = SETS.map(|(name, target, words)| (name, open(&mapper, target, &line(words, disks))));
    let mut in_turn = InTurn::new();
    for depth in DEPTHS {
        let count = depth as u64 * 20;
        let all = [("slower disk", &leg)].into_iter();
        for (name, device) in all.chain(sets.iter().map(|(name, device)| (*name, device))) {
            let mut places = Places::new(Order::Random, UNITS, 1);
            in_turn.add(format!("{name}, {depth} at once"), move || {
                at_once::write(device, &mut places, count, depth) / 1000.0
            });
        }
    }
    let summaries = in_turn.run(effort.rounds(10, 100));
    let median = |wanted: &str| {
        summaries.iter().find(|(name, _)| name == wanted).map(|(_, summary)| summary.median)
    };
    let row = |(name, summary): &(String, crate::sample::Summary)| {
        let row = Row::new(PART, name, Unit::Us, *summary);
        let Some((set, depth)) = name.rsplit_once(", ") else { return row };
        let peer = format!("slower disk, {depth}");
        if set == "slower disk" { row } else { row.against(&peer, median(&peer)) }
    };
    summaries.iter().map(row).collect()
}

fn work(effort: Effort) -> Vec<Row> {
    let mapper = Mapper::new();
    let disks = ["null0", "null1", "null2", "null3"];
    let leg = open(&mapper, "linear", "null0 0");
    let sets = SETS.map(|(name, target, words)| (name, open(&mapper, target, &line(words, disks))));
    let mut in_turn = InTurn::new();
    let all = [("linear", &leg)].into_iter();
    for (name, device) in all.chain(sets.iter().map(|(name, device)| (*name, device))) {
        let mut places = Places::new(Order::Random, UNITS, 1);
        in_turn.add(format!("{name}, no time"), move || {
            busy_ns(|| {
                let _ = at_once::write(device, &mut places, 20_000, 1);
            }) / 20_000.0
        });
    }
    let summaries = in_turn.run(effort.rounds(20, 200));
    let linear = summaries.first().map(|(_, summary)| summary.median);
    let row = |(number, (name, summary)): (usize, &(String, crate::sample::Summary))| {
        let row = Row::new(PART, name, Unit::Ns, *summary);
        if number == 0 { row } else { row.against("linear, no time", linear) }
    };
    summaries.iter().enumerate().map(row).collect()
}
