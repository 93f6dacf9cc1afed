//! The record of a raid: on each member a superblock and a bitmap, as Linux has them.

mod load;
mod write;

use super::assemble::{Seen, Wanted, assemble};
use super::bitmap::{AT_SECTOR, Head};
use super::superblock::Superblock;
use crate::kern::disk::Op;
use crate::lower::Lower;
use crate::services::Buffer;
use crate::targets::copies::{self, Action, Core, PAGE, Pages, Scribe, Standing, bit};
use alloc::vec::Vec;
use dm_protocol::{Errno, Failure, SECTOR_SIZE, Sector, Sectors};

/// A raid's record.
pub struct Ledger {
    wanted: Wanted,
    /// The metadata of each member; none at all if the table names none.
    metas: Vec<Option<Lower>>,
    /// The bitmap, the same on all members. Without metadata there is none.
    pages: Option<Pages>,
    scribe: Scribe,
    /// A superblock on its way.
    block: Vec<u8>,
    head: Head,
    events: u64,
    regions: u64,
    region_sectors: u64,
    sleep_ns: u64,
    /// No member has a superblock: drafts come first.
    fresh: bool,
    /// Superblocks have to be written, as of a new event.
    update: bool,
    /// They say that all members in use are equal.
    clean: bool,
    /// Regions were marked that are not open yet.
    marking: bool,
    /// Marks were taken back.
    unmarked: bool,
    /// Members that come back and lack no more than the bitmap says, by bit.
    partial: u64,
    /// Members whose end was told, by bit.
    told_dead: u64,
    told: bool,
}

/// What a ledger is made of.
pub struct Plan {
    pub wanted: Wanted,
    pub metas: Vec<Option<Lower>>,
    pub region_sectors: u64,
    pub sleep_ms: u64,
    pub behind: u32,
}

/// Sectors of the superblock: one of the device's own.
fn block_bytes(meta: &Lower) -> usize {
    (meta.sector_size() as usize).clamp(512, PAGE)
}

/// Thread context; sleeps. The superblock of a member.
fn look(meta: &Lower, into: &mut Vec<u8>) -> Result<Option<Superblock>, Errno> {
    let length = block_bytes(meta);
    let mut buffer = Buffer::new(Sectors(length as u64 / SECTOR_SIZE))?;
    meta.transfer(Op::Read, false, Sector(0), &mut buffer)?;
    into.clear();
    into.extend_from_slice(buffer.bytes());
    Ok(Superblock::read(into))
}

/// Thread context; sleeps. What is found for each member.
pub fn seen(present: impl Iterator<Item = bool>, metas: &[Option<Lower>]) -> Vec<Seen> {
    let mut bytes = Vec::new();
    let mut one = |(present, meta): (bool, &Option<Lower>)| match meta {
        _ if !present => Seen::Missing,
        None => Seen::Empty,
        Some(meta) => match look(meta, &mut bytes) {
            Err(_) => Seen::Unreadable,
            Ok(None) => Seen::Empty,
            Ok(Some(block)) => Seen::Block(block),
        },
    };
    present.zip(metas).map(&mut one).collect()
}

impl Ledger {
    /// Thread context.
    ///
    /// # Errors
    /// EINVAL if metadata does not fit its device; ENOMEM.
    pub fn new(plan: Plan) -> Result<Self, Failure> {
        let Plan { wanted, metas, region_sectors, sleep_ms, behind } = plan;
        let regions = wanted.length.div_ceil(region_sectors);
        let unit = metas.iter().flatten().map(block_bytes).max();
        let bytes = Head::BYTES as u64 + regions.div_ceil(8);
        let length = unit.map(|unit| bytes.next_multiple_of(unit as u64));
        for meta in metas.iter().flatten() {
            check_meta(meta, length.unwrap_or(0))?;
        }
        let pages = length.map(|length| Pages::new(length, Head::BYTES)).transpose()?;
        let sleep_secs = u32::try_from(sleep_ms / 1000).unwrap_or(u32::MAX).max(1);
        let region_bytes = u32::try_from(region_sectors * SECTOR_SIZE).map_err(|_| {
            let why = alloc::format!("a region of {region_sectors} sectors has 4 GiB or more");
            Failure::new(Errno::EINVAL, why)
        })?;
        let head = Head {
            events: 0,
            cleared: 0,
            sectors: wanted.length,
            stale: false,
            region_bytes,
            sleep_secs,
            behind,
        };
        Ok(Self {
            wanted,
            scribe: Scribe::new(metas.len())?,
            metas,
            pages,
            block: Vec::with_capacity(PAGE),
            head,
            events: 0,
            regions,
            region_sectors,
            sleep_ns: sleep_ms.saturating_mul(1_000_000),
            fresh: false,
            update: false,
            clean: false,
            marking: false,
            unmarked: false,
            partial: 0,
            told_dead: 0,
            told: false,
        })
    }

