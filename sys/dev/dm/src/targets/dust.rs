//! dust: blocks that a message made bad cannot be read until they are written.
//! `device offset block-bytes`
//!
//! Upstream: Linux's dust. Differs: a flush mends nothing, and a block that a write mends is
//! not logged, since a request does not wait for the log.

use crate::kern::disk::Op;
use crate::lower::Lower;
use crate::params::Params;
use crate::services::{Shared, log};
use crate::target::{Keys, Mapping, Range, Setup, Target, TargetType};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::{mem, slice};
use dm_protocol::{Errno, Failure, SECTOR_SIZE, Sector, Sectors};

pub(super) static DUST: TargetType = TargetType { name: "dust", version: [1, 0, 0], build };

const BLOCK_MAX: u64 = 1 << 30;

struct Dust {
    lower: Lower,
    offset: Sector,
    /// Sectors in a block, a power of two.
    block: u64,
    /// Blocks of the device below.
    blocks: u64,
    state: Shared<State>,
}

struct State {
    fails: bool,
    quiet: bool,
    /// Ascending. It grows in thread context only, outside the lock.
    bad: Vec<Bad>,
}

#[derive(Clone, Copy)]
struct Bad {
    block: u64,
    /// Writes that fail before one mends the block.
    failing_writes: u64,
}

