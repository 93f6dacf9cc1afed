//! XTS: every block is mixed with its own multiple of the sector's encrypted vector.
//! IEEE 1619, without stealing, since sectors are whole blocks.

use crate::blocks::{Block, BlockRun, CHUNK, Chunk, Decrypting, Encrypting, Way, xor};
use crate::mode::{Mode, Run};
use cipher::consts::U16;
use cipher::{
    BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncBackend,
    BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser,
};

pub(crate) struct Xts<C> {
    pub(crate) data: C,
    pub(crate) tweak: C,
}

/// Multiples are made in this many lanes, which do not wait for each other. It divides the
/// blocks of every sector; a run that is shorter is the only one.
const LANES: usize = 8;

/// Eight multiples in a row, in halves, so that a wide processor computes them together.
struct Lanes {
    low: [u64; LANES],
    high: [u64; LANES],
}

/// The mask behind a mask: times x.
#[inline(always)]
pub(crate) fn next(mask: &Block) -> Block {
    twice(u128::from_le_bytes(mask.0)).to_le_bytes().into()
}

#[inline(always)]
fn twice(value: u128) -> u128 {
    let carry = (value.cast_signed() >> 127).cast_unsigned() & 0x87;
    (value << 1) ^ carry
}

impl Lanes {
    #[inline(always)]
    fn of(tweak: &Block) -> Self {
        let mut lanes = Self { low: [0; LANES], high: [0; LANES] };
        let mut value = u128::from_le_bytes(tweak.0);
        for (low, high) in lanes.low.iter_mut().zip(&mut lanes.high) {
            *low = value as u64;
            *high = (value >> 64) as u64;
            value = twice(value);
        }
        lanes
    }

    /// Writes the eight multiples and goes on to the next: times x to the eighth.
    #[inline(always)]
    fn next(&mut self, masks: &mut [Block]) {
        for (mask, (low, high)) in masks.iter_mut().zip(self.low.iter_mut().zip(&mut self.high)) {
            mask.0 = (u128::from(*low) | u128::from(*high) << 64).to_le_bytes();
            let carry = *high >> 56;
            *high = *high << 8 | *low >> 56;
            *low = *low << 8 ^ carry ^ carry << 1 ^ carry << 2 ^ carry << 7;
        }
    }
}

struct Work<'a, 'i, 'o> {
    tweaks: &'a [Block],
    run: BlockRun<'i, 'o>,
}

impl Work<'_, '_, '_> {
    #[inline(always)]
    fn go(self, way: &impl Way) {
        let mut run = self.run;
        let unit = run.len() / self.tweaks.len().max(1);
        let mut tweaks = self.tweaks.iter();
        let mut lanes = Lanes { low: [0; LANES], high: [0; LANES] };
        let mut left = 0;
        let mut masks: Chunk = [Block::default(); CHUNK];
        let mut chunk = masks;
        while !run.is_empty() {
            let used = run.len().min(CHUNK);
            let (mut here, rest) = run.split_at(used);
            for masks in masks.chunks_exact_mut(LANES).take(used.div_ceil(LANES)) {
                if left == 0 {
                    left = unit;
                    lanes = tweaks.next().map_or(lanes, Lanes::of);
                }
                left -= LANES.min(left);
                lanes.next(masks);
            }
            xor(&mut chunk, here.get_in(), &masks);
            way.all(&mut chunk, used);
            xor(here.get_out(), &chunk, &masks);
            run = rest;
        }
    }
}

impl BlockSizeUser for Work<'_, '_, '_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Work<'_, '_, '_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        self.go(&Encrypting(backend));
    }
}

impl BlockCipherDecClosure for Work<'_, '_, '_> {
    #[inline(always)]
    fn call<B: BlockCipherDecBackend<BlockSize = U16>>(self, backend: &B) {
        self.go(&Decrypting(backend));
    }
}

impl<C> Mode for Xts<C>
where
    C: BlockCipherEncrypt<BlockSize = U16> + BlockCipherDecrypt + Send + Sync,
{
    fn encrypt(&self, ivs: &mut [Block], run: Run<'_, '_>) {
        self.tweak.encrypt_blocks(ivs);
        self.data.encrypt_with_backend(Work { tweaks: ivs, run });
    }

    fn decrypt(&self, ivs: &mut [Block], run: Run<'_, '_>) {
        self.tweak.encrypt_blocks(ivs);
        self.data.decrypt_with_backend(Work { tweaks: ivs, run });
    }
}
