//! crypt with an AES that the platform lends: the same bytes as Linux's, and used only if it is
//! right.

use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes192, Aes256};
use dm::kern::aes::{Block, Lender, LentAes, Run};
use dm_protocol::Action;
use dm_tests::World;
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicU64, Ordering};

/// Digests of what Linux made of a pattern, and what it refused.
const LINUX: &str = include_str!("../../../sys/dev/dm/cipher/tests/linux.txt");
const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// What is wrong with an AES.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// It has no key.
    Keyless,
    Encrypting,
    Decrypting,
    /// Blocks are right, chains are not.
    Chaining,
    /// Right for short keys only.
    LongKeys,
}

struct Fake {
    fault: Fault,
    /// How often it was used.
    used: AtomicU64,
}

enum Cipher {
    Short(Aes128),
    Middle(Aes192),
    Long(Aes256),
}

struct Keyed {
    cipher: Cipher,
    lender: &'static Fake,
}

/// Lives as long as the process, as a kernel's does.
fn fake(fault: Fault) -> &'static Fake {
    Box::leak(Box::new(Fake { fault, used: AtomicU64::new(0) }))
}

impl Lender for &'static Fake {
    fn name(&self) -> &'static str {
        "the test"
    }

    fn keyed(&self, key: &[u8]) -> Option<Box<dyn LentAes>> {
        let cipher = match key.len() {
            16 => Cipher::Short(Aes128::new_from_slice(key).ok()?),
            24 => Cipher::Middle(Aes192::new_from_slice(key).ok()?),
            _ => Cipher::Long(Aes256::new_from_slice(key).ok()?),
        };
        (self.fault != Fault::Keyless).then(|| Box::new(Keyed { cipher, lender: self }) as _)
    }
}

impl Keyed {
    fn spoil(&self, block: &mut Block, fault: Fault) {
        self.lender.used.fetch_add(1, Ordering::Relaxed);
        let long = matches!(self.cipher, Cipher::Long(_));
        if self.lender.fault == fault || long && self.lender.fault == Fault::LongKeys {
            block[15] ^= 1;
        }
    }
}

impl LentAes for Keyed {
    fn encrypt(&self, block: &mut Block) {
        match &self.cipher {
            Cipher::Short(aes) => aes.encrypt_block(block),
            Cipher::Middle(aes) => aes.encrypt_block(block),
            Cipher::Long(aes) => aes.encrypt_block(block),
        }
        self.spoil(block, Fault::Encrypting);
    }

    fn decrypt(&self, block: &mut Block) {
        match &self.cipher {
            Cipher::Short(aes) => aes.decrypt_block(block),
            Cipher::Middle(aes) => aes.decrypt_block(block),
            Cipher::Long(aes) => aes.decrypt_block(block),
        }
        self.spoil(block, Fault::Decrypting);
    }

    fn encrypt_xts(&self, mask: &mut Block, run: Run<'_, '_>) {
        for mut block in run {
            let mut work = block.clone_in();
            work.iter_mut().zip(&*mask).for_each(|(byte, mask)| *byte ^= mask);
            self.encrypt(&mut work);
            work.iter_mut().zip(&*mask).for_each(|(byte, mask)| *byte ^= mask);
            *block.get_out() = work;
            let value = u128::from_le_bytes(mask.0);
            let carry = if self.lender.fault == Fault::Chaining { 0 } else { 0x87 };
            *mask = ((value << 1) ^ ((value >> 127) * carry)).to_le_bytes().into();
        }
    }
}

fn world(lent: &'static Fake) -> World {
    let world = World::new();
    world.context.lend(Box::leak(Box::new(lent)));
    world
}

fn pattern() -> Vec<u8> {
    let sector = |nr: usize| format!("03:{nr:012x}\n").repeat(32).into_bytes();
    (0..512).flat_map(sector).collect()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes the pattern through a device, reads it back, and gives the digest of what lies below.
fn through(world: &World, line: &str) -> Option<String> {
    let fields: Vec<&str> = line.split('|').collect();
    let [cipher, length, iv_offset, options, _] = fields[..] else { panic!("{line}") };
    let length: u8 = length.parse().ok()?;
    let key: String = (0..length).map(|byte| format!("{byte:02x}")).collect();
    let disk = world.disk(512);
    let table = format!("0 512 crypt {cipher} {key} {iv_offset} {} 0 {options}", disk.name());
    world.try_create("c", &table).ok()?;
    let (device, plain) = (world.open("c"), pattern());
    for (at, bytes) in (0..).step_by(32).zip(plain.chunks(32 * 512)) {
        device.write(at, bytes).expect("a write");
    }
    for (at, bytes) in (0..).step_by(64).zip(plain.chunks(64 * 512)) {
        assert!(device.read(at, 64).expect("a read") == bytes, "{line}");
    }
    drop(device);
    world.on("c", Action::Remove).expect("removed");
    Some(digest(&disk.bytes()))
}

fn made(line: &str) -> &str {
    line.rsplit('|').next().expect("a digest")
}

/// Linux's lines with AES that it took, but for those with more keys than fit a byte.
fn lines() -> impl Iterator<Item = &'static str> {
    let of_aes = |line: &&str| !line.starts_with('#') && line.contains("aes");
    LINUX.lines().filter(of_aes).filter(|line| made(line).len() == 64)
}

