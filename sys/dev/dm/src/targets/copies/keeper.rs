//! The thread of a set: keeps the record, judges what went wrong, and has windows copied.

use super::regions::Swept;
use super::state::{Order, Phase};
use super::sync::{Point, Sync};
use super::{Action, Core, Fault, Ledger, Member, Regions, Scribe, Standing, Unmarked, bit};
use crate::kern::disk::Op;
use crate::services::{Mail, Mailbox, now_ns};
use crate::target::Part;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::mem;
use dm_protocol::Errno;

/// What the thread alone has.
pub struct Keeper {
    ledger: Box<dyn Ledger>,
    scribe: Scribe,
    sync: Sync,
    /// What the record found was put down since requests came.
    started: bool,
    /// When marks are taken back.
    sweep_ns: Option<u64>,
    resting: bool,
    starting: bool,
    obeying: bool,
}

/// The thread's body.
pub fn work(core: &Core) {
    let Some(mut keeper) = core.keeper.with(Option::take) else { return };
    loop {
        match core.mailbox.receive(keeper.due()) {
            Mail::Fresh(part) => core.read_again(part),
            Mail::Back(part, result) => keeper.judge(core, part, result),
            Mail::Errand(errand, result) => {
                keeper.sync.arrived(core, keeper.ledger.as_mut(), errand, result);
            }
            Mail::Poke | Mail::Due => {}
            Mail::Over => return,
        }
        keeper.turn(core);
    }
}

