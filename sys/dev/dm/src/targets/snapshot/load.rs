//! Reading a store from its COW device, and making one. Thread context; sleeps.

use super::exceptions::Exceptions;
use super::format::{BadHeader, ENTRY_BYTES, Header, Layout, entry};
use super::store::{Area, Store};
use crate::kern::disk::Op;
use crate::lower::Lower;
use crate::services::Buffer;
use alloc::format;
use dm_protocol::{Errno, Failure, Sector, Sectors};

/// Metadata is read in pieces of so many sectors.
const PIECE: u64 = 64;
/// Sectors in a chunk when neither the table nor the device says.
const CHUNK: u64 = 32;

/// A store as it is on the device.
pub(super) struct Loaded {
    pub(super) layout: Layout,
    pub(super) store: Store,
    pub(super) table: Exceptions,
    /// False if the device says that the snapshot lost something.
    pub(super) valid: bool,
    /// What must be written before the store can be used.
    pub(super) due: Due,
}

/// What must be written before a store can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing.
    Nothing,
    /// All of it: there is no store yet.
    All,
    /// Zeroes behind the last entry. A write of several sectors that the power cut short may
    /// have left entries there, which would count once those before them are filled.
    Tail,
}

/// Sectors in a sector of the device.
fn unit(cow: &Lower) -> u64 {
    u64::from(cow.sector_size() / 512).max(1)
}

fn layout_of(cow: &Lower, chunk: u64, unit_max: u64) -> Result<Layout, Failure> {
    let layout = Layout::new(chunk).filter(|_| chunk.is_multiple_of(unit_max));
    layout.ok_or_else(|| {
        let message = format!("{cow} has chunks of {chunk} sectors, which cannot be used");
        Failure::new(Errno::EINVAL, message)
    })
}

/// A new store that keeps nothing on its device.
pub(super) fn transient(cow: &Lower, chunk: u64, unit_max: u64) -> Result<Loaded, Failure> {
    let layout = layout_of(cow, chunk, unit_max)?;
    let (store, table) = (Store::Transient { next: 0 }, Exceptions::new()?);
    Ok(Loaded { layout, store, table, valid: true, due: Due::Nothing })
}

/// The store on a device; a new one if there is none. `chunk` is what the table asks for, 0 if
/// it does not care; what the device says counts.
pub(super) fn persistent(cow: &Lower, chunk: u64, unit_max: u64) -> Result<Loaded, Failure> {
    let header = read_header(cow)?;
    let chunk = match (header, chunk) {
        (Some(header), _) => u64::from(header.chunk),
        (None, 0) => CHUNK.max(unit_max),
        (None, chunk) => chunk,
    };
    let layout = layout_of(cow, chunk, unit_max)?;
    if chunks(cow, layout) < 2 {
        let size = cow.size();
        let message = format!("{cow} has {size} sectors, and two chunks of {chunk} are needed");
        return Err(Failure::new(Errno::EINVAL, message));
    }
    let area = Area::new(layout, u64::from(cow.sector_size()))?;
    let (store, table) = (Store::Persistent(area), Exceptions::new()?);
    let due = if header.is_none() { Due::All } else { Due::Nothing };
    let valid = header.is_none_or(|header| header.valid);
    let mut loaded = Loaded { layout, store, table, valid, due };
    if header.is_some() && valid {
        loaded.due = read_areas(cow, &mut loaded)?;
    }
    Ok(loaded)
}

/// How many chunks a device has.
pub(super) fn chunks(cow: &Lower, layout: Layout) -> u64 {
    cow.size().0 >> layout.shift()
}

fn read_header(cow: &Lower) -> Result<Option<Header>, Failure> {
    if cow.size().0 < unit(cow) {
        return Err(Failure::new(Errno::EINVAL, format!("{cow} is empty")));
    }
    let mut buffer = Buffer::new(Sectors(unit(cow)))?;
    read(cow, 0, &mut buffer)?;
    Header::decode(buffer.bytes()).map_err(|bad| {
        let errno = match bad {
            BadHeader::Foreign => Errno::ENXIO,
            BadHeader::Version(_) => Errno::EINVAL,
        };
        Failure::new(errno, format!("{cow} {bad}"))
    })
}

fn read(cow: &Lower, at: u64, buffer: &mut Buffer) -> Result<(), Failure> {
    cow.transfer(Op::Read, false, Sector(at), buffer).map_err(|errno| {
        Failure::new(errno, format!("{cow}: the metadata at sector {at} cannot be read"))
    })
}

fn write(cow: &Lower, at: u64, fua: bool, buffer: &mut Buffer) -> Result<(), Failure> {
    cow.transfer(Op::Write, fua, Sector(at), buffer).map_err(|errno| {
        Failure::new(errno, format!("{cow}: the metadata at sector {at} cannot be written"))
    })
}

