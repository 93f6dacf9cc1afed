//! Encrypted disks that take their time: one request at a time, and many.
//!
//! `dm-bench-depth [LATENCY-US [REQUESTS [ROUNDS]]]` asks for 4 KiB at random places of a disk in
//! memory that answers so many microseconds later, through `linear` and through `crypt` with
//! aes-xts-plain64. One at a time, the ideal is the disk and the cipher behind one another; 32 at
//! a time, whichever of the two takes longer, the cipher on all processors. Prints a table.

use dm::command::Caller;
use dm::driver::Driver;
use dm::kern::disk::Op;
use dm::targets::TARGETS;
use dm_cipher::{Format, Key, SectorCipher, Spec};
use dm_host::disk::memory::MemoryDisk;
use dm_host::disk::{Backend, Description, register};
use dm_host::front::Registry;
use dm_host::kern::Running;
use dm_host::mapped::{Ask, Finish, Io, Mapped};
use dm_protocol::{Action, DeviceName, Errno, Request, Sector, Sectors, SegmentSpec, Selector};
use std::collections::VecDeque;
use std::env;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const SECTORS: u64 = 1 << 17;
/// Sectors of a request.
const COUNT: u64 = 8;
const CIPHER: &str = "aes-xts-plain64";

/// A disk whose transfers end a while after they began.
struct LateDisk {
    memory: MemoryDisk,
    latency: Duration,
    waiting: Mutex<VecDeque<(Instant, Running)>>,
    more: Condvar,
}

impl LateDisk {
    fn start(name: &str, latency: Duration) {
        let disk = Arc::new(Self {
            memory: MemoryDisk::new(name, Sectors(SECTORS)),
            latency,
            waiting: Mutex::default(),
            more: Condvar::new(),
        });
        register(name, Arc::clone(&disk) as Arc<dyn Backend>);
        thread::spawn(move || disk.serve());
    }

    fn serve(&self) {
        loop {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let (due, running) = loop {
                match waiting.pop_front() {
                    Some(first) => break first,
                    None => {
                        waiting = self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner)
                    }
                }
            };
            drop(waiting);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            self.memory.submit(running);
        }
    }
}

impl Backend for LateDisk {
    fn describe(&self) -> Description {
        self.memory.describe()
    }

    fn submit(&self, running: Running) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push_back((Instant::now() + self.latency, running));
        if waiting.len() == 1 {
            self.more.notify_one();
        }
    }
}

/// A request that is over, and how it ended.
type Answer = (Box<Io<Back>>, Result<(), Errno>);

/// A request that comes back to the thread that asks.
struct Back(Sender<Answer>);

impl Finish for Back {
    fn finish(io: Box<Io<Self>>, result: Result<(), Errno>) {
        let to = io.own.0.clone();
        // Nobody waits for it any more only when the program ends.
        let _ = to.send((io, result));
    }
}

fn open(driver: &Arc<Driver>, name: &str, kind: &str, line: &str) -> Result<Arc<Mapped>, String> {
    let caller = Caller { privileged: true, client: 1 };
    let run = |action| {
        let device = Selector { name: Some(name.to_owned()), ..Selector::default() };
        let reply = driver.run(&caller, &Request { device, ..Request::new(action) });
        reply
            .failure
            .as_ref()
            .map_or(Ok(reply.minor), |why| Err(format!("{name}: {}", why.message)))
    };
    let named = DeviceName::new(name).map_err(|why| why.message.clone())?;
    run(Action::Create { name: named, uuid: None, minor: None })?;
    let table = vec![SegmentSpec::new(0, SECTORS, kind, line)];
    run(Action::Reload { table, dry_run: false })?;
    let minor = run(Action::Resume)?;
    Mapped::open(driver, minor, true).map(Arc::new).map_err(|errno| errno.to_string())
}

