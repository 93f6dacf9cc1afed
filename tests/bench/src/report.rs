//! Rows of results: as a table, and as tab-separated values.

use crate::sample::Summary;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds; less is better.
    Ns,
    /// Microseconds; less is better.
    Us,
    /// Milliseconds; less is better.
    Ms,
    /// Instructions; less is better.
    Instructions,
    /// Megabytes a second; more is better.
    MbPerS,
    /// Requests a second; more is better.
    Iops,
}

const UNITS: [(Unit, &str); 6] = [
    (Unit::Ns, "ns"),
    (Unit::Us, "us"),
    (Unit::Ms, "ms"),
    (Unit::Instructions, "instructions"),
    (Unit::MbPerS, "MB/s"),
    (Unit::Iops, "iops"),
];

impl Unit {
    /// As printed.
    pub fn name(self) -> &'static str {
        UNITS.iter().find(|(unit, _)| *unit == self).map_or("", |(_, name)| name)
    }

    fn from_name(name: &str) -> Option<Self> {
        UNITS.iter().find(|(_, known)| *known == name).map(|(unit, _)| *unit)
    }
}

/// One result.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it belongs to; one table and one plot each.
    pub part: String,
    /// What was measured.
    pub name: String,
    /// In what.
    pub unit: Unit,
    /// What came out.
    pub summary: Summary,
    /// What it is compared with, and that one's median.
    pub peer: Option<(String, f64)>,
}

/// The first line of the tab-separated values.
pub const HEAD: &str = "part\tname\tunit\tmedian\tlow\thigh\tsamples\tpeer\tratio";

impl Row {
    /// A result that is not compared.
    pub fn new(part: &str, name: &str, unit: Unit, summary: Summary) -> Self {
        Self { part: part.to_owned(), name: name.to_owned(), unit, summary, peer: None }
    }

    /// Compared with the median of another.
    pub fn against(mut self, peer: &str, median: Option<f64>) -> Self {
        self.peer = median.filter(|_| peer != self.name).map(|median| (peer.to_owned(), median));
        self
    }

    /// How many times the peer's.
    pub fn ratio(&self) -> Option<f64> {
        self.peer.as_ref().map(|(_, median)| self.summary.median / median)
    }

    fn to_line(&self) -> String {
        let Summary { median, low, high, count } = self.summary;
        let peer = self.peer.as_ref().map_or("", |(name, _)| name);
        let ratio = self.ratio().map(|ratio| format!("{ratio:.3}")).unwrap_or_default();
        let (part, name, unit) = (&self.part, &self.name, self.unit.name());
        format!(
            "{part}\t{name}\t{unit}\t{median:.2}\t{low:.2}\t{high:.2}\t{count}\t{peer}\t{ratio}"
        )
    }

    /// Reads a line with the columns of [`HEAD`]; the last two may be missing.
    pub fn from_line(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split('\t').collect();
        let [part, name, unit, median, low, high, count, rest @ ..] = words.as_slice() else {
            return None;
        };
        let summary = Summary {
            median: median.parse().ok()?,
            low: low.parse().ok()?,
            high: high.parse().ok()?,
            count: count.parse().ok()?,
        };
        let row = Self::new(part, name, Unit::from_name(unit)?, summary);
        let peer = rest.first().filter(|peer| !peer.is_empty());
        let ratio = rest.get(1).and_then(|ratio| ratio.parse::<f64>().ok());
        Some(match (peer, ratio) {
            (Some(peer), Some(ratio)) => row.against(peer, Some(summary.median / ratio)),
            _ => row,
        })
    }
}

/// The parts in the order in which they come, each with its rows.
pub fn by_part(rows: &[Row]) -> Vec<(&str, Vec<&Row>)> {
    let mut parts: Vec<(&str, Vec<&Row>)> = Vec::new();
    for row in rows {
        match parts.iter_mut().find(|(part, _)| *part == row.part) {
            Some((_, rows)) => rows.push(row),
            None => parts.push((&row.part, vec![row])),
        }
    }
    parts
}

/// The table of one part, in Markdown.
pub fn table(rows: &[&Row]) -> String {
    let head = ["", "median", "10 % to 90 %", "unit", "more by", "times", "of"];
    let mut lines = vec![head.map(String::from)];
    for row in rows {
        let Summary { median, low, high, count } = row.summary;
        let spread =
            if count > 1 { format!("{} to {}", short(low), short(high)) } else { "-".into() };
        let (mut more, mut times, mut of) = ("-".to_owned(), "-".to_owned(), "-".to_owned());
        if let (Some((peer, of_peer)), Some(ratio)) = (&row.peer, row.ratio()) {
            more = short(median - of_peer);
            times = format!("{ratio:.2}");
            of.clone_from(peer);
        }
        lines.push([
            row.name.clone(),
            short(median),
            spread,
            row.unit.name().into(),
            more,
            times,
            of,
        ]);
    }
    let mut text = String::new();
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    for (nr, line) in lines.iter().enumerate() {
        for (nr, (word, width)) in line.iter().zip(widths).enumerate() {
            let padded = match nr {
                1 | 2 | 4 | 5 => format!("{word:>width$}"),
                _ => format!("{word:<width$}"),
            };
            // Writing to a string cannot fail.
            let _ = write!(text, "| {padded} ");
        }
        text.push_str("|\n");
        if nr == 0 {
            for (nr, width) in widths.iter().enumerate() {
                let right = if [1, 2, 4, 5].contains(&nr) { ":" } else { "-" };
                let _ = write!(text, "| {}{right} ", "-".repeat(width.saturating_sub(1)));
            }
            text.push_str("|\n");
        }
    }
    text
}

/// A number with as many digits as mean something.
pub fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Writes all rows.
///
/// # Errors
/// Those of the file.
pub fn save(rows: &[&Row], path: &Path) -> io::Result<()> {
    let lines: Vec<String> = rows.iter().map(|row| row.to_line()).collect();
    fs::write(path, format!("{HEAD}\n{}\n", lines.join("\n")))
}

/// Reads rows; lines that are none are skipped.
pub fn load(path: &Path) -> Vec<Row> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(Row::from_line).collect()
}
