//! BitLocker's diffuser: plain text is mixed with a key of its sector and stirred, word by
//! word, before it is encrypted like `eboiv`.

use crate::blocks::{Block, Blocks};
use crate::mode::{Mode, Run};
use alloc::boxed::Box;

pub(crate) struct Elephant {
    pub(crate) mode: Box<dyn Mode>,
    /// Makes the keys of sectors.
    pub(crate) sectors: Box<dyn Blocks>,
}

/// One of the two ways to stir: every word takes from two others, so far ahead of it in the
/// ring of all words, and of the second a few bits turned, as is its turn.
struct Stir {
    rounds: usize,
    near: isize,
    far: isize,
    turns: [u32; 4],
}

const A: Stir = Stir { rounds: 5, near: -2, far: -5, turns: [9, 0, 13, 0] };
const B: Stir = Stir { rounds: 3, near: 2, far: 5, turns: [0, 10, 0, 25] };

type Words<'a> = &'a mut [[u8; 4]];

impl Stir {
    /// What the word at `at` takes.
    fn taken(&self, words: &[[u8; 4]], at: usize) -> u32 {
        let count = words.len();
        let word = |ahead: isize| {
            let place = at.wrapping_add(count).wrapping_add_signed(ahead) % count.max(1);
            words.get(place).map_or(0, |word| u32::from_le_bytes(*word))
        };
        let turn = self.turns.get(at % 4).copied().unwrap_or_default();
        word(self.near) ^ word(self.far).rotate_left(turn)
    }

    fn step(&self, words: Words<'_>, at: usize, act: impl Fn(u32, u32) -> u32) {
        let taken = self.taken(words, at);
        if let Some(word) = words.get_mut(at) {
            *word = act(u32::from_le_bytes(*word), taken).to_le_bytes();
        }
    }

    fn undo(&self, words: Words<'_>) {
        for _ in 0..self.rounds {
            (0..words.len()).for_each(|at| self.step(words, at, u32::wrapping_add));
        }
    }

    fn go(&self, words: Words<'_>) {
        for _ in 0..self.rounds {
            (0..words.len()).rev().for_each(|at| self.step(words, at, u32::wrapping_sub));
        }
    }
}

impl Elephant {
    /// The initial vector and the key of the sector at a place.
    fn of(&self, place: &Block) -> (Block, [Block; 2]) {
        let mut vector = Block::default();
        self.mode.encrypt(&mut [*place], core::slice::from_mut(&mut vector).into());
        let mut second = *place;
        if let Some(last) = second.last_mut() {
            *last = 0x80;
        }
        let mut key = [*place, second];
        self.sectors.encrypt(&mut key);
        (vector, key)
    }

    fn mix(sector: &mut [Block], key: &[Block; 2]) {
        for (block, key) in sector.iter_mut().zip(key.iter().cycle()) {
            block.iter_mut().zip(key).for_each(|(byte, mask)| *byte ^= mask);
        }
    }
}

fn words(sector: &mut [Block]) -> Words<'_> {
    Block::slice_as_flattened_mut(sector).as_chunks_mut().0
}

impl Mode for Elephant {
    fn encrypt(&self, ivs: &mut [Block], run: Run<'_, '_>) {
        let unit = (run.len() / ivs.len().max(1)).max(1);
        let blocks = run.into_out_with_copied_in();
        for (place, sector) in ivs.iter().zip(blocks.chunks_exact_mut(unit)) {
            let (vector, key) = self.of(place);
            Self::mix(sector, &key);
            A.go(words(sector));
            B.go(words(sector));
            self.mode.encrypt(&mut [vector], sector.into());
        }
    }

    fn decrypt(&self, ivs: &mut [Block], run: Run<'_, '_>) {
        let unit = (run.len() / ivs.len().max(1)).max(1);
        let blocks = run.into_out_with_copied_in();
        for (place, sector) in ivs.iter().zip(blocks.chunks_exact_mut(unit)) {
            let (vector, key) = self.of(place);
            self.mode.decrypt(&mut [vector], (&mut *sector).into());
            B.undo(words(sector));
            A.undo(words(sector));
            Self::mix(sector, &key);
        }
    }
}
