//! raid: several devices made one that survives the loss of some. `type words (parameter...)
//! members (metadata data)...`
//!
//! Upstream: Linux's dm-raid over md's raid0, raid1 and raid10, whose superblocks and bitmaps it
//! reads and writes. Differs: a set that was cut off says so, so what may differ is copied;
//! sets are not reshaped.

mod args;
mod assemble;
mod bitmap;
mod metadata;
mod raid0;
mod show;
mod superblock;

use super::copies::{
    Action, Copies, Geometry, Member, Plan, Rates, Rules, Spread, Unmarked, Wish, bit,
};
use crate::lower::Lower;
use crate::params::Params;
use crate::target::{Keys, Mapping, Part, Range, Setup, Target, TargetType};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use args::{Args, Format, Level};
use assemble::{Begin, Wanted, assemble};
use core::fmt;
use dm_protocol::{Errno, Failure, Sector};
use metadata::Ledger;

pub(super) static RAID: TargetType = TargetType { name: "raid", version: [1, 15, 1], build };

/// What Linux takes when a table says nothing, in KiB a second.
const RATES: Rates = Rates { least: 1000, most: 200_000 };

struct Raid {
    args: Args,
    lowers: Vec<Lower>,
    copies: Copies,
}

fn build(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Box<dyn Target>, Failure> {
    let args = Args::parse(setup, params)?;
    // Metadata first, as a table names them.
    let devices = args.devices.iter();
    let lowers = devices.flat_map(|device| [&device.meta, &device.data]).flatten().cloned();
    let lowers: Vec<Lower> = lowers.collect();
    let wanted = wanted(&args);
    if args.level == Level::Raid0 {
        return Ok(Box::new(raid0::Raid0::new(args, lowers, wanted, setup)?));
    }
    let metas: Vec<_> = args.devices.iter().map(|device| device.meta.clone()).collect();
    let geometry = geometry(&args)?;
    check_members(&args, &geometry, &wanted, &metas)?;
    let members = args.devices.iter().enumerate().map(|(number, device)| {
        Member::new(device.data.clone(), args.write_mostly & bit(number) != 0)
    });
    let rate = |rate: Option<u64>, usual: u64| rate.filter(|rate| *rate != 0).unwrap_or(usual);
    let plan = Plan {
        geometry,
        members: members.collect(),
        rules: Rules {
            holds: false,
            tells_faults: false,
            strict: false,
            mends: true,
            forgiving: false,
            unmarked: Unmarked::Fails,
            rates: Rates {
                least: rate(args.least_rate, RATES.least),
                most: rate(args.most_rate, RATES.most),
            },
        },
        length: args.length,
        region_sectors: args.region_sectors,
    };
    let ledger = Ledger::new(metadata::Plan {
        wanted,
        metas,
        region_sectors: args.region_sectors,
        sleep_ms: args.sleep_ms(),
        behind: (args.write_behind.unwrap_or(0) / 2) as u32,
    })?;
    let copies = Copies::new("dmraid", setup, plan, Box::new(ledger))?;
    Ok(Box::new(Raid { args, lowers, copies }))
}

/// What would be refused when the table becomes live is refused now.
fn check_members(
    args: &Args,
    geometry: &Geometry,
    wanted: &Wanted,
    metas: &[Option<Lower>],
) -> Result<(), Failure> {
    let there = |on: usize| args.devices.get(on).is_some_and(|device| device.data.is_some());
    if !geometry.enough(there) {
        return Err(Failure::new(Errno::EINVAL, "too many members are missing"));
    }
    let enough = match metas.iter().any(Option::is_some) {
        true => {
            let present = args.devices.iter().map(|device| device.data.is_some());
            let begins = assemble(wanted, &metadata::seen(present, metas))?.begins;
            geometry.enough(|on| begins.get(on) == Some(&Begin::Live))
        }
        false => geometry.enough(|on| there(on) && args.rebuild & bit(on) == 0),
    };
    match enough {
        true => Ok(()),
        false => Err(Failure::new(Errno::EINVAL, "too many members are not up to date")),
    }
}

/// What the superblocks must say.
fn wanted(args: &Args) -> Wanted {
    let (level, layout) = args.level_and_layout();
    Wanted {
        level,
        layout,
        chunk: args.chunk as u32,
        members: args.devices.len() as u32,
        each: args.each,
        length: args.length,
        rebuild: args.rebuild,
        sync: args.sync,
        loose: args.level == Level::Raid1,
        rigid: args.level == Level::Raid10 && args.shown_format() == Format::Far,
    }
}

fn geometry(args: &Args) -> Result<Geometry, Failure> {
    let Some(shape) = args.shape() else {
        return Ok(Geometry::Whole(args.devices.iter().map(|_| Sector(0)).collect()));
    };
    match Spread::new(&shape, args.length) {
        Some(spread) => Ok(Geometry::Spread(spread)),
        None => Err(Failure::new(Errno::EINVAL, "such a raid10 is not possible")),
    }
}

impl Target for Raid {
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
        let mut data = self.args.devices.iter().filter_map(|device| device.data.as_ref());
        data.all(Lower::discards)
    }

    fn params(&self, out: &mut dyn fmt::Write, _keys: Keys) -> fmt::Result {
        show::table(&self.args, out)
    }

    fn status(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        show::status(&self.args, self.copies.core(), out)
    }

    fn message(&self, words: &mut Params<'_>, _answer: &mut String) -> Result<(), Failure> {
        let core = self.copies.core();
        let word = words.word("message")?;
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        let wish = match () {
            () if is("idle") => Wish::Idle,
            () if is("frozen") => Wish::Freeze,
            () if is("resync") => Wish::Begin(Action::Resync),
            () if is("recover") => Wish::Begin(Action::Recover),
            () if is("check") => Wish::Begin(Action::Check),
            () if is("repair") => Wish::Begin(Action::Repair),
            () => return Err(words.refuse("is no message of raid")),
        };
        words.end()?;
        if !core.is_running() {
            return Err(Failure::new(Errno::EBUSY, "the device is suspended"));
        }
        if let (Wish::Begin(_), Some(action)) = (wish, core.progress().action) {
            let what = show::action(Some(action), false);
            let message = alloc::format!("{what} is under way; idle or frozen ends it");
            return Err(Failure::new(Errno::EBUSY, message));
        }
        core.wish(wish);
        Ok(())
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
