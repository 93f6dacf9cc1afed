//! Device numbers.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

/// A block device's number. Written `major:minor`, as in a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DevNo {
    /// The driver, 0 to 4095.
    pub major: u32,
    /// The unit, 0 to 1048575.
    pub minor: u32,
}

impl DevNo {
    /// The largest minor that a device number holds.
    pub const MINOR_MAX: u32 = 0xf_ffff;
    /// The largest major that a device number holds.
    pub const MAJOR_MAX: u32 = 0xfff;

    /// As NetBSD packs a `dev_t` (sys/types.h): the form of the wire on every system.
    #[must_use]
    pub const fn to_wire(self) -> u64 {
        let (major, minor) = (self.major as u64, self.minor as u64);
        ((major << 8) & 0x000f_ff00) | ((minor << 12) & 0xfff0_0000) | (minor & 0xff)
    }

    /// The number that [`DevNo::to_wire`] packed.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "masked to 12 and 20 bits")]
    pub const fn from_wire(packed: u64) -> Self {
        Self {
            major: ((packed & 0x000f_ff00) >> 8) as u32,
            minor: (((packed & 0xfff0_0000) >> 12) | (packed & 0xff)) as u32,
        }
    }
}

impl fmt::Display for DevNo {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.major, self.minor)
    }
}

impl FromStr for DevNo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || String::from("expected major:minor");
        let (major, minor) = text.split_once(':').ok_or_else(wrong)?;
        let number = |digits: &str, max: u32| {
            let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse().ok().filter(|&n| all_digits && n <= max).ok_or_else(wrong)
        };
        Ok(Self { major: number(major, Self::MAJOR_MAX)?, minor: number(minor, Self::MINOR_MAX)? })
    }
}
