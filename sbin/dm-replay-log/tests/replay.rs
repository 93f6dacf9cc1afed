//! Logs that we made and one that a Linux kernel wrote, listed and replayed.

use dm_play::images;
use dm_protocol::write_log::{END_MARK, Entry, EntryFlags, Header};
use dm_replay_log::Log;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A log in a file.
struct Made {
    folder: TempDir,
    bytes: Vec<u8>,
    entries: u64,
    unit: usize,
}

impl Made {
    fn new(unit: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { folder, bytes: vec![0; unit], entries: 0, unit }
    }

    fn add(&mut self, flags: EntryFlags, sector: u64, sectors: u64, rest: &[u8]) {
        let mark = flags.contains(EntryFlags::MARK);
        let text_length = if mark { rest.len() as u64 } else { 0 };
        let mut head = vec![0; self.unit];
        Entry { sector, sectors, flags, text_length }.encode(&mut head);
        if mark {
            head[32..][..rest.len()].copy_from_slice(rest);
        }
        self.bytes.extend(head);
        self.bytes.extend(if mark { &[] } else { rest });
        self.entries += 1;
    }

    fn write(&mut self, flags: EntryFlags, sector: u64, byte: u8) {
        self.add(flags, sector, 2, &vec![byte; 2 * self.unit]);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Stores the log and a device of twos.
    fn store(&mut self) -> (PathBuf, PathBuf) {
        let sector_size = self.unit as u32;
        Header { entries: self.entries, sector_size }.encode(&mut self.bytes);
        let (log, device) = (self.path("log"), self.path("device"));
        fs::write(&log, &self.bytes).expect("a log");
        fs::write(&device, vec![2; 16 * self.unit]).expect("a device");
        (log, device)
    }
}

/// Writes, a discard, flushes, marks.
fn usual(unit: usize) -> Made {
    let mut made = Made::new(unit);
    made.write(EntryFlags::empty(), 0, 10);
    made.write(EntryFlags::FUA, 1, 11);
    made.add(EntryFlags::FLUSH, 0, 0, &[]);
    made.add(EntryFlags::MARK, 0, 0, b"half");
    made.add(EntryFlags::DISCARD, 8, 4, &[]);
    made.write(EntryFlags::METADATA, 9, 12);
    made.add(EntryFlags::FLUSH, 0, 0, &[]);
    made.add(EntryFlags::MARK, 0, 0, END_MARK.as_bytes());
    made
}

fn run(arguments: &[&str], paths: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dm-replay-log"));
    command.args(arguments).args(paths).output().expect("it runs")
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into()
}

/// The first byte of each sector.
fn device(path: &Path, unit: usize) -> Vec<u8> {
    fs::read(path).expect("the device").chunks(unit).map(|sector| sector[0]).collect()
}

#[test]
fn entries_are_listed() {
    let mut made = usual(512);
    let (log, _) = made.store();
    let listed = said(&run(&["--start-entry", "1", "--limit", "5"], &[&log]));
    assert_eq!(
        listed,
        "1 write 1+2 durable\n2 flush\n3 mark half\n4 discard 8+4\n5 write 9+2 metadata\n"
    );
}

#[test]
fn everything_is_done_again_in_its_order() {
    for unit in [512, 4096] {
        let mut made = usual(unit);
        let (log, target) = made.store();
        assert_eq!(said(&run(&[], &[&log, &target])), "entries 0 to 8 of 8\n");
        let expected = [10, 11, 11, 2, 2, 2, 2, 2, 0, 12, 12, 0, 2, 2, 2, 2];
        assert_eq!(device(&target, unit), expected);
    }
}

#[test]
fn a_part_is_done_again() {
    for (arguments, said_then, expected) in [
        (&["--end-mark", "half"][..], "entries 0 to 4 of 8\n", [10, 11, 11, 2, 2]),
        (&["--next-fua"], "entries 0 to 2 of 8\n", [10, 11, 11, 2, 2]),
        (&["--next-flush", "--start-entry", "3"], "entries 3 to 7 of 8\n", [2, 2, 2, 0, 12]),
        (&["--start-mark", "half"], "entries 4 to 8 of 8\n", [2, 2, 2, 0, 12]),
        (&["--start-mark", "half", "--no-discard"], "entries 4 to 8 of 8\n", [2, 2, 2, 2, 12]),
        (&["--limit", "1"], "entries 0 to 1 of 8\n", [10, 10, 2, 2, 2]),
        (&["--start-entry", "8"], "entries 8 to 8 of 8\n", [2; 5]),
    ] {
        let mut made = usual(512);
        let (log, target) = made.store();
        assert_eq!(said(&run(arguments, &[&log, &target])), said_then);
        let held = device(&target, 512);
        assert_eq!([0, 1, 2, 8, 9].map(|sector: usize| held[sector]), expected, "{arguments:?}");
    }
}

#[test]
fn what_cannot_be_done_is_said_and_changes_nothing() {
    let mut made = usual(512);
    let (log, target) = made.store();
    let none = made.path("none");
    let empty = made.path("empty");
    fs::write(&empty, [0; 4096]).expect("a file");
    for (arguments, paths, why) in [
        (&["--start-mark", "x"][..], [&log, &target], "there is no mark \"x\""),
        (&["--end-mark", "x"], [&log, &target], "there is no mark \"x\""),
        (&["--start-entry", "9"], [&log, &target], "there is no entry 9, there are 8"),
        (&[], [&empty, &target], "this is no log of writes"),
        (&[], [&none, &target], "the log: No such file"),
        (&[], [&log, &none], "the device: No such file"),
    ] {
        let output = run(arguments, &[paths[0], paths[1]]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(why), "{arguments:?}: {said}");
        assert_eq!(device(&target, 512), [2; 16]);
    }
}

#[test]
fn a_log_that_is_cut_off_or_lies_is_refused() {
    let mut made = usual(512);
    made.entries = 9;
    let (log, _) = made.store();
    let why = Log::read(File::open(log).expect("a log")).expect_err("it ends too early");
    assert!(why.to_string().starts_with("the log: "), "{why}");
    for (at, byte) in [(512 + 15, 0xff_u8), (512 + 25, 0xff), (512 + 31, 0xff)] {
        let mut made = usual(512);
        made.bytes[at] = byte;
        let (log, _) = made.store();
        Log::read(File::open(log).expect("a log")).expect_err("an entry of nonsense");
    }
}

#[test]
fn a_disk_is_rebuilt_from_the_log_of_a_linux_kernel() {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, target) = (folder.path().join("log"), folder.path().join("device"));
    let held = images::load("log-writes-a");
    fs::write(&log, images::load("log-writes-l")).expect("a log");
    fs::write(&target, vec![0; held.len()]).expect("a device");
    said(&run(&[], &[&log, &target]));
    assert!(fs::read(&target).expect("the device") == held);
    let listed = said(&run(&[], &[&log]));
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines[..3], ["0 write 0+8", "1 flush", "2 mark here"]);
    assert_eq!(lines.last().copied(), Some("7 mark dm-log-writes-end"));
}
