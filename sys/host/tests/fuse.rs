//! Mapped devices as files, as programs see them.
//!
//! One process, one FUSE mount: the tests share a harness of their own each, on real files.

#![expect(clippy::unwrap_used, reason = "a test's own set-up")]

use dm::driver::Driver;
use dm::targets::TARGETS;
use dm_host::front::Registry;
use dm_host::fuse::Fuse;
use dm_host::{concise, paths};
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tempfile::TempDir;

/// The directory that stands for /dev is the process's, so one test runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

struct World {
    // In this order: files are closed by the tests, then the mount goes, then the devices.
    _fuse: Fuse,
    driver: Arc<Driver>,
    dir: TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// A mount with these devices, `None` and the test skipped where there is no FUSE. `DIR` in the
/// lines stands for the folder, which has an image of 1 MiB.
fn world(lines: &str) -> Option<World> {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("mapper")).unwrap();
    File::create(dir.path().join("img")).unwrap().set_len(1 << 20).unwrap();
    paths::set_dev_dir(dir.path().to_owned());
    let (driver, registry) = (Driver::attach(TARGETS), Registry::current());
    let fuse = match Fuse::start(dir.path(), &driver, &registry) {
        Ok(fuse) => fuse,
        Err(why) => {
            dm_skip::skip(&why);
            return None;
        }
    };
    let lines = lines.replace("DIR", &dir.path().display().to_string());
    concise::create(&driver, &concise::parse(&lines).unwrap()).unwrap();
    Some(World { _fuse: fuse, driver, dir, _alone: alone })
}

impl World {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("mapper").join(name)
    }

    fn open(&self, name: &str) -> File {
        OpenOptions::new().read(true).write(true).open(self.path(name)).unwrap()
    }

    fn image(&self) -> Vec<u8> {
        fs::read(self.dir.path().join("img")).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.driver.shutdown();
        let caller = dm::command::Caller { privileged: true, client: 1 };
        let all = dm_protocol::Request::new(dm_protocol::Action::RemoveAll);
        self.driver.run(&caller, &all);
    }
}

const LINEAR: &str = "lin,,,rw,0 2048 linear DIR/img 0";

#[test]
fn a_device_is_a_file_of_its_size() {
    let Some(world) = world(LINEAR) else { return };
    assert_eq!(fs::metadata(world.path("lin")).unwrap().len(), 1 << 20);
    let mut file = world.open("lin");
    assert_eq!(file.seek(SeekFrom::End(0)).unwrap(), 1 << 20);
    let names: Vec<_> = fs::read_dir(world.dir.path().join("dm")).unwrap().collect();
    assert_eq!(names.len(), 1);
}

#[test]
fn what_is_written_is_on_the_image_and_reads_back() {
    let Some(world) = world(LINEAR) else { return };
    let file = world.open("lin");
    let data: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    file.write_all_at(&data[..299_520], 4096).unwrap();
    file.sync_all().unwrap();
    let mut back = vec![0; 299_520];
    file.read_exact_at(&mut back, 4096).unwrap();
    assert!(back == data[..299_520]);
    assert!(world.image()[4096..4096 + 299_520] == data[..299_520]);
}

#[test]
fn bytes_within_sectors_can_be_written_without_harm_to_their_neighbours() {
    let Some(world) = world(LINEAR) else { return };
    let file = world.open("lin");
    file.write_all_at(&[7; 2048], 0).unwrap();
    file.write_all_at(&[9; 100], 700).unwrap();
    let mut model = vec![7; 2048];
    model[700..800].fill(9);
    let mut back = vec![0; 2048];
    file.read_exact_at(&mut back, 0).unwrap();
    assert!(back == model);
    let mut odd = vec![0; 33];
    file.read_exact_at(&mut odd, 690).unwrap();
    assert!(odd == model[690..723]);
}

#[test]
fn many_writers_of_one_sector_lose_nothing() {
    let Some(world) = world(LINEAR) else { return };
    let file = world.open("lin");
    // Each writes its own bytes of the same sectors, and a ninth whole sectors beside them.
    std::thread::scope(|scope| {
        for writer in 0..8_u8 {
            let file = &file;
            scope.spawn(move || {
                for round in 0..64_u64 {
                    let at = round % 8 * 512 + u64::from(writer) * 64;
                    file.write_all_at(&[writer + 1; 64], at).unwrap();
                }
            });
        }
        scope.spawn(|| {
            for round in 0..64_u64 {
                file.write_all_at(&[0xee; 512], 8192 + round % 8 * 512).unwrap();
            }
        });
    });
    let mut back = vec![0; 4096];
    file.read_exact_at(&mut back, 0).unwrap();
    let expected = |at: usize| (at % 512 / 64) as u8 + 1;
    assert!(back.iter().enumerate().all(|(at, byte)| *byte == expected(at)));
}

