//! The device mapper in NetBSD's kernel.
//!
//! This crate defines what `dm::kern::raw` declares, and gives the driver its entries: device
//! switches, autoconfiguration, the module. It decides nothing: what a command or a request
//! means is the driver's business.
//!
//! # Contexts
//! *thread* is a thread of a process or of the kernel. *strategy* may be the page daemon's, so
//! nothing waits for memory there. *completion* is a soft interrupt: `biodone` defers to one.
#![no_std]

extern crate alloc;

mod aes;
mod attach;
mod cell;
mod control;
mod devsw;
mod disk;
#[cfg(feature = "drill")]
mod drill;
mod dump;
mod glue;
mod ioctl;
mod label;
mod memory;
#[cfg(feature = "module")]
mod module;
mod opens;
mod panic;
mod property;
mod request;
mod straight;
mod sync;
mod sys;
mod thread;
mod transfer;
mod unit;
mod vnode;
mod wedge;
