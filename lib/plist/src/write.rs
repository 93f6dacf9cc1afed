//! Dictionary to XML.

use crate::base64;
use dm_protocol::{Dict, Value};

const HEAD: &str = concat!(
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n",
    "<!DOCTYPE plist PUBLIC \"-//Apple Computer//DTD PLIST 1.0//EN\" ",
    "\"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n",
    "<plist version=\"1.0\">\n",
);
const TAIL: &str = "\n</plist>\n";

/// Writes an XML property list, in the form that proplib(3) reads.
///
/// There is no indentation: the kernel takes in 64 or 128 KiB, which should hold segments.
#[must_use]
pub fn to_xml(dict: &Dict) -> Vec<u8> {
    let mut length = Length(0);
    document(dict, &mut length);
    let mut text = Vec::with_capacity(length.0);
    document(dict, &mut text);
    text
}

/// Takes the pieces of the text.
trait Sink {
    fn put(&mut self, piece: &str);
}

/// Measures first, so that the text itself is never moved by a growing vector.
struct Length(usize);

impl Sink for Length {
    fn put(&mut self, piece: &str) {
        self.0 += piece.len();
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, piece: &str) {
        self.extend_from_slice(piece.as_bytes());
    }
}

fn document(dict: &Dict, out: &mut impl Sink) {
    out.put(HEAD);
    dictionary(dict, out);
    out.put(TAIL);
}

fn dictionary(dict: &Dict, out: &mut impl Sink) {
    if dict.is_empty() {
        return out.put("<dict/>");
    }
    out.put("<dict>");
    for (key, held) in dict.iter() {
        element("key", key, out);
        value(held, out);
    }
    out.put("</dict>");
}

fn value(value: &Value, out: &mut impl Sink) {
    match value {
        Value::Bool(true) => out.put("<true/>"),
        Value::Bool(false) => out.put("<false/>"),
        Value::Unsigned(number) => element("integer", &number.to_string(), out),
        Value::Signed(number) => element("integer", &number.to_string(), out),
        Value::String(text) => element("string", text, out),
        Value::Data(bytes) => {
            out.put("<data>");
            base64::encode(bytes, |piece| out.put(piece));
            out.put("</data>");
        }
        Value::Array(array) if array.is_empty() => out.put("<array/>"),
        Value::Array(array) => {
            out.put("<array>");
            array.iter().for_each(|held| self::value(held, out));
            out.put("</array>");
        }
        Value::Dict(dict) => dictionary(dict, out),
    }
}

fn element(tag: &str, text: &str, out: &mut impl Sink) {
    out.put("<");
    out.put(tag);
    out.put(">");
    let mut rest = text;
    // proplib knows these entities and no numeric ones.
    while let Some(at) = rest.find(['&', '<', '>']) {
        let (plain, special) = rest.split_at(at);
        out.put(plain);
        out.put(match special.as_bytes().first() {
            Some(b'&') => "&amp;",
            Some(b'<') => "&lt;",
            _ => "&gt;",
        });
        rest = special.get(1..).unwrap_or_default();
    }
    out.put(rest);
    out.put("</");
    out.put(tag);
    out.put(">");
}
