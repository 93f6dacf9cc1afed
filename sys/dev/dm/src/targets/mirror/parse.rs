//! The words of a mirror's table line.

use crate::lower::Lower;
use crate::params::Params;
use crate::target::Setup;
use crate::targets::copies::MEMBERS_MAX;
use alloc::format;
use alloc::vec::Vec;
use core::fmt;
use dm_protocol::{Failure, Sector};

/// The most regions: what a kernel gives at once is enough for them.
const REGIONS_MAX: u64 = 1 << 23;

/// Where the log is.
pub enum LogKind {
    /// In memory.
    Core,
    /// On a device.
    Disk(Lower),
}

/// What a table says of whether the legs are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// What the log says.
    None,
    /// They are not.
    Sync,
    /// They are.
    Nosync,
}

/// A table line.
pub struct Line {
    pub log: LogKind,
    pub region_sectors: u64,
    pub word: Word,
    pub legs: Vec<(Lower, Sector)>,
    pub handle_errors: bool,
    pub keep_log: bool,
}

impl Line {
    /// Reads a table line and opens its devices.
    pub fn parse(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Self, Failure> {
        let (log, region_sectors, word) = parse_log(setup, params)?;
        let count = params.number("legs", 2..=MEMBERS_MAX as u64)?;
        let mut legs = Vec::new();
        for _ in 0..count {
            let length = setup.length();
            let (lower, offset) = setup.place(params, length)?;
            check_region(&lower, region_sectors, params)?;
            legs.push((lower, offset));
        }
        let mut line =
            Self { log, region_sectors, word, legs, handle_errors: false, keep_log: false };
        line.parse_features(params)?;
        params.end()?;
        Ok(line)
    }

    fn parse_features(&mut self, params: &mut Params<'_>) -> Result<(), Failure> {
        if params.left() == 0 {
            return Ok(());
        }
        for _ in 0..params.number("features", 0..=2)? {
            match params.word("feature")? {
                "handle_errors" => self.handle_errors = true,
                "keep_log" => self.keep_log = true,
                _ => return Err(params.refuse("is no feature of mirror")),
            }
        }
        match self.keep_log && !self.handle_errors {
            true => Err(params.refuse("needs handle_errors, too")),
            false => Ok(()),
        }
    }

    /// Writes the line as a table has it.
    pub fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let words = u32::from(self.word != Word::None);
        match &self.log {
            LogKind::Core => write!(out, "core {}", 1 + words)?,
            LogKind::Disk(lower) => write!(out, "disk {} {lower}", 2 + words)?,
        }
        write!(out, " {}", self.region_sectors)?;
        match self.word {
            Word::None => {}
            Word::Sync => out.write_str(" sync")?,
            Word::Nosync => out.write_str(" nosync")?,
        }
        write!(out, " {}", self.legs.len())?;
        for (lower, offset) in &self.legs {
            write!(out, " {lower} {offset}")?;
        }
        match (self.handle_errors, self.keep_log) {
            (false, _) => Ok(()),
            (true, false) => out.write_str(" 1 handle_errors"),
            (true, true) => out.write_str(" 2 handle_errors keep_log"),
        }
    }
}

/// The log: its type, how many words it has, and these.
fn parse_log(
    setup: &mut Setup<'_>,
    params: &mut Params<'_>,
) -> Result<(LogKind, u64, Word), Failure> {
    let disk = match params.word("log")? {
        "core" => false,
        "disk" => true,
        _ => return Err(params.refuse("is no log known here; there are core and disk")),
    };
    let least = 1 + u64::from(disk);
    let words = params.number("log words", least..=least + 1)?;
    let log = match disk {
        true => LogKind::Disk(setup.device(params)?),
        false => LogKind::Core,
    };
    let length = setup.length().0;
    let region_sectors = params.number("region size", 2..=u64::from(u32::MAX))?;
    if !region_sectors.is_power_of_two() {
        return Err(params.refuse("is no power of two"));
    }
    if region_sectors > length {
        return Err(params.refuse(&format!("is more than the segment's {length} sectors")));
    }
    let regions = length.div_ceil(region_sectors);
    if regions > REGIONS_MAX {
        let why = format!("makes {regions} regions, and there are at most {REGIONS_MAX}");
        return Err(params.refuse(&why));
    }
    if words == least {
        return Ok((log, region_sectors, Word::None));
    }
    let word = match params.word("sync")? {
        "sync" => Word::Sync,
        "nosync" => Word::Nosync,
        _ => return Err(params.refuse("is neither sync nor nosync")),
    };
    Ok((log, region_sectors, word))
}

/// Writes end with regions, so these must be made of whole sectors.
fn check_region(lower: &Lower, region: u64, params: &Params<'_>) -> Result<(), Failure> {
    let unit = u64::from(lower.sector_size() / 512).max(1);
    match region.is_multiple_of(unit) {
        true => Ok(()),
        false => {
            let why =
                format!("a region of {region} is no multiple of its sectors, which have {unit}");
            Err(params.refuse(&why))
        }
    }
}
