//! Files of cases: see `tests/oracle/README.md` for how they are written.

use std::collections::BTreeSet;
use std::fmt::Write;

/// The line between what one side does and what another does with the same disks afterwards.
pub const HANDOVER: &str = "----";

/// A file of cases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The lines before the first case.
    pub head: Vec<String>,
    /// The cases.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Lines before the first step, as they are: disks, comments, `keep`.
    pub preface: Vec<String>,
    /// Its disks.
    pub disks: Vec<Disk>,
    /// The disks at the handover are kept under this name when a Linux kernel wrote them.
    pub keep: Option<String>,
    /// Our driver refuses its tables, on purpose.
    pub refused_here: bool,
    /// The steps before the handover.
    pub before: Vec<Step>,
    /// The steps behind it, on a side that knows nothing but the disks. None without a handover.
    pub after: Option<Vec<Step>>,
}

/// A disk of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Its name, `a` for `$a`.
    pub name: String,
    /// Its size.
    pub sectors: u64,
    /// What it holds at first; zeroes if nothing.
    pub stream: Option<u8>,
}

/// What is asked, and what is printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// What is asked.
    pub line: String,
    /// What a Linux kernel printed.
    pub linux: Vec<String>,
    /// What we print, where that differs on purpose.
    pub ours: Option<Vec<String>>,
}

impl Step {
    /// Its words.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.line.split_whitespace()
    }

    /// What we should print.
    #[must_use]
    pub fn expected(&self) -> &[String] {
        self.ours.as_deref().unwrap_or(&self.linux)
    }
}

impl Case {
    /// All steps.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.before.iter().chain(self.after.iter().flatten())
    }

    /// The targets that its tables name.
    #[must_use]
    pub fn targets(&self) -> BTreeSet<String> {
        let tables = self.steps().filter_map(|step| table(&step.line));
        tables
            .flat_map(table_lines)
            .filter_map(|line| line.split(' ').nth(2).map(Into::into))
            .collect()
    }

    /// The name of the image of a disk that is kept.
    #[must_use]
    pub fn image(&self, disk: &Disk) -> Option<String> {
        self.keep.as_ref().map(|keep| format!("{keep}-{}", disk.name))
    }
}

/// True if some step is for a Linux system only.
#[must_use]
pub fn foreign(steps: &[Step]) -> bool {
    steps.iter().any(|step| step.words().next() == Some("linux"))
}

/// The table in a step that brings one.
#[must_use]
pub fn table(line: &str) -> Option<&str> {
    let mut words = line.splitn(3, ' ');
    let brings = ["create", "reload", "load", "try"].contains(&words.next()?);
    words.next()?;
    words.next().filter(|_| brings)
}

/// The lines of a table that is written on one line.
pub fn table_lines(table: &str) -> impl Iterator<Item = &str> {
    table.split(" / ").map(str::trim)
}

/// Reads a file.
///
/// # Errors
/// A sentence with the number of the line that is wrong.
pub fn parse(text: &str) -> Result<Script, String> {
    let mut script = Script { head: Vec::new(), cases: Vec::new() };
    for (number, line) in (1..).zip(text.lines()) {
        let added = match (line.strip_prefix("== "), script.cases.last_mut()) {
            (Some(name), _) => {
                script.cases.push(Case {
                    name: name.into(),
                    preface: Vec::new(),
                    disks: Vec::new(),
                    keep: None,
                    refused_here: false,
                    before: Vec::new(),
                    after: None,
                });
                Ok(())
            }
            (None, None) => {
                script.head.push(line.into());
                Ok(())
            }
            (None, Some(case)) => case.add(line),
        };
        added.map_err(|why| format!("line {number}: {why}"))?;
    }
    Ok(script)
}

