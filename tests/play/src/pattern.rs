//! Content that tells where it came from: sector `n` of stream `s` is 32 times the line
//! `ss:nnnnnnnnnnnn`, in hexadecimal.

use std::fmt::Write;

/// Bytes in a sector.
pub const SECTOR: usize = 512;

/// A sector of a stream.
#[must_use]
pub fn sector(stream: u8, number: u64) -> [u8; SECTOR] {
    let line = format!("{stream:02x}:{number:012x}\n");
    let mut bytes = [0; SECTOR];
    for place in bytes.chunks_exact_mut(line.len()) {
        place.copy_from_slice(line.as_bytes());
    }
    bytes
}

/// Sectors of a stream from `first` on.
#[must_use]
pub fn fill(stream: u8, first: u64, count: u64) -> Vec<u8> {
    (first..first.saturating_add(count)).flat_map(|number| sector(stream, number)).collect()
}

/// What a sector holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Stream(u8, u64),
    Zeroes,
    Other,
}

impl Held {
    fn of(bytes: &[u8]) -> Self {
        if bytes.iter().all(|byte| *byte == 0) {
            return Self::Zeroes;
        }
        let read = || {
            let line = std::str::from_utf8(bytes.get(..15)?).ok()?;
            let (stream, number) = line.split_once(':')?;
            let stream = u8::from_str_radix(stream, 16).ok()?;
            let number = u64::from_str_radix(number, 16).ok()?;
            (sector(stream, number) == bytes).then_some(Self::Stream(stream, number))
        };
        read().unwrap_or(Self::Other)
    }

    /// True if `next`, so many sectors on, goes on with what `self` began.
    fn goes_on(self, next: Self, sectors: u64) -> bool {
        match (self, next) {
            (Self::Stream(stream, number), Self::Stream(other, later)) => {
                stream == other && number.checked_add(sectors) == Some(later)
            }
            _ => self == next,
        }
    }
}

/// What sectors hold, a line for each run: `first +count` and `stream s from n`, `zeroes`, or
/// `other` with a checksum.
#[must_use]
pub fn describe(first: u64, bytes: &[u8]) -> Vec<String> {
    let mut runs: Vec<(u64, u64, Held)> = Vec::new();
    for (number, sector) in (0..).zip(bytes.chunks(SECTOR)) {
        let held = Held::of(sector);
        match runs.last_mut() {
            Some((_, count, start)) if start.goes_on(held, *count) => *count += 1,
            _ => runs.push((number, 1, held)),
        }
    }
    let line = |(at, count, held): &(u64, u64, Held)| {
        let mut line = format!("{} +{count} ", first + at);
        let _ = match held {
            Held::Stream(stream, number) => write!(line, "stream {stream} from {number}"),
            Held::Zeroes => write!(line, "zeroes"),
            Held::Other => {
                let range = *at as usize * SECTOR..(at + count) as usize * SECTOR;
                write!(line, "other {}", checksum(&bytes[range]))
            }
        };
        line
    };
    runs.iter().map(line).collect()
}

/// FNV-1a of 64 bits: enough to see that two sides wrote the same.
#[must_use]
pub fn checksum(bytes: &[u8]) -> String {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    format!("{:016x}", bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_told_apart() {
        let mut bytes = fill(3, 7, 4);
        bytes.extend(fill(3, 12, 1));
        bytes.extend([0; 2 * SECTOR]);
        bytes.extend([b'x'; SECTOR]);
        let lines = describe(100, &bytes);
        assert_eq!(lines[..2], ["100 +4 stream 3 from 7", "104 +1 stream 3 from 12"]);
        assert_eq!(lines[2], "105 +2 zeroes");
        assert_eq!(lines[3], format!("107 +1 other {}", checksum(&[b'x'; SECTOR])));
    }

    #[test]
    fn a_sector_with_one_wrong_byte_is_no_pattern() {
        let mut bytes = sector(1, 2);
        bytes[511] ^= 1;
        assert!(describe(0, &bytes)[0].starts_with("0 +1 other "));
    }

    #[test]
    fn the_checksum_is_the_published_one() {
        assert_eq!(checksum(b""), "cbf29ce484222325");
        assert_eq!(checksum(b"a"), "af63dc4c8601ec8c");
    }
}