/// The microseconds from one answer to the next, with so many requests under way.
fn ask(device: &Arc<Mapped>, op: Op, depth: u64, count: u64) -> Result<f64, String> {
    let (sender, answers) = channel();
    let mut place = 1_u64;
    let mut next = || {
        place = place.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(11);
        Ask::new(op, Sector((place >> 33) % (SECTORS / COUNT) * COUNT), Sectors(COUNT))
    };
    let begin = Instant::now();
    for _ in 0..depth {
        let mut io = Io::new(Back(sender.clone()));
        io.reserve(Sectors(COUNT)).map_err(|errno| errno.to_string())?;
        device.submit(io, next());
    }
    for nr in 0..count + depth {
        let (io, result) = answers.recv().map_err(|_| "a request was lost".to_owned())?;
        result.map_err(|errno| errno.to_string())?;
        if nr < count {
            device.submit(io, next());
        }
    }
    Ok(begin.elapsed().as_secs_f64() * 1e6 / (count + depth) as f64)
}

/// The microseconds of the cipher alone.
fn alone(op: Op, bytes: u64, key: &str) -> Result<f64, String> {
    let format = Format::new(bytes, false).ok_or("no such sectors")?;
    let cipher = SectorCipher::new(&Spec::parse(CIPHER)?, format, &Key::parse(key)?)?;
    let (from, mut to) = (vec![1_u8; 4096], vec![0_u8; 4096]);
    let begin = Instant::now();
    for nr in 0..20_000 {
        match op {
            Op::Read => cipher.decrypt_in_place(nr * 8, black_box(&mut to)),
            _ => cipher.encrypt(nr * 8, black_box(&from), black_box(&mut to)),
        }
    }
    Ok(begin.elapsed().as_secs_f64() * 1e6 / 20_000.0)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn run(latency: Duration, count: u64, rounds: u64) -> Result<(), String> {
    let _entered = Registry::new().enter();
    LateDisk::start("late", latency);
    let driver = Driver::attach(TARGETS);
    let linear = open(&driver, "linear", "linear", "late 0")?;
    let key = "0123456789abcdef".repeat(8);
    let cores = thread::available_parallelism().map_or(1, usize::from) as f64;
    println!("| | disk | cipher | crypt | of the ideal |\n| - | -: | -: | -: | -: |");
    for bytes in [512, 4096] {
        let line = format!("{CIPHER} {key} 0 late 0 1 sector_size:{bytes}");
        let crypt = open(&driver, &format!("crypt{bytes}"), "crypt", &line)?;
        for (op, verb) in [(Op::Read, "read"), (Op::Write, "write")] {
            for depth in [1, 32] {
                let count = if depth == 1 { count } else { count * 8 };
                let [mut disk, mut cipher, mut both, mut part] = [const { Vec::new() }; 4];
                for _ in 0..rounds {
                    let below = ask(&linear, op, depth, count)?;
                    let all = ask(&crypt, op, depth, count)?;
                    let own = alone(op, bytes, &key)?;
                    let ideal = if depth == 1 { below + own } else { below.max(own / cores) };
                    // What disturbs the machine meets neighbours alike.
                    part.push(ideal / all * 100.0);
                    disk.push(below);
                    cipher.push(own);
                    both.push(all);
                }
                let [disk, cipher, both, part] = [disk, cipher, both, part].map(median);
                let what = format!("{verb} {bytes}, {depth} at a time");
                println!("| {what} | {disk:.2} | {cipher:.2} | {both:.2} | {part:.0} % |");
            }
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let numbers: Option<Vec<u64>> = env::args().skip(1).map(|word| word.parse().ok()).collect();
    let numbers = numbers.filter(|numbers| numbers.len() <= 3);
    let Some(numbers) = numbers else {
        eprintln!("dm-bench-depth [LATENCY-US [REQUESTS [ROUNDS]]]");
        return ExitCode::FAILURE;
    };
    let number = |at: usize, usual| numbers.get(at).copied().unwrap_or(usual);
    match run(Duration::from_micros(number(0, 100)), number(1, 1000), number(2, 9)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("dm-bench-depth: {why}");
            ExitCode::FAILURE
        }
    }
}
