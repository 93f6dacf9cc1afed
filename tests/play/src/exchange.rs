//! The disk over which cases go into a guest and images come out of it.
//!
//! It begins with the text of the cases, closed by a zero byte. Behind it lie, for each disk of
//! each case in order, the image that Linux works on and the one that we wrote; then room for a
//! copy of the largest. What the guest prints comes over a serial line, see [`Report`].

use crate::case::{Case, Script};
use std::collections::BTreeMap;

/// Room for the text.
pub const TEXT: u64 = 4 << 20;

/// Images begin on multiples of this.
const ALIGN: u64 = 1 << 20;

/// Where the images of a disk are, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// What Linux writes before the handover.
    pub linux: u64,
    /// What we wrote before the handover.
    pub ours: u64,
    /// A place to work on a copy of Linux's.
    pub scratch: u64,
    /// Its length.
    pub bytes: u64,
}

/// The places of the disks of all cases, and the size of the whole.
#[must_use]
pub fn layout(script: &Script) -> (Vec<Vec<Place>>, u64) {
    let mut next = TEXT;
    let mut take = |bytes: u64| {
        let at = next;
        next += bytes.next_multiple_of(ALIGN);
        at
    };
    let mut places: Vec<Vec<Place>> = Vec::new();
    for case in &script.cases {
        let place = |bytes| Place { linux: take(bytes), ours: take(bytes), scratch: 0, bytes };
        places.push(case.disks.iter().map(|disk| disk.sectors * 512).map(place).collect());
    }
    let mut end = next;
    for case in &mut places {
        let mut scratch = next;
        for place in case {
            place.scratch = scratch;
            scratch += place.bytes.next_multiple_of(ALIGN);
        }
        end = end.max(scratch);
    }
    (places, end)
}

/// Which steps were played on which disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Those before the handover.
    Before,
    /// Those behind it, on what the same side left.
    After,
    /// Those behind it, on what the other side left.
    Crossed,
}

impl Part {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Before, "before"), (Self::After, "after"), (Self::Crossed, "crossed")];
}

/// A part of a case, by the case's number.
type Key = (usize, Part);

/// What the steps of each part of each case printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// By the number of the case.
    pub parts: BTreeMap<Key, Vec<Vec<String>>>,
    /// The versions of kernel and dmsetup.
    pub versions: String,
    /// The targets that the kernel has.
    pub targets: Vec<String>,
    /// The guest came to its end.
    pub complete: bool,
}

/// One part, as it is sent.
#[must_use]
pub fn print_part(nr: usize, part: Part, printed: &[Vec<String>]) -> String {
    let name = Part::ALL.iter().find(|(known, _)| *known == part).map_or("", |(_, name)| name);
    let mut text = format!("@part {nr} {name}\n");
    for step in printed {
        text.push_str("@step\n");
        for line in step {
            text.push_str(line);
            text.push('\n');
        }
    }
    text + "@end\n"
}

/// Reads what a guest sent; a part that did not come to its end is left out.
#[must_use]
pub fn read(text: &str) -> Report {
    let mut report = Report::default();
    let mut open: Option<(Key, Vec<Vec<String>>)> = None;
    for line in text.lines().map(|line| line.trim_end_matches('\r')) {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["@versions", rest @ ..] => report.versions = rest.join(" "),
            ["@targets", rest @ ..] => report.targets = rest.iter().map(|&t| t.into()).collect(),
            ["@part", nr, name] => {
                let part = Part::ALL.iter().find(|(_, known)| known == name).map(|(part, _)| *part);
                open = nr.parse().ok().zip(part).map(|key| (key, Vec::new()));
            }
            ["@step"] => open.iter_mut().for_each(|(_, steps)| steps.push(Vec::new())),
            ["@end"] => report.parts.extend(open.take()),
            ["@complete"] => report.complete = true,
            _ => {
                if let Some(step) = open.as_mut().and_then(|(_, steps)| steps.last_mut()) {
                    step.push(line.into());
                }
            }
        }
    }
    report
}

/// True if Linux has all that a case needs.
#[must_use]
pub fn has_targets(case: &Case, targets: &[String]) -> bool {
    case.targets().iter().all(|target| targets.contains(target))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::parse;

    #[test]
    fn places_do_not_overlap() {
        let script = parse("== a\ndisk a 4096\ndisk b 8\n== b\ndisk a 1\n").expect("a good file");
        let (places, end) = layout(&script);
        let mut all: Vec<(u64, u64)> = Vec::new();
        for place in places.iter().flatten() {
            all.extend([(place.linux, place.bytes), (place.ours, place.bytes)]);
        }
        all.push((places[0][0].scratch, places[0][0].bytes));
        all.push((places[0][1].scratch, places[0][1].bytes));
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{all:?}");
        assert!(all.iter().all(|(at, bytes)| at + bytes <= end));
    }

    #[test]
    fn what_is_sent_is_read_back() {
        let printed = vec![vec!["a b".to_owned(), "c".into()], Vec::new()];
        let text = print_part(3, Part::Crossed, &printed) + "@part 4 before\n@step\nhalf";
        let report = read(&text);
        assert_eq!(report.parts.get(&(3, Part::Crossed)), Some(&printed));
        assert_eq!((report.parts.len(), report.complete), (1, false));
    }
}
