//! The processes of the command: who descends from us, and how the last of them end.
//!
//! Whoever loses its parent becomes a child of ours, so that nobody gets out of sight.

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, set_child_subreaper, wait,
};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// What becomes of those who outlive the command, and the time they have: first they may end by
/// themselves, as the rest of a pipeline does.
const STAGES: [(Option<Signal>, Duration); 3] = [
    (None, Duration::from_millis(200)),
    (Some(Signal::TERM), Duration::from_millis(500)),
    (Some(Signal::KILL), Duration::from_secs(1)),
];
/// How often it is looked who is left.
const PAUSE: Duration = Duration::from_millis(5);

/// The command's processes, once it is started.
#[derive(Debug)]
pub struct Family {
    /// Children that we had before.
    strangers: BTreeSet<u32>,
}

impl Family {
    /// Takes in whoever loses its parent from now on. Children that there are remain strangers.
    #[must_use]
    pub fn adopt() -> Self {
        // Without that, who loses its parent is not found again.
        let _ = set_child_subreaper(Some(getpid()));
        Self { strangers: children(std::process::id(), None).into_iter().collect() }
    }

    /// All of them.
    #[must_use]
    pub fn members(&self) -> Vec<u32> {
        let lists = Path::new("/proc/thread-self/children").exists();
        let parents = (!lists).then(by_parent);
        let mut found = Vec::new();
        let mut parent = std::process::id();
        for next in 0.. {
            let born = children(parent, parents.as_ref());
            found.extend(born.into_iter().filter(|child| !self.strangers.contains(child)));
            match found.get(next) {
                Some(member) => parent = *member,
                None => break,
            }
        }
        found
    }

    /// Waits for one of our children, and buries the others that end.
    ///
    /// # Errors
    /// ECHILD when it is none.
    pub fn wait(&self, child: u32) -> Result<WaitStatus, Errno> {
        loop {
            match wait(WaitOptions::empty()) {
                Ok(Some((ended, status))) if number(ended) == child => return Ok(status),
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Has all of them end. Who waits for a device that does not answer may be left.
    pub fn end(&self) {
        for (signal, time) in STAGES {
            let end = Instant::now() + time;
            let mut told = BTreeSet::new();
            while Instant::now() < end {
                while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
                let left = self.members();
                if left.is_empty() {
                    return;
                }
                if let Some(signal) = signal {
                    let new = left.into_iter().filter(|process| told.insert(*process));
                    new.for_each(|process| send(process, signal));
                }
                thread::sleep(PAUSE);
            }
        }
    }
}

fn send(process: u32, signal: Signal) {
    let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) else { return };
    // Who ended meanwhile is still ours to bury, so its number is nobody else's.
    if kill_process(pid, signal).is_ok() && signal == Signal::KILL {
        log::info!("{} ({process}) outlived the command and was killed", name.trim());
    }
}

fn number(process: Pid) -> u32 {
    process.as_raw_nonzero().get().unsigned_abs()
}

/// The children of a process, from the kernel's lists or from ours.
fn children(process: u32, parents: Option<&HashMap<u32, Vec<u32>>>) -> Vec<u32> {
    if let Some(parents) = parents {
        return parents.get(&process).cloned().unwrap_or_default();
    }
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|it| fs::read_to_string(it.path().join("children")).ok());
    lists.flat_map(|list| numbers(&list)).collect()
}

fn numbers(list: &str) -> Vec<u32> {
    list.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// The children of everybody, where the kernel lists nobody's.
fn by_parent() -> HashMap<u32, Vec<u32>> {
    let mut all: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let process = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let text = process.and(fs::read_to_string(entry.path().join("stat")).ok());
        let parent = text.and_then(|text| parent(&text));
        if let (Some(process), Some(parent)) = (process, parent) {
            all.entry(parent).or_default().push(process);
        }
    }
    all
}

/// The parent that /proc/PID/stat names, behind a name in which there may be anything.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn children_are_found_in_both_ways_and_strangers_are_none() {
        let mut before = Command::new("sleep").arg("60").spawn().unwrap();
        let family = Family { strangers: BTreeSet::from([before.id()]) };
        let mut shell = Command::new("sh").args(["-c", "sleep 60 & wait"]).spawn().unwrap();
        let of = |parent, ways: &[Option<HashMap<u32, Vec<u32>>>]| -> Vec<Vec<u32>> {
            ways.iter().map(|way| children(parent, way.as_ref())).collect()
        };
        let found = (0..1000).find_map(|_| {
            thread::sleep(PAUSE);
            let both = of(shell.id(), &[None, Some(by_parent())]);
            (both[0] == both[1] && both[0].len() == 1).then(|| both[0][0])
        });
        let members = family.members();
        assert!(members.contains(&shell.id()) && members.contains(&found.unwrap()));
        assert!(!members.contains(&before.id()));
        for process in [found.unwrap(), before.id()] {
            let pid = Pid::from_raw(process as i32).unwrap();
            kill_process(pid, Signal::KILL).unwrap();
        }
        shell.wait().unwrap();
        before.wait().unwrap();
    }

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert_eq!(parent("12 (a) b) S 7 12 12"), Some(7));
        assert_eq!(parent("12 (a"), None);
    }
}
