//! Buffers of one length, set aside.

use crate::kern::buffer::Buffer;
use crate::kern::sync::{Condition, SpinMutex};
use alloc::vec::Vec;
use dm_protocol::{Errno, Sectors};

/// Buffers of one length, set aside when a table is loaded.
pub struct BufferPool {
    idle: SpinMutex<Idle>,
    more: Condition,
    length: Sectors,
}

struct Idle {
    /// Has room for all.
    buffers: Vec<Buffer>,
    /// Threads that wait for one.
    waiting: usize,
}

impl BufferPool {
    /// Thread context. `count` buffers of `length` sectors.
    ///
    /// # Errors
    /// ENOMEM; EINVAL for a length or a number of zero.
    pub fn new(count: usize, length: Sectors) -> Result<Self, Errno> {
        let mut buffers = Vec::new();
        buffers.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
        for _ in 0..count {
            buffers.push(Buffer::new(length)?);
        }
        if buffers.is_empty() {
            return Err(Errno::EINVAL);
        }
        let idle = SpinMutex::new(Idle { buffers, waiting: 0 });
        Ok(Self { idle, more: Condition::new(), length })
    }

    /// The length of each.
    #[must_use]
    pub const fn length(&self) -> Sectors {
        self.length
    }

    /// Any context. A buffer, if there is one now.
    #[must_use]
    pub fn take(&self) -> Option<Buffer> {
        self.idle.lock().buffers.pop()
    }

    /// Thread context; sleeps. A buffer.
    #[must_use]
    pub fn wait(&self) -> Buffer {
        let mut idle = self.idle.lock();
        loop {
            if let Some(buffer) = idle.buffers.pop() {
                return buffer;
            }
            idle.waiting = idle.waiting.saturating_add(1);
            self.more.wait(&mut idle);
            idle.waiting = idle.waiting.saturating_sub(1);
        }
    }

    /// Any context. Takes back a buffer that came from here.
    pub fn give(&self, buffer: Buffer) {
        let mut idle = self.idle.lock();
        // Never beyond what was reserved, so that nothing is allocated here.
        if idle.buffers.len() < idle.buffers.capacity() {
            idle.buffers.push(buffer);
        }
        if idle.waiting != 0 {
            self.more.signal();
        }
    }
}
