//! Linux's log of writes, as the `log-writes` target writes it and `dm-replay-log` reads it.
//!
//! The first sector of the log is a header. Behind it follow entries: a sector that says what
//! was done, then the data that were written. Numbers are little-endian; sectors are as large as
//! those of the device that is logged.

use crate::{Errno, Failure};
use alloc::format;

/// Bytes of an entry; the text of a mark follows in the same sector.
pub const ENTRY_SIZE: usize = 32;
/// What the log begins with.
pub const MAGIC: u64 = 0x006a_7366_7773_6872;
/// The only version there is.
pub const VERSION: u64 = 1;
/// The mark at the end of a log that was closed.
pub const END_MARK: &str = "dm-log-writes-end";

bitflags::bitflags! {
    /// What an entry is about.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct EntryFlags: u64 {
        /// What comes before it is durable.
        const FLUSH = 1 << 0;
        /// The write itself is durable.
        const FUA = 1 << 1;
        /// The sectors were discarded; no data follow.
        const DISCARD = 1 << 2;
        /// A mark that somebody set.
        const MARK = 1 << 3;
        /// A file system's own data; written by Linux only.
        const METADATA = 1 << 4;
    }
}

/// The header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How many entries there are, as of the last mark or durable write.
    pub entries: u64,
    /// Bytes in a sector.
    pub sector_size: u32,
}

/// An entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The first sector that was written.
    pub sector: u64,
    /// How many were.
    pub sectors: u64,
    /// What it is about.
    pub flags: EntryFlags,
    /// Bytes of a mark's text.
    pub text_length: u64,
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, number: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = number;
    }
}

fn get(bytes: &[u8], at: usize) -> u64 {
    let chunk = bytes.get(at..).and_then(|rest| rest.first_chunk());
    chunk.map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

impl Header {
    /// Writes it to the start of a sector of zeroes.
    pub fn encode(&self, bytes: &mut [u8]) {
        put(bytes, 0, MAGIC.to_le_bytes());
        put(bytes, 8, VERSION.to_le_bytes());
        put(bytes, 16, self.entries.to_le_bytes());
        put(bytes, 24, self.sector_size.to_le_bytes());
    }

    /// Reads it from the start of the log.
    ///
    /// # Errors
    /// EINVAL for what is no log, or one with sectors of no possible size.
    pub fn decode(bytes: &[u8]) -> Result<Self, Failure> {
        let refuse = |why| Err(Failure::new(Errno::EINVAL, why));
        if get(bytes, 0) != MAGIC {
            return refuse("this is no log of writes".into());
        }
        if get(bytes, 8) != VERSION {
            return refuse(format!("the log is of version {}, not {VERSION}", get(bytes, 8)));
        }
        let sector_size = (get(bytes, 24) & u64::from(u32::MAX)) as u32;
        if !sector_size.is_power_of_two() || !(512..=65536).contains(&sector_size) {
            return refuse(format!("sectors of {sector_size} bytes"));
        }
        Ok(Self { entries: get(bytes, 16), sector_size })
    }
}

impl Entry {
    /// Writes it to the start of a sector of zeroes.
    pub fn encode(&self, bytes: &mut [u8]) {
        put(bytes, 0, self.sector.to_le_bytes());
        put(bytes, 8, self.sectors.to_le_bytes());
        put(bytes, 16, self.flags.bits().to_le_bytes());
        put(bytes, 24, self.text_length.to_le_bytes());
    }

    /// Reads it from the start of a sector.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        Self {
            sector: get(bytes, 0),
            sectors: get(bytes, 8),
            flags: EntryFlags::from_bits_retain(get(bytes, 16)),
            text_length: get(bytes, 24),
        }
    }

    /// How many sectors of data follow.
    #[must_use]
    pub const fn data_sectors(&self) -> u64 {
        if self.flags.contains(EntryFlags::DISCARD) { 0 } else { self.sectors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_laid_out_as_linux_does() {
        let mut bytes = [0; 512];
        Header { entries: 0x0102, sector_size: 4096 }.encode(&mut bytes);
        assert_eq!(bytes[..8], *b"rhswfsj\0");
        assert_eq!(
            bytes[8..32],
            [1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0]
        );
        let header = Header::decode(&bytes).expect("a header");
        assert_eq!(header, Header { entries: 0x0102, sector_size: 4096 });
    }

    #[test]
    fn what_is_no_log_is_refused() {
        let mut bytes = [0; 512];
        assert!(Header::decode(&bytes).is_err() && Header::decode(&[]).is_err());
        Header { entries: 0, sector_size: 512 }.encode(&mut bytes);
        for (at, byte) in [(0, 1), (8, 2), (25, 3)] {
            let mut wrong = bytes;
            wrong[at] = byte;
            assert!(Header::decode(&wrong).is_err(), "byte {at}");
        }
    }

    #[test]
    fn an_entry_is_read_back() {
        let flags = EntryFlags::FUA | EntryFlags::METADATA;
        let entry = Entry { sector: 1 << 40, sectors: 3, flags, text_length: 7 };
        let mut bytes = [0; ENTRY_SIZE];
        entry.encode(&mut bytes);
        assert_eq!(Entry::decode(&bytes), entry);
        assert_eq!(entry.data_sectors(), 3);
        assert_eq!(Entry { flags: EntryFlags::DISCARD, ..entry }.data_sectors(), 0);
    }
}
