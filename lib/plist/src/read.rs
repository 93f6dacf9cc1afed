//! XML to dictionary.

use crate::{DEPTH_MAX, Error, KEYS_MAX, base64};
use dm_protocol::{Dict, Value, key};

/// Reads an XML property list whose outermost element is a dictionary.
///
/// Integers may be decimal or, as proplib(3) writes them, hexadecimal with `0x`. NUL bytes at the
/// end are skipped, since the kernel counts the one that ends its string. A repeated key counts
/// once, the last time.
///
/// # Errors
/// When it is not such a list, or goes beyond [`DEPTH_MAX`] or [`KEYS_MAX`].
pub fn from_xml(text: &[u8]) -> Result<Dict, Error> {
    let end = text.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
    let text = str::from_utf8(&text[..end])
        .map_err(|wrong| Error { offset: wrong.valid_up_to(), reason: "not UTF-8".into() })?;
    let mut reader = Reader { text, at: 0 };
    reader.document()
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

/// What stands between `<` and `>`.
struct Tag<'a> {
    name: &'a str,
    /// `<name/>`
    empty: bool,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<Dict, Error> {
        let plist = self.tag()?;
        if plist.name != "plist" || plist.empty {
            return Err(self.wrong("expected <plist>"));
        }
        let Value::Dict(dict) = self.value(1)? else {
            return Err(self.wrong("the outermost element is not a dictionary"));
        };
        self.expect("/plist")?;
        self.skip()?;
        if !self.rest().is_empty() {
            return Err(self.wrong("something follows </plist>"));
        }
        Ok(dict)
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn wrong(&self, reason: impl Into<String>) -> Error {
        Error { offset: self.at, reason: reason.into() }
    }

    /// Skips white space, comments, processing instructions and the document type.
    fn skip(&mut self) -> Result<(), Error> {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_ascii_start().len();
            self.at += blank;
            let rest = self.rest();
            let close = if rest.starts_with("<!--") {
                "-->"
            } else if rest.starts_with("<?") {
                "?>"
            } else if rest.starts_with("<!") {
                ">"
            } else {
                return Ok(());
            };
            let length = rest.find(close).ok_or_else(|| self.wrong("no end of comment"))?;
            // A document type with entities of its own could make little text large.
            if close == ">" && rest.get(..length).is_some_and(|dtd| dtd.contains('[')) {
                return Err(self.wrong("a document type with definitions"));
            }
            self.at += length + close.len();
        }
    }

    fn tag(&mut self) -> Result<Tag<'a>, Error> {
        self.skip()?;
        let Some(inside) = self.rest().strip_prefix('<') else {
            return Err(self.wrong("expected <"));
        };
        let length = inside.find(['>', '<']).filter(|&at| inside.as_bytes()[at] == b'>');
        let length = length.ok_or_else(|| self.wrong("no end of tag"))?;
        let inside = inside.get(..length).unwrap_or_default();
        self.at += length + 2;
        let (inside, empty) = match inside.strip_suffix('/') {
            Some(inside) => (inside, true),
            None => (inside, false),
        };
        let name = inside.split_ascii_whitespace().next().unwrap_or_default();
        if !inside.starts_with(name) || name.is_empty() {
            return Err(self.wrong("a tag without name"));
        }
        Ok(Tag { name, empty })
    }

    fn expect(&mut self, name: &str) -> Result<(), Error> {
        let tag = self.tag()?;
        if tag.name != name || tag.empty {
            return Err(self.wrong(format!("expected <{name}>")));
        }
        Ok(())
    }

    /// True, and past it, when the end tag of an array or dictionary comes next.
    fn ended(&mut self, name: &str) -> Result<bool, Error> {
        self.skip()?;
        let here = self.rest().starts_with("</");
        if here {
            self.expect(name)?;
        }
        Ok(here)
    }

    /// Reads one value whose arrays and dictionaries are on level `depth`.
    fn value(&mut self, depth: usize) -> Result<Value, Error> {
        let tag = self.tag()?;
        match (tag.name, tag.empty) {
            ("dict" | "array", _) if depth > DEPTH_MAX => {
                Err(self.wrong(format!("nested more than {DEPTH_MAX} deep")))
            }
            ("dict", true) => Ok(Dict::new().into()),
            ("dict", false) => self.dictionary(depth),
            ("array", true) => Ok(Vec::new().into()),
            ("array", false) => self.array(depth),
            ("string", true) => Ok("".into()),
            ("string", false) => {
                let text = self.text("/string")?;
                Ok(self.unescaped(text)?.into())
            }
            ("integer", false) => {
                let digits = self.text("/integer")?.trim_ascii();
                integer(digits).ok_or_else(|| self.wrong("not a 64-bit integer"))
            }
            ("data", true) => Ok(Value::Data(Vec::new())),
            ("data", false) => {
                let digits = self.text("/data")?;
                let bytes = base64::decode(digits).ok_or_else(|| self.wrong("not base 64"))?;
                Ok(Value::Data(bytes))
            }
            ("true", true) => Ok(true.into()),
            ("false", true) => Ok(false.into()),
            ("true", false) => self.expect("/true").map(|()| true.into()),
            ("false", false) => self.expect("/false").map(|()| false.into()),
            _ => Err(self.wrong(format!("<{}> is not known here", tag.name.escape_debug()))),
        }
    }

    fn dictionary(&mut self, depth: usize) -> Result<Value, Error> {
        let mut dict = Dict::new();
        while !self.ended("/dict")? {
            self.expect("key")?;
            let text = self.text("/key")?;
            let name = match text.contains('&') {
                true => self.unescaped(text)?.into(),
                false => key::intern(text),
            };
            dict.set(name, self.value(depth + 1)?);
            if dict.len() > KEYS_MAX {
                return Err(self.wrong(format!("more than {KEYS_MAX} keys")));
            }
        }
        Ok(dict.into())
    }

    fn array(&mut self, depth: usize) -> Result<Value, Error> {
        let mut array = Vec::new();
        while !self.ended("/array")? {
            array.push(self.value(depth + 1)?);
        }
        Ok(array.into())
    }

    /// The characters up to the end tag, which must be the next tag.
    fn text(&mut self, end: &str) -> Result<&'a str, Error> {
        let rest = self.rest();
        let length = rest.find('<').ok_or_else(|| self.wrong("no end of text"))?;
        self.at += length;
        if !self.rest().starts_with("</") {
            return Err(self.wrong("an element or comment within text"));
        }
        self.expect(end)?;
        Ok(rest.get(..length).unwrap_or_default())
    }

    fn unescaped(&self, text: &str) -> Result<String, Error> {
        // The result is never longer, so it is never moved.
        let mut plain = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, entity)) = rest.split_once('&') {
            plain.push_str(before);
            // The longest entity of one character is &#x10ffff;.
            let name = entity.as_bytes().iter().take(10).position(|&byte| byte == b';');
            let name = name.and_then(|length| entity.get(..length));
            let name = name.ok_or_else(|| self.wrong("& without ;"))?;
            plain.push(character(name).ok_or_else(|| self.wrong("an unknown entity"))?);
            rest = entity.get(name.len() + 1..).unwrap_or_default();
        }
        plain.push_str(rest);
        Ok(plain)
    }
}

fn character(entity: &str) -> Option<char> {
    let code = |digits: &str, radix| {
        let all = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
        u32::from_str_radix(digits, radix).ok().filter(|&code| all && code != 0)
    };
    match entity {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let digits = entity.strip_prefix('#')?;
            char::from_u32(match digits.strip_prefix('x') {
                Some(hex) => code(hex, 16)?,
                None => code(digits, 10)?,
            })
        }
    }
}

fn integer(digits: &str) -> Option<Value> {
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let sign = |text: &str| text.starts_with(['+', '-']);
    match hex {
        Some(hex) if !sign(hex) => u64::from_str_radix(hex, 16).ok().map(Value::from),
        Some(_) => None,
        None if digits.starts_with('-') => digits.parse::<i64>().ok().map(Value::from),
        None if sign(digits) => None,
        None => digits.parse::<u64>().ok().map(Value::from),
    }
}
