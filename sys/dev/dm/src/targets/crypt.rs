//! crypt: what lies below is encrypted. `cipher key iv_offset device offset [options...]`
//!
//! Upstream: Linux's dm-crypt, and its format bit for bit. Writes are encrypted into memory
//! of the target, reads are decrypted in the caller's. That happens at once where the
//! processor does it, else in threads. Differs: zeroes are written, not refused; no tags.

mod keys;
mod line;
mod zeroes;

use crate::kern::disk::Op;
use crate::lower::Lower;
use crate::params::Params;
use crate::services::{Buffer, BufferPool, Crew, Mail, Mailbox, cpu_count};
use crate::target::{Keys, Mapping, Part, Range, Setup, Target, TargetType};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use dm_protocol::{Errno, Failure, Sector, Sectors};
use keys::KeySlot;
use line::{Line, Switch};
use zeroes::Zeroes;

pub(super) static CRYPT: TargetType = TargetType { name: "crypt", version: [1, 28, 0], build };

/// The most that is encrypted as one part. A multiple of the longest sector.
const PART: Sectors = Sectors(128);
/// Memory for parts, set aside for each target: many short ones, and a few long ones.
const LARGE_COUNT: usize = 8;
const SMALL: Sectors = Sectors(16);
const SMALL_COUNT: usize = 64;
/// The most bytes that are worth less than waking a thread, where the processor has AES.
const AT_ONCE_BYTES: usize = 32 * 1024;
const THREADS_MAX: usize = 8;

struct Crypt {
    inner: Arc<Inner>,
    _crew: Crew,
}

struct Inner {
    line: Line,
    keys: KeySlot,
    small: BufferPool,
    large: BufferPool,
    mailbox: Arc<Mailbox>,
    zeroes: Zeroes,
    /// Do requests of a direction always do their own work?
    reads_at_once: bool,
    writes_at_once: bool,
}

fn build(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Box<dyn Target>, Failure> {
    let (line, key) = Line::parse(setup, params)?;
    let keys = KeySlot::new(&line, key)?;
    let mailbox = Arc::new(Mailbox::new());
    let inner = Arc::new(Inner {
        keys,
        small: BufferPool::new(SMALL_COUNT, SMALL)?,
        large: BufferPool::new(LARGE_COUNT, PART)?,
        zeroes: Zeroes::new(&mailbox, PART)?,
        mailbox,
        reads_at_once: line.options.has(Switch::NoReadWorkqueue),
        writes_at_once: line.options.has(Switch::NoWriteWorkqueue),
        line,
    });
    let worker = Arc::clone(&inner);
    let threads = cpu_count().min(THREADS_MAX);
    let crew = Crew::start("dmcrypt", threads, &inner.mailbox, move || worker.work())?;
    Ok(Box::new(Crypt { inner, _crew: crew }))
}

impl Inner {
    /// Where a sector of the segment lies below.
    fn below(&self, at: Sector) -> Sector {
        Sector(self.line.offset.0.wrapping_add(at.0))
    }

    /// The number that a sector's vector is made from.
    fn counted(&self, at: Sector) -> u64 {
        self.line.iv_offset.wrapping_add(at.0)
    }

    fn pool(&self, count: Sectors) -> &BufferPool {
        if count <= SMALL { &self.small } else { &self.large }
    }

    /// A thread: what was too much to do at once.
    fn work(&self) {
        loop {
            match self.mailbox.receive(None) {
                Mail::Fresh(part) if part.op() == Op::WriteZeroes => self.zeroes.begin(self, part),
                Mail::Fresh(part) => {
                    let buffer = self.pool(part.count()).wait();
                    self.write(part, buffer);
                }
                Mail::Back(part, result) => self.read(part, result),
                Mail::Errand(errand, result) => self.zeroes.go_on(self, errand, result),
                Mail::Poke | Mail::Due => {}
                Mail::Over => return,
            }
        }
    }

    /// Encrypts a part of a write, and sends it below.
    fn write(&self, mut part: Part, mut buffer: Buffer) {
        let at = part.at();
        let data = part.data();
        let to = buffer.bytes_mut().get_mut(..data.len());
        let (Some(cipher), Some(to)) = (self.keys.cipher(), to) else {
            self.pool(part.count()).give(buffer);
            return part.finish(Err(Errno::EIO));
        };
        cipher.encrypt(self.counted(at), data, to);
        *part.buffer() = Some(buffer);
        part.forward(&self.line.lower, self.below(at));
    }

    /// Decrypts a part of a read, if it was read.
    fn read(&self, mut part: Part, result: Result<(), Errno>) {
        let result = result.and_then(|()| {
            let cipher = self.keys.cipher().ok_or(Errno::EIO)?;
            cipher.decrypt_in_place(self.counted(part.at()), part.data_mut());
            Ok(())
        });
        part.finish(result);
    }

    /// True if a part is done sooner than a thread wakes.
    fn is_short(&self, part: &Part) -> bool {
        part.data().len() <= AT_ONCE_BYTES && self.keys.is_fast()
    }
}

impl Target for Crypt {
    fn map(&self, range: Range) -> Mapping<'_> {
        let inner = &*self.inner;
        match range.op {
            Op::Read | Op::Write => Mapping::Keep { count: range.count.min(PART) },
            Op::WriteZeroes => Mapping::Keep { count: range.count },
            Op::Discard if !inner.line.options.has(Switch::AllowDiscards) => {
                Mapping::Fail(Errno::EOPNOTSUPP)
            }
            Op::Discard | Op::Flush => {
                let sector = inner.below(range.at);
                Mapping::To { lower: &inner.line.lower, sector, count: range.count }
            }
        }
    }

    fn params(&self, out: &mut dyn fmt::Write, keys: Keys) -> fmt::Result {
        let inner = &*self.inner;
        inner.line.write(out, &inner.keys.key(), keys)
    }

    fn lowers(&self) -> &[Lower] {
        core::slice::from_ref(&self.inner.line.lower)
    }

    fn sector_size(&self) -> u32 {
        self.inner.line.options.format.sector_bytes() as u32
    }

    fn discards(&self) -> bool {
        self.inner.line.options.has(Switch::AllowDiscards) && self.inner.line.lower.discards()
    }

    fn keep(&self, part: Part) {
        let inner = &*self.inner;
        match part.op() {
            Op::Read => {
                let sector = inner.below(part.at());
                part.forward(&inner.line.lower, sector);
            }
            Op::Write if inner.writes_at_once || inner.is_short(&part) => {
                match inner.pool(part.count()).take() {
                    Some(buffer) => inner.write(part, buffer),
                    None => inner.mailbox.post(part),
                }
            }
            _ => inner.mailbox.post(part),
        }
    }

    fn done(&self, mut part: Part, result: Result<(), Errno>) {
        let inner = &*self.inner;
        if let Some(buffer) = part.buffer().take() {
            inner.pool(part.count()).give(buffer);
            part.finish(result);
        } else if result.is_err() || inner.reads_at_once || inner.is_short(&part) {
            inner.read(part, result);
        } else {
            inner.mailbox.post_back(part, result);
        }
    }

    fn message(&self, words: &mut Params<'_>, _answer: &mut String) -> Result<(), Failure> {
        self.inner.keys.message(&self.inner.line, words)
    }

    fn postsuspend(&self) {
        self.inner.keys.suspend();
    }

    fn preresume(&self) -> Result<(), Failure> {
        self.inner.keys.check()
    }

    fn resume(&self) {
        self.inner.keys.resume();
    }
}
