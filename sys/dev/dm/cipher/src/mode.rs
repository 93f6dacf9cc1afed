//! What a mode is: the blocks of a sector, chained from its initial vector.

use crate::blocks::{Block, Blocks, Other};
use crate::lent::{self, Lender};
use crate::{Chain, Cipher, Iv, Spec, adiantum, cbc, ecb, elephant, lmk, tcw, twofish, xts};
use aes::{Aes128, Aes192, Aes256};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use cipher::inout::InOutBuf;
use cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit, consts::U16};
use zeroize::Zeroizing;

/// Blocks that are read and written in one place or in two.
pub type Run<'i, 'o> = InOutBuf<'i, 'o, Block>;

/// A block cipher in a mode, with its key. `run` is a whole number of units of one length, and
/// `ivs` has one initial vector for each; they may be used up.
pub trait Mode: Send + Sync {
    /// Makes cipher text of plain text.
    fn encrypt(&self, ivs: &mut [Block], run: Run<'_, '_>);
    /// Makes plain text of cipher text.
    fn decrypt(&self, ivs: &mut [Block], run: Run<'_, '_>);
}

/// Who lends the AES, if it is not our own.
pub(crate) type Aes<'a> = Option<&'a dyn Lender>;

/// One key's worth of a mode: `key` for it, and a seed that several keys have in common.
pub(crate) fn keyed(
    spec: &Spec,
    key: &[u8],
    seed: &[u8],
    aes: Aes<'_>,
) -> Result<Box<dyn Mode>, String> {
    if let Chain::Adiantum { rounds } = spec.chain {
        return adiantum::keyed(rounds, spec.iv.at_end(), key);
    }
    let half = if spec.chain == Chain::Xts { key.len() / 2 } else { key.len() };
    let mode = match (spec.cipher, half, aes) {
        (Cipher::Null, 0, _) => Box::new(ecb::Null),
        (Cipher::Aes, _, Some(lender)) => lent::chained(lender, spec.chain, key)?,
        (Cipher::Aes, 16, _) => chained(spec.chain, key, Aes128::new_from_slice)?,
        (Cipher::Aes, 24, _) => chained(spec.chain, key, Aes192::new_from_slice)?,
        (Cipher::Aes, 32, _) => chained(spec.chain, key, Aes256::new_from_slice)?,
        (cipher, ..) => chained(spec.chain, key, |key| blocks(cipher, key, None).map(Other))?,
    };
    Ok(match spec.iv {
        Iv::Elephant => {
            let sectors = blocks(spec.cipher, seed, aes)?;
            Box::new(elephant::Elephant { mode, sectors })
        }
        Iv::Lmk => Box::new(lmk::Lmk::new(mode, seed)),
        Iv::Tcw => Box::new(tcw::Tcw::new(mode, seed)),
        _ => mode,
    })
}

fn chained<C, E>(
    chain: Chain,
    key: &[u8],
    make: impl Fn(&[u8]) -> Result<C, E>,
) -> Result<Box<dyn Mode>, String>
where
    C: BlockCipherEncrypt<BlockSize = U16> + BlockCipherDecrypt + Send + Sync + 'static,
{
    let make = |key: &[u8]| make(key).map_err(|_| no_key(key.len()));
    Ok(match chain {
        Chain::Xts => {
            let (data, tweak) = key.split_at(key.len() / 2);
            Box::new(xts::Xts { data: make(data)?, tweak: make(tweak)? })
        }
        Chain::Cbc => Box::new(cbc::Cbc(make(key)?)),
        Chain::Ecb | Chain::Adiantum { .. } => Box::new(ecb::Ecb(make(key)?)),
    })
}

fn no_key(length: usize) -> String {
    format!("{length} bytes are no key of this cipher")
}

/// A block cipher alone.
pub(crate) fn blocks(cipher: Cipher, key: &[u8], aes: Aes<'_>) -> Result<Box<dyn Blocks>, String> {
    // A key's schedule on the stack, only where it is made.
    #[inline(never)]
    fn make<C: KeyInit + Blocks + 'static>(key: &[u8]) -> Result<Box<dyn Blocks>, String> {
        let made = C::new_from_slice(key).map_err(|_| no_key(key.len()))?;
        Ok(Box::new(made))
    }
    if let (Cipher::Aes, Some(lender)) = (cipher, aes) {
        return lent::blocks(lender, key);
    }
    match (cipher, key.len()) {
        (Cipher::Aes, 16) => make::<Aes128>(key),
        (Cipher::Aes, 24) => make::<Aes192>(key),
        (Cipher::Aes, 32) => make::<Aes256>(key),
        (Cipher::Camellia, 16) => make::<camellia::Camellia128>(key),
        (Cipher::Camellia, 24) => make::<camellia::Camellia192>(key),
        (Cipher::Camellia, 32) => make::<camellia::Camellia256>(key),
        (Cipher::Serpent, 1..=32) => make::<serpent::Serpent>(&*serpent_key(key)),
        (Cipher::Twofish, 16 | 24 | 32) => twofish(key),
        (_, length) => Err(no_key(length)),
    }
}

#[inline(never)]
fn twofish(key: &[u8]) -> Result<Box<dyn Blocks>, String> {
    Ok(Box::new(twofish::Twofish::new(key)))
}

/// A short key means the long one that it is padded to.
fn serpent_key(key: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut whole = Zeroizing::new([0; 32]);
    let padded = key.iter().copied().chain([1]);
    whole.iter_mut().zip(padded).for_each(|(to, from)| *to = from);
    whole
}
