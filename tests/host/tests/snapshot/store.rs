//! A store as Linux reads it: written from the description of the format, apart from the driver.

use std::collections::BTreeMap;

/// What a COW device says.
#[derive(Debug, PartialEq, Eq)]
pub enum Store {
    /// There is none yet.
    Fresh,
    /// The snapshot lost something.
    Invalid,
    /// These chunks have copies.
    Valid { chunk: usize, copies: BTreeMap<u64, u64> },
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

impl Store {
    /// Reads it; what Linux would choke on is a panic.
    pub fn read(cow: &[u8]) -> Self {
        if half(cow, 0) == 0 {
            return Self::Fresh;
        }
        assert_eq!((half(cow, 0), half(cow, 8)), (0x7041_6e53, 1), "magic and version");
        if half(cow, 4) == 0 {
            return Self::Invalid;
        }
        let chunk = half(cow, 12) as usize;
        let entries = chunk * 512 / 16;
        let mut copies = BTreeMap::new();
        let mut used = std::collections::BTreeSet::new();
        for area in 0.. {
            let start = (1 + area * (entries + 1)) * chunk * 512;
            let area = cow.get(start..start + chunk * 512).expect("an area ends the list");
            for nr in 0..entries {
                let (old, new) = (word(area, nr * 16), word(area, nr * 16 + 8));
                if new == 0 {
                    return Self::Valid { chunk, copies };
                }
                let end = (new as usize + 1) * chunk * 512;
                assert!(end <= cow.len(), "chunk {old} is copied beyond the end, to {new}");
                assert!(new as usize % (entries + 1) != 1, "{new} is an area");
                assert!(used.insert(new), "{new} is used twice");
                assert!(copies.insert(old, new).is_none(), "{old} is copied twice");
            }
        }
        unreachable!("the list ends with the device")
    }

    /// What the snapshot shows.
    pub fn shown(&self, origin: &[u8], cow: &[u8]) -> Option<Vec<u8>> {
        let mut shown = origin.to_vec();
        match self {
            Self::Fresh => {}
            Self::Invalid => return None,
            Self::Valid { chunk, copies } => {
                let bytes = chunk * 512;
                for (old, new) in copies {
                    let to = *old as usize * bytes;
                    let end = (to + bytes).min(shown.len());
                    let from = *new as usize * bytes;
                    shown[to..end].copy_from_slice(&cow[from..from + end - to]);
                }
            }
        }
        Some(shown)
    }
}
