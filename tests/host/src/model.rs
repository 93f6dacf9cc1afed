//! A device as it should be: an array of bytes.

use dm_protocol::SECTOR_SIZE;

/// What a device should hold. A discarded sector holds anything until it is written.
#[derive(Clone, Debug)]
pub struct Model {
    bytes: Vec<u8>,
    unknown: Vec<bool>,
}

impl Model {
    /// A device of zeroes.
    #[must_use]
    pub fn new(sectors: u64) -> Self {
        let unknown = vec![false; sectors as usize];
        Self { bytes: vec![0; (sectors * SECTOR_SIZE) as usize], unknown }
    }

    /// A write.
    pub fn write(&mut self, sector: u64, data: &[u8]) {
        let start = (sector * SECTOR_SIZE) as usize;
        self.bytes[start..start + data.len()].copy_from_slice(data);
        let count = data.len() / SECTOR_SIZE as usize;
        self.unknown[sector as usize..][..count].fill(false);
    }

    /// A discard, or a write that failed: anything may be there.
    pub fn forget(&mut self, sector: u64, count: u64) {
        self.unknown[sector as usize..][..count as usize].fill(true);
    }

    /// Compares what was read.
    ///
    /// # Panics
    /// When a sector differs; the message names it.
    pub fn check(&self, sector: u64, data: &[u8]) {
        for (nr, read) in data.chunks_exact(SECTOR_SIZE as usize).enumerate() {
            let at = sector as usize + nr;
            let start = at * SECTOR_SIZE as usize;
            let expected = &self.bytes[start..start + SECTOR_SIZE as usize];
            assert!(
                self.unknown[at] || read == expected,
                "sector {at} of a read from {sector}: found {:02x?}.. instead of {:02x?}..",
                &read[..8],
                &expected[..8]
            );
        }
    }
}
