//! A table: segments in order, without gap and overlap, each with its target.

use crate::event::Event;
use crate::index::Index;
use crate::kern::disk::{Disk, Op};
use crate::loader::Loader;
use crate::lower::Lower;
use crate::params::Params;
use crate::target::{Mapping, Range, Setup, Target, TargetType};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use dm_protocol::{Errno, Failure, SECTOR_SIZE, Sector, Sectors, SegmentSpec};

/// The sectors that one target maps.
pub struct Segment {
    /// The first.
    pub(crate) start: u64,
    /// Behind the last.
    pub(crate) end: u64,
    /// Its target.
    pub(crate) target: Box<dyn Target>,
    /// Its target's type.
    pub(crate) kind: &'static TargetType,
}

/// Where a sector lives, as far as a table knows.
pub(crate) enum Place<'a> {
    /// There, with so many behind it in order.
    Straight {
        /// The device.
        lower: &'a Lower,
        /// Where on it.
        sector: Sector,
        /// To the end of the segment.
        left: Sectors,
    },
    /// Where this segment's target says.
    Asked(&'a Segment),
}

/// What the index notes of a segment that lies straight on a device: in the upper bits the
/// number of the device, counted from 1; below it what is added to a sector, modulo 2^55, as
/// no device has more sectors. Zero for other segments.
struct Note;

/// Where a flush has to go.
pub(crate) enum FlushStep {
    /// To a device below.
    Lower(Lower),
    /// To a target that keeps flushes: the number of its segment.
    Segment(usize),
}

/// A table that is checked and whose devices are open.
pub struct Table {
    segments: Vec<Segment>,
    index: Index,
    flush: Vec<FlushStep>,
    /// Each device once, in the order in which the table names them.
    lowers: Vec<Lower>,
    size: Sectors,
    sector_size: u32,
    readonly: bool,
    discards: bool,
}

