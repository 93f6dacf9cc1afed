//! Published vectors, through sectors that repeat them.

use dm_cipher::{Format, Key, SectorCipher, Spec};

fn bytes(hex: &str) -> Vec<u8> {
    Key::parse(hex).expect("digits").bytes().to_vec()
}

fn cipher(spec: &str, key: &str) -> SectorCipher {
    let spec = Spec::parse(spec).expect("a cipher");
    SectorCipher::new(&spec, Format::SMALL, &Key::parse(key).expect("digits")).expect("a key")
}

/// One block, as all blocks of a sector.
fn block(name: &str, key: &str, plain: &str, coded: &str) {
    let cipher = cipher(&format!("{name}-ecb"), key);
    let mut sector = bytes(plain).repeat(32);
    cipher.encrypt_in_place(0, &mut sector);
    assert!(sector == bytes(coded).repeat(32), "{name} {key}: {:02x?}", &sector[..16]);
    cipher.decrypt_in_place(0, &mut sector);
    assert!(sector == bytes(plain).repeat(32), "{name} {key}");
}

#[test]
fn block_ciphers_give_what_their_authors_published() {
    // FIPS 197, appendix C.
    let plain = "00112233445566778899aabbccddeeff";
    let key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    block("aes", &key[..32], plain, "69c4e0d86a7b0430d8cdb78070b4c55a");
    block("aes", &key[..48], plain, "dda97ca4864cdfe06eaf70a0ec0d7191");
    block("aes", key, plain, "8ea2b7ca516745bfeafc49904b496089");
    // RFC 3713, appendix A.
    let plain = "0123456789abcdeffedcba9876543210";
    let key = "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff";
    block("camellia", &key[..32], plain, "67673138549669730857065648eabe43");
    block("camellia", &key[..48], plain, "b4993401b3e996f84ee5cee7d79b09b9");
    block("camellia", key, plain, "9acc237dff16d76c20ef7c919e3a7509");
    // The Twofish paper, appendix B.2.
    let zeroes = "00000000000000000000000000000000";
    block("twofish", zeroes, zeroes, "9f589f5cf6122c32b6bfec2f2ae8c35a");
    block("twofish", &key[..48], zeroes, "cfd1d2e5a9be9cdf501f13b892bd2248");
    block("twofish", key, zeroes, "37527be0052334b89f0cfccae87cfa20");
    // NESSIE, Serpent, set 1, vector 0.
    let first = "80000000000000000000000000000000";
    let long = format!("{first}{zeroes}");
    block("serpent", first, zeroes, "264e5481eff42a4606abda06c0bfda3d");
    block("serpent", &long, zeroes, "a223aa1288463c0e2be38ebd825616c0");
}

#[test]
fn xts_gives_what_ieee_1619_published() {
    let counted: Vec<u8> = (0..=255).chain(0..=255).collect();
    // Vector 4, number 0, and vector 10, number 255: how the cipher text begins and ends.
    let cases = [
        (
            "2718281828459045235360287471352631415926535897932384626433832795",
            0,
            "27a7479befa1d476489f308cd4cfa6e2a96e4bbe3208ff25287dd3819616e89c",
        ),
        (
            "2718281828459045235360287471352662497757247093699959574966967627\
             3141592653589793238462643383279502884197169399375105820974944592",
            255,
            "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b",
        ),
    ];
    for (key, number, begins) in cases {
        let cipher = cipher("aes-xts-plain64", key);
        let mut sector = vec![0; 512];
        cipher.encrypt(number, &counted, &mut sector);
        assert_eq!(sector[..32], bytes(begins)[..]);
        cipher.decrypt_in_place(number, &mut sector);
        assert!(sector == counted);
    }
}

#[test]
fn twofish_agrees_with_another_implementation_for_many_keys() {
    use twofish::cipher::{Array, BlockCipherEncrypt, KeyInit};
    let mut state = 1_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    for length in [16, 24, 32].into_iter().cycle().take(60) {
        let key: Vec<u8> = (0..length).map(|_| random()).collect();
        let plain: [u8; 16] = std::array::from_fn(|_| random());
        let other = twofish::Twofish::new_from_slice(&key).expect("a length it takes");
        let mut coded = Array::from(plain);
        other.encrypt_block(&mut coded);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        block("twofish", &hex(&key), &hex(&plain), &hex(&coded));
    }
}
