//! One request, from strategy to completion.
//!
//! `start` lets it through the gate, `issue` cuts it into pieces and sends them, `child_done`
//! takes them back. The request ends when the last [`IoRef`] is dropped. Nothing here sleeps
//! or allocates.

use crate::device::Device;
use crate::kern::buffer::ZEROES_MAX;
use crate::kern::cell::{IoRef, IoRequest, NestedCell};
use crate::kern::child::{Child, Piece, Room};
use crate::kern::disk::Op;
use crate::lower::Lower;
use crate::table::{FlushStep, Place, Segment, Table};
use crate::target::{Mapping, Part, Range};
use dm_protocol::{Errno, SECTOR_SIZE, Sector, Sectors};

/// Strategy context. Begins a request.
pub(crate) fn start(io: IoRef) {
    match io.device().gate.enter() {
        Some(slot) => enter(io, slot),
        None => Device::defer(io),
    }
}

/// A request that the gate counted in `slot` looks at the live table and sets off.
pub(crate) fn enter(io: IoRef, slot: usize) {
    io.enter(slot);
    let checked = match io.bind(&io.device().live) {
        Some(table) => check(&io, table),
        // A device that has no table yet, or none any more.
        None => Err(Errno::EIO),
    };
    match checked {
        Ok(()) => issue(io),
        Err(errno) => io.fail(errno),
    }
}

/// Does the device do this?
fn check(io: &IoRef, table: &Table) -> Result<(), Errno> {
    let request = io.request();
    if request.op == Op::Flush {
        io.advance(0, 0);
        return Ok(());
    }
    if request.op.writes() && io.device().readonly() {
        return Err(Errno::EROFS);
    }
    let end = request.sector.checked_add(request.count).ok_or(Errno::EINVAL)?;
    if request.count.is_zero() || end.0 > table.size().0 {
        return Err(Errno::EINVAL);
    }
    if request.op.has_data() && request.data.is_null() {
        return Err(Errno::EFAULT);
    }
    let unit = u64::from(table.sector_size()) / SECTOR_SIZE;
    if unit > 1 && (request.sector.0 | request.count.0) & (unit - 1) != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// How issuing goes on.
enum Next {
    /// With the next piece.
    More,
    /// Not at all: everything is sent, or has failed.
    Over,
    /// When a child gave its memory back.
    Wait,
}

/// Cuts a request into pieces and sends them. The caller's reference is held while a piece is
/// sent, so a request that ends meanwhile takes its table along only afterwards.
fn issue(mut io: IoRef) {
    loop {
        let next = match io.request().op {
            Op::Flush => flush_step(&io),
            _ => step(&io),
        };
        match next {
            Next::More => {}
            Next::Over => return,
            Next::Wait => match io.park() {
                Ok(()) => return,
                Err(again) => io = again,
            },
        }
    }
}

/// A piece of a request on its way.
struct Leaving<'a> {
    segment: &'a Segment,
    /// Where on the device.
    at: Sector,
    /// What the segment was asked.
    range: Range,
    /// Where issuing goes on afterwards.
    next: (u64, u32),
}

/// Sends the next piece of a request with a range.
fn step(io: &IoRef) -> Next {
    let request = io.request();
    let (at, piece) = io.next();
    let end = request.sector.0.saturating_add(request.count.0);
    if at >= end || io.failed() {
        return Next::Over;
    }
    match io.table().and_then(|table| table.place(Sector(at))) {
        Some(Place::Straight { lower, sector, left }) => {
            let count = Sectors(left.0.min(end.saturating_sub(at)));
            send_straight(io, Sector(at), count, lower, sector)
        }
        Some(Place::Asked(segment)) => ask(io, segment, at, piece),
        None => {
            io.fail(Errno::EIO);
            Next::Over
        }
    }
}

/// Sends a piece where the table knows it to live.
fn send_straight(io: &IoRef, at: Sector, count: Sectors, lower: &Lower, sector: Sector) -> Next {
    let Some(room) = Room::find(io) else { return Next::Wait };
    let request = io.request();
    io.advance(at.0.saturating_add(count.0), 0);
    let piece = Piece { op: request.op, fua: request.fua, at, count };
    lower.submit(Child::new(room, piece), sector);
    Next::More
}

/// Sends the next piece of a request where the target of its segment says.
fn ask(io: &IoRef, segment: &Segment, at: u64, piece: u32) -> Next {
    let request = io.request();
    let end = request.sector.0.saturating_add(request.count.0);
    let whole = Sectors(end.min(segment.end).saturating_sub(at));
    ask_for(io, segment, (at, piece), (request.op, whole))
}

