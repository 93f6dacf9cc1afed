//! What a module made for tests does when it is loaded: it sees how deep ciphers go on the
//! kernel's stack, and then panics.
//!
//! What a cipher leaves on the stack is overwritten down to a depth that is a constant. A
//! cipher that does nothing goes no deeper than that; no other may.

use crate::aes;
use crate::thread;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use core::hint::black_box;
use core::ptr;
use dm::kern::aes::{Lender, LentAes};
use dm::kern::log;
use dm_cipher::{Format, Key, SectorCipher, Spec};

/// As much of a new thread's stack as is looked at; it has 12 KiB or more.
const AREA: usize = 8192;
/// How far frames of ours may differ.
const EDGE: usize = 128;
const PAINT: u8 = 0xa5;
/// An interrupt uses the stack too, so the least of so many counts.
const ROUNDS: usize = 7;
/// A page, in sectors that some cannot have longer.
const BYTES: usize = 4096;

/// Every chain, every source of vectors that encrypts, every block cipher; the bytes of a key.
const CIPHERS: [(&str, usize); 19] = [
    ("aes-ecb", 16),
    ("aes-cbc-plain64", 24),
    ("aes-cbc-essiv:sha256", 32),
    ("aes-cbc-essiv:wp256", 32),
    ("aes-cbc-eboiv", 32),
    ("aes-cbc-elephant", 64),
    ("aes:64-cbc-lmk", 65 * 16),
    ("aes-cbc-tcw", 64),
    ("aes-xts-plain64", 64),
    ("serpent-cbc-essiv:sha1", 32),
    ("serpent-cbc-plain64", 32),
    ("serpent-xts-plain64", 64),
    ("twofish-cbc-essiv:sha256", 32),
    ("twofish-cbc-plain64", 32),
    ("twofish-xts-plain64", 64),
    ("camellia-cbc-plain64", 32),
    ("camellia-xts-plain64", 64),
    ("xchacha12,aes-adiantum-plain64", 32),
    ("xchacha20,aes-adiantum-plain64", 32),
];

/// How deep something went.
#[derive(Clone, Copy, Default)]
struct Reach {
    making: usize,
    work: usize,
}

/// Panics, and says before how deep ciphers go.
pub fn run() -> ! {
    // SAFETY: a body for this context, which is null and not looked at.
    match unsafe { thread::dm_kern_thread_start("dmdrill", measure, ptr::null_mut()) } {
        // SAFETY: it was started, and is joined once.
        Ok(thread) => unsafe { thread::dm_kern_thread_join(thread) },
        Err(errno) => log::line(&format!("dm: no thread: {errno}")),
    }
    panic!("a drill")
}

/// Lends to nobody, so that nothing is done before what is overwritten.
struct Nobody;

impl Lender for Nobody {
    fn name(&self) -> &str {
        "nobody"
    }

    fn keyed(&self, _key: &[u8]) -> Option<Box<dyn LentAes>> {
        None
    }
}

/// # Safety
/// None.
unsafe fn measure(_: *mut ()) {
    let lender = aes::find();
    let own = passes(None, None);
    let lent = lender.as_deref().is_none_or(|lender| passes(Some(lender), Some(&Nobody)));
    if own && lent {
        log::line("dm: no cipher goes deeper than is overwritten");
    }
}

/// Tells of the ciphers whose AES is the lender's, or our own. Is none deeper than what is
/// overwritten, as one shows that does nothing?
fn passes(lender: Option<&dyn Lender>, idle: Option<&dyn Lender>) -> bool {
    let whose = lender.map_or("our own", Lender::name);
    let Ok(mut wiped) = reach("cipher_null-ecb", 0, None) else { return false };
    if idle.is_some() {
        wiped.making = reach("aes-ecb", 16, idle).unwrap_or_default().making;
    }
    let (mut deepest, mut good) = (Reach::default(), true);
    for (word, length) in CIPHERS {
        match reach(word, length, lender) {
            Ok(Reach { making, work }) => {
                deepest.making = deepest.making.max(making);
                deepest.work = deepest.work.max(work);
                if making > wiped.making || work > wiped.work {
                    log::line(&format!("dm: {word}: {making} and {work} bytes deep"));
                    good = false;
                }
            }
            Err(why) => {
                log::line(&format!("dm: {word}: {why}"));
                good = false;
            }
        }
    }
    let (Reach { making, work }, most) = (wiped, deepest);
    log::line(&format!(
        "dm: AES of {whose}: overwritten {making} and {work} bytes deep, deepest {} and {}",
        most.making, most.work
    ));
    good
}

/// How deep the making of a cipher goes, and its work.
fn reach(word: &str, length: usize, lender: Option<&dyn Lender>) -> Result<Reach, String> {
    let digits = match length {
        0 => String::from("-"),
        _ => (0..length).map(|byte| format!("{:02x}", byte % 256)).collect(),
    };
    let (spec, key) = (Spec::parse(word)?, Key::parse(&digits)?);
    let own = SectorCipher::new(&spec, Format::SMALL, &key)?;
    let lent = lender.and_then(|lender| own.lent(&spec, &key, lender).ok().flatten());
    let cipher = lent.as_ref().unwrap_or(&own);
    let mut buffers = vec![[1_u8; BYTES]; 2];
    let [from, to] = &mut *buffers else { return Err(String::from("no buffers")) };
    let making = depth(&mut || {
        drop(black_box(match lender {
            Some(lender) => own.lent(&spec, &key, lender).ok().flatten(),
            None => SectorCipher::new(&spec, Format::SMALL, &key).ok(),
        }));
    });
    let mut deepest = Reach { making, ..Reach::default() };
    let encrypting = depth(&mut || cipher.encrypt(7, black_box(from), black_box(to)));
    let decrypting = depth(&mut || cipher.decrypt_in_place(7, black_box(to)));
    deepest.work = encrypting.max(decrypting);
    Ok(deepest)
}

/// How deep a call goes.
#[inline(never)]
fn depth(act: &mut dyn FnMut()) -> usize {
    let mut least = AREA;
    for _ in 0..ROUNDS {
        paint();
        act();
        least = least.min(unpainted());
    }
    least
}

/// Where the frames begin of what a caller calls next, about.
#[inline(always)]
fn top() -> usize {
    let here = 0_u8;
    (&raw const here).addr() - EDGE
}

#[inline(never)]
fn paint() {
    let top = top();
    for address in top - AREA..top {
        // SAFETY: below our frame, in the stack of a thread that goes much deeper.
        unsafe { ptr::with_exposed_provenance_mut::<u8>(address).write_volatile(PAINT) };
    }
}

/// How far down the last byte lies that was written to.
#[inline(never)]
fn unpainted() -> usize {
    let top = top();
    let written = |address: &usize| {
        // SAFETY: as above; what others left there is what is asked for.
        unsafe { ptr::with_exposed_provenance::<u8>(*address).read_volatile() != PAINT }
    };
    let lowest = (top - AREA + EDGE..top).find(written);
    top - lowest.unwrap_or(top)
}
