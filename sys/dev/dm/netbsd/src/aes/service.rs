//! aes(9), with the processor's instructions where it has them, in the same time for every key.
//!
//! It saves what registers it takes, and leaves no key on the stack.

use super::function;
use alloc::boxed::Box;
use core::ffi::CStr;
use dm::kern::aes::{Block, Lender, LentAes, Run, wipe};

/// What crypto/aes/aes.h calls struct aesenc and struct aesdec.
#[repr(C, align(16))]
struct Schedule([u32; 60]);

impl Schedule {
    const EMPTY: Self = Self([0; 60]);
}

impl Drop for Schedule {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

type SetKey = unsafe extern "C" fn(*mut Schedule, *const u8) -> u32;
type One = unsafe extern "C" fn(*const Schedule, *const u8, *mut u8, u32);
type Many = unsafe extern "C" fn(*const Schedule, *const u8, *mut u8, usize, *mut u8, u32);

/// What there is for one direction.
#[derive(Clone, Copy)]
struct Way {
    /// For keys of 16, 24 and 32 bytes.
    set_key: [SetKey; 3],
    one: One,
    cbc: Many,
    xts: Many,
}

pub struct Functions {
    encrypt: Way,
    decrypt: Way,
}

impl Functions {
    /// Thread context.
    pub fn find() -> Option<Self> {
        // SAFETY: the type is that of crypto/aes/aes.h.
        let set_key = |name: &CStr| unsafe { function::<SetKey>(name) };
        // SAFETY: as above.
        let one = |name: &CStr| unsafe { function::<One>(name) };
        // SAFETY: as above.
        let many = |name: &CStr| unsafe { function::<Many>(name) };
        let encrypt = Way {
            set_key: [
                set_key(c"aes_setenckey128")?,
                set_key(c"aes_setenckey192")?,
                set_key(c"aes_setenckey256")?,
            ],
            one: one(c"aes_enc")?,
            cbc: many(c"aes_cbc_enc")?,
            xts: many(c"aes_xts_enc")?,
        };
        let decrypt = Way {
            set_key: [
                set_key(c"aes_setdeckey128")?,
                set_key(c"aes_setdeckey192")?,
                set_key(c"aes_setdeckey256")?,
            ],
            one: one(c"aes_dec")?,
            cbc: many(c"aes_cbc_dec")?,
            xts: many(c"aes_xts_dec")?,
        };
        Some(Self { encrypt, decrypt })
    }
}

/// One direction with a key.
struct Keyed {
    way: Way,
    schedule: Schedule,
    rounds: u32,
}

impl Keyed {
    const fn without_key(way: Way) -> Self {
        Self { way, schedule: Schedule::EMPTY, rounds: 0 }
    }

    /// Not on a stack: those of kernels are not always aligned.
    fn set_key(&mut self, key: &[u8]) -> Option<()> {
        let set_key = *self.way.set_key.get((key.len() / 8).checked_sub(2)?)?;
        // SAFETY: memory for a schedule, and a key as long as this function takes.
        self.rounds = unsafe { set_key(&raw mut self.schedule, key.as_ptr()) };
        Some(())
    }

    fn one(&self, block: &mut Block) {
        let block = block.as_mut_ptr();
        // SAFETY: a schedule with its rounds, and one block, which may be in one place.
        unsafe { (self.way.one)(&raw const self.schedule, block, block, self.rounds) };
    }

    fn many(&self, function: Many, vector: &mut Block, run: Run<'_, '_>) {
        let (bytes, vector) = (run.len() * size_of::<Block>(), vector.as_mut_ptr());
        let (from, to) = run.into_raw();
        let schedule = &raw const self.schedule;
        // SAFETY: a schedule with its rounds, two runs of so many bytes that are in one place
        // or apart, and a block.
        unsafe { function(schedule, from.cast(), to.cast(), bytes, vector, self.rounds) };
    }
}

struct Aes {
    encrypt: Keyed,
    decrypt: Keyed,
}

impl Lender for Functions {
    fn name(&self) -> &str {
        "the kernel, aes(9)"
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
    fn encrypt(&self, block: &mut Block) {
        self.encrypt.one(block);
    }

    fn decrypt(&self, block: &mut Block) {
        self.decrypt.one(block);
    }

    fn encrypt_cbc(&self, iv: &mut Block, run: Run<'_, '_>) {
        self.encrypt.many(self.encrypt.way.cbc, iv, run);
    }

    fn decrypt_cbc(&self, iv: &mut Block, run: Run<'_, '_>) {
        self.decrypt.many(self.decrypt.way.cbc, iv, run);
    }

    fn encrypt_xts(&self, mask: &mut Block, run: Run<'_, '_>) {
        self.encrypt.many(self.encrypt.way.xts, mask, run);
    }

    fn decrypt_xts(&self, mask: &mut Block, run: Run<'_, '_>) {
        self.decrypt.many(self.decrypt.way.xts, mask, run);
    }
}
