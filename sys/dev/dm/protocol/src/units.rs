//! Units of the wire: everything is counted in 512-byte sectors, whatever the device's own.

use core::fmt;

/// Bytes in one sector, the unit of every table.
pub const SECTOR_SIZE: u64 = 512;

/// A position on a device, in sectors from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sector(pub u64);

/// A length in sectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sectors(pub u64);

impl Sector {
    /// The position `by` sectors further on, or `None` beyond 2^64 - 1.
    #[must_use]
    pub const fn checked_add(self, by: Sectors) -> Option<Self> {
        match self.0.checked_add(by.0) {
            Some(at) => Some(Self(at)),
            None => None,
        }
    }

    /// The distance from `earlier` to here; zero when `earlier` lies behind.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Sectors {
        Sectors(self.0.saturating_sub(earlier.0))
    }

    /// The position in bytes, or `None` beyond 2^64 - 1.
    #[must_use]
    pub const fn bytes(self) -> Option<u64> {
        self.0.checked_mul(SECTOR_SIZE)
    }
}

impl Sectors {
    /// No sectors.
    pub const ZERO: Self = Self(0);

    /// Whole sectors in `bytes`; the rest is cut off.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes / SECTOR_SIZE)
    }

    /// The length in bytes, or `None` beyond 2^64 - 1.
    #[must_use]
    pub const fn bytes(self) -> Option<u64> {
        self.0.checked_mul(SECTOR_SIZE)
    }

    /// This length less `by`, at least zero.
    #[must_use]
    pub const fn less(self, by: Self) -> Self {
        Self(self.0.saturating_sub(by.0))
    }

    /// True for a length of zero.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Sector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl fmt::Display for Sectors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}
