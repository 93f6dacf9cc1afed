//! The words of a raid's table line.

use crate::lower::Lower;
use crate::params::Params;
use crate::target::Setup;
use crate::targets::copies::{MEMBERS_MAX, Shape, bit};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use dm_protocol::{Errno, Failure};

/// How sectors lie on the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Chunks in turn, without copies.
    Raid0,
    /// Every member holds everything.
    Raid1,
    /// Chunks in turn, each several times.
    Raid10,
}

/// Where the copies of a chunk lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Next to it.
    Near,
    /// In the second half of the next members.
    Far,
    /// Below it, on the next members.
    Offset,
}

/// A member, as a table names it.
pub struct Device {
    /// Where its superblock and its bitmap are.
    pub meta: Option<Lower>,
    /// Its sectors. Without it the member is missing.
    pub data: Option<Lower>,
}

/// A table line.
pub struct Args {
    /// As the table names it.
    pub name: &'static str,
    pub level: Level,
    pub chunk: u64,
    /// `sync` or `nosync`.
    pub sync: Option<bool>,
    /// Members that are to be rebuilt, by bit.
    pub rebuild: u64,
    pub daemon_sleep_ms: Option<u64>,
    pub least_rate: Option<u64>,
    pub most_rate: Option<u64>,
    /// Members that are read only when there is no other, by bit.
    pub write_mostly: u64,
    pub write_behind: Option<u64>,
    pub region: Option<u64>,
    pub copies: Option<u64>,
    pub format: Option<Format>,
    /// Far copies go round all members, not sets of them.
    pub near_sets: bool,
    /// `data_offset 0` was given.
    pub no_offset: bool,
    pub devices: Vec<Device>,
    /// Sectors of the segment.
    pub length: u64,
    /// Sectors of each member in use.
    pub each: u64,
    /// Sectors of a region.
    pub region_sectors: u64,
}

/// The types there are. Those without a level are not done here.
const TYPES: [(&str, Option<Level>); 20] = [
    ("raid0", Some(Level::Raid0)),
    ("raid1", Some(Level::Raid1)),
    ("raid10", Some(Level::Raid10)),
    ("raid10_near", Some(Level::Raid10)),
    ("raid10_far", Some(Level::Raid10)),
    ("raid10_offset", Some(Level::Raid10)),
    ("raid4", None),
    ("raid5_n", None),
    ("raid5_ls", None),
    ("raid5_rs", None),
    ("raid5_la", None),
    ("raid5_ra", None),
    ("raid6_zr", None),
    ("raid6_nr", None),
    ("raid6_nc", None),
    ("raid6_n_6", None),
    ("raid6_ls_6", None),
    ("raid6_rs_6", None),
    ("raid6_la_6", None),
    ("raid6_ra_6", None),
];

/// The region that Linux takes when none is given.
const REGION: u64 = 8192;
/// The most regions a bitmap has.
const REGIONS_MAX: u64 = 1 << 21;
/// The smallest chunk.
const CHUNK_MIN: u64 = 8;
/// Numbers are read into 31 bits.
const NUMBER_MAX: u64 = i32::MAX as u64;

