//! A dictionary as both sides see it, before it becomes a property list.

use crate::{Errno, Failure};
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use zeroize::Zeroize;

/// A key; the known ones borrow, so that large replies hold no copies.
pub type Key = Cow<'static, str>;

/// What a dictionary holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A truth value.
    Bool(bool),
    /// A number of zero or more.
    Unsigned(u64),
    /// A negative number.
    Signed(i64),
    /// Text.
    String(String),
    /// Bytes.
    Data(Vec<u8>),
    /// A list.
    Array(Vec<Value>),
    /// A dictionary within.
    Dict(Dict),
}

/// Keys and values, in the order in which they were set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dict(Vec<(Key, Value)>);

macro_rules! keys {
    ($($constant:ident $text:literal)*) => {
        /// The keys of the wire.
        pub mod key {
            $(#[doc = concat!("`", $text, "`")] pub const $constant: &str = $text;)*

            /// The key of this text, borrowed when it is a known one.
            #[must_use]
            pub fn intern(text: &str) -> super::Key {
                match text {
                    $($text => super::Key::Borrowed($constant),)*
                    _ => super::Key::Owned(text.into()),
                }
            }
        }
    };
}

keys! {
    ANSWER "answer"
    COMMAND "command"
    CYLINDERS "cylinders"
    DATA "cmd_data"
    DEP_NAMES "dep_names"
    DEV "dev"
    DRY_RUN "dry_run"
    ERRNO "errno"
    ERROR "error"
    EVENT_NR "event_nr"
    FLAGS "flags"
    HEADS "heads"
    LENGTH "length"
    MAJOR "major"
    MESSAGE "message"
    MINOR "minor"
    NAME "name"
    OPEN_COUNT "open_count"
    PARAMS "params"
    SECTOR "sector"
    SECTORS "sectors"
    START "start"
    STATUS "status"
    TARGET_COUNT "target_count"
    TIMEOUT "timeout"
    TYPE "type"
    UUID "uuid"
    VER "ver"
    VERSION "version"
}

impl Dict {
    /// An empty dictionary.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Sets `key`, replacing what it held.
    pub fn set(&mut self, key: impl Into<Key>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        match self.0.iter_mut().find(|(k, _)| *k == key) {
            Some((_, held)) => *held = value,
            None => self.0.push((key, value)),
        }
    }

    /// What `key` holds.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, value)| value)
    }

    /// Takes out what `key` holds.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.0.iter().position(|(k, _)| k == key)?;
        Some(self.0.remove(at).1)
    }

    /// Keys and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), value))
    }

    /// The number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number that `key` holds, if it is there.
    ///
    /// # Errors
    /// EINVAL when it holds something else, or a number beyond `max`.
    pub fn number(&self, key: &str, max: u64) -> Result<Option<u64>, Failure> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Unsigned(number)) if *number <= max => Ok(Some(*number)),
            Some(_) => Err(wrong(key, &format!("a number from 0 to {max}"))),
        }
    }

    /// The 32-bit number that `key` holds, if it is there.
    ///
    /// # Errors
    /// EINVAL when it holds something else.
    pub fn number32(&self, key: &str) -> Result<Option<u32>, Failure> {
        let number = self.number(key, u64::from(u32::MAX))?;
        Ok(number.and_then(|n| u32::try_from(n).ok()))
    }

    /// The text that `key` holds, if it is there.
    ///
    /// # Errors
    /// EINVAL when it holds something else.
    pub fn text(&self, key: &str) -> Result<Option<&str>, Failure> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(key, "text")),
        }
    }

    /// The list that `key` holds, if it is there.
    ///
    /// # Errors
    /// EINVAL when it holds something else.
    pub fn array(&self, key: &str) -> Result<Option<&[Value]>, Failure> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(array)) => Ok(Some(array)),
            Some(_) => Err(wrong(key, "a list")),
        }
    }

    /// The version that `key` holds, if it is there.
    ///
    /// # Errors
    /// EINVAL when it is not a list of three numbers.
    pub fn version(&self, key: &str) -> Result<Option<crate::Version>, Failure> {
        let Some(array) = self.array(key)? else { return Ok(None) };
        let part = |value: &Value| match value {
            Value::Unsigned(number) => u32::try_from(*number).ok(),
            _ => None,
        };
        match array {
            [a, b, c] => match (part(a), part(b), part(c)) {
                (Some(a), Some(b), Some(c)) => Ok(Some([a, b, c])),
                _ => Err(wrong(key, "three numbers")),
            },
            _ => Err(wrong(key, "three numbers")),
        }
    }

    /// Overwrites all text and bytes within: for dictionaries that held a key.
    pub fn wipe(&mut self) {
        self.0.iter_mut().for_each(|(_, value)| value.wipe());
    }
}

impl Value {
    /// Overwrites all text and bytes within.
    pub fn wipe(&mut self) {
        match self {
            Self::String(text) => text.zeroize(),
            Self::Data(bytes) => bytes.zeroize(),
            Self::Array(array) => array.iter_mut().for_each(Self::wipe),
            Self::Dict(dict) => dict.wipe(),
            Self::Bool(_) | Self::Unsigned(_) | Self::Signed(_) => {}
        }
    }
}

fn wrong(key: &str, expected: &str) -> Failure {
    Failure::new(Errno::EINVAL, format!("\"{key}\" is not {expected}"))
}

impl FromIterator<(Key, Value)> for Dict {
    fn from_iter<I: IntoIterator<Item = (Key, Value)>>(pairs: I) -> Self {
        let mut dict = Self::new();
        for (key, value) in pairs {
            dict.set(key, value);
        }
        dict
    }
}

macro_rules! value_from {
    ($($type:ty => $variant:ident)*) => {
        $(impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        })*
    };
}
value_from! {
    bool => Bool
    u32 => Unsigned
    u64 => Unsigned
    &str => String
    String => String
    Vec<Value> => Array
    Dict => Dict
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        u64::try_from(number).map_or(Self::Signed(number), Self::Unsigned)
    }
}

impl From<crate::Version> for Value {
    fn from(version: crate::Version) -> Self {
        Self::Array(version.into_iter().map(Self::from).collect())
    }
}