fn build(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Box<dyn Target>, Failure> {
    let length = setup.length();
    let (lower, offset) = setup.place(params, length)?;
    let bytes = params.number("block", SECTOR_SIZE..=BLOCK_MAX)?;
    if !bytes.is_power_of_two() {
        return Err(params.refuse("is no power of two"));
    }
    let block = bytes / SECTOR_SIZE;
    if block > length.0 {
        return Err(params.refuse(&format!("is more than the {length} sectors of the segment")));
    }
    params.end()?;
    let blocks = lower.size().0 / block;
    let state = Shared::new(State { fails: false, quiet: false, bad: Vec::new() });
    Ok(Box::new(Dust { lower, offset, block, blocks, state }))
}

impl State {
    /// Where a block is in the list, or would be.
    fn find(&self, block: u64) -> Result<usize, usize> {
        self.bad.binary_search_by_key(&block, |bad| bad.block)
    }

    /// What becomes of a request that begins in `block`, and how many blocks with it.
    fn begin(&mut self, op: Op, block: u64) -> Result<Option<u64>, Errno> {
        if !self.fails {
            return Ok(None);
        }
        let next = match self.find(block) {
            Err(next) => next,
            Ok(_) if op == Op::Read => return Err(Errno::EIO),
            Ok(nr) => {
                match self.bad.get_mut(nr) {
                    Some(bad) if bad.failing_writes > 0 => {
                        bad.failing_writes -= 1;
                        return Err(Errno::EIO);
                    }
                    // The memory stays with the list, so nothing is freed here.
                    _ => self.bad.remove(nr),
                };
                nr
            }
        };
        Ok(self.bad.get(next).map(|bad| bad.block - block))
    }
}

impl Dust {
    /// Room for one block more, made outside the lock.
    fn reserve(&self) -> Result<(), Errno> {
        loop {
            let (length, room) = self.state.with(|state| (state.bad.len(), state.bad.capacity()));
            if length < room {
                return Ok(());
            }
            let mut bigger = Vec::new();
            bigger
                .try_reserve_exact(length.saturating_mul(2).max(16))
                .map_err(|_| Errno::ENOMEM)?;
            let spare = self.state.with(|state| {
                if bigger.capacity() <= state.bad.len() {
                    return bigger;
                }
                bigger.extend_from_slice(&state.bad);
                mem::replace(&mut state.bad, bigger)
            });
            drop(spare);
        }
    }

    fn add(&self, words: &Params<'_>, block: u64, failing_writes: u64) -> Result<(), Failure> {
        let mut added = None;
        // Another message may take the room that was made.
        while added.is_none() {
            self.reserve()?;
            added = self.state.with(|state| match state.find(block) {
                Ok(_) => Some(false),
                Err(_) if state.bad.len() == state.bad.capacity() => None,
                Err(nr) => {
                    state.bad.insert(nr, Bad { block, failing_writes });
                    Some(true)
                }
            });
        }
        if added == Some(false) {
            return Err(words.refuse("is bad already"));
        }
        self.tell(&match failing_writes {
            0 => format!("block {block} is bad"),
            writes => format!("block {block} is bad, and {writes} writes to it will fail"),
        });
        Ok(())
    }

    fn remove(&self, words: &Params<'_>, block: u64) -> Result<(), Failure> {
        let removed = self.state.with(|state| {
            let nr = state.find(block).ok()?;
            Some(state.bad.remove(nr))
        });
        removed.ok_or_else(|| words.refuse("is not bad"))?;
        self.tell(&format!("block {block} is good"));
        Ok(())
    }

    fn tell(&self, what: &str) {
        if !self.state.with(|state| state.quiet) {
            log(&format!("dm: dust on {}: {what}", self.lower));
        }
    }

    /// The numbers of all bad blocks.
    fn list(&self) -> Vec<u64> {
        let mut blocks = Vec::new();
        loop {
            let complete = self.state.with(|state| {
                blocks.clear();
                let room = blocks.capacity();
                blocks.extend(state.bad.iter().take(room).map(|bad| bad.block));
                if state.bad.len() > room { Err(state.bad.len()) } else { Ok(()) }
            });
            match complete {
                Ok(()) => return blocks,
                Err(length) => blocks.reserve(length),
            }
        }
    }

    fn block_message(&self, words: &mut Params<'_>, answer: &mut String) -> Result<(), Failure> {
        let verb = words.last();
        let block = words.number("block", 0..=u64::MAX)?;
        if block >= self.blocks {
            let last = self.blocks.saturating_sub(1);
            return Err(words.refuse(&format!("is beyond the last block, {last}")));
        }
        if verb.eq_ignore_ascii_case("addbadblock") {
            let writes = match words.left() {
                0 => 0,
                _ => words.number("failing writes", 0..=255)?,
            };
            words.end()?;
            return self.add(words, block, writes);
        }
        words.end()?;
        if verb.eq_ignore_ascii_case("removebadblock") {
            return self.remove(words, block);
        }
        let found = self.state.with(|state| state.find(block).is_ok());
        let found = if found { "found" } else { "not found" };
        let _ = write!(answer, "dust_query_block: block {block} {found} in badblocklist");
        Ok(())
    }
}

impl Target for Dust {
    fn map(&self, range: Range) -> Mapping<'_> {
        let Some(sector) = self.offset.checked_add(Sectors(range.at.0)) else {
            return Mapping::Fail(Errno::EIO);
        };
        let block = sector.0 / self.block;
        match self.state.with(|state| state.begin(range.op, block)) {
            Err(errno) => Mapping::Fail(errno),
            Ok(None) => Mapping::To { lower: &self.lower, sector, count: range.count },
            Ok(Some(good)) => {
                let left = good.saturating_mul(self.block) - sector.0 % self.block;
                let count = Sectors(range.count.0.min(left));
                Mapping::To { lower: &self.lower, sector, count }
            }
        }
    }

    fn params(&self, out: &mut dyn Write, _keys: Keys) -> fmt::Result {
        write!(out, "{} {} {}", self.lower, self.offset, self.block * SECTOR_SIZE)
    }

    fn status(&self, out: &mut dyn Write) -> fmt::Result {
        let (fails, quiet) = self.state.with(|state| (state.fails, state.quiet));
        let fails = if fails { "fail_read_on_bad_block" } else { "bypass" };
        write!(out, "{} {fails} {}", self.lower, if quiet { "quiet" } else { "verbose" })
    }

    fn lowers(&self) -> &[Lower] {
        slice::from_ref(&self.lower)
    }

    fn message(&self, words: &mut Params<'_>, answer: &mut String) -> Result<(), Failure> {
        let verb = words.word("message")?.to_ascii_lowercase();
        if ["addbadblock", "removebadblock", "queryblock"].contains(&verb.as_str()) {
            return self.block_message(words, answer);
        }
        let known = ["enable", "disable", "quiet", "countbadblocks", "listbadblocks"];
        if !known.contains(&verb.as_str()) && verb != "clearbadblocks" {
            return Err(words.refuse("is no message"));
        }
        words.end()?;
        match verb.as_str() {
            "enable" => self.state.with(|state| state.fails = true),
            "disable" => self.state.with(|state| state.fails = false),
            "quiet" => self.state.with(|state| state.quiet = !state.quiet),
            "clearbadblocks" => {
                let old = self.state.with(|state| mem::take(&mut state.bad));
                let what = if old.is_empty() { "no badblocks found" } else { "badblocks cleared" };
                let _ = write!(answer, "dust_clear_badblocks: {what}");
            }
            "countbadblocks" => {
                let count = self.state.with(|state| state.bad.len());
                let _ = write!(answer, "countbadblocks: {count} badblock(s) found");
            }
            _ => {
                let blocks = self.list();
                for block in &blocks {
                    let _ = writeln!(answer, "{block}");
                }
                if blocks.is_empty() {
                    answer.push_str("No blocks in badblocklist");
                }
            }
        }
        Ok(())
    }
}
