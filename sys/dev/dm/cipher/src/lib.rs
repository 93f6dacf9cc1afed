//! Sector ciphers, as Linux's dm-crypt names them and lays them out on disk.
//!
//! A [`Spec`] is what the cipher word of a table means: a block cipher, how blocks of a sector
//! are chained, and where a sector's initial vector comes from. With a [`Key`] it becomes a
//! [`SectorCipher`], which encrypts and decrypts runs of sectors. Nothing here knows devices,
//! tables or a platform, keeps state between calls, or allocates once the cipher is made.
//!
//! Time does not depend on keys and data with AES, Serpent, ChaCha and the hashes. Twofish and
//! Camellia look things up in tables, as they do in Linux's portable code.
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

extern crate alloc;

mod adiantum;
mod blocks;
mod cbc;
mod ecb;
mod elephant;
mod hash;
mod iv;
mod key;
mod lent;
mod lmk;
mod mode;
mod nh;
mod sectors;
mod spec;
mod stack;
mod tcw;
mod twofish;
mod xts;

pub use blocks::Block;
pub use hash::Hash;
pub use iv::Iv;
pub use key::Key;
pub use lent::{Lender, LentAes, wipe};
pub use mode::{Mode, Run};
pub use sectors::{Format, SectorCipher};
pub use spec::{Chain, Cipher, Spec};
