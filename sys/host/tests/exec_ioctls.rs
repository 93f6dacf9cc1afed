//! The requests of Linux's dmsetup, translated: what Linux answered is what we answer.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use dm::driver::Driver;
use dm::targets::TARGETS;
use dm_host::disk::memory::MemoryDisk;
use dm_host::disk::{Backend, Description, register};
use dm_host::exec::nodes::NoNodes;
use dm_host::exec::translate::{Client, Translator};
use dm_host::exec::wire::{Command, DATA, Header, NAME_LEN, SPEC, VERSION, flag, pack, unpack};
use dm_host::front::Registry;
use dm_host::kern::Running;
use dm_protocol::{DevNo, Sectors};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::sync::Arc;

const TRANSCRIPT: &str = include_str!("ioctls.txt");

/// A disk with the number of /dev/vdb.
struct Numbered(MemoryDisk);

impl Backend for Numbered {
    fn describe(&self) -> Description {
        let devno = Some(DevNo { major: 254, minor: 16 });
        Description { devno, ..self.0.describe() }
    }

    fn submit(&self, running: Running) {
        self.0.submit(running);
    }
}

/// `{key=value, ...}` as strace writes it; flags, numbers and texts stay text.
type Fields = BTreeMap<String, String>;

/// The structures of one side, and what is behind them.
fn structures(text: &str) -> (Vec<Fields>, &str) {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(inside) = rest.trim_start_matches(", ").strip_prefix('{') {
        let end = inside.find('}').unwrap();
        found.push(fields(&inside[..end]));
        rest = &inside[end + 1..];
    }
    (found, rest)
}

fn fields(text: &str) -> Fields {
    let mut all = Fields::new();
    let mut depth = 0;
    let parts = text.split(|c| {
        depth += i32::from("([".contains(c)) - i32::from(")]".contains(c));
        c == ',' && depth == 0
    });
    for part in parts {
        let (key, value) = part.trim().split_once('=').unwrap();
        all.insert(key.to_owned(), value.trim_matches('"').to_owned());
    }
    all
}

/// A device number; ours are those of Linux and one more.
fn devno(text: &str) -> DevNo {
    let inside = text.strip_prefix("makedev(").unwrap().strip_suffix(')').unwrap();
    let number = |n: &str| match n.trim().strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).unwrap(),
        None => n.trim().parse().unwrap(),
    };
    let (major, minor) = inside.split_once(',').unwrap();
    let (major, minor) = (number(major), number(minor));
    DevNo { major, minor: if major == 253 { minor + 1 } else { minor } }
}

fn flags(text: &str) -> u32 {
    let bit = |name: &str| match name {
        "0" => 0,
        "DM_READONLY_FLAG" => flag::READONLY,
        "DM_SUSPEND_FLAG" => flag::SUSPEND,
        "DM_EXISTS_FLAG" => 1 << 2,
        "DM_PERSISTENT_DEV_FLAG" => flag::PERSISTENT_DEV,
        "DM_STATUS_TABLE_FLAG" => flag::STATUS_TABLE,
        "DM_ACTIVE_PRESENT_FLAG" => flag::ACTIVE_PRESENT,
        "DM_INACTIVE_PRESENT_FLAG" => flag::INACTIVE_PRESENT,
        "DM_SKIP_BDGET_FLAG" => flag::SKIP_BDGET,
        "DM_UEVENT_GENERATED_FLAG" => flag::UEVENT_GENERATED,
        other => panic!("unknown flag {other}"),
    };
    text.split('|').map(bit).sum()
}

fn header(fields: &Fields) -> Header {
    let number = |key: &str| fields.get(key).map_or(0, |n| n.parse().unwrap());
    let text = |key: &str| fields.get(key).cloned().unwrap_or_default();
    Header {
        version: VERSION,
        data_size: number("data_size"),
        data_start: number("data_start"),
        target_count: number("target_count"),
        open_count: number("open_count"),
        flags: flags(&fields["flags"]),
        event_nr: number("event_nr"),
        dev: fields.get("dev").map_or(0, |dev| pack(devno(dev))),
        name: text("name"),
        uuid: text("uuid"),
    }
}

/// What a client sends: the header and its records, in a buffer of the size it says.
fn request(sent: &[Fields]) -> Vec<u8> {
    let head = header(&sent[0]);
    let mut records = Vec::new();
    if let Some(record) = sent.get(1) {
        let number = |key: &str| record[key].parse::<u64>().unwrap().to_ne_bytes();
        if let Some(target) = record.get("target_type") {
            records.extend([number("sector_start"), number("length"), [0; 8]].concat());
            records.extend(target.bytes());
            records.resize(SPEC, 0);
        } else if record.contains_key("sector") {
            records.extend(number("sector"));
        }
        records.extend(record.get("string").or(record.get("message")).unwrap().bytes());
    }
    let mut buffer = head.encode(&records);
    buffer.resize(head.data_size as usize, 0);
    buffer
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(*bytes[at..].first_chunk().unwrap())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(*bytes[at..].first_chunk().unwrap())
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().take_while(|&&byte| byte != 0).map(|&byte| char::from(byte)).collect()
}

