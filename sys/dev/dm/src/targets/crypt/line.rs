//! The table line: `cipher key iv_offset device offset [options...]`.

use crate::lower::Lower;
use crate::params::Params;
use crate::target::{Keys, Setup};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use dm_cipher::{Format, Key, Spec};
use dm_protocol::{Errno, Failure, Sector};

/// What a line says, but for its key.
pub(super) struct Line {
    /// The cipher as the line spells it.
    word: String,
    pub(super) spec: Spec,
    /// What is added to a sector's number before a vector is made from it.
    pub(super) iv_offset: u64,
    pub(super) lower: Lower,
    pub(super) offset: Sector,
    pub(super) options: Options,
}

/// The options. Those that only say how Linux's threads share the work are kept to be printed.
pub(super) struct Options {
    pub(super) format: Format,
    large: bool,
    switches: Vec<Switch>,
}

/// An option that is there or not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Switch {
    AllowDiscards,
    SameCpuCrypt,
    HighPriority,
    SubmitFromCryptCpus,
    NoReadWorkqueue,
    NoWriteWorkqueue,
}

/// In the order in which Linux prints them, but for the length of sectors.
const SWITCHES: [(Switch, &str); 6] = [
    (Switch::AllowDiscards, "allow_discards"),
    (Switch::SameCpuCrypt, "same_cpu_crypt"),
    (Switch::HighPriority, "high_priority"),
    (Switch::SubmitFromCryptCpus, "submit_from_crypt_cpus"),
    (Switch::NoReadWorkqueue, "no_read_workqueue"),
    (Switch::NoWriteWorkqueue, "no_write_workqueue"),
];
const LARGE: &str = "iv_large_sectors";
const LENGTH: &str = "sector_size:";

/// As many as there can be without saying one twice.
const OPTIONS_MAX: u64 = SWITCHES.len() as u64 + 2;

const KEYRING: &str = "keys of a keyring are not supported; give the key in hexadecimal digits";
const TAGS: &str = "tags need a device below that keeps them, which there is none of yet";

impl Line {
    /// Reads a line.
    pub(super) fn parse(
        setup: &mut Setup<'_>,
        params: &mut Params<'_>,
    ) -> Result<(Self, Key), Failure> {
        let word = params.word("cipher")?.to_string();
        let spec = Spec::parse(&word).map_err(|why| params.refuse(&why))?;
        let key = parse_key(params)?;
        spec.check_key(key.bytes().len()).map_err(|why| params.refuse(&why))?;
        let iv_offset = params.number("iv_offset", 0..=u64::MAX)?;
        let (lower, offset) = setup.place(params, setup.length())?;
        let options = Options::parse(params)?;
        params.end()?;
        let format = options.format;
        spec.check_format(format).map_err(|why| Failure::new(Errno::EINVAL, why))?;
        for (what, sectors) in
            [("length", setup.length().0), ("iv_offset", iv_offset), ("offset", offset.0)]
        {
            if !sectors.is_multiple_of(format.step()) {
                let message = format!(
                    "the {what} of {sectors} sectors is no multiple of its sectors of {} bytes",
                    format.sector_bytes()
                );
                return Err(Failure::new(Errno::EINVAL, message));
            }
        }
        Ok((Self { word, spec, iv_offset, lower, offset, options }, key))
    }

    /// Writes a line.
    pub(super) fn write(&self, out: &mut dyn fmt::Write, key: &Key, keys: Keys) -> fmt::Result {
        write!(out, "{} ", self.word)?;
        match keys {
            Keys::Shown => key.write(out)?,
            Keys::Hidden => key.write_hidden(out)?,
        }
        write!(out, " {} {} {}", self.iv_offset, self.lower, self.offset)?;
        self.options.write(out)
    }
}

/// Reads a key; no refusal repeats it.
pub(super) fn parse_key(params: &mut Params<'_>) -> Result<Key, Failure> {
    let word = params.secret("key")?;
    if word.starts_with(':') {
        return Err(params.refuse(KEYRING));
    }
    Key::parse(word).map_err(|why| params.refuse(&why))
}

impl Options {
    pub(super) fn has(&self, switch: Switch) -> bool {
        self.switches.contains(&switch)
    }

    fn parse(params: &mut Params<'_>) -> Result<Self, Failure> {
        let (mut bytes, mut large, mut switches) = (512, false, Vec::new());
        let count = match params.left() {
            0 => 0,
            _ => params.number("number of options", 0..=OPTIONS_MAX)?,
        };
        for _ in 0..count {
            let word = params.word("option")?;
            let known = |(_, name): &&(Switch, &str)| word.eq_ignore_ascii_case(name);
            if let Some((switch, _)) = SWITCHES.iter().find(known) {
                switches.push(*switch);
            } else if word.eq_ignore_ascii_case(LARGE) {
                large = true;
            } else if let Some(length) = word.strip_prefix(LENGTH) {
                bytes = length.parse().unwrap_or(0);
                Format::new(bytes, large)
                    .ok_or_else(|| params.refuse("sectors have 512, 1024, 2048 or 4096 bytes"))?;
            } else if word.starts_with("integrity") {
                return Err(params.refuse(TAGS));
            } else {
                return Err(params.refuse("is no option"));
            }
        }
        Ok(Self { format: Format::new(bytes, large).unwrap_or(Format::SMALL), large, switches })
    }

    fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let on = || SWITCHES.iter().filter(|(switch, _)| self.has(*switch));
        let bytes = self.format.sector_bytes();
        let count = on().count() + usize::from(bytes != 512) + usize::from(self.large);
        if count == 0 {
            return Ok(());
        }
        write!(out, " {count}")?;
        on().try_for_each(|(_, name)| write!(out, " {name}"))?;
        if bytes != 512 {
            write!(out, " {LENGTH}{bytes}")?;
        }
        if self.large {
            write!(out, " {LARGE}")?;
        }
        Ok(())
    }
}
