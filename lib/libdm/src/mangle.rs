//! Names in the form that is safe in every file name and script.
//!
//! Bytes other than `0-9A-Za-z#+-.:=@_` are written `\xNN`. A driver of ours takes most names as
//! they are; this is what libdevmapper does to them before, so that both see the same devices.

use std::fmt;

/// When to mangle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Never: names go to the driver as given.
    None,
    /// What is not mangled already; what is mangled is kept.
    #[default]
    Auto,
    /// Always: a backslash in a name is a byte like any other.
    Hex,
}

impl Mode {
    /// The mode of this word: `none`, `auto` or `hex`.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "none" => Some(Self::None),
            "auto" => Some(Self::Auto),
            "hex" => Some(Self::Hex),
            _ => None,
        }
    }
}

/// A name of which one part is mangled and another should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mixed(String);

impl fmt::Display for Mixed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name) = self;
        write!(
            out,
            "The name \"{name}\" contains mixed mangled and unmangled characters \
             or it's already mangled improperly."
        )
    }
}

impl std::error::Error for Mixed {}

fn is_safe(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"#+-.:=@_".contains(&byte)
}

/// The mangled form of `name`; a name that needs nothing comes back as it is.
///
/// # Errors
/// In mode [`Mode::Auto`] for a name that is half mangled.
///
/// ```
/// use libdm::mangle::{Mode, mangle};
/// assert_eq!(mangle("a b", Mode::Auto).as_deref(), Ok("a\\x20b"));
/// assert_eq!(mangle("a\\x20b", Mode::Auto).as_deref(), Ok("a\\x20b"));
/// assert_eq!(mangle("a\\x20b", Mode::Hex).as_deref(), Ok("a\\x5cx20b"));
/// assert!(mangle("a\\x20b c", Mode::Auto).is_err());
/// ```
pub fn mangle(name: &str, mode: Mode) -> Result<String, Mixed> {
    let mixed = || Mixed(name.into());
    let mut mangled = String::with_capacity(name.len());
    let (mut kept, mut written) = (false, false);
    let mut rest = name;
    while let Some(&byte) = rest.as_bytes().first() {
        if mode == Mode::Auto && rest.starts_with("\\x") {
            let code = rest.get(..4).ok_or_else(mixed)?;
            mangled.push_str(code);
            kept = true;
            rest = rest.get(4..).unwrap_or_default();
            continue;
        }
        let character = rest.chars().next().map_or(1, char::len_utf8);
        let (bytes, after) = rest.split_at(character);
        if is_safe(byte) || mode == Mode::None {
            mangled.push_str(bytes);
        } else {
            bytes.bytes().for_each(|byte| mangled.push_str(&format!("\\x{byte:02x}")));
            written = true;
        }
        rest = after;
    }
    if kept && written { Err(mixed()) } else { Ok(mangled) }
}

/// The name that [`mangle`] mangled. Codes that do not make up text are left as they are.
///
/// ```
/// assert_eq!(libdm::mangle::unmangle("a\\x20b"), "a b");
/// assert_eq!(libdm::mangle::unmangle("a\\xff"), "a\\xff");
/// ```
#[must_use]
pub fn unmangle(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find("\\x") {
        let (before, code) = rest.split_at(at);
        bytes.extend_from_slice(before.as_bytes());
        let digits = code.get(2..4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = code.get(4..).unwrap_or_default();
            }
            None => {
                bytes.extend_from_slice(b"\\x");
                rest = code.get(2..).unwrap_or_default();
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).unwrap_or_else(|_| name.into())
}
