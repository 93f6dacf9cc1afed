//! log-writes: a device whose every write is noted on another as well. `device log`
//!
//! Upstream: Linux's log-writes, whose format this is. Differs: what fails is not noted, a table
//! that was never live writes nothing, and a request whose write is noted ends behind that.

mod log;

use self::log::{Log, Record};
use crate::kern::disk::Op;
use crate::kern::sync::atomic::{AtomicU64, Ordering};
use crate::lower::Lower;
use crate::params::Params;
use crate::services::{Buffer, Crew, Mail, Mailbox, ThreadState};
use crate::target::{Keys, Mapping, Part, Range, Setup, Target, TargetType};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use dm_protocol::write_log::{END_MARK, EntryFlags};
use dm_protocol::{Errno, Failure, Sector, Sectors};

pub(super) static LOG_WRITES: TargetType =
    TargetType { name: "log-writes", version: [1, 1, 0], build };

/// The most that one entry holds.
const PART_MAX: Sectors = Sectors(2048);

struct LogWrites {
    inner: Arc<Inner>,
    crew: Option<Crew>,
}

struct Inner {
    /// The device and the log.
    lowers: [Lower; 2],
    /// Where the segment begins: sectors are those of the whole device, as on Linux.
    start: Sector,
    mailbox: Arc<Mailbox>,
    state: Arc<log::State>,
    log: ThreadState<Log>,
    tables: Arc<Tables>,
    own: u64,
}

/// The tables that write one log, each by a number of its own.
struct Tables {
    next: AtomicU64,
    /// The one that was live last.
    owner: AtomicU64,
}

fn build(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Box<dyn Target>, Failure> {
    let (start, length) = (setup.start(), setup.length());
    let device = setup.device(params)?;
    device.check_range(start, length).map_err(|why| params.blame(&why))?;
    let log_device = setup.device_to_write(params)?;
    let (unit, log_unit) = (device.sector_size(), log_device.sector_size());
    if log_unit > unit {
        let why = format!("its sectors of {log_unit} bytes are larger than the device's, {unit}");
        return Err(params.refuse(&why));
    }
    params.end()?;
    let tables = setup.shared(&log_device, || {
        Ok::<_, Failure>(Tables { next: AtomicU64::new(1), owner: AtomicU64::new(0) })
    })?;
    let (log, state) = Log::new(&log_device, unit)?;
    let inner = Arc::new(Inner {
        lowers: [device, log_device],
        start,
        mailbox: Arc::new(Mailbox::new()),
        state,
        log: ThreadState::new(log),
        own: tables.next.fetch_add(1, Ordering::Relaxed),
        tables,
    });
    let work = Arc::clone(&inner);
    let crew = Crew::start("log-writes", 1, &inner.mailbox, move || work.run())?;
    Ok(Box::new(LogWrites { inner, crew: Some(crew) }))
}

impl Inner {
    const fn device(&self) -> &Lower {
        let [device, _] = &self.lowers;
        device
    }

    fn place(&self, at: Sector) -> Sector {
        Sector(self.start.0.saturating_add(at.0))
    }

    fn run(&self) {
        loop {
            match self.mailbox.receive(None) {
                Mail::Fresh(part) => self.begin(part),
                Mail::Back(part, result) => self.end(part, result),
                Mail::Over => return,
                Mail::Errand(..) | Mail::Due | Mail::Poke => {}
            }
        }
    }

    /// Sends a request to the device. What it writes is copied first: its memory may change
    /// when it is over, and the log wants it later.
    fn begin(&self, mut part: Part) {
        let sector = self.place(part.at());
        match part.op() {
            Op::Write if self.state.enabled() => match Buffer::new(part.count()) {
                Ok(mut copy) => {
                    copy.bytes_mut().copy_from_slice(part.data());
                    *part.buffer() = Some(copy);
                }
                Err(errno) => self.state.disable(&format!("no memory to log a write: {errno}")),
            },
            Op::Flush => {
                *part.cookie() = self.log.with(Log::flush_begins);
                return part.forward(self.device(), Sector(0));
            }
            // Noted, and done to nothing, so that a log of discards can be made everywhere.
            Op::Discard if !self.device().discards() => return self.end(part, Ok(())),
            _ => {}
        }
        part.forward(self.device(), sector);
    }

    /// A request is back from the device.
    fn end(&self, mut part: Part, result: Result<(), Errno>) {
        let data = part.buffer().take();
        let (op, count) = (part.op(), part.count());
        if op == Op::Flush {
            let batch = *part.cookie();
            self.log.with(|log| log.flush_ends(batch, result.is_ok()));
            return part.finish(result);
        }
        // A write without a copy came when nothing was logged.
        if result.is_ok() && (data.is_some() || op != Op::Write) {
            let flags = match (op, part.fua()) {
                (Op::Discard, _) => EntryFlags::DISCARD,
                (_, true) => EntryFlags::FUA,
                _ => EntryFlags::empty(),
            };
            let record = Record { at: self.place(part.at()), count, flags, data };
            self.log.with(|log| log.written(record));
        }
        part.finish(result);
    }
}

impl Target for LogWrites {
    fn map(&self, range: Range) -> Mapping<'_> {
        if range.op == Op::Read {
            let sector = self.inner.place(range.at);
            return Mapping::To { lower: self.inner.device(), sector, count: range.count };
        }
        let most = if range.op == Op::Discard { range.count } else { PART_MAX };
        Mapping::Keep { count: range.count.min(most) }
    }

    fn params(&self, out: &mut dyn fmt::Write, _keys: Keys) -> fmt::Result {
        let [device, log] = &self.inner.lowers;
        write!(out, "{device} {log}")
    }

    fn status(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let state = &self.inner.state;
        write!(out, "{} {}", state.entries(), state.last_sector())?;
        if state.enabled() { Ok(()) } else { out.write_str(" logging_disabled") }
    }

    fn lowers(&self) -> &[Lower] {
        &self.inner.lowers
    }

    fn keeps_flushes(&self) -> bool {
        true
    }

    fn discards(&self) -> bool {
        true
    }

    fn keep(&self, part: Part) {
        self.inner.mailbox.post(part);
    }

    fn done(&self, part: Part, result: Result<(), Errno>) {
        self.inner.mailbox.post_back(part, result);
    }

    fn message(&self, words: &mut Params<'_>, _answer: &mut String) -> Result<(), Failure> {
        if !words.word("message")?.eq_ignore_ascii_case("mark") {
            return Err(words.refuse("is no message"));
        }
        let text = words.word("mark")?;
        words.end()?;
        self.inner.log.with(|log| log.mark(text));
        Ok(())
    }

    fn resume(&self) {
        self.inner.tables.owner.store(self.inner.own, Ordering::Relaxed);
    }
}

impl Drop for LogWrites {
    /// What was not flushed is noted, and an end, unless another table writes the log by now.
    fn drop(&mut self) {
        drop(self.crew.take());
        let inner = &self.inner;
        if inner.tables.owner.load(Ordering::Relaxed) == inner.own {
            inner.log.with(|log| log.close(END_MARK));
        }
    }
}
