//! Power cuts: what a disk with a cache may hold when the power goes.

use crate::random::Random;
use dm_protocol::SECTOR_SIZE;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what happens to all disks, so that the power goes for all at the same moment.
static MOMENTS: AtomicU64 = AtomicU64::new(0);

/// A moment: later than all that was recorded before.
pub fn moment() -> u64 {
    MOMENTS.fetch_add(1, Ordering::SeqCst)
}

/// Everything that was written to a disk since recording began.
#[derive(Clone, Debug)]
pub struct Log {
    start: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    /// When it was asked for, and when it was done.
    begun: u64,
    moment: u64,
    sector: u64,
    bytes: Vec<u8>,
    fua: bool,
    /// How many entries were there before a flush that has completed was submitted.
    flushed: Option<usize>,
}

impl Log {
    pub(crate) const fn new(start: Vec<u8>) -> Self {
        Self { start, entries: Vec::new() }
    }

    pub(crate) fn write(&mut self, begun: u64, sector: u64, bytes: &[u8], fua: bool) {
        let (moment, bytes) = (moment(), bytes.to_vec());
        self.entries.push(Entry { begun, moment, sector, bytes, fua, flushed: None });
    }

    pub(crate) fn flush(&mut self, submitted: usize) {
        let flushed = Some(submitted);
        let (moment, bytes) = (moment(), Vec::new());
        self.entries.push(Entry { begun: moment, moment, sector: 0, bytes, fua: false, flushed });
    }

    /// How many entries there are: the power may go before and after each.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many entries there were at a moment.
    #[must_use]
    pub fn at(&self, moment: u64) -> usize {
        self.entries.partition_point(|entry| entry.moment < moment)
    }

    /// The moments at which something was recorded.
    pub fn moments(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().map(|entry| entry.moment)
    }

    /// True if nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What the disk may hold when the power goes after `done` entries: all that was flushed
    /// or written through, and of the rest some, torn between sectors and in any order.
    #[must_use]
    pub fn image(&self, done: usize, random: &mut Random) -> Vec<u8> {
        let mut image = Vec::new();
        self.draw(done, |_| false, random, &mut image);
        image
    }

    /// The same at a moment, when writes under way may be there in part, too.
    #[must_use]
    pub fn image_at(&self, moment: u64, random: &mut Random) -> Vec<u8> {
        let mut image = Vec::new();
        self.put_image_at(moment, random, &mut image);
        image
    }

    /// The same, put into memory that is used again.
    pub fn put_image_at(&self, moment: u64, random: &mut Random, image: &mut Vec<u8>) {
        self.draw(self.at(moment), |entry| entry.begun < moment, random, image);
    }

    fn draw(
        &self,
        done: usize,
        under_way: impl Fn(&Entry) -> bool,
        random: &mut Random,
        image: &mut Vec<u8>,
    ) {
        let size = SECTOR_SIZE as usize;
        let flushes = self.entries[..done].iter().filter_map(|entry| entry.flushed);
        let durable = flushes.max().unwrap_or(0);
        image.clear();
        image.extend_from_slice(&self.start);
        // Caches write back in any order, but one sector's versions in theirs. So any image can
        // be made in the order of the entries, each sector of which is there or is not.
        for (nr, entry) in self.entries.iter().enumerate() {
            if nr >= done && !under_way(entry) {
                continue;
            }
            let kept = nr < done && (nr < durable || entry.fua);
            let mut coins = random.draw();
            for (within, bytes) in entry.bytes.chunks_exact(size).enumerate() {
                if within % 64 == 63 {
                    coins = random.draw();
                }
                if kept || coins >> (within % 64) & 1 == 1 {
                    let at = (entry.sector as usize + within) * size;
                    image[at..at + size].copy_from_slice(bytes);
                }
            }
        }
    }
}
