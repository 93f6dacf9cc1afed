//! What a Linux kernel printed and wrote when the cases were recorded, played on our driver. It
//! needs no guest.

use dm_oracle::agree::differences;
use dm_oracle::cases::{self, Cases};
use dm_oracle::ours::{Images, fresh, has_targets, not_refused, run};
use dm_play::case::{Case, Step, foreign};
use dm_play::images;
use std::collections::BTreeMap;
use std::fs;

/// Plays steps and compares with the recording; gives the disks.
fn check(title: &str, case: &Case, steps: &[Step], images: &Images, all: &mut String) -> Images {
    let (printed, left) = run(case, steps, images);
    let expected = |nr: usize| steps.get(nr).map_or_else(Vec::new, |step| step.expected().into());
    if let Some(differences) = differences(title, steps, &expected, &printed) {
        all.push_str(&differences);
    }
    left
}

/// Every case that satisfies `choose`, with what differs.
fn each(choose: impl Fn(&Case) -> bool, act: impl Fn(&str, &Case, &mut String)) -> usize {
    let (mut all, mut count, mut waiting) = (String::new(), 0, BTreeMap::<_, u32>::new());
    for file in cases::all() {
        let Cases { script, .. } = &file;
        for case in script.cases.iter().filter(|case| choose(case)) {
            let title = file.title(case);
            if has_targets(case) && case.refused_here {
                let taken = not_refused(case).into_iter();
                all.extend(taken.map(|line| format!("{title}: is not refused: {line}\n")));
                count += 1;
            } else if has_targets(case) {
                act(&title, case, &mut all);
                count += 1;
            } else {
                *waiting.entry(file.name.clone()).or_default() += 1;
            }
        }
    }
    println!("{count} cases; these need targets that the driver does not have: {waiting:?}");
    assert!(all.is_empty(), "\n{all}");
    count
}

#[test]
fn the_driver_prints_what_linux_printed() {
    let count = each(
        |case| !foreign(&case.before),
        |title, case, all| {
            let left = check(title, case, &case.before, &fresh(case), all);
            if let Some(after) = case.after.as_deref().filter(|after| !foreign(after)) {
                check(title, case, after, &left, all);
            }
        },
    );
    assert!(count >= 4, "only {count} cases");
}

#[test]
fn the_driver_reads_what_linux_wrote() {
    each(
        |case| case.keep.is_some() && case.after.as_deref().is_some_and(|after| !foreign(after)),
        |title, case, all| {
            let load = |disk| images::load(&case.image(disk).unwrap_or_default());
            let kept: Images = case.disks.iter().map(load).collect();
            let after = case.after.as_deref().unwrap_or_default();
            check(title, case, after, &kept, all);
        },
    );
}

#[test]
fn files_of_cases_are_written_as_they_are_printed() {
    for file in cases::all() {
        let text = fs::read_to_string(&file.path).expect("a file");
        let printed = dm_play::case::print(&file.script);
        assert_eq!(text, printed, "{}", file.path.display());
    }
}
