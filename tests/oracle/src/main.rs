//! Plays the cases on a Linux guest and on our driver, and compares.
//!
//! `dm-oracle GUEST [--record] [NAME...]`: GUEST is the folder that `guest.sh` made; names select
//! cases by a part of `file: case`. With `--record` what Linux printed and wrote is kept.

use dm_oracle::agree::differences;
use dm_oracle::cases::{self, Cases};
use dm_oracle::guest::{Guest, Outcome};
use dm_oracle::ours::{Images, fresh, has_targets, not_refused, run};
use dm_play::case::{Case, Script, Step, foreign};
use dm_play::exchange::{self, Part};
use dm_play::images;
use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// What our driver did with a case: what it printed before and behind the handover, and what it
/// left at that point.
#[derive(Default)]
struct Played {
    before: Option<Vec<Vec<String>>>,
    after: Option<Vec<Vec<String>>>,
    left: Images,
}

/// One case among those of all files.
struct Chosen {
    file: usize,
    nr: usize,
}

fn main() -> ExitCode {
    let mut words = env::args().skip(1);
    let Some(folder) = words.next() else {
        eprintln!("usage: dm-oracle GUEST [--record] [NAME...]");
        return ExitCode::FAILURE;
    };
    let (options, names): (Vec<String>, Vec<String>) = words.partition(|word| word == "--record");
    let mut files = cases::all();
    let chosen = choose(&files, &names);
    let case = |chosen: &Chosen| files[chosen.file].script.cases[chosen.nr].clone();
    let script = Script { head: Vec::new(), cases: chosen.iter().map(case).collect() };
    let new: Vec<Images> = script.cases.iter().map(fresh).collect();
    let ours: Vec<Played> =
        script.cases.iter().zip(&new).map(|(case, new)| ours(case, new)).collect();
    let left: Vec<Images> = ours.iter().map(|played| played.left.clone()).collect();
    println!("playing {} cases on a Linux guest", script.cases.len());
    let start = Instant::now();
    let outcome = match Guest::new(Path::new(&folder)).play(&script, &new, &left) {
        Ok(outcome) => outcome,
        Err(why) => {
            eprintln!("dm-oracle: {why}");
            return ExitCode::FAILURE;
        }
    };
    println!("{}: {} seconds", outcome.report.versions, start.elapsed().as_secs());
    if !outcome.report.complete {
        println!("the guest did not come to its end:\n{}", outcome.console);
    }
    if !options.is_empty() {
        record(&mut files, &chosen, &outcome);
    }
    let cases = chosen.iter().map(|Chosen { file, nr }| {
        let file = &files[*file];
        (file.title(&file.script.cases[*nr]), &file.script.cases[*nr])
    });
    judge(cases, &ours, &outcome)
}

fn choose(files: &[Cases], names: &[String]) -> Vec<Chosen> {
    let mut chosen = Vec::new();
    for (file, cases) in files.iter().enumerate() {
        for (nr, case) in cases.script.cases.iter().enumerate() {
            let title = cases.title(case);
            if names.is_empty() || names.iter().any(|name| title.contains(name.as_str())) {
                chosen.push(Chosen { file, nr });
            }
        }
    }
    chosen
}

fn ours(case: &Case, new: &Images) -> Played {
    if !has_targets(case) || case.refused_here || foreign(&case.before) {
        return Played { left: new.clone(), ..Played::default() };
    }
    let (before, left) = run(case, &case.before, new);
    let after = case.after.as_deref().filter(|after| !foreign(after));
    let after = after.map(|after| run(case, after, &left).0);
    Played { before: Some(before), after, left }
}