/// Asks the target of a segment for `whole` sectors from `at` on. A target that has no way of
/// its own to make sectors read as zeroes is asked where to write zeroes, some at a time.
fn ask_for(
    io: &IoRef,
    segment: &Segment,
    (at, piece): (u64, u32),
    (op, whole): (Op, Sectors),
) -> Next {
    let request = io.request();
    let local = Sector(at.saturating_sub(segment.start));
    let spread = segment.spread(op);
    let moved = |count: Sectors| match piece.saturating_add(1) {
        more if more < spread => (at, more),
        _ if spread > 1 => (at.saturating_add(whole.0), 0),
        _ => (at.saturating_add(count.0.clamp(1, whole.0)), 0),
    };
    let range = Range { op, at: local, count: whole, piece };
    let leaving = |count| Leaving { segment, at: Sector(at), range, next: moved(count) };
    match segment.target.map(range) {
        Mapping::To { lower, sector, count } => {
            send(io, &leaving(count), count, Some((lower, sector)))
        }
        Mapping::Keep { count } => send(io, &leaving(count), count, None),
        Mapping::Zeroes { count } => {
            let count = Sectors(count.0.clamp(1, whole.0));
            if op == Op::Read {
                io.zero(Sector(at).since(request.sector), count);
            }
            skip(io, moved(count))
        }
        Mapping::Nothing => skip(io, moved(whole)),
        Mapping::Fail(Errno::EOPNOTSUPP) if op == Op::WriteZeroes => {
            ask_for(io, segment, (at, 0), (Op::Write, whole.min(ZEROES_MAX)))
        }
        Mapping::Fail(errno) => {
            io.fail(errno);
            Next::Over
        }
    }
}

fn skip(io: &IoRef, (next, piece): (u64, u32)) -> Next {
    io.advance(next, piece);
    Next::More
}

/// Sends a piece below, or gives it to its target.
fn send(io: &IoRef, leaving: &Leaving<'_>, count: Sectors, to: Option<(&Lower, Sector)>) -> Next {
    let Some(room) = Room::find(io) else { return Next::Wait };
    let request = io.request();
    let (next, number) = leaving.next;
    // Whatever a target says, a piece ends with its segment and with the request.
    let count = Sectors(count.0.clamp(1, leaving.range.count.0.max(1)));
    io.advance(next, number);
    let piece = Piece { op: leaving.range.op, fua: request.fua, at: leaving.at, count };
    let mut child = Child::new(room, piece);
    let target = &leaving.segment.target;
    if to.is_none() || target.watches() {
        let Range { at, piece, .. } = leaving.range;
        child.give(leaving.segment, (at, piece), to.is_none());
    }
    match to {
        Some((lower, sector)) => lower.submit(child, sector),
        None => target.keep(Part::new(child)),
    }
    Next::More
}

/// Sends a flush to the next place that needs it.
fn flush_step(io: &IoRef) -> Next {
    let (at, _) = io.next();
    let Some(table) = io.table() else { return Next::Over };
    let Some(step) = usize::try_from(at).ok().and_then(|nr| table.flush_step(nr)) else {
        return Next::Over;
    };
    let Some(room) = Room::find(io) else { return Next::Wait };
    io.advance(at.saturating_add(1), 0);
    let piece = Piece { op: Op::Flush, fua: false, at: Sector(0), count: Sectors::ZERO };
    let mut child = Child::new(room, piece);
    match step {
        FlushStep::Lower(lower) => lower.submit(child, Sector(0)),
        FlushStep::Segment(nr) => match table.segments().get(*nr) {
            Some(segment) => {
                child.give(segment, (Sector(0), 0), true);
                segment.target.keep(Part::new(child));
            }
            None => end_child(child, Some(Errno::EIO)),
        },
    }
    Next::More
}

/// Strategy or completion context. A child becomes a request to the mapped device below.
pub(crate) fn submit_nested(device: &Device, child: Child) {
    match NestedCell::new() {
        Some(cell) => cell.start(device, child),
        None => device.starve(child),
    }
}

/// Strategy or completion context. A child is back from below.
pub(crate) fn child_done(child: Child, errno: Option<Errno>) {
    if !child.watched() {
        return end_child(child, errno);
    }
    // A reference of our own: the target may end the child, and with it the request, while
    // it still runs in the request's table.
    let Some(io) = child.io().map(IoRef::another) else { return end_child(child, errno) };
    match (child.target(&io), errno) {
        (Some(target), _) if child.kept() => {
            target.done(Part::new(child), errno.map_or(Ok(()), Err));
        }
        (Some(target), Some(errno)) => {
            target.failed(child.range(), errno);
            end_child(child, Some(errno));
        }
        _ => end_child(child, errno),
    }
}

/// Any context. A child is over; a request that waited for its memory goes on.
pub(crate) fn end_child(child: Child, errno: Option<Errno>) {
    if let Some(io) = child.end(errno) {
        issue(io);
    }
}

/// The last reference to a request is gone: count it, unless it comes back, and leave.
pub(crate) fn leave(device: &Device, slot: usize, ended: Option<(&IoRequest, Option<Errno>)>) {
    if let Some((request, errno)) = ended {
        device.stats.count(slot, request.op, request.count, errno.is_some());
    }
    device.gate.leave(slot);
}