#[test]
fn the_end_is_where_the_device_ends() {
    let Some(world) = world(LINEAR) else { return };
    let mut file = world.open("lin");
    let error = file.write_at(&[0; 512], 1 << 20).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(file.write_at(&[1; 1024], (1 << 20) - 512).unwrap(), 512);
    file.seek(SeekFrom::Start((1 << 20) - 100)).unwrap();
    let mut rest = Vec::new();
    assert_eq!(file.read_to_end(&mut rest).unwrap(), 100);
    // A disk does not grow or shrink because a program truncates its file.
    file.set_len(0).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 1 << 20);
}

#[test]
fn holes_and_zero_ranges_read_as_zeroes() {
    let Some(world) = world(LINEAR) else { return };
    let file = world.open("lin");
    file.write_all_at(&[5; 16384], 0).unwrap();
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&file, punch, 4096, 4096).unwrap();
    fallocate(&file, FallocateFlags::ZERO_RANGE, 10_000, 100).unwrap();
    let mut model = vec![5; 16384];
    model[4096..8192].fill(0);
    model[10_000..10_100].fill(0);
    let mut back = vec![0; 16384];
    file.read_exact_at(&mut back, 0).unwrap();
    assert!(back == model);
}

#[test]
fn errors_and_refusals_reach_the_program() {
    let lines = "bad,,,rw,0 16 error;fixed,,,ro,0 16 linear DIR/img 0";
    let Some(world) = world(lines) else { return };
    let bad = world.open("bad");
    assert!(bad.read_at(&mut [0; 512], 0).is_err());
    assert!(bad.write_at(&[0; 512], 0).is_err());
    assert!(OpenOptions::new().write(true).open(world.path("fixed")).is_err());
    let mut fixed = File::open(world.path("fixed")).unwrap();
    assert_eq!(fixed.read(&mut [0; 512]).unwrap(), 512);
}

#[test]
fn an_open_file_keeps_its_device() {
    let Some(world) = world(LINEAR) else { return };
    let file = world.open("lin");
    let caller = dm::command::Caller { privileged: true, client: 1 };
    let mut remove = dm_protocol::Request::new(dm_protocol::Action::Remove);
    remove.device.name = Some("lin".to_owned());
    let refused = world.driver.run(&caller, &remove).failure.unwrap();
    assert_eq!(refused.errno, dm_protocol::Errno::EBUSY);
    drop(file);
    // The kernel tells of the close a moment later.
    let gone = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        world.driver.run(&caller, &remove).failure.is_none()
    });
    assert!(gone);
    assert!(!world.path("lin").exists());
}

#[test]
fn a_suspended_device_holds_nobody_else_up() {
    let lines = "slow,,,rw,0 16 linear DIR/img 0;free,,,rw,0 16 linear DIR/img 16";
    let Some(world) = world(lines) else { return };
    let caller = dm::command::Caller { privileged: true, client: 1 };
    let tell = |action| {
        let mut request = dm_protocol::Request::new(action);
        request.device.name = Some("slow".to_owned());
        assert_eq!(world.driver.run(&caller, &request).failure, None);
    };
    let slow = world.open("slow");
    tell(dm_protocol::Action::Suspend);
    std::thread::scope(|scope| {
        // More readers and ragged writers than the file system has threads.
        for n in 0..24_u64 {
            let slow = &slow;
            scope.spawn(move || slow.read_exact_at(&mut [0; 512], n % 16 * 512).unwrap());
            scope.spawn(move || slow.write_all_at(&[1; 7], n).unwrap());
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        let free = world.open("free");
        free.write_all_at(&[3; 8192], 0).unwrap();
        free.sync_all().unwrap();
        tell(dm_protocol::Action::Resume);
    });
}

#[test]
fn a_program_that_writes_through_a_buffer_sees_what_it_wrote() {
    let Some(world) = world(LINEAR) else { return };
    let mut file = std::io::BufWriter::with_capacity(1000, world.open("lin"));
    for line in 0..2000 {
        writeln!(file, "line {line}").unwrap();
    }
    file.flush().unwrap();
    drop(file);
    let text: String = (0..2000).map(|line| format!("line {line}\n")).collect();
    assert!(world.image().starts_with(text.as_bytes()));
}
