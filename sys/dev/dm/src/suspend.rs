//! Suspending and resuming: the only places where a live table changes.

use crate::device::{Device, Life};
use crate::io;
use crate::kern::child::Piece;
use crate::kern::disk::Op;
use crate::kern::{log, wait};
use crate::table::Table;
use crate::target::Target;
use alloc::format;
use alloc::sync::Arc;
use dm_protocol::{Errno, Failure, Sector, Sectors};

impl Device {
    /// Thread context. Queues new requests, waits for the others, and flushes; with `noflush`,
    /// targets hand back what they keep and nothing is flushed. Suspended already is fine.
    pub(crate) fn suspend(&self, noflush: bool) -> Result<(), Failure> {
        let _control = self.control.lock();
        self.check_present()?;
        if self.state().suspended {
            return Ok(());
        }
        self.quiesce(noflush)?;
        self.state().suspended = true;
        Ok(())
    }

    /// Thread context. Makes the inactive table live, if there is one, and lets requests flow.
    pub(crate) fn resume(&self, noflush: bool) -> Result<(), Failure> {
        let _control = self.control.lock();
        self.check_present()?;
        let (suspended, inactive) = {
            let state = self.state();
            (state.suspended, state.inactive.clone())
        };
        let Some(table) = inactive else {
            if suspended {
                self.each_target(|target| target.preresume())?;
                self.go_on();
            }
            return Ok(());
        };
        if !suspended {
            self.quiesce(noflush)?;
        }
        let _ = self.each_target(|target| {
            target.settle();
            Ok(())
        });
        if let Err(why) = each_target(&table, |target| target.preresume()) {
            if !suspended {
                self.go_on();
            }
            return Err(why);
        }
        let old = {
            let old = self.switch(Some(table));
            // A table that was loaded meanwhile stays for the next resume.
            self.take_inactive();
            old
        };
        if old.is_some() {
            self.event.raise();
        }
        self.go_on();
        // The last users of the old table's devices close them here.
        drop(old);
        Ok(())
    }

    /// Thread context; the caller holds `control`. Closes the gate, drains, and flushes.
    pub(crate) fn quiesce(&self, noflush: bool) -> Result<(), Failure> {
        self.gate.close();
        let _ = self.each_target(|target| {
            target.presuspend(noflush);
            Ok(())
        });
        if let Err(errno) = self.gate.wait_drained() {
            self.go_on();
            return Err(Failure::new(errno, "requests were still under way"));
        }
        if !noflush {
            self.flush_closed();
        }
        let _ = self.each_target(|target| {
            target.postsuspend();
            Ok(())
        });
        Ok(())
    }

    /// A failed flush does not keep a device from being suspended: replacing a dead disk must
    /// be possible, and what was not flushed was not promised.
    fn flush_closed(&self) {
        let piece = Piece { op: Op::Flush, fua: false, at: Sector(0), count: Sectors::ZERO };
        if self.table().is_none() {
            return;
        }
        let flushed = wait::flush(self, piece, |io| io::enter(io, self.gate.enter_closed()));
        if let Err(errno) = flushed {
            let name = self.state().name.clone();
            log::line(&format!("dm: {name}: flush before suspension: {errno}"));
        }
    }

    /// Lets requests flow, those that waited first.
    fn go_on(&self) {
        self.state().suspended = false;
        let _ = self.each_target(|target| {
            target.resume();
            Ok(())
        });
        // Telling the platform may wait for requests, so they flow first.
        self.release();
        self.show();
    }

    fn check_present(&self) -> Result<(), Failure> {
        match self.state().life {
            Life::Present => Ok(()),
            Life::Attaching | Life::Leaving => Err(Errno::ENOENT.into()),
        }
    }

    fn take_inactive(&self) {
        let mut state = self.state();
        let live = state.live.as_ref().map(Arc::as_ptr);
        if state.inactive.as_ref().map(Arc::as_ptr) == live {
            state.inactive = None;
        }
    }

    fn each_target(&self, act: impl Fn(&dyn Target) -> Result<(), Failure>) -> Result<(), Failure> {
        self.table().map_or(Ok(()), |table| each_target(&table, act))
    }
}

fn each_target(
    table: &Table,
    act: impl Fn(&dyn Target) -> Result<(), Failure>,
) -> Result<(), Failure> {
    table.segments().iter().try_for_each(|segment| act(&*segment.target))
}
