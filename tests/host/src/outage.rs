//! The power goes at any moment, on all disks at once: what a device promised by then, and what
//! it may hold afterwards.
//!
//! Each write has a number, and each of its sectors holds nothing but that. So a sector tells
//! which write it is from, and whether it is torn.

use crate::disk::Disk;
use crate::power::{Log, moment};
use crate::random::{Random, long};
use dm_protocol::SECTOR_SIZE;
use std::sync::Arc;

/// The content of the sectors of a write.
#[must_use]
pub fn sectors_of(version: u32, count: u64) -> Vec<u8> {
    version.to_le_bytes().repeat((count * SECTOR_SIZE / 4) as usize)
}

/// The write that a sector is from.
///
/// # Panics
/// When it is from two.
#[must_use]
pub fn version_of(sector: &[u8], what: impl Fn() -> String) -> u32 {
    let (words, _) = sector.as_chunks::<4>();
    assert!(words.iter().all(|word| *word == words[0]), "a sector is torn: {}", what());
    u32::from_le_bytes(words[0])
}

/// A write to a sector.
#[derive(Clone, Debug)]
struct Write {
    version: u32,
    begun: u64,
    /// From then on it has to be there.
    durable: u64,
}

/// What a device promised, sector by sector.
#[derive(Clone, Debug)]
pub struct Promise {
    sectors: Vec<Vec<Write>>,
    next: u32,
}

/// A write that is not over yet.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    /// Its number.
    pub version: u32,
    sector: u64,
    count: u64,
}

impl Promise {
    /// Of a device of zeroes.
    #[must_use]
    pub fn new(sectors: u64) -> Self {
        let first = Write { version: 0, begun: 0, durable: 0 };
        Self { sectors: vec![vec![first]; sectors as usize], next: 0 }
    }

    /// A write begins. No other may be under way there.
    pub fn begin(&mut self, sector: u64, count: u64) -> Begun {
        self.next += 1;
        let (version, begun) = (self.next, moment());
        for writes in &mut self.sectors[sector as usize..][..count as usize] {
            writes.push(Write { version, begun, durable: u64::MAX });
        }
        Begun { version, sector, count }
    }

    /// A write is over, and with `through` durable.
    pub fn end(&mut self, write: Begun, through: bool) {
        if !through {
            return;
        }
        let now = moment();
        for writes in &mut self.sectors[write.sector as usize..][..write.count as usize] {
            writes.last_mut().expect("begun").durable = now;
        }
    }

    /// A flush is over. None of the writes so far was under way when it began.
    pub fn flushed(&mut self) {
        let now = moment();
        for write in self.sectors.iter_mut().flatten() {
            write.durable = write.durable.min(now);
        }
    }

    /// How many sectors there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sectors.len()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sectors.is_empty()
    }

    /// The content of a sector after the power went at a moment must be of one of the writes
    /// from the last durable one on.
    ///
    /// # Panics
    /// When it is not.
    pub fn check(&self, at: u64, sector: usize, bytes: &[u8], what: &str) {
        let writes = &self.sectors[sector];
        let found = version_of(bytes, || format!("sector {sector}, moment {at}, {what}"));
        let first = writes.iter().rposition(|write| write.durable < at).unwrap_or(0);
        let allowed = writes[first..].iter().take_while(|write| write.begun < at);
        assert!(
            allowed.clone().any(|write| write.version == found),
            "sector {sector}, moment {at}, {what}: it holds write {found}, and may hold {:?}",
            allowed.map(|write| write.version).collect::<Vec<_>>()
        );
    }
}

/// Disks that were recorded.
pub struct Outage {
    logs: Vec<Log>,
    /// When the power may go.
    pub moments: Vec<u64>,
    /// What is on each disk after it went.
    pub images: Vec<Vec<u8>>,
}

impl Outage {
    /// What was recorded of these disks.
    #[must_use]
    pub fn of(disks: &[Arc<Disk>]) -> Self {
        let logs: Vec<Log> = disks.iter().map(|disk| disk.recorded()).collect();
        let mut moments: Vec<u64> = logs.iter().flat_map(Log::moments).collect();
        moments.sort_unstable();
        moments.dedup();
        // And once when all is done.
        moments.push(moment());
        let images = vec![Vec::new(); logs.len()];
        Self { logs, moments, images }
    }

    /// The power goes at a moment; the images tell what is left.
    pub fn cut(&mut self, at: u64, random: &mut Random) {
        for (log, image) in self.logs.iter().zip(&mut self.images) {
            log.put_image_at(at, random, image);
        }
    }

    /// Puts the images on disks.
    pub fn put(&self, disks: &[Arc<Disk>]) {
        for (disk, image) in disks.iter().zip(&self.images) {
            disk.set_bytes(0, image);
        }
    }
}

/// Is a device to be made of what the cut of this number left, and to recover? Every so many
/// cuts: those of `DM_TEST_RECOVER`, or `usual`; after each if the tests may take long. The images
/// are looked at after each.
#[must_use]
pub fn recovers(number: u64, usual: u64) -> bool {
    let told = std::env::var("DM_TEST_RECOVER").ok().and_then(|every| every.parse().ok());
    number.is_multiple_of(told.unwrap_or(if long() { 1 } else { usual }))
}

/// How many cuts to try: those of `DM_TEST_CUTS`, or `usual`; few under Miri.
#[must_use]
pub fn cuts(usual: u64) -> u64 {
    let told = std::env::var("DM_TEST_CUTS").ok().and_then(|cuts| cuts.parse().ok());
    if cfg!(miri) { usual.min(3) } else { told.unwrap_or(usual) }
}
