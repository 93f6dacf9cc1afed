//! Where the next copy goes, and how it is written down: the threads' side of a store.

use super::format::{ENTRY_BYTES, Entry, Layout, entry, set_entry};
use alloc::vec::Vec;
use core::ops::Range;
use dm_protocol::Errno;

/// At least so many bytes of metadata are kept in memory and written at once.
const BLOCK_BYTES: u64 = 4096;

/// The store of a snapshot.
pub(super) enum Store {
    /// It lives as long as its target.
    Transient {
        /// The next free chunk.
        next: u64,
    },
    /// It is on the COW device.
    Persistent(Area),
}

/// The metadata area that is being filled.
pub(super) struct Area {
    layout: Layout,
    /// The next free chunk.
    pub(super) next: u64,
    /// The area's number.
    pub(super) nr: u64,
    /// Entries in it that are on the device.
    pub(super) committed: u64,
    /// Copies that have a chunk and no entry yet.
    promised: u64,
    /// The block of the area where the next entry goes.
    block: Vec<u8>,
    /// Entries that were put into the block and are not on the device yet.
    put: u64,
}

/// Metadata to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Update {
    /// Where on the COW device.
    pub(super) sector: u64,
    /// Which bytes of the block.
    pub(super) bytes: Range<usize>,
}

impl Store {
    /// Chunks for copies, at most `want` in a row, on a device of so many chunks.
    pub(super) fn take(&mut self, want: u64, chunks: u64) -> Option<Range<u64>> {
        match self {
            Self::Transient { next } => {
                let end = chunks.min(next.saturating_add(want));
                let taken = *next..end;
                *next = end.max(*next);
                (!taken.is_empty()).then_some(taken)
            }
            Self::Persistent(area) => area.take(want, chunks),
        }
    }

    /// True if another copy finds a chunk on a device of so many.
    pub(super) fn has_room(&self, chunks: u64) -> bool {
        match self {
            Self::Transient { next } => *next < chunks,
            Self::Persistent(area) => area.next < chunks && area.has_entry(0, chunks),
        }
    }

    /// Sectors in use, and those of them for metadata, as Linux counts them.
    pub(super) fn usage(&self, layout: Layout) -> (u64, u64) {
        match self {
            Self::Transient { next } => (*next << layout.shift(), 0),
            Self::Persistent(area) => {
                // The header, and the areas up to this one.
                let metadata = area.nr.saturating_add(2);
                (area.next << layout.shift(), metadata << layout.shift())
            }
        }
    }

    /// Its metadata, if it keeps any.
    pub(super) fn area(&mut self) -> Option<&mut Area> {
        match self {
            Self::Transient { .. } => None,
            Self::Persistent(area) => Some(area),
        }
    }

    /// True if it outlives its target.
    pub(super) const fn is_persistent(&self) -> bool {
        matches!(self, Self::Persistent(_))
    }
}

impl Area {
    /// Thread context. The first area of a store without copies, on a device whose sectors
    /// have so many bytes.
    pub(super) fn new(layout: Layout, sector_bytes: u64) -> Result<Self, Errno> {
        let bytes = BLOCK_BYTES.max(sector_bytes).min(layout.chunk().saturating_mul(512)) as usize;
        let mut block = Vec::new();
        block.try_reserve_exact(bytes).map_err(|_| Errno::ENOMEM)?;
        block.resize(bytes, 0);
        // The header and the area itself come first.
        Ok(Self { layout, next: 2, nr: 0, committed: 0, promised: 0, block, put: 0 })
    }

    fn per_block(&self) -> u64 {
        (self.block.len() / ENTRY_BYTES) as u64
    }

    /// The bytes of the block.
    pub(super) fn block(&self) -> &[u8] {
        &self.block
    }

    /// The bytes of the block, to be read into.
    pub(super) fn block_mut(&mut self) -> &mut [u8] {
        &mut self.block
    }

    /// Where a block of this area begins on the device.
    pub(super) fn block_sector(&self, block: u64) -> u64 {
        let bytes = block.saturating_mul(self.block.len() as u64);
        (self.layout.area(self.nr) << self.layout.shift()).saturating_add(bytes / 512)
    }

    fn take(&mut self, want: u64, chunks: u64) -> Option<Range<u64>> {
        let mut end = self.next;
        let most = self.next.saturating_add(want.min(self.layout.data_left(self.next)));
        while end < most.min(chunks) && self.has_entry(end.saturating_sub(self.next), chunks) {
            end = end.saturating_add(1);
        }
        let taken = self.next..end;
        if taken.is_empty() {
            return None;
        }
        self.promised = self.promised.saturating_add(end.saturating_sub(self.next));
        self.next = self.layout.skip_metadata(end);
        Some(taken)
    }

