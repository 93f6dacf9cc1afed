//! A key as a table gives it: in hexadecimal digits. Wiped when it is dropped.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use zeroize::Zeroizing;

/// The longest key: 65 keys of 32 bytes, as Loop-AES has them.
const BYTES_MAX: usize = 65 * 32;

/// A key. It prints as nothing at all; [`Key::write`] is for who may see it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    bytes: Zeroizing<Vec<u8>>,
}

impl Key {
    /// Reads hexadecimal digits of either case; `-` stands for no key.
    ///
    /// # Errors
    /// A sentence that does not contain the key.
    pub fn parse(word: &str) -> Result<Self, String> {
        let mut bytes = Zeroizing::new(Vec::new());
        if word == "-" {
            return Ok(Self { bytes });
        }
        if word.len() > 2 * BYTES_MAX {
            return Err(alloc::format!("a key has at most {BYTES_MAX} bytes"));
        }
        // Reserved at once, so that no copy is left behind while it grows.
        bytes.try_reserve_exact(word.len().div_ceil(2)).map_err(|_| "no memory".to_string())?;
        let mut digits = word.chars().map(|digit| digit.to_digit(16));
        while let Some(high) = digits.next() {
            let Some(high) = high else { return Err("has a character that is no digit".into()) };
            match digits.next() {
                Some(Some(low)) => bytes.push((high << 4 | low) as u8),
                Some(None) => return Err("has a character that is no digit".into()),
                None => return Err("has half a byte at its end".into()),
            }
        }
        Ok(Self { bytes })
    }

    /// A key of zeroes, of the same length.
    #[must_use]
    pub fn wiped(&self) -> Self {
        Self { bytes: Zeroizing::new(alloc::vec![0; self.bytes.len()]) }
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes it as a table would give it.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        if self.bytes.is_empty() {
            return out.write_char('-');
        }
        self.bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }

    /// Writes a zero in place of each of its digits, and of the word for none.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_hidden(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        (0..(self.bytes.len() * 2).max(1)).try_for_each(|_| out.write_char('0'))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Key({} bytes)", self.bytes.len())
    }
}
