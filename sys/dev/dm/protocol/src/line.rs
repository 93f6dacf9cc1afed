//! Devices and tables as people write them.
//!
//! A segment is a line: `start length target parameters`. The concise form holds devices in one
//! text, `name,uuid,minor,flags,table[,table...][;...]`, where a backslash takes `,`, `;` and
//! itself literally; it is what Linux takes as `dm-mod.create=`. What the fields say, and how
//! what is wrong is told, is for the reader.

use crate::SegmentSpec;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use zeroize::Zeroizing;

/// A field of a concise text. It may be a table, and a table may hold a key: so it is wiped.
pub type Field = Zeroizing<String>;

/// Splits a concise text into devices and these into fields, and takes the backslashes away.
#[must_use]
pub fn split(text: &str) -> Vec<Vec<Field>> {
    let mut devices = vec![Vec::new()];
    let mut rest = text;
    loop {
        let (field, behind) = next_field(rest);
        if let Some(fields) = devices.last_mut() {
            fields.push(field);
        }
        let mut behind = behind.chars();
        match behind.next() {
            Some(';') => devices.push(Vec::new()),
            Some(_) => {}
            None => return devices,
        }
        rest = behind.as_str();
    }
}

/// The first field, and what follows from its separator on.
fn next_field(text: &str) -> (Field, &str) {
    let mut chars = text.chars();
    // As long as it can get, so that nothing of it is left where it grew.
    let mut field = Field::new(String::with_capacity(length(text)));
    loop {
        let rest = chars.as_str();
        match chars.next() {
            None | Some(',' | ';') => return (field, rest),
            Some('\\') => field.push(chars.next().unwrap_or('\\')),
            Some(char) => field.push(char),
        }
    }
}

/// Bytes up to the next separator.
fn length(text: &str) -> usize {
    let mut taken = false;
    let separates = |char| {
        let literally = core::mem::take(&mut taken);
        taken = char == '\\' && !literally;
        matches!(char, ',' | ';') && !literally
    };
    text.find(separates).unwrap_or(text.len())
}

/// A field as it is written.
#[must_use]
pub fn escape(field: &str) -> Field {
    let special = |char: &char| matches!(char, ',' | ';' | '\\');
    let extra = field.chars().filter(special).count();
    let mut escaped = Field::new(String::with_capacity(field.len().saturating_add(extra)));
    for char in field.chars() {
        if special(&char) {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}

impl SegmentSpec {
    /// Reads a line of a table; `None` if it is none.
    #[must_use]
    pub fn from_line(line: &str) -> Option<Self> {
        let (start, rest) = word(line)?;
        let (length, rest) = word(rest)?;
        let (target, params) = word(rest)?;
        Some(Self::new(number(start)?, number(length)?, target, params.trim()))
    }
}

fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    Some((word, rest)).filter(|(word, _)| !word.is_empty())
}

/// Digits alone: a sign is none.
fn number(word: &str) -> Option<u64> {
    word.parse().ok().filter(|_| word.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<Vec<String>> {
        let plain = |fields: Vec<Field>| fields.iter().map(|field| (**field).clone()).collect();
        split(text).into_iter().map(plain).collect()
    }

    #[test]
    fn a_backslash_takes_the_meaning_off_what_follows() {
        assert_eq!(fields(""), [[""]]);
        assert_eq!(fields("a,b;c"), [vec!["a", "b"], vec!["c"]]);
        assert_eq!(fields(",;"), [vec!["", ""], vec![""]]);
        assert_eq!(fields("a\\,b\\;c\\\\,d\\e\\"), [["a,b;c\\", "de\\"]]);
        assert_eq!(fields("\u{e4}\\\u{f6},x"), [["\u{e4}\u{f6}", "x"]]);
    }

    #[test]
    fn what_is_escaped_is_one_field_and_never_moves_in_memory() {
        for text in ["", "a,b;c\\", "\\\\", "plain", "\u{e4},"] {
            let escaped = escape(text);
            assert_eq!(fields(&escaped), [[text]]);
            assert_eq!(escaped.capacity(), escaped.len());
        }
        for field in split("a\\,b,cc;\\\\d,,\\").iter().flatten() {
            assert!(field.capacity() <= 4, "{:?} grew", field.as_str());
        }
    }

    #[test]
    fn a_line_is_two_numbers_a_target_and_the_rest() {
        let read = SegmentSpec::from_line;
        assert_eq!(read(" 1\t2 zero"), Some(SegmentSpec::new(1, 2, "zero", "")));
        assert_eq!(read("1 2 linear  a  0 "), Some(SegmentSpec::new(1, 2, "linear", "a  0")));
        for line in ["", "1", "1 2", "1 2 ", "x 2 zero", "1 -2 zero", "+1 2 zero"] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
