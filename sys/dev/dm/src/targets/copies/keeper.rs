//! The thread of a set: keeps the record, judges what went wrong, and has windows copied.

use super::regions::Swept;
use super::state::{Order, Phase};
use super::sync::Sync;
use super::{Core, Fault, Ledger, Scribe, Unmarked, bit};
use crate::kern::disk::Op;
use crate::services::{Mail, Mailbox, now_ns};
use crate::target::{Part, PartQueue};
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
        self.sync.turn(core, self.ledger.as_mut());
        if self.sync.take_moved() {
            let mut blocked = core.state.with(|state| mem::take(&mut state.blocked));
            while let Some(part) = blocked.pop() {
                core.admit(part);
            }
        }
        core.feed();
        self.sweep(core);
        if self.resting && self.sync.is_idle() {
            self.resting = false;
            self.started = false;
            self.take_back(core, true);
            self.ledger.changed(core);
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
            Some(Order::Load) => {
                let again = core.state.with(|state| state.phase != Phase::New);
                let loaded = self.ledger.load(core, again);
                core.standings_set();
                core.answer(loaded);
            }
        }
        if core.state.with(|state| mem::take(&mut state.resumed)) {
            self.resume(core);
        }
        if let Some(wish) = core.state.with(|state| state.wish.take()) {
            self.sync.obey(core, wish);
        }
    }

    /// Requests come, for the first time or after a suspension that may have been given up.
    fn resume(&mut self, core: &Core) {
        if !mem::replace(&mut self.started, true) {
            // What the record found is put down before the first write.
            if !core.readonly {
                let _ = self.ledger.commit(core);
            }
            self.ledger.resumed(core);
        }
        self.sync.want();
    }

    /// Marks the regions of writes that wait for that, and lets them go.
    fn mark_waiting(&mut self, core: &Core) {
        let mut waiting = core.state.with(|state| mem::take(&mut state.unmarked));
        if waiting.is_empty() {
            return;
        }
        let mut marked = PartQueue::new();
        while let Some(part) = waiting.pop() {
            let region = core.regions(|regions| {
                let region = regions.of(part.at().0);
                regions.mark(region);
                region
            });
            self.ledger.mark(region, true);
            marked.push(part);
        }
        let result = self.ledger.commit(core);
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
        if self.sweep_ns.is_none() {
            self.sweep_ns = Some(now_ns().saturating_add(self.ledger.sleep_ns()));
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
        let live = |on: usize| core.members.get(on).is_some_and(super::Member::is_live);
        let mut lost = false;
        for way in (0..ways).filter(|way| failed & bit(*way) != 0) {
            let Some(on) = on(way) else { continue };
            core.note_fault(on, fault);
            let written = core.written(on).is_some();
            lost |= written && core.lose(on);
        }
        if lost {
            self.ledger.changed(core);
        }
        // It is where it counts, and whoever lacks it does not count.
        let mut in_use = (0..ways).filter(|way| on(*way).is_some_and(live)).peekable();
        let good = in_use.peek().is_some() && in_use.all(|way| failed & bit(way) == 0);
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

    /// Takes marks back, once in a while.
    fn sweep(&mut self, core: &Core) {
        let now = now_ns();
        if self.sweep_ns.is_none_or(|due| now < due) {
            return;
        }
        self.take_back(core, false);
        let left = core.regions(|regions| regions.marked() != 0);
        let again = now.saturating_add(self.ledger.sleep_ns());
        self.sweep_ns = left.then_some(again);
    }

    /// Takes back the marks of regions that nobody writes to, once what was written there is
    /// durable on all members.
    fn take_back(&mut self, core: &Core, all: bool) {
        let mut from = 0;
        while let Swept::Upto(next) = core.regions(|regions| regions.close_idle(from, all)) {
            from = next;
        }
        if core.regions(|regions| regions.closing()) == 0 {
            return;
        }
        let failed = self.scribe.flush(|member| core.written(member));
        let mut kept = false;
        for member in (0..core.members.len()).filter(|member| failed & bit(*member) != 0) {
            core.note_fault(member, Fault::Flush);
            kept |= !core.lose(member);
        }
        if failed != 0 {
            self.ledger.changed(core);
        }
        if kept {
            // A member in use may lack what was written.
            return core.regions(super::Regions::keep_closed);
        }
        let mut next = 0;
        while let Some(region) = core.regions(|regions| regions.unmark_closed(next)) {
            next = region;
            self.ledger.mark(region, false);
        }
        // What is not durably unmarked stays marked on disk, which does no harm.
        let _ = self.ledger.commit(core);
    }
}
