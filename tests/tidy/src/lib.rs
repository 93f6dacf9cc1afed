//! Reads the source tree and checks the rules of CONTRIBUTING.md.
//!
//! A rule takes the [`tree::Tree`] and returns its [`Finding`]s; `tests/rules.rs` runs every rule
//! on the real tree. A rule is silent about a folder that is not there, never about a file.
#![forbid(unsafe_code)]

pub mod arrows;
mod code;
pub mod lists;
pub mod seam;
pub mod source;
pub mod tree;
pub mod unsafety;
pub mod words;

use std::fmt;

/// One place that breaks a rule, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, from the top of the tree, and the line where there is one.
    pub place: String,
    /// What is wrong there.
    pub wrong: String,
    /// How to mend it.
    pub fix: &'static str,
}

impl Finding {
    /// A finding about a whole file or list.
    pub fn file(path: &str, wrong: impl Into<String>, fix: &'static str) -> Self {
        Self { place: path.to_owned(), wrong: wrong.into(), fix }
    }

    /// A finding about one line, counted from zero as the scanners do.
    pub fn line(path: &str, line: usize, wrong: impl Into<String>, fix: &'static str) -> Self {
        Self { place: format!("{path}:{}", line + 1), wrong: wrong.into(), fix }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}\n    fix: {}", self.place, self.wrong, self.fix)
    }
}
