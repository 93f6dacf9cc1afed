//! AES that somebody else has and lends: a kernel, say, with its processor's instructions.
//!
//! What is lent is one block, or a run of blocks that are chained, from a vector on. All else,
//! such as vectors and which key a sector has, stays here.

use crate::blocks::{Block, Blocks, Other, mix};
use crate::ecb::Ecb;
use crate::mode::{Mode, Run};
use crate::spec::Chain;
use crate::xts;
use alloc::boxed::Box;
use alloc::string::String;
use zeroize::Zeroize;

/// Who has an AES to lend.
pub trait Lender: Send + Sync {
    /// What it is called, for people.
    fn name(&self) -> &str;
    /// Thread context; may allocate. AES with a key of 16, 24 or 32 bytes, which is wiped when
    /// it is dropped. `None` if it cannot be had.
    fn keyed(&self, key: &[u8]) -> Option<Box<dyn LentAes>>;
}

/// A lent AES with its key. It is called wherever requests are, and may neither sleep nor
/// allocate. Runs are never empty; a vector is used up. Chains are made of blocks unless the
/// lender has them too.
pub trait LentAes: Send + Sync {
    /// Encrypts a block.
    fn encrypt(&self, block: &mut Block);
    /// Decrypts a block.
    fn decrypt(&self, block: &mut Block);

    /// Encrypts a run in CBC.
    #[inline]
    fn encrypt_cbc(&self, iv: &mut Block, run: Run<'_, '_>) {
        for mut block in run {
            mix(iv, block.get_in());
            self.encrypt(iv);
            *block.get_out() = *iv;
        }
    }

    /// Decrypts a run in CBC.
    #[inline]
    fn decrypt_cbc(&self, iv: &mut Block, run: Run<'_, '_>) {
        for mut block in run {
            let from = block.clone_in();
            let mut plain = from;
            self.decrypt(&mut plain);
            mix(&mut plain, iv);
            *block.get_out() = plain;
            *iv = from;
        }
    }

    /// Encrypts a run in XTS, from its first mask on: the sector's vector, encrypted.
    #[inline]
    fn encrypt_xts(&self, mask: &mut Block, run: Run<'_, '_>) {
        masked(mask, run, |block| self.encrypt(block));
    }

    /// Decrypts a run in XTS.
    #[inline]
    fn decrypt_xts(&self, mask: &mut Block, run: Run<'_, '_>) {
        masked(mask, run, |block| self.decrypt(block));
    }
}

#[inline(always)]
fn masked(mask: &mut Block, run: Run<'_, '_>, act: impl Fn(&mut Block)) {
    for mut block in run {
        let mut work = block.clone_in();
        mix(&mut work, mask);
        act(&mut work);
        mix(&mut work, mask);
        *block.get_out() = work;
        *mask = xts::next(mask);
    }
}

/// What a lender drops a key with: zeroes, which no compiler leaves out.
pub fn wipe(schedule: &mut [u32]) {
    schedule.zeroize();
}

/// A lent AES as a block cipher.
struct Lent(Box<dyn LentAes>);

struct Cbc(Box<dyn LentAes>);

struct Xts {
    data: Box<dyn LentAes>,
    tweak: Box<dyn LentAes>,
}

/// Each sector of a run with its vector.
fn each(ivs: &mut [Block], mut run: Run<'_, '_>, act: impl Fn(&mut Block, Run<'_, '_>)) {
    let unit = run.len() / ivs.len().max(1);
    for iv in ivs {
        let (here, rest) = run.split_at(unit);
        act(iv, here);
        run = rest;
    }
}

impl Blocks for Lent {
    fn encrypt(&self, blocks: &mut [Block]) {
        blocks.iter_mut().for_each(|block| self.0.encrypt(block));
    }

    fn decrypt(&self, blocks: &mut [Block]) {
        blocks.iter_mut().for_each(|block| self.0.decrypt(block));
    }
}

impl Mode for Cbc {
    fn encrypt(&self, ivs: &mut [Block], run: Run<'_, '_>) {
        each(ivs, run, |iv, sector| self.0.encrypt_cbc(iv, sector));
    }

    fn decrypt(&self, ivs: &mut [Block], run: Run<'_, '_>) {
        each(ivs, run, |iv, sector| self.0.decrypt_cbc(iv, sector));
    }
}

impl Mode for Xts {
    fn encrypt(&self, ivs: &mut [Block], run: Run<'_, '_>) {
        each(ivs, run, |iv, sector| {
            self.tweak.encrypt(iv);
            self.data.encrypt_xts(iv, sector);
        });
    }

    fn decrypt(&self, ivs: &mut [Block], run: Run<'_, '_>) {
        each(ivs, run, |iv, sector| {
            self.tweak.encrypt(iv);
            self.data.decrypt_xts(iv, sector);
        });
    }
}

fn keyed(lender: &dyn Lender, key: &[u8]) -> Result<Box<dyn LentAes>, String> {
    lender.keyed(key).ok_or_else(|| String::from("it takes no key"))
}

/// A lent AES in a mode.
pub(crate) fn chained(
    lender: &dyn Lender,
    chain: Chain,
    key: &[u8],
) -> Result<Box<dyn Mode>, String> {
    Ok(match chain {
        Chain::Xts => {
            let (data, tweak) = key.split_at(key.len() / 2);
            Box::new(Xts { data: keyed(lender, data)?, tweak: keyed(lender, tweak)? })
        }
        Chain::Cbc => Box::new(Cbc(keyed(lender, key)?)),
        Chain::Ecb | Chain::Adiantum { .. } => Box::new(Ecb(Other(blocks(lender, key)?))),
    })
}

/// A lent AES alone.
pub(crate) fn blocks(lender: &dyn Lender, key: &[u8]) -> Result<Box<dyn Blocks>, String> {
    Ok(Box::new(Lent(keyed(lender, key)?)))
}
