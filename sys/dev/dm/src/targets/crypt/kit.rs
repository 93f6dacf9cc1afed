//! What a request needs to be encrypted: the key's cipher, and memory for what comes out.

use crate::services::{Buffer, Shared};
use crate::target::{Part, PartQueue};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use dm_cipher::{Key, SectorCipher};
use dm_protocol::{Errno, Sectors};

/// The most that is encrypted as one part. A multiple of the longest sector.
pub(super) const PART: Sectors = Sectors(128);
/// Memory for parts, set aside for each target: many short ones, and a few long ones.
const STOCKS: [(Sectors, usize); 2] = [(Sectors(16), 64), (PART, 8)];

/// Key and memory, behind one lock.
pub(super) struct Kit {
    state: Shared<State>,
    fast: bool,
}

struct State {
    keyed: Keyed,
    /// No request is inside, and the key may change.
    suspended: bool,
    stocks: [Stock; 2],
}

/// A key and what is made of it.
#[derive(Clone)]
pub(super) struct Keyed {
    /// Zeroes once it is wiped.
    pub(super) key: Arc<Key>,
    /// None once the key is wiped.
    pub(super) cipher: Option<Arc<SectorCipher>>,
}

/// Buffers of one length, and parts for which none was left, first in first out.
struct Stock {
    /// Has room for all.
    idle: Vec<Buffer>,
    waiting: PartQueue,
}

/// A part of a write with all that it needs.
pub(super) struct Armed {
    pub(super) part: Part,
    pub(super) buffer: Buffer,
    pub(super) cipher: Arc<SectorCipher>,
}

impl Stock {
    fn new((length, count): (Sectors, usize)) -> Result<Self, Errno> {
        let mut idle = Vec::new();
        idle.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
        for _ in 0..count {
            idle.push(Buffer::new(length)?);
        }
        Ok(Self { idle, waiting: PartQueue::new() })
    }
}

impl State {
    fn stock(&mut self, count: Sectors) -> &mut Stock {
        let [short, long] = &mut self.stocks;
        let [(short_length, _), _] = STOCKS;
        if count <= short_length { short } else { long }
    }
}

impl Kit {
    /// Thread context.
    ///
    /// # Errors
    /// ENOMEM.
    pub(super) fn new(keyed: Keyed) -> Result<Self, Errno> {
        let [short, long] = STOCKS;
        let stocks = [Stock::new(short)?, Stock::new(long)?];
        let fast = keyed.cipher.as_ref().is_some_and(|cipher| cipher.is_fast());
        Ok(Self { state: Shared::new(State { keyed, suspended: false, stocks }), fast })
    }

    /// True if the processor does the work, whatever the key.
    pub(super) const fn is_fast(&self) -> bool {
        self.fast
    }

    /// Any context. The cipher. Giving it up frees nothing: while a request is inside, it is
    /// here too.
    pub(super) fn cipher(&self) -> Option<Arc<SectorCipher>> {
        self.state.with(|state| state.keyed.cipher.clone())
    }

    /// Thread context. Key and cipher.
    pub(super) fn keyed(&self) -> Keyed {
        self.state.with(|state| state.keyed.clone())
    }

    /// Thread context. Gives what was there.
    ///
    /// # Errors
    /// What was to be there, if requests may be inside.
    pub(super) fn exchange(&self, keyed: Keyed) -> Result<Keyed, Keyed> {
        self.state.with(|state| match state.suspended {
            true => Ok(mem::replace(&mut state.keyed, keyed)),
            false => Err(keyed),
        })
    }

    /// No request is inside, or some may come.
    pub(super) fn set_suspended(&self, suspended: bool) {
        self.state.with(|state| state.suspended = suspended);
    }

    /// Any context. What a part of a write needs. When there is no memory for it, it waits
    /// here until [`Kit::give`] has some.
    ///
    /// # Errors
    /// The part, if there is no cipher.
    pub(super) fn arm(&self, part: Part) -> Result<Option<Armed>, Part> {
        self.state.with(|state| {
            let Some(cipher) = state.keyed.cipher.clone() else { return Err(part) };
            let stock = state.stock(part.count());
            match stock.idle.pop() {
                Some(buffer) => Ok(Some(Armed { part, buffer, cipher })),
                None => {
                    stock.waiting.push(part);
                    Ok(None)
                }
            }
        })
    }

    /// Any context. Takes back the memory of a part so long; or gives it to a part that
    /// waited, which is then the caller's.
    pub(super) fn give(&self, count: Sectors, buffer: Buffer) -> Option<Part> {
        self.state.with(|state| {
            let stock = state.stock(count);
            let Some(mut part) = stock.waiting.pop() else {
                // Never beyond what was reserved, so nothing is allocated.
                stock.idle.push(buffer);
                return None;
            };
            *part.buffer() = Some(buffer);
            Some(part)
        })
    }
}
