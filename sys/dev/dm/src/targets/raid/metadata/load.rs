//! Reads what a set's members have on disk, and says what is known of them and of regions.

use super::{Ledger, block_bytes, look};
use crate::targets::copies::{Core, Member, Pages, Standing, bit};
use crate::targets::raid::assemble::{Assembly, Begin, Resync};
use crate::targets::raid::bitmap::{AT_SECTOR, Head};
use alloc::vec::Vec;
use dm_protocol::{Errno, Failure, SECTOR_SIZE, Sector};

/// The most bits that a bitmap is believed to have: Linux keeps to half of that.
const BITS_MAX: u64 = 1 << 22;

impl Ledger {
    /// A set without metadata: what the table says is all that is known.
    pub(super) fn load_bare(&self, core: &Core) {
        for (number, member) in core.members.iter().enumerate() {
            let new = self.wanted.rebuild & bit(number) != 0;
            member.set_standing(if new { Standing::Returning } else { Standing::Live });
        }
        core.regions(|regions| {
            regions.fill_absent(self.wanted.rebuild != 0);
            regions.fill_stale(self.wanted.sync == Some(true));
        });
    }

    /// Reads the bitmap of a member, and marks what it marks. Gives its head, if it has one.
    fn load_bits(&mut self, core: &Core, member: usize) -> Result<Option<Head>, Errno> {
        let Some(Some(meta)) = self.metas.get(member) else { return Ok(None) };
        let mut page = Pages::new(block_bytes(meta) as u64, Head::BYTES)?;
        page.read(meta, Sector(AT_SECTOR))?;
        let Some(head) = Head::read(page.bytes()) else { return Ok(None) };
        let region = u64::from(head.region_bytes) / SECTOR_SIZE;
        let bits = head.sectors.div_ceil(region);
        if bits > BITS_MAX {
            return Ok(None);
        }
        let bytes = (Head::BYTES as u64).saturating_add(bits.div_ceil(8));
        let length = bytes.next_multiple_of(block_bytes(meta) as u64);
        if meta.size().0.saturating_sub(AT_SECTOR) < length / SECTOR_SIZE {
            return Ok(None);
        }
        let mut pages = Pages::new(length, Head::BYTES)?;
        pages.read(meta, Sector(AT_SECTOR))?;
        for bit in (0..bits).filter(|bit| pages.get(*bit)) {
            let first = bit.saturating_mul(region);
            let last = first.saturating_add(region - 1).min(self.wanted.length.saturating_sub(1));
            if first <= last {
                mark_range(core, first / self.region_sectors, last / self.region_sectors);
            }
        }
        let same = region == self.region_sectors && bits == self.regions;
        if let Some(ours) = self.pages.as_mut().filter(|_| same) {
            // What Linux has behind the last bit stays as it is.
            for (to, from) in ours.bytes_mut().iter_mut().zip(pages.bytes()) {
                *to = *from;
            }
        }
        Ok(Some(head))
    }

    /// Reads all bitmaps, and says what may differ.
    pub(super) fn load_bitmaps(&mut self, core: &Core, assembly: &Assembly) -> Result<(), Failure> {
        if let Some(pages) = &mut self.pages {
            // As Linux leaves what is behind the last bit.
            pages.bytes_mut().fill(0xff);
            if let Some(head) = pages.bytes_mut().get_mut(..Head::BYTES) {
                head.fill(0);
            }
        }
        let mut known = None;
        for (number, begin) in assembly.begins.iter().enumerate() {
            let told = matches!(begin, Begin::Live | Begin::Back { .. });
            if told && !assembly.fresh && Some(number) != assembly.freshest {
                // Whoever worked without the others knows what it did.
                let _ = self.load_bits(core, number);
            }
        }
        if let Some(freshest) = assembly.freshest {
            known = self.load_bits(core, freshest)?;
        }
        let current = known.is_some_and(|head| !head.stale && head.events >= assembly.events);
        match assembly.fresh {
            false if !current => mark_range(core, 0, self.regions.saturating_sub(1)),
            true if assembly.resync != Resync::None => {
                mark_range(core, 0, self.regions.saturating_sub(1));
            }
            _ => {}
        }
        self.head.cleared = known.map_or(0, |head| head.cleared);
        if assembly.old_length < self.wanted.length && assembly.resync != Resync::None {
            self.mark_from(core, assembly.old_length);
        }
        if let Resync::From(sector) = assembly.resync {
            self.mark_from(core, sector);
        }
        if let Some(pages) = &mut self.pages {
            for region in 0..self.regions {
                pages.set(region, core.regions(|regions| regions.is_marked(region)));
            }
            pages.touch(true);
        }
        Ok(())
    }

