//! Buffers of one length, set aside.

use crate::kern::buffer::Buffer;
use crate::kern::sync::{Condition, SpinMutex};
use alloc::vec::Vec;
use dm_protocol::{Errno, Sectors};

/// Buffers of one length, set aside when a table is loaded.
pub struct BufferPool {
    idle: SpinMutex<Vec<Buffer>>,
    more: Condition,
    length: Sectors,
}

impl BufferPool {
    /// Thread context. `count` buffers of `length` sectors.
    ///
    /// # Errors
    /// ENOMEM; EINVAL for a length or a number of zero.
    pub fn new(count: usize, length: Sectors) -> Result<Self, Errno> {
        let mut idle = Vec::new();
        idle.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
        for _ in 0..count {
            idle.push(Buffer::new(length)?);
        }
        if idle.is_empty() {
            return Err(Errno::EINVAL);
        }
        Ok(Self { idle: SpinMutex::new(idle), more: Condition::new(), length })
    }

    /// The length of each.
    #[must_use]
    pub const fn length(&self) -> Sectors {
        self.length
    }

    /// Any context. A buffer, if there is one now.
    #[must_use]
    pub fn take(&self) -> Option<Buffer> {
        self.idle.lock().pop()
    }

    /// Thread context; sleeps. A buffer.
    #[must_use]
    pub fn wait(&self) -> Buffer {
        let mut idle = self.idle.lock();
        loop {
            match idle.pop() {
                Some(buffer) => return buffer,
                None => self.more.wait(&mut idle),
            }
        }
    }

    /// Any context. Takes back a buffer that came from here.
    pub fn give(&self, buffer: Buffer) {
        let mut idle = self.idle.lock();
        // Never beyond what was reserved, so that nothing is allocated here.
        if idle.len() < idle.capacity() {
            idle.push(buffer);
            self.more.broadcast();
        }
    }
}
