//! Disks in memory.

use super::{Backend, Description};
use crate::kern::Running;
use dm::kern::disk::Op;
use dm_protocol::{Errno, SECTOR_SIZE, Sectors};
use std::sync::{PoisonError, RwLock};

/// Bytes under one lock and allocated at once: large enough to be cheap, small enough that
/// transfers elsewhere do not wait.
const CHUNK: u64 = 1 << 20;

/// A disk in memory: takes memory where it was written.
pub struct MemoryDisk {
    name: String,
    size: Sectors,
    sector_size: u32,
    chunks: Vec<RwLock<Option<Box<[u8]>>>>,
}

impl MemoryDisk {
    /// A disk that reads as zeroes.
    #[must_use]
    pub fn new(name: &str, size: Sectors) -> Self {
        Self::with_sector_size(name, size, 512)
    }

    /// A disk with sectors of so many bytes.
    #[must_use]
    pub fn with_sector_size(name: &str, size: Sectors, sector_size: u32) -> Self {
        let count = size.0.saturating_mul(SECTOR_SIZE).div_ceil(CHUNK);
        let chunks = (0..count).map(|_| RwLock::new(None)).collect();
        Self { name: name.to_owned(), size, sector_size, chunks }
    }

    /// Copies from the disk; what lies behind its end is left alone.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        self.pieces(offset, data.len() as u64, |chunk, within, at| {
            let chunk = chunk.read().unwrap_or_else(PoisonError::into_inner);
            match &*chunk {
                Some(bytes) => data[at.clone()].copy_from_slice(&bytes[within]),
                None => data[at].fill(0),
            }
        });
    }

    /// Copies to the disk; what would lie behind its end is dropped.
    pub fn write(&self, offset: u64, data: &[u8]) {
        self.pieces(offset, data.len() as u64, |chunk, within, at| {
            let mut chunk = chunk.write().unwrap_or_else(PoisonError::into_inner);
            chunk.get_or_insert_with(empty)[within].copy_from_slice(&data[at]);
        });
    }

    /// Makes a range read as zeroes.
    pub fn zero(&self, offset: u64, length: u64) {
        self.pieces(offset, length, |chunk, within, _| {
            let mut chunk = chunk.write().unwrap_or_else(PoisonError::into_inner);
            if within.len() as u64 == CHUNK {
                *chunk = None;
            } else if let Some(bytes) = &mut *chunk {
                bytes[within].fill(0);
            }
        });
    }

    /// Everything on it.
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        let length = usize::try_from(self.size.0 * SECTOR_SIZE).unwrap_or(usize::MAX);
        let mut image = vec![0; length];
        self.read(0, &mut image);
        image
    }

    fn pieces(
        &self,
        offset: u64,
        length: u64,
        mut piece: impl FnMut(
            &RwLock<Option<Box<[u8]>>>,
            std::ops::Range<usize>,
            std::ops::Range<usize>,
        ),
    ) {
        let mut done = 0;
        while done < length {
            let position = offset.saturating_add(done);
            let (number, from) = (position / CHUNK, position % CHUNK);
            let count = (CHUNK - from).min(length - done);
            let Some(chunk) = usize::try_from(number).ok().and_then(|nr| self.chunks.get(nr))
            else {
                return;
            };
            // Both are at most a transfer's length, which is in memory.
            let range = |start: u64| start as usize..(start + count) as usize;
            piece(chunk, range(from), range(done));
            done += count;
        }
    }
}

fn empty() -> Box<[u8]> {
    vec![0; CHUNK as usize].into()
}

impl Backend for MemoryDisk {
    fn describe(&self) -> Description {
        Description::registered(&self.name, self.size, self.sector_size)
    }

    fn submit(&self, mut running: Running) {
        let (offset, length) = (running.offset(), running.length());
        if offset.saturating_add(length) > self.size.0.saturating_mul(SECTOR_SIZE) {
            return running.finish(Err(Errno::EINVAL));
        }
        match running.op() {
            Op::Read => self.read(offset, running.data()),
            Op::Write => self.write(offset, running.data()),
            Op::Discard | Op::WriteZeroes => self.zero(offset, length),
            Op::Flush => {}
        }
        running.finish(Ok(()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_back_across_chunks() {
        let disk = MemoryDisk::new("m", Sectors(3 * CHUNK / SECTOR_SIZE));
        let text: Vec<u8> = (0..2048_u32).map(|n| (n % 251) as u8).collect();
        disk.write(CHUNK - 1000, &text);
        let mut back = vec![7; text.len() + 2];
        disk.read(CHUNK - 1001, &mut back);
        assert_eq!((back[0], &back[1..=text.len()], back[text.len() + 1]), (0, &text[..], 0));
        disk.zero(CHUNK, CHUNK);
        disk.read(CHUNK - 1000, &mut back);
        assert_eq!(back[..1000], text[..1000]);
        assert!(back[1000..].iter().all(|&byte| byte == 0));
        disk.write(3 * CHUNK - 1, &[1, 2]);
        assert_eq!(disk.image().last(), Some(&1));
    }
}
