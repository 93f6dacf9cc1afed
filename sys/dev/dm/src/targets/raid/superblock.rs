//! The superblock that each member of a set has: Linux's dm-raid, version 1.9.0 and older.

use core::ops::Range;

/// Nowhere: done, in sync, not reshaping.
pub const NOWHERE: u64 = u64::MAX;

/// What a superblock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Fields behind the first version's are there.
    pub extended: bool,
    /// Features that a reader may not know, of both kinds.
    pub unknown: (u32, u32),
    pub members: u32,
    /// Which member this is.
    pub position: u32,
    pub events: u64,
    /// Members that were out of use, by bit.
    pub failed: [u64; 4],
    /// Up to where this member is up to date.
    pub recovered: u64,
    /// Up to where the set is in sync.
    pub synced: u64,
    pub level: u32,
    pub layout: u32,
    pub chunk: u32,
    /// A reshape is under way.
    pub flags: u32,
    pub reshape: u64,
    pub new_level: u32,
    pub new_layout: u32,
    pub new_chunk: u32,
    pub delta: u32,
    pub array_sectors: u64,
    pub data_offset: u64,
    pub new_data_offset: u64,
    /// Sectors of this member in use.
    pub sectors: u64,
}

/// Where fields lie.
const MAGIC: Range<usize> = 0..4;
const COMPATIBLE: Range<usize> = 4..8;
const INCOMPATIBLE: Range<usize> = 144..148;

impl Superblock {
    /// `DmRd`.
    const MAGIC: u32 = 0x6452_6d44;
    /// Fields behind the first version's are there.
    const EXTENDED: u32 = 1;
    /// Bytes of all fields; what follows is zero.
    pub const BYTES: usize = 148;
    /// A reshape is under way, forwards or backwards.
    pub const RESHAPES: u32 = 3;

    /// Reads a superblock; `None` if there is none.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        if word(bytes, MAGIC)? != Self::MAGIC || bytes.len() < Self::BYTES {
            return None;
        }
        let compatible = word(bytes, COMPATIBLE)?;
        let extended = compatible & Self::EXTENDED != 0;
        let level = word(bytes, 48..52)?;
        let layout = word(bytes, 52..56)?;
        let chunk = word(bytes, 56..60)?;
        let old = Self {
            extended,
            unknown: (compatible & !Self::EXTENDED, 0),
            members: word(bytes, 8..12)?,
            position: word(bytes, 12..16)?,
            events: long(bytes, 16..24)?,
            failed: [long(bytes, 24..32)?, 0, 0, 0],
            recovered: long(bytes, 32..40)?,
            synced: long(bytes, 40..48)?,
            level,
            layout,
            chunk,
            flags: 0,
            reshape: NOWHERE,
            new_level: level,
            new_layout: layout,
            new_chunk: chunk,
            delta: 0,
            array_sectors: 0,
            data_offset: 0,
            new_data_offset: 0,
            sectors: 0,
        };
        if !extended {
            return Some(old);
        }
        let [first, ..] = old.failed;
        let more = |at: usize| long(bytes, at..at + 8);
        Some(Self {
            unknown: (old.unknown.0, word(bytes, INCOMPATIBLE)?),
            failed: [first, more(120)?, more(128)?, more(136)?],
            flags: word(bytes, 60..64)?,
            reshape: more(64)?,
            new_level: word(bytes, 72..76)?,
            new_layout: word(bytes, 76..80)?,
            new_chunk: word(bytes, 80..84)?,
            delta: word(bytes, 84..88)?,
            array_sectors: more(88)?,
            data_offset: more(96)?,
            new_data_offset: more(104)?,
            sectors: more(112)?,
            ..old
        })
    }

    /// Writes it, with zeroes behind it.
    pub fn write(&self, bytes: &mut [u8]) {
        bytes.fill(0);
        put(bytes, MAGIC, &Self::MAGIC.to_le_bytes());
        put(bytes, COMPATIBLE, &(self.unknown.0 | Self::EXTENDED).to_le_bytes());
        put(bytes, 8..12, &self.members.to_le_bytes());
        put(bytes, 12..16, &self.position.to_le_bytes());
        put(bytes, 16..24, &self.events.to_le_bytes());
        let [first, rest @ ..] = self.failed;
        put(bytes, 24..32, &first.to_le_bytes());
        put(bytes, 32..40, &self.recovered.to_le_bytes());
        put(bytes, 40..48, &self.synced.to_le_bytes());
        let words = [self.level, self.layout, self.chunk, self.flags];
        put_words(bytes, 48, &words);
        put(bytes, 64..72, &self.reshape.to_le_bytes());
        put_words(bytes, 72, &[self.new_level, self.new_layout, self.new_chunk, self.delta]);
        let longs = [self.array_sectors, self.data_offset, self.new_data_offset, self.sectors];
        for (at, long) in (88..).step_by(8).zip(longs.into_iter().chain(rest)) {
            put(bytes, at..at + 8, &long.to_le_bytes());
        }
        put(bytes, INCOMPATIBLE, &self.unknown.1.to_le_bytes());
    }

    /// Was it written before all members of a new set had one?
    pub const fn is_draft(&self) -> bool {
        self.events == 0
    }

    /// Was this member out of use?
    pub fn is_failed(&self, member: u32) -> bool {
        let word = self.failed.get(member as usize / 64);
        word.is_some_and(|word| word >> (member % 64) & 1 == 1)
    }
}

/// Four bytes.
pub fn word(bytes: &[u8], at: Range<usize>) -> Option<u32> {
    bytes.get(at)?.try_into().ok().map(u32::from_le_bytes)
}

/// Eight bytes.
pub fn long(bytes: &[u8], at: Range<usize>) -> Option<u64> {
    bytes.get(at)?.try_into().ok().map(u64::from_le_bytes)
}

/// Puts bytes into their place, if there is room.
pub fn put(bytes: &mut [u8], at: Range<usize>, from: &[u8]) {
    if let Some(to) = bytes.get_mut(at).filter(|to| to.len() == from.len()) {
        to.copy_from_slice(from);
    }
}

fn put_words(bytes: &mut [u8], at: usize, words: &[u32]) {
    for (at, word) in (at..).step_by(4).zip(words) {
        put(bytes, at..at + 4, &word.to_le_bytes());
    }
}
