//! The threads of a target.

use crate::kern::thread::Worker;
use crate::services::mailbox::Mailbox;
use alloc::sync::Arc;
use alloc::vec::Vec;
use dm_protocol::Errno;

/// Threads that receive from a mailbox. Dropping it ends the mailbox and waits until each has
/// received [`Mail::Over`](super::Mail::Over) and returned.
pub struct Crew {
    mailbox: Arc<Mailbox>,
    workers: Vec<Worker>,
}

impl Crew {
    /// Thread context. Starts `count` threads that run `body`, which receives from `mailbox`
    /// until that is over.
    ///
    /// # Errors
    /// EAGAIN or ENOMEM when there can be no further thread; then there is none.
    pub fn start(
        name: &str,
        count: usize,
        mailbox: &Arc<Mailbox>,
        body: impl Fn() + Clone + Send + 'static,
    ) -> Result<Self, Errno> {
        let mut crew = Self { mailbox: Arc::clone(mailbox), workers: Vec::new() };
        for _ in 0..count {
            crew.workers.push(Worker::start(name, body.clone())?);
        }
        Ok(crew)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.mailbox.end();
        self.workers.clear();
    }
}
