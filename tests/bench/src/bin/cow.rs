//! What a write costs that snapshots have to see first.
//!
//! `dm-bench-cow ours THREADS KIB COUNT KIND CHUNK ORIGIN [COW...]` writes through our driver in
//! this process to a `snapshot-origin` on ORIGIN with a snapshot on each COW, of a kind (`P`, `PO`,
//! `N`) and with so many sectors in a chunk; `dm-bench-cow path THREADS KIB COUNT DEVICE` writes
//! to a device, past the page cache. Each thread waits for its write before it sends the next; no
//! two writes touch the same place. Prints the microseconds of a write.

use dm::command::Caller;
use dm::driver::Driver;
use dm::kern::buffer::Buffer;
use dm::targets::TARGETS;
use dm_host::front::Registry;
use dm_host::mapped::Mapped;
use dm_protocol::{
    Action, DeviceName, Reply, Request, SECTOR_SIZE, Sector, Sectors, SegmentSpec, Selector,
};
use std::env;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// Past the page cache.
const O_DIRECT: i32 = 0x4000;

/// Where to write.
enum To {
    Ours(Mapped),
    Path(File),
}

impl To {
    fn write(&self, sector: u64, data: &[u8]) -> Result<(), String> {
        match self {
            Self::Ours(device) => {
                device.write(Sector(sector), data, false).map_err(|errno| errno.to_string())
            }
            Self::Path(file) => {
                file.write_all_at(data, sector * SECTOR_SIZE).map_err(|why| why.to_string())
            }
        }
    }
}

fn command(driver: &Driver, name: &str, action: Action) -> Result<Reply, String> {
    let caller = Caller { privileged: true, client: 1 };
    let device = Selector { name: Some(name.to_owned()), ..Selector::default() };
    let reply = driver.run(&caller, &Request { device, ..Request::new(action) });
    match reply.failure {
        None => Ok(reply),
        Some(failure) => Err(format!("{name}: {}", failure.message)),
    }
}

fn make(driver: &Driver, name: &str, sectors: u64, kind: &str, how: &str) -> Result<u32, String> {
    let named = DeviceName::new(name).map_err(|why| why.message.clone())?;
    command(driver, name, Action::Create { name: named, uuid: None, minor: None })?;
    let table = vec![SegmentSpec::new(0, sectors, kind, how)];
    command(driver, name, Action::Reload { table, dry_run: false })?;
    Ok(command(driver, name, Action::Resume)?.minor)
}

/// An origin with snapshots.
fn ours(driver: &Arc<Driver>, sectors: u64, words: &[String]) -> Result<To, String> {
    let [kind, chunk, origin, cows @ ..] = words else { return Err("no device".into()) };
    let base = make(driver, "base", sectors, "linear", &format!("{origin} 0"))?;
    let base = format!("{}:{base}", dm::kern::node::major());
    for (nr, cow) in cows.iter().enumerate() {
        let how = format!("{base} {cow} {kind} {chunk}");
        make(driver, &format!("snap{nr}"), sectors, "snapshot", &how)?;
    }
    let minor = make(driver, "origin", sectors, "snapshot-origin", &base)?;
    Mapped::open(driver, minor, true).map(To::Ours).map_err(|errno| errno.to_string())
}

/// Writes everywhere once; gives the microseconds of a write.
fn measure(to: &To, threads: u64, sectors: u64, count: u64) -> Result<f64, String> {
    let work = |thread: u64| -> Result<(), String> {
        let mut buffer = Buffer::new(Sectors(sectors)).map_err(|errno| errno.to_string())?;
        buffer.bytes_mut().fill(thread as u8 + 1);
        for nr in (thread..count).step_by(threads as usize) {
            // A prime visits each place once, far from the one before.
            let place = nr * 7919 % count;
            to.write(place * sectors, buffer.bytes())?;
        }
        Ok(())
    };
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        all.into_iter().try_for_each(|one| one.join().map_err(|_| "a thread died".to_owned())?)
    })?;
    Ok(begin.elapsed().as_secs_f64() * 1e6 / count as f64)
}

fn run(words: &[String]) -> Result<(), String> {
    let usage = "ours|path THREADS KIB COUNT [KIND CHUNK] DEVICE [COW...]";
    let [whose, threads, kib, count, words @ ..] = words else { return Err(usage.into()) };
    let number = |word: &String| word.parse::<u64>().map_err(|_| format!("{word}: {usage}"));
    let (threads, sectors, count) = (number(threads)?, number(kib)? * 2, number(count)?);
    let entered = Registry::new().enter();
    let driver = Driver::attach(TARGETS);
    let to = match (whose.as_str(), words) {
        ("ours", words) => ours(&driver, sectors * count, words)?,
        ("path", [path]) => {
            let options = OpenOptions::new().write(true).custom_flags(O_DIRECT).open(path);
            To::Path(options.map_err(|why| format!("{path}: {why}"))?)
        }
        _ => return Err(usage.into()),
    };
    println!("{:.1}", measure(&to, threads, sectors, count)?);
    drop(to);
    command(&driver, "", Action::RemoveAll)?;
    drop(entered);
    Ok(())
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("dm-bench-cow: {why}");
            ExitCode::FAILURE
        }
    }
}
