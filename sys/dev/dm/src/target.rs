//! What a target is, and what it may ask for.
//!
//! A target maps: it says where sectors live. Buffers, splitting, counting, completion and
//! suspension belong to the core. A target that must do more *keeps* a part of a request and
//! finishes it later; [`Part`] sees to it that this happens once.

use crate::event::Event;
use crate::io;
use crate::kern::buffer::Buffer;
use crate::kern::child::{Child, ChildQueue};
use crate::kern::disk::Op;
use crate::loader::Loader;
use crate::lower::Lower;
use crate::params::Params;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use dm_protocol::{Errno, Failure, Sector, Sectors, Version};

/// Makes a target from the words of a table line.
pub type Build = fn(&mut Setup<'_>, &mut Params<'_>) -> Result<Box<dyn Target>, Failure>;

/// A kind of target, as named in a table.
pub struct TargetType {
    /// Its name, at most 15 bytes.
    pub name: &'static str,
    /// Its version. The driver's own: it says what parameters and messages there are.
    pub version: Version,
    /// Makes a target from the words of a table line. Thread context.
    pub build: Build,
}

/// What a request wants to know of a target: where does this live?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// What is to be done there.
    pub op: Op,
    /// The first sector, counted from the start of the target's segment.
    pub at: Sector,
    /// How many there are, at least 1; all within the segment.
    pub count: Sectors,
    /// Which of [`Target::spread`]'s pieces is asked for; 0 if it is one.
    pub piece: u32,
}

/// Where sectors live.
///
/// A target that has no way of its own to make sectors read as zeroes fails
/// [`Op::WriteZeroes`] with EOPNOTSUPP: the core then asks where zeroes are to be written.
#[derive(Debug)]
pub enum Mapping<'a> {
    /// On a device below. `count` is how many of them, at least 1; the core asks again for the
    /// rest. For a spread piece: the piece's own length.
    To {
        /// The device.
        lower: &'a Lower,
        /// Where on it.
        sector: Sector,
        /// How many.
        count: Sectors,
    },
    /// Nowhere: they read as zeroes, and writes are dropped.
    Zeroes {
        /// How many.
        count: Sectors,
    },
    /// Nowhere, and that is an error.
    Fail(Errno),
    /// The target takes them over, with [`Target::keep`].
    Keep {
        /// How many.
        count: Sectors,
    },
    /// A spread piece that has no sectors in this range.
    Nothing,
}

/// Whether `params` may show keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// As they are.
    Shown,
    /// As zeroes.
    Hidden,
}

/// A target of a table.
///
/// `map`, `keep` and `done` run in strategy or completion context: they neither sleep nor
/// allocate nor free. The rest runs in thread context.
pub trait Target: Send + Sync {
    /// Where the sectors of `range` live.
    fn map(&self, range: Range) -> Mapping<'_>;

    /// The device and the sector there on which the segment begins, if the whole of it lies
    /// there in order, whatever the operation. The core then maps without asking: neither
    /// `map` nor `failed` is called.
    fn straight(&self) -> Option<(&Lower, Sector)> {
        None
    }

    /// Writes the parameters as a table would give them.
    ///
    /// # Errors
    /// Only those of `out`.
    fn params(&self, out: &mut dyn fmt::Write, keys: Keys) -> fmt::Result;

    /// Writes the state for `status`; nothing by default.
    ///
    /// # Errors
    /// Only those of `out`.
    fn status(&self, _out: &mut dyn fmt::Write) -> fmt::Result {
        Ok(())
    }

    /// The devices below; dependencies, flushes and sector sizes follow from them.
    fn lowers(&self) -> &[Lower] {
        &[]
    }

    /// Into how many pieces a discard or write-zeroes of any length falls, when that is better
    /// than following the mapping sector by sector.
    fn spread(&self, _op: Op) -> u32 {
        1
    }

    /// The least length, in bytes, that requests are a multiple of, when the devices below
    /// would take less: a power of two.
    fn sector_size(&self) -> u32 {
        512
    }

    /// True if a flush must pass through `keep`, not just go to all devices below.
    fn keeps_flushes(&self) -> bool {
        false
    }

    /// True if `map` only computes: it takes no lock, keeps nothing, and to be asked changes
    /// nothing. Then it is asked in a system that has crashed, too, where to write; and a request
    /// that it maps to one place may go there as it is.
    fn computes(&self) -> bool {
        false
    }

