//! Ranges that shall read as zeroes: encrypted zeroes are written there, a piece at a time.

use super::Inner;
use crate::kern::disk::Op;
use crate::services::{Errand, Mailbox, Shared};
use crate::target::{Part, PartQueue};
use alloc::sync::Arc;
use dm_protocol::{Errno, SECTOR_SIZE, Sector, Sectors};

/// Parts that ask for zeroes, one after the other.
pub(super) struct Zeroes {
    state: Shared<State>,
}

struct State {
    /// What writes, while there is nothing to do.
    idle: Option<Errand>,
    /// The first sector that is not written yet, and the part in turn.
    now: Option<(Sector, Part)>,
    waiting: PartQueue,
}

/// What is to be written next.
struct Piece {
    at: Sector,
    count: Sectors,
    fua: bool,
}

impl Zeroes {
    /// Thread context. Writes at most `piece` at once.
    pub(super) fn new(mailbox: &Arc<Mailbox>, piece: Sectors) -> Result<Self, Errno> {
        let idle = Some(Errand::new(mailbox, piece)?);
        let state = State { idle, now: None, waiting: PartQueue::new() };
        Ok(Self { state: Shared::new(state) })
    }

    /// A part joins.
    pub(super) fn begin(&self, crypt: &Inner, part: Part) {
        let errand = self.state.with(|state| {
            state.waiting.push(part);
            state.idle.take()
        });
        if let Some(errand) = errand {
            self.next(crypt, errand);
        }
    }

    /// A piece is written, or failed.
    pub(super) fn go_on(&self, crypt: &Inner, mut errand: Errand, result: Result<(), Errno>) {
        let written = Sectors(*errand.tag());
        let over = self.state.with(|state| {
            let (at, part) = state.now.take()?;
            let next = Sector(at.0.saturating_add(written.0));
            let end = part.at().0.saturating_add(part.count().0);
            if result.is_ok() && next.0 < end {
                state.now = Some((next, part));
                return None;
            }
            Some(part)
        });
        if let Some(part) = over {
            part.finish(result);
        }
        self.next(crypt, errand);
    }

    /// Writes the next piece, or rests.
    fn next(&self, crypt: &Inner, errand: Errand) {
        let length = errand.bytes().len() as u64 / SECTOR_SIZE;
        let mut errand = Some(errand);
        let piece = self.state.with(|state| {
            if state.now.is_none() {
                let first = |part: Part| (part.at(), part);
                state.now = state.waiting.pop().map(first);
            }
            let piece = state.now.as_ref().map(|(at, part)| {
                let end = part.at().0.saturating_add(part.count().0);
                let count = Sectors(end.saturating_sub(at.0).min(length));
                Piece { at: *at, count, fua: part.fua() }
            });
            if piece.is_none() {
                state.idle = errand.take();
            }
            piece
        });
        if let (Some(piece), Some(errand)) = (piece, errand) {
            self.write(crypt, errand, &piece);
        }
    }

    fn write(&self, crypt: &Inner, mut errand: Errand, piece: &Piece) {
        let bytes = piece.count.0.saturating_mul(SECTOR_SIZE) as usize;
        let data = errand.bytes_mut().get_mut(..bytes);
        let (Some(cipher), Some(data)) = (crypt.kit.cipher(), data) else {
            return self.go_on(crypt, errand, Err(Errno::EIO));
        };
        data.fill(0);
        cipher.encrypt_in_place(crypt.counted(piece.at), data);
        *errand.tag() = piece.count.0;
        let to = crypt.below(piece.at);
        errand.send(Op::Write, piece.fua, &crypt.line.lower, to, piece.count);
    }
}
