//! crypt: what lies below is encrypted. `cipher key iv_offset device offset [options...]`
//!
//! Upstream: Linux's dm-crypt, and its format bit for bit. Writes are encrypted into memory
//! of the target, reads are decrypted in the caller's. That happens at once where the
//! processor does it, else in threads. Differs: no tags.

mod keys;
mod kit;
mod line;

use crate::kern::disk::Op;
use crate::lower::Lower;
use crate::params::Params;
use crate::services::{Crew, Mail, Mailbox, cpu_count};
use crate::target::{Keys, Mapping, Part, Range, Setup, Target, TargetType};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use dm_protocol::{Errno, Failure, Sector};
use kit::{Armed, Kit, PART};
use line::{Line, Switch};

pub(super) static CRYPT: TargetType = TargetType { name: "crypt", version: [1, 28, 0], build };

/// The most bytes that are worth less than waking a thread, where the processor has AES.
const AT_ONCE_BYTES: usize = 32 * 1024;
const THREADS_MAX: usize = 8;

struct Crypt {
    inner: Arc<Inner>,
    _crew: Crew,
}

struct Inner {
    line: Line,
    kit: Kit,
    mailbox: Arc<Mailbox>,
    /// Do requests of a direction always do their own work?
    reads_at_once: bool,
    writes_at_once: bool,
}

fn build(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Box<dyn Target>, Failure> {
    let (line, key) = Line::parse(setup, params)?;
    let keyed = keys::make(&line, key)?;
    let mailbox = Arc::new(Mailbox::new());
    let inner = Arc::new(Inner {
        kit: Kit::new(keyed)?,
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

    /// A thread: what was too much to do at once.
    fn work(&self) {
        loop {
            match self.mailbox.receive(None) {
                Mail::Fresh(part) => self.write_later(part),
                Mail::Back(part, result) => self.read(part, result),
                Mail::Errand(..) | Mail::Poke | Mail::Due => {}
                Mail::Over => return,
            }
        }
    }

    /// Any context. A part of a write came in.
    fn begin_write(&self, part: Part) {
        match self.kit.arm(part) {
            Ok(Some(armed)) if self.writes_at_once || self.is_short(&armed.part) => {
                self.write(armed);
            }
            Ok(Some(Armed { mut part, buffer, .. })) => {
                *part.buffer() = Some(buffer);
                self.mailbox.post(part);
            }
            Ok(None) => {}
            Err(part) => part.finish(Err(Errno::EIO)),
        }
    }

    /// A part whose memory came later, or is too much to encrypt at once.
    fn write_later(&self, mut part: Part) {
        match (part.buffer().take(), self.kit.cipher()) {
            (Some(buffer), Some(cipher)) => self.write(Armed { part, buffer, cipher }),
            (buffer, _) => {
                *part.buffer() = buffer;
                self.end_write(part, Err(Errno::EIO));
            }
        }
    }

    /// Encrypts a part of a write, and sends it below.
    fn write(&self, Armed { mut part, mut buffer, cipher }: Armed) {
        let at = part.at();
        let data = part.data();
        // A buffer of a stock is as long as the parts that it is for.
        if let Some(to) = buffer.bytes_mut().get_mut(..data.len()) {
            cipher.encrypt(self.counted(at), data, to);
        }
        *part.buffer() = Some(buffer);
        part.forward(&self.line.lower, self.below(at));
    }

    /// Any context. A part of a write is over.
    fn end_write(&self, mut part: Part, result: Result<(), Errno>) {
        let buffer = part.buffer().take();
        let next = buffer.and_then(|buffer| self.kit.give(part.count(), buffer));
        part.finish(result);
        if let Some(next) = next {
            self.mailbox.post(next);
        }
    }

    /// Decrypts a part of a read, if it was read.
    fn read(&self, mut part: Part, result: Result<(), Errno>) {
        let result = result.and_then(|()| {
            let cipher = self.kit.cipher().ok_or(Errno::EIO)?;
            cipher.decrypt_in_place(self.counted(part.at()), part.data_mut());
            Ok(())
        });
        part.finish(result);
    }

    /// True if a part is done sooner than a thread wakes.
    fn is_short(&self, part: &Part) -> bool {
        part.data().len() <= AT_ONCE_BYTES && self.kit.is_fast()
    }
}

impl Target for Crypt {
    fn map(&self, range: Range) -> Mapping<'_> {
        let inner = &*self.inner;
        match range.op {
            Op::Read | Op::Write => Mapping::Keep { count: range.count.min(PART) },
            // A disk's own zeroes would be no zeroes here: they are written.
            Op::WriteZeroes => Mapping::Fail(Errno::EOPNOTSUPP),
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
        inner.line.write(out, &inner.kit.keyed().key, keys)
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
            Op::Write => inner.begin_write(part),
            _ => inner.mailbox.post(part),
        }
    }

    fn done(&self, part: Part, result: Result<(), Errno>) {
        let inner = &*self.inner;
        if part.op() == Op::Write {
            inner.end_write(part, result);
        } else if result.is_err() || inner.reads_at_once || inner.is_short(&part) {
            inner.read(part, result);
        } else {
            inner.mailbox.post_back(part, result);
        }
    }

    fn message(&self, words: &mut Params<'_>, _answer: &mut String) -> Result<(), Failure> {
        keys::message(&self.inner.line, &self.inner.kit, words)
    }

    fn postsuspend(&self) {
        self.inner.kit.set_suspended(true);
    }

    fn preresume(&self) -> Result<(), Failure> {
        keys::check(&self.inner.kit)
    }

    fn resume(&self) {
        self.inner.kit.set_suspended(false);
    }
}