    /// Tells of members that went out of use, once each.
    fn tell(&mut self, core: &Core) {
        let mut dead = 0;
        for (number, member) in core.members.iter().enumerate() {
            if member.standing() == Standing::Dead {
                dead |= bit(number);
            }
        }
        if dead & !self.told_dead != 0 {
            core.event.raise();
        }
        self.told_dead |= dead;
    }
}

impl copies::Ledger for Ledger {
    fn load(&mut self, core: &Core, again: bool) -> Result<(), Failure> {
        if again {
            self.revive(core);
            return Ok(());
        }
        core.forget();
        if self.pages.is_none() {
            self.load_bare(core);
            return Ok(());
        }
        let present = core.members.iter().map(|member| member.lower().is_some());
        let assembly = assemble(&self.wanted, &seen(present, &self.metas))?;
        self.load_bitmaps(core, &assembly)?;
        self.events = assembly.events;
        self.fresh = assembly.fresh && assembly.events == 0;
        self.stand(core, &assembly);
        if !core.geometry.enough(|on| core.members.get(on).is_some_and(copies::Member::is_live)) {
            return Err(Failure::new(Errno::EINVAL, "too many members are not up to date"));
        }
        self.update = true;
        self.clean = false;
        Ok(())
    }

    fn mark(&mut self, region: u64, on: bool) {
        if let Some(pages) = &mut self.pages {
            pages.set(region, on);
        }
        self.marking |= on;
        self.unmarked |= !on;
    }

    fn commit(&mut self, core: &Core) -> Result<(), Errno> {
        while self.pages.is_some() {
            let failed = self.write_out(core);
            if failed == 0 {
                break;
            }
            // Without its metadata a member is not in use.
            self.update = true;
            for number in (0..core.members.len()).filter(|number| failed & bit(*number) != 0) {
                if !core.lose(number) {
                    self.marking = false;
                    return Err(Errno::EIO);
                }
            }
            self.tell(core);
        }
        self.marking = false;
        Ok(())
    }

    fn changed(&mut self, core: &Core) -> Result<(), Errno> {
        for (number, member) in core.members.iter().enumerate() {
            if member.is_live() {
                self.partial &= !bit(number);
            }
        }
        self.update = true;
        let result = self.commit(core);
        self.tell(core);
        result
    }

    fn resumed(&mut self, core: &Core) {
        // Linux looks at a set with metadata when it begins, and tells that it has.
        if self.pages.is_some() && !core::mem::replace(&mut self.told, true) {
            core.event.raise();
        }
    }

    fn passed(&mut self, core: &Core, _action: Action) {
        core.event.raise();
    }

    fn sleep_ns(&self) -> u64 {
        self.sleep_ns
    }
}

/// Is there room for metadata?
fn check_meta(meta: &Lower, bitmap_bytes: u64) -> Result<(), Failure> {
    if meta.sector_size() as usize > PAGE {
        let why = alloc::format!("{meta} has sectors of more than {PAGE} bytes");
        return Err(Failure::new(Errno::EINVAL, why));
    }
    let needed = AT_SECTOR + bitmap_bytes / SECTOR_SIZE;
    let size = meta.size();
    if size.0 < needed {
        let why = alloc::format!("metadata needs {needed} sectors, and {meta} has {size}");
        return Err(Failure::new(Errno::EINVAL, why));
    }
    Ok(())
}
