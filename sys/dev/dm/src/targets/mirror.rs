//! mirror: the same sectors on several devices. `log words (word...) legs (device offset)...
//! [features (feature...)]`
//!
//! Upstream: Linux's dm-raid1 with dm-log and dm-region-hash, whose logs it reads and writes.
//! Differs: reads go to all legs whose region is equal; what an error leaves unequal is said to
//! be so, also without `handle_errors`, and no acknowledged write is read back old.

mod log;
mod parse;

use super::copies::{Copies, Fault, Geometry, Member, Plan, Rates, Rules, Standing, Unmarked};
use crate::lower::Lower;
use crate::params::Params;
use crate::target::{Keys, Mapping, Part, Range, Setup, Target, TargetType};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use dm_protocol::{Errno, Failure};
use log::{Ledger, LogState};
use parse::{Line, LogKind, Word};

pub(super) static MIRROR: TargetType = TargetType { name: "mirror", version: [1, 14, 0], build };

struct Mirror {
    line: Line,
    /// The legs, and the log's device if it has one.
    lowers: Vec<Lower>,
    log: Arc<LogState>,
    copies: Copies,
}

fn build(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Box<dyn Target>, Failure> {
    let line = Line::parse(setup, params)?;
    let log = Arc::new(LogState::default());
    let ledger = Ledger::new(&line, setup.length(), &log)?;
    let offsets = line.legs.iter().map(|(_, offset)| *offset).collect();
    let members = line.legs.iter().map(|(lower, _)| Member::new(Some(lower.clone()), false));
    let unmarked = match (line.handle_errors, line.keep_log) {
        (false, _) => Unmarked::Goes,
        (true, false) => Unmarked::Waits,
        (true, true) => Unmarked::Fails,
    };
    let plan = Plan {
        geometry: Geometry::Whole(offsets),
        members: members.collect(),
        rules: Rules {
            holds: line.handle_errors && !line.keep_log,
            tells_faults: line.handle_errors,
            strict: true,
            mends: false,
            forgiving: true,
            unmarked,
            rates: Rates::FULL,
        },
        length: setup.length().0,
        region_sectors: line.region_sectors,
    };
    let mut lowers: Vec<Lower> = line.legs.iter().map(|(lower, _)| lower.clone()).collect();
    lowers.extend(match &line.log {
        LogKind::Core => None,
        LogKind::Disk(lower) => Some(lower.clone()),
    });
    let copies = Copies::new("dmmirror", setup, plan, Box::new(ledger))?;
    // Until the log is read.
    copies.core().regions(|regions| regions.fill_stale(line.word != Word::Nosync));
    Ok(Box::new(Mirror { line, lowers, log, copies }))
}

impl Target for Mirror {
    fn map(&self, range: Range) -> Mapping<'_> {
        self.copies.map(range)
    }

    fn keep(&self, part: Part) {
        self.copies.keep(part);
    }

    fn done(&self, part: Part, result: Result<(), Errno>) {
        self.copies.done(part, result);
    }

    fn keeps_flushes(&self) -> bool {
        true
    }

    fn lowers(&self) -> &[Lower] {
        &self.lowers
    }

    fn discards(&self) -> bool {
        self.line.legs.iter().all(|(lower, _)| lower.discards())
    }

    fn params(&self, out: &mut dyn fmt::Write, _keys: Keys) -> fmt::Result {
        self.line.write(out)
    }

    fn status(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let core = self.copies.core();
        write!(out, "{}", self.line.legs.len())?;
        for (lower, _) in &self.line.legs {
            write!(out, " {lower}")?;
        }
        let (count, unsynced) = core.regions(|regions| (regions.count(), regions.unsynced()));
        // A leg that came back has all, and does not count before it was flushed.
        let back = |member: &Member| member.standing() == Standing::Returning;
        let unsynced = unsynced.max(u64::from(core.members.iter().any(back)));
        write!(out, " {}/{count} 1 ", count.saturating_sub(unsynced))?;
        for member in &core.members {
            out.write_char(letter(member))?;
        }
        match &self.line.log {
            LogKind::Core => out.write_str(" 1 core"),
            LogKind::Disk(lower) => {
                let letter = if self.log.is_lost() { 'D' } else { 'A' };
                write!(out, " 3 disk {lower} {letter}")
            }
        }
    }

    fn presuspend(&self, noflush: bool) {
        self.copies.presuspend(noflush);
    }

    fn postsuspend(&self) {
        self.copies.postsuspend();
    }

    fn settle(&self) {
        self.copies.settle();
    }

    fn preresume(&self) -> Result<(), Failure> {
        self.copies.preresume()
    }

    fn resume(&self) {
        self.copies.resume();
    }
}

/// The worst that happened to a leg.
fn letter(member: &Member) -> char {
    let worst = [(Fault::Flush, 'F'), (Fault::Write, 'D'), (Fault::Sync, 'S'), (Fault::Read, 'R')];
    let found = worst.into_iter().find(|(fault, _)| member.had(*fault));
    found.map_or('A', |(_, letter)| letter)
}