/// Reads all entries. The list ends with the first that is empty.
fn read_areas(cow: &Lower, loaded: &mut Loaded) -> Result<Due, Failure> {
    let layout = loaded.layout;
    let chunk_sectors = layout.chunk();
    let piece = PIECE.max(unit(cow)).min(chunk_sectors);
    let mut buffer = Buffer::new(Sectors(piece))?;
    let mut reading =
        Reading { chunks: chunks(cow, layout), highest: 1, ended: false, tail: false };
    while !reading.ended {
        let Store::Persistent(area) = &mut loaded.store else { return Ok(Due::Nothing) };
        if layout.area(area.nr) >= reading.chunks {
            let message = format!("{cow}: its metadata goes on beyond its end");
            return Err(Failure::new(Errno::EINVAL, message));
        }
        area.committed = 0;
        let start = layout.area(area.nr) << layout.shift();
        let mut at = 0;
        while at < chunk_sectors {
            read(cow, start.saturating_add(at), &mut buffer)?;
            reading
                .take(buffer.bytes(), area, &mut loaded.table, layout, at)
                .map_err(|why| Failure::new(why.errno, format!("{cow}: {}", why.message)))?;
            at = at.saturating_add(piece);
        }
        if !reading.ended {
            area.nr = area.nr.saturating_add(1);
        }
    }
    if let Store::Persistent(area) = &mut loaded.store {
        area.next = layout.skip_metadata(reading.highest.saturating_add(1));
    }
    Ok(if reading.tail { Due::Tail } else { Due::Nothing })
}

/// What is known while entries are read.
struct Reading {
    chunks: u64,
    /// The highest chunk in use.
    highest: u64,
    ended: bool,
    /// Something stands behind the end.
    tail: bool,
}

impl Reading {
    /// Entries of a piece of an area, which begins `at` sectors into it.
    fn take(
        &mut self,
        bytes: &[u8],
        area: &mut Area,
        table: &mut Exceptions,
        layout: Layout,
        at: u64,
    ) -> Result<(), Failure> {
        for nr in 0..bytes.len() / ENTRY_BYTES {
            let Some(entry) = entry(bytes, nr) else { break };
            if self.ended {
                self.tail |= entry.old != 0 || entry.new != 0;
                continue;
            }
            if entry.new == 0 {
                self.ended = true;
                self.tail |= entry.old != 0;
                keep_block(bytes, area, at, nr);
                continue;
            }
            let wrong = |why: &str| {
                let (old, new) = (entry.old, entry.new);
                let message = format!("its entry for chunk {old}, copied to {new}, {why}");
                Err(Failure::new(Errno::EINVAL, message))
            };
            if entry.new >= self.chunks {
                return wrong("is beyond its end");
            }
            if layout.is_metadata(entry.new) {
                return wrong("is where metadata lies");
            }
            if entry.old > u64::MAX >> layout.shift() {
                return wrong("is beyond every origin");
            }
            table.reserve(1)?;
            if !table.insert(entry.old, entry.new) {
                return wrong("is the second for that chunk");
            }
            self.highest = self.highest.max(entry.new);
            area.committed = area.committed.saturating_add(1);
        }
        Ok(())
    }
}

/// Keeps the entries before the end in the block where the next one goes.
fn keep_block(bytes: &[u8], area: &mut Area, at: u64, end: usize) {
    let block_bytes = area.block().len();
    let first = area.open_block().saturating_mul(block_bytes as u64);
    let within = first.saturating_sub(at.saturating_mul(512)) as usize;
    let end = end.saturating_mul(ENTRY_BYTES);
    area.block_mut().fill(0);
    if let Some(kept) = bytes.get(within..end) {
        for (to, from) in area.block_mut().iter_mut().zip(kept) {
            *to = *from;
        }
    }
}

/// Writes what is due, so that a store without end or with a foreign tail is never seen.
pub(super) fn write_due(
    cow: &Lower,
    layout: Layout,
    store: &Store,
    due: Due,
) -> Result<(), Failure> {
    let Store::Persistent(area) = store else { return Ok(()) };
    let area_start = layout.area(area.nr) << layout.shift();
    match due {
        Due::Nothing => {}
        Due::All => {
            clear(cow, area_start, layout.chunk())?;
            clear(cow, unit(cow), layout.chunk().saturating_sub(unit(cow)))?;
            cow.flush()?;
            let mut buffer = Buffer::new(Sectors(unit(cow)))?;
            let header = Header { valid: true, chunk: layout.chunk() as u32 };
            header.encode(buffer.bytes_mut());
            write(cow, 0, true, &mut buffer)?;
        }
        Due::Tail => {
            let mut buffer = Buffer::new(Sectors(area.block().len() as u64 / 512))?;
            buffer.bytes_mut().copy_from_slice(area.block());
            let start = area.block_sector(area.open_block());
            let behind = start.saturating_add(buffer.length().0);
            let area_end = area_start.saturating_add(layout.chunk());
            // The far end first: a tail shrinks towards the list.
            clear(cow, behind, area_end.saturating_sub(behind))?;
            cow.flush()?;
            write(cow, start, true, &mut buffer)?;
        }
    }
    Ok(())
}

/// Writes zeroes.
fn clear(cow: &Lower, start: u64, count: u64) -> Result<(), Failure> {
    let mut at = 0;
    while at < count {
        let mut zeroes = Buffer::new(Sectors(PIECE.max(unit(cow)).min(count.saturating_sub(at))))?;
        let length = zeroes.length().0;
        write(cow, start.saturating_add(at), false, &mut zeroes)?;
        at = at.saturating_add(length);
    }
    Ok(())
}
