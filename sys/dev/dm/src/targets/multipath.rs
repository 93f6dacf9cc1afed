//! multipath: one disk that is reached in several ways. `features... handlers groups first
//! (selector... paths words (device words...)...)...`
//!
//! Upstream: Linux's dm-mpath. A request goes to the path that the selector of the group in use
//! chooses. When it fails there, that path is out of use and the request goes another way;
//! when no way is left it fails, or waits until one is there. Differs: there are no hardware
//! handlers; how long requests wait may be said for each device.

mod parse;
mod paths;
mod selector;

use crate::event::Event;
use crate::lower::Lower;
use crate::params::Params;
use crate::services::{Crew, Mail, Mailbox, Shared, log, now_ns};
use crate::target::{Keys, Mapping, Part, PartQueue, Range, Setup, Target, TargetType};
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use dm_protocol::{Errno, Failure};
use parse::{Features, Line};
use paths::Paths;
use selector::Selector;

pub(super) static MULTIPATH: TargetType =
    TargetType { name: "multipath", version: [1, 14, 0], build };

struct Multipath {
    inner: Arc<Inner>,
    /// Sends what failed on one path down another, and what waits once there is one.
    _crew: Crew,
}

struct Inner {
    features: Features,
    /// The device of each path, by its number.
    lowers: Vec<Lower>,
    /// How the table named them.
    names: Vec<String>,
    state: Shared<State>,
    mailbox: Arc<Mailbox>,
    event: Arc<Event>,
}

struct State {
    paths: Paths,
    queue_if_no_path: bool,
    /// Set while the device is being suspended, or is so: without flush?
    suspending: Option<bool>,
    suspended: bool,
    /// Requests that no path was left for.
    waiting: PartQueue,
    /// When they have waited long enough.
    due_ns: Option<u64>,
}

/// What a request without a path comes to.
enum Stuck {
    /// It waits.
    Waits,
    /// The device's queue has it again.
    Back(Part),
    /// It fails.
    Fails(Part),
}

/// A part's cookie: the number of its path, and when it set off, in the lower bits.
struct Cookie;

impl Cookie {
    const TIME_BITS: u32 = 44;
    const TIME: u64 = (1 << Self::TIME_BITS) - 1;

    fn encode(path: usize, at_ns: u64) -> u64 {
        ((path as u64) << Self::TIME_BITS) | (at_ns & Self::TIME)
    }

    /// The path, and how long ago that was.
    fn decode(cookie: u64, now_ns: u64) -> (usize, u64) {
        let ago_ns = now_ns.wrapping_sub(cookie) & Self::TIME;
        ((cookie >> Self::TIME_BITS) as usize, ago_ns)
    }
}

