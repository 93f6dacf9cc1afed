//! Names and uuids, checked once where they enter.

use crate::{Errno, Failure};
use alloc::format;
use alloc::string::String;
use core::fmt;
use core::ops::Deref;

/// Longest device name in bytes (`DM_NAME_LEN` less its NUL).
pub const NAME_MAX: usize = 127;
/// Longest uuid in bytes (`DM_UUID_LEN` less its NUL).
pub const UUID_MAX: usize = 128;
/// Longest name of a target type in bytes (`DM_MAX_TYPE_NAME` less its NUL).
pub const TARGET_NAME_MAX: usize = 15;

/// A device name: 1 to [`NAME_MAX`] bytes, no `/`, no control character, not `.` or `..`
/// and not `control`, since it becomes a file in `/dev/mapper`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceName(String);

/// A device's uuid: 1 to [`UUID_MAX`] bytes without `/` and control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(String);

impl DeviceName {
    /// Checks a name.
    ///
    /// # Errors
    /// EINVAL or ENAMETOOLONG, with the reason.
    pub fn new(name: impl Into<String>) -> Result<Self, Failure> {
        let name = name.into();
        check("device name", &name, NAME_MAX)?;
        if matches!(name.as_str(), "." | ".." | "control") {
            return Err(invalid(format!("device name \"{name}\" is reserved")));
        }
        Ok(Self(name))
    }
}

impl Uuid {
    /// Checks a uuid.
    ///
    /// # Errors
    /// EINVAL or ENAMETOOLONG, with the reason.
    pub fn new(uuid: impl Into<String>) -> Result<Self, Failure> {
        let uuid = uuid.into();
        check("uuid", &uuid, UUID_MAX)?;
        Ok(Self(uuid))
    }
}

fn check(what: &str, text: &str, max: usize) -> Result<(), Failure> {
    if text.is_empty() {
        return Err(invalid(format!("{what} is empty")));
    }
    if text.len() > max {
        let message = format!("{what} has {} bytes, at most {max} fit", text.len());
        return Err(Failure::new(Errno::ENAMETOOLONG, message));
    }
    if let Some(bad) = text.chars().find(|&c| c == '/' || c.is_control()) {
        return Err(invalid(format!("{what} \"{}\" has {bad:?} in it", text.escape_debug())));
    }
    Ok(())
}

fn invalid(message: String) -> Failure {
    Failure::new(Errno::EINVAL, message)
}

macro_rules! text_of {
    ($type:ty) => {
        impl Deref for $type {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }
    };
}
text_of!(DeviceName);
text_of!(Uuid);
