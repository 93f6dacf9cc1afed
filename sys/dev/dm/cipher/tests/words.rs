//! Cipher words and keys: what is refused, and with what sentence.

use dm_cipher::{Chain, Cipher, Format, Hash, Iv, Key, SectorCipher, Spec};

#[test]
fn cipher_words_mean_what_linux_means_by_them() {
    let plain = |cipher, chain, iv, keys| Spec { cipher, chain, iv, keys };
    let (aes, serpent) = (Cipher::Aes, Cipher::Serpent);
    let cases = [
        ("aes", plain(aes, Chain::Cbc, Iv::Plain, 1)),
        ("aes-plain", plain(aes, Chain::Cbc, Iv::Plain, 1)),
        ("aes-ecb", plain(aes, Chain::Ecb, Iv::None, 1)),
        ("aes-ecb-plain64", plain(aes, Chain::Ecb, Iv::None, 1)),
        ("serpent-xts-plain64", plain(serpent, Chain::Xts, Iv::Plain64, 1)),
        ("aes:64-cbc-lmk", plain(aes, Chain::Cbc, Iv::Lmk, 64)),
        ("aes-cbc-essiv:sha256", plain(aes, Chain::Cbc, Iv::Essiv(Hash::Sha256), 1)),
        ("capi:cbc(aes)-essiv:md5", plain(aes, Chain::Cbc, Iv::Essiv(Hash::Md5), 1)),
        ("capi:essiv(cbc(aes),sha256)-plain64", plain(aes, Chain::Cbc, Iv::Essiv(Hash::Sha256), 1)),
        ("capi:ecb(serpent)", plain(serpent, Chain::Ecb, Iv::None, 1)),
        (
            "xchacha20,aes-adiantum-plain64",
            plain(aes, Chain::Adiantum { rounds: 20 }, Iv::Plain64, 1),
        ),
        (
            "capi:adiantum(xchacha12,aes)-null",
            plain(aes, Chain::Adiantum { rounds: 12 }, Iv::Null, 1),
        ),
    ];
    for (word, spec) in cases {
        assert_eq!(Spec::parse(word), Ok(spec), "{word}");
    }
}

#[test]
fn words_that_mean_nothing_are_refused_with_a_sentence() {
    let cases = [
        ("", "there is no cipher \"\""),
        ("des-cbc-plain", "there is no cipher \"des\"; there are aes"),
        ("aes-lrw-benbi", "there is no chain \"lrw\"; there are adiantum"),
        ("aes-cbc", "needs a source of vectors, such as plain64"),
        ("aes-xts-", "no source of vectors \"\"; there are plain"),
        ("aes-xts-plain128", "no source of vectors \"plain128\""),
        ("aes-xts-plain64:8", "plain64 takes no options"),
        ("aes-cbc-essiv", "essiv needs a hash"),
        ("aes-cbc-essiv:crc32", "there is no hash \"crc32\"; there are md5"),
        ("aes-cbc-essiv:sha1", "a digest of 20 bytes is no key of aes"),
        ("aes-xts-random", "random vectors need a device below that keeps tags"),
        ("capi:essiv(cbc(aes),sha256)-plain", "essiv as a template goes with plain64"),
        ("capi:essiv(cbc(aes),sha256)", "essiv as a template goes with plain64"),
        ("capi:essiv(cbc(aes))-plain64", "there is no cipher \"cbc(aes)\""),
        ("aes:3-cbc-plain", "a power of two up to 64, not \"3\""),
        ("aes:+2-cbc-plain", "a power of two up to 64, not \"+2\""),
        ("aes:128-cbc-plain", "a power of two up to 64, not \"128\""),
        ("xts(aes)-plain64", "names with brackets begin with capi:"),
        ("capi:", "has no chain(cipher) behind capi:"),
        ("capi:xts-plain64", "has no chain(cipher) behind capi:"),
        ("capi:gcm(aes)-random", "authenticated modes need a device below"),
        ("capi:authenc(hmac(sha256),xts(aes))-plain64", "authenticated modes need"),
        ("cipher_null-cbc-plain", "cipher_null has no other chain than ecb"),
        ("aes-adiantum-plain64", "adiantum is made of xchacha12,aes"),
        ("xchacha12,aes-adiantum-eboiv", "adiantum takes plain"),
        ("aes-xts-lmk", "lmk goes with cbc only"),
    ];
    for (word, why) in cases {
        let said = Spec::parse(word).expect_err(word);
        assert!(said.contains(why), "{word}: {said}");
    }
}