fn build(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Box<dyn Target>, Failure> {
    let Line { features, paths, lowers, names } = Line::parse(setup, params)?;
    let state = State {
        paths,
        queue_if_no_path: features.queue_if_no_path,
        suspending: None,
        suspended: false,
        waiting: PartQueue::new(),
        due_ns: None,
    };
    let inner = Arc::new(Inner {
        features,
        lowers,
        names,
        state: Shared::new(state),
        mailbox: Arc::new(Mailbox::new()),
        event: setup.event(),
    });
    let worker = Arc::clone(&inner);
    let crew = Crew::start("dmmpath", 1, &inner.mailbox, move || worker.work())?;
    Ok(Box::new(Multipath { inner, _crew: crew }))
}

impl State {
    /// No path is left for a part.
    fn stuck(&mut self, part: Part, timeout_secs: u64) -> Stuck {
        match self.suspending {
            Some(true) => Stuck::Back(part),
            None if self.queue_if_no_path => {
                if self.due_ns.is_none() && timeout_secs != 0 {
                    let timeout_ns = timeout_secs.saturating_mul(1_000_000_000);
                    self.due_ns = Some(now_ns().saturating_add(timeout_ns));
                }
                self.waiting.push(part);
                Stuck::Waits
            }
            _ => Stuck::Fails(part),
        }
    }
}

impl Inner {
    /// The thread: sends parts again, and ends their waiting.
    fn work(&self) {
        loop {
            let due_ns = self.state.with(|state| state.due_ns);
            match self.mailbox.receive(due_ns) {
                Mail::Fresh(part) => self.send(part),
                Mail::Poke => self.send_waiting(),
                Mail::Due => {
                    self.state.with(|state| {
                        state.due_ns = None;
                        state.queue_if_no_path = false;
                    });
                    self.event.raise();
                    log("multipath: no path came back in time, requests that wait fail");
                    self.send_waiting();
                }
                Mail::Over => return,
                Mail::Back(part, result) => part.finish(result),
                Mail::Errand(..) => {}
            }
        }
    }

    /// Any context. Sends a part down a path, or does with it what has to be done without one.
    fn send(&self, mut part: Part) {
        let bytes = part.count().bytes().unwrap_or(0);
        let now = now_ns();
        let chosen = self.state.with(|state| {
            let path = state.paths.choose(bytes, now)?;
            state.paths.start(path, bytes);
            Some(path)
        });
        if let Some((path, lower)) = chosen.and_then(|path| Some((path, self.lowers.get(path)?))) {
            *part.cookie() = Cookie::encode(path, now);
            let at = part.at();
            return part.forward(lower, at);
        }
        let timeout_secs = self.features.timeout_secs;
        match self.state.with(|state| state.stuck(part, timeout_secs)) {
            // A path may have come back before it was queued, and the thread sets the time.
            Stuck::Waits => self.wake(),
            Stuck::Back(part) => part.hand_back(),
            Stuck::Fails(part) => part.finish(Err(Errno::EIO)),
        }
    }

    /// Wakes the thread when there is a path for what waits, or a time to wait for.
    fn wake(&self) {
        if self.state.with(|state| state.paths.alive() || state.due_ns.is_some()) {
            self.mailbox.poke();
        }
    }

    /// Thread context. Sends all that waits now.
    fn send_waiting(&self) {
        let mut waiting = self.state.with(|state| {
            if state.paths.alive() {
                state.due_ns = None;
            }
            let stay = !state.paths.alive() && state.queue_if_no_path && state.suspending.is_none();
            match stay {
                true => PartQueue::new(),
                false => core::mem::take(&mut state.waiting),
            }
        });
        while let Some(part) = waiting.pop() {
            self.send(part);
        }
    }

    /// Any context. Takes a path out of use.
    fn fail_path(&self, path: usize) {
        if self.state.with(|state| state.paths.fail(path)) {
            self.event.raise();
        }
    }

    /// The paths of the device that a message names.
    fn named(&self, params: &mut Params<'_>) -> Result<Vec<usize>, Failure> {
        let word = params.word("device")?;
        let is = |number: usize, lower: &Lower| {
            self.names.get(number).is_some_and(|name| name == word)
                || lower.to_string() == word
                || lower.dependency().name == word
        };
        let numbered = self.lowers.iter().enumerate();
        let found: Vec<_> =
            numbered.filter(|(number, lower)| is(*number, lower)).map(|(n, _)| n).collect();
        match found.is_empty() {
            true => Err(params.refuse("is no path of this device")),
            false => Ok(found),
        }
    }

    /// Writes the groups as a table or a status has them. The state is looked at bit by bit,
    /// since text may not be written while it is held.
    fn write_groups(&self, out: &mut dyn fmt::Write, status: bool) -> fmt::Result {
        let (count, in_use) = self.state.with(|state| {
            let paths = &state.paths;
            (paths.groups.len(), paths.next.or(paths.current))
        });
        let first = in_use.map_or(count.min(1), |number| number.saturating_add(1));
        write!(out, "0 {count} {first} ")?;
        for number in 0..count {
            let Some(group) = self.state.with(|state| state.paths.view(number)) else { continue };
            match status {
                true => write!(out, "{} ", group.letter)?,
                false => write!(out, "{} ", group.selector.name())?,
            }
            group.selector.group_args(out)?;
            let (table_words, status_words) = group.selector.path_words();
            let words = if status { status_words } else { table_words };
            write!(out, "{} {words} ", group.range.len())?;
            for path in group.range {
                self.write_path(out, path, group.selector, status)?;
            }
        }
        Ok(())
    }

    fn write_path(
        &self,
        out: &mut dyn fmt::Write,
        number: usize,
        selector: Selector,
        status: bool,
    ) -> fmt::Result {
        let path = self.state.with(|state| state.paths.paths.get(number).copied());
        let (Some(path), Some(lower)) = (path, self.lowers.get(number)) else { return Ok(()) };
        write!(out, "{lower} ")?;
        if !status {
            return selector.path_args(&path, out);
        }
        let letter = if path.active { 'A' } else { 'F' };
        write!(out, "{letter} {} ", path.failures)?;
        selector.path_state(&path, out)
    }

    /// Lets requests wait when no path is left, or not.
    fn set_queue(&self, queue: bool) {
        self.state.with(|state| state.queue_if_no_path = queue);
        self.mailbox.poke();
    }

    /// Takes a path into use again.
    fn reinstate_path(&self, path: usize) {
        if self.state.with(|state| state.paths.reinstate(path)) {
            self.event.raise();
            self.mailbox.poke();
        }
    }

    /// Changes groups, and lets what waits try again.
    fn change(&self, act: impl FnOnce(&mut Paths)) {
        self.state.with(|state| act(&mut state.paths));
        self.event.raise();
        self.mailbox.poke();
    }
}

/// Another path would not do better: the device answered, and said no.
const fn is_final(errno: Errno) -> bool {
    matches!(errno, Errno::EOPNOTSUPP | Errno::ENOSPC | Errno::EILSEQ | Errno::ENODATA)
}

impl Target for Multipath {
    fn map(&self, range: Range) -> Mapping<'_> {
        Mapping::Keep { count: range.count }
    }

    fn keeps_flushes(&self) -> bool {
        true
    }

    fn keep(&self, part: Part) {
        self.inner.send(part);
    }

    fn done(&self, mut part: Part, result: Result<(), Errno>) {
        let bytes = part.count().bytes().unwrap_or(0);
        let now = now_ns();
        let (path, ago_ns) = Cookie::decode(*part.cookie(), now);
        let span_ns = (now.saturating_sub(ago_ns), now);
        self.inner.state.with(|state| state.paths.finish(path, bytes, span_ns));
        match result {
            Err(errno) if !is_final(errno) => {
                self.inner.fail_path(path);
                // By the thread, since as many paths may fail as the stack would not hold.
                self.inner.mailbox.post(part);
            }
            result => part.finish(result),
        }
    }

    fn lowers(&self) -> &[Lower] {
        &self.inner.lowers
    }

    fn params(&self, out: &mut dyn fmt::Write, _keys: Keys) -> fmt::Result {
        let queue = self.inner.state.with(|state| state.queue_if_no_path);
        self.inner.features.write(queue, out)?;
        self.inner.write_groups(out, false)
    }

    fn status(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        // Linux holds requests until it first chose a path; groups need no preparation here.
        let fresh = self.inner.state.with(|state| state.paths.fresh);
        write!(out, "2 {} 0 ", u8::from(fresh))?;
        self.inner.write_groups(out, true)
    }

    fn message(&self, words: &mut Params<'_>, _answer: &mut String) -> Result<(), Failure> {
        if self.inner.state.with(|state| state.suspended) {
            return Err(Failure::new(Errno::EBUSY, "the device is suspended"));
        }
        let groups = self.inner.state.with(|state| state.paths.groups.len());
        let word = words.word("message")?;
        match word {
            "queue_if_no_path" | "fail_if_no_path" => {
                words.end()?;
                self.inner.set_queue(word == "queue_if_no_path");
            }
            "disable_group" | "enable_group" => {
                let number = parse::group_number(words, groups)?;
                words.end()?;
                self.inner.change(|paths| paths.bypass(number, word == "disable_group"));
            }
            "switch_group" => {
                let number = parse::group_number(words, groups)?;
                words.end()?;
                self.inner.change(|paths| paths.switch(number));
            }
            "fail_path" | "reinstate_path" => {
                let numbers = self.inner.named(words)?;
                words.end()?;
                for number in numbers {
                    match word {
                        "fail_path" => self.inner.fail_path(number),
                        _ => self.inner.reinstate_path(number),
                    }
                }
            }
            _ => return Err(words.refuse("is no message of multipath")),
        }
        Ok(())
    }

    fn presuspend(&self, noflush: bool) {
        self.inner.state.with(|state| state.suspending = Some(noflush));
        // What waits has no path, so it goes back, or fails: nobody could drain it.
        self.inner.send_waiting();
    }

    fn postsuspend(&self) {
        self.inner.state.with(|state| state.suspended = true);
    }

    fn resume(&self) {
        self.inner.state.with(|state| {
            state.suspending = None;
            state.suspended = false;
        });
        self.inner.mailbox.poke();
    }
}
