//! Runs the steps of a case on one side, and gives what each printed.

use crate::case::{Disk, Step, table, table_lines};
use crate::pattern::{SECTOR, checksum, describe, fill};
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

/// How long `until` waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sectors in one request of a longer transfer.
const REQUEST: u64 = 128;

/// A disk or a mapped device, open.
pub trait Storage {
    /// Its size in sectors.
    fn sectors(&self) -> u64;

    /// Reads whole sectors.
    ///
    /// # Errors
    /// The name of an error number.
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), String>;

    /// Writes whole sectors.
    ///
    /// # Errors
    /// The name of an error number.
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), String>;

    /// Makes what was written durable.
    ///
    /// # Errors
    /// The name of an error number.
    fn flush(&mut self) -> Result<(), String>;

    /// Discards sectors.
    ///
    /// # Errors
    /// The name of an error number.
    fn discard(&mut self, at: u64, count: u64) -> Result<(), String>;

    /// Makes sectors read as zeroes.
    ///
    /// # Errors
    /// The name of an error number.
    fn zero(&mut self, at: u64, count: u64) -> Result<(), String>;
}

/// What a run of dmsetup printed, on both outputs.
#[derive(Clone, Debug)]
pub struct Printed {
    /// It ended with status 0.
    pub success: bool,
    /// All it printed.
    pub text: String,
}

/// A device mapper with disks below it.
pub trait Side {
    /// Runs dmsetup with these words and this standard input.
    fn dmsetup(&mut self, words: &[&str], stdin: &str) -> Printed;

    /// The path of a disk of the case, and how tables show it.
    fn disk(&self, name: &str) -> Option<(String, String)>;

    /// Opens a disk of the case.
    ///
    /// # Errors
    /// The name of an error number.
    fn open_disk(&mut self, name: &str) -> Result<Box<dyn Storage + '_>, String>;

    /// Opens a mapped device.
    ///
    /// # Errors
    /// The name of an error number.
    fn open(&mut self, name: &str) -> Result<Box<dyn Storage + '_>, String>;

    /// Runs a command of a Linux system; `None` where there is none.
    fn command(&mut self, line: &str) -> Option<Printed>;
}

/// Runs steps; gives the lines that each printed. Devices that they left are removed.
pub fn play(side: &mut dyn Side, disks: &[Disk], steps: &[Step]) -> Vec<Vec<String>> {
    let mut player = Player { side, disks, made: Vec::new(), shown: BTreeMap::new() };
    let printed = steps.iter().map(|step| player.step(&step.line)).collect();
    for name in player.made.clone().iter().rev() {
        player.side.dmsetup(&["remove", name], "");
    }
    printed
}

struct Player<'a> {
    side: &'a mut dyn Side,
    disks: &'a [Disk],
    /// Mapped devices, in the order in which they were made.
    made: Vec<String>,
    /// How mapped devices are shown, once somebody asked.
    shown: BTreeMap<String, String>,
}

