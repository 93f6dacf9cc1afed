//! A record on disk: bytes with a bit for each region, written page by page where they changed.

use super::bits::Bits;
use crate::kern::disk::Op;
use crate::lower::Lower;
use crate::services::Buffer;
use alloc::vec::Vec;
use dm_protocol::{Errno, SECTOR_SIZE, Sector, Sectors};

/// Bytes in a page.
pub const PAGE: usize = 4096;
/// Sectors in a page.
pub const PAGE_SECTORS: u64 = PAGE as u64 / SECTOR_SIZE;

/// The bytes of a record, and which pages changed since they were written.
pub struct Pages {
    bytes: Vec<u8>,
    /// Where the bits begin.
    bits_at: usize,
    changed: Bits,
}

impl Pages {
    /// Thread context. So many bytes, zeroed; the bits begin at `bits_at`.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn new(length: u64, bits_at: usize) -> Result<Self, Errno> {
        let length = usize::try_from(length).map_err(|_| Errno::ENOMEM)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).map_err(|_| Errno::ENOMEM)?;
        bytes.resize(length, 0);
        Ok(Self { bytes, bits_at, changed: Bits::new(length.div_ceil(PAGE) as u64)? })
    }

    /// Thread context; sleeps. Reads all of it, from a sector of a device on.
    ///
    /// # Errors
    /// The device's, and ENOMEM.
    pub fn read(&mut self, lower: &Lower, from: Sector) -> Result<(), Errno> {
        let mut at = from;
        for bytes in self.bytes.chunks_mut(PAGE * 16) {
            let count = Sectors(bytes.len() as u64 / SECTOR_SIZE);
            let mut buffer = Buffer::new(count)?;
            lower.transfer(Op::Read, false, at, &mut buffer)?;
            for (to, from) in bytes.iter_mut().zip(buffer.bytes()) {
                *to = *from;
            }
            at = at.checked_add(count).ok_or(Errno::EINVAL)?;
        }
        Ok(())
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All bytes, to change without writing them.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Changes bytes of the first page.
    pub fn change_head<R>(&mut self, act: impl FnOnce(&mut [u8]) -> R) -> R {
        self.changed.set(0, true);
        act(&mut self.bytes)
    }

    /// Is this region's bit set?
    pub fn get(&self, bit: u64) -> bool {
        let byte = usize::try_from(bit / 8).ok().and_then(|at| at.checked_add(self.bits_at));
        let byte = byte.and_then(|at| self.bytes.get(at));
        byte.is_some_and(|byte| byte & (1 << (bit % 8)) != 0)
    }

    /// Sets or clears a region's bit.
    pub fn set(&mut self, bit: u64, on: bool) {
        if self.get(bit) == on {
            return;
        }
        let at = usize::try_from(bit / 8).ok().and_then(|at| at.checked_add(self.bits_at));
        if let Some((at, byte)) = at.and_then(|at| Some((at, self.bytes.get_mut(at)?))) {
            *byte ^= 1 << (bit % 8);
            self.changed.set((at / PAGE) as u64, true);
        }
    }

    /// All pages have to be written, or none.
    pub fn touch(&mut self, all: bool) {
        self.changed.fill(all);
    }

    /// The next page that has to be written: its number and its bytes. The last may be short.
    pub fn next_changed(&self) -> Option<(u64, &[u8])> {
        let page = self.changed.next(0)?;
        let from = usize::try_from(page).ok()?.checked_mul(PAGE)?;
        let to = from.saturating_add(PAGE).min(self.bytes.len());
        Some((page, self.bytes.get(from..to)?))
    }

    /// A page is written.
    pub fn written(&mut self, page: u64) {
        self.changed.set(page, false);
    }
}
