//! Tables as people write them: one segment a line, `start length target parameters`.

use libdm::SegmentSpec;
use std::fmt::Write as _;

/// Where a table comes from, for the lines that complain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Argument,
    /// Standard input.
    Stdin,
    /// This file.
    File(String),
}

impl Source {
    fn name(&self) -> &str {
        match self {
            Self::Argument => "",
            Self::Stdin => "on stdin",
            Self::File(name) => name,
        }
    }
}

/// Reads a table. Blank lines and lines that begin with `#` count but say nothing; within a line
/// `#` begins a comment too.
///
/// # Errors
/// The line to print, which names the line that is wrong.
pub fn parse(text: &str, source: Source) -> Result<Vec<SegmentSpec>, String> {
    let mut table = Vec::new();
    for (nr, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let segment = parse_line(line).ok_or_else(|| {
            format!("Invalid format on line {} of table {}.", nr + 1, source.name())
        })?;
        table.push(segment);
    }
    Ok(table)
}

fn parse_line(line: &str) -> Option<SegmentSpec> {
    let (start, rest) = split_word(line)?;
    let (length, rest) = split_word(rest)?;
    let (target, params) = split_word(rest)?;
    let params = params.split_once('#').map_or(params, |(params, _)| params).trim();
    Some(SegmentSpec::new(number(start)?, number(length)?, target, params))
}

fn split_word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    Some((word, rest)).filter(|(word, _)| !word.is_empty())
}

fn number(word: &str) -> Option<u64> {
    word.parse().ok().filter(|_| word.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Writes a table, one line for each segment.
#[must_use]
pub fn write(table: &[SegmentSpec]) -> String {
    let mut text = String::new();
    for segment in table {
        let SegmentSpec { start, length, target, params } = segment;
        // Writing to memory does not fail.
        let _ = writeln!(text, "{start} {length} {target} {}", params.as_str());
    }
    text
}
