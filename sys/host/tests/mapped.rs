//! Requests through the real driver to disks in memory.

mod setup;

use dm::kern::disk::Op;
use dm_host::disk::memory::MemoryDisk;
use dm_host::disk::{Backend, Description, forget, register};
use dm_host::front::Registry;
use dm_host::kern::Running;
use dm_host::mapped::{Ask, Finish, Io, Mapped};
use dm_protocol::{Errno, Sector, Sectors, SegmentSpec};
use setup::Setup;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

struct Tell(Sender<Result<(), Errno>>);

impl Finish for Tell {
    fn finish(io: Box<Io<Self>>, result: Result<(), Errno>) {
        io.own.0.send(result).expect("somebody waits");
    }
}

#[test]
fn what_is_written_to_a_mapped_device_is_read_back_from_the_disk_below() {
    let setup = Setup::new();
    let disk = "mem:mapped-below:64";
    let table = vec![
        SegmentSpec::new(0, 8, "linear", &format!("{disk} 16")),
        SegmentSpec::new(8, 8, "linear", &format!("{disk} 0")),
    ];
    let minor = setup.device("mapped-a", table);
    let shown = Registry::current().by_name("mapped-a").unwrap();
    assert_eq!((shown.minor, shown.size), (minor, Sectors(16)));
    let mapped = Mapped::open(&setup.driver, minor, true).unwrap();
    let data: Vec<u8> = (0..16 * 512).map(|n| (n / 512) as u8 + 1).collect();
    mapped.write(Sector(0), &data, true).unwrap();
    mapped.flush().unwrap();
    let mut back = vec![0; data.len()];
    mapped.read(Sector(0), &mut back).unwrap();
    assert_eq!(back, data);

    let below = setup.linear("mapped-b", disk, 64);
    let mut back = vec![0; 64 * 512];
    below.read(Sector(0), &mut back).unwrap();
    assert_eq!(back[..8 * 512], data[8 * 512..]);
    assert_eq!(back[16 * 512..24 * 512], data[..8 * 512]);

    mapped.act(Ask::new(Op::WriteZeroes, Sector(4), Sectors(8))).unwrap();
    mapped.read(Sector(3), &mut back[..10 * 512]).unwrap();
    assert_eq!((back[0], back[512], back[8 * 512], back[9 * 512]), (4, 0, 0, 13));
    assert_eq!(mapped.read(Sector(16), &mut back[..512]), Err(Errno::EINVAL));
    assert_eq!(mapped.read(Sector(0), &mut back[..100]), Err(Errno::EINVAL));
}

#[test]
fn a_request_with_a_callback_is_sent_and_its_buffer_checked() {
    let setup = Setup::new();
    let table = vec![SegmentSpec::new(0, 64, "linear", "mem:mapped-again:64 0")];
    let minor = setup.device("mapped-c", table);
    let mapped = Arc::new(Mapped::open(&setup.driver, minor, true).unwrap());
    let (sender, receiver) = channel();
    let mut io = Io::new(Tell(sender.clone()));
    io.reserve(Sectors(8)).unwrap();
    io.bytes_mut().fill(9);
    mapped.submit(io, Ask::new(Op::Write, Sector(56), Sectors(8)));
    assert_eq!(receiver.recv().unwrap(), Ok(()));
    mapped.submit(Io::new(Tell(sender)), Ask::new(Op::Write, Sector(0), Sectors(8)));
    assert_eq!(receiver.recv().unwrap(), Err(Errno::EINVAL));
    let mut back = vec![0; 512];
    mapped.read(Sector(63), &mut back).unwrap();
    assert_eq!(back, vec![9; 512]);
}

/// A disk that dawdles before and after it reads: much can happen between a read and a write.
struct Slow(MemoryDisk);

/// Says that something is over when it is dropped.
struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn dawdle() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_micros(50) {
        thread::yield_now();
    }
}

impl Backend for Slow {
    fn describe(&self) -> Description {
        self.0.describe()
    }

    fn submit(&self, running: Running) {
        if running.op() != Op::Read {
            return self.0.submit(running);
        }
        dawdle();
        self.0.submit(running);
        dawdle();
    }
}

#[test]
fn writes_of_parts_of_a_sector_lose_nothing_of_what_others_write_to_it() {
    const ROUNDS: u64 = 300;
    let setup = Setup::new();
    register("mapped-slow", Arc::new(Slow(MemoryDisk::new("mapped-slow", Sectors(8)))));
    let one = setup.linear("mapped-shared", "mapped-slow", 8);
    forget("mapped-slow");
    let minor = Registry::current().by_name("mapped-shared").unwrap().minor;
    let other = Arc::new(Mapped::open(&setup.driver, minor, true).unwrap());
    let byte = |round: u64| (round % 251) as u8;
    let over = AtomicBool::new(false);
    let parts = || {
        let (sender, receiver) = channel();
        let done = move |result| sender.send(result).unwrap();
        one.write_bytes(3 * 512 + 50, vec![9; 100], false, done);
        assert_eq!(receiver.recv().unwrap(), Ok(()));
    };
    let whole = |sector, byte| {
        let (sender, receiver) = channel();
        let mut io = Io::new(Tell(sender));
        io.reserve(Sectors(1)).unwrap();
        io.bytes_mut().fill(byte);
        other.submit(io, Ask::new(Op::Write, sector, Sectors(1)));
        assert_eq!(receiver.recv().unwrap(), Ok(()));
    };
    let holds = |sector, byte: u8| {
        let mut back = vec![0; 512];
        other.read(sector, &mut back).unwrap();
        assert_eq!(back[256..], [byte; 256], "{sector}");
    };
    thread::scope(|scope| {
        // Dropped at the end, whichever it is.
        let until = Until(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                parts();
            }
        });
        // The second half of the sector is nobody else's.
        for round in 0..ROUNDS {
            let sector = Sector(3);
            (0..round % 4).for_each(|_| dawdle());
            whole(sector, byte(round));
            holds(sector, byte(round));
            other.act(Ask::new(Op::WriteZeroes, sector, Sectors(1))).unwrap();
            holds(sector, 0);
            other.write(sector, &[7; 512], false).unwrap();
            holds(sector, 7);
        }
        drop(until);
    });
}
