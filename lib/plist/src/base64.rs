//! Base 64 (RFC 4648), for the `<data>` of property lists.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Hands `put` the digits of `bytes`, four at a time.
pub fn encode(bytes: &[u8], mut put: impl FnMut(&str)) {
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        let digit = |nr: usize| match nr <= group.len() {
            true => DIGITS[(bits >> (18 - 6 * nr) & 63) as usize],
            false => b'=',
        };
        let digits = [digit(0), digit(1), digit(2), digit(3)];
        put(str::from_utf8(&digits).unwrap_or_default());
    }
}

/// The bytes that the digits of `text` stand for; white space is skipped.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut digits, mut pads) = (0_u32, 0_usize, 0_usize);
    for byte in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        if byte == b'=' {
            pads += 1;
            continue;
        }
        let digit = DIGITS.iter().position(|&digit| digit == byte).filter(|_| pads == 0)?;
        bits = bits << 6 | u32::try_from(digit).ok()?;
        digits += 1;
        if digits.is_multiple_of(4) {
            bytes.extend_from_slice(&bits.to_be_bytes()[1..]);
            bits = 0;
        }
    }
    match (digits % 4, pads) {
        (0, 0) => {}
        (2, 2) => bytes.push((bits >> 4) as u8),
        (3, 1) => bytes.extend_from_slice(&((bits >> 2) as u16).to_be_bytes()),
        _ => return None,
    }
    Some(bytes)
}