#[test]
fn keys_have_the_length_that_their_cipher_takes() {
    let cases = [
        ("aes-xts-plain64", [32, 48, 64].as_slice(), "it takes 32, 48 or 64"),
        ("twofish-cbc-plain64", &[16, 24, 32], "it takes 16, 24 or 32"),
        ("cipher_null-ecb", &[0], "it takes none, written -"),
        ("xchacha12,aes-adiantum-plain64", &[32], "it takes 32"),
        ("aes:2-cbc-plain64", &[32, 48, 64], "16, 24 or 32 for each of 2 keys"),
        ("aes-cbc-tcw", &[48, 56, 64], "16, 24 or 32 and 32 more"),
        ("aes-cbc-elephant", &[32, 48, 64], "16, 24 or 32 and as many more"),
    ];
    for (word, sizes, why) in cases {
        let spec = Spec::parse(word).expect(word);
        for bytes in 0..100 {
            let checked = spec.check_key(bytes);
            assert_eq!(checked.is_ok(), sizes.contains(&bytes), "{word} {bytes}");
            if let Err(said) = checked {
                assert!(said.contains(why), "{word} {bytes}: {said}");
                assert!(said.contains(&format!("{bytes} bytes are no key")), "{said}");
            }
        }
    }
    let lmk = Spec::parse("aes:64-cbc-lmk").expect("loop-AES");
    let sizes = (0..=65 * 32).filter(|bytes| lmk.check_key(*bytes).is_ok()).collect::<Vec<_>>();
    assert_eq!(sizes, [64 * 16, 65 * 16, 64 * 24, 65 * 24, 64 * 32, 65 * 32]);
}

#[test]
fn a_key_is_read_in_either_case_and_written_in_one() {
    let key = Key::parse("00fFAb12").expect("digits");
    assert_eq!(key.bytes(), [0, 0xff, 0xab, 0x12]);
    let written = |key: &Key| {
        let mut text = String::new();
        key.write(&mut text).expect("a string");
        text
    };
    assert_eq!(written(&key), "00ffab12");
    assert_eq!(written(&key.wiped()), "00000000");
    let mut hidden = String::new();
    key.write_hidden(&mut hidden).expect("a string");
    Key::parse("-").expect("none").write_hidden(&mut hidden).expect("a string");
    assert_eq!(hidden, "000000000");
    assert_eq!(written(&Key::parse("-").expect("none")), "-");
    assert_eq!(format!("{key:?}"), "Key(4 bytes)");
    for (word, why) in [
        ("0", "half a byte at its end"),
        ("0g", "a character that is no digit"),
        ("g0", "a character that is no digit"),
        ("--", "a character that is no digit"),
        ("\u{e4}a", "a character that is no digit"),
    ] {
        let said = Key::parse(word).expect_err(word);
        assert!(said.contains(why), "{word}: {said}");
    }
    assert!(Key::parse(&"0".repeat(2 * 65 * 32)).is_ok());
    assert!(Key::parse(&"0".repeat(2 * 65 * 32 + 2)).is_err());
}

#[test]
fn sectors_have_one_of_four_lengths() {
    let made = |bytes| Format::new(bytes, false).is_some();
    let lengths: Vec<u64> = (0..10_000).filter(|bytes| made(*bytes)).collect();
    assert_eq!(lengths, [512, 1024, 2048, 4096]);
    let large = Format::new(4096, true).expect("a length");
    for (word, bytes) in [("aes-cbc-lmk", 16), ("aes-cbc-tcw", 48)] {
        let spec = Spec::parse(word).expect(word);
        let key = Key::parse(&"00".repeat(bytes)).expect("digits");
        let said = SectorCipher::new(&spec, large, &key).err().expect("small sectors only");
        assert!(said.contains("for sectors of 512 bytes"), "{said}");
    }
}