#[test]
#[cfg_attr(miri, ignore = "too much to encrypt in an interpreter")]
fn what_comes_out_of_a_lent_aes_is_what_linux_wrote() {
    let lent = fake(Fault::None);
    let world = world(lent);
    let mut taken = 0;
    for line in lines() {
        let before = lent.used.load(Ordering::Relaxed);
        let Some(digest) = through(&world, line) else { continue };
        assert_eq!(digest, made(line), "{line}");
        let used = lent.used.load(Ordering::Relaxed) > before;
        assert_eq!(used, !line.contains("adiantum"), "{line}");
        taken += 1;
    }
    assert!(taken > 60, "{taken} tables");
    assert!(world.context.log().is_empty(), "{:?}", world.context.log());
}

#[test]
#[cfg_attr(miri, ignore = "too much to encrypt in an interpreter")]
fn a_lent_aes_with_a_fault_is_left_alone_and_told_of() {
    let wrong = "it gives wrong answers";
    for (fault, cipher, length, why) in [
        (Fault::Keyless, "aes-cbc-plain64", 16, "it takes no key"),
        (Fault::Keyless, "aes-cbc-essiv:sha256", 32, "it takes no key"),
        (Fault::Encrypting, "aes-cbc-plain64", 32, wrong),
        (Fault::Encrypting, "aes-ecb", 24, wrong),
        (Fault::Decrypting, "aes-cbc-plain64", 24, wrong),
        (Fault::Decrypting, "aes-xts-plain64", 64, wrong),
        (Fault::Chaining, "aes-xts-plain64", 32, wrong),
        (Fault::LongKeys, "aes-ecb", 32, wrong),
        // The key is short, that of the vectors is not.
        (Fault::LongKeys, "aes-cbc-essiv:sha256", 16, wrong),
    ] {
        let lent = fake(fault);
        let world = world(lent);
        let start = format!("{cipher}|{length}|0||");
        let line = lines().find(|line| line.starts_with(&start)).expect(&start);
        assert_eq!(through(&world, line).expect(line), made(line), "{fault:?}, {line}");
        let said = format!("dm: crypt does without the AES of the test: {why}");
        assert_eq!(*world.context.log(), [said], "{fault:?}, {line}");
        let seen = lent.used.load(Ordering::Relaxed);
        assert!(seen < 512, "{seen} blocks are more than a comparison");
    }
}

#[test]
#[cfg_attr(miri, ignore = "too much to encrypt in an interpreter")]
fn a_fault_in_what_a_table_does_not_need_does_not_matter() {
    let lent = fake(Fault::LongKeys);
    let world = world(lent);
    let line = lines().find(|line| line.starts_with("aes-cbc-plain64|16|")).expect("a line");
    assert_eq!(through(&world, line).expect(line), made(line));
    assert!(world.context.log().is_empty());
    assert!(lent.used.load(Ordering::Relaxed) >= 512 * 32, "it was not used");
}

#[test]
fn a_key_that_is_set_is_a_lent_aes_s_too() {
    let lent = fake(Fault::None);
    let world = world(lent);
    let disk = world.disk(64);
    let table = |key: &str| format!("0 64 crypt aes-xts-plain64 {key} 0 {} 0", disk.name());
    let other: String = KEY.chars().rev().collect();
    let device = world.create("c", &table(KEY));
    world.on("c", Action::Suspend).expect("suspended");
    world.say("c", &format!("key set {other}")).expect("a key");
    world.on("c", Action::Resume).expect("resumed");
    let before = lent.used.load(Ordering::Relaxed);
    device.write(0, &pattern()[..4096]).expect("a write");
    assert!(lent.used.load(Ordering::Relaxed) >= before + 256, "it was not used");
    drop(device);
    world.on("c", Action::Remove).expect("removed");
    let plain = World::new();
    let copy = plain.disk(64);
    copy.set_bytes(0, &disk.bytes());
    let table = format!("0 64 crypt aes-xts-plain64 {other} 0 {} 0", copy.name());
    let read = plain.create("c", &table).read(0, 8).expect("a read");
    assert!(read == pattern()[..4096], "another key was used");
}