    /// True if discards make sense here.
    fn discards(&self) -> bool {
        self.lowers().iter().all(Lower::discards)
    }

    /// True if [`Target::failed`] is to be told of errors.
    fn watches(&self) -> bool {
        false
    }

    /// A transfer that `map` sent below failed. `range` begins where `map` was asked, and is
    /// as long as what it sent.
    fn failed(&self, _range: Range, _errno: Errno) {}

    /// Takes over what `map` said it would.
    fn keep(&self, part: Part) {
        part.finish(Err(Errno::EIO));
    }

    /// A part that was sent with [`Part::forward`] is back from below.
    fn done(&self, part: Part, result: Result<(), Errno>) {
        part.finish(result);
    }

    /// Answers a message; `answer` stays empty if there is nothing to say.
    ///
    /// # Errors
    /// The target's, with a sentence. By default it takes no messages.
    fn message(&self, words: &mut Params<'_>, _answer: &mut String) -> Result<(), Failure> {
        Err(words.refuse("this target takes no messages"))
    }

    /// New requests stop soon. With `noflush`, hand back what is kept; else finish it. Until
    /// `postsuspend`, `keep` may be called for requests that came in before, and without
    /// `noflush` for a flush: they are treated alike.
    fn presuspend(&self, _noflush: bool) {}

    /// No request is inside.
    fn postsuspend(&self) {}

    /// Another table is about to be asked to `preresume`, which may read what this target has
    /// put down: what `postsuspend` left under way is over on return. Sleeps.
    fn settle(&self) {}

    /// Requests come soon.
    ///
    /// # Errors
    /// The device then stays suspended, with the table it had.
    fn preresume(&self) -> Result<(), Failure> {
        Ok(())
    }

    /// Requests may come.
    fn resume(&self) {}
}

/// What a target learns of its place when it is made.
pub struct Setup<'a> {
    pub(crate) loader: &'a mut Loader,
    pub(crate) start: Sector,
    pub(crate) length: Sectors,
    pub(crate) event: &'a Arc<Event>,
}

impl Setup<'_> {
    /// Where on the mapped device the target's segment begins.
    #[must_use]
    pub const fn start(&self) -> Sector {
        self.start
    }

    /// True if the table is loaded for reading only.
    #[must_use]
    pub const fn readonly(&self) -> bool {
        !self.loader.writes()
    }

    /// The one thing of type `T` that all targets share which lie on `lower`, in this table and
    /// in others, for as long as one of them has it; made if there is none yet.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn shared<T: Any + Send + Sync, E>(
        &self,
        lower: &Lower,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        self.loader.registry().of(lower, make)
    }

    /// The length of the target's segment.
    #[must_use]
    pub const fn length(&self) -> Sectors {
        self.length
    }

    /// Opens the device that the next word names.
    ///
    /// # Errors
    /// EINVAL without such a word; else why the device cannot be used.
    pub fn device(&mut self, params: &mut Params<'_>) -> Result<Lower, Failure> {
        let write = self.loader.writes();
        self.open(params, write)
    }

    /// As [`Setup::device`], for reading only, whatever the table is loaded for.
    ///
    /// # Errors
    /// As [`Setup::device`].
    pub fn device_to_read(&mut self, params: &mut Params<'_>) -> Result<Lower, Failure> {
        self.open(params, false)
    }

    /// As [`Setup::device`], for writing too, even if the table is read-only: for what the
    /// target writes by itself.
    ///
    /// # Errors
    /// As [`Setup::device`].
    pub fn device_to_write(&mut self, params: &mut Params<'_>) -> Result<Lower, Failure> {
        self.open(params, true)
    }

    fn open(&mut self, params: &mut Params<'_>, write: bool) -> Result<Lower, Failure> {
        let spec = params.word("device")?;
        self.loader.device(spec, write).map_err(|why| params.blame(&why))
    }

    /// Opens the device that the next word names, unless that is `-`.
    ///
    /// # Errors
    /// As [`Setup::device`].
    pub fn device_if_any(&mut self, params: &mut Params<'_>) -> Result<Option<Lower>, Failure> {
        match params.next_is("-") {
            true => params.word("device").map(|_| None),
            false => self.device(params).map(Some),
        }
    }

    /// Reads a device and an offset, and checks that `length` sectors from there are on it.
    ///
    /// # Errors
    /// As [`Setup::device`]; EINVAL when the range is not on the device or not on its sectors.
    pub fn place(
        &mut self,
        params: &mut Params<'_>,
        length: Sectors,
    ) -> Result<(Lower, Sector), Failure> {
        let lower = self.device(params)?;
        let offset = Sector(params.number("offset", 0..=u64::MAX)?);
        lower.check_range(offset, length).map_err(|why| params.blame(&why))?;
        Ok((lower, offset))
    }

    /// Moves the event number of the device when something happens.
    #[must_use]
    pub fn event(&self) -> Arc<Event> {
        Arc::clone(self.event)
    }
}