impl Table {
    /// Thread context. Checks a table and opens its devices.
    ///
    /// # Errors
    /// EINVAL and others; the sentence names segment, sector, target and argument.
    pub(crate) fn load(
        types: &'static [&'static TargetType],
        specs: &[SegmentSpec],
        readonly: bool,
        loader: &mut Loader,
        event: &Arc<Event>,
    ) -> Result<Self, Failure> {
        let mut segments = Vec::new();
        segments.try_reserve_exact(specs.len()).map_err(|_| Errno::ENOMEM)?;
        let mut size = Sectors::ZERO;
        for (nr, spec) in specs.iter().enumerate() {
            let segment = place(spec, size)
                .and_then(|end| build(types, spec, end, loader, event))
                .map_err(|why| blame(nr, spec, &why))?;
            size = Sectors(segment.end);
            segments.push(segment);
        }
        if segments.is_empty() {
            return Err(Failure::new(Errno::EINVAL, "the table has no segments"));
        }
        Self::assemble(segments, size, readonly)
    }

    fn assemble(segments: Vec<Segment>, size: Sectors, readonly: bool) -> Result<Self, Failure> {
        let lowers = distinct(&segments);
        let wanted = segments.iter().map(|segment| segment.target.sector_size());
        let sector_size = lowers.iter().map(Lower::sector_size).chain(wanted).max().unwrap_or(512);
        let unit = u64::from(sector_size) / SECTOR_SIZE;
        for (nr, segment) in segments.iter().enumerate() {
            if !segment.start.is_multiple_of(unit) || !segment.end.is_multiple_of(unit) {
                let message = format!(
                    "segment {nr} (sector {}, {}): does not start and end on whole sectors of \
                     {sector_size} bytes, which a device or a target of the table has",
                    segment.start, segment.kind.name
                );
                return Err(Failure::new(Errno::EINVAL, message));
            }
        }
        let notes = Note::of_all(&segments, &lowers);
        let ends = segments.iter().map(|segment| segment.end);
        let ranges: Vec<(u64, u64)> = ends.zip(notes).collect();
        let mut flush = flush_steps(&segments);
        flush.shrink_to_fit();
        Ok(Self {
            index: Index::new(&ranges),
            discards: segments.iter().any(|segment| segment.target.discards()),
            segments,
            flush,
            lowers,
            size,
            sector_size,
            readonly,
        })
    }

    /// The segment of a sector.
    #[must_use]
    pub fn find(&self, at: Sector) -> Option<&Segment> {
        self.segments.get(self.index.find(at.0)?.nr)
    }

    /// Where a sector lives.
    #[inline(always)]
    pub(crate) fn place(&self, at: Sector) -> Option<Place<'_>> {
        let found = self.index.find(at.0)?;
        match Note::decode(found.note, at) {
            Some((number, sector)) => {
                let left = Sector(found.end).since(at);
                self.lowers.get(number).map(|lower| Place::Straight { lower, sector, left })
            }
            None => self.segments.get(found.nr).map(Place::Asked),
        }
    }

    /// The disk and the sector there of a range to be read or written that lies on it in order.
    #[inline(always)]
    pub(crate) fn straight(&self, op: Op, at: Sector, count: Sectors) -> Option<(&Disk, Sector)> {
        let unit = u64::from(self.sector_size) / SECTOR_SIZE;
        if count.is_zero() || (at.0 | count.0) & unit.saturating_sub(1) != 0 {
            return None;
        }
        match self.place(at)? {
            // That the disk takes it all was checked when the note was made.
            Place::Straight { lower: Lower::Disk(open), sector, left } if count <= left => {
                Some((&open.disk, sector))
            }
            Place::Straight { .. } => None,
            Place::Asked(segment) => segment.straight(op, at, count),
        }
    }

    /// A request that `straight` gave a place failed there.
    pub(crate) fn failed(&self, op: Op, at: Sector, count: Sectors, errno: Errno) {
        if let Some(Place::Asked(segment)) = self.place(at)
            && segment.target.watches()
        {
            segment.target.failed(segment.range(op, at, count), errno);
        }
    }

    /// All segments.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Where a flush has to go.
    pub(crate) fn flush_step(&self, nr: usize) -> Option<&FlushStep> {
        self.flush.get(nr)
    }

    /// The devices below, each once.
    #[must_use]
    pub fn lowers(&self) -> &[Lower] {
        &self.lowers
    }

    /// Its size.
    #[must_use]
    pub const fn size(&self) -> Sectors {
        self.size
    }

    /// Bytes in one sector: the most that a device below has or a target wants.
    #[must_use]
    pub const fn sector_size(&self) -> u32 {
        self.sector_size
    }

    /// Loaded for reading only.
    #[must_use]
    pub const fn readonly(&self) -> bool {
        self.readonly
    }

    /// True if a discard may reach something.
    #[must_use]
    pub const fn discards(&self) -> bool {
        self.discards
    }
}

impl Segment {
    /// Its length.
    #[must_use]
    pub const fn length(&self) -> Sectors {
        Sectors(self.end.saturating_sub(self.start))
    }

    const fn range(&self, op: Op, at: Sector, count: Sectors) -> Range {
        Range { op, at: Sector(at.0.saturating_sub(self.start)), count, piece: 0 }
    }

    /// As [`Table::straight`], for a target that may be asked twice about the same range.
    #[inline(never)]
    fn straight(&self, op: Op, at: Sector, count: Sectors) -> Option<(&Disk, Sector)> {
        if !op.has_data() || !self.target.computes() || at.checked_add(count)?.0 > self.end {
            return None;
        }
        match self.target.map(self.range(op, at, count)) {
            Mapping::To { lower: Lower::Disk(open), sector, count: there }
                if count <= there && open.disk.takes(sector, count) =>
            {
                Some((&open.disk, sector))
            }
            _ => None,
        }
    }

    /// Into how many pieces `op` falls here.
    pub(crate) fn spread(&self, op: Op) -> u32 {
        match op {
            Op::Discard | Op::WriteZeroes => self.target.spread(op).max(1),
            Op::Read | Op::Write | Op::Flush => 1,
        }
    }
}

