//! Writes a set's superblocks and bitmap.

use super::{Ledger, block_bytes};
use crate::targets::copies::{self, Core, PAGE_SECTORS, Standing, bit};
use crate::targets::raid::bitmap::AT_SECTOR;
use crate::targets::raid::superblock::{NOWHERE, Superblock};
use dm_protocol::Sector;

impl Ledger {
    /// Writes what changed, in an order that can be cut anywhere. Gives the members that failed.
    pub(super) fn write_out(&mut self, core: &Core) -> u64 {
        let dirty = self.marking || core.regions(|regions| regions.are_unequal());
        let degraded = core.members.iter().any(|member| member.standing() != Standing::Live);
        if self.unmarked && !degraded {
            self.head.cleared = self.events;
        }
        let clears = core::mem::take(&mut self.unmarked) && !degraded;
        if self.update {
            self.events = self.events.saturating_add(1);
            self.head.events = self.events;
        }
        if self.update || clears {
            let head = self.head;
            self.pages.iter_mut().for_each(|pages| pages.change_head(|bytes| head.write(bytes)));
        }
        if self.fresh {
            // Who has none when another has a good one is new.
            let failed = self.write_blocks(core, true, false);
            if failed != 0 {
                return failed;
            }
            self.fresh = false;
        }
        // Superblocks call the members unequal before any mark is durable, and equal after all
        // are gone. A bitmap is never older than its superblock.
        if dirty && self.clean && !self.update {
            let failed = self.write_blocks(core, false, false);
            if failed != 0 {
                return failed;
            }
        }
        let failed = self.write_pages(core);
        if failed != 0 || !(self.update || self.clean == dirty) {
            return failed;
        }
        let failed = self.write_blocks(core, false, !dirty);
        self.update = failed != 0;
        failed
    }

    fn write_pages(&mut self, core: &Core) -> u64 {
        let Some(pages) = &mut self.pages else { return 0 };
        while let Some((page, bytes)) = pages.next_changed() {
            let at = Sector(AT_SECTOR.saturating_add(page.saturating_mul(PAGE_SECTORS)));
            let metas = &self.metas;
            let failed = self.scribe.write(bytes, |number| {
                core.written(number)?;
                Some((metas.get(number)?.as_ref()?, at))
            });
            if failed != 0 {
                return failed;
            }
            pages.written(page);
        }
        0
    }

    /// Writes the superblocks of all members that are written to, one after the other. Those
    /// that come back are first: until they say so themselves others must not let them in.
    fn write_blocks(&mut self, core: &Core, draft: bool, clean: bool) -> u64 {
        self.clean = clean;
        let mut failed_bits = [0_u64; 4];
        for (number, member) in core.members.iter().enumerate() {
            let partial = self.partial & bit(number) != 0;
            let gone = match member.standing() {
                Standing::Missing | Standing::Dead => true,
                Standing::Returning => partial,
                Standing::Live => false,
            };
            if let Some(word) = failed_bits.get_mut(number / 64).filter(|_| gone) {
                *word |= bit(number % 64);
            }
        }
        let mut failed = 0;
        let of = |standing: Standing| {
            let is = move |member: &copies::Member| member.standing() == standing;
            core.members.iter().enumerate().filter(move |(_, member)| is(member))
        };
        for (number, _) in of(Standing::Returning).chain(of(Standing::Live)) {
            let Some(Some(meta)) = self.metas.get(number) else { continue };
            let mut block = self.superblock(core, number, failed_bits, clean);
            if draft {
                block.events = 0;
            }
            self.block.resize(block_bytes(meta), 0);
            block.write(&mut self.block);
            let only = |member: usize| (member == number).then_some((meta, Sector(0)));
            failed |= self.scribe.write(&self.block, only);
        }
        failed
    }

    fn superblock(&self, core: &Core, number: usize, failed: [u64; 4], clean: bool) -> Superblock {
        let live = core.members.get(number).is_some_and(copies::Member::is_live);
        let recovered = match (live, self.partial & bit(number) != 0) {
            (true, _) => NOWHERE,
            (false, true) => 0,
            (false, false) => {
                let lacks = core.regions(|regions| {
                    let region = regions.next_absent(0).unwrap_or(regions.count());
                    regions.start_or_end(region)
                });
                core.geometry.floor(lacks)
            }
        };
        let synced = if clean { NOWHERE } else { 0 };
        let first = self.wanted.superblock(number as u32);
        Superblock { events: self.events, failed, recovered, synced, ..first }
    }
}