/// A part of a request that a target keeps. It ends once: finished, handed back, or with EIO
/// when it is dropped.
pub struct Part {
    child: Child,
}

impl Part {
    pub(crate) const fn new(child: Child) -> Self {
        Self { child }
    }

    /// What is to be done.
    #[must_use]
    pub fn op(&self) -> Op {
        self.child.op()
    }

    /// True if a write must be durable when it is finished.
    #[must_use]
    pub fn fua(&self) -> bool {
        self.child.fua()
    }

    /// The first sector, counted from the start of the target's segment.
    #[must_use]
    pub fn at(&self) -> Sector {
        self.child.sector()
    }

    /// How many sectors; zero for a flush.
    #[must_use]
    pub fn count(&self) -> Sectors {
        self.child.count()
    }

    /// The caller's memory; empty for what has none.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.child.data()
    }

    /// The caller's memory, to fill for a read; empty for all else, since the memory of a write
    /// is not ours to change.
    pub fn data_mut(&mut self) -> &mut [u8] {
        self.child.data_mut()
    }

    /// Memory of the target that is transferred in place of the caller's. Take it back in
    /// [`Target::done`], since memory cannot be freed there.
    pub fn buffer(&mut self) -> &mut Option<Buffer> {
        self.child.buffer()
    }

    pub(crate) fn into_child(self) -> Child {
        self.child
    }

    /// Remembers how it ended below.
    pub(crate) fn set_result(&mut self, result: Result<(), Errno>) {
        *self.child.errno() = result.err();
    }

    /// What was remembered.
    pub(crate) fn take_result(&mut self) -> Result<(), Errno> {
        self.child.errno().take().map_or(Ok(()), Err)
    }

    /// A number for the target to remember.
    pub fn cookie(&mut self) -> &mut u64 {
        self.child.cookie()
    }

    /// Sends the part down; it comes back through [`Target::done`], with EIO if the target's
    /// own memory is too short for it.
    pub fn forward(self, lower: &Lower, sector: Sector) {
        match self.child.fits() {
            true => lower.submit(self.child, sector),
            false => io::child_done(self.child, Some(Errno::EIO)),
        }
    }

    /// Sends the part down for good: what happens there is its end.
    pub fn redirect(mut self, lower: &Lower, sector: Sector) {
        self.child.forget_target();
        self.forward(lower, sector);
    }

    /// Gives the part back to its own target, in [`Target::done`], as if it came from below: for
    /// who keeps parts of several targets.
    pub fn give_back(self, result: Result<(), Errno>) {
        io::child_done(self.child, result.err());
    }

    /// The end.
    pub fn finish(self, result: Result<(), Errno>) {
        io::end_child(self.child, result.err());
    }

    /// Back to the device's queue, as if it had never come; for suspension without flush.
    pub fn hand_back(self) {
        if let Some(io) = self.child.io() {
            io.hand_back();
        }
        io::end_child(self.child, None);
    }
}

/// Parts that a target keeps, first in first out. Dropping it ends them with EIO.
pub struct PartQueue {
    children: ChildQueue,
}

impl PartQueue {
    /// An empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self { children: ChildQueue::new() }
    }

    /// Appends.
    pub fn push(&mut self, part: Part) {
        self.children.push(part.child);
    }

    /// Takes the first.
    pub fn pop(&mut self) -> Option<Part> {
        self.children.pop().map(Part::new)
    }

    /// True when none waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.children.is_empty()
    }
}

impl Default for PartQueue {
    fn default() -> Self {
        Self::new()
    }
}