impl Player<'_> {
    fn step(&mut self, line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let result = match words.as_slice() {
            ["linux", ..] => self.command(line),
            ["sleep", ms] => ms.parse().map_err(|_| usage(line)).map(|ms| {
                thread::sleep(Duration::from_millis(ms));
                Vec::new()
            }),
            ["until", name, text @ ..] => self.until(name, &text.join(" ")),
            [verb @ ("read" | "sum" | "write" | "flush" | "discard" | "zero"), name, rest @ ..] => {
                self.io(verb, name, rest, line)
            }
            ["create", name, ..] => {
                let made = self.with_table("create", name, line);
                if made.as_ref().is_ok_and(Vec::is_empty) {
                    self.made.push((*name).into());
                }
                made
            }
            ["try", name, ..] => {
                let tried = self.with_table("create", name, line);
                let taken = tried.as_ref().is_ok_and(Vec::is_empty);
                if taken {
                    self.side.dmsetup(&["remove", name], "");
                }
                if taken { Ok(vec!["taken".into()]) } else { tried }
            }
            ["reload", name, _, ..] => self.with_table("reload", name, line),
            _ => self.dmsetup(&words),
        };
        let lines = result.unwrap_or_else(|why| vec![why]);
        let lines = lines.iter().map(|line| line.trim_end()).filter(|line| !line.is_empty());
        let mut lines: Vec<String> = lines.map(Into::into).collect();
        if words.first() == Some(&"deps") {
            // Image files have no numbers, so it is told how many there are.
            lines.iter_mut().for_each(|line| line.truncate(line.find('\t').unwrap_or(line.len())));
        }
        lines.iter().map(|line| self.show(line)).collect()
    }

    fn with_table(&mut self, verb: &str, name: &str, line: &str) -> Result<Vec<String>, String> {
        let Some(table) = table(line) else { return self.dmsetup(&[verb, name]) };
        let lines: Vec<String> = table_lines(table).map(|line| self.fill_in(line)).collect();
        let printed = self.side.dmsetup(&[verb, name], &(lines.join("\n") + "\n"));
        Ok(said(&printed))
    }

    fn dmsetup(&mut self, words: &[&str]) -> Result<Vec<String>, String> {
        if let ["remove", name] = words {
            self.shown.remove(*name);
        }
        let words: Vec<String> = words.iter().map(|word| self.fill_in(word)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Ok(said(&self.side.dmsetup(&words, "")))
    }

    fn command(&mut self, line: &str) -> Result<Vec<String>, String> {
        let command = self.fill_in(line.strip_prefix("linux").unwrap_or(line).trim());
        let printed = self.side.command(&command).ok_or("this is no Linux system")?;
        Ok(said(&printed))
    }

    /// Waits until the status of a device holds a text.
    fn until(&mut self, name: &str, text: &str) -> Result<Vec<String>, String> {
        let start = Instant::now();
        loop {
            let status = self.side.dmsetup(&["status", name], "").text;
            if status.contains(text) {
                return Ok(Vec::new());
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("never: {status}"));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn io(
        &mut self,
        verb: &str,
        name: &str,
        rest: &[&str],
        line: &str,
    ) -> Result<Vec<String>, String> {
        let is_disk = self.disks.iter().any(|disk| disk.name == name);
        let mut storage = match is_disk {
            true => self.side.open_disk(name)?,
            false => self.side.open(name)?,
        };
        let numbers: Result<Vec<u64>, _> = rest.iter().map(|word| word.parse()).collect();
        let numbers = numbers.map_err(|_| usage(line))?;
        let size = storage.sectors();
        match (verb, numbers.as_slice()) {
            ("flush", []) => storage.flush().map(|()| Vec::new()),
            ("discard", [at, count]) => storage.discard(*at, *count).map(|()| Vec::new()),
            ("zero", [at, count]) => storage.zero(*at, *count).map(|()| Vec::new()),
            ("write", [stream, rest @ ..]) => {
                let stream = u8::try_from(*stream).map_err(|_| usage(line))?;
                let (at, count) = range(rest, size).ok_or_else(|| usage(line))?;
                write(&mut *storage, stream, at, count).map(|()| Vec::new())
            }
            ("read" | "sum", rest) => {
                let (at, count) = range(rest, size).ok_or_else(|| usage(line))?;
                let bytes = read(&mut *storage, at, count)?;
                Ok(if verb == "sum" { vec![checksum(&bytes)] } else { describe(at, &bytes) })
            }
            _ => Err(usage(line)),
        }
    }

    /// `$a` becomes the path of disk a, `$m` that of the mapped device m.
    fn fill_in(&self, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            let end = after.find(|char: char| !char.is_ascii_alphanumeric()).unwrap_or(after.len());
            let (name, behind) = after.split_at(end);
            filled.push_str(before);
            match self.side.disk(name) {
                Some((path, _)) => filled.push_str(&path),
                None => filled.push_str(&format!("/dev/mapper/{name}")),
            }
            rest = behind;
        }
        filled + rest
    }

    /// A line as every side would print it: devices by their names here.
    fn show(&mut self, line: &str) -> String {
        let words: Vec<String> = line.split(' ').map(|word| self.show_word(word)).collect();
        words.join(" ")
    }

    fn show_word(&mut self, word: &str) -> String {
        for disk in self.disks {
            if self.side.disk(&disk.name).is_some_and(|(path, shown)| word == shown || word == path)
            {
                return format!("${}", disk.name);
            }
        }
        let number = word.split_once(':').is_some_and(|(major, minor)| {
            major.parse::<u32>().is_ok() && minor.parse::<u32>().is_ok()
        });
        if !number {
            return word.into();
        }
        for name in self.made.clone() {
            if !self.shown.contains_key(&name) {
                let columns = ["-c", "--noheadings", "--separator", ":", "-o", "major,minor"];
                let words = [&["info"], columns.as_slice(), &[name.as_str()]].concat();
                let printed = self.side.dmsetup(&words, "");
                self.shown.insert(name.clone(), printed.text.trim().into());
            }
            if self.shown.get(&name).is_some_and(|shown| shown == word) {
                return format!("${name}");
            }
        }
        word.into()
    }
}

/// What dmsetup printed. Of a refusal only the reason: its words differ from kernel to kernel.
fn said(printed: &Printed) -> Vec<String> {
    let lines = printed.text.lines().map(Into::into);
    if printed.success {
        return lines.collect();
    }
    let reason = printed.text.lines().find_map(|line| line.split_once("failed: "));
    vec![reason.map_or_else(|| "refused".into(), |(_, reason)| format!("refused: {reason}"))]
}

fn usage(line: &str) -> String {
    format!("this step is not understood: {line}")
}

/// `[FIRST COUNT]`; all without them.
fn range(words: &[u64], size: u64) -> Option<(u64, u64)> {
    match words {
        [] => Some((0, size)),
        [first, count] => Some((*first, *count)),
        _ => None,
    }
}

fn write(storage: &mut dyn Storage, stream: u8, at: u64, count: u64) -> Result<(), String> {
    for first in (at..at + count).step_by(REQUEST as usize) {
        let count = REQUEST.min(at + count - first);
        storage.write(first, &fill(stream, first, count))?;
    }
    Ok(())
}

fn read(storage: &mut dyn Storage, at: u64, count: u64) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0xa5; count as usize * SECTOR];
    for (first, piece) in
        (at..).step_by(REQUEST as usize).zip(bytes.chunks_mut(REQUEST as usize * SECTOR))
    {
        storage.read(first, piece)?;
    }
    Ok(bytes)
}