/// The records of a reply, as a client walks through them.
fn records(command: Command, count: u32, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    match command {
        Command::ListDevices if !bytes.is_empty() => {
            let mut at = 0;
            loop {
                let name = text(&bytes[at + 12..]);
                assert!(name.len() < NAME_LEN);
                let event = word(bytes, at + (12 + name.len() + 1).next_multiple_of(8));
                found.push(format!("{} {name} {event}", unpack(long(bytes, at))));
                match word(bytes, at + 8) {
                    0 => break,
                    next => at += next as usize,
                }
            }
        }
        Command::TableDeps => {
            let count = word(bytes, 0) as usize;
            found.extend((0..count).map(|nr| unpack(long(bytes, 8 + nr * 8)).to_string()));
        }
        Command::TableStatus => {
            let mut at = 0;
            for _ in 0..count {
                let (start, length) = (long(bytes, at), long(bytes, at + 8));
                let (target, params) = (text(&bytes[at + 24..]), text(&bytes[at + SPEC..]));
                found.push(format!("{start} {length} {target} {params}"));
                at = word(bytes, at + 20) as usize;
            }
        }
        _ => {}
    }
    found
}

/// The same of what Linux answered.
fn told(command: Command, structures: &[Fields]) -> Vec<String> {
    let get = |fields: &Fields, key: &str| fields.get(key).cloned().unwrap_or("0".to_owned());
    let one = |fields: &Fields| match command {
        Command::ListDevices => {
            let number = devno(&fields["dev"]);
            vec![format!("{number} {} {}", fields["name"], get(fields, "event_nr"))]
        }
        Command::TableDeps => {
            let list = fields["deps"].trim_matches(['[', ']']);
            let items = list.split_inclusive(')').filter(|item| !item.is_empty());
            items.map(|item| devno(item.trim_start_matches(", ")).to_string()).collect()
        }
        _ => {
            let (start, length) = (&fields["sector_start"], &fields["length"]);
            vec![format!("{start} {length} {} {}", fields["target_type"], fields["string"])]
        }
    };
    structures.iter().flat_map(one).collect()
}

fn command(name: &str) -> Command {
    match name {
        "DM_REMOVE_ALL" => Command::RemoveAll,
        "DM_LIST_DEVICES" => Command::ListDevices,
        "DM_DEV_CREATE" => Command::DevCreate,
        "DM_DEV_REMOVE" => Command::DevRemove,
        "DM_DEV_RENAME" => Command::DevRename,
        "DM_DEV_SUSPEND" => Command::DevSuspend,
        "DM_DEV_STATUS" => Command::DevStatus,
        "DM_TABLE_LOAD" => Command::TableLoad,
        "DM_TABLE_CLEAR" => Command::TableClear,
        "DM_TABLE_DEPS" => Command::TableDeps,
        "DM_TABLE_STATUS" => Command::TableStatus,
        "DM_TARGET_MSG" => Command::TargetMessage,
        "DM_DEV_SET_GEOMETRY" => Command::DevSetGeometry,
        other => panic!("unknown command {other}"),
    }
}

/// Sends what a line tells that dmsetup sent, and compares.
fn replay(translator: &Translator, line: &str) {
    let (name, rest) = line.split_once(' ').unwrap();
    let command = command(name);
    let (sent, rest) = structures(rest.strip_prefix('[').unwrap());
    let (expected, result) = structures(rest.strip_prefix("] => [").unwrap());
    let resolve = |word: &str| (word == "/dev/vdb").then(|| "254:16".to_owned());
    let client = Client { number: 1, resolve: &resolve };
    let answer = translator.answer(client, command, &request(&sent));
    if result.ends_with("-1 EINVAL") {
        return assert_eq!(answer, Err(Errno::INVAL), "{line}");
    }
    let answer = answer.unwrap();
    if answer.is_empty() {
        // Linux writes nothing then, so the reply is the request.
        return assert_eq!(sent[0]["data_size"], expected[0]["data_size"], "{line}");
    }
    let got = Header::decode(&answer).unwrap();
    let mut wanted = header(&expected[0]);
    // What a client sent there is no number of events.
    if !expected[0].contains_key("event_nr") {
        wanted.event_nr = got.event_nr;
    }
    assert_eq!(got, wanted, "{line}");
    assert_eq!(
        answer.len().max(DATA.min(got.data_size as usize)),
        got.data_size as usize,
        "{line}"
    );
    let records = records(command, got.target_count, answer.get(DATA..).unwrap_or_default());
    assert_eq!(records, told(command, &expected[1..]), "{line}");
}

#[test]
fn every_request_of_linuxs_dmsetup_is_answered_as_linux_did() {
    let _entered = Registry::new().enter();
    register("254:16", Arc::new(Numbered(MemoryDisk::new("vdb", Sectors(2048)))));
    let driver = Driver::attach(TARGETS);
    let translator = Translator::new(driver, Arc::new(NoNodes));
    let lines = TRANSCRIPT.lines().filter(|line| line.starts_with("DM_"));
    assert!(lines.clone().count() > 35);
    lines.for_each(|line| replay(&translator, line));
}
