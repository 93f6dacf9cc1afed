//! The side of our driver, in this process, with image files below.

use dm::command::Caller;
use dm::driver::Driver;
use dm::kern::disk::Op;
use dm::targets::TARGETS;
use dm_host::front::{Entered, Registry};
use dm_host::mapped::{Ask, Mapped};
use dm_play::case::{Case, Step, table};
use dm_play::pattern::fill;
use dm_play::play::{Printed, Side, Storage, play};
use dm_protocol::{Dict, Errno, Sector, Sectors};
use dmsetup::Environment;
use libdm::Control;
use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;
use tempfile::TempDir;

/// What a disk holds: one for each disk of a case.
pub type Images = Vec<Vec<u8>>;

/// The driver with the disks of a case.
pub struct Ours {
    folder: TempDir,
    driver: Arc<Driver>,
    disks: Vec<String>,
    _entered: Entered,
}

/// True if the driver has all that a case needs.
#[must_use]
pub fn has_targets(case: &Case) -> bool {
    case.targets().iter().all(|wanted| TARGETS.iter().any(|kind| kind.name == wanted))
}

/// Plays a case that we refuse on purpose; gives what was made of its tables nevertheless.
#[must_use]
pub fn not_refused(case: &Case) -> Vec<String> {
    let tables = case.before.iter().filter(|step| table(&step.line).is_some());
    let steps: Vec<Step> = tables.cloned().collect();
    let (printed, _) = run(case, &steps, &fresh(case));
    let taken = |lines: &Vec<String>| !lines.iter().any(|line| line.starts_with("refused"));
    steps
        .iter()
        .zip(&printed)
        .filter(|(_, lines)| taken(lines))
        .map(|(s, _)| s.line.clone())
        .collect()
}

/// The disks of a case as they are at first.
#[must_use]
pub fn fresh(case: &Case) -> Images {
    let disk = |disk: &dm_play::case::Disk| match disk.stream {
        Some(stream) => fill(stream, 0, disk.sectors),
        None => vec![0; disk.sectors as usize * 512],
    };
    case.disks.iter().map(disk).collect()
}

/// Plays steps on disks; gives what each printed, and the disks as they are then.
///
/// # Panics
/// When there is no place for the disks.
#[must_use]
pub fn run(case: &Case, steps: &[Step], images: &Images) -> (Vec<Vec<String>>, Images) {
    let mut side = Ours::new(case, images);
    let printed = play(&mut side, &case.disks, steps);
    let read = |name: &String| fs::read(side.path(name)).expect("an image");
    let images = side.disks.iter().map(read).collect();
    (printed, images)
}

impl Ours {
    fn new(case: &Case, images: &Images) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disks: Vec<String> = case.disks.iter().map(|disk| disk.name.clone()).collect();
        for (name, bytes) in disks.iter().zip(images) {
            fs::write(folder.path().join(name), bytes).expect("an image is written");
        }
        let _entered = Registry::new().enter();
        Self { folder, driver: Driver::attach(TARGETS), disks, _entered }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}

struct Direct<'a>(&'a Driver);

impl Control for Direct<'_> {
    fn command(&self, request: &Dict) -> libdm::Result<Dict> {
        let mut dict = request.clone();
        self.0.command(&Caller { privileged: true, client: 1 }, &mut dict);
        Ok(dict)
    }
}

/// Both outputs, in order.
#[derive(Clone, Default)]
struct Both(Rc<RefCell<Vec<u8>>>);

impl Write for Both {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Side for Ours {
    fn dmsetup(&mut self, words: &[&str], stdin: &str) -> Printed {
        let words: Vec<String> = words.iter().map(|&word| word.into()).collect();
        let open = || Ok(Box::new(Direct(&self.driver)) as Box<dyn Control + '_>);
        let printed = Both::default();
        let environment = Environment {
            open: &open,
            dev_dir: self.folder.path().into(),
            mangling: None,
            utf8: false,
            width: 80,
            stdin: &mut stdin.as_bytes(),
            out: &mut printed.clone(),
            err: &mut printed.clone(),
        };
        let status = dmsetup::run(&words, environment);
        let text = String::from_utf8_lossy(&printed.0.borrow()).into_owned();
        Printed { success: status == 0, text: in_linux_words(&text) }
    }

    fn disk(&self, name: &str) -> Option<(String, String)> {
        self.disks.iter().find(|known| *known == name)?;
        let path = self.path(name).display().to_string();
        Some((path.clone(), path))
    }

    fn open_disk(&mut self, name: &str) -> Result<Box<dyn Storage + '_>, String> {
        let file = OpenOptions::new().read(true).write(true).open(self.path(name));
        file.map(|file| Box::new(Image(file)) as Box<dyn Storage>).map_err(|why| why.to_string())
    }

    fn open(&mut self, name: &str) -> Result<Box<dyn Storage + '_>, String> {
        let minor = self.driver.minor_of(name).ok_or("ENOENT")?;
        let open = |write| Mapped::open(&self.driver, minor, write);
        let mapped = open(true).or_else(|_| open(false)).map_err(symbol)?;
        Ok(Box::new(Device(mapped)))
    }

    fn command(&mut self, _line: &str) -> Option<Printed> {
        None
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.dmsetup(&["remove_all"], "");
    }
}

/// Texts of error numbers are NetBSD's on our side.
fn in_linux_words(text: &str) -> String {
    let words = [
        ("Device busy", "Device or resource busy"),
        ("Device not configured", "No such device or address"),
        ("No message available", "No data available"),
    ];
    words.iter().fold(text.to_owned(), |text, (ours, linux)| text.replace(ours, linux))
}

fn symbol(errno: Errno) -> String {
    errno.name().map_or_else(|| errno.to_string(), Into::into)
}

struct Device(Mapped);

impl Device {
    fn act(&self, op: Op, at: u64, count: u64) -> Result<(), String> {
        self.0.act(Ask::new(op, Sector(at), Sectors(count))).map_err(symbol)
    }
}

impl Storage for Device {
    fn sectors(&self) -> u64 {
        self.0.opened().size().0
    }

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), String> {
        self.0.read(Sector(at), bytes).map_err(symbol)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), String> {
        self.0.write(Sector(at), bytes, false).map_err(symbol)
    }

    fn flush(&mut self) -> Result<(), String> {
        self.0.flush().map_err(symbol)
    }

    fn discard(&mut self, at: u64, count: u64) -> Result<(), String> {
        self.act(Op::Discard, at, count)
    }

    fn zero(&mut self, at: u64, count: u64) -> Result<(), String> {
        self.act(Op::WriteZeroes, at, count)
    }
}

/// A disk of a case, as a file.
struct Image(File);

fn plain<T>(result: io::Result<T>) -> Result<T, String> {
    result.map_err(|why| why.to_string())
}

impl Storage for Image {
    fn sectors(&self) -> u64 {
        self.0.metadata().map_or(0, |about| about.len() / 512)
    }

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), String> {
        plain(self.0.read_exact_at(bytes, at * 512))
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), String> {
        plain(self.0.write_all_at(bytes, at * 512))
    }

    fn flush(&mut self) -> Result<(), String> {
        plain(self.0.sync_all())
    }

    fn discard(&mut self, at: u64, count: u64) -> Result<(), String> {
        self.zero(at, count)
    }

    fn zero(&mut self, at: u64, count: u64) -> Result<(), String> {
        plain(self.0.write_all_at(&vec![0; count as usize * 512], at * 512))
    }
}
