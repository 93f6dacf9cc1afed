//! Encrypted disks: what 4 KiB cost beside a disk in memory and the cipher, each alone.
//!
//! Processor time of the thread that asks, which does all the work where the processor has AES.

use crate::Effort;
use crate::mapper::Mapper;
use crate::report::{Row, Unit};
use crate::request::{NullDisk, Order, Places, To, act};
use crate::sample::{InTurn, busy_ns};
use dm::driver::Opened;
use dm::kern::disk::Op;
use dm_cipher::{Format, Key, SectorCipher, Spec};
use dm_protocol::SegmentSpec;
use std::hint::black_box;
use std::sync::Barrier;
use std::thread;

const PART: &str = "crypt";
const CIPHER: &str = "aes-xts-plain64";
/// The disk, which no cache holds, in bytes and in requests.
const BYTES: usize = 64 << 20;
const UNITS: u64 = (BYTES / 4096) as u64;

/// The lengths of sectors.
const SECTORS: [u64; 2] = [512, 4096];
const OPS: [(Op, &str); 2] = [(Op::Read, "read"), (Op::Write, "write")];

fn key() -> String {
    (0..64).map(|byte| format!("{byte:02x}")).collect()
}

/// Measures reads and writes with both lengths of sectors.
pub fn run(effort: Effort) -> Vec<Row> {
    let count = 2000;
    let mapper = Mapper::new();
    let disk = NullDisk::in_memory(BYTES);
    let linear = open(&mapper, "linear", &format!("ram{BYTES} 0"));
    let crypts = SECTORS.map(|bytes| {
        let line = format!("{CIPHER} {} 0 ram{BYTES} 0 1 sector_size:{bytes}", key());
        (bytes, open(&mapper, "crypt", &line))
    });
    let mut in_turn = InTurn::new();
    for (op, verb) in OPS {
        let (disk, linear) = (&disk, &linear);
        let mut places = Places::new(Order::Random, UNITS, 1);
        in_turn.add(format!("disk, {verb}"), move || act(op, To::Disk(disk), &mut places, count));
        let mut places = Places::new(Order::Random, UNITS, 2);
        in_turn.add(format!("linear, {verb}"), move || {
            act(op, To::Device(linear), &mut places, count)
        });
        for (bytes, crypt) in &crypts {
            in_turn.add(format!("cipher, {verb} {bytes}"), alone(op, *bytes, count));
            let mut places = Places::new(Order::Random, UNITS, 3);
            let name = format!("crypt, {verb} {bytes}");
            in_turn.add(name, move || act(op, To::Device(crypt), &mut places, count));
            let name = format!("crypt, {verb} {bytes}, 2 threads");
            in_turn.add(name, move || two(op, crypt, count));
        }
    }
    let summaries = in_turn.run(effort.rounds(40, 400));
    let median = |wanted: &str| {
        summaries.iter().find(|(name, _)| name == wanted).map(|(_, summary)| summary.median)
    };
    let row = |(name, summary): &(String, crate::sample::Summary)| {
        let row = Row::new(PART, name, Unit::Ns, *summary);
        let Some(work) = name.strip_prefix("crypt, ") else { return row };
        let work = work.split(',').next().unwrap_or(work);
        let verb = work.split(' ').next().unwrap_or(work);
        let disk = median(&format!("disk, {verb}"));
        let cipher = median(&format!("cipher, {work}"));
        let both = disk.zip(cipher).map(|(disk, cipher)| disk + cipher);
        row.against(&format!("disk and cipher, {work}"), both)
    };
    summaries.iter().map(row).collect()
}

fn open(mapper: &Mapper, target: &str, line: &str) -> Opened {
    let name = format!("{target}-{}", line.len());
    mapper.open(mapper.make(&name, vec![SegmentSpec::new(0, UNITS * 8, target, line)]))
}

/// The cipher alone, on memory that is in the cache as it is behind a transfer.
fn alone(op: Op, bytes: u64, count: u64) -> impl FnMut() -> f64 {
    let spec = Spec::parse(CIPHER).expect("a cipher");
    let format = Format::new(bytes, false).expect("a length");
    let key = Key::parse(&key()).expect("a key");
    let cipher = SectorCipher::new(&spec, format, &key).expect("a key of the cipher");
    let (from, mut to) = (vec![1_u8; 4096], vec![0_u8; 4096]);
    move || {
        let work = || {
            for nr in 0..count {
                match op {
                    Op::Read => cipher.decrypt_in_place(nr * 8, black_box(&mut to)),
                    _ => cipher.encrypt(nr * 8, black_box(&from), black_box(&mut to)),
                }
            }
        };
        busy_ns(work) / count as f64
    }
}

/// The mean time of a request when two threads ask at the same time.
fn two(op: Op, crypt: &Opened, count: u64) -> f64 {
    let barrier = Barrier::new(2);
    let one = |seed| {
        let mut places = Places::new(Order::Random, UNITS, seed);
        barrier.wait();
        act(op, To::Device(crypt), &mut places, count)
    };
    let times = thread::scope(|scope| {
        let threads = [4, 5].map(|seed| scope.spawn(move || one(seed)));
        threads.map(|thread| thread.join().expect("a thread that asks"))
    });
    f64::midpoint(times[0], times[1])
}
