//! The dm control channel's dictionary as property list text.
//!
//! [`to_xml`] writes what proplib(3) and Apple's tools read; [`from_xml`] reads what they write.
//! The same dictionary can travel as JSON, as in newer proplib. [`from_any`] tells them apart.
//!
//! Reading is safe on any bytes: time is linear in their number, a dictionary nests at most
//! [`DEPTH_MAX`] deep and holds at most [`KEYS_MAX`] keys. The XML reader is our own because
//! requests may carry keys of ciphers: it makes no copy of a text but the one in the dictionary,
//! and the writer allocates once, so that a caller who wipes both leaves nothing behind.
//! `serde_json` does not promise that.
#![forbid(unsafe_code)]

mod base64;
mod json;
mod read;
mod write;

use dm_protocol::Dict;
use std::fmt;

pub use json::{from_json, to_json};
pub use read::from_xml;
pub use write::to_xml;

/// How deep arrays and dictionaries may nest; the outermost dictionary is the first level.
pub const DEPTH_MAX: usize = 8;

/// How many keys one dictionary may hold.
pub const KEYS_MAX: usize = 64;

/// How a dictionary was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An XML property list.
    Xml,
    /// A JSON object.
    Json,
}

/// Why text is not a dictionary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The byte at which reading stopped.
    pub offset: usize,
    /// What was wrong there.
    pub reason: String,
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "property list, byte {}: {}", self.offset, self.reason)
    }
}

impl std::error::Error for Error {}

/// Reads a dictionary in whichever format it is written: JSON begins with `{`.
///
/// # Errors
/// When it is neither, or goes beyond [`DEPTH_MAX`] or [`KEYS_MAX`].
pub fn from_any(text: &[u8]) -> Result<(Dict, Format), Error> {
    match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => from_json(text).map(|dict| (dict, Format::Json)),
        _ => from_xml(text).map(|dict| (dict, Format::Xml)),
    }
}

/// Writes a dictionary in the format asked for.
#[must_use]
pub fn to_format(dict: &Dict, format: Format) -> Vec<u8> {
    match format {
        Format::Xml => to_xml(dict),
        Format::Json => to_json(dict),
    }
}
