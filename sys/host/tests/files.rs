//! Image files and block devices below, with each engine.

mod setup;

use dm::kern::disk::Op;
use dm_host::disk::{self, Engine};
use dm_host::mapped::{Ask, Finish, Io, Mapped};
use dm_protocol::{Errno, Sector, Sectors};
use setup::Setup;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use tempfile::TempDir;

const SIZE: u64 = 4096;
const ENGINES: [Engine; 2] = [Engine::Threads, Engine::Uring];

/// A file on a real file system and one in memory.
fn folders() -> Vec<TempDir> {
    let memory = Path::new("/dev/shm");
    let mut folders = vec![tempfile::tempdir().expect("a folder")];
    folders.extend(tempfile::tempdir_in(memory).ok());
    folders
}

fn text(path: &Path) -> &str {
    path.to_str().expect("ASCII")
}

/// The whole of a disk as a mapped device.
fn mapped(setup: &Setup, path: &str, engine: Engine) -> Arc<Mapped> {
    let name = format!("files-{engine:?}-{}", path.replace('/', "_"));
    let sectors = disk::open(path, true).expect("it opens").describe().size.0;
    disk::register(&name, disk::open_with(path, true, engine).expect("it opens"));
    let mapped = setup.linear(&name, &name, sectors);
    disk::forget(&name);
    mapped
}

fn on_each_file(body: impl Fn(&Arc<Mapped>, &Path)) {
    for folder in folders() {
        for engine in ENGINES {
            let image = folder.path().join("image");
            fs::write(&image, vec![0x11; (SIZE * 512) as usize]).expect("it is written");
            let setup = Setup::new();
            body(&mapped(&setup, text(&image), engine), &image);
        }
    }
}

fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|n| ((n + seed) * 7 % 251) as u8).collect()
}

/// Sizes and places, and memory that is aligned to nothing.
fn exercise(mapped: &Mapped) {
    let mut memory = vec![0; (1 << 20) + 64];
    for (number, (sector, count)) in
        [(0, 1), (1, 7), (8, 8), (SIZE - 1, 1), (100, 2048), (3, 129)].into_iter().enumerate()
    {
        for shift in [0, 1, 16] {
            let length = count as usize * 512;
            let data = pattern(length, number + shift);
            let place = &mut memory[shift..shift + length];
            place.copy_from_slice(&data);
            mapped.write(Sector(sector), place, number % 2 == 0).expect("it is written");
            place.fill(0);
            mapped.read(Sector(sector), place).expect("it is read");
            assert!(*place == data, "{count} sectors at {sector}, memory off by {shift}");
        }
    }
    mapped.flush().expect("it is flushed");
}

#[test]
fn what_is_written_is_read_back_and_in_the_file() {
    on_each_file(|mapped, image| {
        exercise(mapped);
        mapped.write(Sector(9), &[0x77; 512], false).expect("it is written");
        mapped.flush().expect("it is flushed");
        let bytes = fs::read(image).expect("it is read");
        assert_eq!(bytes.len() as u64, SIZE * 512);
        assert_eq!(bytes[9 * 512..10 * 512], [0x77; 512]);
        assert_eq!(bytes[(SIZE as usize - 2) * 512], 0x11);
    });
}

#[test]
fn zeroes_and_discards_reach_their_range_and_nothing_else() {
    on_each_file(|mapped, image| {
        mapped.act(Ask::new(Op::WriteZeroes, Sector(5), Sectors(100))).expect("it is zeroed");
        let discarded = mapped.act(Ask::new(Op::Discard, Sector(1024), Sectors(1024)));
        assert!(matches!(discarded, Ok(()) | Err(Errno::EOPNOTSUPP)), "{discarded:?}");
        let bytes = fs::read(image).expect("it is read");
        assert!(bytes[5 * 512..105 * 512].iter().all(|&byte| byte == 0));
        assert_eq!((bytes[5 * 512 - 1], bytes[105 * 512]), (0x11, 0x11));
        assert_eq!((bytes[1024 * 512 - 1], bytes[2048 * 512]), (0x11, 0x11));
        if discarded.is_ok() {
            let mut back = vec![1; 512];
            mapped.read(Sector(1500), &mut back).expect("it is read");
            assert_eq!(back, [0; 512]);
        }
    });
}

