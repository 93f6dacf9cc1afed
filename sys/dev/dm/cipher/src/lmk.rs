//! Loop-AES: the vector is a hash of the sector's number and of all blocks but the first, and
//! so known before a sector is encrypted, but only after it is decrypted.

use crate::blocks::Block;
use crate::mode::{Mode, Run};
use alloc::boxed::Box;
use zeroize::Zeroizing;

/// What MD5 begins with.
const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

pub(crate) struct Lmk {
    mode: Box<dyn Mode>,
    seed: Option<Zeroizing<[u8; 64]>>,
}

impl Lmk {
    /// With 65 keys the last is a seed, of which as much counts as MD5 has bytes.
    pub(crate) fn new(mode: Box<dyn Mode>, bytes: &[u8]) -> Self {
        let seed = (!bytes.is_empty()).then(|| {
            let mut seed = Zeroizing::new([0; 64]);
            seed.iter_mut().zip(bytes.iter().take(16)).for_each(|(to, from)| *to = *from);
            seed
        });
        Self { mode, seed }
    }

    /// `iv` holds the sector's number. MD5 without its end: everything fills its blocks.
    fn vector(&self, iv: &Block, sector: &[Block]) -> Block {
        let mut state = START;
        if let Some(seed) = &self.seed {
            md5::block_api::compress(&mut state, &[**seed]);
        }
        let [low, high, ..] = iv.0.as_chunks::<4>().0 else { return Block::default() };
        let high = u32::from_le_bytes(*high) & 0x00ff_ffff | 0x8000_0000;
        let mut end = Block::default();
        let words = [*low, high.to_le_bytes(), 4024_u32.to_le_bytes(), [0; 4]];
        end.0.as_chunks_mut().0.iter_mut().zip(words).for_each(|(to, from)| *to = from);
        let mut blocks = sector.iter().skip(1).chain([&end]);
        loop {
            let mut whole = [0; 64];
            let mut filled = 0;
            let parts = whole.as_chunks_mut::<16>().0.iter_mut();
            for (part, block) in parts.zip(blocks.by_ref()) {
                *part = block.0;
                filled += 1;
            }
            if filled != 4 {
                break;
            }
            md5::block_api::compress(&mut state, &[whole]);
        }
        let mut vector = Block::default();
        let parts = vector.0.as_chunks_mut().0.iter_mut();
        parts.zip(state).for_each(|(to, word)| *to = word.to_le_bytes());
        vector
    }
}

impl Mode for Lmk {
    fn encrypt(&self, ivs: &mut [Block], run: Run<'_, '_>) {
        let unit = (run.len() / ivs.len().max(1)).max(1);
        for (iv, sector) in ivs.iter_mut().zip(run.get_in().chunks_exact(unit)) {
            *iv = self.vector(iv, sector);
        }
        self.mode.encrypt(ivs, run);
    }

    fn decrypt(&self, ivs: &mut [Block], run: Run<'_, '_>) {
        let unit = (run.len() / ivs.len().max(1)).max(1);
        let blocks = run.into_out_with_copied_in();
        for (iv, sector) in ivs.iter().zip(blocks.chunks_exact_mut(unit)) {
            self.mode.decrypt(&mut [Block::default()], sector.into());
            let vector = self.vector(iv, sector);
            if let Some(first) = sector.first_mut() {
                first.iter_mut().zip(vector).for_each(|(byte, mask)| *byte ^= mask);
            }
        }
    }
}
