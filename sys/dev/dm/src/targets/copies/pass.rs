//! One pass over a set: which windows are to be copied or compared, and how far it is.

use super::window::{WINDOW_SECTORS, WINDOWS};
use super::{Core, Regions, Standing};

/// What a pass does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Makes copies equal that may differ.
    Resync,
    /// Brings members up to date that come back.
    Recover,
    /// Compares all copies.
    Check,
    /// Compares all copies, and makes them equal.
    Repair,
}

impl Action {
    /// True if it looks at everything, not just at what may differ.
    pub const fn compares(self) -> bool {
        matches!(self, Self::Check | Self::Repair)
    }
}

/// What is being done, for those who ask.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// The pass under way.
    pub action: Option<Action>,
    /// All before this sector is done.
    pub position: u64,
    /// The last pass that was begun.
    pub last: Option<Action>,
    /// Sectors of windows whose copies differed, in the last pass that compared.
    pub mismatches: u64,
    /// Nothing is begun until somebody asks for it.
    pub frozen: bool,
    /// A pass was stopped before its end.
    pub stopped: bool,
}

/// A region whose windows are being worked on.
#[derive(Clone, Copy, Debug)]
struct Work {
    region: u64,
    /// The next sector that no window had yet.
    next: u64,
    end: u64,
    /// Windows that are open.
    out: u32,
    /// Its copies may still differ afterwards.
    spoilt: bool,
}

/// A window to work on.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    pub region: u64,
    pub at: u64,
    pub count: u64,
}

/// A pass.
pub struct Pass {
    pub action: Action,
    /// Where the next region is looked for.
    cursor: u64,
    works: [Option<Work>; WINDOWS],
    /// Blocks that were last found to differ.
    differing: [Option<u64>; WINDOWS],
    /// Something could not be done.
    pub incomplete: bool,
    pub begun_ns: u64,
    /// Sectors that windows were opened for.
    pub opened: u64,
}

impl Pass {
    /// One that begins now.
    pub const fn new(action: Action, now_ns: u64) -> Self {
        Self {
            action,
            cursor: 0,
            works: [None; WINDOWS],
            differing: [None; WINDOWS],
            incomplete: false,
            begun_ns: now_ns,
            opened: 0,
        }
    }

    /// The next window, if there is one now.
    pub fn next(&mut self, core: &Core) -> Option<Piece> {
        let open = |work: &&mut Option<Work>| work.is_some_and(|work| work.next < work.end);
        if let Some(work) = self.works.iter_mut().find(open).and_then(Option::as_mut) {
            return Some(work.cut(core));
        }
        let slot = self.works.iter_mut().find(|work| work.is_none())?;
        let cursor = self.cursor;
        let (region, start, end) = core.regions(|regions| {
            let region = match self.action.compares() {
                true => Some(cursor).filter(|region| *region < regions.count()),
                false => next_needed(core, regions, cursor),
            }?;
            Some((region, regions.start(region), regions.end(region)))
        })?;
        self.cursor = region.saturating_add(1);
        let mut work = Work { region, next: start, end, out: 0, spoilt: false };
        let piece = work.cut(core);
        *slot = Some(work);
        Some(piece)
    }

    /// A window is closed. Gives the region if that was its last, and whether all went well.
    pub fn closed(&mut self, region: u64, well: bool) -> Option<(u64, bool)> {
        self.incomplete |= !well;
        let of = |work: &&mut Option<Work>| work.is_some_and(|work| work.region == region);
        let slot = self.works.iter_mut().find(of)?;
        let work = slot.as_mut()?;
        work.out = work.out.saturating_sub(1);
        work.spoilt |= !well;
        if work.out != 0 || work.next < work.end {
            return None;
        }
        let spoilt = work.spoilt;
        *slot = None;
        Some((region, !spoilt))
    }

    /// Copies differ in a window. Gives the sectors of its block, once for each block: windows
    /// are smaller where regions are, but Linux counts blocks.
    pub fn differs(&mut self, core: &Core, at: u64) -> u64 {
        let block = at / WINDOW_SECTORS * WINDOW_SECTORS;
        // A chunk may be smaller than a block.
        let block = match core.geometry.run(block) {
            run if block.saturating_add(run) > at => block,
            _ => at,
        };
        if self.differing.contains(&Some(block)) {
            return 0;
        }
        self.differing.rotate_right(1);
        if let Some(newest) = self.differing.first_mut() {
            *newest = Some(block);
        }
        let end = core.regions(|regions| regions.start_or_end(regions.count()));
        let left = end.saturating_sub(block);
        WINDOW_SECTORS.min(core.geometry.run(block)).min(left)
    }

    /// A write to a region went wrong meanwhile: its copies may differ whatever was copied.
    pub fn spoil(&mut self, region: u64) {
        for work in self.works.iter_mut().flatten().filter(|work| work.region == region) {
            work.spoilt = true;
            self.incomplete = true;
        }
    }

    /// True when no window is open and none is left.
    pub fn is_over(&self, core: &Core) -> bool {
        let cursor = self.cursor;
        self.works.iter().all(Option::is_none)
            && core.regions(|regions| match self.action.compares() {
                true => cursor >= regions.count(),
                false => next_needed(core, regions, cursor).is_none(),
            })
    }

    /// Where everything before is done.
    pub fn position(&self, core: &Core) -> u64 {
        let works = self.works.iter().flatten().map(|work| {
            let open = u64::from(work.out).saturating_mul(WINDOW_SECTORS);
            let start = core.regions(|regions| regions.start(work.region));
            work.next.saturating_sub(open).max(start)
        });
        works.min().unwrap_or_else(|| core.regions(|regions| regions.start_or_end(self.cursor)))
    }
}

impl Work {
    /// Cuts a window off. Windows end at multiples of their size, and with chunks.
    fn cut(&mut self, core: &Core) -> Piece {
        let at = self.next;
        let boundary = (at / WINDOW_SECTORS).saturating_add(1).saturating_mul(WINDOW_SECTORS);
        let end = boundary.min(self.end).min(at.saturating_add(core.geometry.run(at)));
        self.next = end;
        self.out = self.out.saturating_add(1);
        Piece { region: self.region, at, count: end.saturating_sub(at) }
    }
}

/// The first region from here on where there is something to do.
pub fn next_needed(core: &Core, regions: &Regions, from: u64) -> Option<u64> {
    let number = |standing| {
        let of = |member: &&super::Member| member.standing() == standing;
        core.members.iter().filter(of).count()
    };
    let (live, returning) = (number(Standing::Live), number(Standing::Returning));
    match (live, returning) {
        (0, _) | (1, 0) => None,
        (_, 0) => regions.next_stale(from),
        _ => regions.next_unsynced(from),
    }
}