#[test]
fn a_file_that_shrank_gives_an_error_and_not_old_memory() {
    on_each_file(|mapped, image| {
        fs::File::options()
            .write(true)
            .open(image)
            .and_then(|file| file.set_len(4096))
            .expect("cut");
        let mut back = vec![0x55; 4096];
        assert_eq!(mapped.read(Sector(64), &mut back), Err(Errno::EIO));
        mapped.read(Sector(0), &mut back).expect("it is read");
        assert_eq!(back, [0x11; 4096]);
    });
}

struct Tell(Sender<Result<bool, Errno>>, u8);

impl Finish for Tell {
    fn finish(io: Box<Io<Self>>, result: Result<(), Errno>) {
        let same = io.bytes().iter().all(|&byte| byte == io.own.1);
        io.own.0.send(result.map(|()| same)).expect("somebody waits");
    }
}

/// More at once than any queue has places for.
fn flood(mapped: &Arc<Mapped>) {
    for op in [Op::Write, Op::Read] {
        let (sender, receiver) = channel();
        for number in 0..SIZE / 8 {
            let mut io = Io::new(Tell(sender.clone(), number as u8));
            io.reserve(Sectors(8)).expect("memory");
            io.bytes_mut().fill(if op == Op::Write { number as u8 } else { 0xee });
            mapped.submit(io, Ask::new(op, Sector(number * 8), Sectors(8)));
        }
        drop(sender);
        assert_eq!(receiver.iter().map(|result| assert_eq!(result, Ok(true))).count(), 512);
    }
}

#[test]
fn many_transfers_at_once_all_end_right() {
    on_each_file(|mapped, _| flood(mapped));
}

#[test]
fn a_read_only_file_is_read_and_not_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("image");
    fs::write(&image, vec![3; 4096]).expect("it is written");
    let mut mode = fs::metadata(&image).expect("it is there").permissions();
    mode.set_readonly(true);
    fs::set_permissions(&image, mode).expect("it is set");
    assert_eq!(disk::open(text(&image), false).expect("it opens").describe().size, Sectors(8));
    if rustix::process::geteuid().is_root() {
        return dm_skip::skip("the superuser may write to every file");
    }
    assert_eq!(disk::open(text(&image), true).err().expect("refused").errno, Errno::EACCES);
}

/// A block device on a file; given up when dropped.
struct Loop(PathBuf);

impl Loop {
    fn new(image: &Path) -> Option<Self> {
        let output = Command::new("losetup").args(["--show", "-f"]).arg(image).output().ok()?;
        let path = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| Self(path.trim().into()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.0).status();
    }
}

#[test]
fn a_block_device_is_read_and_written_past_the_cache() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("image");
    fs::write(&image, vec![0x11; (SIZE * 512) as usize]).expect("it is written");
    let Some(device) = Loop::new(&image) else {
        return dm_skip::skip("there are no loop devices");
    };
    for engine in ENGINES {
        let setup = Setup::new();
        let described = disk::open(text(&device.0), false).expect("it opens").describe();
        assert_eq!(described.size, Sectors(SIZE));
        let number = described.devno.expect("a block device has one").to_string();
        let by_number = disk::open(&number, false).expect("it opens").describe();
        assert_eq!(by_number.identity, described.identity);
        disk::register("files-loop", disk::open_with(text(&device.0), true, engine).expect("open"));
        let busy = disk::open_with(text(&device.0), true, engine).err().expect("one writer");
        assert_eq!(busy.errno, Errno::EBUSY);
        let mapped = setup.linear("files-loop", "files-loop", SIZE);
        disk::forget("files-loop");
        exercise(&mapped);
        flood(&mapped);
        mapped.act(Ask::new(Op::WriteZeroes, Sector(8), Sectors(8))).expect("it is zeroed");
        mapped.act(Ask::new(Op::Discard, Sector(64), Sectors(64))).expect("it is discarded");
        let mut back = vec![1; 512];
        mapped.read(Sector(15), &mut back).expect("it is read");
        assert_eq!(back, [0; 512]);
        drop(mapped);
        setup.run("files-loop", dm_protocol::Action::Remove).expect("it is removed");
    }
}
