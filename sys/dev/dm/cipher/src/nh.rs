//! NHPoly1305, the hash of Adiantum: NH over pieces of 1 KiB, Poly1305 over what that gives.

use crate::blocks::Block;
use alloc::boxed::Box;
use alloc::vec::Vec;
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit;
use zeroize::Zeroizing;

/// Words of the key of NH.
const KEY_WORDS: usize = 268;
/// Blocks that NH makes one number of each pass of.
const PIECE_BLOCKS: usize = 64;
const PASSES: usize = 4;
/// The most bytes that NH gives for one sector of 4096 bytes.
const SUMS_BYTES: usize = 4 * PASSES * 8;

/// The bytes of a key.
pub(crate) const KEY_BYTES: usize = 16 + KEY_WORDS * 4;

/// The hash with its key.
pub(crate) struct NhPoly1305 {
    poly: Zeroizing<[u8; 32]>,
    words: Zeroizing<Box<[[u32; 4]]>>,
}

/// Poly1305 without the number that a message's tag adds.
pub(crate) fn poly(key: &[u8; 32], data: &[u8]) -> u128 {
    u128::from_le_bytes(Poly1305::new(key.into()).compute_unpadded(data).into())
}

/// A key for [`poly`].
pub(crate) fn poly_key(bytes: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    key.iter_mut().zip(bytes.iter().take(16)).for_each(|(to, from)| *to = *from);
    key
}

#[inline(always)]
fn words(bytes: &[u8; 16]) -> [u32; 4] {
    let all = u128::from_le_bytes(*bytes);
    [all as u32, (all >> 32) as u32, (all >> 64) as u32, (all >> 96) as u32]
}

impl NhPoly1305 {
    /// `key` has [`KEY_BYTES`].
    pub(crate) fn new(key: &[u8]) -> Self {
        let (poly, rest) = key.split_at(key.len().min(16));
        let rows = rest.as_chunks().0.iter().map(words).collect::<Vec<_>>();
        Self { poly: poly_key(poly), words: Zeroizing::new(rows.into_boxed_slice()) }
    }

    /// The hash of at most 256 blocks.
    pub(crate) fn hash(&self, blocks: &[Block]) -> u128 {
        let mut sums = [0; SUMS_BYTES];
        let mut used = 0;
        for (piece, sums) in blocks.chunks(PIECE_BLOCKS).zip(sums.chunks_exact_mut(PASSES * 8)) {
            let (sums, _) = sums.as_chunks_mut::<8>();
            for (sum, to) in self.nh(piece).into_iter().zip(sums) {
                *to = sum.to_le_bytes();
                used += 8;
            }
        }
        poly(&self.poly, sums.get(..used).unwrap_or_default())
    }

    #[inline]
    fn nh(&self, piece: &[Block]) -> [u64; PASSES] {
        let mut sums = [0_u64; PASSES];
        for (block, keys) in piece.iter().zip(self.words.windows(PASSES)) {
            let [a, b, c, d] = words(&block.0);
            for (sum, key) in sums.iter_mut().zip(keys) {
                let [k, l, m, n] = *key;
                let one = u64::from(a.wrapping_add(k)) * u64::from(c.wrapping_add(m));
                let two = u64::from(b.wrapping_add(l)) * u64::from(d.wrapping_add(n));
                *sum = sum.wrapping_add(one).wrapping_add(two);
            }
        }
        sums
    }
}
