//! The device mapper: commands, devices, tables, targets and I/O, without a platform.
//!
//! A platform links this crate, defines the functions of [`kern::raw`], makes a [`driver::Driver`]
//! and hands it commands ([`driver::Driver::command`]), requests ([`driver::Opened::strategy`])
//! and ended transfers ([`entry::transfer_done`]). There are no statics that change: whoever
//! has the driver has everything.
//!
//! # Words
//! A *device* is a mapped device; a *lower* is a device below a table; a *segment* is one line
//! of a *table*; a *target* maps a segment; a *request* is one I/O of a user of a device, a
//! *child* the part of it that goes to one place; a *slot* is a CPU's share of a counter.
//!
//! # Locks, in the order in which they are taken
//! `Device::control` (of a device above before those below), `Device::notice`,
//! `Driver::topology`, `Driver::devices`, `Device::state`; a target's
//! [`services::ThreadState`], below `control` and no other; then those of any context, each
//! alone: a gate's, a queue's, the reserve's, an event's, a target's.
#![no_std]
#![deny(unsafe_code, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

extern crate alloc;

pub mod command;
pub mod device;
pub mod driver;
#[expect(unsafe_code, reason = "turns the platform's pointers into owned values")]
pub mod entry;
pub mod event;
pub mod gate;
pub mod index;
mod io;
#[expect(unsafe_code, reason = "the seam to the platform")]
pub mod kern;
pub mod loader;
pub mod lower;
pub mod params;
mod registry;
pub mod services;
pub mod stack;
pub mod stats;
mod suspend;
pub mod table;
pub mod target;
pub mod targets;

pub use dm_protocol as protocol;
