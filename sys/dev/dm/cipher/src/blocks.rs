//! Many blocks at once, whatever the block cipher and however many it likes to take together.

use alloc::boxed::Box;
use cipher::array::Array;
use cipher::consts::{U8, U16};
use cipher::inout::{InOut, InOutBuf};
use cipher::typenum::Unsigned;
use cipher::{
    BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncBackend,
    BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, ParBlocks, ParBlocksSizeUser,
};

/// All block ciphers of Linux's disks work on 16 bytes.
pub type Block = Array<u8, U16>;
/// Blocks of a run that a mode works on.
pub(crate) type BlockRun<'i, 'o> = InOutBuf<'i, 'o, Block>;

/// How many blocks a mode prepares before the cipher sees them: as many as the widest processor
/// takes at once. Software takes four, and then the stack may be a kernel's.
pub(crate) const CHUNK: usize = if cfg!(aes_backend = "soft") { 16 } else { 64 };
pub(crate) type Chunk = [Block; CHUNK];

/// A few more single blocks than this take longer than a whole batch that is partly for nothing.
const SINGLE_MAX: usize = 16;

/// A block cipher with its key.
pub(crate) trait Blocks: Send + Sync {
    fn encrypt(&self, blocks: &mut [Block]);
    fn decrypt(&self, blocks: &mut [Block]);
}

impl<C> Blocks for C
where
    C: BlockCipherEncrypt<BlockSize = U16> + BlockCipherDecrypt + Send + Sync,
{
    fn encrypt(&self, blocks: &mut [Block]) {
        self.encrypt_blocks(blocks);
    }

    fn decrypt(&self, blocks: &mut [Block]) {
        self.decrypt_blocks(blocks);
    }
}

/// A block cipher that is no AES. The modes are compiled once for all of these.
pub(crate) struct Other(pub(crate) Box<dyn Blocks>);

impl BlockSizeUser for Other {
    type BlockSize = U16;
}

impl ParBlocksSizeUser for Other {
    type ParBlocksSize = U8;
}

impl BlockCipherEncrypt for Other {
    fn encrypt_with_backend(&self, act: impl BlockCipherEncClosure<BlockSize = U16>) {
        act.call(self);
    }
}

impl BlockCipherDecrypt for Other {
    fn decrypt_with_backend(&self, act: impl BlockCipherDecClosure<BlockSize = U16>) {
        act.call(self);
    }
}

impl BlockCipherEncBackend for Other {
    fn encrypt_block(&self, mut block: InOut<'_, '_, Block>) {
        let mut one = [block.clone_in()];
        self.0.encrypt(&mut one);
        [*block.get_out()] = one;
    }

    fn encrypt_par_blocks(&self, mut blocks: InOut<'_, '_, ParBlocks<Self>>) {
        let mut all = blocks.clone_in();
        self.0.encrypt(&mut all);
        *blocks.get_out() = all;
    }
}

impl BlockCipherDecBackend for Other {
    fn decrypt_block(&self, mut block: InOut<'_, '_, Block>) {
        let mut one = [block.clone_in()];
        self.0.decrypt(&mut one);
        [*block.get_out()] = one;
    }

    fn decrypt_par_blocks(&self, mut blocks: InOut<'_, '_, ParBlocks<Self>>) {
        let mut all = blocks.clone_in();
        self.0.decrypt(&mut all);
        *blocks.get_out() = all;
    }
}

/// One direction of a block cipher, compiled for the processor at hand.
pub(crate) trait Way {
    /// The first `used` blocks; what stands in the others afterwards means nothing.
    fn all(&self, chunk: &mut Chunk, used: usize);
}

pub(crate) struct Encrypting<'a, B>(pub(crate) &'a B);
pub(crate) struct Decrypting<'a, B>(pub(crate) &'a B);

/// How many blocks go in batches of `batch`, and how many singly behind them.
#[inline(always)]
fn share(used: usize, batch: usize) -> (usize, usize) {
    let (whole, rest) = (used - used % batch, used % batch);
    match whole + batch {
        padded if rest > SINGLE_MAX && padded <= CHUNK => (padded, 0),
        _ => (whole, rest),
    }
}

impl<B: BlockCipherEncBackend<BlockSize = U16>> Way for Encrypting<'_, B> {
    #[inline(always)]
    fn all(&self, chunk: &mut Chunk, used: usize) {
        let (batched, single) = share(used, B::ParBlocksSize::USIZE);
        let (batched, rest) = chunk.split_at_mut(batched.min(CHUNK));
        for blocks in InOutBuf::from(batched).into_chunks().0 {
            self.0.encrypt_par_blocks(blocks);
        }
        for block in rest.iter_mut().take(single) {
            self.0.encrypt_block(InOut::from(block));
        }
    }
}

impl<B: BlockCipherDecBackend<BlockSize = U16>> Way for Decrypting<'_, B> {
    #[inline(always)]
    fn all(&self, chunk: &mut Chunk, used: usize) {
        let (batched, single) = share(used, B::ParBlocksSize::USIZE);
        let (batched, rest) = chunk.split_at_mut(batched.min(CHUNK));
        for blocks in InOutBuf::from(batched).into_chunks().0 {
            self.0.decrypt_par_blocks(blocks);
        }
        for block in rest.iter_mut().take(single) {
            self.0.decrypt_block(InOut::from(block));
        }
    }
}

#[inline(always)]
pub(crate) fn mix(to: &mut Block, from: &Block) {
    to.0 = (u128::from_ne_bytes(to.0) ^ u128::from_ne_bytes(from.0)).to_ne_bytes();
}

#[inline(always)]
pub(crate) fn xor(to: &mut [Block], one: &[Block], two: &[Block]) {
    for ((to, one), two) in to.iter_mut().zip(one).zip(two) {
        to.0 = (u128::from_ne_bytes(one.0) ^ u128::from_ne_bytes(two.0)).to_ne_bytes();
    }
}
