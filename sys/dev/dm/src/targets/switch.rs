//! switch: each region lies on the path that a message said.
//! `paths region 0 (device offset)...`
//!
//! Upstream: Linux's switch. Differs: a message that is refused changes nothing.

use crate::kern::sync::atomic::{AtomicUsize, Ordering};
use crate::lower::Lower;
use crate::params::Params;
use crate::target::{Keys, Mapping, Range, Setup, Target, TargetType};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use dm_protocol::{Errno, Failure, Sector, Sectors};

pub(super) static SWITCH: TargetType = TargetType { name: "switch", version: [1, 1, 0], build };

struct Switch {
    region: u64,
    lowers: Vec<Lower>,
    offsets: Vec<Sector>,
    regions: Regions,
}

/// The number of the path of each region, as many in a word as fit.
struct Regions {
    words: Vec<AtomicUsize>,
    count: u64,
    bits: u32,
}

/// One word of a message.
enum Change {
    /// A region goes to a path.
    One(u64, usize),
    /// The regions behind `last` repeat the `cycle` regions that end there.
    Repeat { last: u64, cycle: u64, count: u64 },
}

fn build(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Box<dyn Target>, Failure> {
    let length = setup.length();
    let paths = params.number("paths", 1..=u64::from(u32::MAX))?;
    let region = params.number("region", 1..=u64::from(u32::MAX))?;
    params.number("options", 0..=0)?;
    // Words bound the paths before memory is set aside for them.
    let needed = paths.saturating_mul(2);
    if params.left() as u64 != needed {
        let left = params.left();
        let message = format!("{paths} paths need {needed} words behind the options, not {left}");
        return Err(Failure::new(Errno::EINVAL, message));
    }
    let (mut lowers, mut offsets) = (Vec::new(), Vec::new());
    for _ in 0..paths {
        let (lower, offset) = setup.place(params, length)?;
        let unit = u64::from(lower.sector_size() / 512).max(1);
        if !region.is_multiple_of(unit) {
            let why =
                format!("a region of {region} is no multiple of its sectors, which have {unit}");
            return Err(params.refuse(&why));
        }
        lowers.push(lower);
        offsets.push(offset);
    }
    params.end()?;
    let regions = Regions::new(length.0.div_ceil(region), lowers.len())?;
    Ok(Box::new(Switch { region, lowers, offsets, regions }))
}

impl Regions {
    /// Regions in turn on paths.
    fn new(count: u64, paths: usize) -> Result<Self, Errno> {
        let bits = (usize::BITS - (paths - 1).leading_zeros()).max(1);
        let words = usize::try_from(count.div_ceil(u64::from(usize::BITS / bits)));
        let count_words = words.map_err(|_| Errno::ENOMEM)?;
        let mut words = Vec::new();
        words.try_reserve_exact(count_words).map_err(|_| Errno::ENOMEM)?;
        words.resize_with(count_words, || AtomicUsize::new(0));
        let regions = Self { words, count, bits };
        for region in 0..count {
            regions.set(region, (region % paths as u64) as usize);
        }
        Ok(regions)
    }

    /// The word of a region and the bits there.
    fn place(&self, region: u64) -> (Option<&AtomicUsize>, u32) {
        let in_word = u64::from(usize::BITS / self.bits);
        let word = usize::try_from(region / in_word).ok().and_then(|nr| self.words.get(nr));
        (word, (region % in_word) as u32 * self.bits)
    }

    const fn mask(&self) -> usize {
        usize::MAX >> (usize::BITS - self.bits)
    }

    fn get(&self, region: u64) -> usize {
        let (word, shift) = self.place(region);
        word.map_or(0, |word| (word.load(Ordering::Relaxed) >> shift) & self.mask())
    }

    fn set(&self, region: u64, path: usize) {
        let (Some(word), shift) = self.place(region) else { return };
        let (mask, new) = (self.mask() << shift, path << shift);
        // Neighbours in the word may be set at the same time.
        let mut old = word.load(Ordering::Relaxed);
        while let Err(now) = word.compare_exchange_weak(
            old,
            (old & !mask) | new,
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            old = now;
        }
    }
}

impl Switch {
    /// Reads one word of a message; `region` is where the one before ended.
    fn change(&self, words: &Params<'_>, region: &mut u64) -> Result<Change, Failure> {
        let word = words.last();
        if let Some(repeat) = word.strip_prefix(['R', 'r']) {
            let (cycle, count) =
                repeat.split_once(',').ok_or_else(|| words.refuse("is not Rn,m"))?;
            let (cycle, count) = (hexadecimal(words, cycle)?, hexadecimal(words, count)?);
            let last = *region;
            if cycle == 0 || cycle - 1 > last {
                return Err(words.refuse("repeats regions that are not there"));
            }
            match last.checked_add(count) {
                Some(end) if end < self.regions.count => *region = end,
                _ => return Err(words.refuse("goes beyond the last region")),
            }
            return Ok(Change::Repeat { last, cycle, count });
        }
        let (place, path) = word.split_once(':').ok_or_else(|| words.refuse("is not n:m"))?;
        *region = match place {
            "" => region.saturating_add(1),
            place => hexadecimal(words, place)?,
        };
        let path = hexadecimal(words, path)?;
        if *region >= self.regions.count {
            return Err(words.refuse("goes beyond the last region"));
        }
        match usize::try_from(path) {
            Ok(path) if path < self.lowers.len() => Ok(Change::One(*region, path)),
            _ => Err(words.refuse("names a path that is not there")),
        }
    }
}

fn hexadecimal(words: &Params<'_>, digits: &str) -> Result<u64, Failure> {
    let number = u64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'));
    number.ok_or_else(|| words.refuse("is not made of hexadecimal numbers"))
}

impl Target for Switch {
    fn map(&self, range: Range) -> Mapping<'_> {
        let (region, within) = (range.at.0 / self.region, range.at.0 % self.region);
        let path = self.regions.get(region);
        let (Some(lower), Some(offset)) = (self.lowers.get(path), self.offsets.get(path)) else {
            return Mapping::Fail(Errno::EIO);
        };
        let count = Sectors(range.count.0.min(self.region - within));
        match offset.checked_add(Sectors(range.at.0)) {
            Some(sector) => Mapping::To { lower, sector, count },
            None => Mapping::Fail(Errno::EIO),
        }
    }

    fn params(&self, out: &mut dyn fmt::Write, _keys: Keys) -> fmt::Result {
        write!(out, "{} {} 0", self.lowers.len(), self.region)?;
        for (lower, offset) in self.lowers.iter().zip(&self.offsets) {
            write!(out, " {lower} {offset}")?;
        }
        Ok(())
    }

    fn lowers(&self) -> &[Lower] {
        &self.lowers
    }

    fn message(&self, words: &mut Params<'_>, _answer: &mut String) -> Result<(), Failure> {
        if !words.word("message")?.eq_ignore_ascii_case("set_region_mappings") {
            return Err(words.refuse("is no message"));
        }
        let (mut changes, mut region) = (Vec::new(), 0);
        changes.try_reserve_exact(words.left()).map_err(|_| Errno::ENOMEM)?;
        while words.optional("mapping").is_some() {
            changes.push(self.change(words, &mut region)?);
        }
        for change in changes {
            match change {
                Change::One(region, path) => self.regions.set(region, path),
                Change::Repeat { last, cycle, count } => {
                    for region in (last + 1..=last + count).take(count as usize) {
                        self.regions.set(region, self.regions.get(region - cycle));
                    }
                }
            }
        }
        Ok(())
    }

    fn computes(&self) -> bool {
        true
    }
}