    /// True if there is an entry for one more copy besides `more`: one that fills its area
    /// needs another area behind it, which ends the list.
    fn has_entry(&self, more: u64, chunks: u64) -> bool {
        let used = self.committed.saturating_add(self.promised).saturating_add(more);
        let used = used.saturating_add(1);
        let areas = self.nr.saturating_add(used / self.layout.per_area());
        !used.is_multiple_of(self.layout.per_area()) || self.layout.area(areas) < chunks
    }

    /// True if no entry can be put before the block is written.
    pub(super) fn is_block_full(&self) -> bool {
        let at = self.committed.saturating_add(self.put);
        self.put != 0 && at.is_multiple_of(self.per_block())
    }

    /// Puts an entry into the block.
    pub(super) fn put(&mut self, entry: Entry) {
        let at = self.committed.saturating_add(self.put) % self.per_block();
        set_entry(&mut self.block, at as usize, entry);
        self.put = self.put.saturating_add(1);
    }

    /// The area that must be cleared before the block is written: the next one, if this one
    /// becomes full.
    pub(super) fn to_clear(&self) -> Option<u64> {
        let full = self.committed.saturating_add(self.put) == self.layout.per_area();
        full.then(|| self.layout.area(self.nr.saturating_add(1)))
    }

    /// What is to be written for the entries put, in whole sectors of the device.
    pub(super) fn update(&self, sector_bytes: u64) -> Update {
        let first = self.committed % self.per_block();
        self.changed(first..first.saturating_add(self.put), sector_bytes)
    }

    fn changed(&self, entries: Range<u64>, sector_bytes: u64) -> Update {
        let bytes = |entries: u64| entries.saturating_mul(ENTRY_BYTES as u64);
        let start = bytes(entries.start) / sector_bytes * sector_bytes;
        let end = bytes(entries.end).next_multiple_of(sector_bytes);
        let block = self.committed / self.per_block();
        let end = (end as usize).min(self.block.len());
        let sector = self.block_sector(block).saturating_add(start / 512);
        Update { sector, bytes: start as usize..end }
    }

    /// The entries that were put are on the device: goes on behind them.
    pub(super) fn written(&mut self) {
        self.promised = self.promised.saturating_sub(self.put);
        self.committed = self.committed.saturating_add(self.put);
        self.put = 0;
        if self.committed.is_multiple_of(self.per_block()) {
            self.block.fill(0);
        }
        if self.committed == self.layout.per_area() {
            self.nr = self.nr.saturating_add(1);
            self.committed = 0;
        }
    }

    /// For merging, which goes backwards: the sector where the block with the last entry lies,
    /// if that is not the one in memory, which is `loaded`. The area before, once this one is
    /// empty.
    pub(super) fn last_block(&mut self, loaded: Option<(u64, u64)>) -> LastBlock {
        if self.committed == 0 {
            let Some(before) = self.nr.checked_sub(1) else { return LastBlock::None };
            self.nr = before;
            self.committed = self.layout.per_area();
        }
        let block = self.committed.saturating_sub(1) / self.per_block();
        match loaded == Some((self.nr, block)) {
            true => LastBlock::Here,
            false => LastBlock::At(block),
        }
    }

    /// The last entries, as many as follow one another on both devices, at most `most` of
    /// them: where they begin, and how many they are. None if the last block is corrupt.
    pub(super) fn last_run(&self, most: u64) -> Option<(Entry, u64)> {
        let in_block = self.committed.saturating_sub(1) % self.per_block();
        let at = |back: u64| {
            let nr = in_block.checked_sub(back)?;
            entry(&self.block, nr as usize).filter(|entry| entry.new != 0)
        };
        let last = at(0)?;
        let mut first = last;
        let mut count = 1_u64;
        while count < most.max(1) {
            match at(count) {
                Some(before)
                    if before.old.checked_add(1) == Some(first.old)
                        && before.new.checked_add(1) == Some(first.new) =>
                {
                    first = before;
                    count = count.saturating_add(1);
                }
                _ => break,
            }
        }
        Some((first, count))
    }

