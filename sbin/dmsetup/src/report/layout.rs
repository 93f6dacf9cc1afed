//! How rows are written.

use super::Value;
use super::fields::Field;
use crate::options::{Opt, Options};
use std::io::{self, Write};

/// The form that the options ask for.
pub struct Layout<'a> {
    columns: &'a [&'static Field],
    widths: Vec<usize>,
    aligned: bool,
    headings: bool,
    prefixes: bool,
    quoted: bool,
    rows: bool,
    separator: String,
}

impl<'a> Layout<'a> {
    pub fn new(options: &Options, columns: &'a [&'static Field]) -> Self {
        let given = options.text(Opt::Separator);
        let headings = !options.has(Opt::NoHeadings);
        let prefixes = options.has(Opt::NamePrefixes);
        let rows = options.has(Opt::Rows);
        let separator = given.unwrap_or(if headings { " " } else { ":" });
        Self {
            columns,
            widths: columns.iter().map(|c| c.width.max(c.heading.len())).collect(),
            aligned: given.is_none() && headings && !prefixes && !rows,
            headings,
            prefixes,
            quoted: !options.has(Opt::Unquoted),
            rows,
            separator: separator.into(),
        }
    }

    /// Makes the columns wide enough for these rows.
    pub fn widen(&mut self, rows: &[Vec<Value>]) {
        for row in rows {
            for (width, value) in self.widths.iter_mut().zip(row) {
                *width = value.text().len().max(*width);
            }
        }
    }

    pub fn print(&self, rows: &[Vec<Value>], out: &mut dyn Write) -> io::Result<()> {
        if self.rows {
            return self.print_columns(rows, out);
        }
        self.print_rows(rows, true, out)
    }

    pub fn print_rows(
        &self,
        rows: &[Vec<Value>],
        first: bool,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        if first && self.headings {
            let headings = self
                .columns
                .iter()
                .zip(&self.widths)
                .map(|(column, &width)| self.padded(column.heading.into(), width, false));
            writeln!(out, "{}", headings.collect::<Vec<_>>().join(&self.separator))?;
        }
        for row in rows {
            let cells = self.columns.iter().zip(row).zip(&self.widths);
            let cells = cells.map(|((column, value), &width)| {
                self.padded(self.cell(column, value), width, column.is_number)
            });
            writeln!(out, "{}", cells.collect::<Vec<_>>().join(&self.separator))?;
        }
        Ok(())
    }

    /// One line for each column.
    fn print_columns(&self, rows: &[Vec<Value>], out: &mut dyn Write) -> io::Result<()> {
        for (nr, column) in self.columns.iter().enumerate() {
            let values = rows.iter().filter_map(|row| row.get(nr));
            let mut cells: Vec<String> = values.map(|value| self.cell(column, value)).collect();
            if self.headings {
                cells.insert(0, column.heading.into());
            }
            writeln!(out, "{}", cells.join(&self.separator))?;
        }
        Ok(())
    }

    fn cell(&self, column: &Field, value: &Value) -> String {
        let text = value.text();
        match (self.prefixes, self.quoted) {
            (false, _) => text,
            (true, true) => format!("DM_{}='{text}'", column.id.to_ascii_uppercase()),
            (true, false) => format!("DM_{}={text}", column.id.to_ascii_uppercase()),
        }
    }

    fn padded(&self, text: String, width: usize, right: bool) -> String {
        let fill = " ".repeat(width.saturating_sub(text.len()));
        match (self.aligned, right) {
            (false, _) => text,
            (true, true) => fill + &text,
            (true, false) => text + &fill,
        }
    }
}
