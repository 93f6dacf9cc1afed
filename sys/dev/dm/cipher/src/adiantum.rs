//! Adiantum: a whole sector is one block, made of XChaCha, one block of AES, and NHPoly1305.

use crate::blocks::Block;
use crate::mode::{Mode, Run};
use crate::nh::{self, NhPoly1305};
use aes::Aes256;
use alloc::boxed::Box;
use alloc::string::String;
use chacha20::{XChaCha12, XChaCha20};
use cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit, KeyIvInit, StreamCipher};
use zeroize::Zeroizing;

const KEY_BYTES: usize = 32;

struct Adiantum {
    rounds: u8,
    at_end: bool,
    stream: Zeroizing<[u8; KEY_BYTES]>,
    block: Aes256,
    header: Zeroizing<[u8; 32]>,
    hash: NhPoly1305,
}

/// `key` has 32 bytes.
pub(crate) fn keyed(rounds: u8, at_end: bool, key: &[u8]) -> Result<Box<dyn Mode>, String> {
    let key: [u8; KEY_BYTES] = key.try_into().map_err(|_| String::from("no key of adiantum"))?;
    let stream = Zeroizing::new(key);
    let mut derived = Zeroizing::new(alloc::vec![0; KEY_BYTES + 16 + nh::KEY_BYTES]);
    let mut first = [0; 24];
    first[0] = 1;
    apply(rounds, &stream, &first, &mut derived);
    let (block, rest) = derived.split_at(KEY_BYTES);
    let (header, hash) = rest.split_at(16);
    let block = Aes256::new_from_slice(block).map_err(|_| String::from("no key of aes"))?;
    let (header, hash) = (nh::poly_key(header), NhPoly1305::new(hash));
    Ok(Box::new(Adiantum { rounds, at_end, stream, block, header, hash }))
}

fn apply(rounds: u8, key: &[u8; KEY_BYTES], nonce: &[u8; 24], data: &mut [u8]) {
    match rounds {
        12 => XChaCha12::new(key.into(), nonce.into()).apply_keystream(data),
        _ => XChaCha20::new(key.into(), nonce.into()).apply_keystream(data),
    }
}

impl Adiantum {
    /// The part of the hash that does not depend on the data.
    fn header(&self, iv: &Block, blocks: usize) -> u128 {
        let mut header = [[0; 16]; 3];
        let [length, low, high] = &mut header;
        *length = (blocks as u128 * 128).to_le_bytes();
        *(if self.at_end { high } else { low }) = iv.0;
        nh::poly(&self.header, header.as_flattened())
    }

    fn stream(&self, middle: &Block, blocks: &mut [Block]) {
        let mut nonce = [0; 24];
        nonce.iter_mut().zip(middle).for_each(|(to, from)| *to = *from);
        if let Some(one) = nonce.get_mut(16) {
            *one = 1;
        }
        apply(self.rounds, &self.stream, &nonce, Block::slice_as_flattened_mut(blocks));
    }

    fn each(
        &self,
        ivs: &[Block],
        run: Run<'_, '_>,
        act: impl Fn(&Self, u128, &mut Block, &mut [Block]),
    ) {
        let unit = (run.len() / ivs.len().max(1)).max(1);
        let blocks = run.into_out_with_copied_in();
        for (iv, sector) in ivs.iter().zip(blocks.chunks_exact_mut(unit)) {
            if let Some((last, bulk)) = sector.split_last_mut() {
                let header = self.header(iv, bulk.len());
                act(self, header, last, bulk);
            }
        }
    }

    fn add(block: &mut Block, number: u128) {
        block.0 = u128::from_le_bytes(block.0).wrapping_add(number).to_le_bytes();
    }
}

impl Mode for Adiantum {
    fn encrypt(&self, ivs: &mut [Block], run: Run<'_, '_>) {
        self.each(ivs, run, |this, header, last, bulk| {
            Self::add(last, header.wrapping_add(this.hash.hash(bulk)));
            this.block.encrypt_block(last);
            this.stream(last, bulk);
            Self::add(last, header.wrapping_add(this.hash.hash(bulk)).wrapping_neg());
        });
    }

    fn decrypt(&self, ivs: &mut [Block], run: Run<'_, '_>) {
        self.each(ivs, run, |this, header, last, bulk| {
            Self::add(last, header.wrapping_add(this.hash.hash(bulk)));
            this.stream(last, bulk);
            this.block.decrypt_block(last);
            Self::add(last, header.wrapping_add(this.hash.hash(bulk)).wrapping_neg());
        });
    }
}
