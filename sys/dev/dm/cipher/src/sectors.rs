//! Runs of sectors: which key, which vector, then the mode.

use crate::blocks::{Block, BlockRun, Blocks, CHUNK};
use crate::iv::Iv;
use crate::key::Key;
use crate::lent::Lender;
use crate::mode::{self, Aes, Mode};
use crate::spec::{Chain, Cipher, Spec};
use crate::stack;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use cipher::inout::InOutBuf;

/// How long sectors are, and how they are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    shift: u32,
    large: bool,
}

impl Format {
    /// Sectors of 512 bytes.
    pub const SMALL: Self = Self { shift: 0, large: false };

    /// Sectors of 512, 1024, 2048 or 4096 bytes; `None` for other lengths. With `large`,
    /// vectors are made from how many of these come before, else from how many of 512 bytes.
    #[must_use]
    pub fn new(sector_bytes: u64, large: bool) -> Option<Self> {
        let shift = [512, 1024, 2048, 4096].iter().position(|known| *known == sector_bytes)?;
        Some(Self { shift: shift as u32, large })
    }

    /// The length of a sector.
    #[must_use]
    pub const fn sector_bytes(self) -> usize {
        512 << self.shift
    }

    /// How many of 512 bytes a sector has.
    #[must_use]
    pub const fn step(self) -> u64 {
        1 << self.shift
    }
}

/// Encrypts and decrypts sectors. It is never changed; wiped when it is dropped.
pub struct SectorCipher {
    keys: Vec<Keyed>,
    iv: Iv,
    format: Format,
    fast: bool,
}

struct Keyed {
    mode: Box<dyn Mode>,
    /// Encrypts vectors.
    salt: Option<Box<dyn Blocks>>,
}

/// So many vectors are made at once: no more sectors than can be encrypted side by side.
const BATCH: usize = if CHUNK < 32 { CHUNK } else { 32 };

#[derive(Clone, Copy)]
enum Direction {
    Encrypt,
    Decrypt,
}

impl SectorCipher {
    /// A cipher with its key.
    ///
    /// # Errors
    /// A sentence when the key does not fit the cipher, or the sectors do not.
    pub fn new(spec: &Spec, format: Format, key: &Key) -> Result<Self, String> {
        stack::making(|| Self::make(spec, format, key, None))
    }

    /// The same cipher with an AES that is lent, or `None` where AES is not what there is to do.
    ///
    /// # Errors
    /// A sentence about the lender when its AES does not do what ours does.
    pub fn lent(
        &self,
        spec: &Spec,
        key: &Key,
        lender: &dyn Lender,
    ) -> Result<Option<Self>, String> {
        if spec.cipher != Cipher::Aes || matches!(spec.chain, Chain::Adiantum { .. }) {
            return Ok(None);
        }
        let made = stack::making(|| Self::make(spec, self.format, key, Some(lender)))?;
        match self.agrees_with(&made)? {
            true => Ok(Some(made)),
            false => Err("it gives wrong answers".into()),
        }
    }

    /// Do both make the same of two sectors at least, and of one for each key?
    fn agrees_with(&self, other: &Self) -> Result<bool, String> {
        let unit = self.format.sector_bytes();
        let mut buffers = [const { Vec::new() }; 3];
        for buffer in &mut buffers {
            buffer.try_reserve_exact(unit).map_err(|_| String::from("there is no memory"))?;
            buffer.extend((0..unit).map(|nr| (nr ^ nr >> 8) as u8));
        }
        let [plain, ours, theirs] = &mut buffers;
        for nr in 0..self.keys.len().max(2) as u64 {
            let sector = nr * self.format.step();
            self.encrypt(sector, plain, ours);
            other.encrypt(sector, plain, theirs);
            if ours != theirs {
                return Ok(false);
            }
            other.decrypt_in_place(sector, theirs);
            if plain != theirs {
                return Ok(false);
            }
            // What comes next differs from what was before.
            core::mem::swap(plain, ours);
        }
        Ok(true)
    }

