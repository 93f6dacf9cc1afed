//! raid0: chunks in turn, without copies. Its members may have superblocks, which say that they
//! belong together.

use super::args::Args;
use super::assemble::{Begin, Seen, Wanted, assemble};
use super::metadata::seen;
use super::show;
use super::superblock::Superblock;
use crate::event::Event;
use crate::kern::disk::Op;
use crate::kern::sync::atomic::{AtomicBool, Ordering};
use crate::lower::Lower;
use crate::services::{Buffer, log};
use crate::target::{Keys, Mapping, Range, Setup, Target};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use dm_protocol::{Errno, Failure, SECTOR_SIZE, Sector, Sectors};

/// A raid0.
pub struct Raid0 {
    args: Args,
    /// Metadata and data, as the table names them.
    lowers: Vec<Lower>,
    data: Vec<Lower>,
    metas: Vec<Option<Lower>>,
    /// Members that an error was seen on.
    dead: Vec<AtomicBool>,
    wanted: Wanted,
    event: Arc<Event>,
    readonly: bool,
    /// Superblocks are there.
    known: AtomicBool,
}

/// A place on the members.
struct Place {
    member: u64,
    at: u64,
}

impl Raid0 {
    /// Thread context.
    ///
    /// # Errors
    /// Why its members do not belong together.
    pub fn new(
        args: Args,
        lowers: Vec<Lower>,
        wanted: Wanted,
        setup: &Setup<'_>,
    ) -> Result<Self, Failure> {
        let data: Vec<_> = args.devices.iter().filter_map(|device| device.data.clone()).collect();
        let metas: Vec<_> = args.devices.iter().map(|device| device.meta.clone()).collect();
        let dead = data.iter().map(|_| AtomicBool::new(false)).collect();
        let (event, readonly) = (setup.event(), setup.readonly());
        let known = AtomicBool::new(false);
        let raid = Self { args, lowers, data, metas, dead, wanted, event, readonly, known };
        raid.look()?;
        Ok(raid)
    }

    /// Do the superblocks say that these are its members? True if they have to be written.
    fn look(&self) -> Result<bool, Failure> {
        if self.metas.iter().all(Option::is_none) {
            return Ok(false);
        }
        let seen = seen(self.data.iter().map(|_| true), &self.metas);
        let drafts = seen.iter().any(Seen::is_draft);
        let assembly = assemble(&self.wanted, &seen)?;
        // A raid0 has nothing to lose: members without superblocks are taken as they are.
        match assembly.begins.iter().all(|begin| *begin == Begin::Live) {
            true => Ok(assembly.fresh || drafts),
            false => Err(Failure::new(Errno::EINVAL, "the members are not all up to date")),
        }
    }

    /// Writes superblocks on members that have none: drafts first, so that a member without one
    /// is none of the set's once another has a good one.
    fn put_down(&self) -> Result<(), Errno> {
        for draft in [true, false] {
            for (number, meta) in self.metas.iter().enumerate() {
                let Some(meta) = meta else { continue };
                let sectors = Sectors(u64::from(meta.sector_size()) / SECTOR_SIZE);
                let mut buffer = Buffer::new(sectors)?;
                let first = self.wanted.superblock(number as u32);
                let block = Superblock { events: u64::from(!draft), ..first };
                block.write(buffer.bytes_mut());
                meta.transfer(Op::Write, true, Sector(0), &mut buffer)?;
            }
        }
        Ok(())
    }

    fn place(&self, sector: u64) -> Place {
        let shift = self.args.chunk.trailing_zeros();
        let (chunk, within) = (sector >> shift, sector & (self.args.chunk - 1));
        let members = self.data.len() as u64;
        Place { member: chunk % members, at: ((chunk / members) << shift) + within }
    }

    fn to(&self, member: u64, at: u64, count: u64) -> Mapping<'_> {
        match self.data.get(member as usize) {
            Some(lower) => Mapping::To { lower, sector: Sector(at), count: Sectors(count) },
            None => Mapping::Fail(Errno::EIO),
        }
    }

    /// The first sector on a member at or behind a sector of the segment.
    fn edge(&self, member: u64, at: u64) -> u64 {
        let place = self.place(at);
        let row = place.at - place.at % self.args.chunk;
        match place.member.cmp(&member) {
            core::cmp::Ordering::Less => row,
            core::cmp::Ordering::Equal => place.at,
            core::cmp::Ordering::Greater => row + self.args.chunk,
        }
    }
}

impl Target for Raid0 {
    fn map(&self, range: Range) -> Mapping<'_> {
        if self.spread(range.op) > 1 {
            let member = u64::from(range.piece);
            let first = self.edge(member, range.at.0);
            let end = self.edge(member, range.at.0.saturating_add(range.count.0));
            return if end > first {
                self.to(member, first, end - first)
            } else {
                Mapping::Nothing
            };
        }
        let place = self.place(range.at.0);
        let to_chunk_end = self.args.chunk - place.at % self.args.chunk;
        self.to(place.member, place.at, range.count.0.min(to_chunk_end))
    }

    fn params(&self, out: &mut dyn fmt::Write, _keys: Keys) -> fmt::Result {
        show::table(&self.args, out)
    }

    fn status(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "raid0 {} ", self.data.len())?;
        for dead in &self.dead {
            out.write_char(if dead.load(Ordering::Relaxed) { 'D' } else { 'A' })?;
        }
        write!(out, " {0}/{0} idle 0 0 -", self.args.each)
    }

    fn lowers(&self) -> &[Lower] {
        &self.lowers
    }

    fn discards(&self) -> bool {
        self.data.iter().all(Lower::discards)
    }

    fn watches(&self) -> bool {
        true
    }

    /// A member with an error shows as dead; the first one is an event.
    fn failed(&self, range: Range, errno: Errno) {
        if errno == Errno::EOPNOTSUPP {
            return;
        }
        let member = match self.spread(range.op) {
            1 => self.place(range.at.0).member as usize,
            _ => range.piece as usize,
        };
        if self.dead.get(member).is_some_and(|dead| !dead.swap(true, Ordering::Relaxed)) {
            self.event.raise();
        }
    }

    fn spread(&self, op: Op) -> u32 {
        match op {
            Op::Discard | Op::WriteZeroes => self.data.len() as u32,
            Op::Read | Op::Write | Op::Flush => 1,
        }
    }

    fn preresume(&self) -> Result<(), Failure> {
        let fresh = self.look()?;
        self.known.store(!fresh, Ordering::Relaxed);
        Ok(())
    }

    fn resume(&self) {
        if self.known.swap(true, Ordering::Relaxed) || self.readonly {
            return;
        }
        if let Err(errno) = self.put_down() {
            log(&format!("raid: superblocks of a raid0 were not written: {errno}"));
        }
    }
}
