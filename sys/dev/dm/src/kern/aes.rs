//! AES that the platform lends.

use super::raw;

pub use dm_cipher::{Block, Lender, LentAes, Run, wipe};

/// Who lends, if anybody does.
#[must_use]
pub fn lender() -> Option<&'static dyn Lender> {
    raw::dm_kern_aes()
}