/// What Linux printed becomes what is expected; disks that a case keeps are kept.
fn record(files: &mut [Cases], chosen: &[Chosen], outcome: &Outcome) {
    for (nr, Chosen { file, nr: case }) in chosen.iter().enumerate() {
        let case = &mut files[*file].script.cases[*case];
        let set = |part, steps: &mut [Step]| {
            let printed = outcome.report.parts.get(&(nr, part));
            for (step, lines) in steps.iter_mut().zip(printed.into_iter().flatten()) {
                step.linux.clone_from(lines);
                // What is the same now needs no word of its own.
                step.ours.take_if(|ours| *ours == step.linux);
            }
        };
        set(Part::Before, &mut case.before);
        if let Some(after) = case.after.as_mut() {
            set(Part::After, after);
        }
        if outcome.report.parts.contains_key(&(nr, Part::Before)) {
            for (disk, bytes) in case.disks.iter().zip(&outcome.images[nr]) {
                if let Some(name) = case.image(disk) {
                    images::store(&name, bytes).expect("the image is kept");
                }
            }
        }
    }
    files.iter().for_each(Cases::store);
}

/// Says of each case whether all sides agree, and counts.
fn judge<'a>(
    cases: impl Iterator<Item = (String, &'a Case)>,
    ours: &[Played],
    outcome: &Outcome,
) -> ExitCode {
    let (mut passed, mut failed) = (0, 0);
    for (nr, ((title, case), played)) in cases.zip(ours).enumerate() {
        if !exchange::has_targets(case, &outcome.report.targets) {
            dm_skip::skip(&format!("{title}: this Linux has no {:?}", case.targets()));
            passed += 1;
            continue;
        }
        if !has_targets(case) {
            dm_skip::skip(&format!("{title}: the driver has no {:?}", case.targets()));
            passed += 1;
            continue;
        }
        let all = compare(case, nr, played, outcome);
        if all.is_empty() {
            passed += 1;
            println!("test {title} ... ok");
        } else {
            failed += 1;
            println!("test {title} ... FAILED\n{all}");
        }
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {word}. {passed} passed; {failed} failed; 0 ignored");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Every way in which the two sides can follow each other.
fn compare(case: &Case, nr: usize, played: &Played, outcome: &Outcome) -> String {
    let linux = |part| outcome.report.parts.get(&(nr, part)).cloned().unwrap_or_default();
    let after = case.after.as_deref().unwrap_or_default();
    let mut all = String::new();
    let mut same = |who: &str, steps: &[Step], expected: Expected<'_>, printed: &[Vec<String>]| {
        let expected = |nr: usize| expected.of(steps, nr);
        all.extend(differences(who, steps, &expected, printed));
    };
    let (linux_before, linux_after) = (linux(Part::Before), linux(Part::After));
    same("Linux, beside the recording", &case.before, Expected::Recorded, &linux_before);
    same("Linux on its own disks", after, Expected::Recorded, &linux_after);
    if let Some(before) = &played.before {
        same("ours", &case.before, Expected::As(&linux_before), before);
    }
    if case.refused_here {
        let taken = not_refused(case).into_iter();
        all.extend(taken.map(|line| format!("ours: is not refused: {line}\n")));
        return all;
    }
    if !foreign(&case.before) {
        same("Linux on our disks", after, Expected::Recorded, &linux(Part::Crossed));
    }
    if let Some(printed) = &played.after {
        same("ours on its own disks", after, Expected::As(&linux_after), printed);
    }
    if case.after.is_some() && !foreign(after) {
        let images = outcome.images.get(nr).cloned().unwrap_or_default();
        let (printed, _) = run(case, after, &images);
        same("ours on Linux's disks", after, Expected::As(&linux_after), &printed);
    }
    all
}

/// What a side has to print.
#[derive(Clone, Copy)]
enum Expected<'a> {
    /// What is recorded of Linux.
    Recorded,
    /// What Linux printed just now, save where we differ on purpose.
    As(&'a [Vec<String>]),
}

impl Expected<'_> {
    fn of(self, steps: &[Step], nr: usize) -> Vec<String> {
        let step = steps.get(nr);
        match self {
            Self::Recorded => step.map(|step| step.linux.clone()).unwrap_or_default(),
            Self::As(linux) => {
                let ours = step.and_then(|step| step.ours.clone());
                ours.unwrap_or_else(|| linux.get(nr).cloned().unwrap_or_default())
            }
        }
    }
}
