//! What targets use that do more than map: memory set aside, threads with a mailbox, transfers
//! of their own, state behind locks, and what targets on one disk share.
//!
//! # Contexts
//! A target's `map`, `keep` and `done` run where nothing may sleep, allocate or free. They
//! change [`Shared`] state, send a part below, or post it to a [`Mailbox`]. A [`Crew`] of
//! threads receives there; it may sleep, but should not allocate on the way of a request,
//! since memory may be short until that request is done. What it needs is set aside when the
//! table is loaded, and never shared between devices that lie on one another.

pub mod crew;
pub mod draws;
pub mod mailbox;
pub mod pool;
pub mod shared;
pub mod threads;

pub use crate::kern::aes::lender as aes_lender;
pub use crate::kern::buffer::Buffer;
pub use crate::kern::clock::now_ns;
pub use crate::kern::errand::Errand;
pub use crate::kern::legs::{LEGS_MAX, LegSet, Legs};
pub use crew::Crew;
pub use draws::Draws;
pub use mailbox::{Mail, Mailbox};
pub use pool::BufferPool;
pub use shared::Shared;
pub use threads::ThreadState;

/// How many CPUs there are, at least 1.
#[must_use]
pub fn cpu_count() -> usize {
    crate::kern::clock::cpu_count()
}

/// Thread context. One line for the system's log.
pub fn log(line: &str) {
    crate::kern::log::line(line);
}
