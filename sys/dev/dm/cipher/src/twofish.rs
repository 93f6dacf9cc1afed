//! Twofish, with the key's substitutions worked out in tables: four of 1 KiB for each key.
//!
//! The crate of that name works them out for every byte of every block, and is a hundred times
//! slower. It is the judge in our tests.

use crate::blocks::{Block, Blocks};
use alloc::boxed::Box;
use zeroize::Zeroize;

/// The fixed permutations, from the cipher's definition: two of eight bits out of eight of four.
static Q: [[u8; 256]; 2] = [
    permutation(&[
        [0x8, 0x1, 0x7, 0xd, 0x6, 0xf, 0x3, 0x2, 0x0, 0xb, 0x5, 0x9, 0xe, 0xc, 0xa, 0x4],
        [0xe, 0xc, 0xb, 0x8, 0x1, 0x2, 0x3, 0x5, 0xf, 0x4, 0xa, 0x6, 0x7, 0x0, 0x9, 0xd],
        [0xb, 0xa, 0x5, 0xe, 0x6, 0xd, 0x9, 0x0, 0xc, 0x8, 0xf, 0x3, 0x2, 0x4, 0x7, 0x1],
        [0xd, 0x7, 0xf, 0x4, 0x1, 0x2, 0x6, 0xe, 0x9, 0xb, 0x3, 0x0, 0x8, 0x5, 0xc, 0xa],
    ]),
    permutation(&[
        [0x2, 0x8, 0xb, 0xd, 0xf, 0x7, 0x6, 0xe, 0x3, 0x1, 0x9, 0x4, 0x0, 0xa, 0xc, 0x5],
        [0x1, 0xe, 0x2, 0xb, 0x4, 0xc, 0x3, 0x7, 0x6, 0xd, 0xa, 0x5, 0xf, 0x9, 0x0, 0x8],
        [0x4, 0xc, 0x7, 0x5, 0x1, 0x6, 0x9, 0xa, 0x0, 0xe, 0xd, 0x8, 0x2, 0xb, 0x3, 0xf],
        [0xb, 0x9, 0x5, 0x1, 0xc, 0x3, 0xd, 0xe, 0x6, 0x4, 0x7, 0xf, 0x2, 0x0, 0x8, 0xa],
    ]),
];

/// The maximum distance separable matrix, a row for each byte that comes out.
const MDS: [[u8; 4]; 4] = [
    [0x01, 0xef, 0x5b, 0x5b],
    [0x5b, 0xef, 0xef, 0x01],
    [0xef, 0x5b, 0x01, 0xef],
    [0xef, 0x01, 0xef, 0x5b],
];
const MDS_POLYNOMIAL: u16 = 0x169;

/// The Reed-Solomon matrix, which makes the substitutions' words of the key.
const RS: [[u8; 8]; 4] = [
    [0x01, 0xa4, 0x55, 0x87, 0x5a, 0x58, 0xdb, 0x9e],
    [0xa4, 0x56, 0x82, 0xf3, 0x1e, 0xc6, 0x68, 0xe5],
    [0x02, 0xa1, 0xfc, 0xc1, 0x47, 0xae, 0x3d, 0x19],
    [0xa4, 0x55, 0x87, 0x5a, 0x58, 0xdb, 0x9e, 0x03],
];
const RS_POLYNOMIAL: u16 = 0x14d;

/// Which permutation each of the four bytes goes through at each step, the last step first.
const STEPS: [[usize; 4]; 5] =
    [[1, 0, 1, 0], [0, 0, 1, 1], [0, 1, 0, 1], [1, 1, 0, 0], [1, 0, 0, 1]];

const ROUNDS: usize = 16;

pub(crate) struct Twofish {
    tables: Box<[[u32; 256]; 4]>,
    whitening: [[u32; 4]; 2],
    rounds: [[u32; 2]; ROUNDS],
}

#[expect(clippy::indexing_slicing, reason = "four bits index sixteen entries, at compile time")]
const fn permutation(small: &[[u8; 16]; 4]) -> [u8; 256] {
    let mut table = [0; 256];
    let mut nr = 0;
    while nr < 256 {
        let (a, b) = (nr as u8 >> 4, nr as u8 & 15);
        let (c, d) = (a ^ b, a ^ (b >> 1 | b << 3 & 15) ^ (a << 3 & 15));
        let (a, b) = (small[0][c as usize], small[1][d as usize]);
        let (c, d) = (a ^ b, a ^ (b >> 1 | b << 3 & 15) ^ (a << 3 & 15));
        table[nr] = small[3][d as usize] << 4 | small[2][c as usize];
        nr += 1;
    }
    table
}

/// Multiplies in the field of 256 with a polynomial.
const fn multiply(one: u8, two: u8, polynomial: u16) -> u8 {
    let (mut one, mut two, mut product) = (one as u16, two, 0);
    while two != 0 {
        product ^= one * (two & 1) as u16;
        one <<= 1;
        one ^= polynomial * (one >> 8);
        two >>= 1;
    }
    product as u8
}

/// What a byte at `place` adds to the word that comes out of the matrix.
fn spread(place: usize, byte: u8) -> u32 {
    let column = MDS.map(|row| row.get(place).map_or(0, |by| multiply(byte, *by, MDS_POLYNOMIAL)));
    u32::from_le_bytes(column)
}

#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "a byte indexes 256 entries, a word's byte four")]
fn substitute(step: usize, place: usize, byte: u8) -> u8 {
    Q[STEPS[step][place]][byte as usize]
}

