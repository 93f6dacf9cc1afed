//! An open file: reads and writes of any bytes, as requests of whole sectors.

use super::answer::{self, Answer};
use crate::mapped::{Ask, Mapped};
use dm::kern::disk::Op;
use dm_protocol::{SECTOR_SIZE, Sector, Sectors};
use fuser::{ReplyData, ReplyEmpty, ReplyWrite};
use std::sync::Arc;

/// A mapped device that a program has open.
pub struct OpenFile {
    mapped: Arc<Mapped>,
}

impl OpenFile {
    /// The device, open.
    pub fn new(mapped: Mapped) -> Self {
        Self { mapped: Arc::new(mapped) }
    }

    /// The size in bytes.
    fn size(&self) -> u64 {
        self.mapped.opened().size().bytes().unwrap_or(u64::MAX)
    }

    fn unit(&self) -> u64 {
        u64::from(self.mapped.opened().sector_size())
    }

    /// Reads up to `count` bytes, fewer at the end of the device.
    pub fn read(&self, offset: u64, count: u32, reply: ReplyData) {
        let end = offset.saturating_add(u64::from(count)).min(self.size());
        if offset >= end {
            return reply.data(&[]);
        }
        let unit = self.unit();
        let first = offset - offset % unit;
        let whole = end.next_multiple_of(unit) - first;
        let ask = Ask::new(Op::Read, Sector(first / SECTOR_SIZE), Sectors(whole / SECTOR_SIZE));
        let mut io = answer::request();
        if let Err(errno) = io.reserve(ask.count) {
            return reply.error(answer::system(errno));
        }
        io.own = Answer::Data(reply, (offset - first) as usize, (end - first) as usize);
        self.mapped.submit(io, ask);
    }

    /// Writes; what lies behind the end of the device is refused or, if the start does not,
    /// left for the caller to see from the count.
    pub fn write(&self, offset: u64, data: &[u8], fua: bool, reply: ReplyWrite) {
        let room = self.size().saturating_sub(offset).min(data.len() as u64) as usize;
        let data = data.get(..room).unwrap_or_default();
        if data.is_empty() {
            return reply.error(fuser::Errno::ENOSPC);
        }
        let count = data.len() as u32;
        let whole =
            offset.is_multiple_of(self.unit()) && u64::from(count).is_multiple_of(self.unit());
        let answer = Answer::Written(reply, count);
        if whole {
            return self.write_whole(offset, data, fua, answer);
        }
        self.mapped.write_bytes(offset, data.to_vec(), fua, |result| answer.send(result, &[]));
    }

    fn write_whole(&self, offset: u64, data: &[u8], fua: bool, answer: Answer) {
        let count = Sectors::from_bytes(data.len() as u64);
        let mut io = answer::request();
        if let Err(errno) = io.reserve(count) {
            return answer.send(Err(errno), &[]);
        }
        io.own = answer;
        if let Some(buffer) = io.bytes_mut().get_mut(..data.len()) {
            buffer.copy_from_slice(data);
        }
        let ask = Ask::new(Op::Write, Sector(offset / SECTOR_SIZE), count);
        self.mapped.submit(io, Ask { fua, ..ask });
    }

    /// Makes everything written before durable.
    pub fn sync(&self, reply: ReplyEmpty) {
        self.act(Ask::FLUSH, reply);
    }

    /// Makes a range read as zeroes; with `punch`, lets the disks below forget it if they can.
    pub fn zero(&self, offset: u64, length: u64, reply: ReplyEmpty) {
        let end = offset.saturating_add(length).min(self.size());
        if length == 0 {
            return reply.error(fuser::Errno::EINVAL);
        }
        if offset >= end {
            return reply.ok();
        }
        let unit = self.unit();
        if offset.is_multiple_of(unit) && end.is_multiple_of(unit) {
            let count = Sectors((end - offset) / SECTOR_SIZE);
            return self.act(Ask::new(Op::WriteZeroes, Sector(offset / SECTOR_SIZE), count), reply);
        }
        // Edges within sectors are rare: write the zeroes.
        let Ok(count) = usize::try_from(end - offset) else {
            return reply.error(fuser::Errno::EINVAL);
        };
        if count > ZEROES_MAX {
            return reply.error(fuser::Errno::EOPNOTSUPP);
        }
        let answer = Answer::Empty(reply);
        let zeroes = vec![0; count];
        self.mapped.write_bytes(offset, zeroes, false, |result| answer.send(result, &[]));
    }

    fn act(&self, ask: Ask, reply: ReplyEmpty) {
        let mut io = answer::request();
        io.own = Answer::Empty(reply);
        self.mapped.submit(io, ask);
    }
}

/// Zeroes that are written at once when they do not cover whole sectors.
const ZEROES_MAX: usize = 16 << 20;
