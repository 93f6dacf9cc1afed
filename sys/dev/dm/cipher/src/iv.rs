//! Where the initial vector of a sector comes from.

use crate::blocks::Block;
use crate::hash::Hash;

/// Where the initial vector of a sector comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Iv {
    /// There is none: each block stands by itself.
    None,
    /// 32 bits of the sector's number, little-endian.
    Plain,
    /// 64 bits, little-endian.
    Plain64,
    /// 64 bits, big-endian, at the end.
    Plain64be,
    /// `Plain64`, encrypted with a hash of the key.
    Essiv(Hash),
    /// The number of the sector's first block, counted from 1, big-endian, at the end.
    Benbi,
    /// Zeroes.
    Null,
    /// The sector's place in bytes, encrypted with the key itself.
    Eboiv,
    /// `Eboiv`, of plain text that BitLocker's diffuser has stirred.
    Elephant,
    /// Loop-AES: a hash of the sector's number and of all blocks but the first.
    Lmk,
    /// TrueCrypt before 4.1: a part of the key, mixed with the sector's number.
    Tcw,
}

/// A sector of 512 bytes has so many blocks, as a power of two.
const BLOCKS_SHIFT: u32 = 5;

impl Iv {
    /// The vector of a sector before anything is encrypted. `sector` counts what the format
    /// counts, and `unit` is the length of a sector in bytes.
    #[inline]
    pub(crate) fn block(self, sector: u64, unit: u64) -> Block {
        let low = |number: u64| u128::from(number).to_le_bytes().into();
        let high = |number: u64| u128::from(number).to_be_bytes().into();
        match self {
            Self::Plain => low(sector & u64::from(u32::MAX)),
            Self::Plain64 | Self::Essiv(_) | Self::Lmk | Self::Tcw => low(sector),
            Self::Plain64be => high(sector),
            Self::Benbi => high((sector << BLOCKS_SHIFT).wrapping_add(1)),
            Self::Eboiv | Self::Elephant => low(sector.wrapping_mul(unit)),
            Self::None | Self::Null => Block::default(),
        }
    }

    /// True if it depends on nothing but the sector's number.
    pub(crate) const fn is_plain(self) -> bool {
        use Iv::{Benbi, None, Null, Plain, Plain64, Plain64be};
        matches!(self, None | Null | Plain | Plain64 | Plain64be | Benbi)
    }

    /// True if a vector longer than a block has its number at the end.
    pub(crate) const fn at_end(self) -> bool {
        matches!(self, Self::Plain64be | Self::Benbi)
    }
}
