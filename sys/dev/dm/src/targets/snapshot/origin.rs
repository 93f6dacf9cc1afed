//! snapshot-origin, and snapshot-merge, which stands in for it: where the origin is written.

use super::hub::{Hub, Inner};
use super::member::{Discards, Member, sector};
use super::ticket::{Kind, Ticket};
use super::view::{Place, State};
use crate::kern::disk::Op;
use crate::lower::Lower;
use crate::params::Params;
use crate::target::{Keys, Mapping, Part, Range, Setup, Target};
use alloc::sync::Arc;
use core::fmt;
use dm_protocol::{Errno, Failure, Sectors};

/// The most that one part has, in sectors: so much is looked up for it at once.
const PART: u64 = 2048;

/// Writes to the origin, after snapshots have saved what it loses.
struct Writer {
    hub: Arc<Hub>,
    start: u64,
    /// The number under which the thread knows `start`.
    place: usize,
}

impl Writer {
    fn new(hub: Arc<Hub>, start: u64) -> Self {
        let place = hub.inner().works.with(|works| works.add_start(start));
        Self { hub, start, place }
    }

    fn inner(&self) -> &Inner {
        self.hub.inner()
    }

    /// A write begins.
    fn begin(&self, part: Part, origin: &Lower) {
        let (at, count) = (self.start.saturating_add(part.at().0), part.count().0);
        let look = self.inner().view.with(|view| (view.writers.enter(), view.holds(at, count)));
        self.go(part, look, origin);
    }

    fn go(&self, mut part: Part, (phase, held): (usize, bool), origin: &Lower) {
        let kind = if held { Kind::Origin } else { Kind::OriginSent };
        *part.cookie() = Ticket { phase, ..Ticket::new(kind, self.place) }.bits();
        if held {
            return self.inner().mailbox.post(part);
        }
        let at = self.start.saturating_add(part.at().0);
        part.forward(origin, sector(at));
    }

    /// A write is back: from the thread, or from the origin.
    fn back(&self, part: Part, ticket: Ticket, result: Result<(), Errno>, origin: &Lower) {
        if ticket.kind == Kind::Origin && result.is_ok() {
            let (at, count) = (self.start.saturating_add(part.at().0), part.count().0);
            let held = self.inner().view.with(|view| view.holds(at, count));
            return self.go(part, (ticket.phase, held), origin);
        }
        self.inner().leave_writers(ticket.phase);
        part.finish(result);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let place = self.place;
        self.inner().works.with(|works| works.remove_start(place));
    }
}

/// A device that has snapshots.
pub(super) struct Origin {
    writer: Writer,
    lower: Lower,
}

impl Origin {
    pub(super) fn new(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Self, Failure> {
        let lower = setup.device(params)?;
        let (start, length) = (setup.start(), setup.length());
        lower.check_range(start, length).map_err(|why| params.blame(&why))?;
        params.end()?;
        let writer = Writer::new(setup.shared(&lower, Hub::new)?, start.0);
        Ok(Self { writer, lower })
    }
}

impl Target for Origin {
    fn map(&self, range: Range) -> Mapping<'_> {
        match range.op {
            Op::Read | Op::Flush => Mapping::To {
                lower: &self.lower,
                sector: sector(self.writer.start.saturating_add(range.at.0)),
                count: range.count,
            },
            Op::Write | Op::WriteZeroes => {
                Mapping::Keep { count: Sectors(range.count.0.min(PART)) }
            }
            // What is discarded would have to be copied, only to be forgotten.
            Op::Discard => Mapping::Fail(Errno::EOPNOTSUPP),
        }
    }

    fn params(&self, out: &mut dyn fmt::Write, _keys: Keys) -> fmt::Result {
        write!(out, "{}", self.lower)
    }

    fn lowers(&self) -> &[Lower] {
        core::slice::from_ref(&self.lower)
    }

    fn discards(&self) -> bool {
        false
    }

    fn keep(&self, part: Part) {
        self.writer.begin(part, &self.lower);
    }

    fn done(&self, mut part: Part, result: Result<(), Errno>) {
        let ticket = Ticket::from_bits(*part.cookie());
        self.writer.back(part, ticket, result, &self.lower);
    }
}

/// An origin into which a snapshot is merged: it looks like the snapshot from the beginning.
pub(super) struct Merging {
    member: Member,
    writer: Writer,
}

/// Where a write goes.
enum Way {
    Cow { sector: u64, phase: usize },
    Wait,
    Origin,
    Fail,
}