/// The function h for one byte: through the words of the list, the last word first.
fn through(place: usize, byte: u8, list: &[[u8; 4]]) -> u32 {
    let mut byte = byte;
    for (nr, word) in list.iter().enumerate().rev() {
        let word = word.get(place).copied().unwrap_or_default();
        byte = substitute(nr + 1, place, byte) ^ word;
    }
    spread(place, substitute(0, place, byte))
}

fn h(byte: u8, list: &[[u8; 4]]) -> u32 {
    (0..4).fold(0, |word, place| word ^ through(place, byte, list))
}

impl Twofish {
    /// `key` has 16, 24 or 32 bytes.
    pub(crate) fn new(key: &[u8]) -> Self {
        let mut even = [[0; 4]; 4];
        let mut odd = [[0; 4]; 4];
        let mut salts = [[0; 4]; 4];
        let eights = key.as_chunks::<8>().0;
        let used = eights.len().min(4);
        for (nr, eight) in eights.iter().take(used).enumerate() {
            let [one, two] = eight.as_chunks::<4>().0 else { continue };
            if let (Some(even), Some(odd)) = (even.get_mut(nr), odd.get_mut(nr)) {
                (*even, *odd) = (*one, *two);
            }
            // The last words of the key come first.
            if let Some(salt) = salts.get_mut(used - 1 - nr) {
                *salt = RS.map(|row| {
                    let products = row.iter().zip(eight);
                    products.fold(0, |sum, (by, byte)| sum ^ multiply(*byte, *by, RS_POLYNOMIAL))
                });
            }
        }
        let lists = [&even, &odd, &salts].map(|list| list.get(..used).unwrap_or_default());
        let pair = |nr: u8| {
            let a = h(2 * nr, lists[0]);
            let b = h(2 * nr + 1, lists[1]).rotate_left(8);
            let a = a.wrapping_add(b);
            [a, a.wrapping_add(b).rotate_left(9)]
        };
        let four = |nr| {
            let ([a, b], [c, d]) = (pair(nr), pair(nr + 1));
            [a, b, c, d]
        };
        let mut tables = Box::new([[0; 256]; 4]);
        for (place, table) in tables.iter_mut().enumerate() {
            for (byte, word) in (0..=255).zip(table) {
                *word = through(place, byte, lists[2]);
            }
        }
        let mut rounds = [[0; 2]; ROUNDS];
        rounds.iter_mut().zip(4..).for_each(|(round, nr)| *round = pair(nr));
        let made = Self { tables, whitening: [four(0), four(2)], rounds };
        [even, odd, salts].zeroize();
        made
    }

    #[inline(always)]
    #[expect(clippy::indexing_slicing, reason = "a byte indexes 256 entries")]
    fn g(&self, word: u32) -> u32 {
        let [a, b, c, d] = word.to_le_bytes();
        let [one, two, three, four] = &*self.tables;
        one[a as usize] ^ two[b as usize] ^ three[c as usize] ^ four[d as usize]
    }

    #[inline(always)]
    fn pair(&self, a: u32, b: u32, [k, l]: &[u32; 2]) -> (u32, u32) {
        let (one, two) = (self.g(a), self.g(b.rotate_left(8)));
        let sum = one.wrapping_add(two);
        (sum.wrapping_add(*k), sum.wrapping_add(two).wrapping_add(*l))
    }

    fn encrypt_block(&self, block: &mut Block) {
        let [mut a, mut b, mut c, mut d] = mixed(load(block), &self.whitening[0]);
        for key in &self.rounds {
            let (f, g) = self.pair(a, b, key);
            (a, b, c, d) = ((c ^ f).rotate_right(1), d.rotate_left(1) ^ g, a, b);
        }
        store(block, mixed([c, d, a, b], &self.whitening[1]));
    }

    fn decrypt_block(&self, block: &mut Block) {
        let [mut c, mut d, mut a, mut b] = mixed(load(block), &self.whitening[1]);
        for key in self.rounds.iter().rev() {
            let (f, g) = self.pair(c, d, key);
            (a, b, c, d) = (c, d, a.rotate_left(1) ^ f, (b ^ g).rotate_right(1));
        }
        store(block, mixed([a, b, c, d], &self.whitening[0]));
    }
}

#[inline(always)]
fn load(block: &Block) -> [u32; 4] {
    let all = u128::from_le_bytes(block.0);
    [all as u32, (all >> 32) as u32, (all >> 64) as u32, (all >> 96) as u32]
}

#[inline(always)]
fn store(block: &mut Block, [a, b, c, d]: [u32; 4]) {
    let (low, high) = (u64::from(a) | u64::from(b) << 32, u64::from(c) | u64::from(d) << 32);
    block.0 = (u128::from(low) | u128::from(high) << 64).to_le_bytes();
}

#[inline(always)]
fn mixed([a, b, c, d]: [u32; 4], [k, l, m, n]: &[u32; 4]) -> [u32; 4] {
    [a ^ k, b ^ l, c ^ m, d ^ n]
}

impl Blocks for Twofish {
    fn encrypt(&self, blocks: &mut [Block]) {
        blocks.iter_mut().for_each(|block| self.encrypt_block(block));
    }

    fn decrypt(&self, blocks: &mut [Block]) {
        blocks.iter_mut().for_each(|block| self.decrypt_block(block));
    }
}

impl Drop for Twofish {
    fn drop(&mut self) {
        self.tables.zeroize();
        self.whitening.zeroize();
        self.rounds.zeroize();
    }
}
