//! The selection language of -S: `open>0 && (name=~"^vg0-" || !(readonly=Read-only))`.

use super::fields::{self, Field};
use super::{Row, Value};
use regex_lite::Regex;

/// Which rows are wanted.
#[derive(Debug)]
pub enum Selection {
    All(Vec<Selection>),
    Any(Vec<Selection>),
    Not(Box<Selection>),
    Test(&'static Field, Test),
}

/// One comparison.
#[derive(Debug)]
pub enum Test {
    Text { text: String, equal: bool },
    Pattern { pattern: Regex, matching: bool },
    Number(fn(&u64, &u64) -> bool, u64),
}

/// Why there is no selection.
#[derive(Debug)]
pub enum Wrong {
    /// Help was asked for.
    Help,
    /// These lines.
    Because(String),
    /// These lines, after the fields.
    Field(String),
    /// These lines, after the operators.
    Operator(String),
}

impl Selection {
    /// Reads a selection; an empty one is none.
    pub fn parse(text: &str) -> Result<Option<Self>, Wrong> {
        if text.is_empty() {
            return Ok(None);
        }
        let mut parser = Parser { rest: text };
        let selection = parser.any()?;
        if !parser.rest.is_empty() {
            return Err(Wrong::Because(parser.syntax("Expecting logical operator")));
        }
        Ok(Some(selection))
    }

    /// The fields it looks at.
    pub fn fields(&self) -> Vec<&'static Field> {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::fields).collect(),
            Self::Not(part) => part.fields(),
            Self::Test(field, _) => vec![field],
        }
    }

    /// True when a row is wanted; an error names the field that the row does not have.
    pub fn matches(&self, row: &Row) -> Result<bool, &'static str> {
        Ok(match self {
            Self::All(parts) => {
                let parts = parts.iter().map(|part| part.matches(row));
                parts.collect::<Result<Vec<_>, _>>()?.into_iter().all(|matches| matches)
            }
            Self::Any(parts) => {
                let parts = parts.iter().map(|part| part.matches(row));
                parts.collect::<Result<Vec<_>, _>>()?.into_iter().any(|matches| matches)
            }
            Self::Not(part) => !part.matches(row)?,
            Self::Test(field, test) => match ((field.value)(row).ok_or(field.id)?, test) {
                (Value::Text(held), Test::Text { text, equal }) => (held == *text) == *equal,
                (Value::Text(held), Test::Pattern { pattern, matching }) => {
                    pattern.is_match(&held) == *matching
                }
                (Value::Number(held), Test::Number(compare, number)) => compare(&held, number),
                _ => false,
            },
        })
    }
}

