//! The groups of paths, which of them are in use, and which one is next.

use super::selector::{Load, Selector};
use alloc::vec::Vec;
use core::ops::Range;

/// One way to the disk.
#[derive(Clone, Copy)]
pub(super) struct Path {
    /// Not failed.
    pub(super) active: bool,
    /// How often it failed.
    pub(super) failures: u32,
    /// How often to use it in a row: as told, at most once.
    pub(super) repeat: u32,
    /// Relative to the others of its group.
    pub(super) throughput: u32,
    pub(super) load: Load,
}

/// Paths that are as good.
pub(super) struct Group {
    pub(super) selector: Selector,
    /// To be used only when no other is left.
    pub(super) bypassed: bool,
    /// The number of its first path.
    pub(super) first: usize,
    /// How many it has.
    pub(super) count: usize,
    /// The numbers of its active paths, the one used last at the end. Has room for all.
    turn: Vec<usize>,
}

/// What is shown of a group.
pub(super) struct GroupView {
    pub(super) selector: Selector,
    /// D for bypassed, A for the one in use, E for others.
    pub(super) letter: char,
    /// Its paths.
    pub(super) range: Range<usize>,
}

/// All groups and paths.
pub(super) struct Paths {
    pub(super) groups: Vec<Group>,
    /// Those of the first group, then those of the second, ...
    pub(super) paths: Vec<Path>,
    /// The group in use.
    pub(super) current: Option<usize>,
    /// The group to use from the next request on.
    pub(super) next: Option<usize>,
    /// No path was looked for yet.
    pub(super) fresh: bool,
}

impl Path {
    pub(super) const fn new(repeat: u32, throughput: u32) -> Self {
        Self { active: true, failures: 0, repeat, throughput, load: Load::new() }
    }
}

impl Group {
    /// A group of the paths from number `first` on.
    pub(super) fn new(selector: Selector, first: usize, count: usize) -> Self {
        let turn = (first..first.saturating_add(count)).collect();
        Self { selector, bypassed: false, first, count, turn }
    }

    /// The numbers of its paths.
    pub(super) const fn range(&self) -> Range<usize> {
        self.first..self.first.saturating_add(self.count)
    }

    /// Chooses an active path.
    fn choose(&mut self, paths: &[Path], bytes: u64, now_ns: u64) -> Option<usize> {
        let mut best: Option<(usize, usize, &Path)> = None;
        for (place, number) in self.turn.iter().copied().enumerate() {
            let Some(path) = paths.get(number) else { continue };
            let better =
                best.is_none_or(|(.., best)| self.selector.prefers(path, best, bytes, now_ns));
            if better {
                best = Some((place, number, path));
            }
        }
        let (place, number, _) = best?;
        // To the end, without taking memory.
        if let Some(behind) = self.turn.get_mut(place..) {
            behind.rotate_left(1);
        }
        Some(number)
    }
}

impl Paths {
    pub(super) const fn new(groups: Vec<Group>, paths: Vec<Path>, next: Option<usize>) -> Self {
        Self { groups, paths, current: None, next, fresh: true }
    }

    /// What is shown of a group.
    pub(super) fn view(&self, number: usize) -> Option<GroupView> {
        let group = self.groups.get(number)?;
        let letter = match group.bypassed {
            true => 'D',
            false if self.current == Some(number) => 'A',
            false => 'E',
        };
        Some(GroupView { selector: group.selector, letter, range: group.range() })
    }

    /// True if some path is active.
    pub(super) fn alive(&self) -> bool {
        self.groups.iter().any(|group| !group.turn.is_empty())
    }

    /// Chooses a path for a request of so many bytes: of the group that was asked for, else of
    /// the one in use, else of the first that has one; of those bypassed last.
    pub(super) fn choose(&mut self, bytes: u64, now_ns: u64) -> Option<usize> {
        self.fresh = false;
        let asked = [self.next.take(), self.current];
        for number in asked.into_iter().flatten() {
            if let Some(path) = self.choose_in(number, bytes, now_ns) {
                return Some(path);
            }
        }
        for bypassed in [false, true] {
            for number in 0..self.groups.len() {
                let fits = self.groups.get(number).is_some_and(|group| group.bypassed == bypassed);
                let path = fits.then(|| self.choose_in(number, bytes, now_ns)).flatten();
                if path.is_some() {
                    return path;
                }
            }
        }
        self.current = None;
        None
    }

    fn choose_in(&mut self, number: usize, bytes: u64, now_ns: u64) -> Option<usize> {
        let path = self.groups.get_mut(number)?.choose(&self.paths, bytes, now_ns)?;
        self.current = Some(number);
        Some(path)
    }

    /// The group of a path.
    fn group_of(&mut self, path: usize) -> Option<&mut Group> {
        self.groups.iter_mut().find(|group| group.range().contains(&path))
    }

    /// A request goes to a path.
    pub(super) fn start(&mut self, number: usize, bytes: u64) {
        if let Some(path) = self.paths.get_mut(number) {
            path.load.requests = path.load.requests.saturating_add(1);
            path.load.bytes = path.load.bytes.saturating_add(bytes);
        }
    }

    /// A request is back from a path.
    pub(super) fn finish(&mut self, number: usize, bytes: u64, span_ns: (u64, u64)) {
        let Some((selector, active)) =
            self.group_of(number).map(|group| (group.selector, group.turn.len()))
        else {
            return;
        };
        if let Some(path) = self.paths.get_mut(number) {
            path.load.requests = path.load.requests.saturating_sub(1);
            path.load.bytes = path.load.bytes.saturating_sub(bytes);
            selector.learn(&mut path.load, span_ns, active);
        }
    }

    /// Takes a path out of use; false if it was so before.
    pub(super) fn fail(&mut self, number: usize) -> bool {
        let Some(path) = self.paths.get_mut(number).filter(|path| path.active) else {
            return false;
        };
        path.active = false;
        path.failures = path.failures.saturating_add(1);
        if let Some(group) = self.group_of(number) {
            group.turn.retain(|other| *other != number);
        }
        true
    }

    /// Takes a path into use again; false if it is.
    pub(super) fn reinstate(&mut self, number: usize) -> bool {
        let Some(path) = self.paths.get_mut(number).filter(|path| !path.active) else {
            return false;
        };
        path.active = true;
        if let Some(group) = self.group_of(number) {
            // Room for all paths is there from the beginning.
            group.turn.push(number);
        }
        true
    }

    /// Avoids a group, or no longer does.
    pub(super) fn bypass(&mut self, number: usize, bypassed: bool) {
        if let Some(group) = self.groups.get_mut(number) {
            group.bypassed = bypassed;
        }
        self.current = None;
    }

    /// Uses a group from the next request on, and avoids none any more.
    pub(super) fn switch(&mut self, number: usize) {
        for group in self.groups.iter_mut() {
            group.bypassed = false;
        }
        self.current = None;
        self.next = Some(number);
    }
}