impl Keeper {
    /// Thread context.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn new(
        ledger: Box<dyn Ledger>,
        mailbox: &Arc<Mailbox>,
        members: usize,
        compares: bool,
    ) -> Result<Self, Errno> {
        Ok(Self {
            ledger,
            scribe: Scribe::new(members)?,
            sync: Sync::new(mailbox, compares)?,
            started: false,
            sweep_ns: None,
            resting: false,
            starting: false,
            obeying: false,
        })
    }

    fn due(&self) -> Option<u64> {
        match (self.sweep_ns, self.sync.due()) {
            (Some(sweep), Some(sync)) => Some(sweep.min(sync)),
            (sweep, sync) => sweep.or(sync),
        }
    }

    /// Does all that can be done now.
    fn turn(&mut self, core: &Core) {
        self.obey(core);
        self.mark_waiting(core);
        match self.sync.turn(core) {
            Point::None => {}
            // What was copied is durable before the record says that it is there.
            Point::Note if self.flush(core) => drop(self.told(core)),
            Point::Note => {}
            Point::Over { action, complete } => self.passed(core, action, complete),
        }
        if self.sync.take_moved() {
            let mut blocked = core.state.with(|state| mem::take(&mut state.blocked));
            while let Some(part) = blocked.pop() {
                core.admit(part);
            }
        }
        if core.is_untold() && core.state.with(|state| !state.starved_flushes.is_empty()) {
            self.tell_flushes(core);
        }
        core.feed();
        self.sweep(core);
        if self.resting && self.sync.is_idle() {
            self.resting = false;
            self.started = false;
            if !core.readonly {
                self.take_back(core, true);
                self.told(core);
            }
            core.answer(Ok(()));
        }
        if mem::take(&mut self.starting) {
            core.answer(Ok(()));
        }
        let begun = !self.sync.is_waiting() || core.readonly || !core.is_running();
        if self.obeying && begun {
            self.obeying = false;
            core.answer(Ok(()));
        }
    }

    /// Does what commands and messages ask for.
    fn obey(&mut self, core: &Core) {
        match core.orders.with(|orders| orders.order.take()) {
            None => {}
            Some(Order::Rest) => {
                self.sync.stop(core);
                self.resting = true;
            }
            Some(Order::Start) => {
                self.resume(core);
                self.starting = true;
            }
            Some(Order::Load) => {
                let again = core.state.with(|state| state.phase != Phase::New);
                let loaded = self.ledger.load(core, again);
                core.standings_set();
                core.answer(loaded);
            }
            Some(Order::Obey(wish)) => {
                self.sync.obey(core, wish);
                self.obeying = true;
            }
        }
    }

    /// Requests come, for the first time or after a suspension that may have been given up.
    fn resume(&mut self, core: &Core) {
        if !mem::replace(&mut self.started, true) {
            // What the record found is put down before the first write.
            if !core.readonly {
                core.settled(self.ledger.commit(core).is_ok());
            }
            self.ledger.resumed(core);
        }
        self.sync.want();
    }

    /// A pass is over: members that came back are in use.
    fn passed(&mut self, core: &Core, action: Action, complete: bool) {
        if action == Action::Recover && complete && self.flush(core) {
            let back = |member: &&Member| member.standing() == Standing::Returning;
            core.members.iter().filter(back).for_each(|member| member.set_standing(Standing::Live));
        }
        core.standings_set();
        self.told(core);
        core.progress.with(|progress| {
            progress.action = None;
            progress.position = u64::MAX;
        });
        self.ledger.passed(core, action);
        if self.sync.is_waiting() {
            core.mailbox.poke();
        }
    }

    /// Flushes all members in use. What fails is out of use; false if it could not be.
    fn flush(&mut self, core: &Core) -> bool {
        let failed = self.scribe.flush(|member| core.written(member));
        let mut kept = false;
        for member in (0..core.members.len()).filter(|member| failed & bit(*member) != 0) {
            core.note_fault(member, Fault::Flush);
            kept |= !core.lose(member);
        }
        !kept && (failed == 0 || self.told(core))
    }

    /// Marks the regions of writes that wait for that, and lets them go.
    fn mark_waiting(&mut self, core: &Core) {
        let mut waiting = core.state.with(|state| mem::take(&mut state.unmarked));
        if waiting.is_empty() {
            return;
        }
        while let Some(part) = waiting.pop() {
            let region = core.regions(|regions| {
                let region = regions.of(part.at().0);
                regions.mark(region);
                region
            });
            self.ledger.mark(region, true);
            core.await_mark(part);
        }
        let result = self.ledger.commit(core);
        core.settled(result.is_ok());
        let mut marked = core.state.with(|state| mem::take(&mut state.marking));
        while let Some(part) = marked.pop() {
            match (result, core.rules.unmarked) {
                (Ok(()), _) | (_, Unmarked::Goes) => {
                    let at = part.at().0;
                    core.regions(|regions| regions.open(regions.of(at)));
                    core.admit(part);
                }
                (Err(errno), Unmarked::Fails) => part.finish(Err(errno)),
                (Err(_), Unmarked::Waits) => core.hold(part),
            }
        }
    }

    /// A write or a flush failed somewhere.
    fn judge(&mut self, core: &Core, mut part: Part, result: Result<(), Errno>) {
        let failed = *part.cookie();
        let flush = part.op() == Op::Flush;
        let fault = if flush { Fault::Flush } else { Fault::Write };
        let at = part.at().0;
        let ways = if flush { core.members.len() } else { core.geometry.copies() };
        let on = |way: usize| match flush {
            true => Some(way),
            false => core.geometry.place(at, way).map(|(on, _)| on),
        };
        let live = |on: usize| core.members.get(on).is_some_and(Member::is_live);
        for way in (0..ways).filter(|way| failed & bit(*way) != 0) {
            let Some(on) = on(way) else { continue };
            core.note_fault(on, fault);
            core.lose(on);
        }
        // Who is out of use must be known before the caller is told that all is well.
        let told = !core.is_untold() || self.told(core);
        // It is where it counts, and whoever lacks it does not count.
        let mut in_use = (0..ways).filter(|way| on(*way).is_some_and(live)).peekable();
        let good = told && in_use.peek().is_some() && in_use.all(|way| failed & bit(way) == 0);
        if !flush {
            if !good {
                let region = core.regions(|regions| {
                    let region = regions.of(at);
                    regions.set_stale(region, true);
                    region
                });
                self.sync.spoil(region);
            }
            core.leave(&part);
        }
        match (good, result) {
            (false, Ok(())) => part.finish(Err(Errno::EIO)),
            (false, result) => part.finish(result),
            (true, _) if core.rules.holds => core.hold(part),
            (true, _) => part.finish(Ok(())),
        }
    }

    fn told(&mut self, core: &Core) -> bool {
        tell(core, self.ledger.as_mut())
    }

    /// Flushes wait until it is noted who is out of use. When that fails they do.
    fn tell_flushes(&mut self, core: &Core) {
        if self.told(core) {
            return;
        }
        let mut flushes = core.state.with(|state| mem::take(&mut state.starved_flushes));
        while let Some(part) = flushes.pop() {
            part.finish(Err(Errno::EIO));
        }
    }

    /// Takes marks back, once in a while.
    fn sweep(&mut self, core: &Core) {
        let (now, sleep_ns) = (now_ns(), self.ledger.sleep_ns());
        match self.sweep_ns {
            Some(due) if now < due => return,
            Some(_) => self.take_back(core, false),
            None => {}
        }
        let marked = !core.readonly && core.regions(|regions| regions.marked() != 0);
        self.sweep_ns = marked.then(|| now.saturating_add(sleep_ns));
    }

    /// Takes back the marks of regions that nobody writes to, once what was written there is
    /// durable on all members.
    fn take_back(&mut self, core: &Core, all: bool) {
        let mut from = 0;
        while let Swept::Upto(next) = core.regions(|regions| regions.close_idle(from, all)) {
            from = next;
        }
        // At rest nobody writes: what stays marked is flushed, too.
        let rests = |regions: &mut Regions| all && regions.are_unequal();
        if core.regions(|regions| regions.closing() == 0 && !rests(regions)) {
            return;
        }
        if !self.flush(core) {
            // A member in use may lack what was written.
            return core.regions(Regions::keep_closed);
        }
        if all {
            core.regions(Regions::rest);
        }
        let mut next = 0;
        while let Some(region) = core.regions(|regions| regions.unmark_closed(next)) {
            next = region;
            self.ledger.mark(region, false);
        }
        // What is not durably unmarked stays marked on disk, which does no harm.
        core.settled(self.ledger.commit(core).is_ok());
    }
}

/// Notes durably who is out of use, and how far copying is. While that fails nobody may write.
pub fn tell(core: &Core, ledger: &mut dyn Ledger) -> bool {
    let told = ledger.changed(core).is_ok();
    core.settled(told);
    told
}
