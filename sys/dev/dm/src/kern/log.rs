//! The system's log.

use super::raw;

/// Writes one line. Never call it with text that may hold a key.
pub fn line(text: &str) {
    raw::dm_kern_log(text);
}
