//! Many devices: is the last one as cheap as the first?

use crate::Effort;
use crate::mapper::{CALLER, Mapper};
use crate::report::{Row, Unit};
use crate::sample::Summary;
use crate::server::{self, Server};
use dm_protocol::{Dict, SegmentSpec};
use libdm::{Control, Device, Dm, Load, NewDevice, Query, Removal, Transition};
use std::time::Instant;

/// How many devices are made.
const DEVICES: usize = 10_000;

/// How many of them are looked at, at the start and at the end.
const WINDOW: usize = 1000;

/// The driver without a channel: what remains is the dictionaries and the commands.
impl Control for Mapper {
    fn command(&self, request: &Dict) -> libdm::Result<Dict> {
        let mut dict = request.clone();
        self.driver.command(&CALLER, &mut dict);
        Ok(dict)
    }
}

/// Measures devices in this process, and in another behind its socket.
pub fn run(effort: Effort) -> Vec<Row> {
    let driver = || Dm::new(Mapper::new());
    let mut rows = lives("devices", &driver(), |_| "null0 0".to_owned(), Vec::new);
    rows.extend(freed_numbers());
    let apart = "devices, a disk each";
    rows.extend(lives(apart, &driver(), |nr| format!("null{nr} 0"), Vec::new));
    match Server::start() {
        Some(server) => {
            let part = "devices, socket";
            let listed = || server::listings(&server, effort, part);
            rows.extend(lives(part, &server.dm(), |_| "null:1048576 0".to_owned(), listed));
        }
        None => eprintln!("devices, socket: SKIPPED, there is no dmhost and dmsetup beside us"),
    }
    rows
}

/// Makes, asks, lists and removes all devices; `listed` measures more while they are there.
fn lives<C: Control>(
    part: &str,
    dm: &Dm<C>,
    below: impl Fn(usize) -> String,
    listed: impl FnOnce() -> Vec<Row>,
) -> Vec<Row> {
    let device = |nr: usize| Device::Name(name(nr));
    let mut rows = Vec::new();
    rows.extend(each(part, "create, reload, resume", |nr| {
        dm.create(&NewDevice::named(&name(nr))?)?;
        let table = [SegmentSpec::new(0, 1024, "linear", &below(nr))];
        dm.reload(&device(nr), &table, Load::default())?;
        dm.resume(&device(nr), Transition::default()).map(drop)
    }));
    rows.extend(each(part, "info", |nr| dm.info(&device(nr), Query::default()).map(drop)));
    rows.extend(each(part, "table", |nr| dm.table(&device(nr), Query::default()).map(drop)));
    rows.extend(each(part, "deps", |nr| dm.deps(&device(nr), Query::default()).map(drop)));
    let mut samples = Vec::new();
    for _ in 0..10 {
        let begin = Instant::now();
        let names = dm.names().expect("the list of names");
        samples.push(begin.elapsed().as_nanos() as f64 / 1000.0 / names.len() as f64);
        assert_eq!(names.len(), DEVICES);
    }
    rows.push(Row::new(part, "names, per device", Unit::Us, Summary::of(&samples)));
    rows.extend(listed());
    rows.extend(each(part, "remove", |nr| dm.remove(&device(nr), Removal::default()).map(drop)));
    rows
}

fn name(nr: usize) -> String {
    format!("volume-{nr:05}")
}

/// Does something to each device; the first and the last ones make a row each.
fn each(part: &str, what: &str, mut act: impl FnMut(usize) -> libdm::Result<()>) -> [Row; 2] {
    let mut samples = Vec::with_capacity(DEVICES);
    for nr in 0..DEVICES {
        let begin = Instant::now();
        if let Err(why) = act(nr) {
            panic!("{what}, device {nr}: {why}");
        }
        samples.push(begin.elapsed().as_nanos() as f64 / 1000.0);
    }
    let first = format!("{what}, first {WINDOW}");
    let start = Summary::of(&samples[..WINDOW]);
    let end = Summary::of(&samples[DEVICES - WINDOW..]);
    let last = Row::new(part, &format!("{what}, last {WINDOW}"), Unit::Us, end);
    [Row::new(part, &first, Unit::Us, start), last.against(&first, Some(start.median))]
}

/// A low minor number comes free among many; then two devices are made.
fn freed_numbers() -> Vec<Row> {
    let part = "devices";
    let dm = Dm::new(Mapper::new());
    let make = |name: &str| dm.create(&NewDevice::named(name)?).map(drop);
    let mut rows: Vec<Row> = Vec::new();
    for count in [100, DEVICES] {
        for nr in 0..count {
            make(&name(nr)).or_else(exists).expect("a device");
        }
        let mut samples = Vec::new();
        for _ in 0..200 {
            dm.remove(&Device::Name(name(0)), Removal::default()).expect("it goes");
            let begin = Instant::now();
            make(&name(0)).and_then(|()| make("second")).expect("devices");
            samples.push(begin.elapsed().as_nanos() as f64 / 1000.0);
            dm.remove(&Device::Name("second".into()), Removal::default()).expect("it goes");
        }
        let title = format!("create 2 where a number came free, among {count}");
        let summary = Summary::of(&samples);
        let peer = rows.first().map(|row| (row.name.clone(), row.summary.median));
        let row = Row::new(part, &title, Unit::Us, summary);
        rows.push(match peer {
            Some((name, median)) => row.against(&name, Some(median)),
            None => row,
        });
    }
    rows
}

fn exists(why: libdm::Error) -> libdm::Result<()> {
    match why.to_string().contains("exists") {
        true => Ok(()),
        false => Err(why),
    }
}