impl Merging {
    pub(super) fn new(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Self, Failure> {
        let member = Member::new(setup, params, true)?;
        let writer = Writer::new(Arc::clone(member.hub()), member.shown.start);
        Ok(Self { member, writer })
    }

    fn write(&self, mut part: Part) {
        let (at, count) = (self.member.shown.start.saturating_add(part.at().0), part.count().0);
        let slot = self.member.slot();
        let way = self.member.inner().view.with(|view| {
            let Some(face) = view.of_mut(slot, self.member.number) else { return Way::Fail };
            let chunk = at >> face.layout.shift();
            match face.place(at, count) {
                _ if face.state != State::Valid => Way::Origin,
                Place::Origin { .. } => Way::Origin,
                Place::Cow { .. } if face.window.contains(&chunk) => Way::Wait,
                Place::Cow { sector, .. } => Way::Cow { sector, phase: face.writes.enter() },
            }
        });
        match way {
            Way::Cow { sector: at, phase } => {
                *part.cookie() = Ticket { phase, ..Ticket::new(Kind::MergeSent, slot) }.bits();
                part.forward(self.member.cow(), sector(at));
            }
            Way::Wait => {
                *part.cookie() = Ticket::new(Kind::MergeWait, slot).bits();
                self.member.inner().mailbox.post(part);
            }
            Way::Origin => self.writer.begin(part, self.member.origin()),
            Way::Fail => part.finish(Err(Errno::EIO)),
        }
    }

    fn sent_back(&self, part: Part, ticket: Ticket, result: Result<(), Errno>) {
        let inner = self.member.inner();
        let last = inner.view.with(|view| {
            view.face_mut(ticket.slot).is_some_and(|face| face.writes.leave(ticket.phase))
        });
        if last {
            inner.mailbox.poke();
        }
        part.finish(result);
    }
}

impl Target for Merging {
    fn map(&self, range: Range) -> Mapping<'_> {
        let at = self.member.shown.start.saturating_add(range.at.0);
        match range.op {
            Op::WriteZeroes => return Mapping::Fail(Errno::EOPNOTSUPP),
            Op::Discard if self.member.discards == Discards::No => {
                return Mapping::Fail(Errno::EOPNOTSUPP);
            }
            Op::Discard => return Mapping::Zeroes { count: range.count },
            Op::Read | Op::Write | Op::Flush => {}
        }
        let slot = self.member.slot();
        let seen = self.member.inner().view.with(|view| {
            let face = view.of(slot, self.member.number)?;
            let count = range.count.0.min(face.look());
            let place = match face.state {
                State::Valid => face.place(at, count),
                State::Dying | State::Invalid => Place::Origin { count },
            };
            Some((place, face.layout.chunk()))
        });
        let Some((place, chunk)) = seen else { return Mapping::Fail(Errno::EIO) };
        let to_chunk_end = chunk.saturating_sub(at & chunk.saturating_sub(1));
        match (range.op, place) {
            // A chunk is here or there, and does not move while a write is under way.
            (Op::Write, _) => Mapping::Keep { count: Sectors(range.count.0.min(to_chunk_end)) },
            (_, Place::Cow { sector: at, count }) => {
                Mapping::To { lower: self.member.cow(), sector: sector(at), count: Sectors(count) }
            }
            (_, Place::Origin { count }) => Mapping::To {
                lower: self.member.origin(),
                sector: sector(at),
                count: Sectors(count),
            },
        }
    }

    fn params(&self, out: &mut dyn fmt::Write, _keys: Keys) -> fmt::Result {
        self.member.write_params(out)
    }

    fn status(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.member.write_status(out)
    }

    fn lowers(&self) -> &[Lower] {
        &self.member.lowers
    }

    fn discards(&self) -> bool {
        self.member.discards != Discards::No
    }

    fn keep(&self, part: Part) {
        self.write(part);
    }

    fn done(&self, mut part: Part, result: Result<(), Errno>) {
        let ticket = Ticket::from_bits(*part.cookie());
        match ticket.kind {
            Kind::MergeWait => self.write(part),
            Kind::MergeSent => self.sent_back(part, ticket, result),
            _ => self.writer.back(part, ticket, result, self.member.origin()),
        }
    }

    fn presuspend(&self, _noflush: bool) {
        self.member.stop_merge();
    }

    fn postsuspend(&self) {
        self.member.postsuspend();
    }

    fn preresume(&self) -> Result<(), Failure> {
        self.member.preresume()
    }

    fn resume(&self) {
        self.member.resume();
    }
}
