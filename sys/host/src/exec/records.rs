//! The records of replies: lists of devices, of target types, of devices below, of segments.
//!
//! Each is laid out as Linux does, padding included, since clients follow its offsets.

use super::wire::{SPEC, TYPE_LEN, flag, pack};
use dm_protocol::{DevNo, NameEntry, SegmentStatus, TargetVersion};

/// Bytes of records, and how many of them the reply's size counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// What is written.
    pub bytes: Vec<u8>,
    /// The size that the reply tells; Linux counts some padding that it does not write.
    pub counted: usize,
}

impl Records {
    fn exact(bytes: Vec<u8>) -> Self {
        Self { counted: bytes.len(), bytes }
    }
}

fn align(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

/// Overwrites a 32-bit number that was left open.
fn fill(bytes: &mut [u8], at: usize, number: usize) {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&number.to_ne_bytes());
    }
}

/// The devices, with their uuids if asked for.
#[must_use]
pub fn names(entries: &[NameEntry], major: u32, uuids: bool) -> Records {
    let mut bytes = Vec::new();
    let mut before = None;
    for entry in entries {
        let here = bytes.len();
        if let Some(before) = before.replace(here) {
            fill(&mut bytes, before + 8, here - before);
        }
        bytes.extend(pack(DevNo { major, minor: entry.minor }).to_ne_bytes());
        bytes.extend([0; 4]);
        text(&mut bytes, &entry.name);
        align(&mut bytes);
        bytes.extend(entry.event_nr.to_ne_bytes());
        let about_uuid = match (uuids, entry.uuid.is_empty()) {
            (false, _) => 0,
            (true, false) => flag::LIST_HAS_UUID,
            (true, true) => flag::LIST_NO_UUID,
        };
        bytes.extend(about_uuid.to_ne_bytes());
        if about_uuid == flag::LIST_HAS_UUID {
            text(&mut bytes, &entry.uuid);
            align(&mut bytes);
        }
    }
    Records::exact(bytes)
}

/// Target types and their versions.
#[must_use]
pub fn versions(types: &[TargetVersion]) -> Records {
    let mut records = Records::default();
    let bytes = &mut records.bytes;
    let mut before = None;
    for kind in types {
        align(bytes);
        let here = bytes.len();
        if let Some(before) = before.replace(here) {
            fill(bytes, before, here - before);
        }
        bytes.extend([0; 4]);
        bytes.extend(kind.version.into_iter().flat_map(u32::to_ne_bytes));
        text(bytes, &kind.name);
        records.counted += 16 + kind.name.len() + 1 + 7;
    }
    bytes.resize(records.counted.max(bytes.len()), 0);
    records
}

/// The devices below.
#[must_use]
pub fn deps(devices: impl ExactSizeIterator<Item = DevNo>) -> Records {
    let count = u32::try_from(devices.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::new();
    bytes.extend(count.to_ne_bytes());
    bytes.extend([0; 4]);
    devices.for_each(|devno| bytes.extend(pack(devno).to_ne_bytes()));
    Records::exact(bytes)
}

/// Segments with their states or parameters.
#[must_use]
pub fn segments(segments: &[SegmentStatus]) -> Records {
    let mut records = Records::default();
    let bytes = &mut records.bytes;
    for segment in segments {
        let here = bytes.len();
        bytes.extend(segment.start.0.to_ne_bytes());
        bytes.extend(segment.length.0.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(segment.target.bytes().take(TYPE_LEN - 1));
        bytes.resize(here + SPEC, 0);
        text(bytes, &segment.params);
        records.counted = bytes.len();
        align(bytes);
        // From the first record, unlike in a request.
        let next = bytes.len();
        fill(bytes, here + 20, next);
    }
    bytes.truncate(records.counted);
    records
}

/// A text alone.
#[must_use]
pub fn answer(words: &str) -> Records {
    let mut bytes = Vec::new();
    text(&mut bytes, words);
    Records::exact(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dm_protocol::{Sector, Sectors};

    fn entry(name: &str, minor: u32, uuid: &str) -> NameEntry {
        NameEntry { name: name.into(), minor, event_nr: 5, uuid: uuid.into() }
    }

    #[test]
    fn the_device_list_has_the_size_that_linux_gives_it() {
        let two = names(&[entry("a", 0, "U-a"), entry("b", 1, "")], 253, false);
        assert_eq!((two.counted, two.bytes.len()), (48, 48));
        assert_eq!(two.bytes[..8], pack(DevNo { major: 253, minor: 0 }).to_ne_bytes());
        assert_eq!(two.bytes[8..12], 24_u32.to_ne_bytes());
        assert_eq!(two.bytes[12..14], *b"a\0");
        assert_eq!(two.bytes[16..24], [5, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(two.bytes[32..36], [0; 4]);
        let with = names(&[entry("a", 0, "U-a"), entry("b", 1, "")], 253, true);
        assert_eq!(with.bytes[20], 1);
        assert_eq!(with.bytes[24..28], *b"U-a\0");
        assert_eq!(with.bytes[8..12], 32_u32.to_ne_bytes());
        assert_eq!(with.bytes[32 + 20], 2);
        assert_eq!(names(&[], 253, true).counted, 0);
    }

    #[test]
    fn versions_are_counted_with_padding_that_is_not_between_them() {
        let kind = |name: &str| TargetVersion { name: name.into(), version: [1, 2, 3] };
        let two = versions(&[kind("zero"), kind("linear")]);
        assert_eq!(two.counted, 16 + 5 + 7 + 16 + 7 + 7);
        assert_eq!(two.bytes[..4], 24_u32.to_ne_bytes());
        assert_eq!(two.bytes[24..28], [0; 4]);
        assert_eq!(two.bytes[40..47], *b"linear\0");
    }

    #[test]
    fn segments_count_from_the_first_and_the_last_is_not_padded() {
        let segment = |start, params: &str| SegmentStatus {
            start: Sector(start),
            length: Sectors(8),
            target: "linear".into(),
            params: params.to_owned().into(),
        };
        let two = segments(&[segment(0, "1:2 3"), segment(8, "")]);
        assert_eq!(two.bytes[20..24], 48_u32.to_ne_bytes());
        assert_eq!(two.bytes[48 + 20..48 + 24], 96_u32.to_ne_bytes());
        assert_eq!((two.counted, two.bytes.len()), (48 + 41, 48 + 41));
    }

    #[test]
    fn devices_below_are_counted_first() {
        let below = deps([DevNo { major: 7, minor: 1 }].into_iter());
        assert_eq!(
            below.bytes,
            [&[1, 0, 0, 0, 0, 0, 0, 0], &[1, 7, 0, 0, 0, 0, 0, 0][..]].concat()
        );
    }
}
