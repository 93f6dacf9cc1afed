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
        let mut segment = SegmentSpec::from_line(line).ok_or_else(|| {
            format!("Invalid format on line {} of table {}.", nr + 1, source.name())
        })?;
        // A comment begins in the parameters only.
        let params = segment.params.split('#').next().unwrap_or_default();
        let length = params.trim_end().len();
        segment.params.truncate(length);
        table.push(segment);
    }
    Ok(table)
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
