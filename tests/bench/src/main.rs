//! Measures the device mapper: `dm-bench [--quick] [part...]`.
//!
//! Parts: `driver`, `devices`, `crypt`, `copies`, `startup`, `fronts`, and `netbsd`, which takes
//! what `build.sh vm --bench` measured last. Results are printed, and saved in
//! `target/bench`; `--keep` puts tables and plots into `docs/bench`, too.

mod at_once;
mod copies;
mod crypt;
mod devices;
mod driver;
mod floor;
mod fronts;
mod heap;
mod instructions;
mod mapper;
mod plot;
mod report;
mod request;
mod sample;
mod seam;
mod server;
mod slow;
mod startup;

use report::Row;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, iter};

/// How much time to spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// About a minute.
    Quick,
    /// Some minutes.
    Full,
}

impl Effort {
    /// How often each thing is measured.
    const fn rounds(self, quick: usize, full: usize) -> usize {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }

    const fn is_quick(self) -> bool {
        matches!(self, Self::Quick)
    }
}

/// What can be measured.
const PARTS: [&str; 7] = ["driver", "devices", "crypt", "copies", "startup", "fronts", "netbsd"];

/// Results of the last run.
const RESULTS: &str = "target/bench";

/// Results that are kept.
const KEPT: &str = "docs/bench";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    if let Some(rest) = words.strip_prefix(&[instructions::ARGUMENT.to_owned()]) {
        return instructions::read(rest).map_or_else(|| usage("--read"), |()| ExitCode::SUCCESS);
    }
    let known = |word: &&String| {
        ["--quick", "--keep"].into_iter().chain(PARTS).any(|known| known == **word)
    };
    if let Some(unknown) = words.iter().find(|word| !known(word)) {
        return usage(unknown);
    }
    let has = |wanted: &str| words.iter().any(|word| word == wanted);
    let effort = if has("--quick") { Effort::Quick } else { Effort::Full };
    let all = !PARTS.iter().any(|part| has(part));
    let rows = measure(effort, |part| all || has(part));
    for (part, rows) in report::by_part(&rows) {
        println!("\n{part}\n\n{}", report::table(&rows));
    }
    let kept = if has("--keep") { keep(&rows, Path::new(KEPT)) } else { Ok(()) };
    match save(&rows, Path::new(RESULTS)).and(kept) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("the results cannot be saved: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Replaces what is kept of the parts that were measured, and the tables of all.
fn keep(rows: &[Row], folder: &Path) -> io::Result<()> {
    save(rows, folder)?;
    let mut all: Vec<Row> = Vec::new();
    let mut files: Vec<_> = fs::read_dir(folder)?.filter_map(Result::ok).collect();
    // A part's files begin with its name, those of the fronts with others.
    let rank = |name: &str| PARTS.iter().position(|part| name.starts_with(part));
    files.sort_by_key(|file| {
        let name = file.file_name().to_string_lossy().into_owned();
        (rank(&name).unwrap_or(PARTS.len()), name.len(), name)
    });
    for file in files.iter().filter(|file| file.path().extension().is_some_and(|e| e == "tsv")) {
        all.extend(report::load(&file.path()));
    }
    let path = folder.join("README.md");
    let text = fs::read_to_string(&path)?;
    let (head, _) = text.split_once(MARK).ok_or_else(|| io::Error::other("README.md: no mark"))?;
    let mut text = format!("{head}{MARK}\n");
    for (part, rows) in report::by_part(&all) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\n## {part}\n");
        for (file, _) in plots(part, &rows) {
            let _ = writeln!(text, "![{part}]({file})\n");
        }
        text.push_str(&report::table(&rows));
    }
    fs::write(path, text)
}

/// Behind it, the tables of `README.md` begin.
const MARK: &str = "<!-- Below this line the results are written by --keep. -->";

/// The plots of a part, one for each unit, and their files.
fn plots<'a>(part: &str, rows: &[&'a Row]) -> Vec<(String, Vec<&'a Row>)> {
    let mut plots: Vec<(String, Vec<&Row>)> = Vec::new();
    for row in rows {
        match plots.iter_mut().find(|(_, rows)| rows.iter().any(|other| other.unit == row.unit)) {
            Some((_, rows)) => rows.push(row),
            None => {
                let unit = row.unit.name().replace('/', "-");
                let end = if plots.is_empty() { String::new() } else { format!("-{unit}") };
                plots.push((format!("{}{end}.svg", file_name(part)), vec![row]));
            }
        }
    }
    plots
}

fn file_name(part: &str) -> String {
    part.replace(", ", "-").replace(' ', "-")
}

fn usage(word: &str) -> ExitCode {
    eprintln!("{word}: not understood; dm-bench [--quick] [--keep] [{}]...", PARTS.join("] ["));
    ExitCode::FAILURE
}

fn measure(effort: Effort, wanted: impl Fn(&str) -> bool) -> Vec<Row> {
    let folder = Path::new(RESULTS);
    let parts: [&dyn Fn() -> Vec<Row>; 7] = [
        &|| driver::run(effort),
        &|| devices::run(effort),
        &|| crypt::run(effort),
        &|| copies::run(effort),
        &|| startup::run(effort),
        &|| fronts::run(effort, folder),
        &|| measured(folder, "netbsd"),
    ];
    let wanted = iter::zip(PARTS, parts).filter(|(name, _)| wanted(name));
    wanted.flat_map(|(_, run)| run()).collect()
}

/// What others have measured: the rows of all files that begin with a name.
fn measured(folder: &Path, name: &str) -> Vec<Row> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
    files.sort();
    let wanted = |path: &&PathBuf| {
        let file = path.file_name().map(|file| file.to_string_lossy()).unwrap_or_default();
        file.starts_with(name) && file.ends_with(".tsv")
    };
    files.iter().filter(wanted).flat_map(|path| report::load(path)).collect()
}

/// Tab-separated values and plots of every part.
fn save(rows: &[Row], folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (part, rows) in report::by_part(rows) {
        let name = file_name(part);
        report::save(&rows, &folder.join(format!("{name}.tsv")))?;
        for (file, rows) in plots(part, &rows) {
            fs::write(folder.join(file), plot::plot(part, &rows))?;
        }
    }
    Ok(())
}
