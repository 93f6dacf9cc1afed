//! The side of a Linux kernel: its dmsetup, and loop devices on the exchange disk.

use crate::exchange::Place;
use crate::play::{Printed, Side, Storage};
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::{Command, Stdio};

/// Transfers are aligned to this.
const ALIGN: usize = 4096;

/// Disks of one case, each a loop device.
pub struct Linux {
    disks: Vec<(String, Loop)>,
}

struct Loop {
    path: String,
    number: String,
}

impl Loop {
    fn attach(exchange: &str, at: u64, bytes: u64) -> Result<Self, String> {
        let range = [format!("--offset={at}"), format!("--sizelimit={bytes}")];
        let mut command = Command::new("losetup");
        let printed = run(command.args(["--find", "--show"]).args(range).arg(exchange), "");
        let path = printed.text.trim().to_owned();
        let number = path.strip_prefix("/dev/loop").map(|number| format!("7:{number}"));
        match number.filter(|_| printed.success) {
            Some(number) => Ok(Self { path, number }),
            None => Err(printed.text),
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        run(Command::new("losetup").args(["--detach", &self.path]), "");
    }
}

impl Linux {
    /// Attaches disks, each at a place of the exchange disk that `at` chooses.
    ///
    /// # Errors
    /// What losetup says.
    pub fn attach<'a>(
        exchange: &str,
        disks: impl Iterator<Item = (&'a str, &'a Place)>,
        at: impl Fn(&Place) -> u64,
    ) -> Result<Self, String> {
        let attach = |(name, place): (&str, &Place)| {
            Ok((name.to_owned(), Loop::attach(exchange, at(place), place.bytes)?))
        };
        disks.map(attach).collect::<Result<_, String>>().map(|disks| Self { disks })
    }
}

impl Side for Linux {
    fn dmsetup(&mut self, words: &[&str], stdin: &str) -> Printed {
        run(Command::new("dmsetup").args(words), stdin)
    }

    fn disk(&self, name: &str) -> Option<(String, String)> {
        let found = self.disks.iter().find(|(known, _)| known == name);
        found.map(|(_, disk)| (disk.path.clone(), disk.number.clone()))
    }

    fn open_disk(&mut self, name: &str) -> Result<Box<dyn Storage + '_>, String> {
        let path = self.disk(name).ok_or("no such disk")?.0;
        Device::open(&path).map(|device| Box::new(device) as Box<dyn Storage>)
    }

    fn open(&mut self, name: &str) -> Result<Box<dyn Storage + '_>, String> {
        let device = Device::open(&format!("/dev/mapper/{name}"))?;
        Ok(Box::new(device))
    }

    fn command(&mut self, line: &str) -> Option<Printed> {
        Some(run(Command::new("sh").args(["-c", line]), ""))
    }
}

/// Runs a program, and gives all that it printed.
pub fn run(command: &mut Command, stdin: &str) -> Printed {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut work = || {
        let mut child = command.spawn()?;
        if let Some(mut pipe) = child.stdin.take() {
            // A program that does not read its input is no error.
            let _ = pipe.write_all(stdin.as_bytes());
        }
        child.wait_with_output()
    };
    match work() {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text).into_owned();
            Printed { success: output.status.success(), text }
        }
        Err(why) => Printed { success: false, text: format!("{command:?}: {why}") },
    }
}

/// A block device, read and written past the page cache.
struct Device {
    path: String,
    file: File,
    sectors: u64,
}

impl Device {
    fn open(path: &str) -> Result<Self, String> {
        let read_only = || OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path);
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).custom_flags(libc::O_DIRECT).open(path);
        let mut file = opened.or_else(|_| read_only()).map_err(|why| name(&why))?;
        let bytes = file.seek(SeekFrom::End(0)).map_err(|why| name(&why))?;
        Ok(Self { path: path.into(), file, sectors: bytes / 512 })
    }

    fn blkdiscard(&self, options: &[&str], at: u64, count: u64) -> Result<(), String> {
        let range = [format!("--offset={}", at * 512), format!("--length={}", count * 512)];
        let mut command = Command::new("blkdiscard");
        let printed = run(command.args(options).args(range).arg(&self.path), "");
        if printed.success {
            return Ok(());
        }
        let reason = printed.text.trim().rsplit(": ").next().unwrap_or_default().to_owned();
        Err(match reason.as_str() {
            "Operation not supported" => "EOPNOTSUPP".into(),
            "Input/output error" | "Remote I/O error" => "EIO".into(),
            _ => reason,
        })
    }
}

/// Memory that begins on a multiple of `ALIGN`.
fn aligned(memory: &mut Vec<u8>, length: usize) -> &mut [u8] {
    memory.resize(length + ALIGN, 0);
    let skip = memory.as_ptr().align_offset(ALIGN);
    memory.get_mut(skip..skip + length).unwrap_or_default()
}

impl Storage for Device {
    fn sectors(&self) -> u64 {
        self.sectors
    }

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), String> {
        let mut memory = Vec::new();
        let memory = aligned(&mut memory, bytes.len());
        self.file.read_exact_at(memory, at * 512).map_err(|why| name(&why))?;
        bytes.copy_from_slice(memory);
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), String> {
        let mut memory = Vec::new();
        let memory = aligned(&mut memory, bytes.len());
        memory.copy_from_slice(bytes);
        self.file.write_all_at(memory, at * 512).map_err(|why| name(&why))
    }

    fn flush(&mut self) -> Result<(), String> {
        self.file.sync_all().map_err(|why| name(&why))
    }

    fn discard(&mut self, at: u64, count: u64) -> Result<(), String> {
        self.blkdiscard(&[], at, count)
    }

    fn zero(&mut self, at: u64, count: u64) -> Result<(), String> {
        self.blkdiscard(&["--zeroout"], at, count)
    }
}

/// The name of an error number.
fn name(error: &std::io::Error) -> String {
    let known = [
        (libc::EIO, "EIO"),
        (libc::EINVAL, "EINVAL"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::EROFS, "EROFS"),
        (libc::EPERM, "EROFS"),
        (libc::ENOENT, "ENOENT"),
        (libc::ENXIO, "ENXIO"),
        (libc::EBUSY, "EBUSY"),
        (libc::EILSEQ, "EILSEQ"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
    ];
    let found = known.iter().find(|(number, _)| Some(*number) == error.raw_os_error());
    found.map_or_else(|| error.to_string(), |(_, name)| (*name).into())
}

/// The versions of kernel and dmsetup, in one line.
#[must_use]
pub fn versions() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let printed = run(Command::new("dmsetup").arg("version"), "").text;
    let numbers: Vec<&str> = printed
        .lines()
        .filter_map(|line| line.split(':').nth(1)?.split_whitespace().next())
        .collect();
    format!("Linux {}, libdevmapper and dm {}", kernel.trim(), numbers.join(", "))
}

/// The targets that the kernel has.
#[must_use]
pub fn targets() -> Vec<String> {
    let printed = run(Command::new("dmsetup").arg("targets"), "").text;
    printed.lines().filter_map(|line| line.split_whitespace().next()).map(Into::into).collect()
}
