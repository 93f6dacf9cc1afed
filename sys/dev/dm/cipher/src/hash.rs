//! The hashes that a key's salt may be made with, by Linux's names.

use alloc::string::String;
use alloc::vec::Vec;
use md5::Md5;
use ripemd::Ripemd160;
use sha1::{Digest, Sha1};
use sha2::{Sha224, Sha256, Sha384, Sha512};
use whirlpool::Whirlpool;
use zeroize::Zeroizing;

/// A hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// `md5`
    Md5,
    /// `rmd160`
    Rmd160,
    /// `sha1`
    Sha1,
    /// `sha224`
    Sha224,
    /// `sha256`
    Sha256,
    /// `sha384`
    Sha384,
    /// `sha512`
    Sha512,
    /// `wp256`, `wp384` and `wp512`: so many bytes of Whirlpool.
    Whirlpool(usize),
}

const NAMES: &[(&str, Hash)] = &[
    ("md5", Hash::Md5),
    ("rmd160", Hash::Rmd160),
    ("sha1", Hash::Sha1),
    ("sha224", Hash::Sha224),
    ("sha256", Hash::Sha256),
    ("sha384", Hash::Sha384),
    ("sha512", Hash::Sha512),
    ("wp256", Hash::Whirlpool(32)),
    ("wp384", Hash::Whirlpool(48)),
    ("wp512", Hash::Whirlpool(64)),
];

impl Hash {
    pub(crate) fn find(name: &str) -> Result<Self, String> {
        match NAMES.iter().find(|(known, _)| *known == name) {
            Some((_, hash)) => Ok(*hash),
            None => {
                let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
                let names = names.join(", ");
                Err(alloc::format!("there is no hash \"{name}\"; there are {names}"))
            }
        }
    }

    /// The bytes of a digest.
    #[must_use]
    pub const fn length(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Rmd160 | Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
            Self::Whirlpool(bytes) => bytes,
        }
    }

    pub(crate) fn digest(self, data: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut digest = match self {
            Self::Md5 => Md5::digest(data).to_vec(),
            Self::Rmd160 => Ripemd160::digest(data).to_vec(),
            Self::Sha1 => Sha1::digest(data).to_vec(),
            Self::Sha224 => Sha224::digest(data).to_vec(),
            Self::Sha256 => Sha256::digest(data).to_vec(),
            Self::Sha384 => Sha384::digest(data).to_vec(),
            Self::Sha512 => Sha512::digest(data).to_vec(),
            Self::Whirlpool(_) => Whirlpool::digest(data).to_vec(),
        };
        digest.truncate(self.length());
        Zeroizing::new(digest)
    }
}
