//! snapshot: the state that the origin had, and what was written here since.

use super::member::{Discards, Member, sector};
use super::ticket::{Kind, Ticket};
use super::view::{Place, State};
use crate::kern::disk::Op;
use crate::lower::Lower;
use crate::params::Params;
use crate::target::{Keys, Mapping, Part, Range, Setup, Target};
use core::fmt;
use dm_protocol::{Errno, Failure, Sectors};

/// How much of a write to whole chunks is sent at once, in sectors, unless a chunk is larger.
const WHOLE: u64 = 128;

/// A snapshot.
pub(super) struct Snapshot {
    member: Member,
}

/// What becomes of a request.
enum Answer {
    Place(Place, u64),
    Fail,
}

impl Snapshot {
    pub(super) fn new(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Self, Failure> {
        Ok(Self { member: Member::new(setup, params, false)? })
    }

    fn at(&self, part: &Part) -> u64 {
        self.member.shown.start.saturating_add(part.at().0)
    }

    /// Where sectors live, if the snapshot can be used for that, and the size of a chunk.
    fn look(&self, at: u64, count: u64, writes: bool) -> Answer {
        let slot = self.member.slot();
        self.member.inner().view.with(|view| match view.of(slot, self.member.number) {
            Some(face) if face.state == State::Valid && !(writes && face.overflowed) => {
                Answer::Place(face.place(at, count.min(face.look())), face.layout.chunk())
            }
            _ => Answer::Fail,
        })
    }

    fn to_cow(&self, at: u64, count: u64) -> Mapping<'_> {
        Mapping::To { lower: self.member.cow(), sector: sector(at), count: Sectors(count) }
    }

    fn discard(&self, range: Range, place: Place) -> Mapping<'_> {
        match (self.member.discards, range.piece) {
            (Discards::No, _) => Mapping::Fail(Errno::EOPNOTSUPP),
            (Discards::Origin, 0) => Mapping::Keep { count: range.count },
            (Discards::Origin, _) => {
                let at = self.member.shown.start.saturating_add(range.at.0);
                Mapping::To { lower: self.member.origin(), sector: sector(at), count: range.count }
            }
            (Discards::Cow, _) => match place {
                Place::Cow { .. } => Mapping::Keep { count: range.count },
                // Forgotten: there is nothing of the snapshot's own.
                Place::Origin { count } => Mapping::Zeroes { count: Sectors(count) },
            },
        }
    }

    fn post(&self, mut part: Part, kind: Kind) {
        *part.cookie() = Ticket::new(kind, self.member.slot()).bits();
        self.member.inner().mailbox.post(part);
    }

    /// A read is back from the origin. If a chunk got its copy meanwhile, the origin may have
    /// changed before it was read, and the copy counts.
    fn read_back(&self, mut part: Part, result: Result<(), Errno>) {
        let count = part.count().0;
        let slot = self.member.slot();
        let at = self.at(&part);
        let place = self.member.inner().view.with(|view| {
            let face = view.of(slot, self.member.number)?;
            (face.state == State::Valid).then(|| face.place(at, count))
        });
        match place {
            Some(Place::Origin { count: all }) if all == count => part.finish(result),
            Some(Place::Cow { sector: at, count: all }) if all == count => {
                *part.cookie() = Ticket::new(Kind::Last, slot).bits();
                part.forward(self.member.cow(), sector(at));
            }
            Some(_) => self.post(part, Kind::Slow),
            None => part.finish(Err(Errno::EIO)),
        }
    }
}

impl Target for Snapshot {
    fn map(&self, range: Range) -> Mapping<'_> {
        let at = self.member.shown.start.saturating_add(range.at.0);
        let count = range.count.0;
        if matches!(range.op, Op::Flush) {
            return Mapping::Keep { count: range.count };
        }
        let (place, chunk) = match self.look(at, count, range.op.writes()) {
            Answer::Place(place, chunk) => (place, chunk),
            Answer::Fail => return Mapping::Fail(Errno::EIO),
        };
        match (range.op, place) {
            (Op::Discard, place) => self.discard(range, place),
            (Op::WriteZeroes, _) => Mapping::Fail(Errno::EOPNOTSUPP),
            (_, Place::Cow { sector, count }) => self.to_cow(sector, count),
            (Op::Write, Place::Origin { count }) => {
                let mask = chunk.saturating_sub(1);
                let whole = count & !mask;
                let count = match at & mask == 0 && whole != 0 {
                    true => whole.min(chunk.max(WHOLE)),
                    false => count.min(chunk.saturating_sub(at & mask)),
                };
                Mapping::Keep { count: Sectors(count) }
            }
            (_, Place::Origin { count }) => Mapping::Keep { count: Sectors(count) },
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

    fn spread(&self, op: Op) -> u32 {
        if op == Op::Discard && self.member.discards == Discards::Origin { 2 } else { 1 }
    }

    /// All that was written here is on the COW device.
    fn keeps_flushes(&self) -> bool {
        true
    }

    fn discards(&self) -> bool {
        self.member.discards != Discards::No
    }

    fn keep(&self, mut part: Part) {
        match part.op() {
            Op::Read => {
                *part.cookie() = Ticket::new(Kind::Read, self.member.slot()).bits();
                let at = self.at(&part);
                part.forward(self.member.origin(), sector(at));
            }
            Op::Flush => part.redirect(self.member.cow(), sector(0)),
            Op::Discard => self.post(part, Kind::Slow),
            Op::Write | Op::WriteZeroes => self.post(part, Kind::Write),
        }
    }

    fn done(&self, mut part: Part, result: Result<(), Errno>) {
        match Ticket::from_bits(*part.cookie()).kind {
            Kind::Read => self.read_back(part, result),
            Kind::Whole => self.member.inner().mailbox.post_back(part, result),
            _ => part.finish(result),
        }
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
