//! The seam: everything the driver asks of its surroundings, behind safe faces.
//!
//! [`raw`] declares the functions that a platform defines, with their contracts; they are
//! bound when linking. The other modules are the faces that the driver uses. All `unsafe`
//! of this crate lives here.
//!
//! # Contexts
//! *thread*: may sleep and allocate. *strategy*: called from a file system or the pager; may
//! take interrupt locks, neither sleeps nor allocates. *completion*: like strategy, and
//! possibly in an interrupt.

pub mod aes;
pub mod atomic;
pub mod buffer;
pub mod cell;
pub mod child;
pub mod clock;
pub mod disk;
pub mod dump;
pub mod errand;
pub mod legs;
pub mod log;
pub mod node;
pub mod raw;
pub mod straight;
pub mod sync;
pub mod thread;
pub mod wait;
