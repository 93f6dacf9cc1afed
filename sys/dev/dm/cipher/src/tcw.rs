//! TrueCrypt before 4.1: vectors are a part of the key mixed with the sector's number, and
//! the cipher text is whitened with another part.

use crate::blocks::Block;
use crate::mode::{Mode, Run};
use alloc::boxed::Box;
use zeroize::Zeroizing;

/// A vector's seed and the whitening, behind the key of the cipher.
pub(crate) const SEED_BYTES: usize = 32;

pub(crate) struct Tcw {
    mode: Box<dyn Mode>,
    seed: Zeroizing<[u8; 16]>,
    whitening: Zeroizing<[u8; 16]>,
}

/// Twice the number that `iv` holds.
fn twice(iv: &Block) -> [u8; 16] {
    let number = u128::from_le_bytes(iv.0);
    (number | number << 64).to_le_bytes()
}

/// CRC-32, without the ones that it usually begins and ends with.
fn crc32(bytes: [u8; 4]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    (0..32).fold(u32::from_le_bytes(bytes), step)
}

impl Tcw {
    pub(crate) fn new(mode: Box<dyn Mode>, seed_bytes: &[u8]) -> Self {
        let (mut seed, mut whitening) = (Zeroizing::new([0; 16]), Zeroizing::new([0; 16]));
        let to = seed.iter_mut().chain(whitening.iter_mut());
        to.zip(seed_bytes).for_each(|(to, from)| *to = *from);
        Self { mode, seed, whitening }
    }

    fn vector(&self, iv: &Block) -> Block {
        let mut vector = Block::from(twice(iv));
        vector.iter_mut().zip(self.seed.iter()).for_each(|(to, seed)| *to ^= seed);
        vector
    }

    fn whiten(&self, iv: &Block, sector: &mut [Block]) {
        let mut mixed = twice(iv);
        mixed.iter_mut().zip(self.whitening.iter()).for_each(|(to, white)| *to ^= white);
        let [a, b, c, d] = mixed.as_chunks::<4>().0 else { return };
        let [a, b, c, d] = [*a, *b, *c, *d].map(crc32);
        let mask = u64::from(a ^ d) | u64::from(b ^ c) << 32;
        let mask = (u128::from(mask) | u128::from(mask) << 64).to_le_bytes();
        for block in sector {
            block.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        }
    }
}

impl Mode for Tcw {
    fn encrypt(&self, ivs: &mut [Block], run: Run<'_, '_>) {
        let unit = (run.len() / ivs.len().max(1)).max(1);
        let blocks = run.into_out_with_copied_in();
        for (iv, sector) in ivs.iter().zip(blocks.chunks_exact_mut(unit)) {
            self.mode.encrypt(&mut [self.vector(iv)], (&mut *sector).into());
            self.whiten(iv, sector);
        }
    }

    fn decrypt(&self, ivs: &mut [Block], run: Run<'_, '_>) {
        let unit = (run.len() / ivs.len().max(1)).max(1);
        let blocks = run.into_out_with_copied_in();
        for (iv, sector) in ivs.iter().zip(blocks.chunks_exact_mut(unit)) {
            self.whiten(iv, sector);
            self.mode.decrypt(&mut [self.vector(iv)], sector.into());
        }
    }
}
