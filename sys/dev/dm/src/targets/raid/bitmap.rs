//! The head of the bitmap of regions that may differ: md's, 4096 bytes behind the superblock.
//! The bits follow it.

use super::superblock::{long, put, word};

/// Sectors before it.
pub const AT_SECTOR: u64 = 8;

/// What the head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub events: u64,
    /// The set's events when a bit was last cleared while all members were in use.
    pub cleared: u64,
    /// Sectors that the bits are for.
    pub sectors: u64,
    /// It is not to be believed.
    pub stale: bool,
    pub region_bytes: u32,
    pub sleep_secs: u32,
    pub behind: u32,
}

impl Head {
    /// `bitm`.
    const MAGIC: u32 = 0x6d74_6962;
    const VERSION: u32 = 4;
    /// Its length.
    pub const BYTES: usize = 256;
    const STALE: u32 = 2;

    /// Reads a head; `None` if there is none that is known.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let version = word(bytes, 4..8)?;
        // 3 is the same but for bits in the order of some other processor.
        if word(bytes, 0..4)? != Self::MAGIC || version != Self::VERSION {
            return None;
        }
        Some(Self {
            events: long(bytes, 24..32)?,
            cleared: long(bytes, 32..40)?,
            sectors: long(bytes, 40..48)?,
            stale: word(bytes, 48..52)? & Self::STALE != 0,
            region_bytes: word(bytes, 52..56)?,
            sleep_secs: word(bytes, 56..60)?,
            behind: word(bytes, 60..64)?,
        })
        .filter(|head: &Self| head.region_bytes >= 512 && head.region_bytes.is_power_of_two())
    }

    /// Writes it; fields that are not known stay.
    pub fn write(&self, bytes: &mut [u8]) {
        put(bytes, 0..4, &Self::MAGIC.to_le_bytes());
        put(bytes, 4..8, &Self::VERSION.to_le_bytes());
        put(bytes, 24..32, &self.events.to_le_bytes());
        put(bytes, 32..40, &self.cleared.to_le_bytes());
        put(bytes, 40..48, &self.sectors.to_le_bytes());
        let state = if self.stale { Self::STALE } else { 0 };
        put(bytes, 48..52, &state.to_le_bytes());
        put(bytes, 52..56, &self.region_bytes.to_le_bytes());
        put(bytes, 56..60, &self.sleep_secs.to_le_bytes());
        put(bytes, 60..64, &self.behind.to_le_bytes());
    }
}