    /// Takes the last entries away; what is to be written for that.
    pub(super) fn take_back(&mut self, count: u64, sector_bytes: u64) -> Update {
        let end = self.committed.saturating_sub(1) % self.per_block();
        let end = end.saturating_add(1);
        let first = end.saturating_sub(count);
        for at in first..end {
            set_entry(&mut self.block, at as usize, Entry { old: 0, new: 0 });
        }
        // The block is that of the last entry, which is still counted.
        let bytes = |entries: u64| entries.saturating_mul(ENTRY_BYTES as u64);
        let start = bytes(first) / sector_bytes * sector_bytes;
        let behind = (bytes(end).next_multiple_of(sector_bytes) as usize).min(self.block.len());
        let block = self.committed.saturating_sub(1) / self.per_block();
        let sector = self.block_sector(block).saturating_add(start / 512);
        Update { sector, bytes: start as usize..behind }
    }

    /// The last entries are gone from the device. The next free chunk is where it would be if
    /// all had been made in order, as Linux counts it.
    pub(super) fn taken_back(&mut self, count: u64) {
        self.committed = self.committed.saturating_sub(count);
        let area = self.layout.area(self.nr);
        self.next = area.saturating_add(self.committed).saturating_add(1);
    }

    /// The block with the last entry, as [`Area::last_block`] names it.
    pub(super) fn loaded(&self) -> (u64, u64) {
        (self.nr, self.committed.saturating_sub(1) / self.per_block())
    }

    /// The block where the next entry goes.
    pub(super) fn open_block(&self) -> u64 {
        self.committed / self.per_block()
    }
}

/// Where the last entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastBlock {
    /// Nowhere: there is none.
    None,
    /// In memory.
    Here,
    /// In this block of the area.
    At(u64),
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test says what it expects")]
mod tests {
    use super::*;

    fn area(chunk: u64) -> (Layout, Area) {
        let layout = Layout::new(chunk).expect("a power of two");
        (layout, Area::new(layout, 512).expect("memory"))
    }

    #[test]
    fn copies_leave_out_the_metadata_and_end_with_the_device() {
        // 32 entries in an area.
        let (_, mut area) = area(1);
        assert_eq!(area.take(5, 1000), Some(2..7));
        assert_eq!(area.take(1000, 1000), Some(7..34));
        assert_eq!(area.next, 35, "34 is the next area");
        assert_eq!(area.take(3, 36), Some(35..36));
        assert_eq!(area.take(3, 36), None);
    }

    #[test]
    fn the_entry_that_fills_an_area_needs_another_area() {
        let (_, mut area) = area(1);
        assert_eq!(area.take(100, 34), Some(2..33), "no room for an area behind 33");
        assert_eq!(area.take(1, 34), None);
        assert_eq!(area.take(1, 35), Some(33..34));
        assert_eq!(area.next, 35);
    }

    #[test]
    fn entries_are_written_in_whole_sectors() {
        let (layout, mut area) = area(8);
        let put = |area: &mut Area, count: u64| {
            for _ in 0..count {
                area.put(Entry { old: 1, new: 2 });
            }
            let update = area.update(512);
            area.written();
            (update.sector, update.bytes)
        };
        assert!(area.take(300, 10_000).is_some());
        assert_eq!(put(&mut area, 1), (8, 0..512));
        assert_eq!(put(&mut area, 31), (8, 0..512));
        assert_eq!(put(&mut area, 40), (9, 512..1536));
        assert_eq!(put(&mut area, 183), (10, 1024..4096));
        assert_eq!((area.nr, area.committed), (0, 255));
        assert_eq!(area.to_clear(), None);
        area.put(Entry { old: 1, new: 2 });
        assert_eq!(area.to_clear(), Some(layout.area(1)));
        assert!(area.is_block_full());
        area.written();
        assert_eq!((area.nr, area.committed, area.block_sector(0)), (1, 0, 258 * 8));
        assert!(area.block().iter().all(|byte| *byte == 0));
    }

    #[test]
    fn merging_takes_runs_from_the_end() {
        let (_, mut area) = area(8);
        assert!(area.take(6, 100).is_some());
        for (old, new) in [(7, 2), (20, 3), (21, 4), (22, 5), (40, 6), (41, 8)] {
            area.put(Entry { old, new });
        }
        area.written();
        let loaded = Some(area.loaded());
        let mut runs = Vec::new();
        while area.last_block(loaded) == LastBlock::Here {
            let (first, count) = area.last_run(2).expect("entries");
            runs.push((first.old, first.new, count));
            let update = area.take_back(count, 512);
            assert_eq!((update.sector, update.bytes), (8, 0..512));
            area.taken_back(count);
        }
        assert_eq!(runs, [(41, 8, 1), (40, 6, 1), (21, 4, 2), (20, 3, 1), (7, 2, 1)]);
        assert_eq!((area.next, area.last_block(loaded)), (2, LastBlock::None));
        assert!(area.block().iter().all(|byte| *byte == 0));
    }
}