    fn mark_from(&self, core: &Core, sector: u64) {
        if sector < self.wanted.length {
            let first = sector / self.region_sectors;
            mark_range(core, first, self.regions.saturating_sub(1));
        }
    }

    /// Gives members their standing, and says what they lack.
    pub(super) fn stand(&mut self, core: &Core, assembly: &Assembly) {
        self.partial = 0;
        self.told_dead = 0;
        let mut lacks_marked = false;
        let begins = core.members.iter().zip(&assembly.begins).enumerate();
        for (number, (member, begin)) in begins {
            let begin = match *begin {
                // Marks were taken back since it went.
                Begin::Back { events } if events < self.head.cleared => Begin::New { from: 0 },
                begin => begin,
            };
            lacks_marked |= !matches!(begin, Begin::Live | Begin::New { .. });
            match begin {
                Begin::Missing => {}
                Begin::Dead => {
                    member.set_standing(Standing::Dead);
                    self.told_dead |= bit(number);
                }
                Begin::Live => member.set_standing(Standing::Live),
                Begin::Back { .. } => {
                    member.set_standing(Standing::Returning);
                    self.partial |= bit(number);
                }
                Begin::New { from } => {
                    member.set_standing(Standing::Returning);
                    lack_from(core, number, from);
                }
            }
        }
        let mut from = 0;
        while let Some(region) = core.regions(|regions| regions.next_marked(from)) {
            core.regions(|regions| {
                regions.set_stale(region, assembly.resync != Resync::None);
                if lacks_marked {
                    regions.set_absent(region, true);
                }
            });
            from = region.saturating_add(1);
        }
        if core.regions(|regions| regions.next_absent(0)).is_none() {
            // Who lacks nothing is there.
            let back = |member: &&Member| member.standing() == Standing::Returning;
            core.members.iter().filter(back).for_each(|member| member.set_standing(Standing::Live));
            self.partial = 0;
        }
    }

    /// Members that went out of use come back, if their metadata can be read.
    pub(super) fn revive(&mut self, core: &Core) {
        let mut bytes = Vec::new();
        for (number, member) in core.members.iter().enumerate() {
            if member.standing() != Standing::Dead {
                continue;
            }
            let knows_enough = match self.metas.get(number) {
                Some(Some(meta)) => match look(meta, &mut bytes) {
                    // Another disk may be there by now, even one of another set.
                    Ok(block) => block.is_some_and(|block| {
                        let known = self.head.cleared..=self.events;
                        block.position == number as u32 && known.contains(&block.events)
                    }),
                    Err(_) => continue,
                },
                _ => true,
            };
            member.set_standing(Standing::Returning);
            self.told_dead &= !bit(number);
            match knows_enough {
                true => self.partial |= bit(number),
                false => core.regions(|regions| regions.fill_absent(true)),
            }
        }
        self.update = true;
        // They were not told of marks since.
        self.pages.iter_mut().for_each(|pages| pages.touch(true));
    }
}

fn mark_range(core: &Core, first: u64, last: u64) {
    for region in first..=last {
        core.regions(|regions| regions.mark(region));
    }
}

/// A member lacks all from one of its sectors on.
fn lack_from(core: &Core, number: usize, from: u64) {
    let count = core.regions(|regions| regions.count());
    for region in 0..count {
        let ends = core.regions(|regions| (regions.start(region), regions.end(region) - 1));
        if from == 0 || !core.geometry.lies_before(ends, number, from) {
            core.regions(|regions| regions.set_absent(region, true));
        }
    }
}