const COMPARISONS: &[&str] =
    &["=~", "!~", "!=", ">=", "<=", "=", ">", "<", "since", "after", "until", "before"];

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, tokens: &[&str]) -> bool {
        let here = self.rest.trim_start();
        let found = tokens.iter().find_map(|token| here.strip_prefix(token));
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn syntax(&self, why: &str) -> String {
        syntax(why, self.rest)
    }

    fn any(&mut self) -> Result<Selection, Wrong> {
        let mut parts = vec![self.all()?];
        while self.take(&["||", "#"]) {
            parts.push(self.all()?);
        }
        Ok(Selection::Any(parts))
    }

    fn all(&mut self) -> Result<Selection, Wrong> {
        let mut parts = vec![self.one()?];
        while self.take(&["&&", ","]) {
            parts.push(self.one()?);
        }
        self.skip();
        Ok(Selection::All(parts))
    }

    fn one(&mut self) -> Result<Selection, Wrong> {
        self.skip();
        let negated = !self.rest.starts_with("!~") && self.take(&["!"]);
        if negated && !self.rest.starts_with('(') {
            let why = format!("Syntax error: left parenthesis expected at '{}'", self.rest);
            return Err(Wrong::Because(why));
        }
        if !self.take(&["("]) {
            return self.test();
        }
        let inside = self.any()?;
        if !self.take(&[")"]) {
            let why = format!("Syntax error: right parenthesis expected at '{}'", self.rest);
            return Err(Wrong::Because(why));
        }
        Ok(if negated { Selection::Not(Box::new(inside)) } else { inside })
    }

    fn test(&mut self) -> Result<Selection, Wrong> {
        let start = self.rest;
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '?');
        let length = start.find(|c| !is_name(c)).unwrap_or(start.len());
        let (name, after) = start.split_at(length);
        let field = match fields::find(name, &[]) {
            _ if name.is_empty() => {
                return Err(Wrong::Because(syntax("Expecting field name", start)));
            }
            fields::Found::Help => return Err(Wrong::Help),
            fields::Found::Fields(found) if found.len() == 1 => found.first().copied(),
            _ => None,
        };
        let Some(field) = field else {
            let why = format!("Unrecognised selection field: {name}");
            return Err(Wrong::Field(syntax(&why, start)));
        };
        self.rest = after.trim_start();
        let comparison = COMPARISONS.iter().find(|word| self.rest.starts_with(**word));
        let Some(comparison) = comparison else {
            let why = format!("Unrecognised comparison operator: {}", self.rest);
            return Err(Wrong::Operator(syntax(&why, start)));
        };
        self.rest = self.rest.get(comparison.len()..).unwrap_or_default();
        match *comparison {
            "since" | "after" | "until" | "before" => {
                let why = format!("Operator can be used only with time fields: {start}");
                Err(Wrong::Operator(syntax(&why, start)))
            }
            "=~" | "!~" if field.is_number => Err(Wrong::Because(format!(
                "dm_report: incompatible comparison type for selection field {}",
                field.id
            ))),
            "=~" | "!~" => self.pattern(field, start, *comparison == "=~"),
            _ if field.is_number => self.number(field, start, comparison),
            "=" | "!=" => {
                let text = self.value(false).map_err(|why| broken(&why, "string", field, start))?;
                let test = Test::Text { text, equal: *comparison == "=" };
                Ok(Selection::Test(field, test))
            }
            _ => {
                let why = "Operator can be used only with number, size, time or percent fields";
                Err(Wrong::Operator(syntax(&format!("{why}: {start}"), start)))
            }
        }
    }

    fn number(
        &mut self,
        field: &'static Field,
        start: &str,
        comparison: &str,
    ) -> Result<Selection, Wrong> {
        let wrong = || {
            let why = format!("Failed to parse numeric value for selection field {}.", field.id);
            Wrong::Because(syntax(&why, start))
        };
        let number = self.value(false).map_err(|_| wrong())?.parse().map_err(|_| wrong())?;
        let compare: fn(&u64, &u64) -> bool = match comparison {
            "=" => u64::eq,
            "!=" => u64::ne,
            ">=" => u64::ge,
            ">" => u64::gt,
            "<=" => u64::le,
            _ => u64::lt,
        };
        Ok(Selection::Test(field, Test::Number(compare, number)))
    }

    fn pattern(
        &mut self,
        field: &'static Field,
        start: &str,
        matching: bool,
    ) -> Result<Selection, Wrong> {
        let text = self.value(true).map_err(|why| broken(&why, "regex", field, start))?;
        let pattern = Regex::new(&text).map_err(|why| {
            broken(&format!("Invalid regular expression: {why}."), "regex", field, start)
        })?;
        Ok(Selection::Test(field, Test::Pattern { pattern, matching }))
    }

    /// A value: quoted, or up to white space or a logical operator.
    fn value(&mut self, brackets: bool) -> Result<String, String> {
        self.skip();
        let close = match self.rest.chars().next() {
            Some(quote @ ('"' | '\'')) => Some(quote),
            Some('(') if brackets => Some(')'),
            Some('[') if brackets => Some(']'),
            Some('{') if brackets => Some('}'),
            _ => None,
        };
        if let Some(close) = close {
            let inside = self.rest.get(1..).unwrap_or_default();
            let (value, rest) = inside.split_once(close).ok_or("Missing end quote.")?;
            self.rest = rest;
            return Ok(value.into());
        }
        let ends = |(at, c): &(usize, char)| {
            let rest = self.rest.get(*at..).unwrap_or_default();
            c.is_whitespace()
                || matches!(c, ',' | '#' | ')')
                || rest.starts_with("&&")
                || rest.starts_with("||")
        };
        let end = self.rest.char_indices().find(ends).map_or(self.rest.len(), |(at, _)| at);
        let (value, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(value.into())
    }
}

fn broken(why: &str, kind: &str, field: &Field, start: &str) -> Wrong {
    let why = format!("{why}\nFailed to parse {kind} value for selection field {}.", field.id);
    Wrong::Because(syntax(&why, start))
}

fn syntax(why: &str, at: &str) -> String {
    format!("{why}\nSelection syntax error at '{at}'.\nUse 'help' for selection to get more help.")
}

/// What a selection is made of.
pub const LANGUAGE: &str = "\
Selection operands
------------------
  field               - Reporting field.
  number              - Non-negative integer value.
  string              - Characters quoted by ' or \" or unquoted.
  regular expression  - Characters quoted by ' or \" or unquoted.
 
Selection operators
-------------------
  Comparison operators:
        =~  - Matching regular expression. [regex]
        !~  - Not matching regular expression. [regex]
         =  - Equal to. [number, string]
        !=  - Not equal to. [number, string]
        >=  - Greater than or equal to. [number]
         >  - Greater than. [number]
        <=  - Less than or equal to. [number]
         <  - Less than. [number]
 
  Logical and grouping operators:
      &&  - All fields must match
       ,  - All fields must match
      ||  - At least one field must match
       #  - At least one field must match
       !  - Logical negation
       (  - Left parenthesis
       )  - Right parenthesis
 
";