impl Note {
    /// Bits of a sector.
    const BITS: u32 = 55;
    const SECTORS: u64 = 1 << Self::BITS;

    fn of_all(segments: &[Segment], lowers: &[Lower]) -> Vec<u64> {
        let numbers = (1_u64..).take_while(|number| *number < 1 << (64 - Self::BITS));
        let numbers: BTreeMap<_, u64> = lowers.iter().map(Lower::key).zip(numbers).collect();
        let note = |segment: &Segment| {
            let (lower, offset) = segment.target.straight()?;
            let number = numbers.get(&lower.key())?;
            let end = offset.0.checked_add(segment.length().0)?;
            let there = match lower {
                Lower::Disk(open) => open.disk.takes(offset, segment.length()),
                Lower::Mapped(_) => true,
            };
            if end > Self::SECTORS || !there {
                return None;
            }
            let add = offset.0.wrapping_sub(segment.start) & (Self::SECTORS - 1);
            Some(number << Self::BITS | add)
        };
        segments.iter().map(|segment| note(segment).unwrap_or(0)).collect()
    }

    /// The number of the device and the sector there.
    #[inline]
    fn decode(note: u64, at: Sector) -> Option<(usize, Sector)> {
        let number = (note >> Self::BITS).checked_sub(1)?;
        Some((number as usize, Sector(note.wrapping_add(at.0) & (Self::SECTORS - 1))))
    }
}

/// Checks where a segment stands; gives its end.
fn place(spec: &SegmentSpec, expected: Sectors) -> Result<u64, Failure> {
    let refuse = |why: String| Err(Failure::new(Errno::EINVAL, why));
    let (start, expected) = (spec.start.0, expected.0);
    if spec.length.is_zero() {
        return refuse("its length is zero".into());
    }
    if start > expected {
        return refuse(format!("leaves a gap of {} sectors before it", start - expected));
    }
    if start < expected {
        return refuse(format!("overlaps the one before it, which ends at {expected}"));
    }
    match spec.start.checked_add(spec.length) {
        // Sector 2^64 - 1 is the mark of nowhere in the index.
        Some(end) if end.bytes().is_some() => Ok(end.0),
        _ => refuse("ends beyond 2^64 bytes".into()),
    }
}

fn build(
    types: &'static [&'static TargetType],
    spec: &SegmentSpec,
    end: u64,
    loader: &mut Loader,
    event: &Arc<Event>,
) -> Result<Segment, Failure> {
    let Some(kind) = types.iter().copied().find(|kind| kind.name == spec.target) else {
        return Err(Failure::new(Errno::EINVAL, "unknown target type"));
    };
    let mut setup = Setup { loader, start: spec.start, length: spec.length, event };
    let target = (kind.build)(&mut setup, &mut Params::new(&spec.params))?;
    Ok(Segment { start: spec.start.0, end, target, kind })
}

fn blame(nr: usize, spec: &SegmentSpec, why: &Failure) -> Failure {
    let target = spec.target.escape_debug();
    let (start, why_text) = (spec.start, &why.message);
    Failure::new(why.errno, format!("segment {nr} (sector {start}, {target}): {why_text}"))
}

/// Every device of the table once.
fn distinct(segments: &[Segment]) -> Vec<Lower> {
    let mut seen = alloc::collections::BTreeSet::new();
    let mut lowers = Vec::new();
    for lower in segments.iter().flat_map(|segment| segment.target.lowers()) {
        if seen.insert(lower.key()) {
            lowers.push(lower.clone());
        }
    }
    lowers
}

fn flush_steps(segments: &[Segment]) -> Vec<FlushStep> {
    let mut seen = alloc::collections::BTreeSet::new();
    let mut steps = Vec::new();
    for (nr, segment) in segments.iter().enumerate() {
        if segment.target.keeps_flushes() {
            steps.push(FlushStep::Segment(nr));
            continue;
        }
        for lower in segment.target.lowers() {
            if seen.insert(lower.key()) {
                steps.push(FlushStep::Lower(lower.clone()));
            }
        }
    }
    steps
}
