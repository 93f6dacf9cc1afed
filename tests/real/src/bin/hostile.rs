//! A program that means harm: requests of the device mapper that are wrong in every way, from
//! many processes and threads, with memory that changes meanwhile, signals and sudden deaths.
//!
//! `hostile SEED SECONDS`. It takes no device that is not its own: those named `hN`.

use std::env;
use std::ffi::CString;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The header of a request.
const HEADER: usize = 312;
/// The memory of one process that requests are made in.
const ROOM: usize = 1 << 16;

/// Numbers that follow from a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn word(&mut self) -> u32 {
        match self.below(4) {
            0 => self.next() as u32,
            1 => self.below(1024) as u32,
            2 => u32::MAX - self.below(8) as u32,
            _ => 312,
        }
    }
}

/// Memory that a thread of ours changes while the kernel, or whoever stands for it, reads it.
fn memory() -> *mut u8 {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: new memory, wherever there is room.
    let at = unsafe { libc::mmap(ptr::null_mut(), ROOM, access, kind, -1, 0) };
    assert!(at != libc::MAP_FAILED, "there is memory");
    at.cast()
}

/// Writes where other threads write, too.
fn put(memory: usize, at: usize, bytes: &[u8]) {
    for (nr, byte) in bytes.iter().enumerate().take_while(|(nr, _)| at + nr < ROOM) {
        let place = (memory + at + nr) as *mut u8;
        // SAFETY: within the memory, which is never unmapped.
        unsafe { place.write_volatile(*byte) };
    }
}

/// A request that looks like one, with something wrong in it, or nothing.
fn compose(random: &mut Random, memory: usize) {
    let version = if random.one_in(16) { random.word() } else { 4 };
    let size = if random.one_in(3) { random.word() } else { 16_384 };
    let start = if random.one_in(3) { random.word() } else { 312 };
    let count = if random.one_in(4) { random.word() } else { 1 };
    let flags = if random.one_in(2) { random.next() as u32 & 0x000f_ffff } else { 4 };
    for (nr, word) in [version, 0, 0, size, start, count, 0, flags, 0, 0].into_iter().enumerate() {
        put(memory, nr * 4, &word.to_ne_bytes());
    }
    let device = if random.one_in(8) { random.next() } else { 0 };
    put(memory, 40, &device.to_ne_bytes());
    let name = format!("h{}\0", random.below(6));
    put(memory, 48, name.as_bytes());
    put(memory, 176, if random.one_in(6) { b"uuid\0" } else { b"\0\0\0\0\0" });
    if random.one_in(8) {
        put(memory, 48, &[0xff; 257]);
    }
    let target = ["zero", "error", "linear", "striped", "x", ""][random.below(6) as usize];
    let mut record = [0; 40];
    record[8..16].copy_from_slice(&random.below(4096).to_ne_bytes());
    record[20..24].copy_from_slice(&random.word().to_ne_bytes());
    record[24..24 + target.len()].copy_from_slice(target.as_bytes());
    put(memory, HEADER, &record);
    let words = ["", "/dev/mapper/h1 0", "7:0 0", "9 9 9", "/proc/self/mem 0", "\u{1}"];
    put(memory, HEADER + 40, words[random.below(6) as usize].as_bytes());
    put(memory, HEADER + 80, &[u8::from(random.one_in(4))]);
}

fn open() -> i32 {
    let folder = env::var("DM_DEV_DIR").unwrap_or_else(|_| "/dev".to_owned());
    let path = CString::new(format!("{folder}/mapper/control")).expect("a path");
    // SAFETY: a path that ends.
    unsafe { libc::open(path.as_ptr(), libc::O_RDWR) }
}

/// Sends requests until the time is over.
fn attack(seed: u64, end: Instant) {
    let mut random = Random(seed | 1);
    let memory = memory() as usize;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random(seed.rotate_left(17) | 1);
            while !over.load(Ordering::Relaxed) {
                let at = random.below(400) as usize & !3;
                put(memory, at, &random.word().to_ne_bytes());
                if random.one_in(3) {
                    // Some requests get through as they were meant.
                    thread::sleep(Duration::from_micros(random.below(2000)));
                }
            }
        });
        let mut control = open();
        while Instant::now() < end {
            compose(&mut random, memory);
            let mut number = random.below(24);
            // Everything of everybody, and waiting for nothing, are no harm but by right.
            if matches!(number, 1 | 8) && !random.one_in(64) || number == 1 {
                number = 7;
            }
            let request = 0xc138_fd00 | number | (random.below(3) << 16);
            let address = match random.below(12) {
                0 => 0,
                1 => random.next(),
                2 => (memory + ROOM - random.below(400) as usize) as u64,
                3 => 0xffff_ffff_8000_0000,
                _ => memory as u64,
            };
            // SAFETY: what is written lies in memory of ours that holds no Rust value, or nowhere.
            unsafe { libc::ioctl(control, request as libc::c_ulong, address) };
            if random.one_in(100) {
                // SAFETY: a descriptor of ours, or none.
                unsafe { libc::close(control) };
                control = open();
            }
        }
        over.store(true, Ordering::Relaxed);
    });
}

fn main() {
    let mut arguments = env::args().skip(1).map(|word| word.parse::<u64>().expect("a number"));
    let (seed, seconds) = (arguments.next().unwrap_or(1), arguments.next().unwrap_or(5));
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    while Instant::now() < end {
        let mut children = Vec::new();
        for _ in 0..6 {
            let seed = random.next();
            // SAFETY: this process has one thread here.
            match unsafe { libc::fork() } {
                0 => {
                    attack(seed, end.min(Instant::now() + Duration::from_secs(2)));
                    std::process::exit(0);
                }
                child => children.push(child),
            }
        }
        for _ in 0..random.below(60) {
            thread::sleep(Duration::from_millis(random.below(40)));
            let child = children[random.below(6) as usize];
            let signal = [libc::SIGKILL, libc::SIGCONT, libc::SIGSTOP][random.below(3) as usize];
            // SAFETY: a child that was not waited for yet.
            unsafe { libc::kill(child, signal) };
        }
        for child in children {
            // SAFETY: as above.
            unsafe { libc::kill(child, libc::SIGKILL) };
            // SAFETY: as above; no status is asked for.
            unsafe { libc::waitpid(child, ptr::null_mut(), 0) };
        }
    }
}
