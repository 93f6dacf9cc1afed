//! Dictionary to JSON and back. Bytes, which JSON does not know, become base 64 text.

use crate::{DEPTH_MAX, Error, KEYS_MAX, base64};
use dm_protocol::{Dict, Value, key};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use std::fmt;

/// Writes a JSON object.
#[must_use]
pub fn to_json(dict: &Dict) -> Vec<u8> {
    // Writing numbers and text to memory cannot fail.
    serde_json::to_vec(&Object(dict)).unwrap_or_default()
}

/// Reads a JSON object. Fractions and null are refused; a repeated key counts once, the last time.
///
/// # Errors
/// When it is not JSON, not an object, or goes beyond [`DEPTH_MAX`] or [`KEYS_MAX`].
pub fn from_json(text: &[u8]) -> Result<Dict, Error> {
    let end = text.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
    let text = &text[..end];
    let mut reader = serde_json::Deserializer::from_slice(text);
    let read = Level(1).deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    match read {
        Ok(Value::Dict(dict)) => Ok(dict),
        Ok(_) => Err(Error { offset: 0, reason: "not an object".into() }),
        Err(error) => Err(located(text, &error)),
    }
}

/// serde_json counts lines and columns, from 1; we count bytes.
fn located(text: &[u8], error: &serde_json::Error) -> Error {
    let lines = text.split_inclusive(|&byte| byte == b'\n');
    let before: usize = lines.take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    let reason = error.to_string();
    let reason = reason.rsplit_once(" at line ").map_or(reason.as_str(), |(reason, _)| reason);
    Error { offset: before + error.column().saturating_sub(1), reason: reason.into() }
}

struct Object<'a>(&'a Dict);
struct Item<'a>(&'a Value);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(Some(self.0.len()))?;
        for (key, value) in self.0.iter() {
            map.serialize_entry(key, &Item(value))?;
        }
        map.end()
    }
}

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Bool(truth) => out.serialize_bool(*truth),
            Value::Unsigned(number) => out.serialize_u64(*number),
            Value::Signed(number) => out.serialize_i64(*number),
            Value::String(text) => out.serialize_str(text),
            Value::Data(bytes) => {
                let mut digits = String::with_capacity(bytes.len().div_ceil(3) * 4);
                base64::encode(bytes, |piece| digits.push_str(piece));
                out.serialize_str(&digits)
            }
            Value::Array(array) => {
                let mut seq = out.serialize_seq(Some(array.len()))?;
                for value in array {
                    seq.serialize_element(&Item(value))?;
                }
                seq.end()
            }
            Value::Dict(dict) => Object(dict).serialize(out),
        }
    }
}

/// Reads one value whose arrays and dictionaries are on this level.
#[derive(Clone, Copy)]
struct Level(usize);

impl Level {
    /// The level of what an array or dictionary on this one holds.
    fn nested<E: de::Error>(self) -> Result<Self, E> {
        if self.0 > DEPTH_MAX {
            return Err(E::custom(format_args!("nested more than {DEPTH_MAX} deep")));
        }
        Ok(Self(self.0 + 1))
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("true, false, an integer, text, an array or an object")
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Value, E> {
        Ok(truth.into())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        let level = self.nested()?;
        while let Some(value) = seq.next_element_seed(level)? {
            array.push(value);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut dict = Dict::new();
        let level = self.nested()?;
        while let Some(name) = map.next_key_seed(KeyText)? {
            dict.set(name, map.next_value_seed(level)?);
            if dict.len() > KEYS_MAX {
                return Err(de::Error::custom(format_args!("more than {KEYS_MAX} keys")));
            }
        }
        Ok(dict.into())
    }
}

/// Reads a key, without a copy when it is a known one.
struct KeyText;

impl<'de> DeserializeSeed<'de> for KeyText {
    type Value = dm_protocol::Key;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyText {
    type Value = dm_protocol::Key;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(key::intern(text))
    }
}
