//! The cipher of kernels before aes(9), block by block. It looks bytes up in tables.

use super::function;
use alloc::boxed::Box;
use core::ffi::{CStr, c_int};
use dm::kern::aes::{Block, Lender, LentAes, wipe};

/// Four words for each of at most 14 rounds, and four before them.
type Schedule = [u32; 60];

type SetKey = unsafe extern "C" fn(*mut u32, *const u8, c_int) -> c_int;
type One = unsafe extern "C" fn(*const u32, c_int, *const u8, *mut u8);

/// What there is for one direction.
#[derive(Clone, Copy)]
struct Way {
    set_key: SetKey,
    one: One,
}

pub struct Functions {
    encrypt: Way,
    decrypt: Way,
}

impl Functions {
    /// Thread context.
    pub fn find() -> Option<Self> {
        // SAFETY: the type is that of crypto/rijndael/rijndael-alg-fst.h.
        let set_key = |name: &CStr| unsafe { function::<SetKey>(name) };
        // SAFETY: as above.
        let one = |name: &CStr| unsafe { function::<One>(name) };
        let encrypt =
            Way { set_key: set_key(c"rijndaelKeySetupEnc")?, one: one(c"rijndaelEncrypt")? };
        let decrypt =
            Way { set_key: set_key(c"rijndaelKeySetupDec")?, one: one(c"rijndaelDecrypt")? };
        Some(Self { encrypt, decrypt })
    }
}

/// One direction with a key.
struct Keyed {
    way: Way,
    schedule: Schedule,
    rounds: c_int,
}

impl Keyed {
    const fn without_key(way: Way) -> Self {
        Self { way, schedule: [0; 60], rounds: 0 }
    }

    fn set_key(&mut self, key: &[u8]) -> Option<()> {
        let bits = match key.len() {
            16 => 128,
            24 => 192,
            32 => 256,
            _ => return None,
        };
        let schedule = self.schedule.as_mut_ptr();
        // SAFETY: memory for the longest schedule, and a key of so many bits.
        self.rounds = unsafe { (self.way.set_key)(schedule, key.as_ptr(), bits) };
        Some(())
    }

    #[inline]
    fn one(&self, block: &mut Block) {
        let block = block.as_mut_ptr();
        // SAFETY: a schedule with its rounds; a block is read before it is written.
        unsafe { (self.way.one)(self.schedule.as_ptr(), self.rounds, block, block) };
    }
}

impl Drop for Keyed {
    fn drop(&mut self) {
        wipe(&mut self.schedule);
    }
}

struct Aes {
    encrypt: Keyed,
    decrypt: Keyed,
}

impl Lender for Functions {
    fn name(&self) -> &str {
        "the kernel, rijndael"
    }

    fn keyed(&self, key: &[u8]) -> Option<Box<dyn LentAes>> {
        let encrypt = Keyed::without_key(self.encrypt);
        let mut aes = Box::new(Aes { encrypt, decrypt: Keyed::without_key(self.decrypt) });
        aes.encrypt.set_key(key)?;
        aes.decrypt.set_key(key)?;
        Some(aes)
    }
}

impl LentAes for Aes {
    #[inline]
    fn encrypt(&self, block: &mut Block) {
        self.encrypt.one(block);
    }

    #[inline]
    fn decrypt(&self, block: &mut Block) {
        self.decrypt.one(block);
    }
}
