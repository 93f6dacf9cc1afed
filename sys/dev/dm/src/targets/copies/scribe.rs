//! Writes the same to several devices and waits, without asking for memory.

use super::pages::PAGE_SECTORS;
use crate::kern::disk::Op;
use crate::lower::Lower;
use crate::services::{Errand, Mail, Mailbox};
use alloc::sync::Arc;
use alloc::vec::Vec;
use dm_protocol::{Errno, SECTOR_SIZE, Sector, Sectors};

/// An errand for each device, with a page of memory.
pub struct Scribe {
    mailbox: Arc<Mailbox>,
    errands: Vec<Option<Errand>>,
}

impl Scribe {
    /// Thread context. For so many devices at once.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn new(devices: usize) -> Result<Self, Errno> {
        let mailbox = Arc::new(Mailbox::new());
        let mut errands = Vec::new();
        errands.try_reserve_exact(devices).map_err(|_| Errno::ENOMEM)?;
        for _ in 0..devices {
            errands.push(Some(Errand::new(&mailbox, Sectors(PAGE_SECTORS))?));
        }
        Ok(Self { mailbox, errands })
    }

    /// Thread context; sleeps. Writes up to a page through the caches, to the place that `place`
    /// gives for each device. Tells which failed: bit `n` for device `n`.
    pub fn write<'a>(
        &mut self,
        bytes: &[u8],
        place: impl FnMut(usize) -> Option<(&'a Lower, Sector)>,
    ) -> u64 {
        let count = Sectors((bytes.len() as u64).div_ceil(SECTOR_SIZE));
        self.send(Op::Write, count, bytes, place)
    }

    /// Thread context; sleeps. Flushes the devices that `device` gives. Tells which failed.
    pub fn flush<'a>(&mut self, mut device: impl FnMut(usize) -> Option<&'a Lower>) -> u64 {
        self.send(Op::Flush, Sectors::ZERO, &[], |number| Some((device(number)?, Sector(0))))
    }

    fn send<'a>(
        &mut self,
        op: Op,
        count: Sectors,
        bytes: &[u8],
        mut place: impl FnMut(usize) -> Option<(&'a Lower, Sector)>,
    ) -> u64 {
        let (mut out, mut failed) = (0_usize, 0_u64);
        for number in 0..self.errands.len() {
            let Some((lower, sector)) = place(number) else { continue };
            let Some(mut errand) = self.errands.get_mut(number).and_then(Option::take) else {
                failed |= bit(number);
                continue;
            };
            for (to, from) in errand.bytes_mut().iter_mut().zip(bytes) {
                *to = *from;
            }
            *errand.tag() = number as u64;
            errand.send(op, op == Op::Write, lower, sector, count);
            out = out.saturating_add(1);
        }
        while out != 0 {
            let Mail::Errand(mut errand, result) = self.mailbox.receive(None) else { continue };
            out = out.saturating_sub(1);
            let number = *errand.tag() as usize;
            if result.is_err() {
                failed |= bit(number);
            }
            if let Some(home) = self.errands.get_mut(number) {
                *home = Some(errand);
            }
        }
        failed
    }
}

/// The bit of a device.
pub fn bit(number: usize) -> u64 {
    u32::try_from(number).ok().and_then(|number| 1_u64.checked_shl(number)).unwrap_or(0)
}