    fn make(spec: &Spec, format: Format, key: &Key, aes: Aes<'_>) -> Result<Self, String> {
        spec.check_key(key.bytes().len())?;
        spec.check_format(format)?;
        let share = spec.share(key.bytes().len());
        let (all, seed) = key.bytes().split_at(key.bytes().len().saturating_sub(share.seed));
        let mut keys = Vec::new();
        for nr in 0..spec.keys as usize {
            let own = all.get(nr * share.each..).and_then(|rest| rest.get(..share.each));
            let own = own.unwrap_or_default();
            let salt = match spec.iv {
                Iv::Essiv(hash) => Some(mode::blocks(spec.cipher, &hash.digest(own), aes)?),
                _ => None,
            };
            keys.push(Keyed { mode: mode::keyed(spec, own, seed, aes)?, salt });
        }
        let simple = !matches!(spec.chain, Chain::Adiantum { .. })
            && !matches!(spec.iv, Iv::Lmk | Iv::Elephant);
        let fast =
            simple && spec.cipher == Cipher::Aes && aes.is_none() && aes::hardware_accelerated();
        Ok(Self { keys, iv: spec.iv, format, fast })
    }

    /// The format of its sectors.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// True if the processor itself does the work: then a page takes a microsecond, else many.
    #[must_use]
    pub const fn is_fast(&self) -> bool {
        self.fast
    }

    /// Encrypts whole sectors of `from` into `to`, which has the same length. The first is
    /// number `sector`, in sectors of 512 bytes. What is left over is not touched.
    pub fn encrypt(&self, sector: u64, from: &[u8], to: &mut [u8]) {
        if let Ok(run) = InOutBuf::new(from, to) {
            self.go(Direction::Encrypt, sector, run);
        }
    }

    /// Encrypts whole sectors where they are.
    pub fn encrypt_in_place(&self, sector: u64, data: &mut [u8]) {
        self.go(Direction::Encrypt, sector, data.into());
    }

    /// Decrypts whole sectors where they are.
    pub fn decrypt_in_place(&self, sector: u64, data: &mut [u8]) {
        self.go(Direction::Decrypt, sector, data.into());
    }

    fn go(&self, direction: Direction, sector: u64, run: InOutBuf<'_, '_, u8>) {
        stack::work(|| self.run(direction, sector, run));
    }

    fn run(&self, direction: Direction, mut sector: u64, run: InOutBuf<'_, '_, u8>) {
        let mut run: BlockRun<'_, '_> = run.into_chunks().0;
        let unit = self.format.sector_bytes() / 16;
        // Keys take turns, so that with several each sector goes by itself.
        let batch = if self.keys.len() == 1 { BATCH } else { 1 };
        let mut ivs = [Block::default(); BATCH];
        loop {
            let units = (run.len() / unit).min(batch);
            let turn = sector & (self.keys.len() as u64).saturating_sub(1);
            let keyed = usize::try_from(turn).ok().and_then(|turn| self.keys.get(turn));
            let (Some(keyed), Some(ivs)) = (keyed, ivs.get_mut(..units)) else { return };
            if units == 0 {
                return;
            }
            let (here, rest) = run.split_at(units * unit);
            for iv in &mut *ivs {
                *iv = self.vector(sector);
                sector = sector.wrapping_add(self.format.step());
            }
            self.encrypt_vectors(keyed, ivs);
            match direction {
                Direction::Encrypt => keyed.mode.encrypt(ivs, here),
                Direction::Decrypt => keyed.mode.decrypt(ivs, here),
            }
            run = rest;
        }
    }

    #[inline]
    fn vector(&self, sector: u64) -> Block {
        let counted = if self.format.large { sector >> self.format.shift } else { sector };
        self.iv.block(counted, self.format.sector_bytes() as u64)
    }

    fn encrypt_vectors(&self, keyed: &Keyed, ivs: &mut [Block]) {
        if let Some(salt) = &keyed.salt {
            salt.encrypt(ivs);
        }
        if self.iv == Iv::Eboiv {
            // A block of zeroes in the mode's own way, from the place as its vector; with
            // several keys, the first.
            let mode = self.keys.first().map_or(&keyed.mode, |first| &first.mode);
            for iv in ivs {
                let mut place = [core::mem::take(iv)];
                mode.encrypt(&mut place, core::slice::from_mut(iv).into());
            }
        }
    }
}
