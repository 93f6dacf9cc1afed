//! Random reads and writes of a raw device. Each thread has a part of its own, writes sectors
//! that tell where and when they were written, and reads back what it wrote last.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

const SECTOR: usize = 512;
/// The longest request, in sectors.
const LONGEST: u64 = 128;
/// The most that one thread has, so that its memory of it is small.
const PART_MAX: u64 = 65_536;

/// What to do.
pub struct Plan {
    /// How long.
    pub seconds: u64,
    /// How many at the same time.
    pub threads: u64,
    /// What the chances depend on.
    pub seed: u64,
    /// Requests may fail; what such a write left is not known.
    pub errors: bool,
}

/// What a sector holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Unknown,
    Written(u32),
}

struct Part {
    first: u64,
    held: Vec<Held>,
    state: u64,
    tag: u64,
    errors: bool,
}

/// What a part did.
#[derive(Default)]
struct Tally {
    requests: u64,
    failed: u64,
}

/// Writes the sector's text: its place and time, mixed until every bit differs.
fn stamp(tag: u64, sector: u64, time: u32, data: &mut [u8]) {
    let mut word = tag ^ sector.rotate_left(20) ^ u64::from(time).rotate_left(45);
    for piece in data.chunks_exact_mut(8) {
        word = mix(word);
        piece.copy_from_slice(&word.to_le_bytes());
    }
}

/// One step of splitmix64.
const fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let one = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let two = (one ^ (one >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    two ^ (two >> 31)
}

impl Part {
    fn below(&mut self, end: u64) -> u64 {
        self.state = mix(self.state);
        self.state % end.max(1)
    }

    /// One request.
    fn one(&mut self, file: &File, time: u32, tally: &mut Tally) -> Result<(), String> {
        let size = self.held.len() as u64;
        let at = self.below(size);
        let count = (1 + self.below(LONGEST)).min(size - at);
        let (from, to) = (at as usize, (at + count) as usize);
        let mut data = vec![0; count as usize * SECTOR];
        let place = (self.first + at) * SECTOR as u64;
        tally.requests += 1;
        let write = self.below(2) == 0;
        let done = if write {
            for (nr, sector) in data.chunks_exact_mut(SECTOR).enumerate() {
                stamp(self.tag, self.first + at + nr as u64, time, sector);
            }
            file.write_all_at(&data, place)
        } else {
            file.read_exact_at(&mut data, place)
        };
        match done {
            Ok(()) if write => self.held[from..to].fill(Held::Written(time)),
            Ok(()) => return self.check(from, &data),
            Err(_) if self.errors => {
                tally.failed += 1;
                if write {
                    self.held[from..to].fill(Held::Unknown);
                }
                thread::sleep(Duration::from_millis(5));
            }
            Err(why) => return Err(format!("sector {}: {why}", self.first + at)),
        }
        Ok(())
    }

    fn check(&self, from: usize, data: &[u8]) -> Result<(), String> {
        let mut wanted = [0; SECTOR];
        for (nr, sector) in data.chunks_exact(SECTOR).enumerate() {
            let Held::Written(time) = self.held[from + nr] else { continue };
            let place = self.first + (from + nr) as u64;
            stamp(self.tag, place, time, &mut wanted);
            if sector != wanted {
                return Err(format!("sector {place} does not hold what was written at {time}"));
            }
        }
        Ok(())
    }

    fn go(mut self, file: &File, end: Instant) -> Result<Tally, String> {
        let mut tally = Tally::default();
        for time in 1.. {
            if Instant::now() >= end {
                break;
            }
            self.one(file, time, &mut tally)?;
        }
        // At last, all of it.
        let every = LONGEST as usize;
        for from in (0..self.held.len()).step_by(every) {
            let to = (from + every).min(self.held.len());
            let mut data = vec![0; (to - from) * SECTOR];
            match file.read_exact_at(&mut data, (self.first + from as u64) * SECTOR as u64) {
                Ok(()) => self.check(from, &data)?,
                Err(_) if self.errors => tally.failed += 1,
                Err(why) => return Err(format!("the last read: {why}")),
            }
        }
        Ok(tally)
    }
}

/// Runs a plan on a device.
pub fn run(device: &str, plan: &Plan) -> Result<(), String> {
    let name = |why: std::io::Error| format!("{device}: {why}");
    let file = OpenOptions::new().read(true).write(true).open(device).map_err(name)?;
    let size = size(&file).map_err(name)?;
    let each = (size / plan.threads).min(PART_MAX);
    if each == 0 && plan.errors {
        println!("{device}: nothing can be read");
        return Ok(());
    }
    if each == 0 {
        return Err(format!("{device}: {size} sectors are too few"));
    }
    let end = Instant::now() + Duration::from_secs(plan.seconds);
    let tallies = thread::scope(|scope| {
        let part = |nr: u64| Part {
            first: nr * (size / plan.threads),
            held: vec![Held::Unknown; each as usize],
            state: plan.seed.wrapping_add(nr),
            tag: mix(plan.seed),
            errors: plan.errors,
        };
        let file = &file;
        let parts: Vec<_> = (0..plan.threads).map(part).collect();
        let threads: Vec<_> =
            parts.into_iter().map(|part| scope.spawn(move || part.go(file, end))).collect();
        let ended = threads.into_iter().map(|thread| thread.join());
        ended
            .map(|tally| tally.unwrap_or_else(|_| Err("a thread panicked".to_owned())))
            .collect::<Result<Vec<_>, _>>()
    })
    .map_err(|why| format!("{device}: {why}"))?;
    let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
    println!("{device}: {} requests, {} failed", sum(|t| t.requests), sum(|t| t.failed));
    Ok(())
}

/// Sectors of a device: where reading ends, if it does not tell its end otherwise.
fn size(file: &File) -> std::io::Result<u64> {
    let end = (&*file).seek(SeekFrom::End(0))?;
    if end > 0 {
        return Ok(end / SECTOR as u64);
    }
    let mut sector = [0; SECTOR];
    let mut readable = |at: u64| matches!(file.read_at(&mut sector, at * 512), Ok(SECTOR));
    let (mut low, mut high) = (0, 1_u64 << 40);
    while low < high {
        let middle = low + (high - low) / 2;
        match readable(middle) {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    Ok(low)
}
