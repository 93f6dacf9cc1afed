//! What Linux wrote: digests of images that its dm-crypt (6.12) made of a known pattern.
//!
//! Every line of `linux.txt` is `cipher|key bytes|iv offset|options|digest`, or a refusal in
//! place of the digest. Keys are the bytes 0, 1, 2 and so on; the pattern is 512 sectors.

use dm_cipher::{Format, Key, SectorCipher, Spec};
use sha2::{Digest, Sha256};
use std::fmt::Write;

const LINES: &str = include_str!("linux.txt");

struct Case {
    spec: &'static str,
    key: String,
    offset: u64,
    format: Format,
    /// The digest, if Linux took it.
    made: Option<&'static str>,
}

/// What Linux takes and we do not: a hash, chains without a cipher or without vectors, words
/// that mean nothing, keys of no length, and what Linux itself does not read back.
const ONLY_LINUX: &[&str] = &[
    "aes-cbc-plain64:foo",
    "aes-ecb-foo",
    "aes-xts-lmk",
    "capi:cbc(aes)",
    "cipher_null-cbc-plain",
];

fn only_linux(case: &Case) -> bool {
    let empty = case.key == "-" && case.spec.starts_with("serpent");
    ONLY_LINUX.contains(&case.spec) || case.spec.ends_with(":sha3-256") || empty
}

fn cases() -> Vec<Case> {
    LINES.lines().filter(|line| !line.starts_with('#')).map(case).collect()
}

/// What both take.
fn shared() -> impl Iterator<Item = Case> {
    cases().into_iter().filter(|case| case.made.is_some() && !only_linux(case))
}

fn case(line: &'static str) -> Case {
    let fields: Vec<&str> = line.split('|').collect();
    let [spec, length, offset, options, made] = fields[..] else { panic!("five fields: {line}") };
    let large = options.contains("iv_large_sectors");
    let bytes = options.split_whitespace().find_map(|word| word.strip_prefix("sector_size:"));
    let bytes = bytes.map_or(512, |bytes| bytes.parse().expect("a number"));
    Case {
        spec,
        key: key(length.parse().expect("a number")),
        offset: offset.parse().expect("a number"),
        format: Format::new(bytes, large).expect("a format"),
        made: (!made.starts_with("refused")).then_some(made),
    }
}

fn key(length: usize) -> String {
    match length {
        0 => "-".into(),
        _ => (0..length).map(|byte| format!("{:02x}", byte % 256)).collect(),
    }
}

fn pattern() -> Vec<u8> {
    (0..512).flat_map(|sector| format!("03:{sector:012x}\n").repeat(32).into_bytes()).collect()
}

fn digest(data: &[u8]) -> String {
    Sha256::digest(data).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string");
        text
    })
}

fn made(case: &Case) -> Result<SectorCipher, String> {
    SectorCipher::new(&Spec::parse(case.spec)?, case.format, &Key::parse(&case.key)?)
}

#[test]
fn what_linux_wrote_is_what_we_write_and_read() {
    let plain = pattern();
    let mut count = 0;
    for case in shared() {
        let name = format!("{} {:?} {}", case.spec, case.format, case.key.len() / 2);
        let cipher = made(&case).unwrap_or_else(|why| panic!("{name}: {why}"));
        let mut coded = vec![0; plain.len()];
        cipher.encrypt(case.offset, &plain, &mut coded);
        assert_eq!(Some(digest(&coded).as_str()), case.made, "{name}");
        let mut inside = plain.clone();
        cipher.encrypt_in_place(case.offset, &mut inside);
        assert!(inside == coded, "{name}: in place");
        cipher.decrypt_in_place(case.offset, &mut coded);
        assert!(coded == plain, "{name}: back");
        count += 1;
    }
    assert!(count > 180, "{count} cases");
}

#[test]
fn any_run_of_sectors_is_read_like_the_whole() {
    let plain = pattern();
    for case in shared() {
        let cipher = made(&case).expect("as above");
        let step = usize::try_from(case.format.step()).expect("small");
        let mut coded = vec![0; plain.len()];
        cipher.encrypt(case.offset, &plain, &mut coded);
        for (first, count) in [(0, 1), (1, 1), (3, 2), (5, 31), (7, 33), (17, 3)] {
            let range = first * step * 512..((first + count) * step * 512).min(plain.len());
            let at = case.offset + (first * step) as u64;
            let mut read = coded[range.clone()].to_vec();
            cipher.decrypt_in_place(at, &mut read);
            assert!(read == plain[range.clone()], "{} {first} {count}", case.spec);
            let mut written = vec![0; range.len()];
            cipher.encrypt(at, &plain[range.clone()], &mut written);
            assert!(written == coded[range], "{} {first} {count}", case.spec);
        }
    }
}

#[test]
fn what_linux_refuses_and_what_only_linux_takes_is_refused() {
    let cases = cases();
    for case in cases.iter().filter(|case| case.made.is_none() || only_linux(case)) {
        assert!(made(case).is_err(), "{}", case.spec);
    }
}
