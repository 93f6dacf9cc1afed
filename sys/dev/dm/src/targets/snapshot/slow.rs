//! Requests that fall into pieces: the sectors of one lie in several places.
//!
//! One at a time and piece by piece, through memory of the snapshot's own. Requests get here
//! when a chunk was copied just while they were under way, and to clear copies.

use super::hub::Cx;
use super::ticket::{Does, Kind, Ticket};
use super::view::{Place, State};
use super::work::Work;
use crate::kern::disk::Op;
use crate::services::Errand;
use crate::target::{Part, PartQueue};
use dm_protocol::{Errno, SECTOR_SIZE, Sector, Sectors};

/// What is done piece by piece.
#[derive(Default)]
pub(super) struct Slow {
    queue: PartQueue,
    now: Option<Now>,
    /// The COW device cannot clear by itself.
    by_hand: bool,
}

/// The request at work.
struct Now {
    part: Part,
    /// Sectors that are done.
    done: u64,
    /// Sectors under way.
    count: u64,
    /// What is under way is read from the origin.
    from_origin: bool,
}

impl Slow {
    pub(super) fn push(&mut self, part: Part) {
        self.queue.push(part);
    }

    pub(super) const fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.now.is_none()
    }
}

impl Work {
    /// Sends the next piece, if none is under way.
    pub(super) fn go_slowly(&mut self, cx: &mut Cx<'_>) {
        loop {
            if self.slow.now.as_ref().is_some_and(|now| now.count != 0) || self.idle.is_empty() {
                return;
            }
            let next = || {
                Some(Now { part: self.slow.queue.pop()?, done: 0, count: 0, from_origin: false })
            };
            let Some(now) = self.slow.now.take().or_else(next) else { return };
            if self.state != State::Valid {
                now.part.finish(Err(Errno::EIO));
            } else if now.done >= now.part.count().0 {
                now.part.finish(Ok(()));
            } else {
                self.send_piece(cx, now);
            }
        }
    }

    fn send_piece(&mut self, cx: &mut Cx<'_>, mut now: Now) {
        let at = self.shown.start.saturating_add(now.part.at().0).saturating_add(now.done);
        let left = now.part.count().0.saturating_sub(now.done);
        let op = now.part.op();
        let most =
            if op == Op::Discard { left.min(self.clear_most()) } else { left.min(self.piece) };
        match (op, cx.place(self.slot, at, most)) {
            (Op::Discard, place) => self.clear_piece(now, at, place),
            (Op::Read, Place::Cow { sector, count }) => {
                (now.count, now.from_origin) = (count, false);
                self.send_slow(now, Op::Read, sector);
            }
            (Op::Read, Place::Origin { count }) => {
                (now.count, now.from_origin) = (count, true);
                self.send_slow(now, Op::Read, at);
            }
            (_, Place::Cow { sector, count }) => {
                now.count = count;
                self.send_slow(now, Op::Write, sector);
            }
            // Copies do not vanish; if this one did, the write begins anew.
            (_, Place::Origin { .. }) => {
                *now.part.cookie() = Ticket::new(Kind::Write, self.slot).bits();
                cx.ready.push(now.part);
            }
        }
    }

    /// How many sectors are looked at together when they are cleared: whole chunks.
    fn clear_most(&self) -> u64 {
        self.layout.chunk().max(2048)
    }

    fn send_slow(&mut self, now: Now, op: Op, sector: u64) {
        let Some(mut errand) = self.idle.pop() else { return };
        if op == Op::Write {
            let from = (now.done * SECTOR_SIZE) as usize;
            let data = now.part.data().get(from..).unwrap_or_default();
            for (to, from) in errand.bytes_mut().iter_mut().zip(data) {
                *to = *from;
            }
        }
        *errand.tag() = self.tag(Does::Slow, 0, 0);
        let lower = if now.from_origin { &self.origin } else { &self.cow };
        errand.send(op, now.part.fua(), lower, Sector(sector), Sectors(now.count));
        self.slow.now = Some(now);
    }

    /// Clears the copies of whole chunks; what has no copy, and parts of chunks, stay.
    fn clear_piece(&mut self, mut now: Now, at: u64, place: Place) {
        let mask = self.layout.chunk().saturating_sub(1);
        let to_chunk = (self.layout.chunk() - (at & mask)) & mask;
        let (sector, count, skipped) = match place {
            Place::Cow { count, .. } if to_chunk != 0 => (0, 0, to_chunk.min(count)),
            Place::Cow { sector, count } => (sector, count & !mask, count),
            Place::Origin { count } => (0, 0, count),
        };
        if count == 0 {
            now.done = now.done.saturating_add(skipped.max(1));
            self.slow.now = Some(now);
            return;
        }
        let Some(mut errand) = self.idle.pop() else { return };
        *errand.tag() = self.tag(Does::Slow, 0, 0);
        now.count = count;
        let op = match self.slow.by_hand {
            false => Op::WriteZeroes,
            true => {
                errand.bytes_mut().fill(0);
                now.count = count.min(self.piece);
                Op::Write
            }
        };
        errand.send(op, now.part.fua(), &self.cow, Sector(sector), Sectors(now.count));
        self.slow.now = Some(now);
    }

    /// A piece is back.
    pub(super) fn piece_back(
        &mut self,
        cx: &Cx<'_>,
        mut errand: Errand,
        result: Result<(), Errno>,
    ) {
        let Some(mut now) = self.slow.now.take() else { return self.idle.push(errand) };
        let count = core::mem::take(&mut now.count);
        let at = self.shown.start.saturating_add(now.part.at().0).saturating_add(now.done);
        let clears = now.part.op() == Op::Discard;
        if clears && result == Err(Errno::EOPNOTSUPP) && !self.slow.by_hand {
            self.slow.by_hand = true;
        } else if now.from_origin && cx.is_changed(self.slot, at, count) {
            // A chunk got its copy meanwhile: the origin may have changed. Once more.
        } else if result.is_err() {
            self.idle.push(errand);
            return now.part.finish(result);
        } else {
            if now.part.op() == Op::Read {
                let from = (now.done * SECTOR_SIZE) as usize;
                let length = (count * SECTOR_SIZE) as usize;
                let to = now.part.data_mut().get_mut(from..).unwrap_or_default();
                for (to, from) in to.iter_mut().zip(errand.bytes_mut().iter().take(length)) {
                    *to = *from;
                }
            }
            now.done = now.done.saturating_add(count);
        }
        self.idle.push(errand);
        self.slow.now = Some(now);
    }
}