impl Case {
    fn add(&mut self, line: &str) -> Result<(), String> {
        if line == HANDOVER {
            return match self.after.replace(Vec::new()) {
                None => Ok(()),
                Some(_) => Err("a second handover".into()),
            };
        }
        let handed_over = self.after.is_some();
        let steps = self.after.as_mut().unwrap_or(&mut self.before);
        if let Some(asked) = line.strip_prefix("> ") {
            steps.push(Step { line: asked.trim().into(), ..Step::default() });
            return Ok(());
        }
        match (steps.last_mut(), line.strip_prefix("ours|")) {
            (None, _) if !handed_over => self.add_preface(line),
            (None, _) if line.is_empty() => Ok(()),
            (None, _) => Err(format!("\"{line}\" stands before a step")),
            (Some(step), Some(ours)) => {
                let lines = step.ours.get_or_insert_default();
                lines.extend(
                    (!ours.is_empty()).then(|| ours.strip_prefix(' ').unwrap_or(ours).into()),
                );
                Ok(())
            }
            (Some(_), None) if line.is_empty() => Ok(()),
            (Some(step), None) => {
                step.linux.push(line.into());
                Ok(())
            }
        }
    }

    fn add_preface(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["disk", name, sectors, rest @ ..] => {
                let sectors = sectors.parse().map_err(|_| format!("{sectors} is no size"))?;
                let stream = rest.first().map(|word| word.parse()).transpose();
                let stream = stream.map_err(|_| format!("{rest:?} is no stream"))?;
                self.disks.push(Disk { name: (*name).into(), sectors, stream });
            }
            ["refused", "here"] => self.refused_here = true,
            ["keep", name] => self.keep = Some((*name).into()),
            [first, ..] if first.starts_with('#') => {}
            _ => return Err(format!("\"{line}\" is neither a disk nor a comment")),
        }
        self.preface.push(line.into());
        Ok(())
    }
}

/// A file as it is written.
#[must_use]
pub fn print(script: &Script) -> String {
    let mut text = String::new();
    for line in &script.head {
        let _ = writeln!(text, "{line}");
    }
    for (nr, case) in script.cases.iter().enumerate() {
        let gap =
            if nr == 0 && script.head.last().is_none_or(String::is_empty) { "" } else { "\n" };
        let _ = writeln!(text, "{gap}== {}", case.name);
        for line in &case.preface {
            let _ = writeln!(text, "{line}");
        }
        print_steps(&mut text, &case.before);
        if let Some(after) = &case.after {
            let _ = writeln!(text, "{HANDOVER}");
            print_steps(&mut text, after);
        }
    }
    text
}

fn print_steps(text: &mut String, steps: &[Step]) {
    for step in steps {
        let _ = writeln!(text, "> {}", step.line);
        for line in &step.linux {
            let _ = writeln!(text, "{line}");
        }
        match step.ours.as_deref() {
            Some([]) => text.push_str("ours|\n"),
            ours => {
                for line in ours.unwrap_or_default() {
                    let _ = writeln!(text, "ours| {line}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# about\n\n== one\n# why\ndisk a 16 3\nkeep one\n\
                        > create d 0 8 linear $a 0 / 8 8 zero\n\
                        > table d\n0 8 linear $a 0\nours| 0 8 linear $a 00\n----\n> sum a\nab\n";

    #[test]
    fn what_is_read_is_printed_the_same() {
        let script = parse(TEXT).expect("a good file");
        assert_eq!(print(&script), TEXT);
        let case = &script.cases[0];
        assert_eq!(case.disks, [Disk { name: "a".into(), sectors: 16, stream: Some(3) }]);
        assert_eq!(case.targets().into_iter().collect::<Vec<_>>(), ["linear", "zero"]);
        assert_eq!(case.image(&case.disks[0]), Some("one-a".into()));
        assert_eq!(case.before[1].expected(), ["0 8 linear $a 00"]);
    }

    #[test]
    fn nonsense_is_refused_with_its_line() {
        let why = parse("== one\ndisk a x\n").expect_err("no size");
        assert_eq!(why, "line 2: x is no size");
        assert!(parse("== one\n> a\n----\nb\n").is_err(), "output of no step");
        assert!(parse("== one\n----\n----\n").is_err(), "two handovers");
    }

    #[test]
    fn steps_for_linux_only_are_seen() {
        let script = parse("== one\n> linux ls\n----\n> sum a\n").expect("a good file");
        let case = &script.cases[0];
        assert!(foreign(&case.before) && !foreign(case.after.as_deref().unwrap_or_default()));
    }
}
