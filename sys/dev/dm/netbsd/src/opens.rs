//! Who has a mapped device open.

use alloc::boxed::Box;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use dm::driver::{Driver, Opened};
use dm::kern::sync::Mutex;
use dm::protocol::Errno;

/// How a device is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Through its raw node. The kernel tells of the last close only.
    Char,
    /// Through its node. The kernel tells of the last close only.
    Block,
    /// By dk(4), also past the vnodes: each open has its close.
    Wedge,
}

/// See the module.
pub struct Opens {
    minor: u32,
    /// The one that requests use; the last to be closed.
    anchor: AtomicPtr<Opened>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// One for each way; the anchor first.
    opened: [Option<Box<Opened>>; 3],
    raw: bool,
    block: bool,
    wedges: u32,
}

impl State {
    fn has(&self, way: Way) -> bool {
        match way {
            Way::Char => self.raw,
            Way::Block => self.block,
            Way::Wedge => self.wedges != 0,
        }
    }

    fn count(&mut self, way: Way) {
        match way {
            Way::Char => self.raw = true,
            Way::Block => self.block = true,
            Way::Wedge => self.wedges += 1,
        }
    }

    fn forget(&mut self, way: Way) {
        match way {
            Way::Char => self.raw = false,
            Way::Block => self.block = false,
            Way::Wedge => self.wedges = self.wedges.saturating_sub(1),
        }
    }
}

impl Opens {
    pub fn new(minor: u32) -> Self {
        let anchor = AtomicPtr::new(ptr::null_mut());
        Self { minor, anchor, state: Mutex::new(State::default()) }
    }

    /// The open device; whoever sends requests has it open until they are done.
    pub fn opened(&self) -> Option<&Opened> {
        // SAFETY: null, or alive until the last close, which comes after all requests.
        unsafe { self.anchor.load(Ordering::Acquire).as_ref() }
    }

    /// Thread context.
    pub fn open(&self, driver: &Driver, way: Way, write: bool) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if state.has(way) {
            let readonly = state.opened[0].as_ref().is_some_and(|opened| opened.readonly());
            if write && readonly {
                return Err(Errno::EROFS);
            }
        } else {
            let opened = Box::new(driver.open(self.minor, write)?);
            if state.opened[0].is_none() {
                self.anchor.store(ptr::from_ref(&*opened).cast_mut(), Ordering::Release);
            }
            if let Some(place) = state.opened.iter_mut().find(|place| place.is_none()) {
                *place = Some(opened);
            }
        }
        state.count(way);
        Ok(())
    }

    /// Thread context. The one to drop, with no lock held: that may remove the device, and
    /// this with it.
    pub fn close(&self, way: Way) -> Option<Box<Opened>> {
        let mut state = self.state.lock();
        if !state.has(way) {
            return None;
        }
        state.forget(way);
        if state.has(way) {
            return None;
        }
        let last = state.opened.iter().rposition(Option::is_some)?;
        if last == 0 {
            self.anchor.store(ptr::null_mut(), Ordering::Release);
        }
        state.opened[last].take()
    }
}
