//! CBC: every block is mixed with the cipher text before it.
//!
//! Blocks of one sector wait for each other when they are encrypted, so the sectors of a run
//! go side by side.

use crate::blocks::{Block, BlockRun, CHUNK, Chunk, Decrypting, Encrypting, Way, mix, xor};
use crate::mode::{Mode, Run};
use cipher::consts::U16;
use cipher::{
    BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncBackend,
    BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser,
};

pub(crate) struct Cbc<C>(pub(crate) C);

struct Encrypt<'a, 'i, 'o> {
    ivs: &'a [Block],
    run: BlockRun<'i, 'o>,
}

struct Decrypt<'a, 'i, 'o> {
    ivs: &'a [Block],
    run: BlockRun<'i, 'o>,
}

impl BlockSizeUser for Encrypt<'_, '_, '_> {
    type BlockSize = U16;
}

impl BlockSizeUser for Decrypt<'_, '_, '_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Encrypt<'_, '_, '_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(mut self, backend: &B) {
        let units = self.ivs.len();
        debug_assert!(units <= CHUNK);
        let unit = self.run.len() / units.max(1);
        let mut chains: Chunk = [Block::default(); CHUNK];
        chains.iter_mut().zip(self.ivs).for_each(|(chain, iv)| *chain = *iv);
        for nr in 0..unit {
            let column = self.run.get_in().iter().skip(nr).step_by(unit);
            chains.iter_mut().zip(column).for_each(|(chain, block)| mix(chain, block));
            Encrypting(backend).all(&mut chains, units);
            let column = self.run.get_out().iter_mut().skip(nr).step_by(unit);
            column.zip(&chains).for_each(|(block, chain)| *block = *chain);
        }
    }
}

impl BlockCipherDecClosure for Decrypt<'_, '_, '_> {
    #[inline(always)]
    fn call<B: BlockCipherDecBackend<BlockSize = U16>>(self, backend: &B) {
        let Self { ivs, mut run } = self;
        let unit = (run.len() / ivs.len().max(1)).max(1);
        let mut ivs = ivs.iter();
        let (mut at, mut last) = (0, Block::default());
        let mut masks: Chunk = [Block::default(); CHUNK];
        let mut chunk = masks;
        while !run.is_empty() {
            let used = run.len().min(CHUNK);
            let (mut here, rest) = run.split_at(used);
            let blocks = masks.iter_mut().zip(&mut chunk).zip(here.get_in());
            for ((mask, block), from) in blocks {
                if at == 0 {
                    last = ivs.next().copied().unwrap_or_default();
                }
                at = (at + 1) % unit;
                *mask = last;
                last = *from;
                *block = *from;
            }
            Decrypting(backend).all(&mut chunk, used);
            xor(here.get_out(), &chunk, &masks);
            run = rest;
        }
    }
}

impl<C> Mode for Cbc<C>
where
    C: BlockCipherEncrypt<BlockSize = U16> + BlockCipherDecrypt + Send + Sync,
{
    fn encrypt(&self, ivs: &mut [Block], run: Run<'_, '_>) {
        self.0.encrypt_with_backend(Encrypt { ivs, run });
    }

    fn decrypt(&self, ivs: &mut [Block], run: Run<'_, '_>) {
        self.0.decrypt_with_backend(Decrypt { ivs, run });
    }
}