impl Args {
    /// Reads a table line and opens its devices.
    pub fn parse(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Self, Failure> {
        let word = params.word("raid type")?;
        let known = TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
        let (name, level) = match known {
            Some((name, Some(level))) => (*name, *level),
            Some((_, None)) => return Err(params.refuse("raid 4, 5 and 6 are not done here")),
            None => return Err(params.refuse("is no type of raid")),
        };
        let mut args = Self {
            name,
            level,
            chunk: 0,
            sync: None,
            rebuild: 0,
            daemon_sleep_ms: None,
            least_rate: None,
            most_rate: None,
            write_mostly: 0,
            write_behind: None,
            region: None,
            copies: None,
            format: None,
            near_sets: false,
            no_offset: false,
            devices: Vec::new(),
            length: setup.length().0,
            each: 0,
            region_sectors: 0,
        };
        args.parse_options(params)?;
        args.parse_devices(setup, params)?;
        params.end()?;
        args.check_options()?;
        args.check_size()?;
        args.check_devices()?;
        Ok(args)
    }

    fn parse_options(&mut self, params: &mut Params<'_>) -> Result<(), Failure> {
        let mut left = params.number("raid parameters", 1..=1024)?;
        left = left.saturating_sub(1);
        let chunk = params.number("chunk", 0..=NUMBER_MAX)?;
        self.chunk = match self.level {
            // Nothing is in chunks.
            Level::Raid1 => 0,
            _ if chunk < CHUNK_MIN => {
                return Err(params.refuse(&format!("is less than {CHUNK_MIN}")));
            }
            _ if !chunk.is_power_of_two() => return Err(params.refuse("is no power of two")),
            _ => chunk,
        };
        while left != 0 {
            let word = params.word("raid parameter")?;
            left = left.saturating_sub(1);
            if self.take_flag(word, params)? {
                continue;
            }
            left = left.checked_sub(1).ok_or_else(|| params.refuse("lacks its value"))?;
            self.take_value(&word.to_ascii_lowercase(), params)?;
        }
        Ok(())
    }

    /// A parameter without a value; false if it is none.
    fn take_flag(&mut self, word: &str, params: &Params<'_>) -> Result<bool, Failure> {
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        if is("sync") || is("nosync") {
            self.allow(self.level != Level::Raid0, params)?;
            if self.sync.replace(is("sync")).is_some() {
                return Err(params.refuse("sync or nosync was given before"));
            }
            return Ok(true);
        }
        if is("raid10_use_near_sets") {
            self.allow(self.level == Level::Raid10, params)?;
            Self::only(core::mem::replace(&mut self.near_sets, true), params)?;
            return Ok(true);
        }
        Ok(false)
    }

    fn take_value(&mut self, key: &str, params: &mut Params<'_>) -> Result<(), Failure> {
        let (raid0, raid1, raid10) =
            (self.level == Level::Raid0, self.level == Level::Raid1, self.level == Level::Raid10);
        match key {
            "rebuild" | "write_mostly" => {
                self.allow(if key == "rebuild" { !raid0 } else { raid1 }, params)?;
                let member = params.number("member", 0..=MEMBERS_MAX as u64 - 1)? as usize;
                let set = if key == "rebuild" { &mut self.rebuild } else { &mut self.write_mostly };
                let before = *set & bit(member) != 0;
                *set |= bit(member);
                Self::only(before, params)
            }
            "daemon_sleep" => Self::once(&mut self.daemon_sleep_ms, !raid0, params),
            "min_recovery_rate" => Self::once(&mut self.least_rate, !raid0, params),
            "max_recovery_rate" => Self::once(&mut self.most_rate, !raid0, params),
            "max_write_behind" => Self::once(&mut self.write_behind, raid1, params),
            "region_size" => Self::once(&mut self.region, !raid0, params),
            "raid10_copies" => Self::once(&mut self.copies, raid10, params),
            "raid10_format" => self.take_format(params),
            "data_offset" => {
                if params.number("data_offset", 0..=NUMBER_MAX)? != 0 {
                    return Err(params.refuse("sets are not reshaped here, so it is 0"));
                }
                Self::only(core::mem::replace(&mut self.no_offset, true), params)
            }
            "delta_disks" => {
                params.word("delta_disks")?;
                Err(params.refuse("sets are not reshaped here"))
            }
            "stripe_cache" | "journal_dev" | "journal_mode" => {
                Err(params.refuse("is for raid 4, 5 and 6, which are not done here"))
            }
            _ => Err(params.refuse("is no parameter of raid")),
        }
    }

    fn allow(&self, allowed: bool, params: &Params<'_>) -> Result<(), Failure> {
        match allowed {
            true => Ok(()),
            false => Err(params.refuse(&format!("is no parameter of {}", self.name))),
        }
    }

    /// A number that may be given once.
    fn once(
        value: &mut Option<u64>,
        allowed: bool,
        params: &mut Params<'_>,
    ) -> Result<(), Failure> {
        if !allowed {
            return Err(params.refuse("is no parameter of this type"));
        }
        let number = params.number("value", 0..=NUMBER_MAX)?;
        Self::only(value.replace(number).is_some(), params)
    }

    /// What was given before is refused.
    fn only(before: bool, params: &Params<'_>) -> Result<(), Failure> {
        match before {
            false => Ok(()),
            true => Err(params.refuse("was given before")),
        }
    }

    fn take_format(&mut self, params: &mut Params<'_>) -> Result<(), Failure> {
        self.allow(self.level == Level::Raid10, params)?;
        let word = params.word("format")?;
        let format = match word {
            _ if word.eq_ignore_ascii_case("near") => Format::Near,
            _ if word.eq_ignore_ascii_case("far") => Format::Far,
            _ if word.eq_ignore_ascii_case("offset") => Format::Offset,
            _ => return Err(params.refuse("is not near, far or offset")),
        };
        Self::only(self.format.replace(format).is_some(), params)
    }

    fn parse_devices(
        &mut self,
        setup: &mut Setup<'_>,
        params: &mut Params<'_>,
    ) -> Result<(), Failure> {
        let most = if self.level == Level::Raid0 { 253 } else { MEMBERS_MAX as u64 };
        let count = params.number("members", 1..=most)?;
        for member in 0..count {
            let meta = setup.device_if_any(params)?;
            let data = setup.device_if_any(params)?;
            if data.is_none() && meta.is_some() {
                return Err(params.refuse("a member with metadata needs its data"));
            }
            if data.is_none() && self.rebuild & bit(member as usize) != 0 {
                return Err(params.refuse("a member that is to be rebuilt needs a device"));
            }
            self.devices.push(Device { meta, data });
        }
        Ok(())
    }

    fn check_options(&self) -> Result<(), Failure> {
        let members = self.devices.len();
        let all = if members == 64 { u64::MAX } else { bit(members).wrapping_sub(1) };
        let none = (self.rebuild | self.write_mostly) & !all;
        if none != 0 {
            let member = none.trailing_zeros();
            return refuse(format!("there is no member {member}, since there are {members}"));
        }
        let why = if self.rebuild != 0 && self.sync.is_some() {
            "rebuild and sync or nosync exclude each other"
        } else if self.write_mostly == all && self.level == Level::Raid1 {
            "not all members can be write_mostly"
        } else if self.most_rate.is_some_and(|most| most != 0 && self.least_rate > Some(most)) {
            "min_recovery_rate is more than max_recovery_rate"
        } else if self.format_of_name().is_some_and(|named| named != self.shown_format()) {
            "the type names another format than raid10_format"
        } else if self.near_sets && self.shown_format() == Format::Near {
            "raid10_use_near_sets is for the formats far and offset"
        } else if self.level == Level::Raid10 && self.shown_copies() > members as u64 {
            "there are fewer members than copies"
        } else if self.level == Level::Raid10 && self.shown_copies() < 2 {
            "raid10 needs two copies"
        } else {
            return Ok(());
        };
        refuse(why)
    }

    fn check_size(&mut self) -> Result<(), Failure> {
        let (length, members) = (self.length, self.devices.len() as u64);
        self.each = match self.level {
            Level::Raid1 => length,
            Level::Raid0 => {
                let each = length / members.max(1);
                let even = length.is_multiple_of(members.max(1)) && each.is_multiple_of(self.chunk);
                Some(each).filter(|_| even).unwrap_or(0)
            }
            Level::Raid10 => self.shape().and_then(|s| s.member_sectors(length)).unwrap_or(0),
        };
        if self.each == 0 {
            return refuse(format!(
                "{length} sectors do not fill chunks of {} on {members} members evenly",
                self.chunk
            ));
        }
        if self.level == Level::Raid0 {
            return Ok(());
        }
        let least = length / REGIONS_MAX;
        let usual = REGION.max(least.next_power_of_two()).max(self.chunk);
        self.region_sectors = self.region.filter(|region| *region != 0).unwrap_or(usual);
        let region = self.region_sectors;
        // What 0 stands for is shown, and is taken again.
        let long = region > length && region != usual;
        if !region.is_power_of_two() || long || region < least || region < self.chunk {
            return refuse(format!(
                "a region_size of {region} is no power of two, or not from {} to {length}",
                least.max(self.chunk)
            ));
        }
        Ok(())
    }

    fn check_devices(&self) -> Result<(), Failure> {
        for device in &self.devices {
            let Some(data) = &device.data else { continue };
            data.check_range(dm_protocol::Sector(0), dm_protocol::Sectors(self.each))?;
            let unit = u64::from(data.sector_size() / 512).max(1);
            let chunk = if self.chunk == 0 { self.region_sectors } else { self.chunk };
            if !chunk.is_multiple_of(unit) {
                return refuse(format!("{chunk} sectors are no whole sectors of {data}"));
            }
            if device.meta.is_some() != self.devices.iter().any(|d| d.meta.is_some()) {
                return refuse("all members that are there have metadata, or none");
            }
        }
        if self.level == Level::Raid0 && self.devices.iter().any(|device| device.data.is_none()) {
            return refuse("raid0 needs all its members");
        }
        Ok(())
    }

    /// The format that the type's name says.
    fn format_of_name(&self) -> Option<Format> {
        match self.name {
            "raid10_near" => Some(Format::Near),
            "raid10_far" => Some(Format::Far),
            "raid10_offset" => Some(Format::Offset),
            _ => None,
        }
    }

    /// The format; near if none is given.
    pub fn shown_format(&self) -> Format {
        self.format.unwrap_or(Format::Near)
    }

    /// The copies; two if no number is given.
    pub fn shown_copies(&self) -> u64 {
        self.copies.unwrap_or(2)
    }

    /// What a raid10 is made of.
    pub fn shape(&self) -> Option<Shape> {
        if self.level != Level::Raid10 {
            return None;
        }
        let copies = self.shown_copies();
        let format = self.shown_format();
        let (near, far) = match format {
            Format::Near => (copies, 1),
            Format::Far | Format::Offset => (1, copies),
        };
        Some(Shape {
            members: self.devices.len() as u64,
            near,
            far,
            below: format == Format::Offset,
            sets: format != Format::Near && !self.near_sets,
            chunk: self.chunk,
        })
    }

    /// The number of the level, and of the layout, in superblocks.
    pub fn level_and_layout(&self) -> (u32, u32) {
        match (self.level, self.shape()) {
            (Level::Raid0, _) => (0, 0),
            (Level::Raid1, _) | (_, None) => (1, 0),
            (Level::Raid10, Some(shape)) => {
                let offset = if shape.below { 1 << 16 } else { 0 };
                let sets = if shape.sets { 1 << 18 } else { 0 };
                (10, offset | sets | (shape.far as u32) << 8 | shape.near as u32)
            }
        }
    }

    /// How long a region is left alone before its mark is taken back.
    pub fn sleep_ms(&self) -> u64 {
        self.daemon_sleep_ms.filter(|ms| *ms != 0).unwrap_or(5000)
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::new(Errno::EINVAL, why))
}
