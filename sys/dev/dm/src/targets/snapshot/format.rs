//! The exception store as Linux keeps it on a COW device, in little-endian words.
//!
//! Everything lies in chunks. Chunk 0 begins with the header. Chunk 1 is the first metadata
//! area: entries of 16 bytes, the chunk of the origin and the chunk here that holds its old
//! content. The first entry that points to chunk 0 ends the list. A chunk full of entries is
//! followed by as many data chunks as it has entries, then by the next area.

use core::fmt;

/// `SnAp`.
const MAGIC: u32 = 0x7041_6e53;
/// The one version there is.
const VERSION: u32 = 1;
/// Bytes of the header.
const HEADER_BYTES: usize = 16;
/// Bytes of an entry.
pub(super) const ENTRY_BYTES: usize = 16;
/// The largest chunk, as a power of two of sectors: Linux counts its bytes in 31 bits.
pub(super) const SHIFT_MAX: u32 = 21;

/// What a store says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// False once the snapshot lost something.
    pub(super) valid: bool,
    /// Sectors in a chunk.
    pub(super) chunk: u32,
}

/// Why a header is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// Something else is there.
    Foreign,
    /// A version that nobody knows.
    Version(u32),
}

impl fmt::Display for BadHeader {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => out.write_str("holds something else than an exception store"),
            Self::Version(version) => {
                write!(out, "holds an exception store of version {version}, which is unknown")
            }
        }
    }
}

impl Header {
    /// Reads the beginning of a COW device; none if there is no store yet.
    pub(super) fn decode(bytes: &[u8]) -> Result<Option<Self>, BadHeader> {
        let mut words = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
        let (Some(magic), Some(valid), Some(version), Some(chunk)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(BadHeader::Foreign);
        };
        match (magic, version) {
            (0, _) => Ok(None),
            (MAGIC, VERSION) => Ok(Some(Self { valid: valid != 0, chunk })),
            (MAGIC, version) => Err(BadHeader::Version(version)),
            _ => Err(BadHeader::Foreign),
        }
    }

    /// Writes the header over the first bytes.
    pub(super) fn encode(self, bytes: &mut [u8]) {
        let words = [MAGIC, u32::from(self.valid), VERSION, self.chunk];
        for (to, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *to = word.to_le_bytes();
        }
    }

    /// How many bytes that are.
    pub(super) const fn bytes() -> usize {
        HEADER_BYTES
    }
}

/// A chunk of the origin and the chunk of the COW device that stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// On the origin.
    pub(super) old: u64,
    /// On the COW device; 0 ends the list.
    pub(super) new: u64,
}

/// The entry at a place in an area, or in a part of one.
pub(super) fn entry(bytes: &[u8], at: usize) -> Option<Entry> {
    let (old, new) = bytes.as_chunks::<ENTRY_BYTES>().0.get(at)?.split_at(8);
    let word = |bytes: &[u8]| Some(u64::from_le_bytes(*bytes.first_chunk()?));
    Some(Entry { old: word(old)?, new: word(new)? })
}

/// Changes an entry; one that is not there is left alone.
pub(super) fn set_entry(bytes: &mut [u8], at: usize, entry: Entry) {
    if let Some(place) = bytes.as_chunks_mut::<ENTRY_BYTES>().0.get_mut(at) {
        let (old, new) = place.split_at_mut(8);
        old.copy_from_slice(&entry.old.to_le_bytes());
        new.copy_from_slice(&entry.new.to_le_bytes());
    }
}

/// Where things lie, for one size of chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    shift: u32,
}

impl Layout {
    /// For chunks of so many sectors: a power of two that Linux allows.
    pub(super) fn new(chunk: u64) -> Option<Self> {
        let shift = chunk.trailing_zeros();
        (chunk.is_power_of_two() && shift <= SHIFT_MAX).then_some(Self { shift })
    }

    /// Sectors in a chunk, as a power of two.
    pub(super) const fn shift(self) -> u32 {
        self.shift
    }

    /// Sectors in a chunk.
    pub(super) const fn chunk(self) -> u64 {
        1 << self.shift
    }

    /// Entries in an area, and data chunks behind it.
    pub(super) const fn per_area(self) -> u64 {
        self.chunk() * (512 / ENTRY_BYTES as u64)
    }

    /// The chunk of an area.
    pub(super) fn area(self, nr: u64) -> u64 {
        nr.saturating_mul(self.per_area() + 1).saturating_add(1)
    }

    /// True for the header and for areas.
    pub(super) fn is_metadata(self, chunk: u64) -> bool {
        chunk == 0 || chunk % (self.per_area() + 1) == 1
    }

    /// The chunk, or the one behind it if it is an area.
    pub(super) fn skip_metadata(self, chunk: u64) -> u64 {
        if self.is_metadata(chunk) { chunk.saturating_add(1) } else { chunk }
    }

    /// How many chunks from this data chunk on are data.
    pub(super) fn data_left(self, chunk: u64) -> u64 {
        let stride = self.per_area() + 1;
        // Areas are at 1 modulo the stride.
        stride - (chunk + stride - 1) % stride
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test says what it expects")]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn a_header_reads_back_and_zeroes_are_none() {
        let mut bytes = [0; 64];
        assert_eq!(Header::decode(&bytes), Ok(None));
        for header in [Header { valid: true, chunk: 8 }, Header { valid: false, chunk: 2048 }] {
            header.encode(&mut bytes);
            assert_eq!(&bytes[..4], b"SnAp");
            assert_eq!(Header::decode(&bytes), Ok(Some(header)));
        }
        assert!(bytes[Header::bytes()..].iter().all(|byte| *byte == 0));
        bytes[8] = 2;
        assert_eq!(Header::decode(&bytes), Err(BadHeader::Version(2)));
        bytes[0] = 0x7f;
        assert_eq!(Header::decode(&bytes), Err(BadHeader::Foreign));
        assert_eq!(Header::decode(&bytes[..15]), Err(BadHeader::Foreign));
    }

    #[test]
    fn entries_stand_where_linux_puts_them() {
        let mut bytes = [0; 512];
        set_entry(&mut bytes, 31, Entry { old: 0x0102_0304_0506_0708, new: 9 });
        assert_eq!(bytes[496..], [8, 7, 6, 5, 4, 3, 2, 1, 9, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(entry(&bytes, 31), Some(Entry { old: 0x0102_0304_0506_0708, new: 9 }));
        assert_eq!(entry(&bytes, 32), None);
        set_entry(&mut bytes, 32, Entry { old: 1, new: 1 });
    }

    #[test]
    fn areas_and_data_take_turns() {
        for chunk in [1, 2, 8, 64] {
            let layout = Layout::new(chunk).expect("a power of two");
            let areas: Vec<u64> = (0..5).map(|nr| layout.area(nr)).collect();
            for at in 0..areas[4] {
                assert_eq!(layout.is_metadata(at), at == 0 || areas.contains(&at), "{at}");
                if !layout.is_metadata(at) {
                    let next = areas.iter().find(|area| **area > at).expect("one behind it");
                    assert_eq!(layout.data_left(at), next - at, "{chunk}: {at}");
                }
            }
            assert_eq!(areas[1] - areas[0] - 1, chunk * 512 / 16);
        }
        assert_eq!(Layout::new(0), None);
        assert_eq!(Layout::new(24), None);
        assert_eq!(Layout::new(1 << 22), None);
        assert_eq!(Layout::new(1 << 21).map(Layout::chunk), Some(1 << 21));
    }
}
